"""``mri-pipeline tables``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import AnalysisError, UsageError
from reading_centre.command_options import AsJson, Processes, TrialFolder, require_writable
from reading_centre.console import renew_reports, say_paths, say_stderr


def tables(
    trial: TrialFolder,
    provisional: Annotated[
        bool,
        typer.Option(
            "--provisional",
            help="Use all reads and automatic results; each row states its source. Allows --release of such tables.",
        ),
    ] = False,
    release: Annotated[
        Path | None,
        typer.Option(
            "--release",
            help="Write tables with trial numbers in place of blinded codes to this folder. They have no treatment.",
            callback=require_writable,
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Reason; required with --release.")] = "",
    schedule: Annotated[
        Path | None,
        typer.Option(
            "--schedule",
            help="Dates of the scans for nv.csv, with --release: CSV with site, subject, visit, date and, optionally, "
            "rfstdtc.",
        ),
    ] = None,
    nprocs: Processes = 1,
    as_json: AsJson = False,
) -> None:
    """Write the blinded tables, from locked reads only unless --provisional is given."""
    if schedule is not None and release is None:
        raise UsageError("expected --release with --schedule, found none", hint="blinded tables contain no dates")
    if release is not None:
        _release(trial, release, reason=reason, provisional=provisional, schedule=schedule, as_json=as_json)
    else:
        _write(trial, provisional=provisional, nprocs=nprocs, as_json=as_json)


def _release(
    trial: Path, out: Path, *, reason: str, provisional: bool, schedule: Path | None, as_json: bool
) -> None:
    from reading_centre.use_cases.tables.release import release_trial_tables

    released = release_trial_tables(trial, reason=reason, out=out, provisional=provisional, schedule=schedule)
    say_paths(released.files, as_json=as_json)
    say_stderr(f"Dates in nv: {released.dates}")
    for place in released.other_intervals:
        say_stderr(f"Note: {place}: the days since the first scan of the subject differ from those of the headers")
    say_stderr(
        f"Audit trail: {released.audit_entries} entries, last {released.audit_hash} (keep this with the release)"
    )
    if released.other_software:
        say_stderr("Note: other software than the present one wrote the blinded tables")


def _write(trial: Path, *, provisional: bool, nprocs: int, as_json: bool) -> None:
    from reading_centre.use_cases.tables.trial_tables import write_trial_tables

    written = write_trial_tables(trial, provisional=provisional, nprocs=nprocs)
    renew_reports(trial)
    say_paths(written.files, as_json=as_json)
    for note in written.notes:
        say_stderr(f"Note: {note}")
    if written.questions:
        say_stderr(
            f"Note: questions.csv has {written.questions} changes between confirmed reads that FLAIR does not show"
        )
    for code, error in written.refused.items():
        say_stderr(f"sub-{code} FAILED, its rows have no numbers: {error.message}")
        say_stderr(f"Hint:  {error.hint}")
    if written.refused:
        raise typer.Exit(AnalysisError.exit_code)
