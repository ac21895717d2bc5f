"""The command line: ``mri-pipeline``. One boundary turns errors into one line, a hint and an exit code.

Commands import what they need when they are called, so that ``--help`` stays quick.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from mri_pipeline import __version__
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from reading_centre.commands import (
    bids,
    demo,
    dummy_run,
    evaluate,
    ingest,
    init,
    read,
    run,
    segment,
    status,
    tables,
)
from reading_centre.console import STDERR

app = typer.Typer(
    name="mri-pipeline",
    help="A central MRI reading centre for multiple-sclerosis trials: DICOM in, blinded lesion tables out.",
    epilog="Exit codes: 0 done, 1 unexpected fault, 2 wrong use or settings, 3 an upload was refused, "
    "4 some subjects failed and the others are done.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_NOT_WRITABLE = {
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM,
    errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG,
}  # fmt: skip


def main() -> None:
    """Run the command line and leave with the exit code of the contract."""
    sys.exit(invoke())


def invoke(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments` (default: the process's own) and return the exit code."""
    try:
        app(args=arguments)
    except ReadingCentreError as error:
        STDERR.print(f"error: {error.message}", soft_wrap=True, markup=False)
        if error.hint:
            STDERR.print(f"Hint:  {error.hint}", soft_wrap=True, markup=False)
        return error.exit_code
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        STDERR.print(f"error: expected a folder that can be written, found: {error.strerror}", markup=False)
        STDERR.print(f"Hint:  check {error.filename}", soft_wrap=True, markup=False)
        return UsageError.exit_code
    except SystemExit as leave:  # typer prints what was wrong with the options, and leaves with 2
        return leave.code if isinstance(leave.code, int) else 0
    return 0


def _version(value: bool) -> None:
    if value:
        print(f"mri-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


for _name, _command in (
    ("init", init.init),
    ("dummy-run", dummy_run.dummy_run),
    ("ingest", ingest.ingest),
    ("run", run.run),
    ("read", read.read),
    ("tables", tables.tables),
    ("status", status.status),
    ("demo", demo.demo),
    ("bids", bids.bids),
    ("segment", segment.segment),
    ("evaluate", evaluate.evaluate),
):
    app.command(_name)(_command)
