"""Steps of the transaction that records a dummy run: the scanner that it judges, and the gate of its site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.quality_rows import ScannerState
from mri_pipeline.registry.records import ScannerFacts
from mri_pipeline.registry.schema import Gate, SiteRow
from mri_pipeline.registry.site_gates import accepted_without_scanner, gate_without_scanner, site_gate
from mri_pipeline.registry.trail import append


@dataclass(frozen=True)
class JudgedScanner:
    """The scanner whose gate a dummy run sets.

    Parameters
    ----------
    facts : ScannerFacts or None
        None if the dummy run states no scanner and sets the gate of the site alone.
    standing : bool
        True if a gate without a row is an accepted one.
    without_scanner : bool
        True if a dummy run that states no scanner is accepted at the site.
    """

    facts: ScannerFacts | None
    standing: bool
    without_scanner: bool


def judged_scanner(
    session: Session,
    site: str,
    scanner: ScannerFacts | None,
    state: ScannerState,
    *,
    accepted: bool,
    undecided: bool,
) -> JudgedScanner:
    """The scanner whose gate a dummy run sets.

    A dummy run that states no scanner sets the gate of the site alone, until a person has to decide. Then a scanner
    without facts is entered, which alone counts from then on.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of the transaction that records the dummy run.
    site : str
        Code of the site.
    scanner : ScannerFacts or None
        As the dummy run states it.
    state : ScannerState
        Verdict on the dummy run.
    accepted : bool
        True if the limits accept it.
    undecided : bool
        True if a person has to decide on it.

    Returns
    -------
    JudgedScanner
    """
    without_scanner = accepted_without_scanner(session, site)
    if scanner is not None:
        return JudgedScanner(scanner, standing=False, without_scanner=without_scanner)
    decided_on = undecided and (accepted or without_scanner)
    if decided_on or gate_without_scanner(session, site):
        return JudgedScanner(ScannerFacts(), standing=without_scanner, without_scanner=False)
    return JudgedScanner(None, standing=False, without_scanner=state is ScannerState.ACCEPTED)


def enter_site_verdict(
    session: Session,
    row: SiteRow,
    state: ScannerState,
    *,
    upload_digest: str,
    findings: Sequence[str],
    without_scanner: bool,
) -> None:
    """Set the gate of a site after a dummy run, with its audit entry.

    The gate is open while one of the scanners, or a dummy run that states none, is accepted.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    row : SiteRow
    state : ScannerState
        Verdict on the dummy run. Closed: the scanner was accepted before.
    upload_digest : str
        SHA-256 of the upload.
    findings : sequence of str
        For the audit trail, without patient data.
    without_scanner : bool
        See `JudgedScanner`.
    """
    if without_scanner or state in {ScannerState.ACCEPTED, ScannerState.CLOSED}:
        gate = Gate.ACCEPTED
    else:
        undecided = state is ScannerState.UNDECIDED
        gate = site_gate(session, row.code, Gate.UNDECIDED if undecided else Gate.REFUSED)
    row.gate, row.dummy_run_digest, row.gate_at = gate.value, upload_digest, utc_now()
    details = {
        "gate": gate.value,
        "upload": upload_digest,
        "at": row.gate_at,
        "findings": list(findings),
        "without_scanner": without_scanner,
    }
    append(session, AuditAction.DUMMY_RUN, row.code, details)
