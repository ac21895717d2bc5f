"""``mri-pipeline read``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import AnalysisError, UsageError
from reading_centre.console import (
    STDERR,
    AsJson,
    TrialFolder,
    emit,
    require_writable,
    say,
)


def read(
    trial: TrialFolder,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write a blinded worklist to this folder.", callback=require_writable),
    ] = None,
    take: Annotated[
        Path | None, typer.Option("--import", help="Import decisions and masks from this folder.")
    ] = None,
    reader: Annotated[
        str | None, typer.Option("--reader", help="Reader; with --export: only what awaits this reader.")
    ] = None,
    lock: Annotated[bool, typer.Option("--lock", help="Lock all confirmed reads against changes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Readers confirm or correct the proposed lesions: --export, --import, --lock."""
    from reading_centre.use_cases import read as readers
    from reading_centre.use_cases import read_lock

    chosen = [name for name, on in (("--export", export), ("--import", take), ("--lock", lock)) if on]
    if len(chosen) != 1:
        raise UsageError(
            f"expected one of --export DIR, --import DIR and --lock, found {' and '.join(chosen) or 'none'}",
            hint="export a worklist, import it with the readers' decisions, then lock the reads",
        )
    if export is not None:
        summary = readers.export_reads(trial, export, reader=reader or "")
    else:
        if not reader:
            raise UsageError(
                "expected --reader with --import and --lock, found none", hint="for example --reader R1"
            )
        summary = (
            readers.import_reads(trial, take, reader=reader)
            if take
            else read_lock.lock_reads(trial, reader=reader)
        )
    messages = {name: value for name, value in summary.items() if isinstance(value, list)}
    if as_json:
        emit(summary)
    else:
        numbers = [f"{name.replace('_', ' ')}: {summary[name]}" for name in summary if name not in messages]
        say(", ".join(numbers))
        for note in messages.get("notes", []):
            say(f"Note: {note}")
    for message in messages.get("failed", []):
        STDERR.print(message, soft_wrap=True, markup=False)
    if messages.get("failed"):
        raise typer.Exit(AnalysisError.exit_code)
