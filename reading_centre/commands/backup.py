"""``mri-pipeline backup`` and ``mri-pipeline restore``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reading_centre.command_options import AsJson, TrialFolder, require_writable
from reading_centre.console import emit, say


def backup(
    trial: TrialFolder,
    to: Annotated[
        Path,
        typer.Option("--to", metavar="DIR", help="New folder for the backup.", callback=require_writable),
    ],
    sealed_to: Annotated[
        Path,
        typer.Option(
            "--sealed-to",
            metavar="DIR",
            help="New folder outside of the backup, for the copy of the sealed folder.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Copy a trial, its registry and its sealed folder, with a digest of every file. The trial stays in use."""
    from reading_centre.use_cases.trial.backup import back_up

    made = back_up(trial, to=to, sealed_to=sealed_to)
    if as_json:
        emit(asdict(made) | {"folder": str(made.folder), "sealed": str(made.sealed)})
        return
    say(f"{made.folder}: {made.files} files, {made.size / 1e6:.1f} MB; audit trail: {made.audit_entries} entries")
    say(f"{made.sealed}: the secret and the key; keep it apart from the backup")


def restore(
    trial: Annotated[Path, typer.Argument(metavar="TRIAL", help="New folder for the trial.")],
    backup: Annotated[Path, typer.Option("--from", metavar="DIR", help="Folder of the backup.")],
    sealed: Annotated[
        Path,
        typer.Option(
            "--sealed-from", metavar="DIR", help="Folder that was given as --sealed-to for the same backup."
        ),
    ],
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url", help="URL of an empty database instead of the one in trial.toml; '' for SQLite."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Restore a trial from its backup into a new folder, and compare it with its audit trail."""
    from reading_centre.use_cases.trial.restore import restore_trial

    restored = restore_trial(trial, backup=backup, sealed=sealed, database_url=database_url)
    if as_json:
        emit(asdict(restored) | {"trial": str(restored.trial)})
        return
    say(f"{restored.trial}: restored as of {restored.at}, {restored.files} files, as in the audit trail")
