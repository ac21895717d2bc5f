"""``mri-pipeline bids``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import UsageError
from reading_centre.command_options import (
    Account,
    AsJson,
    JobCommand,
    JobMemory,
    KeepWork,
    Partition,
    PluginName,
    SegmenterFile,
    TimeLimit,
    cluster_options,
    require_writable,
)
from reading_centre.console import batch_progress, print_version, report_batch, say, say_paths, show_steps
from workflows.plugin import Plugin

_SEVERAL = ("--participant-label", "--participant_label", "--session-label", "--session_label")
"""Options that take several values, as other BIDS Apps do: ``--participant-label 01 02``."""

_FLAGS = (
    "--json", "--skip-bids-validation", "--skip_bids_validation", "--keep-work", "--verbose", "-v", "--version",
    "--help",
)  # fmt: skip
"""Options without a value, of ``bids`` and of the program."""

_MEGABYTES = {"": 1, "M": 1, "MB": 1, "G": 1000, "GB": 1000, "T": 1_000_000, "TB": 1_000_000}
_LEAST_MEMORY_GB = 1.0


class AnalysisLevel(StrEnum):
    """Analysis level of a BIDS App."""

    PARTICIPANT = "participant"
    GROUP = "group"


def repeat_options(arguments: Sequence[str]) -> list[str]:
    """Repeat an option for each of its values, as typer expects.

    Values are taken up to the next option. An option before the three positional arguments takes one value.

    Parameters
    ----------
    arguments : sequence of str
        Command line without the program. That of another command is returned unchanged.

    Returns
    -------
    list of str

    Examples
    --------
    >>> repeat_options(["bids", "B", "O", "participant", "--participant-label", "01", "02", "-v"])[4:]
    ['--participant-label', '01', '--participant-label', '02', '-v']
    """
    if "bids" not in arguments:
        return list(arguments)
    done: list[str] = []
    option, values, positional = "", 0, 0
    for argument in arguments:
        if argument.startswith("-"):
            option, values = ("" if _takes_no_value(argument) else argument), 0
        elif option in _SEVERAL and values and positional > 3:
            done.append(option)
        elif not option or values:
            positional += 1
        done.append(argument)
        values += not argument.startswith("-")
    return done


def _takes_no_value(option: str) -> bool:
    """True for a flag, a repeated short flag (``-vv``) and an option with its value attached (``--a=b``, ``-wB``)."""
    return option in _FLAGS or "=" in option or (len(option) > 2 and not option.startswith("--"))


def memory_gb(text: str) -> float:
    """Memory in GB from a number with an optional unit; without a unit it is in MB, as fMRIPrep reads it.

    Parameters
    ----------
    text : str
        A number with M, MB, G, GB, T, TB or no unit; 1 GB is 1000 MB.

    Returns
    -------
    float
        In GB.

    Raises
    ------
    UsageError
        If the text has another form, or is less than 1 GB.

    Examples
    --------
    >>> memory_gb("16G"), memory_gb("8000")
    (16.0, 8.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if match is None or match[2].upper() not in _MEGABYTES:
        raise UsageError(f"--mem: expected a number with M, G or T, found {text!r}", hint="for example --mem 16G")
    found = float(match[1]) * _MEGABYTES[match[2].upper()] / 1000
    if found < _LEAST_MEMORY_GB:
        raise UsageError(f"--mem: expected at least 1 GB, found {found:g} GB", hint="for example --mem 16G")
    return found


def bids(
    bids_dir: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="BIDS dataset with anatomical scans.")],
    out_dir: Annotated[
        Path, typer.Argument(metavar="OUT_DIR", help="Derivative dataset to write.", callback=require_writable)
    ],
    level: Annotated[
        AnalysisLevel, typer.Argument(metavar="LEVEL", help="participant: analyse; group: write the tables.")
    ],
    participant_label: Annotated[
        list[str] | None,
        typer.Option("--participant-label", "--participant_label", help="One or more, with or without 'sub-'."),
    ] = None,
    session_label: Annotated[
        list[str] | None,
        typer.Option("--session-label", "--session_label", help="One or more, with or without 'ses-'."),
    ] = None,
    session_order: Annotated[
        str,
        typer.Option("--session-order", help="Sessions in the order of time, separated by commas."),
    ] = "",
    filter_file: Annotated[
        Path | None,
        typer.Option("--bids-filter-file", help="JSON that selects among several files of a contrast."),
    ] = None,
    skip_validation: Annotated[
        bool,
        typer.Option(
            "--skip-bids-validation", "--skip_bids_validation", help="Do not run the BIDS validator on BIDS_DIR."
        ),
    ] = False,
    nprocs: Annotated[
        int,
        typer.Option(
            "--nprocs",
            "--nthreads",
            "--n-procs",
            "--n_procs",
            "--n-cpus",
            "--n_cpus",
            min=1,
            help="Number of processes.",
        ),
    ] = 1,
    memory: Annotated[
        str,
        typer.Option(
            "--mem",
            "--mem-mb",
            "--mem_mb",
            help="Memory limit, for example 16G; a number alone is in MB. Default: 90 % of the memory.",
        ),
    ] = "",
    plugin: PluginName = Plugin.MULTIPROC,
    partition: Partition = "",
    account: Account = "",
    time_limit: TimeLimit = None,
    job_memory: JobMemory = None,
    job_command: JobCommand = "",
    keep_work: KeepWork = False,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", "-w", help="Cache. Default: OUT_DIR/work.", callback=require_writable),
    ] = None,
    segmenter: SegmenterFile = None,
    as_json: AsJson = False,
    _verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            callback=show_steps,
            help="Show each step of the work, as mri-pipeline -v.",
        ),
    ] = 0,
    _show: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Analyse a BIDS dataset (BIDS App), without registry and readers."""
    from mri_pipeline.core.io.bids_index import load_filters
    from mri_pipeline.core.segmenters import load_segmenter
    from reading_centre.use_cases.analysis.bids import app as bids_app
    from reading_centre.use_cases.analysis.bids.jobs import ScanSelection
    from workflows.executors import Execution

    selection = ScanSelection(
        participants=tuple(participant_label or ()),
        sessions=tuple(session_label or ()),
        session_order=tuple(filter(None, re.split(r"[,\s]+", session_order))),
        filters=load_filters(filter_file) if filter_file else {},
    )
    if level is AnalysisLevel.GROUP:
        say_paths(bids_app.write_group_tables(bids_dir, out_dir, selection=selection), as_json=as_json)
        return
    cluster = cluster_options(partition, account, time_limit, job_memory, job_command)
    execution = Execution(plugin, nprocs, memory_gb(memory) if memory else None, cluster, keep_work)
    with batch_progress() as progress:
        outcome = bids_app.run_participants(
            bids_dir,
            out_dir,
            selection=selection,
            validate=not skip_validation,
            execution=execution,
            work_dir=work_dir,
            segmenter=load_segmenter(segmenter) if segmenter else None,
            progress=progress,
            say=(lambda _: None) if as_json else say,
        )
    report_batch(outcome, as_json=as_json)
