"""Accounts of the people of a trial: their codes, names, roles and passwords."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, SerializationInfo, field_serializer, field_validator, model_validator

from mri_pipeline.core.settings import DIGEST, Settings


class Role(StrEnum):
    """Role of a person in the trial."""

    READER = "reader"
    ADJUDICATOR = "adjudicator"
    SITE = "site"
    DATA_MANAGER = "data manager"
    AUDITOR = "auditor"


READING_ROLES = frozenset({Role.READER, Role.ADJUDICATOR})
"""Roles of those who read scans, blinded."""
ONE_TIME_LIMIT: Final = timedelta(hours=72)
"""A one-time password holds this long after it was set."""


class Account(Settings):
    """A person of the trial.

    Attributes
    ----------
    code : str
        Up to 32 letters, digits, ``_`` and ``-``. Upper and lower case are the same code.
    name : str
        Printed name; the code if empty.
    role : Role
    password_hash : str
        Argon2id hash of the password; empty without password.
    one_time_password_hash : str
        Time (UTC, ISO 8601) at which another person has set a password, a space, and its Argon2id hash; empty without
        it. It serves to set an own password within `ONE_TIME_LIMIT`, and for nothing else.
    """

    code: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    name: Annotated[str, Field(max_length=64)] = ""
    role: Role
    password_hash: Annotated[str, Field(pattern=r"^(\$argon2id\$[!-~]+)?$")] = ""
    one_time_password_hash: Annotated[str, Field(pattern=r"^(20\d\d-\S+ \$argon2id\$[!-~]+)?$")] = ""

    @property
    def login_hash(self) -> str:
        """Hash of the password for a login; empty if the person cannot sign in."""
        return self.password_hash or self.one_time_password_hash.partition(" ")[2]

    @property
    def one_time_until(self) -> datetime | None:
        """End of the one-time password; None without it."""
        if not self.one_time_password_hash:
            return None
        return _utc(self.one_time_password_hash.partition(" ")[0]) + ONE_TIME_LIMIT

    def can_sign_in(self, now: datetime) -> bool:
        """True if the person has a valid password.

        Parameters
        ----------
        now : datetime.datetime
            With time zone.

        Returns
        -------
        bool
        """
        until = self.one_time_until
        return bool(self.login_hash) and (until is None or now < until)

    @model_validator(mode="after")
    def _one_password(self) -> Account:
        if self.password_hash and self.one_time_password_hash:
            raise ValueError("expected password_hash or one_time_password_hash, found both")
        return self

    @field_validator("one_time_password_hash")
    @classmethod
    def _with_time(cls, value: str) -> str:
        if value:
            _utc(value.partition(" ")[0])
        return value

    @field_serializer("name", "password_hash", "one_time_password_hash")
    def _no_rule(self, value: str, info: SerializationInfo) -> str | None:
        return None if info.context == DIGEST else value  # a new password changes no number


def _utc(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("expected a time with its offset from UTC before the one-time hash, found no offset")
    return at.astimezone(UTC)


class StaffAccount(Account):
    """A person who does not read: of a site, a data manager or an auditor.

    Attributes
    ----------
    site : str
        Code of the site; empty for the other roles.
    """

    site: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> StaffAccount:
        if self.role in READING_ROLES:
            raise ValueError("readers and adjudicators belong under [[readers]]")
        if (self.role is Role.SITE) != bool(self.site):
            raise ValueError('a site is required for the role "site", and for no other')
        return self
