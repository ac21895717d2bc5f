"""Sessions of the web application, and the limit of login attempts."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Engine, delete, func, select
from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.schema import LONGEST_NAME, AuditRow, LoginAttemptRow, SessionRow
from mri_pipeline.registry.trail import append

IDLE_LIMIT: Final = timedelta(minutes=30)
"""A session ends after this time without a request."""
ABSOLUTE_LIMIT: Final = timedelta(hours=12)
"""A session ends this long after the login."""
SEEN_STEP: Final = timedelta(seconds=60)
"""The latest request is stored to this precision, so that most requests write nothing."""
ATTEMPTS_WINDOW: Final = timedelta(minutes=15)
"""Failed attempts of this time are counted."""
MOST_PER_ACCOUNT: Final = 5
"""Failed attempts for one account before it is locked out."""
MOST_PER_ADDRESS: Final = 30
"""Failed attempts from one network address before it is locked out."""


@dataclass(frozen=True)
class WebSession:
    """A session that has not ended.

    Parameters
    ----------
    account : str
        Code of the reader.
    fingerprint : str
        Of the account at the login.
    has_signed : bool
        True after the first signature of the session.
    """

    account: str
    fingerprint: str
    has_signed: bool


class Sessions:
    """Sessions and login attempts of one trial. Each method is one transaction.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self, account: str, fingerprint: str) -> str:
        """Start a session after a login. Ended sessions are removed.

        Parameters
        ----------
        account : str
            Code of the reader.
        fingerprint : str
            Of the account.

        Returns
        -------
        str
            The token for the browser. The database has only its SHA-256.
        """
        token, now = secrets.token_urlsafe(32), datetime.now(UTC)
        with writing(self._engine) as session:
            too_old = SessionRow.created_at < _text(now - ABSOLUTE_LIMIT)
            session.execute(delete(SessionRow).where(too_old | (SessionRow.seen_at < _text(now - IDLE_LIMIT))))
            row = SessionRow(
                token_hash=_hash(token), account=account, fingerprint=fingerprint, created_at=_text(now),
                seen_at=_text(now), reauthenticated_at="",
            )  # fmt: skip
            session.add(row)
            append(session, AuditAction.LOGIN, "", {}, reader=account)
        return token

    def find(self, token: str, *, active: bool = True) -> WebSession | None:
        """The session of a token, if it has not ended.

        Parameters
        ----------
        token : str
        active : bool
            False for a request that the page makes by itself. It does not prolong the session.

        Returns
        -------
        WebSession or None
        """
        now = datetime.now(UTC)
        with reading(self._engine) as session:
            row = session.get(SessionRow, _hash(token))
        if row is None:
            return None
        seen = datetime.fromisoformat(row.seen_at)
        if now - seen > IDLE_LIMIT or now - datetime.fromisoformat(row.created_at) > ABSOLUTE_LIMIT:
            self.close(token)
            return None
        if active and now - seen > SEEN_STEP:
            with writing(self._engine) as session:
                if (present := session.get(SessionRow, row.token_hash)) is not None:
                    present.seen_at = _text(now)
        return WebSession(row.account, row.fingerprint, bool(row.reauthenticated_at))

    def signed(self, token: str) -> None:
        """Record that the reader has signed in this session.

        Parameters
        ----------
        token : str
        """
        with writing(self._engine) as session:
            row = session.get(SessionRow, _hash(token))
            if row is not None and not row.reauthenticated_at:
                row.reauthenticated_at = _text(datetime.now(UTC))

    def close(self, token: str) -> None:
        """End a session. Its token is invalid from then on.

        Parameters
        ----------
        token : str
        """
        with writing(self._engine) as session:
            row = session.get(SessionRow, _hash(token))
            if row is not None:
                append(session, AuditAction.LOGOUT, "", {}, reader=row.account)
                session.delete(row)

    def password_changed(self, account: str, *, replaced: str, present: str) -> None:
        """Enter a new password of a person, and end the person's sessions.

        Parameters
        ----------
        account : str
            Code of the person.
        replaced, present : str
            Fingerprints of the account before and after.
        """
        with writing(self._engine) as session:
            session.execute(delete(SessionRow).where(func.upper(SessionRow.account) == account.upper()))
            details = {"replaced": replaced, "account": present}
            append(session, AuditAction.PASSWORD_CHANGED, "", details, reader=account)

    def role_changed(self, action: AuditAction, account: str, *, by: str, details: Mapping[str, str]) -> None:
        """Enter the begin or the end of a change of a person's role, and end the person's sessions.

        Parameters
        ----------
        action : AuditAction
        account, by : str
            Codes of the person, and of the data manager.
        details : mapping
            ``old`` and ``new`` role.
        """
        with writing(self._engine) as session:
            session.execute(delete(SessionRow).where(func.upper(SessionRow.account) == account.upper()))
            append(session, action, account, dict(details), reader=by)

    def is_replaced(self, account: str, fingerprint: str) -> bool:
        """True if a password was replaced in the web application. It is invalid then.

        Parameters
        ----------
        account : str
            Code of the person.
        fingerprint : str
            Of the account with that password.

        Returns
        -------
        bool
        """
        changes = select(AuditRow.details).where(AuditRow.action == AuditAction.PASSWORD_CHANGED.value)
        with reading(self._engine) as session:
            of_person = session.scalars(changes.where(func.upper(AuditRow.reader) == account.upper()))
            return any(details.get("replaced") == fingerprint for details in of_person)

    def begin_attempt(self, account: str, address: str) -> int | None:
        """Enter an attempt before its password is checked. It counts as failed until `succeeded` is called.

        Parameters
        ----------
        account : str
            The code that was entered.
        address : str
            Network address of the browser.

        Returns
        -------
        int or None
            Number of the attempt. None if the account or the address is locked out.
        """
        account, address = (_printable(text)[:LONGEST_NAME] for text in (account.upper(), address))
        now = datetime.now(UTC)
        with writing(self._engine) as session:
            since = _text(now - ATTEMPTS_WINDOW)
            session.execute(delete(LoginAttemptRow).where(LoginAttemptRow.at < since))
            per_account = _failed(session, LoginAttemptRow.account == account, since)
            per_address = _failed(session, LoginAttemptRow.address == address, since)
            if per_account >= MOST_PER_ACCOUNT or per_address >= MOST_PER_ADDRESS:
                return None
            row = LoginAttemptRow(at=_text(now), account=account, address=address, succeeded=False)
            session.add(row)
            session.flush()
            return row.id

    def succeeded(self, attempt: int) -> None:
        """Record that the password of an attempt was correct. Earlier failures of the account no longer count.

        Parameters
        ----------
        attempt : int
            From `begin_attempt`.
        """
        with writing(self._engine) as session:
            row = session.get(LoginAttemptRow, attempt)
            if row is None:  # a later attempt of the account was faster
                return
            session.execute(
                delete(LoginAttemptRow).where(
                    LoginAttemptRow.account == row.account, LoginAttemptRow.succeeded.is_(False),
                    LoginAttemptRow.id < attempt,
                )
            )  # fmt: skip
            row.succeeded = True


def _failed(session: Session, of: ColumnElement[bool], since: str) -> int:
    query = select(func.count()).select_from(LoginAttemptRow)
    return session.scalar(query.where(of, LoginAttemptRow.at >= since, LoginAttemptRow.succeeded.is_(False))) or 0


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())  # PostgreSQL stores no NUL


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
