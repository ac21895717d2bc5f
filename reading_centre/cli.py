"""The command line: ``mri-pipeline``. One boundary turns errors into one line, a hint and an exit code.

Commands import their dependencies when they are called, so that ``--help`` is fast.
"""

from __future__ import annotations

import errno
import logging
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.logging import RichHandler

from mri_pipeline.core.errors import ReadingCentreError
from reading_centre.command_options import not_writable, require_writable
from reading_centre.commands import (
    agreement,
    audit,
    backup,
    bids,
    demo,
    dummy_run,
    evaluate,
    export_dicom,
    ingest,
    init,
    qc,
    qualify,
    quarantine,
    query,
    read,
    receive,
    run,
    segment,
    serve,
    status,
    tables,
    verify,
)
from reading_centre.console import STDERR, print_version, say_stderr
from workflows.logs import add_handler, log_to_file, remove_handler

app = typer.Typer(
    name="mri-pipeline",
    help="A central MRI reading centre for multiple-sclerosis trials: DICOM in, blinded lesion tables out.",
    epilog="Exit codes: 0 done, 1 unexpected error, 2 wrong usage or settings, 3 an upload was refused, "
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
    """Run the command line and exit with the documented exit code. SIGTERM interrupts it, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(invoke())


def invoke(arguments: list[str] | None = None) -> int:
    """Run the command line. Errors of the program become one line, a hint and an exit code.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.

    Returns
    -------
    int
        Exit code: 0 done, 2 wrong use or settings or a folder that cannot be written, otherwise that of the error.

    Raises
    ------
    OSError
        If it is not about a folder that cannot be written.
    """
    try:
        app(args=bids.repeat_options(sys.argv[1:] if arguments is None else arguments))
    except ReadingCentreError as error:
        return _print(error)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        return _print(not_writable(error, error.filename))
    except SystemExit as leave:  # typer prints the invalid option and exits with 2
        return leave.code if isinstance(leave.code, int) else 0
    return 0


def _print(error: ReadingCentreError) -> int:
    say_stderr(f"error: {error.message}")
    if error.hint:
        say_stderr(f"Hint:  {error.hint}")
    return error.exit_code


def _folder_of_log(path: Path | None) -> Path | None:
    if path is not None:
        require_writable(path.parent)
    return path


@app.callback()
def _options(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show each step of the work.")] = False,
    log_file: Annotated[
        Path | None,
        typer.Option("--log-file", help="Append a log of this command to this file.", callback=_folder_of_log),
    ] = None,
    _show: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    terminal = RichHandler(console=STDERR, show_time=False, show_path=False)
    add_handler(terminal, logging.INFO if verbose else logging.WARNING)
    context.call_on_close(partial(remove_handler, terminal))
    if log_file is not None:
        context.call_on_close(partial(remove_handler, log_to_file(log_file)))


for _name, _command, _summary in (
    ("init", init.init, "Create a trial folder with its protocol."),
    ("dummy-run", dummy_run.dummy_run, "Check a scanner's dummy run; accept or refuse the scanner."),
    ("ingest", ingest.ingest, "Ingest one visit or a batch: check, de-identify, convert."),
    ("receive", receive.receive, "Receive studies by DICOM C-STORE; check them as ingest."),
    ("run", run.run, "Analyse all subjects with new scans."),
    ("read", read.read, "Export worklists, import decisions, lock reads."),
    ("serve", serve.serve, "Serve the web application: reading, sites, office."),
    ("agreement", agreement.agreement, "Report the agreement of readers."),
    ("tables", tables.tables, "Write the blinded tables."),
    ("export-dicom", export_dicom.export_dicom, "Write lesions as DICOM segmentations and reports."),
    ("status", status.status, "Show an overview of sites, subjects and visits."),
    ("qc", qc.qc, "Show image quality over sites, scanners and time."),
    ("backup", backup.backup, "Copy a trial so that it can be restored."),
    ("restore", backup.restore, "Restore a trial from its backup."),
    ("qualify", qualify.qualify, "Qualify an installation for a trial (IQ, OQ, PQ)."),
    ("demo", demo.demo, "Run all steps on a simulated trial."),
    ("bids", bids.bids, "Analyse a BIDS dataset (BIDS App)."),
    ("segment", segment.segment, "Segment the lesions of one visit from NIfTI files."),
    ("verify", verify.verify, "Compare results with their provenance."),
    ("evaluate", evaluate.evaluate, "Score predicted against reference masks."),
):
    app.command(_name, short_help=_summary)(_command)

app.add_typer(
    quarantine.app, name="quarantine", short_help="Refused uploads: list, retry, release. Accepted: withdraw."
)
app.add_typer(audit.app, name="audit", short_help="Show, verify, export and anchor the audit trail.")
app.add_typer(query.app, name="query", short_help="List, answer and close queries to the sites.")
