"""Whether an upload was accepted after it had been refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import AuditAction, AuditEntry
from mri_pipeline.registry.quality_rows import ScannerState
from mri_pipeline.registry.requirements import is_accepted
from mri_pipeline.registry.schema import Gate, ScanRow
from mri_pipeline.registry.trail import entries


class GateEntries:
    """Entries of the audit trail on dummy runs, read once.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def scanners(self) -> list[AuditEntry]:
        """Changes of the gates of scanners."""
        return [*entries(self._session, (AuditAction.SCANNER_GATE,))]

    @cached_property
    def dummy_runs(self) -> list[AuditEntry]:
        """Verdicts on dummy runs."""
        return [*entries(self._session, (AuditAction.DUMMY_RUN,))]


@dataclass(frozen=True)
class RefusedUpload:
    """An upload that was refused.

    Parameters
    ----------
    digest : str
        SHA-256 of the upload.
    dummy_run : bool
        True if it was sent as a dummy run, False if as a visit.
    refused : str
        UTC (ISO 8601) of the refusal.
    """

    digest: str
    dummy_run: bool
    refused: str


def accepted_as(session: Session, upload: RefusedUpload, gates: GateEntries | None = None) -> str | None:
    """The visit, or the dummy run, as which a refused upload was accepted later.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    upload : RefusedUpload
        A dummy run may be accepted by the limits or by a person, a visit as the scan that it has now.
    gates : GateEntries, optional
        To read them once for several uploads.

    Returns
    -------
    str or None
        Label of the visit, empty for a dummy run; None if it was not accepted since.

    Notes
    -----
    Times of the audit trail have a resolution of one second. Within the second of the refusal, the order of the entries
    decides.
    """
    if upload.dummy_run:
        found = _of_gates(gates or GateEntries(session), upload.digest)
    else:
        found = _of_scans(session, upload.digest)
    for entry, at, visit in found:
        if _is_later(session, entry, at, upload):
            return visit
    return None


def _of_scans(session: Session, upload_digest: str) -> list[tuple[AuditEntry, str, str]]:
    rows = [
        row for row in session.scalars(select(ScanRow).filter_by(upload_digest=upload_digest)) if is_accepted(row)
    ]
    visits = {f"{row.subject} {row.visit}": row.visit for row in rows}
    received = entries(session, (AuditAction.SCAN_RECEIVED,), targets=visits) if visits else ()
    return [
        (entry, entry.at, visits[entry.target])
        for entry in received
        if entry.details.get("upload") == upload_digest
    ]


def _of_gates(gates: GateEntries, upload_digest: str) -> list[tuple[AuditEntry, str, str]]:
    """Accepted gates of scanners, or of the site if the dummy run states no scanner."""
    named = [
        entry for entry in gates.scanners
        if upload_digest in (entry.details.get("dummy_run_digest"), entry.details.get("waiting_digest"))
    ]  # fmt: skip
    if named:
        return [
            (entry, str(entry.details["at"]), "") for entry in named
            if entry.details["state"] == ScannerState.ACCEPTED and entry.details["dummy_run_digest"] == upload_digest
            and entry.details["at"]
        ]  # fmt: skip
    return [
        (entry, entry.at, "")
        for entry in gates.dummy_runs
        if entry.details.get("upload") == upload_digest
        and entry.details["gate"] == Gate.ACCEPTED
        and entry.details.get("without_scanner")
        and not entry.reader  # the decision of a person is on a scanner
    ]


def _is_later(session: Session, entry: AuditEntry, at: str, upload: RefusedUpload) -> bool:
    accepted, since = datetime.fromisoformat(at), datetime.fromisoformat(upload.refused)
    if accepted >= since:
        return True
    if accepted < since.replace(microsecond=0):
        return False
    refusals = entries(session, (AuditAction.UPLOAD_REFUSED,))
    own = next(
        (
            one.seq for one in refusals
            if one.details.get("upload") == upload.digest and datetime.fromisoformat(one.at) >= accepted
        ),
        None,
    )  # fmt: skip
    return own is not None and entry.seq > own
