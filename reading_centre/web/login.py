"""Passwords of the web application: every check is counted, and an unknown login takes as long as a wrong password."""

from __future__ import annotations

from functools import cache

from fastapi import Request

from mri_pipeline.core.accounts import Account, Role
from mri_pipeline.core.errors import UsageError
from mri_pipeline.reading.accounts import password_hash, require_password
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.trial.people import is_replaced
from reading_centre.web.access import room_of

WRONG = "Login or password is wrong. Try again, or ask the reading centre."
WRONG_CODE = "With an authenticator app, enter its present code. A code can be used once."
LOCKED_OUT = "There were too many failed attempts. Try again in 15 minutes, or ask the reading centre."


class WrongPasswordError(Exception):
    """Login and password do not belong together."""


class LockedOutError(Exception):
    """There were too many failed attempts."""


def checked_account(
    request: Request, login: str, password: str, *, purpose: AuditAction, code: str | None = None
) -> tuple[Account, str]:
    """The person of a login and a password.

    Parameters
    ----------
    request : Request
    login, password : str
    purpose : AuditAction
        Action of the audit entry of a wrong password.
    code : str, optional
        Of the authenticator app of a person who has one. None: it is not asked for.

    Returns
    -------
    person : Account
    account : str
        Fingerprint of the account.

    Raises
    ------
    LockedOutError
        If there were too many failed attempts. The password is not checked.
    WrongPasswordError
        If they do not belong together, or the code is wrong or was used.
    """
    room = room_of(request)
    attempt = _begun_attempt(request, login)
    person = room.people.account(login)
    try:
        account = require_password(person or _nobody(), password)
    except UsageError:  # SettingsError is one, too
        account = ""
    wrong = person is None or not account or is_replaced(room.registry, person)
    if person is not None and not wrong and code is not None:
        wrong = not room.registry.second_factors.accepts(person.code, code)
    if person is None or wrong:
        room.registry.audit(purpose, reader="" if person is None else person.code)
        raise WrongPasswordError
    room.registry.sessions.succeeded(attempt)
    return person, account


def confirm_app(request: Request, account: str, code: str) -> bool:
    """Take the new secret of an authenticator app into use. A wrong code counts as a failed login.

    Parameters
    ----------
    request : Request
    account : str
        Code of the person who is signed in.
    code : str

    Returns
    -------
    bool
        As `SecondFactors.confirm`.

    Raises
    ------
    LockedOutError
        If there were too many failed attempts. The code is not checked.
    """
    registry = room_of(request).registry
    attempt = _begun_attempt(request, account)
    if not registry.second_factors.confirm(account, code):
        registry.audit(AuditAction.LOGIN_REFUSED, reader=account)
        return False
    registry.sessions.succeeded(attempt)
    return True


def _begun_attempt(request: Request, login: str) -> int:
    address = request.client.host if request.client else ""
    attempt = room_of(request).registry.sessions.begin_attempt(login, address)
    if attempt is None:
        raise LockedOutError
    return attempt


@cache
def _nobody() -> Account:
    return Account(code="nobody", role=Role.READER, password_hash=password_hash("no password has this hash"))
