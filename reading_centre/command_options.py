"""Options and arguments that several commands share."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mri_pipeline.core.errors import UsageError
from workflows.plugin import Plugin

if TYPE_CHECKING:  # pydantic is not needed for --help
    from workflows.executors import ClusterOptions


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
        help="Statement of the site: series number of a contrast, such as FLAIR=4, or a file of such lines. "
        "May be repeated, once for each contrast.",
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
        help="Other schedulers: command put in front of the program of a subject; it submits it and waits for its "
        "end, such as 'bsub -K' or 'qsub -sync y -b y'.",
    ),
]
KeepWork = Annotated[bool, typer.Option("--keep-work", help="Keep Nipype's cache of subjects that are done.")]
SegmenterFile = Annotated[
    Path | None,
    typer.Option("--segmenter", help="TOML file of an external T2 segmenter (docs/segmenters.md)."),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate", help="Also measure the detection rate of simulated lesions by size, for each scan."
    ),
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
