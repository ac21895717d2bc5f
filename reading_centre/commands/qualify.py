"""``mri-pipeline qualify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import AnalysisError
from reading_centre.command_options import AsJson, Processes, TrialFolder
from reading_centre.console import ask_password, emit, say, say_stderr


def qualify(
    trial: TrialFolder,
    by: Annotated[
        str, typer.Option("--by", metavar="CODE", help="Sign the report: code of an account in trial.toml.")
    ] = "",
    cases: Annotated[
        Path | None,
        typer.Option(
            "--cases", metavar="FILE", help="CSV file of the centre's own reference cases and their limits."
        ),
    ] = None,
    nprocs: Processes = 1,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write the report as PDF, too (with Chromium).")] = False,
    as_json: AsJson = False,
) -> None:
    """Qualify this installation for a trial (IQ, OQ, PQ). Exit code 4 if a requirement failed or was not checked."""
    from qc.reports.qualification import Status
    from reading_centre.use_cases.qualify import qualify_trial

    done = qualify_trial(trial, by=by, cases=cases, nprocs=nprocs, pdf=pdf, say=say_stderr, password=ask_password)
    report = done.report
    if as_json:
        results = {one.id: one.status.value for one in report.results}
        emit(
            {
                "verdict": report.verdict.value,
                "signed": done.signed,
                "page": str(done.page),
                "requirements": results,
            }
        )
    else:
        for one in report.failed:
            for line in one.lines:
                if not line.passed:
                    say(f"{one.id} FAILED: expected {line.expected}, found {line.found}")
        for status in Status:
            count = sum(one.status is status for one in report.results)
            say(f"{count} requirements {status.value}")
        say(f"qualification: {report.verdict.value}, {'signed' if done.signed else 'not signed'}")
        say(f"report: {done.page}")
    if report.verdict is not Status.PASSED:
        raise typer.Exit(AnalysisError.exit_code)
