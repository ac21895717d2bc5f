"""Whether the scanner of a visit has an accepted dummy run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mri_pipeline.core.quality_limits import Action
from mri_pipeline.registry import ScannerFacts, ScannerGate, ScannerState
from mri_pipeline.registry.records import maker
from qc.findings import Finding

SCANNER_GATE: Final = "scanner_gate"
"""Rule of the dummy run of a scanner."""

_EXPECTED: Final = "expected an accepted dummy run of this scanner with its software version and receive coil"


def judge_scanner(
    gates: Sequence[ScannerGate], scanner: ScannerFacts, coil: str, *, day: dt.date | None, action: Action
) -> Finding | None:
    """Judge whether a visit comes from a scanner with an accepted dummy run.

    Parameters
    ----------
    gates : sequence of ScannerGate
        Of the site.
    scanner : ScannerFacts
    coil : str
        Receive coil of the visit. The gate of this coil decides. Without one, a coil that either side does not state is
        not compared.
    day : datetime.date or None
        Day of the scan. A gate that was closed for an upgrade accepts scans acquired before.
    action : Action
        Consequence of a scanner without an accepted dummy run.

    Returns
    -------
    Finding or None
        Met or violated. None if the site has no gate of a scanner: its dummy run stated none.
    """
    gates = [gate for gate in gates if gate.scanner != ScannerFacts()]
    if not gates:
        return None
    of_scanner = [g for g in gates if g.scanner == scanner and g.state is not ScannerState.SUPERSEDED]
    own = [gate for gate in of_scanner if gate.coil == coil]
    if all(gate.state is ScannerState.UNDECIDED for gate in own):  # until the verdict, that of any coil stands
        own += [gate for gate in of_scanner if gate not in own and (not coil or not gate.coil)]
    if any(_accepts(gate, day) for gate in own):
        return Finding(SCANNER_GATE, None, "the scanner has an accepted dummy run")
    return Finding(SCANNER_GATE, action, f"{_EXPECTED}, found {_found(own, gates, scanner)}")


def _accepts(gate: ScannerGate, day: dt.date | None) -> bool:
    if gate.state is ScannerState.CLOSED:
        return day is not None and day <= dt.datetime.fromisoformat(gate.at).date()
    return gate.state is ScannerState.ACCEPTED


def _found(own: Sequence[ScannerGate], gates: Sequence[ScannerGate], scanner: ScannerFacts) -> str:
    if own:
        latest = max(own, key=lambda gate: gate.at)
        return {
            ScannerState.REFUSED: "a dummy run that was refused",
            ScannerState.UNDECIDED: "a dummy run that nobody has decided on",
            ScannerState.CLOSED: f"a dummy run whose gate an upgrade closed on {latest.at[:10]}",
        }[latest.state]
    if any(gate.scanner == scanner for gate in gates):
        return "a dummy run with another receive coil"
    same_maker = [g.scanner for g in gates if maker(g.scanner.manufacturer) == maker(scanner.manufacturer)]
    strength = scanner.field_strength_t
    machine = [replace(one, manufacturer=scanner.manufacturer, field_strength_t=strength) for one in same_maker]
    if scanner in machine:
        return "a dummy run with another field strength"
    if scanner in [replace(one, software=scanner.software) for one in machine]:
        return "a dummy run with another software version"
    return "no dummy run of this scanner"
