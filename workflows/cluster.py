"""Subjects as jobs of a Slurm cluster, by PSI/J (the package ``psij-python``), which submits, polls and cancels.

One ``squeue`` asks for all jobs. The state, exit code and reason that Slurm gives end up in the reason of a failure.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Final

from psij import Job, JobAttributes, JobSpec, JobState, JobStatus, ResourceSpecV1, SubmitException
from psij.executors.batch.slurm import SlurmExecutorConfig, SlurmJobExecutor

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.io.atomic import write_atomic
from workflows import ONE_THREAD, executors
from workflows.executors import ClusterOptions, Ending
from workflows.outcome import outcome_file

POLL_S: Final = 10
"""Time between two calls of squeue."""

_PATIENCE_POLLS: Final = 60
"""Failed calls of squeue in a row, as while slurmctld restarts, before all jobs count as lost."""

_SQUEUE_FAILED: Final = ("Failed to", "Error updating", "Polling")
"""Beginnings of the messages of PSI/J if squeue failed."""

_LATE_FILES_S: Final = 60.0
"""How long a network file system may hide the outcome that a node has written."""

_COLUMNS: Final = "JobID:24,State:24,exit_code:12,Reason:200"
_STATES: Final = {
    "COMPLETED": JobState.COMPLETED,
    "COMPLETING": JobState.ACTIVE,
    "CANCELLED": JobState.CANCELED,
    "RUNNING": JobState.ACTIVE,
    "STAGE_OUT": JobState.ACTIVE,
    "SUSPENDED": JobState.ACTIVE,
    "STOPPED": JobState.ACTIVE,
}
_FAILED: Final = {
    "BOOT_FAIL", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT",
}  # fmt: skip


class _Slurm(SlurmJobExecutor):  # type: ignore[misc, unused-ignore]
    """Slurm by PSI/J. PSI/J 0.9.11 gives up all jobs if one of them has a reason that it does not know."""

    _NAME_ = "slurm"

    def get_status_command(self, native_ids: Collection[str]) -> list[str]:  # noqa: ARG002 - of the base class
        return ["squeue", "--me", "--states=all", "--noheader", "--array", f"--Format={_COLUMNS}"]

    def parse_status_output(self, exit_code: int, out: str) -> dict[str, JobStatus]:
        if exit_code:
            raise RuntimeError(f"squeue ended with exit code {exit_code}: {out}")
        return parse_squeue(out)


def parse_squeue(text: str) -> dict[str, JobStatus]:
    """Parse the output of squeue.

    Parameters
    ----------
    text : str
        Lines with job, state, exit code and reason.

    Returns
    -------
    dict of str to psij.JobStatus
        By job. The message has state, reason and exit code by Slurm.

    Examples
    --------
    >>> status = parse_squeue("17   TIMEOUT   0   TimeLimit")["17"]
    >>> status.state.name, status.message
    ('FAILED', 'TIMEOUT (reason TimeLimit, exit code 0)')
    """
    found = {}
    for line in filter(str.strip, text.splitlines()):
        job, state, code, *reason = line.split(maxsplit=3)
        known = JobState.FAILED if state in _FAILED else _STATES.get(state, JobState.QUEUED)
        message = f"{state} (reason {' '.join(reason).strip() or 'not given'}, exit code {code})"
        found[job] = JobStatus(known, message=message)
    return found


class SlurmExecutor:
    """Jobs of a Slurm cluster. Jobs that an earlier run left in the queue are taken over, not submitted again.

    Parameters
    ----------
    slots : int
        Number of jobs in the queue at a time.
    work : Path
        Folder for the files of PSI/J, on a file system that all nodes share.
    options : ClusterOptions
    """

    def __init__(self, slots: int, work: Path, options: ClusterOptions) -> None:
        self._slots, self._options = slots, options
        config = SlurmExecutorConfig(
            work_directory=work,
            queue_polling_interval=POLL_S,
            queue_polling_error_threshold=_PATIENCE_POLLS,
        )
        logging.getLogger("psij").addHandler(logging.NullHandler())  # it logs every failed call of squeue
        self._slurm = _Slurm(config=config)
        self._jobs: dict[str, tuple[SubjectJob, Job]] = {}
        self._completed: dict[str, float] = {}
        self._queued = self._in_queue()

    def _in_queue(self) -> set[str]:
        try:
            text = self._slurm._run_command(self._slurm.get_status_command(()))  # noqa: SLF001 - no public call
        except Exception:  # noqa: BLE001 - no squeue: submission gives the reason
            return set()
        return {native for native, status in parse_squeue(text).items() if not status.state.final}

    def free(self) -> int:
        """Number of jobs that may be submitted now.

        Returns
        -------
        int
        """
        return self._slots - len(self._jobs)

    def adopt(self, job: SubjectJob) -> bool:
        """Take over the job of an earlier run if it is still in the queue.

        Parameters
        ----------
        job : SubjectJob

        Returns
        -------
        bool
            False if there is none.
        """
        try:
            native = str(json.loads(_submitted(job).read_bytes())["slurm"])
        except (OSError, ValueError, KeyError):
            return False
        if native not in self._queued:
            return False
        found = Job(self._spec(job, nprocs=1))
        self._slurm.attach(found, native)
        self._jobs[job.subject] = job, found
        return True

    def submit(self, job: SubjectJob, *, nprocs: int) -> str:
        """Queue the job of a subject.

        Parameters
        ----------
        job : SubjectJob
            With its job file.
        nprocs : int
            Processes for its visits.

        Returns
        -------
        str
            Why Slurm refused it; empty if it is queued.
        """
        job.log_file.parent.mkdir(parents=True, exist_ok=True)
        queued = Job(self._spec(job, nprocs=nprocs))
        try:
            self._slurm.submit(queued)
        except (SubmitException, OSError) as error:
            found = " ".join(str(error).replace("sbatch: error:", "").split()) or type(error).__name__
            return f"expected a job that Slurm accepts, found: {found}"
        write_atomic(_submitted(job), json.dumps({"slurm": queued.native_id}))
        self._jobs[job.subject] = job, queued
        return ""

    def _spec(self, job: SubjectJob, *, nprocs: int) -> JobSpec:
        options = self._options
        program, *arguments = executors.PROGRAM
        output = job.log_file.with_suffix(".out")
        return JobSpec(
            name=f"mri-{job.subject}",
            executable=program,
            arguments=[*arguments, str(job.file), "--nprocs", str(nprocs)],
            directory=str(Path.cwd()),
            environment=dict(ONE_THREAD),
            stdout_path=str(output),
            stderr_path=str(output.with_suffix(".err")),
            resources=ResourceSpecV1(
                process_count=1, cpu_cores_per_process=nprocs, memory=int(options.memory_gb * 1e9)
            ),
            attributes=JobAttributes(
                duration=timedelta(minutes=options.minutes or default_minutes(len(job.visits))),
                queue_name=options.partition or None,
                account=options.account or None,
            ),
            launcher="single",
        )

    def ended(self) -> dict[str, Ending]:
        """Subjects whose job has ended since the last call.

        Returns
        -------
        dict of str to Ending
            With the state, exit code and reason that Slurm gives.
        """
        found = {}
        for subject, (job, queued) in list(self._jobs.items()):
            status, written = queued.status, outcome_file(job.subject_work).is_file()
            if status.state is JobState.COMPLETED and not written:
                since = self._completed.setdefault(subject, time.monotonic())
                if time.monotonic() - since < _LATE_FILES_S:
                    continue
            if status.state.final or written:
                del self._jobs[subject]
                found[subject] = _ending(queued.native_id, status)
        return found

    def cancel(self) -> None:
        """Cancel all jobs, running and queued."""
        for _, queued in self._jobs.values():
            try:
                queued.cancel()
            except SubmitException as error:  # the others are cancelled all the same
                sys.stderr.write(f"Slurm job {queued.native_id} could not be cancelled: {error}\n")
        self._jobs.clear()
        self._slurm._queue_poll_thread.done = True  # noqa: SLF001 - PSI/J has no call that ends its thread


def _ending(number: str | None, status: JobStatus) -> Ending:
    """How a job ended. If squeue failed, PSI/J reports every job as failed, with a traceback as message."""
    message = status.message or ""
    if "Traceback" in message or message.startswith(_SQUEUE_FAILED):
        return Ending(
            f"the state of its Slurm job {number} is not known, and it may still run: repeat the run",
            untouched=True,
        )
    cause = f"its Slurm job {number} ended as {message}" if message else ""
    return Ending(cause, untouched=status.state is JobState.CANCELED)


def default_minutes(visits: int) -> int:
    """Time limit of a job if none is given: about ten times what was measured (20 CPU s for each visit).

    Parameters
    ----------
    visits : int

    Returns
    -------
    int
        In minutes.
    """
    return 20 + 4 * visits


def _submitted(job: SubjectJob) -> Path:
    """File with the job that Slurm has of a subject."""
    return job.subject_work / "submitted.json"
