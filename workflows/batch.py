"""Batch of subjects with one process each. A subject that fails or is killed does not affect the others."""

from __future__ import annotations

import fcntl
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.interfaces.base import CommandLine, CommandLineInputSpec, File, TraitedSpec, traits
from nipype.pipeline import engine as pe
from pydantic import ValidationError

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.errors import UsageError
from workflows import ONE_THREAD
from workflows.engine import run_workflow
from workflows.outcome import BatchOutcome, Outcome, outcome_file
from workflows.plugin import Plugin, Progress

_LOGGER = logging.getLogger(__name__)


class _RunSubjectInputSpec(CommandLineInputSpec):  # type: ignore[misc, unused-ignore]
    module = traits.Enum("workflows.job", usedefault=True, argstr="-m %s", position=0)
    job = File(exists=True, mandatory=True, argstr="%s", position=1, desc="the subject's job")
    nprocs = traits.Range(low=1, value=1, usedefault=True, argstr="--nprocs %d", desc="processes for its visits")


class _RunSubjectOutputSpec(TraitedSpec):  # type: ignore[misc, unused-ignore]
    outcome = File(exists=True, desc="outcome of the analysis")


class RunSubject(CommandLine):  # type: ignore[misc, unused-ignore]
    """Analyse one subject in a separate process. The process decides which steps are cached."""

    _cmd = sys.executable
    _always_run = True
    input_spec = _RunSubjectInputSpec
    output_spec = _RunSubjectOutputSpec

    def _list_outputs(self) -> dict[str, Any]:
        return {"outcome": str(outcome_file(Path(self.inputs.job).parent))}


def init_batch_wf(
    *,
    jobs: Sequence[SubjectJob],
    work: Path,
    nprocs_per_subject: int = 1,
    mem_gb: float = 2.0,
    name: str = "batch_wf",
) -> pe.Workflow:
    """One independent node for each subject. Each of its processes uses one thread.

    Parameters
    ----------
    jobs : sequence of SubjectJob
        Each is saved to its job file.
    work : Path
        Folder of Nipype's cache.
    nprocs_per_subject : int
    mem_gb : float
        Memory planned for each subject in GB.
    name : str
        Name of the workflow.

    Inputs
    ------
    none; each node holds its job

    Outputs
    -------
    outcomes
        A file for each subject.
    """
    workflow = pe.Workflow(name=name, base_dir=str(work))
    outputnode = pe.Node(niu.IdentityInterface(fields=["outcomes"]), name="outputnode")
    outcomes = pe.Node(niu.Merge(len(jobs)), name="outcomes", run_without_submitting=True)
    for position, job in enumerate(jobs, start=1):
        run_subject = pe.Node(
            RunSubject(job=str(job.save()), nprocs=nprocs_per_subject, environ=ONE_THREAD),
            name=f"sub_{job.subject}",
            mem_gb=mem_gb,
            n_procs=nprocs_per_subject,
        )
        workflow.connect([(run_subject, outcomes, [("outcome", f"in{position}")])])
    workflow.connect([(outcomes, outputnode, [("out", "outcomes")])])
    return workflow


@contextmanager
def only_run(work: Path) -> Iterator[None]:
    """Lock the cache for one run.

    Parameters
    ----------
    work : Path
        Folder of the cache; created if it does not exist.

    Yields
    ------
    None
        The lock is released at the end of the block.

    Raises
    ------
    UsageError
        If another run is in progress.
    """
    work.mkdir(parents=True, exist_ok=True)
    with (work / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                "expected no other run on this folder, found another run in progress",
                hint="wait for its end, then repeat the command",
            ) from error
        yield


def run_batch(
    jobs: Sequence[SubjectJob],
    *,
    work: Path,
    plugin: Plugin,
    nprocs: int,
    memory_gb: float | None = None,
    progress: Progress | None = None,
) -> BatchOutcome:
    """Analyse all subjects; returns when each is done or has failed.

    A single subject gets all processes for its visits. If there are more subjects, each gets one process.

    Parameters
    ----------
    jobs : sequence of SubjectJob
    work : Path
        Folder of Nipype's cache.
    plugin : Plugin
    nprocs : int
        Number of processes (SLURM: of jobs at a time).
    memory_gb : float, optional
        Memory limit of MultiProc in GB. Default: 90 % of the memory of this process.
    progress : callable, optional
        Called with the name and the status of each node.

    Returns
    -------
    BatchOutcome
        In the order of `jobs`. A failed subject is not raised.

    Raises
    ------
    SettingsError
        If there are jobs and `nprocs` is below 1.
    """
    renewed = sum(job.cached_by_other_code for job in jobs)
    if renewed:
        _LOGGER.warning(
            "The software has changed since the last run: %d subjects are analysed from the start.", renewed
        )
    for job in jobs:
        outcome_file(job.subject_work).unlink(missing_ok=True)
    if not jobs:
        return BatchOutcome(())
    alone = len(jobs) == 1 and plugin is Plugin.MULTIPROC
    workflow = init_batch_wf(jobs=jobs, work=work, nprocs_per_subject=nprocs if alone else 1)
    run_workflow(
        workflow,
        plugin=plugin,
        nprocs=nprocs,
        memory_gb=memory_gb,
        crash_folder=work / "crashes",
        progress=progress,
    )
    return BatchOutcome(tuple(_read_outcome(job) for job in jobs))


def _read_outcome(job: SubjectJob) -> Outcome:
    try:
        return Outcome.model_validate_json(outcome_file(job.subject_work).read_bytes())
    except (OSError, ValidationError):
        reason = "its process ended without a result (killed, or out of memory)"
        return Outcome(subject=job.subject, done=False, reason=reason)
