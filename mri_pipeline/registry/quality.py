"""Measures of the uploads and gates of the scanners of one trial. Every change is audited."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.quality_rows import MeasuresRow, ScannerGateRow, ScannerState, measures_facts
from mri_pipeline.registry.records import ScannerFacts
from mri_pipeline.registry.requirements import is_accepted, require_texts
from mri_pipeline.registry.schema import AuditRow, Gate, ScannerRow, ScanRow, SiteRow
from mri_pipeline.registry.steps import scanner_id
from mri_pipeline.registry.trail import append, values_of

Values = Mapping[str, Mapping[str, float]]
"""Measures by contrast and name."""

TWO_PERSONS = 2

_WAS_ACCEPTED = (ScannerState.ACCEPTED.value, ScannerState.CLOSED.value)


@dataclass(frozen=True)
class StoredMeasures:
    """Image quality of one upload.

    Parameters
    ----------
    site : str
        Code of the site.
    scanner : int or None
        Number of the scanner; None if the headers state none.
    subject, visit : str
        Blinded code and visit label; empty for a dummy run.
    upload_digest : str
        SHA-256 of the upload.
    accepted : bool
        False if the upload was refused.
    at : str
        When it was measured (UTC, ISO 8601).
    values : mapping of str to mapping of str to float
        By contrast and name of the measure.
    """

    site: str
    scanner: int | None
    subject: str
    visit: str
    upload_digest: str
    accepted: bool
    at: str
    values: Values


@dataclass(frozen=True)
class ScannerGate:
    """The gate of a scanner with a receive coil.

    Parameters
    ----------
    site : str
        Code of the site.
    number : int
        Number of the scanner.
    scanner : ScannerFacts
    coil : str
        Receive coil; empty if the headers do not state it.
    state : ScannerState
    dummy_run_digest, at, reason, by, proposed, proposed_by, rules
        As in `ScannerGateRow`.
    """

    site: str
    number: int
    scanner: ScannerFacts
    coil: str
    state: ScannerState
    dummy_run_digest: str
    at: str
    reason: str
    by: str
    proposed: str
    proposed_by: str
    rules: tuple[str, ...]


def enter_measures(
    session: Session,
    values: Values,
    *,
    site: str,
    scanner: int | None,
    upload_digest: str,
    accepted: bool,
    subject: str = "",
    visit: str = "",
) -> None:
    """Store the measures of an upload. The audit trail has their digest.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of the transaction that records the verdict on the upload.
    values : mapping of str to mapping of str to float
        By contrast and name of the measure. Nothing is stored if it is empty.
    site : str
        Code of the site.
    scanner : int or None
        Id of the scanner.
    upload_digest : str
        SHA-256 of the upload.
    accepted : bool
    subject, visit : str, optional
        Empty for a dummy run.
    """
    if not values:
        return
    row = MeasuresRow(
        site=site, scanner=scanner, subject=subject, visit=visit, upload_digest=upload_digest, accepted=accepted,
        at=utc_now(), values={contrast: dict(found) for contrast, found in values.items()},
    )  # fmt: skip
    session.add(row)
    target = f"{subject} {visit}".strip() or site
    append(session, AuditAction.MEASURES_STORED, target, measures_facts(values_of(row)))


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
) -> ScannerState:
    """Set the gate of a scanner to the verdict on its dummy run.

    An accepted one closes the gates of earlier software. A verdict that names the coil supersedes the gate of the same
    scanner whose coil is not stated. A decision of a person on the same dummy run stands, but for the rules that no
    person overrules.

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

    Returns
    -------
    ScannerState
        `state`, or by the decision of a person.
    """
    number = scanner_id(session, site, facts)
    row = session.get(ScannerGateRow, (number, coil)) or ScannerGateRow(scanner=number, coil=coil)
    row.state, row.dummy_run_digest, row.at = state.value, upload_digest, utc_now()
    row.reason = row.by = row.proposed = row.proposed_by = ""
    if not set(rules) & set(final):
        for name, value in _decided(session, site, row).items():
            setattr(row, name, value)
    row.rules = sorted(set(rules))
    session.add(row)
    _append(session, site, row)
    _supersede(session, site, row)
    if row.state == ScannerState.ACCEPTED.value:
        close_earlier_software(session, site, facts, day=None)
    return ScannerState(row.state)


def _decided(session: Session, site: str, row: ScannerGateRow) -> dict[str, str]:
    """The latest decision of a person on the dummy run of a gate, from the audit trail; empty if there is none."""
    entries = session.scalars(
        select(AuditRow)
        .where(AuditRow.action == AuditAction.SCANNER_GATE.value, AuditRow.target == site, AuditRow.reader != "")
        .order_by(AuditRow.seq.desc())
    )
    run = (row.scanner, row.coil, row.dummy_run_digest)
    for entry in entries:
        facts = entry.details
        if (facts["scanner"], facts["coil"], facts["dummy_run_digest"]) == run:
            return {name: facts[name] for name in ("state", "reason", "by", "proposed", "proposed_by")}
    return {}


def _supersede(session: Session, site: str, by_row: ScannerGateRow) -> None:
    """End the gate of a scanner without a coil after a verdict on one of its coils."""
    row = session.get(ScannerGateRow, (by_row.scanner, ""))
    if not by_row.coil or by_row.state == ScannerState.UNDECIDED.value or row is None:
        return
    if row.state != ScannerState.SUPERSEDED.value:
        row.state, row.at, row.by, row.proposed = ScannerState.SUPERSEDED.value, utc_now(), "", ""
        row.reason = f"a dummy run with receive coil {by_row.coil} was judged"
        _append(session, site, row)


def close_earlier_software(session: Session, site: str, facts: ScannerFacts, *, day: int | None) -> None:
    """Close the gates of a scanner that has another software version now.

    A version whose gate was closed closes none, nor does a version a gate whose own version was entered later: an old
    scan or dummy run is no upgrade.

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
    if not facts.software:
        return
    hardware = asdict(facts).items() - {("software", facts.software), ("field_strength_t", facts.field_strength_t)}
    of_scanner = (ScannerRow.site == site, *(getattr(ScannerRow, name) == value for name, value in hardware))
    known = session.execute(
        select(ScannerRow.id, ScannerGateRow.state)
        .outerjoin(ScannerGateRow, ScannerGateRow.scanner == ScannerRow.id)
        .where(*of_scanner, ScannerRow.software == facts.software)
    ).all()
    if any(state == ScannerState.CLOSED.value for _, state in known):
        return
    gates = (
        select(ScannerGateRow)
        .join(ScannerRow, ScannerRow.id == ScannerGateRow.scanner)
        .where(*of_scanner, ScannerGateRow.state == ScannerState.ACCEPTED.value)
        .where(ScannerRow.software.not_in(["", facts.software]))
    )
    if known:
        gates = gates.where(ScannerRow.id < min(number for number, _ in known))
    for row in session.scalars(gates.order_by(ScannerGateRow.scanner, ScannerGateRow.coil)).all():
        if day is not None and row.at and dt.date.fromordinal(day) <= dt.datetime.fromisoformat(row.at).date():
            continue
        row.state, row.at, row.by = ScannerState.CLOSED.value, utc_now(), ""
        row.reason = f"the scanner has software {facts.software}"
        _append(session, site, row)


def accepted_without_scanner(session: Session, site: str) -> bool:
    """Whether a site has an accepted dummy run that states no scanner. A refused scanner does not close its gate.

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
    if found & set(_WAS_ACCEPTED):
        return Gate.ACCEPTED
    return Gate.UNDECIDED if ScannerState.UNDECIDED.value in found else otherwise


def _append(session: Session, site: str, row: ScannerGateRow, *, by: str = "") -> None:
    session.flush()
    append(session, AuditAction.SCANNER_GATE, site, values_of(row), reader=by)


class ScannerGates:
    """The gates of the scanners of one trial. Each method is one transaction.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self, site: str = "") -> list[ScannerGate]:
        """The gates of a site, or of all sites.

        Parameters
        ----------
        site : str, optional
            Code of the site.

        Returns
        -------
        list of ScannerGate
            In the order of site, scanner and coil.
        """
        with reading(self._engine) as session:
            rows = session.execute(
                select(ScannerGateRow, ScannerRow)
                .join(ScannerRow, ScannerRow.id == ScannerGateRow.scanner)
                .order_by(ScannerRow.site, ScannerRow.id, ScannerGateRow.coil)
            )
            return [_gate(gate, scanner) for gate, scanner in rows if site in ("", scanner.site)]

    def scanners(self) -> dict[int, tuple[str, ScannerFacts]]:
        """All scanners by number, also those without a dummy run.

        Returns
        -------
        dict of int to (str, ScannerFacts)
            Code of the site, and the scanner.
        """
        with reading(self._engine) as session:
            rows = session.scalars(select(ScannerRow).order_by(ScannerRow.site, ScannerRow.id))
            return {row.id: (row.site, _facts(row)) for row in rows}

    def close_earlier(self, site: str, facts: ScannerFacts, *, day: int | None) -> None:
        """Close the gates of a scanner that has another software version now (`close_earlier_software`).

        Parameters
        ----------
        site : str
            Code of the site.
        facts : ScannerFacts
        day : int or None
        """
        with writing(self._engine) as session:
            close_earlier_software(session, site, facts, day=day)

    def decide(
        self,
        site: str,
        *,
        accept: bool,
        reason: str,
        by: str,
        persons: int,
        final: Collection[str],
        scanner: int | None = None,
        coil: str | None = None,
    ) -> ScannerGate:
        """Enter the decision of a person on the dummy run of a site that waits for it, or else on the latest one.

        Parameters
        ----------
        site : str
            Code of the site.
        accept : bool
        reason, by : str
            Why and who, without patient data.
        persons : int
            With 2, the decision holds when a second person has entered the same one.
        final : collection of str
            Rules whose refusal no person overrules.
        scanner : int, optional
            Number of the scanner. Required if there are dummy runs of several.
        coil : str, optional
            Receive coil; empty for the gate without one. Required if there are dummy runs with several.

        Returns
        -------
        ScannerGate
            `proposed` is not empty while a second person has to confirm it.

        Raises
        ------
        UsageError
            If there is no such dummy run of a known scanner, or more than one, if it is refused by a rule of `final`,
            if the person who decided confirms the own decision, or if `reason` or `by` is empty.
        """
        require_texts(reason=reason, by=by)
        with writing(self._engine) as session:
            row, of_row = _to_decide(session, site, scanner, coil)
            without_scanner = accepted_without_scanner(session, site)
            state = ScannerState.ACCEPTED if accept else ScannerState.REFUSED
            overruled = sorted(set(row.rules) & set(final)) if accept else []
            if overruled:
                raise UsageError(
                    f"site {site}: expected a dummy run that may be accepted, found one that is refused by "
                    f"{', '.join(overruled)}",
                    hint="this rule is not overruled; ask the site for a new dummy run",
                )
            row.reason = reason
            if persons == TWO_PERSONS and row.proposed != state.value:
                row.proposed, row.proposed_by = state.value, by
            else:
                if persons == TWO_PERSONS and _same_person(row.proposed_by, by):
                    raise UsageError(
                        f"site {site}: expected the confirmation of a second person, found the person who decided",
                        hint="--by names the second person",
                    )
                row.state, row.by, row.proposed, row.at = state.value, by, "", utc_now()
            _append(session, site, row, by=by)
            if not row.proposed:
                _supersede(session, site, row)
                if accept:
                    close_earlier_software(session, site, _facts(of_row), day=None)
                _set_site(session, site, accept=accept, by=by, without_scanner=without_scanner)
            return _gate(row, of_row)


def _to_decide(
    session: Session, site: str, scanner: int | None, coil: str | None
) -> tuple[ScannerGateRow, ScannerRow]:
    """The one gate that is named, else that waits for a decision, else of the latest dummy run of a site."""
    digest = session.scalar(select(SiteRow.dummy_run_digest).filter_by(code=site))
    found = [
        (row, of_row)
        for row, of_row in session.execute(
            select(ScannerGateRow, ScannerRow)
            .join(ScannerRow, ScannerRow.id == ScannerGateRow.scanner)
            .where(ScannerRow.site == site, ScannerGateRow.state != ScannerState.SUPERSEDED.value)
            .order_by(ScannerRow.id, ScannerGateRow.coil)
        )
        if scanner in (None, row.scanner) and coil in (None, row.coil)
    ]
    waiting = [one for one in found if one[0].state == ScannerState.UNDECIDED.value or one[0].proposed]
    named = scanner is not None or coil is not None
    chosen = waiting or (found if named else [one for one in found if one[0].dummy_run_digest == digest])
    if len(chosen) == 1:
        return chosen[0]
    if not found:
        raise UsageError(
            f"site {site}: expected a dummy run of a known scanner, found none",
            hint=f"judge it first: mri-pipeline dummy-run TRIAL UPLOAD --site {site}",
        )
    listed = "; ".join(
        f"scanner {row.scanner} ({of_row.manufacturer} {of_row.model} {of_row.software}, coil "
        f"{row.coil or 'not stated'}, upload {row.dummy_run_digest[:8] or 'not known'}): {row.state}"
        for row, of_row in chosen or found
    )
    raise UsageError(
        f"site {site}: expected the scanner whose dummy run is decided on, found none named of {listed}",
        hint="name it: --scanner NUMBER, and --coil NAME if it has several (--coil '' if it is not stated)",
    )


def _set_site(session: Session, site: str, *, accept: bool, by: str, without_scanner: bool) -> None:
    row = session.get_one(SiteRow, site)
    is_open = accept or without_scanner
    gate = Gate.ACCEPTED if is_open else site_gate(session, site, Gate.REFUSED)
    row.gate = gate.value
    details: dict[str, Any] = {
        "gate": gate.value,
        "upload": row.dummy_run_digest,
        "at": row.gate_at,  # a decision does not move the time of the verdict
        "findings": [],
        "without_scanner": without_scanner,
    }
    append(session, AuditAction.DUMMY_RUN, site, details, reader=by)


def _same_person(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def _facts(row: ScannerRow) -> ScannerFacts:
    return ScannerFacts(row.manufacturer, row.model, row.software, row.field_strength_t, row.serial_digest)


def _gate(row: ScannerGateRow, scanner: ScannerRow) -> ScannerGate:
    return ScannerGate(
        scanner.site, scanner.id, _facts(scanner), row.coil, ScannerState(row.state), row.dummy_run_digest, row.at,
        row.reason, row.by, row.proposed, row.proposed_by, tuple(row.rules),
    )  # fmt: skip


class Measures:
    """The measures of the uploads of one trial. Each method is one transaction.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[StoredMeasures]:
        """The measures of all uploads.

        Returns
        -------
        list of StoredMeasures
            In the order in which they were measured.
        """
        with reading(self._engine) as session:
            return [_stored(row) for row in session.scalars(select(MeasuresRow).order_by(MeasuresRow.id))]

    def of_dummy_run(self, site: str, facts: ScannerFacts, coil: str = "") -> StoredMeasures | None:
        """The measures of the dummy run that opened the gate of a scanner.

        Parameters
        ----------
        site : str
            Code of the site.
        facts : ScannerFacts
            With its software version.
        coil : str, optional
            Receive coil. A coil that either side does not state is not compared.

        Returns
        -------
        StoredMeasures or None
            None if there is none.
        """
        with reading(self._engine) as session:
            row = session.scalar(
                select(MeasuresRow)
                .join(ScannerRow, ScannerRow.id == MeasuresRow.scanner)
                .join(ScannerGateRow, ScannerGateRow.scanner == ScannerRow.id)
                .filter_by(dummy_run_digest=MeasuresRow.upload_digest)
                .where(ScannerGateRow.state.in_(_WAS_ACCEPTED), MeasuresRow.visit == "")
                .where(ScannerRow.site == site, *(getattr(ScannerRow, k) == v for k, v in asdict(facts).items()))
                .where(*([ScannerGateRow.coil.in_(["", coil])] if coil else []))
                .order_by(MeasuresRow.id.desc())
                .limit(1)
            )
            return None if row is None else _stored(row)

    def of_subject(self, subject: str) -> dict[str, StoredMeasures]:
        """The measures of the present scans of a subject.

        Parameters
        ----------
        subject : str
            Blinded code.

        Returns
        -------
        dict of str to StoredMeasures
            By visit.
        """
        with reading(self._engine) as session:
            scans = session.scalars(select(ScanRow).where(ScanRow.subject == subject))
            present = {row.visit: row.upload_digest for row in scans if is_accepted(row)}
            rows = session.scalars(
                select(MeasuresRow)
                .where(MeasuresRow.subject == subject, MeasuresRow.accepted.is_(True))
                .order_by(MeasuresRow.id)
            )
            return {row.visit: _stored(row) for row in rows if present.get(row.visit) == row.upload_digest}

    def enter_refused(
        self,
        values: Values,
        *,
        site: str,
        scanner: ScannerFacts | None,
        upload_digest: str,
        subject: str,
        visit: str,
    ) -> None:
        """Store the measures of a visit that is refused.

        Parameters
        ----------
        values : mapping of str to mapping of str to float
            By contrast and name of the measure.
        site : str
            Code of the site.
        scanner : ScannerFacts or None
            Entered as a scanner of the site if it is new.
        upload_digest : str
            SHA-256 of the upload.
        subject, visit : str
            Blinded code and visit label.
        """
        if not values:
            return
        with writing(self._engine) as session:
            number = scanner_id(session, site, scanner) if scanner else None
            enter_measures(
                session, values, site=site, scanner=number, upload_digest=upload_digest, accepted=False,
                subject=subject, visit=visit,
            )  # fmt: skip


def _stored(row: MeasuresRow) -> StoredMeasures:
    return StoredMeasures(
        row.site, row.scanner, row.subject, row.visit, row.upload_digest, row.accepted, row.at, row.values
    )
