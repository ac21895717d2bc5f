"""Pages: login, worklist and the reading page."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from mri_pipeline.core.accounts import Role
from mri_pipeline.registry.assignments import Assignment, AssignmentState
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.sessions import ABSOLUTE_LIMIT
from reading_centre.web.access import COOKIE, EVERYBODY, allow, room_of, user_of
from reading_centre.web.login import LOCKED_OUT, WRONG, LockedOutError, WrongPasswordError, checked_account

router = APIRouter()


def short_code(assignment: Assignment) -> str:
    """The code of a case for people.

    Parameters
    ----------
    assignment : Assignment

    Returns
    -------
    str
    """
    return assignment.code[:8].upper()


def _page(request: Request, name: str, status: int = 200, **context: Any) -> Response:
    templates: Jinja2Templates = request.app.state.templates
    return templates.TemplateResponse(request, f"{name}.html.j2", context, status_code=status)


@router.get("/login")
@allow(EVERYBODY)
def _login_page(request: Request) -> Response:
    """The form."""
    return _page(request, "login", login="", error="")


@router.post("/login")
@allow(EVERYBODY)
async def _login(request: Request) -> Response:
    """Start a session."""
    try:
        form = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=10)
    except ValueError:  # too many fields
        form = {}
    name, password = (form.get(field, [""])[0] for field in ("login", "password"))
    return await run_in_threadpool(_logged_in, request, name, password)


def _logged_in(request: Request, name: str, password: str) -> Response:
    try:
        person, account = checked_account(request, name, password, purpose=AuditAction.LOGIN_REFUSED)
    except LockedOutError:
        return _page(request, "login", 429, login=name, error=LOCKED_OUT)
    except WrongPasswordError:
        return _page(request, "login", 401, login=name, error=WRONG)
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


@router.get("/")
@allow(Role.READER, Role.ADJUDICATOR)
def _worklist(request: Request) -> Response:
    """The cases of the reader."""
    user, room = user_of(request), room_of(request)
    found = room.worklist(user.code)
    rows = [_row(one) for one in found]
    open_ = [one.code for one in found if one.state is AssignmentState.OPEN]
    return _page(request, "worklist", rows=rows, user=user, next_assignment=open_[0] if open_ else None)


def _row(one: Assignment) -> dict[str, str]:
    started = one.state is AssignmentState.OPEN and bool(one.opened_at)
    return {
        "assignment": one.code,
        "code": short_code(one),
        "state": "started" if started else one.state.value,
        "started": _minute(one.opened_at),
        "signed": _minute(str(one.signature.get("utc", ""))),
    }


def _minute(utc: str) -> str:
    return utc[:16].replace("T", " ")


@router.get("/reading/{assignment}")
@allow(Role.READER, Role.ADJUDICATOR)
def _reading(request: Request, assignment: str) -> Response:
    """The reading page."""
    user = user_of(request)
    found = room_of(request).assignment(assignment, user.code)
    if found is None:
        raise HTTPException(404, "Expected a case of yours, found none. Go to the worklist.")
    return _page(request, "reading", assignment=found.code, code=short_code(found), user=user)
