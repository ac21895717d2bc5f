"""``mri-pipeline demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reading_centre.console import (
    STDOUT,
    Processes,
    say,
)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to put it; must be empty.")] = Path(
        "demo"
    ),
    nprocs: Processes = 2,
) -> None:
    """Run everything on the digital reference trial and show the tables beside the known truth."""
    from reading_centre.use_cases.demo import run_demo

    run_demo(folder, nprocs=nprocs, say=say, table=STDOUT.print)
