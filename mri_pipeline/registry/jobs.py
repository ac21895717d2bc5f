"""The jobs of a trial in the registry: entered, taken, ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.job_records import (
    MOST_ATTEMPTS,
    MOST_ATTEMPTS_LONG,
    SHORT,
    WISHES,
    Job,
    JobKind,
    JobState,
    Quota,
    QuotaError,
    new_code,
)
from mri_pipeline.registry.schema import JobRow
from mri_pipeline.registry.trail import append


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
        self,
        kind: JobKind,
        *,
        account: str,
        site: str = "",
        visit: str = "",
        size_bytes: int,
        sent_whole: bool = False,
        quota: Quota | None = None,
    ) -> Job:
        """Enter an upload of which nothing is received yet.

        Parameters
        ----------
        kind : JobKind
        account : str
            Code of the person.
        site, visit, size_bytes
            As in `JobRow`.
        sent_whole : bool, optional
            True if the person agreed that files are sent with the patient's data. The audit trail has it.
        quota : Quota, optional
            Of the site.

        Returns
        -------
        Job

        Raises
        ------
        QuotaError
            If the site would exceed its quota.
        """
        row = _row(kind, JobState.RECEIVING, account=account, site=site, visit=visit, size_bytes=size_bytes)
        with writing(self._engine) as session:
            if quota is not None:
                _require_quota(session, quota, site, size_bytes)
            session.add(row)
            _audit(session, row, AuditAction.UPLOAD_BEGUN, {"sent_whole": True} if sent_whole else None)
            return _job(row)

    def order(
        self,
        kind: JobKind,
        *,
        account: str,
        site: str = "",
        visit: str = "",
        entry: str = "",
        code: str = "",
        wishes: Mapping[str, bool] | None = None,
        once: bool = False,
    ) -> Job:
        """Enter a job without an upload. It waits from now on.

        Parameters
        ----------
        kind : JobKind
        account : str
            Code of the person.
        site, visit, entry
            As in `JobRow`.
        code : str, optional
            From `new_code`, if files of the job exist already.
        wishes : mapping of str to bool, optional
            As `Job.wishes`.
        once : bool, optional
            True: a job of the kind that has not ended is returned, and no other one is entered.

        Returns
        -------
        Job
        """
        row = _row(kind, JobState.WAITING, account=account, site=site, visit=visit, entry=entry, code=code)
        row.outcome = {WISHES: dict(wishes)} if wishes else {}
        alive = select(JobRow).where(JobRow.kind == kind.value, JobRow.state.in_(_ALIVE)).limit(1)
        with writing(self._engine) as session:
            if once and (known := session.scalar(alive)) is not None:
                return _job(known)
            session.add(row)
            _audit(session, row, AuditAction.JOB_ORDERED, row.outcome)
            return _job(row)

    def follow(self, kind: JobKind) -> Job:
        """Enter a job of the system, unless one of its kind waits. One in progress may have passed what is new.

        Parameters
        ----------
        kind : JobKind

        Returns
        -------
        Job
        """
        waiting = select(JobRow).where(JobRow.kind == kind.value, JobRow.state == JobState.WAITING.value).limit(1)
        with writing(self._engine) as session:
            row = session.scalar(waiting)
            if row is None:
                row = _row(kind, JobState.WAITING, account="", site="", visit="")
                session.add(row)
                _audit(session, row, AuditAction.JOB_ORDERED)
            return _job(row)

    def submit(self, code: str) -> None:
        """Order the check of an upload of which everything was received. A second call changes nothing.

        Parameters
        ----------
        code : str
        """
        with writing(self._engine) as session:
            row = session.get_one(JobRow, code, with_for_update=True)
            if row.state == JobState.RECEIVING.value:
                row.state = JobState.WAITING.value
                _audit(session, row, AuditAction.UPLOAD_SENT)

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

    def latest(self, *, site: str = "", kinds: Collection[JobKind] = tuple(JobKind), most: int = 50) -> list[Job]:
        """The latest jobs, the newest first.

        Parameters
        ----------
        site : str
            Code of the site; empty for all.
        kinds : collection of JobKind, optional
        most : int
            Largest number.

        Returns
        -------
        list of Job
        """
        query = select(JobRow).where(JobRow.kind.in_(kinds))
        query = query.order_by(JobRow.created_at.desc(), JobRow.code).limit(most)
        with reading(self._engine) as session:
            return [_job(row) for row in session.scalars(query.where(JobRow.site == site) if site else query)]

    def not_ended(self) -> list[Job]:
        """The jobs that are not ended, the oldest first.

        Returns
        -------
        list of Job
        """
        query = select(JobRow).where(JobRow.state.in_(_ALIVE)).order_by(JobRow.created_at, JobRow.code)
        with reading(self._engine) as session:
            return [_job(row) for row in session.scalars(query)]

    def has_work(self, kinds: Collection[JobKind]) -> bool:
        """True if a job waits, or was started and is not ended.

        Parameters
        ----------
        kinds : collection of JobKind
            `SHORT`, `LONG` or `DISPLAY`.

        Returns
        -------
        bool
        """
        ready = [JobState.WAITING.value, JobState.RUNNING.value]
        with reading(self._engine) as session:
            of_kinds = select(func.count()).where(JobRow.state.in_(ready), JobRow.kind.in_(kinds))
            return bool(session.scalar(of_kinds))

    def take(self, kinds: Collection[JobKind]) -> Job | None:
        """Start the oldest waiting job.

        Only one process takes jobs of these kinds. A job that is marked as running was therefore interrupted: it waits
        again, or fails after `MOST_ATTEMPTS` (a job not of `SHORT` after `MOST_ATTEMPTS_LONG`).

        Parameters
        ----------
        kinds : collection of JobKind
            `SHORT`, `LONG` or `DISPLAY`.

        Returns
        -------
        Job or None
        """
        with writing(self._engine) as session:
            of_kinds = select(JobRow).where(JobRow.kind.in_(kinds))
            for row in session.scalars(of_kinds.where(JobRow.state == JobState.RUNNING.value)):
                if row.attempts < (MOST_ATTEMPTS if row.kind in SHORT else MOST_ATTEMPTS_LONG):
                    row.state = JobState.WAITING.value
                else:
                    _end(session, row, JobState.FAILED, _UPLOAD_INTERRUPTED if row.size_bytes else _INTERRUPTED)
            waiting = of_kinds.where(JobRow.state == JobState.WAITING.value)
            taken = session.scalar(waiting.order_by(JobRow.created_at, JobRow.code).limit(1))
            if taken is None:
                return None
            taken.state, taken.started_at = JobState.RUNNING.value, utc_now()
            taken.attempts += 1
            return _job(taken)

    def put_back(self, code: str) -> None:
        """Put back a job that was taken and not begun. The attempt does not count.

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
        by: str | None = None,
    ) -> bool:
        """End a job.

        Parameters
        ----------
        code : str
        state : JobState
            An ended one.
        outcome : mapping
            JSON without patient data. The audit entry has its ``upload``, the SHA-256 of what was sent.
        subject : str
            Blinded code; empty if it is not known.
        only : JobState, optional
            A job in another state is not changed.
        by : str, optional
            Who ended it, for the audit entry; empty if nobody did. The person of the job if it is left out.

        Returns
        -------
        bool
            False if nothing was changed.
        """
        with writing(self._engine) as session:
            row = session.get_one(JobRow, code, with_for_update=True)
            if only is not None and row.state != only.value:
                return False
            _end(session, row, state, outcome, by=by)
            row.subject = subject
            return True


_INTERRUPTED: Final = {
    "reason": "expected a job that ends, found that it was interrupted several times",
    "next_step": "order it again; results that were computed are kept",
}
_UPLOAD_INTERRUPTED: Final = {
    "reason": "expected a check that ends, found that it was interrupted several times",
    "next_step": "send the upload again, or ask the reading centre",
}


_ALIVE: Final = tuple(state.value for state in JobState if not state.ended)


def _row(
    kind: JobKind,
    state: JobState,
    *,
    account: str,
    site: str,
    visit: str,
    entry: str = "",
    size_bytes: int = 0,
    code: str = "",
) -> JobRow:
    return JobRow(
        code=code or new_code(), kind=kind.value, state=state.value, site=site, visit=visit, subject="",
        account=account, entry=entry, size_bytes=size_bytes, created_at=utc_now(), started_at="", ended_at="",
        attempts=0, outcome={},
    )  # fmt: skip


def _require_quota(session: Session, quota: Quota, site: str, size_bytes: int) -> None:
    columns = func.count(), func.coalesce(func.sum(JobRow.size_bytes), 0)
    alive = select(*columns).where(JobRow.site == site, JobRow.state.in_(_ALIVE), JobRow.size_bytes > 0)
    number, total = session.execute(alive).one()
    if number >= quota.uploads or total + size_bytes > quota.size_bytes:
        raise QuotaError(
            "expected fewer uploads that are not ended, found too many",
            hint="wait until they are checked, or complete or discard them",
        )


def _end(
    session: Session, row: JobRow, state: JobState, outcome: Mapping[str, Any], *, by: str | None = None
) -> None:
    kept = {name: row.outcome[name] for name in (WISHES,) if name in row.outcome}
    row.state, row.outcome, row.ended_at = state.value, kept | dict(outcome), utc_now()
    failed = state is JobState.FAILED
    if row.size_bytes:
        action = AuditAction.UPLOAD_NOT_CHECKED if failed else AuditAction.UPLOAD_CHECKED
        action = AuditAction.UPLOAD_DISCARDED if state is JobState.DISCARDED else action
    else:
        action = AuditAction.JOB_FAILED if failed else AuditAction.JOB_ENDED
    more = {"state": state.value} | {name: outcome[name] for name in ("upload",) if name in outcome}
    _audit(session, row, action, more, by=by)


def _audit(
    session: Session,
    row: JobRow,
    action: AuditAction,
    more: Mapping[str, Any] | None = None,
    *,
    by: str | None = None,
) -> None:
    details = {"job": row.code, "kind": row.kind, "visit": row.visit, "entry": row.entry, "bytes": row.size_bytes}
    append(session, action, row.site, details | dict(more or {}), reader=row.account if by is None else by)


def _job(row: JobRow) -> Job:
    return Job(
        row.code, JobKind(row.kind), JobState(row.state), row.site, row.visit, row.subject, row.account, row.entry,
        row.size_bytes, row.created_at, row.started_at, row.ended_at, row.attempts, row.outcome,
    )  # fmt: skip
