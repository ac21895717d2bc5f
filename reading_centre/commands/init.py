"""``mri-pipeline init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reading_centre.command_options import require_writable
from reading_centre.console import say


def init(
    trial: Annotated[
        Path,
        typer.Argument(
            metavar="TRIAL", help="Folder of the trial; must be empty or new.", callback=require_writable
        ),
    ],
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="Protocol of the package to start from: mesems (7 visits over 48 weeks; FLAIR, T1, T1 "
            "after gadolinium, T2) or demo.",
        ),
    ] = "mesems",
    database_url: Annotated[
        str,
        typer.Option(
            "--database-url",
            help="URL of an empty PostgreSQL database for the registry. Default: SQLite in the trial folder.",
        ),
    ] = "",
) -> None:
    """Create a trial folder with its protocol."""
    from reading_centre.use_cases.trial.init import init_trial

    created = init_trial(trial, protocol, database_url=database_url)
    say(f"trial folder ready; edit {created.protocol_file} (sites, visits, limits) before the first upload")
