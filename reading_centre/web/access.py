"""Who may call which endpoint. An endpoint without a declaration is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

from mri_pipeline.core.accounts import Role, StaffAccount
from mri_pipeline.reading.accounts import account_fingerprint
from reading_centre.use_cases.reading.room import ReadingRoom
from reading_centre.use_cases.uploads.jobs import Worker

COOKIE: Final = "reading_session"
AUTOMATIC: Final = "X-Automatic"
"""Header of requests that a page makes by itself. They do not prolong the session."""
EVERYBODY: Final = "everybody"
"""Access without a session."""
OWN_PASSWORD: Final = "/password"  # noqa: S105 - an address
"""Page on which a person changes the password."""
Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


class MustChangeError(HTTPException):
    """The person has a one-time password."""


@dataclass(frozen=True)
class User:
    """The person of a session.

    Parameters
    ----------
    code : str
        Of the person.
    name : str
        Printed name.
    role : Role
    site : str
        Code of the person's site; empty for the other roles.
    token : str
        Of the session.
    has_signed : bool
        True after the first signature of the session.
    must_change : bool
        True if the person has a one-time password.
    """

    code: str
    name: str
    role: Role
    site: str
    token: str
    has_signed: bool
    must_change: bool = False


def allow(*roles: Role | str, background: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Declare who may call an endpoint.

    Parameters
    ----------
    *roles : Role or str
        Roles, or `EVERYBODY`.
    background : bool
        True for an endpoint that pages call by themselves. It does not prolong the session. A page that is loaded by
        itself has the header `AUTOMATIC`.

    Returns
    -------
    callable
        A decorator.
    """

    def declare(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["roles"], vars(endpoint)["background"] = frozenset(roles), background
        return endpoint

    return declare


def room_of(request: Request) -> ReadingRoom:
    """The reading room of the application.

    Parameters
    ----------
    request : Request

    Returns
    -------
    ReadingRoom
    """
    room = request.app.state.room
    assert isinstance(room, ReadingRoom)
    return room


def worker_of(request: Request) -> Worker:
    """The starter of the process that does the jobs.

    Parameters
    ----------
    request : Request

    Returns
    -------
    Worker
    """
    worker = request.app.state.worker
    assert isinstance(worker, Worker)
    return worker


def user_of(request: Request) -> User:
    """The person of the session, as `authorise` found.

    Parameters
    ----------
    request : Request

    Returns
    -------
    User
    """
    user = request.state.user
    assert isinstance(user, User)
    return user


def authorise(request: Request) -> None:
    """Refuse a request without session, or of another role than declared.

    Parameters
    ----------
    request : Request

    Raises
    ------
    HTTPException
        401 without a session, 403 with another role or a one-time password.
    """
    endpoint = request.scope["endpoint"]
    roles: frozenset[Role | str] = getattr(endpoint, "roles", frozenset())
    if EVERYBODY in roles:
        return
    by_itself = getattr(endpoint, "background", False) or AUTOMATIC in request.headers
    user = _session(request, active=not by_itself)
    if user is None:
        raise HTTPException(401, "Expected a session, found none. Sign in.")
    if user.role not in roles:
        raise HTTPException(403, "Expected another role for this page, found yours. Go to the first page.")
    if user.must_change and request.url.path != OWN_PASSWORD:
        raise MustChangeError(403, "Expected a password of your own, found a one-time password. Change it first.")
    request.state.user = user


def _session(request: Request, *, active: bool) -> User | None:
    token = request.cookies.get(COOKIE, "")
    room = room_of(request)
    session = room.registry.sessions.find(token, active=active) if token else None
    if session is None:
        return None
    person = room.people.account(session.account)
    if person is None or account_fingerprint(person) != session.fingerprint:  # the password was changed
        return None
    site = person.site if isinstance(person, StaffAccount) else ""
    must_change = not person.password_hash
    return User(person.code, person.name or person.code, person.role, site, token, session.has_signed, must_change)
