"""``mri-pipeline dummy-run``."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import UsageError
from reading_centre.console import (
    AsJson,
    Series,
    SiteCode,
    TrialFolder,
    emit,
    say,
)


class Decision(StrEnum):
    """Decision of a person on a dummy run."""

    ACCEPT = "accept"
    REFUSE = "refuse"


def dummy_run(
    trial: TrialFolder,
    site: SiteCode,
    upload: Annotated[
        Path | None, typer.Argument(metavar="[UPLOAD]", help="DICOM as a folder, zip or tar. Not with --decide.")
    ] = None,
    series: Series = None,
    decide: Annotated[
        Decision | None,
        typer.Option("--decide", help="Decide on the latest dummy run of the site that was judged."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why it is decided so, without patient data.")] = "",
    by: Annotated[
        str, typer.Option("--by", help="Who decides, or the reviewer whom the report names; no patient data.")
    ] = "",
    pdf: Annotated[bool, typer.Option("--pdf", help="Write the report as PDF, too (with Chromium).")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the dummy run of a scanner, write the acceptance report and set its gate; or enter a person's decision."""
    if decide is not None:
        _decide(trial, site, upload, accept=decide is Decision.ACCEPT, reason=reason, by=by, as_json=as_json)
        return
    if upload is None or reason:
        raise UsageError(
            "expected an upload, or --decide with --reason and --by, found neither or both",
            hint="mri-pipeline dummy-run TRIAL UPLOAD --site S",
        )
    from reading_centre.use_cases.dummy_run import receive_dummy_run
    from reading_centre.use_cases.series_statement import read_statement

    result = receive_dummy_run(trial, upload, site=site, stated=read_statement(series or ()), by=by, pdf=pdf)
    if as_json:
        emit(result.as_dict())
        return
    say(f"site {site}: dummy run {result.verdict}")
    if result.gate != "accepted":
        say("  the gate of the scanner is closed until a person accepts the dummy run: --decide accept")
    for query in result.queries:
        say(f"  query: {query}")
    say(f"report: {result.report}")


def _decide(
    trial: Path, site: str, upload: Path | None, *, accept: bool, reason: str, by: str, as_json: bool
) -> None:
    if upload is not None:
        raise UsageError(
            "expected no upload with --decide, found one",
            hint="judge it first: mri-pipeline dummy-run TRIAL UPLOAD",
        )
    from reading_centre.use_cases.dummy_run import decide_dummy_run

    gate = decide_dummy_run(trial, site=site, accept=accept, reason=reason, by=by)
    if as_json:
        scanner = {name: value for name, value in asdict(gate.scanner).items() if name != "serial_digest"}
        emit(asdict(gate) | {"scanner": scanner})
        return
    name = f"{gate.scanner.manufacturer} {gate.scanner.model}"
    say(f"site {site}: {name}: {gate.state.value}")
    if gate.proposed:
        say(f"  {gate.proposed} by {gate.proposed_by}; a second person has to confirm it")
