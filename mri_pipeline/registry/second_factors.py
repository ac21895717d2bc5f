"""Authenticator apps of the people: a secret of each, and the latest code that was used."""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy import Engine, delete, update

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.one_time_codes import STEP_S, new_secret, step_of
from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.schema import SecondFactorRow
from mri_pipeline.registry.trail import append

MINUTES_TO_CONFIRM: Final = 15
"""A secret expires if no code of it is entered within this time."""


class SecondFactors:
    """Authenticator apps of one trial. Each method is one transaction.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_on(self, account: str) -> bool:
        """True if a login of the person needs a code.

        Parameters
        ----------
        account : str
            Code of the person.

        Returns
        -------
        bool
        """
        with reading(self._engine) as session:
            row = session.get(SecondFactorRow, account.upper())
            return row is not None and bool(row.confirmed_at)

    def begin(self, account: str) -> str:
        """A new secret. It takes effect when a code of it is entered; an earlier one that was not is replaced.

        Parameters
        ----------
        account : str
            Code of the person.

        Returns
        -------
        str
            In base32. It is shown once.

        Raises
        ------
        UsageError
            If the person has an app already.
        """
        with writing(self._engine) as session:
            row = session.get(SecondFactorRow, account.upper())
            if row is not None and row.confirmed_at:
                raise UsageError(
                    "expected an account without an authenticator app, found one with it", hint="remove it first"
                )
            if row is not None:
                session.delete(row)
                session.flush()
            secret = new_secret()
            now = int(time.time()) // STEP_S
            session.add(SecondFactorRow(account=account.upper(), secret=secret, confirmed_at="", last_step=now))
        return secret

    def confirm(self, account: str, code: str) -> bool:
        """Take the secret into use with a first code.

        Parameters
        ----------
        account, code : str

        Returns
        -------
        bool
            False for a wrong code, or without a secret of the last `MINUTES_TO_CONFIRM` that awaits one.
        """
        now_s = time.time()
        with writing(self._engine) as session:
            row = session.get(SecondFactorRow, account.upper())
            if row is None or row.confirmed_at or now_s >= row.last_step * STEP_S + MINUTES_TO_CONFIRM * 60:
                return False
            step = step_of(row.secret, code, now_s=now_s)
            if step is None:
                return False
            row.confirmed_at, row.last_step = utc_now(), step
            append(session, AuditAction.SECOND_FACTOR_ADDED, "", {}, reader=account)
        return True

    def accepts(self, account: str, code: str) -> bool:
        """Use a code at a login. No code is accepted twice, nor one of an earlier time step.

        Parameters
        ----------
        account, code : str

        Returns
        -------
        bool
            True also for a person without an authenticator app.
        """
        with writing(self._engine) as session:
            row = session.get(SecondFactorRow, account.upper())
            if row is None or not row.confirmed_at:
                return True
            step = step_of(row.secret, code, now_s=time.time())
            if step is None:
                return False
            known = SecondFactorRow.account == row.account
            use = update(SecondFactorRow).where(known, SecondFactorRow.last_step < step).values(last_step=step)
            return bool(session.connection().execute(use).rowcount)

    def remove(self, account: str, *, by: str) -> bool:
        """Let the person sign in without a code again.

        Parameters
        ----------
        account : str
            Code of the person.
        by : str
            Who removes it: the code of the person, or empty for the administrator at the command line.

        Returns
        -------
        bool
            False if the person has no app.
        """
        with writing(self._engine) as session:
            gone = session.connection().execute(
                delete(SecondFactorRow).where(
                    SecondFactorRow.account == account.upper(), SecondFactorRow.confirmed_at != ""
                )
            )
            if not gone.rowcount:
                return False
            append(session, AuditAction.SECOND_FACTOR_REMOVED, "", {"of": account}, reader=by)
        return True
