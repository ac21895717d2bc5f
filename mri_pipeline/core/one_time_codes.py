"""Codes of an authenticator app: TOTP by RFC 6238 with its defaults (HMAC-SHA1, 6 digits, 30 s)."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from typing import Final
from urllib.parse import quote

DIGITS: Final = 6
STEP_S: Final = 30
"""Duration of a code (RFC 6238, section 5.2)."""
SLACK_STEPS: Final = 1
"""Codes of one step before and after are accepted: clocks differ (RFC 6238, section 5.2)."""
SECRET_BYTES: Final = 20
"""Length of the secret, as of the hash (RFC 4226, section 4)."""


def new_secret() -> str:
    """A random secret.

    Returns
    -------
    str
        In base32.
    """
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()


def code_at(secret: str, step: int) -> str:
    """The code of a time step.

    Parameters
    ----------
    secret : str
        In base32.
    step : int
        Number of steps since the beginning of 1970.

    Returns
    -------
    str
        `DIGITS` digits.

    Examples
    --------
    The first value of RFC 6238, appendix B, cut to six digits:

    >>> code_at(base64.b32encode(b"12345678901234567890").decode(), 59 // STEP_S)
    '287082'
    """
    digest = hmac.digest(base64.b32decode(secret), step.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 0xF
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_of(secret: str, code: str, *, now_s: float) -> int | None:
    """The time step of a code that is valid now.

    Parameters
    ----------
    secret : str
        In base32.
    code : str
        As entered; spaces are ignored.
    now_s : float
        Seconds since the beginning of 1970.

    Returns
    -------
    int or None
        The latest step of this code. None for another code.
    """
    entered = re.sub(r"\s+", "", code)
    if not re.fullmatch(rf"[0-9]{{{DIGITS}}}", entered):
        return None
    present = int(now_s) // STEP_S
    steps = range(present + SLACK_STEPS, present - SLACK_STEPS - 1, -1)
    return next((step for step in steps if hmac.compare_digest(code_at(secret, step), entered)), None)


def otpauth_uri(secret: str, *, account: str, issuer: str) -> str:
    """The address by which an authenticator app takes the secret over.

    Parameters
    ----------
    secret : str
    account : str
        Code of the person.
    issuer : str
        Name that the app shows.

    Returns
    -------
    str

    Examples
    --------
    >>> otpauth_uri("ABCD", account="R1", issuer="Trial X")
    'otpauth://totp/Trial%20X:R1?secret=ABCD&issuer=Trial%20X'
    """
    return f"otpauth://totp/{quote(issuer)}:{quote(account)}?secret={secret}&issuer={quote(issuer)}"
