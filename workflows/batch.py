"""Batch of subjects with one process each. A subject that fails or is killed does not affect the others.

Nipype runs within the process of a subject. The subjects are independent: no scheduler of Nipype is needed above it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.io.locks import LockedError, exclusive
from workflows.executors import Executor, LocalExecutor
from workflows.memory import memory_limit_gb
from workflows.outcome import BatchOutcome, Outcome, outcome_file
from workflows.plugin import Plugin, Progress

_LOGGER = logging.getLogger(__name__)

SUBJECT_MEMORY_GB: Final = 2.0
"""Memory planned for the process of a subject (1 GB = 1e9 bytes)."""

_LOOK_S: Final = 0.2
"""Time between two looks at the processes. A scheduler is asked less often (`workflows.cluster`)."""

Finished = Callable[[SubjectJob, Outcome], None]
"""Called when a subject is done or has failed."""


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
    try:
        with exclusive(work / "run.lock", wait_s=0):
            yield
    except LockedError as error:
        raise UsageError(
            f"expected no other run on this folder, found another run in progress ({error.holder})",
            hint="wait for its end, then repeat the command",
        ) from error


def make_executor(plugin: Plugin, *, nprocs: int, memory_gb: float | None = None) -> Executor:
    """The executor of a plugin.

    Parameters
    ----------
    plugin : Plugin
    nprocs : int
        Number of processes (SLURM: of jobs at a time).
    memory_gb : float, optional
        Memory limit of MultiProc in GB. Default: 90 % of the memory of this process.

    Returns
    -------
    Executor

    Raises
    ------
    SettingsError
        If `nprocs` is below 1.
    """
    if nprocs < 1:
        raise SettingsError(f"expected at least one process, found {nprocs}")
    if plugin is Plugin.LINEAR:
        return LocalExecutor(1)
    fitting = int((memory_gb or 0.9 * memory_limit_gb()) / SUBJECT_MEMORY_GB)
    return LocalExecutor(max(1, min(nprocs, fitting)))


def run_batch(
    jobs: Sequence[SubjectJob],
    *,
    plugin: Plugin,
    nprocs: int,
    memory_gb: float | None = None,
    progress: Progress | None = None,
    finished: Finished = lambda _job, _outcome: None,
) -> BatchOutcome:
    """Analyse all subjects; returns when each is done or has failed.

    A single subject gets all processes for its visits. If there are more subjects, each gets one process.

    Parameters
    ----------
    jobs : sequence of SubjectJob
    plugin : Plugin
    nprocs : int
        Number of processes (SLURM: of jobs at a time).
    memory_gb : float, optional
        Memory limit of MultiProc in GB. Default: 90 % of the memory of this process.
    progress : callable, optional
        Called with each subject and its status.
    finished : callable
        Called with each job and its outcome, as soon as it has ended.

    Returns
    -------
    BatchOutcome
        In the order of `jobs`. A failed subject is not raised.

    Raises
    ------
    SettingsError
        If there are jobs and `nprocs` is below 1.
    KeyboardInterrupt
        If this process is interrupted. All processes of subjects are ended; the next run resumes.
    """
    renewed = sum(job.cached_by_other_code for job in jobs)
    if renewed:
        _LOGGER.warning(
            "The software has changed since the last run: %d subjects are analysed from the start.", renewed
        )
    if not jobs:
        return BatchOutcome(())
    alone = len(jobs) == 1 and plugin is Plugin.MULTIPROC
    executor = make_executor(plugin, nprocs=nprocs, memory_gb=memory_gb)
    tell = progress or (lambda _subject, _status: None)
    outcomes: dict[str, Outcome] = {}

    def end(job: SubjectJob, cause: str) -> None:
        outcome = _outcome(job, cause)
        _LOGGER.info("sub-%s: %s", job.subject, "done" if outcome.done else outcome.reason)
        outcomes[job.subject] = outcome
        tell(job.subject, "end" if outcome.done else "exception")
        finished(job, outcome)

    waiting, running = deque(jobs), dict[str, SubjectJob]()
    try:
        while waiting or running:
            while waiting and executor.free() > 0:
                job = waiting.popleft()
                outcome_file(job.subject_work).unlink(missing_ok=True)
                job.save()
                tell(job.subject, "start")
                refused = executor.submit(job, nprocs=nprocs if alone else 1)
                if refused:
                    end(job, refused)
                else:
                    running[job.subject] = job
            for subject, cause in executor.ended().items():
                end(running.pop(subject), cause)
            if running:
                time.sleep(_LOOK_S)
    finally:
        executor.cancel()
    return BatchOutcome(tuple(outcomes[job.subject] for job in jobs))


def _outcome(job: SubjectJob, cause: str) -> Outcome:
    try:
        found = Outcome.model_validate_json(outcome_file(job.subject_work).read_bytes())
    except (OSError, ValidationError):
        reason = cause or "its process ended without a result (killed, or out of memory)"
        found = Outcome(subject=job.subject, done=False, reason=reason)
    return found.model_copy(update={"log": str(job.log_file)})
