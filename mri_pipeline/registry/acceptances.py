"""Whether an upload was accepted after it had been refused."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import AuditAction, AuditEntry
from mri_pipeline.registry.quality_rows import ScannerState
from mri_pipeline.registry.requirements import is_accepted
from mri_pipeline.registry.schema import Gate, ScanRow
from mri_pipeline.registry.trail import entries


def accepted_as(session: Session, upload_digest: str, *, dummy_run: bool, refused: str) -> str | None:
    """For what an upload was accepted after its refusal.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    upload_digest : str
        SHA-256 of the upload.
    dummy_run : bool
        True: accepted as a dummy run, by the limits or by a person. False: as the scan that a visit has now.
    refused : str
        UTC (ISO 8601) of the refusal.

    Returns
    -------
    str or None
        Label of the visit, empty for a dummy run; None if it was not accepted since.

    Notes
    -----
    The trail states seconds. Within the second of the refusal, the order of the entries decides.
    """
    found = _of_gates(session, upload_digest) if dummy_run else _of_scans(session, upload_digest)
    for entry, at, visit in found:
        if _is_later(session, entry, at, upload_digest, refused):
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


def _of_gates(session: Session, upload_digest: str) -> list[tuple[AuditEntry, str, str]]:
    """Accepted gates of scanners, or of the site if the dummy run states no scanner."""
    gates = [*entries(session, (AuditAction.SCANNER_GATE,))]
    named = [
        entry for entry in gates
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
        for entry in entries(session, (AuditAction.DUMMY_RUN,))
        if entry.details.get("upload") == upload_digest
        and entry.details["gate"] == Gate.ACCEPTED
        and entry.details.get("without_scanner")
        and not entry.reader  # the decision of a person is on a scanner
    ]


def _is_later(session: Session, entry: AuditEntry, at: str, upload_digest: str, refused: str) -> bool:
    accepted, since = datetime.fromisoformat(at), datetime.fromisoformat(refused)
    if accepted >= since:
        return True
    if accepted < since.replace(microsecond=0):
        return False
    refusals = entries(session, (AuditAction.UPLOAD_REFUSED,))
    own = next(
        (
            one.seq for one in refusals
            if one.details.get("upload") == upload_digest and datetime.fromisoformat(one.at) >= accepted
        ),
        None,
    )  # fmt: skip
    return own is not None and entry.seq > own
