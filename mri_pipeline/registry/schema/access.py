"""Tables of the audit trail, and of sessions and logins of the web application."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from mri_pipeline.registry.schema.base import Base


class AuditRow(Base):
    """One entry of the audit trail.

    Attributes
    ----------
    seq, at, os_user, reader, action, target, details, previous, hash
        As in `mri_pipeline.registry.audit.AuditEntry`.
    """

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    os_user: Mapped[str] = mapped_column(String(64))
    reader: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(64))
    details: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class SessionRow(Base):
    """A session of the web application.

    Attributes
    ----------
    token_hash : str
        SHA-256 of the token, which only the browser has.
    account : str
        Code of the reader.
    fingerprint : str
        Of the account at the login (`mri_pipeline.reading.accounts`). A new password ends the session.
    created_at, seen_at : str
        Login and latest request, UTC (ISO 8601).
    reauthenticated_at : str
        First signature of the session; empty before.
    """

    __tablename__ = "sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[str] = mapped_column(String(64))
    fingerprint: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[str] = mapped_column(String(32))
    seen_at: Mapped[str] = mapped_column(String(32))
    reauthenticated_at: Mapped[str] = mapped_column(String(32), default="")


class LoginAttemptRow(Base):
    """A password that was entered, at a login or a signature.

    Attributes
    ----------
    at : str
        UTC (ISO 8601).
    account : str
        The code that was entered, in upper case.
    address : str
        Network address of the browser.
    succeeded : bool
    """

    __tablename__ = "login_attempts"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - a number is never given twice
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str] = mapped_column(String(32))
    account: Mapped[str] = mapped_column(String(64), index=True)
    address: Mapped[str] = mapped_column(String(64), index=True)
    succeeded: Mapped[bool]


class SecondFactorRow(Base):
    """The authenticator app of a person.

    Attributes
    ----------
    account : str
        Code of the person, in upper case.
    secret : str
        In base32. The server needs it to compute the codes.
    confirmed_at : str
        UTC (ISO 8601) of the first code; empty until then.
    last_step : int
        Time step of the latest code that was used; until the first one, that in which the secret was made.
    """

    __tablename__ = "second_factors"
    account: Mapped[str] = mapped_column(String(64), primary_key=True)
    secret: Mapped[str] = mapped_column(String(64))
    confirmed_at: Mapped[str] = mapped_column(String(32))
    last_step: Mapped[int] = mapped_column(BigInteger)
