"""Output of the commands: lines, JSON, passwords, progress."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mri_pipeline import __version__
from mri_pipeline.core.errors import AnalysisError
from workflows.logs import ROOTS
from workflows.progress import BatchProgress, RunState

if TYPE_CHECKING:  # pydantic is not needed for --help
    from workflows.outcome import BatchOutcome


_NO_TERMINAL_COLUMNS = 2000
"""Width of a table in a file or pipe: each row is one line, with all its words."""

STDOUT = Console(highlight=False, width=None if sys.stdout.isatty() else _NO_TERMINAL_COLUMNS)
STDERR = Console(stderr=True, highlight=False)
LINE_EVERY_S = 60.0
"""Time between two lines of progress where the output is no terminal."""
_BAR_EVERY_S = 0.5


def say(text: str) -> None:
    """Print a line.

    Parameters
    ----------
    text : str
        Printed as it is, without markup and line breaks.
    """
    if STDOUT.is_terminal or not text.isprintable():
        STDOUT.print(text, soft_wrap=True, markup=False, emoji=False)
        return
    try:  # the same bytes: the report of a large trial has 100,000 lines
        STDOUT.file.write(f"{text}\n")
        STDOUT.file.flush()
    except BrokenPipeError:
        STDOUT.on_broken_pipe()


def say_stderr(text: str) -> None:
    """Print a line to the standard error, beside the result on the standard output.

    Parameters
    ----------
    text : str
        Printed as it is, without markup and line breaks.
    """
    STDERR.print(text, soft_wrap=True, markup=False, emoji=False)


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
