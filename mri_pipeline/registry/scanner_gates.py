"""Gates of the scanners of one trial, and decisions of persons on them. Every change is audited."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.gate_verdicts import append_gate, close_earlier_software, supersede
from mri_pipeline.registry.quality_rows import ScannerGateRow, ScannerState
from mri_pipeline.registry.records import ScannerFacts
from mri_pipeline.registry.requirements import require_texts
from mri_pipeline.registry.schema import Gate, ScannerRow, SiteRow
from mri_pipeline.registry.site_gates import accepted_without_scanner, site_gate
from mri_pipeline.registry.trail import append

TWO_PERSONS = 2


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
    dummy_run_digest, at, reason, by, proposed, proposed_by, rules, waiting_digest
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
    waiting_digest: str = ""

    @property
    def latest_digest(self) -> str:
        """SHA-256 of the latest dummy run: the one that waits for a decision, if one does."""
        return self.waiting_digest or self.dummy_run_digest


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
            if accept:
                _require_not_final(site, row, final)
            before = (row.state, row.dummy_run_digest)
            if persons == TWO_PERSONS and row.proposed != state.value:
                row.proposed, row.proposed_by, row.proposed_reason = state.value, by, reason
            else:
                if persons == TWO_PERSONS and _same_person(row.proposed_by, by):
                    raise UsageError(
                        f"site {site}: expected the confirmation of a second person, found the person who decided",
                        hint="--by names the second person",
                    )
                row.state, row.by, row.reason, row.proposed, row.at = state.value, by, reason, "", utc_now()
                row.dummy_run_digest, row.waiting_digest = row.waiting_digest or row.dummy_run_digest, ""
            append_gate(session, site, row, by=by, judged="" if row.proposed else row.dummy_run_digest)
            if not row.proposed:
                if (row.state, row.dummy_run_digest) != before:
                    supersede(session, site, row)
                    if accept:
                        close_earlier_software(session, site, _facts(of_row), day=None)
                _set_site(session, site, accept=accept, by=by, without_scanner=without_scanner)
            return _gate(row, of_row)


def _require_not_final(site: str, row: ScannerGateRow, final: Collection[str]) -> None:
    """Refuse to accept a dummy run that is refused by a rule that no person overrules."""
    rules = sorted(set(row.rules) & set(final))
    if rules:
        raise UsageError(
            f"site {site}: expected a dummy run that may be accepted, found a dummy run that is refused by "
            f"{', '.join(rules)}",
            hint="this rule is not overruled; ask the site for a new dummy run",
        )


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
    waiting = [
        one for one in found
        if one[0].state == ScannerState.UNDECIDED.value or one[0].waiting_digest or one[0].proposed
    ]  # fmt: skip
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
        f"{row.coil or 'not stated'}, upload {(row.waiting_digest or row.dummy_run_digest)[:8] or 'not known'}): "
        f"{'undecided' if row.waiting_digest else row.state}"
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
    return ScannerFacts(
        row.manufacturer, row.model, row.software, row.field_strength_t, row.serial_digest, row.identified
    )


def _gate(row: ScannerGateRow, scanner: ScannerRow) -> ScannerGate:
    return ScannerGate(
        scanner.site, scanner.id, _facts(scanner), row.coil, ScannerState(row.state), row.dummy_run_digest, row.at,
        row.reason, row.by, row.proposed, row.proposed_by, tuple(row.rules),
        row.waiting_digest,
    )  # fmt: skip
