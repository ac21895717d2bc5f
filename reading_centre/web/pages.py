"""Pages: login, worklist and the reading page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from mri_pipeline.core.accounts import READING_ROLES, Role
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.one_time_codes import otpauth_uri
from mri_pipeline.reading.accounts import MIN_PASSWORD
from mri_pipeline.registry.assignment_records import Assignment, AssignmentState
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.sessions import ABSOLUTE_LIMIT
from reading_centre.use_cases.reading.faults import BreakError
from reading_centre.use_cases.trial.people import set_password
from reading_centre.web.access import COOKIE, EVERYBODY, OWN_PASSWORD, allow, room_of, user_of
from reading_centre.web.login import (
    LOCKED_OUT,
    WRONG,
    WRONG_CODE,
    LockedOutError,
    WrongPasswordError,
    checked_account,
    confirm_app,
)
from reading_centre.web.render import MENUS, form_of, message_of, minute, page

router = APIRouter()
FIRST_PAGES = {role: menu[0][0] for role, menu in MENUS.items()}
"""Address of the first page of those who do not read."""


def short_code(assignment: Assignment) -> str:
    """First digits of the code of a case, in capitals, for display.

    Parameters
    ----------
    assignment : Assignment

    Returns
    -------
    str
    """
    return assignment.code[:8].upper()


@router.get("/login")
@allow(EVERYBODY)
def _login_page(request: Request) -> Response:
    """The form."""
    return page(request, "login", login="", error="")


@router.post("/login")
@allow(EVERYBODY)
async def _login(request: Request) -> Response:
    """Start a session."""
    form = await form_of(request)
    name, password, code = (form.get(field, "") for field in ("login", "password", "code"))
    return await run_in_threadpool(_logged_in, request, name, password, code)


def _logged_in(request: Request, name: str, password: str, code: str) -> Response:
    try:
        person, account = checked_account(request, name, password, purpose=AuditAction.LOGIN_REFUSED, code=code)
    except LockedOutError:
        return page(request, "login", 429, login=name, error=LOCKED_OUT)
    except WrongPasswordError:
        return page(request, "login", 401, login=name, error=f"{WRONG} {WRONG_CODE}")
    token = room_of(request).registry.sessions.open(person.code, account)
    response = RedirectResponse("/", 303)
    response.set_cookie(
        COOKIE, token, max_age=int(ABSOLUTE_LIMIT.total_seconds()), httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return response


@router.post("/logout")
@allow(EVERYBODY)
def _logout(request: Request) -> Response:
    """End the session."""
    room_of(request).registry.sessions.close(request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.get(OWN_PASSWORD)
@allow(*Role)
def _password_page(request: Request) -> Response:
    """The form for another password."""
    return _password_form(request)


def _password_form(request: Request, error: str = "", status: int = 200) -> Response:
    return page(request, "password", status, error=error, least=MIN_PASSWORD)


@router.post(OWN_PASSWORD)
@allow(*Role)
async def _password(request: Request) -> Response:
    """Change the own password. All sessions of the person end."""
    form = await form_of(request)
    old, new, again = (form.get(name, "") for name in ("password", "new", "again"))
    return await run_in_threadpool(_password_changed, request, old, new, again)


def _password_changed(request: Request, old: str, new: str, again: str) -> Response:
    try:
        person, _account = checked_account(request, user_of(request).code, old, purpose=AuditAction.LOGIN_REFUSED)
    except LockedOutError:
        return _password_form(request, LOCKED_OUT, 429)
    except WrongPasswordError:
        return _password_form(request, "The present password is wrong.", 401)
    if new != again or new == old:
        error = "The new passwords differ." if new != again else "The new password is the present one."
        return _password_form(request, error, 422)
    room = room_of(request)
    try:
        set_password(room.trial, room.registry, person, new)
    except UsageError as error:
        return _password_form(request, message_of(error), 422)
    return RedirectResponse("/login", 303)


@router.get("/authenticator")
@allow(*Role)
def _authenticator_page(request: Request) -> Response:
    """The authenticator app of the person."""
    return _authenticator_form(request)


def _authenticator_form(request: Request, error: str = "", status: int = 200, **more: str) -> Response:
    has_app = room_of(request).registry.second_factors.is_on(user_of(request).code)
    return page(request, "authenticator", status, error=error, has_app=has_app, **more)


@router.post("/authenticator")
@allow(*Role)
async def _authenticator(request: Request) -> Response:
    """Show a new secret once, or remove the app."""
    form = await form_of(request)
    return await run_in_threadpool(_authenticator_changed, request, form.get("password", ""), form.get("code", ""))


def _authenticator_changed(request: Request, password: str, code: str) -> Response:
    room, user = room_of(request), user_of(request)
    try:
        checked_account(request, user.code, password, purpose=AuditAction.LOGIN_REFUSED, code=code)
    except LockedOutError:
        return _authenticator_form(request, LOCKED_OUT, 429)
    except WrongPasswordError:
        return _authenticator_form(request, f"The password is wrong. {WRONG_CODE}", 401)
    factors = room.registry.second_factors
    if factors.remove(user.code, by=user.code):
        return RedirectResponse("/authenticator", 303)
    secret = factors.begin(user.code)
    uri = otpauth_uri(secret, account=user.code, issuer=room.protocol.name)
    return _authenticator_form(request, secret=secret, uri=uri)


@router.post("/authenticator/confirm")
@allow(*Role)
async def _authenticator_confirm(request: Request) -> Response:
    """Take the new secret into use."""
    form = await form_of(request)
    return await run_in_threadpool(_authenticator_confirmed, request, form.get("code", ""))


def _authenticator_confirmed(request: Request, code: str) -> Response:
    try:
        if confirm_app(request, user_of(request).code, code):
            return RedirectResponse("/authenticator", 303)
    except LockedOutError:
        return _authenticator_form(request, LOCKED_OUT, 429)
    error = (
        "The code is wrong, or the secret is older than 15 minutes. Check the clock of the device and enter the "
        "present code, or begin again."
    )
    return _authenticator_form(request, error, 422, again="yes")


@router.get("/")
@allow(*READING_ROLES, *FIRST_PAGES)
def _first_page(request: Request) -> Response:
    """The cases of a reader; for other people their first page."""
    user, room = user_of(request), room_of(request)
    if user.role not in READING_ROLES:
        return RedirectResponse(FIRST_PAGES[user.role], 303)
    found = room.worklists.of(user.code)
    new = room.worklists.may_begin(user.code)
    rows = [_row(one, opens=new or bool(one.opened_at)) for one in found]
    open_ = [row["assignment"] for row in rows if row["state"] != "signed" and row["opens"]]
    most = room.protocol.reading.cases_per_sitting
    return page(
        request, "worklist", rows=rows, next_assignment=open_[0] if open_ else None,
        most=most, sitting=room.worklists.sitting(user.code) if most else 0, may_begin=new,
    )  # fmt: skip


def _row(one: Assignment, *, opens: bool) -> dict[str, Any]:
    started = one.state is AssignmentState.OPEN and bool(one.opened_at)
    return {
        "assignment": one.code,
        "opens": opens,
        "code": short_code(one),
        "state": "started" if started else one.state.value,
        "started": minute(one.opened_at),
        "signed": minute(str(one.signature.get("utc", ""))),
    }


@router.get("/reading/{assignment}")
@allow(Role.READER, Role.ADJUDICATOR)
def _reading(request: Request, assignment: str) -> Response:
    """The reading page."""
    user = user_of(request)
    found = room_of(request).assignment(assignment, user.code)
    if found is None:
        raise HTTPException(404, "Expected a case of yours, found none. Go to the worklist.")
    try:
        room_of(request).worklists.require_sitting(found)
    except BreakError as error:
        raise HTTPException(403, message_of(error)) from error
    return page(request, "reading", assignment=found.code, code=short_code(found))
