"""``mri-pipeline run``."""

from __future__ import annotations

from typing import Annotated

import typer

from reading_centre.command_options import (
    Account,
    AsJson,
    Calibrate,
    JobCommand,
    JobMemory,
    KeepWork,
    Partition,
    PluginName,
    Processes,
    TimeLimit,
    TrialFolder,
    cluster_options,
)
from reading_centre.console import batch_progress, emit, renew_reports, report_batch, say
from workflows.plugin import Plugin


def run(
    trial: TrialFolder,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="Blinded code; may be repeated. Default: all.")
    ] = None,
    nprocs: Processes = 1,
    plugin: PluginName = Plugin.MULTIPROC,
    partition: Partition = "",
    account: Account = "",
    time_limit: TimeLimit = None,
    job_memory: JobMemory = None,
    job_command: JobCommand = "",
    keep_work: KeepWork = False,
    rerun_failed: Annotated[
        bool, typer.Option("--rerun-failed", help="Only subjects that failed, or have visits that failed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be analysed, and why.")] = False,
    calibrate: Calibrate = False,
    as_json: AsJson = False,
) -> None:
    """Analyse all subjects with new scans. An interrupted run resumes. A failed subject does not stop the others."""
    from reading_centre.use_cases.analysis.run import plan_run, run_trial
    from reading_centre.use_cases.reading.prepare import prepare_after_run
    from workflows.executors import Execution

    chosen = tuple(subject or ())
    if dry_run:
        planned = plan_run(trial, subjects=chosen, only_failed=rerun_failed)
        if as_json:
            emit(planned)
        else:
            for code, reason in planned.items():
                say(f"sub-{code}: {reason}")
            say(f"{len(planned)} subjects would be analysed")
        return
    cluster = cluster_options(partition, account, time_limit, job_memory, job_command)
    execution = Execution(plugin, nprocs, cluster=cluster, keep_work=keep_work)
    with batch_progress() as progress:
        outcome = run_trial(
            trial,
            subjects=chosen,
            only_failed=rerun_failed,
            execution=execution,
            calibrate=calibrate,
            progress=progress,
        )
    if not outcome.reports_current:
        renew_reports(trial)  # the analysis has written those of the automatic masks
    try:
        report_batch(outcome, as_json=as_json)
    finally:
        prepare_after_run(trial)
