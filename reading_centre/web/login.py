"""Passwords of the web application: every check is counted, and an unknown login takes as long as a wrong password."""

from __future__ import annotations

from functools import cache

from fastapi import Request

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.reading_settings import Reader
from mri_pipeline.reading.accounts import password_hash, require_password
from reading_centre.web.access import room_of

WRONG = "Expected a login of this trial and its password, found another. Try again, or ask the reading centre."
LOCKED_OUT = "Expected fewer failed attempts, found too many. Try again in 15 minutes, or ask the reading centre."


class WrongPasswordError(Exception):
    """Login and password do not belong together."""


class LockedOutError(Exception):
    """There were too many failed attempts."""


def checked_account(request: Request, login: str, password: str, *, purpose: str) -> tuple[Reader, str]:
    """The reader of a login and a password.

    Parameters
    ----------
    request : Request
    login, password : str
    purpose : str
        Action of the audit entry of a wrong password.

    Returns
    -------
    reader : Reader
    account : str
        Fingerprint of the account.

    Raises
    ------
    LockedOutError
        If there were too many failed attempts. The password is not checked.
    WrongPasswordError
        If they do not belong together.
    """
    room = room_of(request)
    sessions = room.registry.sessions
    attempt = sessions.begin_attempt(login, request.client.host if request.client else "")
    if attempt is None:
        raise LockedOutError
    reader = room.reader(login)
    try:
        account = require_password(reader or _nobody(), password)
    except UsageError:  # SettingsError is one, too
        account = ""
    if reader is None or not account:
        room.registry.audit(purpose, reader="" if reader is None else reader.code)
        raise WrongPasswordError
    sessions.succeeded(attempt)
    return reader, account


@cache
def _nobody() -> Reader:
    return Reader(code="nobody", password_hash=password_hash("no password has this hash"))
