"""``mri-pipeline run``."""

from __future__ import annotations

from typing import Annotated

import typer

from reading_centre.console import (
    AsJson,
    PluginName,
    Processes,
    TrialFolder,
    progress_bar,
    renew_reports,
    report_batch,
)
from workflows.plugin import Plugin


def run(
    trial: TrialFolder,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="Blinded code; may be repeated. Default: all.")
    ] = None,
    nprocs: Processes = 1,
    plugin: PluginName = Plugin.MULTIPROC,
    as_json: AsJson = False,
) -> None:
    """Analyse all subjects with new scans. An interrupted run resumes. A failed subject does not stop the others."""
    from reading_centre.use_cases.run import run_trial

    with progress_bar("subjects") as progress:
        outcome = run_trial(trial, subjects=tuple(subject or ()), nprocs=nprocs, plugin=plugin, progress=progress)
    renew_reports(trial)  # the analysis has written those of the automatic masks
    report_batch(outcome, as_json=as_json)
