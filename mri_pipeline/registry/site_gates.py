"""The gate of a site, as the gates of its scanners and its dummy runs without a scanner give it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.quality_rows import WAS_ACCEPTED, ScannerGateRow, ScannerState
from mri_pipeline.registry.records import ScannerFacts
from mri_pipeline.registry.schema import AuditRow, Gate, ScannerRow, SiteRow


def accepted_without_scanner(session: Session, site: str) -> bool:
    """Whether a site has an accepted dummy run that states no scanner, and no gate of a scanner without facts.

    A refused scanner does not close its gate.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Before the change of a gate.
    site : str
        Code of the site.

    Returns
    -------
    bool
        From the audit trail. Entries of earlier versions do not state it: then whether the site is accepted and no
        scanner is.
    """
    if gate_without_scanner(session, site) is not None:
        return False
    latest = session.scalar(
        select(AuditRow)
        .where(AuditRow.action == AuditAction.DUMMY_RUN.value, AuditRow.target == site)
        .order_by(AuditRow.seq.desc())
        .limit(1)
    )
    if latest is not None and "without_scanner" in latest.details:
        return bool(latest.details["without_scanner"])
    is_open = session.get_one(SiteRow, site).gate == Gate.ACCEPTED.value
    return is_open and site_gate(session, site, Gate.NONE) is not Gate.ACCEPTED


def gate_without_scanner(session: Session, site: str) -> ScannerGateRow | None:
    """The gate of the dummy runs of a site that state no scanner, once a person has to decide on one.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    site : str
        Code of the site.

    Returns
    -------
    ScannerGateRow or None
    """
    return session.scalar(
        select(ScannerGateRow)
        .join(ScannerRow, ScannerRow.id == ScannerGateRow.scanner)
        .where(ScannerRow.site == site)
        .where(*(getattr(ScannerRow, name) == value for name, value in ScannerFacts().key.items()))
    )


def site_gate(session: Session, site: str, otherwise: Gate) -> Gate:
    """The gate of a site: open if a scanner is accepted, or was before another software version.

    It is undecided if none is, and one waits for a decision.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    site : str
        Code of the site.
    otherwise : Gate
        The gate if there is no such scanner.

    Returns
    -------
    Gate
    """
    states = select(ScannerGateRow.state).join(ScannerRow, ScannerRow.id == ScannerGateRow.scanner)
    session.flush()
    found = set(session.scalars(states.where(ScannerRow.site == site)))
    if found & set(WAS_ACCEPTED):
        return Gate.ACCEPTED
    return Gate.UNDECIDED if ScannerState.UNDECIDED.value in found else otherwise
