"""Verdicts on dummy runs, and their consequences for the gates of the scanners and of the site."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.quality_rows import JUDGED, WAS_ACCEPTED, ScannerGateRow, ScannerState
from mri_pipeline.registry.records import ScannerFacts, maker
from mri_pipeline.registry.requirements import later_dummy_run
from mri_pipeline.registry.schema import AuditRow, ScannerRow
from mri_pipeline.registry.steps import scanner_id
from mri_pipeline.registry.trail import append, values_of


def judge_scanner_gate(
    session: Session,
    site: str,
    facts: ScannerFacts,
    coil: str,
    *,
    state: ScannerState,
    upload_digest: str,
    rules: Collection[str],
    final: Collection[str],
    received: str = "",
    waits: bool = False,
    standing: bool = False,
) -> ScannerState:
    """Enter the verdict on a dummy run of a scanner.

    If a person has to decide on a new dummy run, a gate that was accepted stands until then. The same dummy run judged
    again opens no gate that was closed for an upgrade. An accepted one closes the gates of earlier software. A change
    of the gate of a coil supersedes that of the same scanner whose coil is not stated. A decision of a person on the
    same dummy run stands, but for the rules that no person overrules.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of the transaction that records the dummy run.
    site : str
        Code of the site.
    facts : ScannerFacts
        Entered as a scanner of the site if it is new.
    coil : str
        Receive coil; empty if it is not stated.
    state : ScannerState
    upload_digest : str
        SHA-256 of the dummy run.
    rules : collection of str
        Rules by which it is refused.
    final : collection of str
        Rules that no person overrules.
    received : str, optional
        UTC (ISO 8601) when it was received; empty for now.
    waits : bool, optional
        True: a person decides on a new dummy run that is refused, too, while an accepted gate stands.
    standing : bool, optional
        True: a gate without a row is an accepted one.

    Returns
    -------
    ScannerState
        `state`, or by the decision of a person; closed or superseded if the gate stays so.

    Raises
    ------
    UsageError
        As `require_latest_of_scanner`.
    """
    require_latest_of_scanner(session, site, facts, coil, upload_digest=upload_digest, received=received)
    number = scanner_id(session, site, facts)
    row = session.get(ScannerGateRow, (number, coil)) or ScannerGateRow(
        scanner=number, coil=coil, state=ScannerState.ACCEPTED.value if standing else "", dummy_run_digest="",
        waiting_digest="", at="", reason="", by="",
    )  # fmt: skip
    before = (row.state, row.dummy_run_digest)
    decision = {} if set(rules) & set(final) else _decided(session, site, (number, coil, upload_digest))
    by_person = decision.pop("state", "")
    verdict = _set_verdict(
        row, ScannerState(by_person or state), upload_digest, decision=decision, waits=waits and not by_person
    )
    if (row.state, row.dummy_run_digest) != before:
        row.at = utc_now()
    row.rules = sorted(set(rules))
    session.add(row)
    append_gate(session, site, row, judged=upload_digest)
    if (row.state, row.dummy_run_digest) != before:
        supersede(session, site, row, received=received)
        if row.state == ScannerState.ACCEPTED.value:
            close_earlier_software(session, site, facts, day=None)
    return verdict


def _set_verdict(
    row: ScannerGateRow,
    verdict: ScannerState,
    upload_digest: str,
    *,
    decision: Mapping[str, str],
    waits: bool,
) -> ScannerState:
    """Set a gate to the verdict on a dummy run, or keep an accepted gate while a person decides."""
    if upload_digest == row.dummy_run_digest and _stays(row, verdict):
        return ScannerState(row.state)
    if waits and upload_digest != row.dummy_run_digest and row.state in WAS_ACCEPTED:
        verdict = ScannerState.UNDECIDED
    stands = verdict is ScannerState.UNDECIDED and row.state in WAS_ACCEPTED
    entered = {"waiting_digest": upload_digest} if stands else {
        "state": verdict.value, "dummy_run_digest": upload_digest, "waiting_digest": "", "reason": "", "by": "",
    }  # fmt: skip
    for name, value in {**entered, "proposed": "", "proposed_by": "", "proposed_reason": "", **decision}.items():
        setattr(row, name, value)
    return verdict


def _stays(row: ScannerGateRow, verdict: ScannerState) -> bool:
    """Whether a gate stays as it is for a further verdict on its own dummy run."""
    if row.state == ScannerState.CLOSED.value:
        return verdict is not ScannerState.REFUSED
    return row.state == ScannerState.SUPERSEDED.value


def require_latest_of_scanner(
    session: Session, site: str, facts: ScannerFacts, coil: str, *, upload_digest: str, received: str
) -> None:
    """Refuse a dummy run of a scanner if a later one of the same scanner and coil was judged.

    Without serial number and station name the later one may be of another machine: nothing is refused.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    site : str
        Code of the site.
    facts : ScannerFacts
    coil : str
        Receive coil; empty if it is not stated.
    upload_digest : str
        SHA-256 of the dummy run. A further verdict on the latest one is never too late.
    received : str
        UTC (ISO 8601) when it was received; empty for now.

    Raises
    ------
    UsageError
        If another dummy run was judged after this one was received, or after this one was judged.
    """
    if not facts.identified:
        return
    row = session.scalar(
        select(ScannerGateRow)
        .join(ScannerRow, ScannerRow.id == ScannerGateRow.scanner)
        .where(ScannerRow.site == site, ScannerGateRow.coil == coil)
        .where(*(getattr(ScannerRow, name) == value for name, value in facts.key.items()))
    )
    latest = "" if row is None else row.waiting_digest or row.dummy_run_digest
    if row is None or not latest or latest == upload_digest:
        return
    first = _first_judged(session, site, row)
    judged_at = first[latest].at if latest in first else row.at
    if upload_digest in first or (received and _later(judged_at, received)):
        raise later_dummy_run(site)


def _first_judged(session: Session, site: str, row: ScannerGateRow) -> dict[str, AuditRow]:
    """The first entry of the audit trail on each dummy run of a gate, by digest."""
    first: dict[str, AuditRow] = {}
    for entry in _of_gate(session, site):
        if (entry.details["scanner"], entry.details["coil"]) == (row.scanner, row.coil):
            first.setdefault(_digest(entry), entry)
    return first


def _first_of_scanner(session: Session, site: str) -> dict[int, int]:
    """Number of the first entry of the audit trail on a gate of each scanner; 0 for gates of earlier layouts."""
    migrations = session.scalars(select(AuditRow).where(AuditRow.action == AuditAction.REGISTRY_MIGRATED.value))
    first = {gate["scanner"]: 0 for entry in migrations for gate in entry.details.get("scanner_gates", ())}
    for entry in _of_gate(session, site):
        first.setdefault(entry.details["scanner"], entry.seq)
    return first


def _later(one: str, other: str) -> bool:
    return bool(one) and dt.datetime.fromisoformat(one) > dt.datetime.fromisoformat(other)


def _of_gate(session: Session, site: str) -> list[AuditRow]:
    """Entries of the audit trail on the gates of the scanners of a site, oldest first."""
    of_site = (AuditRow.action == AuditAction.SCANNER_GATE.value, AuditRow.target == site)
    return list(session.scalars(select(AuditRow).where(*of_site).order_by(AuditRow.seq)))


def _digest(entry: AuditRow) -> str:
    """The dummy run of an entry: the one that waits for a decision, if one does."""
    return str(entry.details.get("waiting_digest") or entry.details["dummy_run_digest"])


def _decided(session: Session, site: str, run: tuple[int, str, str]) -> dict[str, str]:
    """The latest decision on a dummy run (scanner, coil, digest) and a proposal since then, from the audit trail.

    A decision that a second person has not confirmed is a proposal, and no state.
    """
    proposal: dict[str, str] = {}
    for entry in reversed(_of_gate(session, site)):
        facts = entry.details
        if not entry.reader or (facts["scanner"], facts["coil"], _digest(entry)) != run:
            continue
        if not facts.get("proposed"):
            return {name: str(facts[name]) for name in _DECISION} | proposal
        proposal = proposal or {name: str(facts[name]) for name in _PROPOSAL if name in facts}
    return proposal


_DECISION = ("state", "reason", "by")
_PROPOSAL = ("proposed", "proposed_by", "proposed_reason")


def supersede(session: Session, site: str, by_row: ScannerGateRow, *, received: str = "") -> None:
    """End the gate of a scanner without a coil after a change of the gate of one of its coils.

    A dummy run that was received or judged before that of the gate without a coil does not end it.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    site : str
        Code of the site.
    by_row : ScannerGateRow
        The gate of the coil.
    received : str, optional
        UTC (ISO 8601) when its dummy run was received; empty for now.
    """
    row = session.get(ScannerGateRow, (by_row.scanner, ""))
    if not by_row.coil or by_row.state == ScannerState.UNDECIDED.value or row is None:
        return
    entry = _first_judged(session, site, row).get(row.dummy_run_digest)
    of_coil = _first_judged(session, site, by_row).get(by_row.dummy_run_digest)
    is_older = entry is not None and (
        (of_coil is not None and of_coil.seq < entry.seq) or bool(received and _later(entry.at, received))
    )
    if row.state != ScannerState.SUPERSEDED.value and not is_older:
        row.state, row.at, row.by = ScannerState.SUPERSEDED.value, utc_now(), ""
        row.proposed = row.waiting_digest = ""
        row.reason = f"a dummy run with receive coil {by_row.coil} was judged"
        append_gate(session, site, row)


def close_earlier_software(session: Session, site: str, facts: ScannerFacts, *, day: int | None) -> None:
    """Close the gates of a scanner that has another software version now.

    An old scan or dummy run is no upgrade: a version whose own gate is closed closes no gate, and no version closes the
    gate of a version whose first dummy run was judged later. Without serial number and station name, another version
    may belong to another machine; no gate is closed then.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    site : str
        Code of the site.
    facts : ScannerFacts
        The scanner as it is now.
    day : int or None
        Day of the scan that shows it, as proleptic ordinal. A gate is not closed by a scan that is not later than its
        dummy run. None: today.
    """
    if not facts.software or not facts.identified:
        return
    entries = session.scalars(select(ScannerRow).filter_by(site=site, serial_digest=facts.serial_digest))
    # an upgrade may change how the headers spell manufacturer and model
    machine = [row.id for row in entries if maker(row.manufacturer) == maker(facts.manufacturer)]
    of_scanner = ScannerRow.id.in_(machine)
    of_version = (
        select(ScannerGateRow)
        .join(ScannerRow, ScannerRow.id == ScannerGateRow.scanner)
        .where(of_scanner, ScannerRow.software == facts.software)
    )
    own = session.scalars(of_version).all()
    if any(row.state == ScannerState.CLOSED.value for row in own):
        return
    first = _first_of_scanner(session, site)
    limit = min(((first.get(row.scanner, 0), row.scanner) for row in own), default=None)
    gates = (
        select(ScannerGateRow)
        .join(ScannerRow, ScannerRow.id == ScannerGateRow.scanner)
        .where(of_scanner, ScannerGateRow.state == ScannerState.ACCEPTED.value)
        .where(ScannerRow.software.not_in(["", facts.software]))
    )
    for row in session.scalars(gates.order_by(ScannerGateRow.scanner, ScannerGateRow.coil)).all():
        if limit is not None and (first.get(row.scanner, 0), row.scanner) > limit:
            continue
        if day is not None and row.at and dt.date.fromordinal(day) <= dt.datetime.fromisoformat(row.at).date():
            continue
        row.state, row.at, row.by = ScannerState.CLOSED.value, utc_now(), ""
        row.proposed = row.waiting_digest = ""  # a dummy run of before the upgrade does not open the gate again
        row.reason = f"the scanner has software {facts.software}"
        append_gate(session, site, row)


def append_gate(session: Session, site: str, row: ScannerGateRow, *, by: str = "", judged: str = "") -> None:
    """Append the gate of a scanner to the audit trail.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    site : str
        Code of the site.
    row : ScannerGateRow
    by : str, optional
        Name of the person who decided.
    judged : str, optional
        SHA-256 of the dummy run on which this is the verdict or the decision.
    """
    session.flush()
    append(
        session, AuditAction.SCANNER_GATE, site, values_of(row) | ({JUDGED: judged} if judged else {}), reader=by
    )
