"""Reads in the registry: entry, comparison, adjudication, lock and unlock. Every change is audited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.database import writing
from mri_pipeline.registry.queries import RegistryQueries
from mri_pipeline.registry.records import ReadCounts, ReadState
from mri_pipeline.registry.requirements import LOCKED_HINT, require_not_locked, require_texts
from mri_pipeline.registry.schema import AuditRow, ReadRow, ScanRow, ScanState
from mri_pipeline.registry.steps import read_state
from mri_pipeline.registry.trail import append


def refusal_of(
    reads: Sequence[ReadState], reader: str, status: ReadStatus, *, wanted: int
) -> tuple[str, str, str] | None:
    """Why a visit accepts no read by a reader.

    Parameters
    ----------
    reads : sequence of ReadState
        The reads of the visit.
    reader : str
        Code of the reader.
    status : ReadStatus
        Confirmed for the read of a reader, adjudicated for that of an adjudicator.
    wanted : int
        Number of reads of each visit (`core.reading_settings.Reading.readers`).

    Returns
    -------
    tuple of 3 str, or None
        What was expected, what was found, and a hint. None if the visit accepts the read.
    """
    if any(read.status is ReadStatus.LOCKED for read in reads):
        return "an open read", "a locked one", LOCKED_HINT
    own = next((read for read in reads if read.reader == reader), None)
    others = [read for read in reads if read is not own]
    if status is ReadStatus.ADJUDICATED:
        if [read.standing for read in others] != [ReadStanding.COMPARED] * 2:
            return "two reads that disagree", "none", "only reads that disagree are adjudicated"
        return None
    if (own and own.standing is ReadStanding.COMPARED) or (own and own.standing is ReadStanding.COUNTS and others):
        hint = "the reader of the read that counts may reopen it: mri-pipeline read TRIAL --unlock CODE/VISIT"
        return "reads that are not compared yet", "compared ones", hint
    if len(others) >= wanted:
        names = " and ".join(read.reader for read in others)
        return (
            f"the reads of {names}",
            "one by another reader",
            "[reading] readers in trial.toml is the number of reads",
        )
    return None


def comparable(reads: Sequence[ReadState]) -> bool:
    """True if the two reads of a visit are there and wait for their comparison.

    Parameters
    ----------
    reads : sequence of ReadState
        The reads of the visit.

    Returns
    -------
    bool
    """
    standings = {read.standing for read in reads}
    return len(reads) == 2 and ReadStanding.OPEN in standings <= {ReadStanding.OPEN, ReadStanding.COMPARED}


class ReadRegistry(RegistryQueries):
    """The reads of one trial's registry. Each method is one transaction."""

    def record_reads(
        self,
        reads: Mapping[tuple[str, str], ReadCounts],
        *,
        reader: str,
        status: ReadStatus,
        rereads: Mapping[tuple[str, str], ReadCounts] | None = None,
    ) -> None:
        """Enter the reads of one or more visits by one reader, all or none. The reads of other readers stay.

        A read replaces an earlier version by the same reader, which stays in the audit trail. It counts at once if the
        protocol asks for one read of each visit, or if it is adjudicated. Otherwise `record_comparison` decides.

        Parameters
        ----------
        reads : mapping of (subject, visit) to ReadCounts
        reader : str
            Code of the reader.
        status : ReadStatus
            Confirmed or adjudicated.
        rereads : mapping of (subject, visit) to ReadCounts, optional
            Hidden second reads. They are in the audit trail alone and change no read.

        Raises
        ------
        UsageError
            If a scan is not analysed, a re-read is not the first one of a read by this reader, or as `refusal_of`.
        ValueError
            If the status is another one.
        """
        if status not in {ReadStatus.CONFIRMED, ReadStatus.ADJUDICATED}:
            raise ValueError(f"expected confirmed or adjudicated, found {status.value}")
        with writing(self._engine) as session:
            for (subject, visit), counts in reads.items():
                _require_analysed(session, subject, visit)
                self._enter_read(session, (subject, visit), counts, reader=reader, status=status)
            for (subject, visit), counts in (rereads or {}).items():
                _require_analysed(session, subject, visit)
                _enter_reread(session, f"{subject} {visit}", _rows(session, subject, visit).get(reader), counts)

    def _enter_read(
        self, session: Session, of: tuple[str, str], counts: ReadCounts, *, reader: str, status: ReadStatus
    ) -> None:
        subject, visit = of
        rows = _rows(session, subject, visit)
        wanted = self._protocol.reading.readers
        refusal = refusal_of([read_state(row) for row in rows.values()], reader, status, wanted=wanted)
        if refusal:
            expected, found, hint = refusal
            raise UsageError(f"subject {subject}, visit {visit}: expected {expected}, found {found}", hint=hint)
        row = rows.get(reader) or ReadRow(subject=subject, visit=visit, reader=reader, digest="", version=0)
        previous = {"digest": row.digest, "version": row.version} if row.digest else {}
        counts_now = wanted == 1 or status is ReadStatus.ADJUDICATED
        row.standing = (ReadStanding.COUNTS if counts_now else ReadStanding.OPEN).value
        if not counts_now:  # a read from the time when one was enough
            for other in rows.values():
                if other.standing == ReadStanding.COUNTS.value:
                    other.standing = ReadStanding.OPEN.value
        for name, value in asdict(counts).items():
            setattr(row, name, value)
        row.status = status.value
        session.add(row)
        details = {"status": status.value, **asdict(counts), "standing": row.standing} | (
            {"replaces": previous} if previous else {}
        )
        append(session, AuditAction.READ, f"{subject} {visit}", details, reader=reader)

    def record_comparison(
        self, subject: str, visit: str, *, digests: Mapping[str, str], counts: str, details: Mapping[str, Any]
    ) -> bool:
        """Enter the comparison of the two reads of a visit.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.
        digests : mapping of str to str
            Digest of each compared read, by reader.
        counts : str
            Reader whose read counts. Empty if the reads disagree.
        details : mapping
            Result and limits of the comparison, for the audit trail.

        Returns
        -------
        bool
            False if the reads have changed since they were compared. Nothing is entered then.
        """
        with writing(self._engine) as session:
            rows = _rows(session, subject, visit)
            ready = comparable([read_state(row) for row in rows.values()])
            if not ready or {reader: row.digest for reader, row in rows.items()} != dict(digests):
                return False
            for reader, row in rows.items():
                row.standing = (ReadStanding.COUNTS if reader == counts else ReadStanding.COMPARED).value
            content = {"reads": dict(digests), "counts": counts, **details}
            append(session, AuditAction.READS_COMPARED, f"{subject} {visit}", content)
        return True

    def lock_reads(
        self,
        visits: Iterable[tuple[str, str]],
        *,
        reader: str,
        inputs: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
        signatures: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
    ) -> None:
        """Lock the reads of one or more visits, all or none.

        A locked visit accepts no further read, and its scan cannot be withdrawn.

        Parameters
        ----------
        visits : iterable of (subject, visit)
        reader : str
            Code of the reader.
        inputs : mapping of (subject, visit) to mapping, optional
            What the counts of each visit depend on beside its masks (`RegistryQueries.locked_inputs`).
        signatures : mapping of (subject, visit) to mapping, optional
            The reader's signature of each visit (`mri_pipeline.reading.signature`), for the audit trail.

        Raises
        ------
        UsageError
            If a scan is not analysed, this reader's read of a visit does not count, or the visit is already locked.
        """
        with writing(self._engine) as session:
            for subject, visit in visits:
                require_not_locked(session, subject, visit)
                rows = _rows(session, subject, visit)
                complete = len(rows) >= self._protocol.reading.readers
                row = _counting_row(
                    rows if complete else {}, subject, visit, reader,
                    hint="import the read first: mri-pipeline read TRIAL --import DIR --reader R",
                )  # fmt: skip
                _require_analysed(session, subject, visit)
                row.status = ReadStatus.LOCKED.value
                details: dict[str, Any] = {"digest": row.digest, "version": row.version}
                for name, known in (("inputs", inputs), ("signature", signatures)):
                    if value := dict((known or {}).get((subject, visit), {})):
                        details[name] = value
                append(session, AuditAction.READ_LOCKED, f"{subject} {visit}", details, reader=reader)

    def unlock_read(self, subject: str, visit: str, *, reader: str, reason: str) -> None:
        """Unlock a locked read, or reopen one that was compared, for a correction by its reader.

        It does not count until its reader has imported the next version. Nothing is deleted.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.
        reader : str
            Code of the reader.
        reason : str
            Without patient data.

        Raises
        ------
        UsageError
            If the reader's read is not the one that counts, it is neither locked nor compared, or the reason is empty.
        """
        require_texts(by=reader, reason=reason)
        with writing(self._engine) as session:
            hint = "only the reader whose read counts can unlock it"
            row = _counting_row(_rows(session, subject, visit), subject, visit, reader, hint=hint)
            before, row.status = row.status, _status_of_import(session, row)
            compared = row.status == ReadStatus.CONFIRMED.value and self._protocol.reading.readers > 1
            if before != ReadStatus.LOCKED.value and not compared:
                raise UsageError(
                    f"subject {subject}, visit {visit}: expected a locked read, found an open one",
                    hint="import the corrected worklist: mri-pipeline read TRIAL --import DIR --reader R",
                )
            row.standing = ReadStanding.REOPENED.value
            was = {"from": before, "digest": row.digest, "version": row.version}
            details = {"reason": reason, **was, "to": row.status}
            append(session, AuditAction.READ_UNLOCKED, f"{subject} {visit}", details, reader=reader)


def _require_analysed(session: Session, subject: str, visit: str) -> None:
    scan = session.get(ScanRow, (subject, visit))
    if scan is None or scan.status != ScanState.ANALYSED.value:
        raise UsageError(
            f"subject {subject}, visit {visit}: expected an analysed scan, found none",
            hint="run 'mri-pipeline run TRIAL' first",
        )


def _enter_reread(session: Session, target: str, row: ReadRow | None, counts: ReadCounts) -> None:
    if row is None or counts.version != 1:
        found = "none" if row is None else "an earlier one"
        raise UsageError(
            f"{target}: expected the first re-read of a read by this reader, found {found}",
            hint="a reader re-reads a visit once",
        )
    details = {**asdict(counts), "of": {"digest": row.digest, "version": row.version}}
    append(session, AuditAction.REREAD, target, details, reader=row.reader)


def _rows(session: Session, subject: str, visit: str) -> dict[str, ReadRow]:
    rows = session.scalars(select(ReadRow).filter_by(subject=subject, visit=visit).order_by(ReadRow.reader))
    return {row.reader: row for row in rows}


def _counting_row(rows: Mapping[str, ReadRow], subject: str, visit: str, reader: str, *, hint: str) -> ReadRow:
    """The reader's read of a visit, which must count."""
    row = rows.get(reader)
    if row is None or row.standing != ReadStanding.COUNTS.value:
        raise UsageError(
            f"subject {subject}, visit {visit}: expected a read by this reader that counts, found none", hint=hint
        )
    return row


def _status_of_import(session: Session, row: ReadRow) -> str:
    """Status with which the present version of a read was entered."""
    of_read = select(AuditRow).filter_by(
        action=AuditAction.READ.value, target=f"{row.subject} {row.visit}", reader=row.reader
    )
    entry = session.scalar(of_read.order_by(AuditRow.seq.desc()).limit(1))
    return str(entry.details["status"]) if entry is not None else ReadStatus.CONFIRMED.value
