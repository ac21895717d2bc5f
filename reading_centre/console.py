"""Common parts of the commands: options, printing, progress bar."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mri_pipeline import __version__
from mri_pipeline.core.errors import AnalysisError, UsageError
from workflows.logs import ROOTS
from workflows.plugin import Plugin
from workflows.progress import BatchProgress, RunState

if TYPE_CHECKING:  # pydantic is not needed for --help
    from workflows.executors import ClusterOptions
    from workflows.outcome import BatchOutcome

STDOUT = Console(highlight=False)
STDERR = Console(stderr=True, highlight=False)

LINE_EVERY_S = 60.0
"""Time between two lines of progress where the output is no terminal."""

_BAR_EVERY_S = 0.5


def require_writable(folder: Path | None) -> Path | None:
    """Check that files can be written to a folder, before the work; callback of arguments and options.

    A temporary folder is made and removed in the folder, or in its nearest parent that exists.

    Parameters
    ----------
    folder : Path or None
        Need not exist. None if the option is not given.

    Returns
    -------
    Path or None
        `folder`.

    Raises
    ------
    UsageError
        If no folder can be made there.
    """
    if folder is None:
        return None
    try:
        found = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(dir=found):
            return folder
    except OSError as error:
        raise not_writable(error, folder) from error


def not_writable(error: OSError, path: Path | str) -> UsageError:
    """Error for a folder or file that cannot be written.

    Parameters
    ----------
    error : OSError
        Reason given by the operating system.
    path : Path or str

    Returns
    -------
    UsageError
    """
    return UsageError(f"expected a folder that can be written, found: {error.strerror}", hint=f"check {path}")


TrialFolder = Annotated[Path, typer.Argument(metavar="TRIAL", help="Folder of the trial.")]
Upload = Annotated[Path, typer.Argument(metavar="UPLOAD", help="DICOM as a folder, zip or tar.")]
SiteCode = Annotated[str, typer.Option("--site", help="Code of the site, as in trial.toml.")]


class Answer(StrEnum):
    """A statement of the site."""

    YES = "yes"
    NO = "no"


BeforeInfusion = Annotated[
    Answer | None,
    typer.Option(
        "--before-infusion", help="Statement of the site: did the scan come before the infusion of that visit?"
    ),
]
PatientChanged = Annotated[
    str,
    typer.Option(
        "--patient-changed",
        metavar="REASON",
        help="Accept another name, number or birth date of the same patient, for this reason.",
    ),
]
Series = Annotated[
    list[str] | None,
    typer.Option(
        "--series",
        metavar="CONTRAST=NUMBER",
        help="Statement of the site: number of the series of a contrast, such as FLAIR=4; or a file of such lines. "
        "Repeat it for each contrast.",
    ),
]
Processes = Annotated[int, typer.Option("--nprocs", min=1, help="Processes that may run at once.")]
PluginName = Annotated[
    Plugin,
    typer.Option(
        "--plugin", help="Linear: one after another; MultiProc: --nprocs processes; SLURM: jobs of a cluster."
    ),
]
Partition = Annotated[str, typer.Option("--partition", help="SLURM: partition of the jobs.")]
Account = Annotated[str, typer.Option("--account", help="SLURM: account of the jobs.")]
TimeLimit = Annotated[
    int | None,
    typer.Option("--time-limit", min=1, help="SLURM: minutes of a job. Default: by the number of visits."),
]
JobMemory = Annotated[
    float | None, typer.Option("--job-memory", min=0.1, help="SLURM: memory of a job in GB. Default: 4.")
]
JobCommand = Annotated[
    str,
    typer.Option(
        "--job-command",
        help="Other schedulers: command in front of the program of a subject, which waits for its end, such as "
        "'bsub -K' or 'qsub -sync y -b y'.",
    ),
]
KeepWork = Annotated[bool, typer.Option("--keep-work", help="Keep Nipype's cache of a subject after its success.")]
SegmenterFile = Annotated[
    Path | None,
    typer.Option("--segmenter", help="TOML file of an external T2 segmenter (docs/segmenters.md)."),
]
Calibrate = Annotated[
    bool,
    typer.Option("--calibrate", help="Also measure which size of lesion each scan shows, with simulated lesions."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def stated(answer: Answer | None) -> bool | None:
    """The statement of the site as a truth value.

    Parameters
    ----------
    answer : Answer or None

    Returns
    -------
    bool or None
        None if the site stated nothing.
    """
    return None if answer is None else answer is Answer.YES


def say(text: str) -> None:
    """Print a line.

    Parameters
    ----------
    text : str
        Printed as it is, without markup and line breaks.
    """
    STDOUT.print(text, soft_wrap=True, markup=False)


def say_stderr(text: str) -> None:
    """Print a line to the standard error, beside the result on the standard output.

    Parameters
    ----------
    text : str
        Printed as it is, without markup and line breaks.
    """
    STDERR.print(text, soft_wrap=True, markup=False)


def ask_password(statement: str) -> str:
    """Ask for a password on a terminal, else read one line of the standard input.

    Parameters
    ----------
    statement : str
        What is signed; printed before.

    Returns
    -------
    str
    """
    say_stderr(statement)
    return getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def emit(value: Any) -> None:
    """Print a value as JSON, with sorted keys.

    Parameters
    ----------
    value : object
        Dictionaries, lists, strings, numbers, booleans and None.
    """
    print(json.dumps(value, indent=2, sort_keys=True))


def cluster_options(
    partition: str, account: str, time_limit: int | None, job_memory: float | None, job_command: str
) -> ClusterOptions:
    """Resources of a cluster job, from the options of a command.

    Parameters
    ----------
    partition, account : str
    time_limit : int or None
        In minutes.
    job_memory : float or None
        In GB.
    job_command : str

    Returns
    -------
    ClusterOptions
    """
    from workflows.executors import JOB_MEMORY_GB, ClusterOptions

    return ClusterOptions(partition, account, time_limit, job_memory or JOB_MEMORY_GB, job_command)


@contextmanager
def batch_progress() -> Iterator[BatchProgress]:
    """Progress of a run over subjects: a bar on a terminal, elsewhere a line every minute.

    Yields
    ------
    callable
        To be called with the state of the run, as often as wanted.
    """
    shown = time.monotonic()
    if not STDERR.is_terminal:

        def line(state: RunState) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= LINE_EVERY_S:
                shown = now
                say_stderr(state.line(now))

        yield line
        return
    columns = (BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=STDERR, transient=True) as bar:
        task = bar.add_task("", total=None)

        def advance(state: RunState) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= _BAR_EVERY_S:
                shown = now
                bar.update(task, total=state.total, completed=state.ended, description=state.line(now))

        yield advance


def report_batch(outcome: BatchOutcome, *, as_json: bool) -> None:
    """Print the outcome of every subject.

    Parameters
    ----------
    outcome : BatchOutcome
    as_json : bool
        True: JSON instead of lines.

    Raises
    ------
    typer.Exit
        With exit code 4 if a subject or a visit failed.
    """
    if as_json:
        emit([o.model_dump() for o in outcome.outcomes])
    else:
        for o in outcome.outcomes:
            state = "unchanged" if o.unchanged else f"done ({o.cpu_seconds:.0f} CPU s)"
            say(f"sub-{o.subject}: " + (state if o.done else f"FAILED: {o.reason}"))
            if o.log and (not o.done or o.failed_visits):
                say(f"  log: {o.log}")
            for visit, reason in o.failed_visits.items():
                say(f"  {visit} FAILED: {reason}")
            for message in o.qc_flags:
                say(f"  visual QC required: {message}")
        done = [o for o in outcome.outcomes if o.done]
        partly = sum(bool(o.failed_visits) for o in done)
        flags = sum(len(o.qc_flags) for o in done)
        say(
            f"{len(done)} of {len(outcome.outcomes)} subjects done"
            + (f", {partly} without some visits" * bool(partly))
            + (f", {flags} reasons for visual QC" * bool(flags))
        )
        if outcome.failed and outcome.log:
            say(f"log of the run: {outcome.log}")
    if outcome.failed:
        raise typer.Exit(AnalysisError.exit_code)


def say_paths(paths: Iterable[Path], *, as_json: bool) -> None:
    """Print paths.

    Parameters
    ----------
    paths : iterable of Path
    as_json : bool
        True: a JSON list instead of one line for each path.
    """
    if as_json:
        emit([str(path) for path in paths])
    else:
        for path in paths:
            say(str(path))


def print_version(value: bool) -> None:
    """Print the version and exit; callback of ``--version``.

    Parameters
    ----------
    value : bool
        True if the option is given.

    Raises
    ------
    typer.Exit
        If the option is given.
    """
    if value:
        print(f"mri-pipeline {__version__}")
        raise typer.Exit


def show_steps(times: int) -> int:
    """Show each step of the work on the terminal; callback of ``--verbose`` of a command.

    Parameters
    ----------
    times : int
        How often the option is given.

    Returns
    -------
    int
        `times`.
    """
    if times:
        for name in ROOTS:
            logger = logging.getLogger(name)
            logger.setLevel(min(logging.INFO, logger.level or logging.WARNING))
            for handler in logger.handlers:
                handler.setLevel(min(logging.INFO, handler.level))
    return times


def renew_reports(trial: Path) -> None:
    """Write the subjects' reports anew whose reads have changed; say which could not be written.

    Parameters
    ----------
    trial : Path
        Folder of the trial.
    """
    from reading_centre.use_cases.analysis.subject_reports import refresh_reports

    for message in refresh_reports(trial):
        say_stderr(message)
