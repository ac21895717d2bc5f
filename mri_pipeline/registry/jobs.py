"""Jobs: work that a person has ordered in the web application, done by a process of its own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Engine, func, select

from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.schema import JobRow
from mri_pipeline.registry.trail import append

MOST_ATTEMPTS: Final = 2
"""How often a job is started. A job that was interrupted more often fails."""


class JobKind(StrEnum):
    """What is done."""

    VISIT = "visit"
    DUMMY_RUN = "dummy run"
    RETRY = "retry"
    RELEASE = "release"
    AGREEMENT = "agreement"


class JobState(StrEnum):
    """State of a job."""

    RECEIVING = "receiving"  # its upload is not whole
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    DISCARDED = "discarded"  # its upload was not completed

    @property
    def ended(self) -> bool:
        """True if nothing follows."""
        return self not in {JobState.RECEIVING, JobState.WAITING, JobState.RUNNING}


@dataclass(frozen=True)
class Job:
    """A job. The fields are those of `JobRow`.

    Parameters
    ----------
    code : str
    kind : JobKind
    state : JobState
    site, visit, subject, account, entry : str
    size_bytes : int
    created_at, started_at, ended_at : str
    attempts : int
    outcome : mapping
    """

    code: str
    kind: JobKind
    state: JobState
    site: str
    visit: str
    subject: str
    account: str
    entry: str
    size_bytes: int
    created_at: str
    started_at: str
    ended_at: str
    attempts: int
    outcome: Mapping[str, Any]

    @property
    def is_unjudged(self) -> bool:
        """True for an upload whose check failed without a verdict. What was sent is kept."""
        return self.state is JobState.FAILED and self.kind in {JobKind.VISIT, JobKind.DUMMY_RUN}


class Jobs:
    """The jobs of one trial. Each method is one transaction.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(
        self, kind: JobKind, *, account: str, site: str = "", visit: str = "", entry: str = "", size_bytes: int = 0
    ) -> Job:
        """Enter a job of which nothing is received yet.

        Parameters
        ----------
        kind : JobKind
        account : str
            Code of the person.
        site, visit, entry, size_bytes
            As in `JobRow`.

        Returns
        -------
        Job
        """
        row = JobRow(
            code=secrets.token_hex(12), kind=kind.value, state=JobState.RECEIVING.value, site=site, visit=visit,
            subject="", account=account, entry=entry, size_bytes=size_bytes, created_at=utc_now(), started_at="",
            ended_at="", attempts=0, outcome={},
        )  # fmt: skip
        with writing(self._engine) as session:
            session.add(row)
            return _job(row)

    def submit(self, code: str) -> None:
        """Order a job of which everything was received. A second call changes nothing.

        Parameters
        ----------
        code : str
        """
        with writing(self._engine) as session:
            row = session.get_one(JobRow, code, with_for_update=True)
            if row.state == JobState.RECEIVING.value:
                row.state = JobState.WAITING.value
                details = {
                    "job": code,
                    "kind": row.kind,
                    "visit": row.visit,
                    "entry": row.entry,
                    "bytes": row.size_bytes,
                }
                action = AuditAction.UPLOAD_SENT if row.size_bytes else AuditAction.JOB_ORDERED
                append(session, action, row.site, details, reader=row.account)

    def find(self, code: str) -> Job | None:
        """A job.

        Parameters
        ----------
        code : str

        Returns
        -------
        Job or None
        """
        with reading(self._engine) as session:
            row = session.get(JobRow, code)
            return None if row is None else _job(row)

    def latest(self, *, site: str = "", most: int = 50) -> list[Job]:
        """The latest jobs, the newest first.

        Parameters
        ----------
        site : str
            Code of the site; empty for all.
        most : int
            Largest number.

        Returns
        -------
        list of Job
        """
        query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.code).limit(most)
        with reading(self._engine) as session:
            return [_job(row) for row in session.scalars(query.where(JobRow.site == site) if site else query)]

    def not_ended(self, *, site: str = "") -> list[Job]:
        """The jobs that are not ended, the oldest first.

        Parameters
        ----------
        site : str
            Code of the site; empty for all.

        Returns
        -------
        list of Job
        """
        alive = [state.value for state in JobState if not state.ended]
        query = select(JobRow).where(JobRow.state.in_(alive)).order_by(JobRow.created_at, JobRow.code)
        with reading(self._engine) as session:
            return [_job(row) for row in session.scalars(query.where(JobRow.site == site) if site else query)]

    def has_work(self) -> bool:
        """True if a job waits, or was started and is not ended.

        Returns
        -------
        bool
        """
        ready = [JobState.WAITING.value, JobState.RUNNING.value]
        with reading(self._engine) as session:
            return bool(session.scalar(select(func.count()).where(JobRow.state.in_(ready))))

    def take(self) -> Job | None:
        """Start the oldest waiting job. The caller is the only one who does jobs: a started job was interrupted.

        Returns
        -------
        Job or None
        """
        with writing(self._engine) as session:
            for row in session.scalars(select(JobRow).filter_by(state=JobState.RUNNING.value)):
                again = row.attempts < MOST_ATTEMPTS
                _end(row, JobState.WAITING if again else JobState.FAILED, {} if again else _INTERRUPTED)
            waiting = select(JobRow).filter_by(state=JobState.WAITING.value)
            taken = session.scalar(waiting.order_by(JobRow.created_at, JobRow.code).limit(1))
            if taken is None:
                return None
            taken.state, taken.started_at = JobState.RUNNING.value, utc_now()
            taken.attempts += 1
            return _job(taken)

    def put_back(self, code: str) -> None:
        """Let a job wait again that was taken and not begun. The attempt does not count.

        Parameters
        ----------
        code : str
        """
        with writing(self._engine) as session:
            row = session.get_one(JobRow, code)
            if row.state == JobState.RUNNING.value:
                row.state, row.started_at = JobState.WAITING.value, ""
                row.attempts -= 1

    def end(
        self,
        code: str,
        state: JobState,
        outcome: Mapping[str, Any],
        *,
        subject: str = "",
        only: JobState | None = None,
    ) -> bool:
        """End a job.

        Parameters
        ----------
        code : str
        state : JobState
            An ended one.
        outcome : mapping
            JSON without patient data.
        subject : str
            Blinded code; empty if it is not known.
        only : JobState, optional
            A job in another state is not changed.

        Returns
        -------
        bool
            False if nothing was changed.
        """
        with writing(self._engine) as session:
            row = session.get_one(JobRow, code, with_for_update=True)
            if only is not None and row.state != only.value:
                return False
            _end(row, state, outcome)
            row.subject = subject
            return True


_INTERRUPTED: Final = {
    "reason": "expected a check that ends, found that it was interrupted several times",
    "next_step": "send the upload again, or ask the reading centre",
}


def _end(row: JobRow, state: JobState, outcome: Mapping[str, Any]) -> None:
    row.state, row.outcome = state.value, dict(outcome)
    row.ended_at = utc_now() if state.ended else ""


def _job(row: JobRow) -> Job:
    return Job(
        row.code, JobKind(row.kind), JobState(row.state), row.site, row.visit, row.subject, row.account, row.entry,
        row.size_bytes, row.created_at, row.started_at, row.ended_at, row.attempts, row.outcome,
    )  # fmt: skip
