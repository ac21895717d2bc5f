"""The jobs of the web application: ``python -m reading_centre.use_cases.uploads.jobs TRIAL LANE``.

A process for each lane does its jobs, one after the other: short jobs, long jobs (runs and tables), displayed images.
The processes outlive the server. A job whose process was killed is started again by the next one.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Final

from mri_pipeline.core.errors import (
    ReadingCentreError,
    UnreadableUploadError,
)
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.intake.quarantine import measure_upload
from mri_pipeline.registry import Registry
from mri_pipeline.registry.job_records import DISPLAY, LONG, SHORT, Job, JobKind, JobState
from reading_centre.use_cases.uploads.job_work import UPLOADS, keep_in_quarantine, result_of, settled_before
from reading_centre.use_cases.uploads.waiting import (
    BusyError,
    OffsetError,
    WaitingUpload,
    sweep_uploads,
    waiting_uploads,
)

_LOG = logging.getLogger(__name__)
_NICE: Final = 10
"""The readers at the server come first."""
_WAIT_S: Final = 2.0
_WAIT_FOR_UPLOAD_S: Final = 30.0


class Lane(StrEnum):
    """Jobs that one process does, one after the other."""

    SHORT = "short"
    LONG = "long"
    DISPLAY = "display"

    @property
    def kinds(self) -> frozenset[JobKind]:
        """The kinds of its jobs."""
        return {Lane.SHORT: SHORT, Lane.LONG: LONG, Lane.DISPLAY: DISPLAY}[self]


def lane_of(kind: JobKind) -> Lane:
    """The lane of a job.

    Parameters
    ----------
    kind : JobKind

    Returns
    -------
    Lane
    """
    return next(lane for lane in Lane if kind in lane.kinds)


class Worker:
    """Starts the processes that do the jobs of a trial.

    Parameters
    ----------
    trial : Trial
    """

    def __init__(self, trial: Trial) -> None:
        self._trial, self._lock = trial, Lock()
        self._processes: dict[Lane, subprocess.Popen[bytes]] = {}

    def start(self, lane: Lane = Lane.SHORT) -> None:
        """Start the process of a lane, unless it runs.

        Parameters
        ----------
        lane : Lane, optional
        """
        with self._lock:
            process = self._processes.get(lane)
            if process is not None and process.poll() is None:
                return
            if _is_held(_lock_of(self._trial, lane)):  # by the process of an earlier server
                return
            module = "reading_centre.use_cases.uploads.jobs"
            command = [sys.executable, "-m", module, str(self._trial.root), lane.value]
            self._processes[lane] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
            )


def do_jobs(folder: Path, lane: Lane = Lane.SHORT, start: Callable[[Lane], None] | None = None) -> None:
    """Do all jobs of a lane, unless another process does.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    lane : Lane, optional
    start : callable, optional
        Starts the process of a lane that got a job from this one. The next sweep of the server starts it without.
    """
    trial = Trial.existing(folder)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        sweep_uploads(trial, registry)
        while True:
            try:
                with exclusive(_lock_of(trial, lane), wait_s=_WAIT_S):
                    while (job := registry.jobs.take(lane.kinds)) is not None:
                        _do(trial, registry, job)
                        if start is not None and job.kind is JobKind.RUN:
                            start(Lane.DISPLAY)
                    if lane is Lane.SHORT:
                        _keep_unjudged(trial, registry)
            except LockedError:
                return  # the other process looks again when it is done
            if not registry.jobs.has_work(lane.kinds):
                return


def lanes_with_work(trial: Trial, registry: Registry) -> list[Lane]:
    """Lanes with a waiting job, or with an upload that waits for its place in quarantine after a failed check.

    Parameters
    ----------
    trial : Trial
    registry : Registry

    Returns
    -------
    list of Lane
    """
    found = [lane for lane in Lane if registry.jobs.has_work(lane.kinds)]
    if Lane.SHORT not in found and any(_unjudged(registry, upload) for upload in waiting_uploads(trial)):
        found.append(Lane.SHORT)
    return found


def _is_held(lock: Path) -> bool:
    try:
        with exclusive(lock, wait_s=0):
            return False
    except LockedError:
        return True


def _lock_of(trial: Trial, lane: Lane) -> Path:
    return trial.staging / ("jobs.lock" if lane is Lane.SHORT else f"{lane.value}-jobs.lock")


def _do(trial: Trial, registry: Registry, job: Job) -> None:
    upload = WaitingUpload(trial, job.code)
    try:
        with upload.held(wait_s=_WAIT_FOR_UPLOAD_S) if upload.folder.is_dir() else nullcontext():
            sent = _digest(job, upload)
            state, outcome, subject = settled_before(trial, registry, job, upload) or result_of(trial, job, upload)
            if job.kind is JobKind.RUN and state is JobState.DONE:  # the run ends before its images are made
                registry.jobs.follow(JobKind.IMAGES)
            registry.jobs.end(job.code, state, outcome | sent, subject=subject)
            if state is not JobState.FAILED or job.kind not in UPLOADS or not upload.data.is_file():
                upload.remove()
    except BusyError:
        registry.jobs.put_back(job.code)


def _keep_unjudged(trial: Trial, registry: Registry) -> None:
    """Move the uploads whose check failed without a verdict to quarantine, where the reading centre tries them again.

    They stay where they are while there is no room.
    """
    for upload in waiting_uploads(trial):
        job = _unjudged(registry, upload)
        if job is None:
            continue
        refusal = UnreadableUploadError(str(job.outcome["reason"]), hint=str(job.outcome["next_step"]))
        with suppress(BusyError, OffsetError), upload.held():
            if not upload.data.is_file() or keep_in_quarantine(trial, job, upload, refusal):
                upload.remove()


def _unjudged(registry: Registry, upload: WaitingUpload) -> Job | None:
    job = registry.jobs.find(upload.code)
    return job if job is not None and job.is_unjudged else None


def _digest(job: Job, upload: WaitingUpload) -> dict[str, str]:
    """SHA-256 of what was sent: it joins the person of the job with the scan."""
    with suppress(ReadingCentreError, OSError):
        if job.kind in UPLOADS and upload.data.is_file():
            return {"upload": measure_upload(upload.data)[1]}
    return {}


def main() -> None:
    """Do all jobs of the trial and the lane that the command line names."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.nice(_NICE)
    folder = Path(sys.argv[1])
    do_jobs(folder, Lane(sys.argv[2]), Worker(Trial.existing(folder)).start)


if __name__ == "__main__":
    main()
