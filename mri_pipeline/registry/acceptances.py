"""Whether an upload was accepted after it had been refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import AuditAction, AuditEntry
from mri_pipeline.registry.quality_rows import JUDGED, ScannerState
from mri_pipeline.registry.requirements import is_accepted
from mri_pipeline.registry.schema import Gate, ScanRow, SubjectRow
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
    site : str
        Code of the site.
    digest : str
        SHA-256 of the upload.
    dummy_run : bool
        True if it was sent as a dummy run, False if as a visit.
    refused : str
        UTC (ISO 8601) of the refusal.
    """

    site: str
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
    gates = gates or GateEntries(session)
    found = _of_gates(gates, upload) if upload.dummy_run else _of_scans(session, upload)
    for entry, at, visit in found:
        if _is_later(session, entry, at, upload):
            return visit
    return None


def _of_scans(session: Session, upload: RefusedUpload) -> list[tuple[AuditEntry, str, str]]:
    of_upload = (
        select(ScanRow)
        .join(SubjectRow, SubjectRow.code == ScanRow.subject)
        .where(SubjectRow.site == upload.site, ScanRow.upload_digest == upload.digest)
    )
    rows = [row for row in session.scalars(of_upload) if is_accepted(row)]
    visits = {f"{row.subject} {row.visit}": row.visit for row in rows}
    received = entries(session, (AuditAction.SCAN_RECEIVED,), targets=visits) if visits else ()
    return [
        (entry, entry.at, visits[entry.target])
        for entry in received
        if entry.details.get("upload") == upload.digest
    ]


def _of_gates(gates: GateEntries, upload: RefusedUpload) -> list[tuple[AuditEntry, str, str]]:
    """The acceptance by a gate of a scanner, or of the site if the dummy run states no scanner.

    The latest verdict on the dummy run counts. Entries of earlier versions do not say on which dummy run they are: the
    time of the gate counts.
    """
    of_site = [entry for entry in gates.scanners if entry.target == upload.site]
    judged = [
        entry for entry in of_site if entry.details.get(JUDGED) == upload.digest and entry.details["state"] in _VERDICTS
    ]  # fmt: skip
    if judged:
        return [(entry, entry.at, "") for entry in judged[-1:] if _accepts(entry, upload.digest)]
    named = [
        entry for entry in of_site
        if upload.digest in (entry.details.get("dummy_run_digest"), entry.details.get("waiting_digest"))
    ]  # fmt: skip
    if named:
        return [
            (entry, str(entry.details["at"]), "")
            for entry in named
            if JUDGED not in entry.details and _accepts(entry, upload.digest) and entry.details["at"]
        ]
    return [
        (entry, entry.at, "")
        for entry in gates.dummy_runs
        if entry.target == upload.site
        and entry.details.get("upload") == upload.digest
        and entry.details["gate"] == Gate.ACCEPTED
        and entry.details.get("without_scanner")
        and not entry.reader  # the decision of a person is on a scanner
    ]


_VERDICTS = frozenset({ScannerState.ACCEPTED, ScannerState.REFUSED, ScannerState.UNDECIDED})


def _accepts(entry: AuditEntry, digest: str) -> bool:
    facts = entry.details
    waits = facts.get("waiting_digest") == digest  # a person has to decide on it again
    return not waits and (facts["state"], facts["dummy_run_digest"]) == (ScannerState.ACCEPTED.value, digest)


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
