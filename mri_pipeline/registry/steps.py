"""Steps within one transaction of the registry, and conversion of its rows to values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Text, select, type_coerce
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.registry.audit import GENESIS, AuditAction, AuditEntry, entry_hash, os_user, utc_now
from mri_pipeline.registry.records import ReadState, ScannerFacts, SiteState, SubjectState, VisitState
from mri_pipeline.registry.schema import (
    LONGEST_NAME,
    AuditRow,
    Base,
    Gate,
    ReadRow,
    ScannerRow,
    ScanRow,
    ScanState,
    SiteRow,
    SubjectRow,
)


def append(session: Session, action: str, target: str, details: dict[str, Any], *, reader: str = "") -> None:
    """Append an audit entry within the caller's transaction, which contains the change as well.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of `mri_pipeline.registry.database.writing`.
    action, target : str
    details : dict
        JSON without patient data.
    reader : str
        Code of the reader or name of the person, if one acted.
    """
    session.flush()
    last = session.execute(select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1)).first()
    seq, previous = (last.seq, last.hash) if last else (0, GENESIS)
    entry = AuditEntry(seq + 1, utc_now(), os_user(), reader, str(action), target, details, previous)
    session.add(AuditRow(**asdict(replace(entry, hash=entry_hash(entry)))))
    session.flush()


def entries(session: Session) -> Iterator[AuditEntry]:
    """The audit trail, oldest first.

    Parameters
    ----------
    session : sqlalchemy.orm.Session

    Yields
    ------
    AuditEntry
        Without details if those of the row are no JSON; its hash is then another one.
    """
    names = [name for name in AuditEntry.__dataclass_fields__ if name != "details"]
    columns = (*(getattr(AuditRow, name) for name in names), type_coerce(AuditRow.details, Text))
    for *values, details in session.execute(select(*columns).order_by(AuditRow.seq)):
        yield AuditEntry(**dict(zip(names, values, strict=True)), details=_details(details))


def _details(text: Any) -> dict[str, Any]:
    try:
        details = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return {}
    return details if isinstance(details, dict) else {}


def values_of(row: Base) -> dict[str, Any]:
    """Values of all columns of a row.

    Parameters
    ----------
    row : Base
        A row of any table of the registry.

    Returns
    -------
    dict of str to object
    """
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}


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


def require_site(own: str, code: str, site: str) -> None:
    """Refuse a subject of another site.

    Parameters
    ----------
    own : str
        Code of the subject's site.
    code : str
        Blinded code of the subject.
    site : str
        Code of the site that uploads.

    Raises
    ------
    UsageError
        If they differ.
    """
    if own != site:
        raise UsageError(
            f"subject {code}: expected the site it belongs to, found site {site}",
            hint="check --site and --subject",
        )


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
    """
    values = asdict(facts)
    row = session.scalar(select(ScannerRow).filter_by(site=site, **values))
    if row is None:
        row = ScannerRow(site=site, **values)
        session.add(row)
        session.flush()
        append(session, AuditAction.SCANNER_ENTERED, site, values | {"id": row.id})
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


def accepted_scan(session: Session, subject: str, visit: str) -> ScanRow:
    """The accepted scan of a visit.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    ScanRow
        Received, analysed or failed.

    Raises
    ------
    UsageError
        If there is none.
    """
    row = session.get(ScanRow, (subject, visit))
    if row is None or not is_accepted(row):
        raise UsageError(
            f"subject {subject}, visit {visit}: expected an accepted scan, found none",
            hint="list the visits: mri-pipeline status TRIAL",
        )
    return row


def is_accepted(row: ScanRow | None) -> bool:
    """True if a visit has an accepted scan.

    Parameters
    ----------
    row : ScanRow or None
        None if the visit has no row.

    Returns
    -------
    bool
    """
    return row is not None and row.status not in {ScanState.MISSING.value, ScanState.REFUSED.value}


def another_scan(subject: str, visit: str) -> UsageError:
    """The error for a second scan of a visit.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    UsageError
        To be raised by the caller.
    """
    return UsageError(
        f"subject {subject}, visit {visit}: expected no accepted scan, found another one",
        hint="to replace it: mri-pipeline ingest ... --replace REASON",
    )


def require_latest(row: SiteRow, upload_digest: str, received: str) -> None:
    """Refuse the verdict on a dummy run if a later one was judged.

    Parameters
    ----------
    row : SiteRow
    upload_digest : str
        SHA-256 of the dummy run. A further verdict on the same one is never too late.
    received : str
        UTC (ISO 8601) when it was received; empty for now.

    Raises
    ------
    UsageError
        If the gate has the verdict on another dummy run since then.
    """
    if not received or not row.gate_at or row.dummy_run_digest == upload_digest:
        return
    if datetime.fromisoformat(row.gate_at) > datetime.fromisoformat(received):
        raise UsageError(
            f"site {row.code}: expected its latest dummy run, found an earlier one than the one that was judged last",
            hint="ask the site for a new dummy run, then: mri-pipeline dummy-run TRIAL UPLOAD --site S",
        )


def require_texts(*, by: str, **texts: str) -> None:
    """Refuse an empty text, and a name that the registry cannot store.

    Parameters
    ----------
    by : str
        Who acts.
    **texts : str
        Answer or reason.

    Raises
    ------
    UsageError
        With the name of the argument.
    """
    for name, value in {**texts, "by": by}.items():
        if not value.strip():
            raise UsageError(f"expected a text as {name}, found none", hint="write it without patient data")
    if len(by) > LONGEST_NAME:
        raise UsageError(
            f"expected at most {LONGEST_NAME} characters as by, found {len(by)}",
            hint="give role or initials; details belong to the reason or the answer",
        )


LOCKED_HINT = "a locked read is final, unless its reader unlocks it: mri-pipeline read TRIAL --unlock CODE/VISIT"
"""Hint of the errors on locked reads."""


def require_not_locked(session: Session, subject: str, visit: str) -> None:
    """Refuse to change a visit whose read is locked.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    subject, visit : str
        Blinded code and visit label.

    Raises
    ------
    UsageError
        If it is locked.
    """
    reads = select(ReadRow.status).where(ReadRow.subject == subject, ReadRow.visit == visit)
    if ReadStatus.LOCKED.value in set(session.scalars(reads)):
        raise UsageError(
            f"subject {subject}, visit {visit}: expected an open read, found a locked one",
            hint=LOCKED_HINT,
        )


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


def subject_state(session: Session, protocol: Protocol, row: SubjectRow) -> SubjectState:
    """One subject with its planned visits in the order of the protocol.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    protocol : Protocol
    row : SubjectRow

    Returns
    -------
    SubjectState
        A planned visit without a scan is missing.
    """
    scans = {s.visit: s for s in session.scalars(select(ScanRow).where(ScanRow.subject == row.code))}
    reads: dict[str, list[ReadRow]] = {}
    for read in session.scalars(select(ReadRow).where(ReadRow.subject == row.code).order_by(ReadRow.reader)):
        reads.setdefault(read.visit, []).append(read)
    visits = []
    for planned in protocol.visits:
        scan, found = scans.get(planned.label), reads.get(planned.label, [])
        visits.append(
            VisitState(
                visit=planned.label,
                scan=ScanState(scan.status) if scan else ScanState.MISSING,
                reads=tuple(map(read_state, found)),
                findings=tuple(scan.findings) if scan else (),
                scan_key=scan.scan_key if scan else "",
            )
        )
    return SubjectState(row.code, row.site, tuple(visits))
