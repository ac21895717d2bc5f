"""``mri-pipeline dummy-run``."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mri_pipeline.core.errors import UsageError
from reading_centre.command_options import AsJson, Series, SiteCode, TrialFolder
from reading_centre.console import emit, say

if TYPE_CHECKING:
    from mri_pipeline.registry import ScannerGate


_NEXT = {
    "undecided": "a person has to decide on the dummy run (--decide); the gate stays as it is until then",
    "refused": "a person has refused this dummy run; the gate of the scanner is refused",
    "closed": "the gate of the scanner was closed for an upgrade; a new dummy run opens it",
    "superseded": "a dummy run that states the receive coil was judged since; this one changes no gate",
}
"""What the gate of a scanner waits for, by the state of the dummy run."""


class DummyRunDecision(StrEnum):
    """Decision of a person on a dummy run."""

    ACCEPT = "accept"
    REFUSE = "refuse"


def dummy_run(
    trial: TrialFolder,
    site: SiteCode,
    upload: Annotated[
        Path | None, typer.Argument(metavar="UPLOAD", help="DICOM as a folder, zip or tar. Not with --decide.")
    ] = None,
    series: Series = None,
    decide: Annotated[
        DummyRunDecision | None,
        typer.Option(
            "--decide", help="Decide on the dummy run of the site that waits for it, or else on the latest."
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Reason for the decision, without patient data.")] = "",
    by: Annotated[
        str, typer.Option("--by", help="Person who decides, or reviewer named in the report; no patient data.")
    ] = "",
    scanner: Annotated[
        int | None,
        typer.Option("--scanner", help="Number of the scanner, if the site has several."),
    ] = None,
    coil: Annotated[
        str | None,
        typer.Option("--coil", help="Receive coil, if the scanner has several; '' if it is not stated."),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write the report as PDF, too (with Chromium).")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the dummy run of a scanner, write the acceptance report and set its gate.

    With --decide: enter the decision of a person instead.
    """
    if decide is not None:
        if upload is not None:
            raise UsageError(
                "expected an upload or --decide, found both",
                hint="judge it first: mri-pipeline dummy-run TRIAL UPLOAD",
            )
        from reading_centre.use_cases.uploads.dummy_run.receive import decide_dummy_run

        accept = decide is DummyRunDecision.ACCEPT
        _say_gate(
            decide_dummy_run(trial, site=site, accept=accept, reason=reason, by=by, scanner=scanner, coil=coil),
            as_json=as_json,
        )
        return
    if upload is None or reason or scanner is not None or coil is not None:
        raise UsageError(
            "expected an upload, or --decide with --reason and --by, found neither or both",
            hint="mri-pipeline dummy-run TRIAL UPLOAD --site S",
        )
    from reading_centre.use_cases.uploads.dummy_run.receive import receive_dummy_run
    from reading_centre.use_cases.uploads.series_statement import read_statement

    result = receive_dummy_run(trial, upload, site=site, stated=read_statement(series or ()), by=by, pdf=pdf)
    if as_json:
        emit(result.as_dict())
        return
    say(f"site {site}: dummy run {result.verdict}")
    if result.gate in _NEXT:
        say(f"  {_NEXT[result.gate]}")
    for query in result.queries:
        say(f"  query: {query}")
    say(f"report: {result.report}")


def _say_gate(gate: ScannerGate, *, as_json: bool) -> None:
    if as_json:
        hidden = {"serial_digest", "identified"}
        scanner = {name: value for name, value in asdict(gate.scanner).items() if name not in hidden}
        emit(asdict(gate) | {"scanner": scanner})
        return
    name = f"{gate.scanner.manufacturer} {gate.scanner.model}"
    say(f"site {gate.site}: {name}: {gate.state.value}")
    if gate.proposed:
        say(f"  {gate.proposed} by {gate.proposed_by}; a second person has to confirm it")
