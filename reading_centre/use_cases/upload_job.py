"""The jobs of the web application, one at a time: ``python -m reading_centre.use_cases.upload_job TRIAL``.

The process outlives the server. A job whose process was killed is started again by the next one.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import ComplianceError, ReadingCentreError, UnreadableUploadError, UploadRefusedError
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.intake.quarantine import measure_upload
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.jobs import Job, JobKind, JobState
from reading_centre.use_cases.agreement import write_agreement
from reading_centre.use_cases.dummy_run import ReceivedDummyRun, receive_dummy_run
from reading_centre.use_cases.ingest import ReceivedVisit, receive_visit
from reading_centre.use_cases.quarantine import release_upload, retry_upload
from reading_centre.use_cases.upload_desk import upload_desk
from reading_centre.use_cases.waiting_upload import (
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
_SEE_REPORT: Final = "see the acceptance report, correct the scan, and send it again"
_UPLOADS: Final = (JobKind.VISIT, JobKind.DUMMY_RUN)
Received = ReceivedVisit | ReceivedDummyRun
Request = Mapping[str, Any]


class Worker:
    """Starts the process that does the jobs of a trial.

    Parameters
    ----------
    trial : Trial
    """

    def __init__(self, trial: Trial) -> None:
        self._trial, self._lock = trial, Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, unless one runs."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            if _is_held(_lock_of(self._trial)):  # by the process of an earlier server
                return
            command = [sys.executable, "-m", "reading_centre.use_cases.upload_job", str(self._trial.root)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
            )


def do_jobs(folder: Path) -> None:
    """Do all jobs of a trial, unless another process does.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    """
    trial = Trial.existing(folder)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        sweep_uploads(trial, registry)
        while registry.jobs.has_work():
            try:
                with exclusive(_lock_of(trial), wait_s=_WAIT_S):
                    while (job := registry.jobs.take()) is not None:
                        _do(trial, registry, job)
                    _keep_unjudged(trial, registry)
            except LockedError:
                return  # the other process looks again when it is done


def _is_held(lock: Path) -> bool:
    try:
        with exclusive(lock, wait_s=0):
            return False
    except LockedError:
        return True


def _lock_of(trial: Trial) -> Path:
    return trial.staging / "jobs.lock"


def _do(trial: Trial, registry: Registry, job: Job) -> None:
    upload = WaitingUpload(trial, job.code)
    try:
        with upload.held(wait_s=_WAIT_FOR_UPLOAD_S) if upload.folder.is_dir() else nullcontext():
            state, outcome, subject = _result(trial, job, upload)
            registry.jobs.end(job.code, state, outcome, subject=subject)
            if state is JobState.FAILED and job.kind in _UPLOADS and upload.data.is_file():
                registry.audit(AuditAction.UPLOAD_NOT_CHECKED, target=job.site, details={"job": job.code})
            else:
                upload.remove()
    except BusyError:
        registry.jobs.put_back(job.code)


def _keep_unjudged(trial: Trial, registry: Registry) -> None:
    """Move the uploads whose check failed without a verdict to quarantine, where the reading centre tries them again.

    They stay where they are while there is no room.
    """
    for upload in waiting_uploads(trial):
        job = registry.jobs.find(upload.code)
        if job is None or not job.is_unjudged:
            continue
        refusal = UnreadableUploadError(str(job.outcome["reason"]), hint=str(job.outcome["next_step"]))
        with suppress(BusyError, OffsetError), upload.held():
            if not upload.data.is_file() or _is_kept(trial, job, upload, refusal):
                upload.remove()


def _result(trial: Trial, job: Job, upload: WaitingUpload) -> tuple[JobState, dict[str, Any], str]:
    """How a job ended, its outcome, and the blinded code of the subject. No error is raised."""
    request = upload.request
    subject = _code_of(trial, job, request)
    try:
        if job.kind is JobKind.AGREEMENT:
            return JobState.DONE, {"files": [path.name for path in write_agreement(trial.root)]}, ""
        received = _WORK[job.kind](trial, job, upload, request)
    except Exception as error:  # noqa: BLE001 - the next job is done, and the text may have a path of the upload
        refusal = _as_refusal(error)
        state = JobState.REFUSED if isinstance(error, UploadRefusedError) else JobState.FAILED
        if job.kind in _UPLOADS and state is JobState.FAILED and _is_kept(trial, job, upload, refusal):
            state = JobState.REFUSED
        reason, hint = (_without_code(text, subject) for text in (refusal.message, refusal.hint))
        report = _report(trial, job, upload)
        if report and report in hint:  # the hint for the reading centre: the path of the report
            hint = _SEE_REPORT
        return state, {"reason": reason, "next_step": hint, "report": report}, subject
    if isinstance(received, ReceivedDummyRun):
        outcome = {"verdict": received.verdict, "gate": received.gate, "queries": received.queries}
        outcome["report"] = Path(received.report).name
        return JobState.DONE, outcome, ""
    outcome = {"contrasts": received.contrasts, "queries": received.queries, "notes": received.notes}
    return JobState.DONE, outcome | {"known": received.known}, received.subject


def _visit(trial: Trial, job: Job, upload: WaitingUpload, request: Request) -> Received:
    return receive_visit(
        trial.root, upload.data, site=job.site, subject=request["subject"], visit=job.visit,
        before_infusion=request["before_infusion"], replace_because=request["replace_because"],
    )  # fmt: skip


def _dummy_run(trial: Trial, job: Job, upload: WaitingUpload, _request: Request) -> Received:
    return receive_dummy_run(trial.root, upload.data, site=job.site, by=job.account)


def _retry(trial: Trial, job: Job, _upload: WaitingUpload, request: Request) -> Received:
    return retry_upload(trial.root, job.entry, **_statements(request))


def _release(trial: Trial, job: Job, _upload: WaitingUpload, request: Request) -> Received:
    return release_upload(
        trial.root, job.entry, by=job.account, reason=request["reason"], clear_identity=request["clear_identity"],
        **_statements(request),
    )  # fmt: skip


def _statements(request: Request) -> dict[str, Any]:
    return {
        name: request[name]
        for name in ("subject", "visit", "replace_because", "before_infusion", "patient_changed")
    }


_WORK: Final[Mapping[JobKind, Callable[[Trial, Job, WaitingUpload, Request], Received]]] = {
    JobKind.VISIT: _visit, JobKind.DUMMY_RUN: _dummy_run, JobKind.RETRY: _retry, JobKind.RELEASE: _release,
}  # fmt: skip


def _as_refusal(error: Exception) -> ReadingCentreError:
    if isinstance(error, UploadRefusedError):
        return error
    if isinstance(error, ReadingCentreError):
        return ComplianceError(error.message, hint=error.hint)
    _LOG.error("a job ended with an unexpected %s", type(error).__name__)
    found = f"found an unexpected {type(error).__name__}"
    return UnreadableUploadError(
        f"expected an upload that can be checked, {found}", hint="tell the reading centre"
    )


def _is_kept(trial: Trial, job: Job, upload: WaitingUpload, refusal: ReadingCentreError) -> bool:
    """Keep an upload that could not be judged in quarantine: nothing that was sent is lost."""
    assert isinstance(refusal, UploadRefusedError)
    try:
        with upload_desk(trial.root, job.site, upload.data) as desk:
            _, digest = measure_upload(desk.upload)
            desk.refuse(desk.upload, refusal, digest=digest, site=job.site, kind=job.kind.value)
    except Exception as error:  # noqa: BLE001 - see `_result`
        _LOG.error("site %s: an upload cannot be kept in quarantine (%s)", job.site, type(error).__name__)
        return False
    return True


def _report(trial: Trial, job: Job, upload: WaitingUpload) -> str:
    """Name of the acceptance report of a refused dummy run; empty if there is none."""
    if job.kind is not JobKind.DUMMY_RUN or not upload.data.is_file():
        return ""
    _, digest = measure_upload(upload.data)
    name = f"dummy-run_{job.site}_{digest[:8]}.html"
    return name if (trial.reports / name).is_file() else ""


def _code_of(trial: Trial, job: Job, request: Request) -> str:
    number = str(request.get("subject", ""))
    with suppress(ReadingCentreError):
        return Sealed.open(trial).preview(job.site, number) if number else ""
    return ""


def _without_code(text: str, code: str) -> str:
    """A message for the site, which knows the subject by the trial number."""
    return text.replace(f"subject {code}", "the subject").replace(code, "the subject") if code else text


def main() -> None:
    """Do all jobs of the trial that the command line names."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.nice(_NICE)
    do_jobs(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
