"""Steps within one transaction of the registry, and conversion of its rows to values."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.records import ReadState, ScannerFacts, SiteState, SubjectState, VisitState
from mri_pipeline.registry.requirements import require_site
from mri_pipeline.registry.schema import (
    AuditRow,
    Gate,
    ReadRow,
    ScannerRow,
    ScanRow,
    ScanState,
    SiteRow,
    SubjectRow,
    scan_key,
)
from mri_pipeline.registry.trail import append


def enter_subject(session: Session, code: str, site: str) -> bool:
    """Enter a new subject.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    code : str
        Blinded code.
    site : str
        Code of the site.

    Returns
    -------
    bool
        True if the subject is new.

    Raises
    ------
    UsageError
        If the subject belongs to another site.
    """
    row = session.get(SubjectRow, code)
    if row is None:
        session.add(SubjectRow(code=code, site=site))
        append(session, AuditAction.SUBJECT_ENTERED, code, {"site": site})
        return True
    require_site(row.site, code, site)
    return False


def enter_refusal(session: Session, subject: str, visit: str, *, reason: str, upload_digest: str) -> None:
    """Mark a visit without an accepted scan as refused. A visit with an accepted scan is unchanged.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    subject, visit : str
        Blinded code and visit label.
    reason : str
        Becomes the finding of the visit.
    upload_digest : str
        SHA-256 of the upload.
    """
    row = session.get(ScanRow, (subject, visit)) or ScanRow(
        subject=subject, visit=visit, status=ScanState.MISSING.value
    )
    if row.status in {ScanState.MISSING.value, ScanState.REFUSED.value}:
        row.status, row.upload_digest, row.findings = ScanState.REFUSED.value, upload_digest, [reason]
        session.add(row)


def refusals_of(session: Session, subject: str) -> list[dict[str, str]]:
    """The refused uploads of a subject from the audit trail.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    subject : str
        Blinded code.

    Returns
    -------
    list of dict
        Oldest first; ``visit``, ``reason`` and ``upload_digest`` of each, as arguments of `enter_refusal`.
    """
    rows = session.scalars(
        select(AuditRow)
        .where(AuditRow.action == AuditAction.UPLOAD_REFUSED.value, AuditRow.target.startswith(f"{subject} "))
        .order_by(AuditRow.seq)
    )
    return [
        {
            "visit": row.target.removeprefix(f"{subject} "),
            "reason": str(row.details["reason"]),
            "upload_digest": str(row.details["upload"]),
        }
        for row in rows
    ]


def scanner_id(session: Session, site: str, facts: ScannerFacts) -> int:
    """The id of a scanner of the site. A new scanner is entered.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    site : str
        Code of the site.
    facts : ScannerFacts
        A scanner is new if any of them differs.

    Returns
    -------
    int

    Notes
    -----
    Earlier layouts did not know whether a scanner is identified. It is entered again once it is.
    """
    row = session.scalar(select(ScannerRow).filter_by(site=site, **facts.key))
    if row is None or (facts.identified and not row.identified):
        row = row or ScannerRow(site=site, **facts.key)
        row.identified = facts.identified
        session.add(row)
        session.flush()
        append(session, AuditAction.SCANNER_ENTERED, site, asdict(facts) | {"id": row.id})
    return row.id


def site_state(row: SiteRow) -> SiteState:
    """The site as a value.

    Parameters
    ----------
    row : SiteRow

    Returns
    -------
    SiteState
    """
    return SiteState(row.code, Gate(row.gate))


def read_state(row: ReadRow) -> ReadState:
    """A read as a value.

    Parameters
    ----------
    row : ReadRow

    Returns
    -------
    ReadState
    """
    return ReadState(row.reader, ReadStatus(row.status), ReadStanding(row.standing), row.version, row.digest)


def subject_states(session: Session, protocol: Protocol, code: str = "") -> list[SubjectState]:
    """Subjects with their planned visits in the order of the protocol.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    protocol : Protocol
    code : str
        Blinded code of the only subject; all subjects if it is empty.

    Returns
    -------
    list of SubjectState
        In the order of site and code. A planned visit without a scan is missing.
    """
    # columns, not rows: a whole trial has 100,000 of them
    subjects = select(SubjectRow.code, SubjectRow.site).order_by(SubjectRow.site, SubjectRow.code)
    scans = select(
        ScanRow.subject, ScanRow.visit, ScanRow.status, ScanRow.findings, ScanRow.upload_digest, ScanRow.receipt
    )
    reads = select(ReadRow).order_by(ReadRow.reader)
    if code:
        subjects = subjects.where(SubjectRow.code == code)
        scans, reads = scans.where(ScanRow.subject == code), reads.where(ReadRow.subject == code)
    reads_of: dict[tuple[str, str], list[ReadState]] = {}
    for row in session.scalars(reads):
        reads_of.setdefault((row.subject, row.visit), []).append(read_state(row))
    scan_of = {
        (subject, visit): VisitState(
            visit,
            ScanState(status),
            tuple(reads_of.get((subject, visit), ())),
            tuple(findings),
            scan_key(upload, receipt),
        )
        for subject, visit, status, findings, upload, receipt in session.execute(scans)
    }
    labels = [planned.label for planned in protocol.visits]
    return [
        SubjectState(
            subject,
            site,
            tuple(
                scan_of.get((subject, label))
                or VisitState(label, ScanState.MISSING, tuple(reads_of.get((subject, label), ())))
                for label in labels
            ),
        )
        for subject, site in session.execute(subjects)
    ]
