"""Batch of subjects with one process each. A subject that fails or is killed does not affect the others.

Nipype runs within the process of a subject. The subjects are independent: no scheduler of Nipype is needed above it.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mri_pipeline.analysis.publication import is_current, leave_current
from mri_pipeline.analysis.subject_job import SubjectJob, load_job
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.io.disk import disk_of, require_free
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.io.results import load_quality
from workflows.executors import SUBJECT_MEMORY_GB, Ending, Execution, Executor, LocalExecutor
from workflows.memory import USED_SHARE, memory_limit_gb
from workflows.outcome import BatchOutcome, Outcome, outcome_file, outcome_of
from workflows.plugin import Plugin
from workflows.progress import BatchProgress, RunState

_LOGGER = logging.getLogger(__name__)

_CHECK_S: Final = 0.2
"""Interval between two checks of the processes. A scheduler is polled less often (`workflows.cluster`)."""

_CACHE_PER_SCAN: Final = 12.0
_RESULTS_PER_SCAN: Final = 2.0
"""Size of cache and results, as multiples of the compressed scans. The reference trial has 9 and 1.5."""

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
            f"expected no other run on this folder, found a run in progress ({error.holder})",
            hint="wait for its end, then repeat the command",
        ) from error


def make_executor(execution: Execution, work: Path) -> Executor:
    """The executor of the plugin.

    Parameters
    ----------
    execution : Execution
    work : Path
        Folder of the cache; for SLURM on a file system that all nodes share.

    Returns
    -------
    Executor

    Raises
    ------
    SettingsError
        If the job command has an open quotation mark, or the plugin is SLURM and the extra ``cluster`` is not
        installed.
    """
    nprocs, cluster = execution.nprocs, execution.cluster
    if cluster.command:
        try:
            return LocalExecutor(nprocs, shlex.split(cluster.command))
        except ValueError as error:
            raise SettingsError("--job-command: expected a command, found an open quotation mark") from error
    if execution.plugin is Plugin.SLURM:
        try:
            from workflows.cluster import SlurmExecutor  # noqa: PLC0415 - of the extra `cluster`
        except ImportError as error:
            raise SettingsError(
                "--plugin SLURM: expected the package psij-python, found none",
                hint="install the extra: pip install 'mri-pipeline[cluster]'",
            ) from error
        return SlurmExecutor(nprocs, work / "cluster", cluster)
    if execution.plugin is Plugin.LINEAR:
        return LocalExecutor(1)
    fitting = int((execution.memory_gb or USED_SHARE * memory_limit_gb()) / SUBJECT_MEMORY_GB)
    return LocalExecutor(max(1, min(nprocs, fitting)))


def run_batch(
    jobs: Sequence[SubjectJob],
    execution: Execution,
    *,
    progress: BatchProgress | None = None,
    finished: Finished = lambda _job, _outcome: None,
    unchanged: Sequence[Outcome] = (),
) -> BatchOutcome:
    """Analyse all subjects; returns when each is done or has failed.

    A subject whose results are current is not analysed again. The cache of a subject is removed after its success. A
    single job gets all processes for its visits. If there are more jobs, each gets one process.

    Parameters
    ----------
    jobs : sequence of SubjectJob
    execution : Execution
    progress : callable, optional
        Called several times a second with the state of the run.
    finished : callable
        Called with each job and its outcome, as soon as it has ended.
    unchanged : sequence of Outcome
        Further subjects, which need no job: their results are known to be current.

    Returns
    -------
    BatchOutcome
        In the order of `jobs`, without `unchanged`. A failed subject is not raised.

    Raises
    ------
    SettingsError
        If there are jobs, and as `make_executor`.
    UsageError
        If there is not enough free space for cache and results.
    KeyboardInterrupt
        If this process is interrupted. All processes of subjects are ended; the next run resumes.
    """
    renewed = sum(job.cached_by_other_code for job in jobs)
    if renewed:
        _LOGGER.warning(
            "The software has changed since the last run: %d subjects are analysed from the start.", renewed
        )
    for outcome in unchanged:
        _LOGGER.info("sub-%s: unchanged", outcome.subject)
    if not jobs:
        return BatchOutcome(())
    alone = len(jobs) == 1 and execution.plugin is Plugin.MULTIPROC
    executor = make_executor(execution, jobs[0].work)
    require_space(jobs, execution.nprocs)
    state = RunState(len(jobs) + len(unchanged), done=len(unchanged))
    batch = _Batch(executor, state, progress or (lambda _state: None), finished)
    try:
        kept = [job.model_copy(update={"keep_work": execution.keep_work}) for job in jobs]
        batch.run(kept, nprocs=execution.nprocs if alone else 1)
    except KeyboardInterrupt:
        _LOGGER.warning("Interrupted: the subjects in progress are stopped. Repeat the command to resume.")
        raise
    finally:
        executor.cancel()
    return BatchOutcome(tuple(batch.outcomes[job.subject] for job in jobs))


def require_space(jobs: Sequence[SubjectJob], nprocs: int) -> None:
    """Require free space for the caches of the subjects that are analysed at a time, and for the results.

    Parameters
    ----------
    jobs : sequence of SubjectJob
    nprocs : int
        Number of subjects at a time.

    Raises
    ------
    UsageError
        If there is less on the disk of cache or results.
    """
    scans = {job.subject: _size(job) for job in jobs}
    at_once = sum(sorted(scans.values())[-nprocs:])
    new = sum(scans[job.subject] for job in jobs if not _has_results(job))
    needed = {jobs[0].work: _CACHE_PER_SCAN * at_once, jobs[0].derivatives: _RESULTS_PER_SCAN * (new + at_once)}
    for disk in {disk_of(folder) for folder in needed}:
        here = {folder: size for folder, size in needed.items() if disk_of(folder) == disk}
        require_free(next(iter(here)), int(sum(here.values())), "the cache and the results of the run")


def _size(job: SubjectJob) -> int:
    """Size of the scans of a subject in bytes."""
    return sum(path.stat().st_size for visit in job.visits for path in visit.scans.values() if path.is_file())


def _has_results(job: SubjectJob) -> bool:
    return DerivativeDataset(job.derivatives).result(job.subject).is_file()


@dataclass(frozen=True)
class _Batch:
    """Subjects of a run, in progress or ended.

    `running` has the jobs in progress by subject, `outcomes` the outcomes of those that have ended.
    """

    executor: Executor
    state: RunState
    show: BatchProgress
    finished: Finished
    running: dict[str, SubjectJob] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def run(self, jobs: Iterable[SubjectJob], *, nprocs: int) -> None:
        """Analyse all jobs, each with `nprocs` processes; returns when each has ended."""
        waiting = deque(jobs)
        while waiting or self.running:
            while waiting and self.executor.free() > 0:
                self._start(waiting.popleft(), nprocs=nprocs)
            for subject, ending in self.executor.ended().items():
                self._end(self.running.pop(subject), ending)
            self.show(self.state)
            if self.running:
                time.sleep(_CHECK_S)

    def _start(self, job: SubjectJob, *, nprocs: int) -> None:
        if current := _current(job):
            self._record(job, current)
            return
        self.state.running[job.subject] = job.log_file
        job, refused = _started(self.executor, job, nprocs=nprocs)
        if refused:
            self._end(job, Ending(refused, untouched=True))
        else:
            self.running[job.subject] = job

    def _end(self, job: SubjectJob, ending: Ending) -> None:
        self._record(job, _outcome(job, ending))

    def _record(self, job: SubjectJob, outcome: Outcome) -> None:
        told = "unchanged" if outcome.unchanged else "done" if outcome.done else outcome.reason
        _LOGGER.info("sub-%s: %s", job.subject, told)
        self.outcomes[job.subject] = outcome
        self.state.running.pop(job.subject, None)
        self.state.done += outcome.done
        self.state.failed += not outcome.done
        self.finished(job, outcome)
        self.show(self.state)


def _current(job: SubjectJob) -> Outcome | None:
    """The outcome of a subject whose results are current; None if it is to be analysed, or in use."""
    with ExitStack() as held:
        try:
            for path in job.locks:
                held.enter_context(exclusive(path, wait_s=0))
        except LockedError:
            return None
        if not is_current(job):
            return None
        leave_current(job)
        return unchanged_outcome(DerivativeDataset(job.derivatives), job.subject)


def unchanged_outcome(derivatives: DerivativeDataset, subject: str) -> Outcome:
    """The outcome of a subject whose results are current.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subject : str

    Returns
    -------
    Outcome
    """
    return outcome_of(subject, load_quality(derivatives.result(subject))).model_copy(update={"unchanged": True})


def _started(executor: Executor, job: SubjectJob, *, nprocs: int) -> tuple[SubjectJob, str]:
    """Submit a job, or take over that of an earlier run. Returns what is analysed, and why it cannot be submitted."""
    if executor.adopt(job):
        return load_job(job.file), ""  # changes since then are for the next run
    outcome_file(job.subject_work).unlink(missing_ok=True)
    job.save()
    return job, executor.submit(job, nprocs=nprocs)


def _outcome(job: SubjectJob, ending: Ending) -> Outcome:
    try:
        found = Outcome.model_validate_json(outcome_file(job.subject_work).read_bytes())
    except (OSError, ValidationError):
        reason = ending.cause or "process terminated without output (killed, or out of memory)"
        found = Outcome(subject=job.subject, done=False, reason=reason, untouched=ending.untouched)
    return found.model_copy(update={"log": str(job.log_file)})
