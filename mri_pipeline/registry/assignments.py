"""Reading in the browser: who reads which visit, and the log of what was done.

The operations of an assignment are a chain: each contains the hash of the one before. The head of the chain is in the
audit trail from the signature on.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import select

from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry.assignment_records import Assignment, AssignmentState, Edit
from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.edit_log import EditLog, count_edits
from mri_pipeline.registry.schema import AssignmentRow
from mri_pipeline.registry.trail import append

LEASE: Final = timedelta(seconds=60)
"""A browser tab may edit for this time after its latest sign of life."""
LONGEST_STEP_S: Final = 60
"""Largest time between two signs of life that counts as time spent."""


class Assignments(EditLog):
    """Assignments and operations of one trial. Each method is one transaction."""

    def refresh(
        self, reader: str, awaiting: Collection[tuple[str, str, str]], unsigned: Collection[tuple[str, str, str]]
    ) -> list[Assignment]:
        """Assign the visits that await a read by a reader, and withdraw open assignments of other visits.

        Parameters
        ----------
        reader : str
            Code of the reader.
        awaiting : collection of (subject, visit, purpose)
        unsigned : collection of (subject, visit, purpose)
            Visits with a read that is not locked. Their assignments stay, but no new ones are made.

        Returns
        -------
        list of Assignment
            Open and signed ones.
        """
        with writing(self._engine) as session:
            rows = session.scalars(select(AssignmentRow).filter_by(reader=reader)).all()
            rounds: dict[tuple[str, str, str], int] = {}
            held = set()
            for row in rows:
                key = (row.subject, row.visit, row.purpose)
                rounds[key] = max(rounds.get(key, 0), row.round)
                if row.state == AssignmentState.OPEN.value:
                    if key in awaiting or key in unsigned:
                        held.add(key)
                    else:
                        row.state = AssignmentState.WITHDRAWN.value
            for key in sorted(set(awaiting) - held):
                session.add(_new(reader, key, rounds.get(key, 0) + 1))
            session.flush()
            found = session.scalars(
                select(AssignmentRow)
                .filter_by(reader=reader)
                .where(AssignmentRow.state != AssignmentState.WITHDRAWN.value)
            )
            return [Assignment.of(row) for row in found]

    def find(self, code: str, reader: str) -> Assignment | None:
        """An assignment of a reader.

        Parameters
        ----------
        code : str
        reader : str
            Code of the reader.

        Returns
        -------
        Assignment or None
            None for an unknown code and for that of another reader.
        """
        with reading(self._engine) as session:
            row = session.get(AssignmentRow, code)
            return Assignment.of(row) if row is not None and row.reader == reader else None

    def of_reader(self, reader: str) -> list[Assignment]:
        """The open and signed assignments of a reader.

        Parameters
        ----------
        reader : str
            Code of the reader.

        Returns
        -------
        list of Assignment
            In the order of their codes.
        """
        query = select(AssignmentRow).filter_by(reader=reader).order_by(AssignmentRow.code)
        with reading(self._engine) as session:
            found = [Assignment.of(row) for row in session.scalars(query)]
        return [one for one in found if one.state is not AssignmentState.WITHDRAWN]

    def signed(self) -> list[Assignment]:
        """The signed assignments of all readers.

        Returns
        -------
        list of Assignment
            In the order of their codes.
        """
        query = select(AssignmentRow).filter_by(state=AssignmentState.SIGNED.value).order_by(AssignmentRow.code)
        with reading(self._engine) as session:
            return [Assignment.of(row) for row in session.scalars(query)]

    def largest_canvas(self) -> tuple[int, int, int]:
        """The largest number of displayed voxels along each axis, over all assignments.

        Returns
        -------
        tuple of 3 int
            Zeros without an opened assignment.
        """
        with reading(self._engine) as session:
            shapes = [canvas["shape"] for canvas in session.scalars(select(AssignmentRow.canvas)) if canvas]
        x, y, z = (max((int(shape[axis]) for shape in shapes), default=0) for axis in range(3))
        return x, y, z

    def opened(self, code: str, *, digest: str, canvas: Mapping[str, Any]) -> None:
        """Note the proposals and the canvas of an assignment whose images are opened for the first time.

        Later calls change nothing.

        Parameters
        ----------
        code : str
        digest : str
            Of the proposals.
        canvas : mapping
            As `AssignmentRow`.
        """
        with writing(self._engine) as session:
            row = session.get_one(AssignmentRow, code)
            if row.opened_at:
                return
            row.digest, row.canvas, row.opened_at = digest, dict(canvas), utc_now()
            details = {"assignment": code, "purpose": row.purpose, "round": row.round, "proposal": digest}
            append(session, AuditAction.READING_OPENED, f"{row.subject} {row.visit}", details, reader=row.reader)

    def withdraw(self, code: str, reason: str) -> None:
        """Withdraw an assignment. The next worklist of the reader has the visit under a new code, if it awaits a read.

        Parameters
        ----------
        code : str
        reason : str
            For the audit trail.
        """
        with writing(self._engine) as session:
            row = session.get_one(AssignmentRow, code)
            if row.state != AssignmentState.OPEN.value:
                return
            row.state = AssignmentState.WITHDRAWN.value
            details = {"assignment": code, "reason": reason, "edits": count_edits(session, code)}
            append(
                session, AuditAction.READING_WITHDRAWN, f"{row.subject} {row.visit}", details, reader=row.reader
            )

    def lease(self, code: str, holder: str, *, take_over: bool) -> bool:
        """Let one browser tab edit an assignment.

        Parameters
        ----------
        code : str
        holder : str
            Random name of the tab.
        take_over : bool
            True to take the lease from another tab.

        Returns
        -------
        bool
            True if the tab holds the lease now.
        """
        now = datetime.now(UTC)
        with writing(self._engine) as session:
            row = session.get_one(AssignmentRow, code)
            if row.lease_holder == holder and row.lease_at:
                passed = (now - datetime.fromisoformat(row.lease_at)).total_seconds()
                row.seconds += min(round(passed), LONGEST_STEP_S)
            elif not take_over and _alive(row, now):
                return False
            row.lease_holder, row.lease_at = holder, now.isoformat(timespec="seconds")
            return True

    def sign(
        self,
        code: str,
        *,
        signature: Mapping[str, Any],
        edits: Sequence[Edit],
        digest: str,
        statement: Mapping[str, str],
    ) -> None:
        """Note the signature of the read of an assignment. It accepts no operation from now on.

        Parameters
        ----------
        code : str
        signature : mapping
            As `AssignmentRow`.
        edits : sequence of Edit
            The log that was signed. Its head goes into the audit trail.
        digest : str
            Of the stored read.
        statement : mapping
            The signature for the lock (`mri_pipeline.reading.signature.signature`).

        Raises
        ------
        UsageError
            If the log has more operations, or the assignment is withdrawn.
        """
        with writing(self._engine) as session:
            row = session.get_one(AssignmentRow, code)
            if row.state == AssignmentState.WITHDRAWN.value:
                raise UsageError("expected an open read, found a withdrawn one", hint="go to the worklist")
            stored = count_edits(session, code)
            if row.state == AssignmentState.OPEN.value and stored != len(edits):
                raise UsageError(
                    f"expected the {len(edits)} operations that were signed, found {stored}",
                    hint="look at the summary and sign again",
                )
            row.state, row.signature = AssignmentState.SIGNED.value, dict(signature)
            details = {
                "assignment": code, "purpose": row.purpose, "round": row.round, "seconds": row.seconds,
                "edits": len(edits), "head": edits[-1].hash if edits else "", "digest": digest,
                "signature": dict(statement), **signature,
            }  # fmt: skip
            append(session, AuditAction.READ_SIGNED, f"{row.subject} {row.visit}", details, reader=row.reader)


def _new(reader: str, key: tuple[str, str, str], number: int) -> AssignmentRow:
    subject, visit, purpose = key
    return AssignmentRow(
        code=secrets.token_hex(12), reader=reader, subject=subject, visit=visit, purpose=purpose, round=number,
        state=AssignmentState.OPEN.value, created_at=utc_now(),
    )  # fmt: skip


def _alive(row: AssignmentRow, now: datetime) -> bool:
    return bool(row.lease_holder) and now - datetime.fromisoformat(row.lease_at) < LEASE
