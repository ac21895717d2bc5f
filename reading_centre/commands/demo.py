"""``mri-pipeline demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reading_centre.command_options import Processes, require_writable
from reading_centre.console import STDOUT, say


def demo(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Output folder; must be empty or new.", callback=require_writable),
    ] = Path("demo"),
    nprocs: Processes = 2,
) -> None:
    """Run all steps on the digital reference trial and compare the tables with the known truth."""
    from reading_centre.use_cases.demo import run_demo

    run_demo(folder, nprocs=nprocs, say=say, table=STDOUT.print)
