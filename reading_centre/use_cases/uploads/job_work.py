"""The work of a job of the web application, and its outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import (
    ComplianceError,
    ReadingCentreError,
    UnreadableUploadError,
    UploadRefusedError,
    UsageError,
)
from mri_pipeline.core.layout import Trial
from mri_pipeline.intake.quarantine import measure_upload
from mri_pipeline.intake.quarantined import quarantine_entry
from mri_pipeline.registry import Gate, Registry
from mri_pipeline.registry.job_records import Job, JobKind, JobState
from reading_centre.use_cases.analysis.subject_reports import refresh_reports
from reading_centre.use_cases.office.quality import quality_overview
from reading_centre.use_cases.reading.agreement import write_agreement
from reading_centre.use_cases.reading.prepare import prepare_images
from reading_centre.use_cases.uploads.dummy_run.receive import ReceivedDummyRun, receive_dummy_run
from reading_centre.use_cases.uploads.dummy_run.report import acceptance_report
from reading_centre.use_cases.uploads.ingest.visit import ReceivedVisit, receive_visit
from reading_centre.use_cases.uploads.quarantine import DUMMY_RUN, REFUSED_AGAIN, release_upload, retry_upload
from reading_centre.use_cases.uploads.task import ACCEPTED, settle_decided, upload_task
from reading_centre.use_cases.uploads.waiting import (
    WaitingUpload,
)

_SEE_REPORT: Final = "see the acceptance report, correct the scan, and send it again"
_DONE_BEFORE: Final = "the process was interrupted after the upload was accepted; see the visit for its findings"
_SECOND: Final = 2
UPLOADS: Final = (JobKind.VISIT, JobKind.DUMMY_RUN)
_LOG = logging.getLogger(__name__)
Received = ReceivedVisit | ReceivedDummyRun
Request = Mapping[str, Any]


def settled_before(
    trial: Trial, registry: Registry, job: Job, upload: WaitingUpload
) -> tuple[JobState, dict[str, Any], str] | None:
    """The result of a retry or release that had settled its entry when its process was killed.

    Parameters
    ----------
    trial : Trial
    registry : Registry
    job : Job
    upload : WaitingUpload

    Returns
    -------
    tuple of (JobState, dict, str) or None
        As `result_of`; None for other jobs.
    """
    if job.attempts < _SECOND or job.kind not in (JobKind.RETRY, JobKind.RELEASE):
        return None
    with suppress(UsageError):
        entry = quarantine_entry(trial.quarantine, job.entry)
        if entry.outcome.startswith(ACCEPTED):
            settle_decided(trial, registry)
            gates = registry.scanner_gates.all(job.site) if entry.kind == DUMMY_RUN else ()
            states = (gate.state.value for gate in gates if gate.latest_digest == entry.sha256)
            outcome = {"notes": [_DONE_BEFORE], "gate": next(states, Gate.ACCEPTED.value)}
            return JobState.DONE, outcome, _code_of(trial, job, upload.request)
        if entry.outcome.startswith(REFUSED_AGAIN):
            later = quarantine_entry(trial.quarantine, entry.outcome.removeprefix(REFUSED_AGAIN))
            outcome = {"reason": later.reason, "next_step": later.next_step}
            return JobState.REFUSED, outcome, _code_of(trial, job, upload.request)
    return None


def result_of(trial: Trial, job: Job, upload: WaitingUpload) -> tuple[JobState, dict[str, Any], str]:
    """Do a job. No error is raised.

    Parameters
    ----------
    trial : Trial
    job : Job
    upload : WaitingUpload

    Returns
    -------
    state : JobState
        How the job ended.
    outcome : dict
        For the page of the job.
    subject : str
        Blinded code; empty if the job concerns no subject.
    """
    request = upload.request
    subject = _code_of(trial, job, request)
    try:
        if job.kind in _REPORTS:
            return JobState.DONE, _REPORTS[job.kind](trial, job), ""
        received = _WORK[job.kind](trial, job, upload, _whole(job, request))
    except Exception as error:  # noqa: BLE001 - the next job is done, and the text may have a path of the upload
        refusal = _as_refusal(job, error)
        state = JobState.REFUSED if isinstance(error, UploadRefusedError) else JobState.FAILED
        if job.kind in UPLOADS and state is JobState.FAILED and keep_in_quarantine(trial, job, upload, refusal):
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


def _agreement(trial: Trial, _job: Job) -> dict[str, Any]:
    return {"files": [path.name for path in write_agreement(trial.root)]}


def _quality(trial: Trial, _job: Job) -> dict[str, Any]:
    overview = quality_overview(trial.root)
    outliers, drifts = (sum(getattr(line, name) for line in overview.scanners) for name in ("outliers", "drifts"))
    return {"files": [Path(overview.page).name], "notes": [f"outliers: {outliers}, drifts: {drifts}"]}


def _run(trial: Trial, job: Job) -> dict[str, Any]:
    """Analyse what is new. Failed subjects are named; they do not fail the job."""
    from reading_centre.use_cases.analysis.run import run_trial  # noqa: PLC0415 - no upload waits for nipype

    batch = run_trial(trial.root, only_failed=job.wishes["only_failed"])
    if not batch.reports_current:
        refresh_reports(trial.root)
    analysed = sum(one.done and not one.unchanged for one in batch.outcomes)
    unchanged = sum(one.unchanged for one in batch.outcomes)
    notes = [f"subjects analysed: {analysed}, unchanged: {unchanged}, with a failure: {len(batch.failed)}"]
    for one in batch.failed:
        reasons = [one.reason] if one.reason else []
        reasons += [f"{visit}: {reason}" for visit, reason in sorted(one.failed_visits.items())]
        notes += [f"sub-{one.subject}: {reason}" for reason in reasons]
    return {"notes": notes, "failed": len(batch.failed)}


def _tables(trial: Trial, job: Job) -> dict[str, Any]:
    from reading_centre.use_cases.tables.trial_tables import write_trial_tables  # noqa: PLC0415 - as `_run`

    written = write_trial_tables(trial.root, provisional=job.wishes["provisional"])
    refresh_reports(trial.root)
    notes = [*written.notes, *(f"sub-{code}: {error.message}" for code, error in written.refused.items())]
    files = sorted(path.name for path in written.files)
    return {"files": files, "notes": notes, "failed": len(written.refused)}


def _images(trial: Trial, _job: Job) -> dict[str, Any]:
    return {"notes": [f"visits with displayed images: {prepare_images(trial.root)}"]}


_REPORTS: Final[Mapping[JobKind, Callable[[Trial, Job], dict[str, Any]]]] = {
    JobKind.AGREEMENT: _agreement, JobKind.QUALITY: _quality, JobKind.RUN: _run, JobKind.TABLES: _tables,
    JobKind.IMAGES: _images,
}  # fmt: skip
"""Jobs of the office that concern no upload."""


def _whole(job: Job, request: Request) -> Request:
    if not request:  # work/ was deleted
        hint = "send it again" if job.kind in UPLOADS else "order it again"
        raise UsageError("expected the statements of the person with the job, found none", hint=hint)
    return request


def _as_refusal(job: Job, error: Exception) -> ReadingCentreError:
    if isinstance(error, UploadRefusedError):
        return error
    if isinstance(error, ReadingCentreError):
        return ComplianceError(error.message, hint=error.hint)
    _LOG.error("a job ended with an unexpected %s", type(error).__name__)
    found = f"found an unexpected {type(error).__name__}"
    if job.kind in _REPORTS:
        return ReadingCentreError(f"expected a job that can be done, {found}", hint="tell who runs the server")
    return UnreadableUploadError(
        f"expected an upload that can be checked, {found}", hint="tell the reading centre"
    )


def keep_in_quarantine(trial: Trial, job: Job, upload: WaitingUpload, refusal: ReadingCentreError) -> bool:
    """Keep an upload that could not be judged in quarantine, so that nothing that was sent is lost.

    Parameters
    ----------
    trial : Trial
    job : Job
    upload : WaitingUpload
    refusal : ReadingCentreError
        Reason for the entry in quarantine.

    Returns
    -------
    bool
        False if there was no room, or another fault.
    """
    assert isinstance(refusal, UploadRefusedError)
    try:
        with upload_task(trial.root, job.site, upload.data) as task:
            _, digest = measure_upload(task.upload)
            task.refuse(task.upload, refusal, digest=digest, site=job.site, kind=job.kind.value)
    except Exception as error:  # noqa: BLE001 - see `result_of`
        _LOG.error("site %s: an upload cannot be kept in quarantine (%s)", job.site, type(error).__name__)
        return False
    return True


def _report(trial: Trial, job: Job, upload: WaitingUpload) -> str:
    """Name of the acceptance report of a refused dummy run; empty if there is none."""
    if job.kind is not JobKind.DUMMY_RUN or not upload.data.is_file():
        return ""
    _, digest = measure_upload(upload.data)
    report = acceptance_report(trial, job.site, digest)
    return report.name if report.is_file() else ""


def _code_of(trial: Trial, job: Job, request: Request) -> str:
    number = str(request.get("subject", ""))
    with suppress(ReadingCentreError):
        return Sealed.open(trial).preview(job.site, number) if number else ""
    return ""


def _without_code(text: str, code: str) -> str:
    """A message for the site, which knows the subject by the trial number."""
    return text.replace(f"subject {code}", "the subject").replace(code, "the subject") if code else text
