"""Pages of the office on refused uploads, and on the jobs that people have ordered."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, Literal

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response

from mri_pipeline.core.accounts import Role
from mri_pipeline.core.errors import IdentityError, UsageError
from mri_pipeline.intake.quarantined import QuarantineEntry
from mri_pipeline.registry import ScanState
from mri_pipeline.registry.job_records import DISPLAY, LONG, Job, JobKind, JobState, new_code
from reading_centre.use_cases.tables.release import list_releases
from reading_centre.use_cases.uploads.dummy_run.report import acceptance_report
from reading_centre.use_cases.uploads.jobs import lane_of
from reading_centre.use_cases.uploads.quarantine import DUMMY_RUN, discard_upload, list_quarantine, show_quarantine
from reading_centre.use_cases.uploads.waiting import WaitingUpload
from reading_centre.web.access import allow, room_of, user_of, worker_of
from reading_centre.web.render import form_of, page

router = APIRouter(prefix="/office")
_SEES = (Role.DATA_MANAGER, Role.AUDITOR)
_FIELDS: Final = {
    "subject": 32, "visit": 32, "replace_because": 500, "before_infusion": 3, "patient_changed": 500, "reason": 500,
    "clear_identity": 500,
}  # fmt: skip
"""Fields of the forms on a refused upload, with their longest values."""


@router.get("/quarantine")
@allow(*_SEES)
def _quarantine(request: Request, settled: str = "") -> Response:
    """Refused uploads, the latest first."""
    found = list_quarantine(room_of(request).trial.root, settled=settled == "yes")
    return page(request, "quarantine", entries=found[::-1], settled=settled == "yes")


@router.get("/quarantine/{name}")
@allow(*_SEES)
def _entry(request: Request, name: str) -> Response:
    """One refused upload."""
    return _entry_page(request, _existing(request, name))


def _existing(request: Request, name: str) -> QuarantineEntry:
    try:
        return show_quarantine(room_of(request).trial.root, name)
    except UsageError as missing:
        raise HTTPException(404, "Expected a refused upload, found none. Go to the quarantine.") from missing


def _entry_page(request: Request, entry: QuarantineEntry, error: str = "") -> Response:
    may_discard = user_of(request).role is Role.DATA_MANAGER and not entry.outcome
    report = acceptance_report(room_of(request).trial, entry.site, entry.sha256)
    is_visit = entry.kind != DUMMY_RUN
    return page(
        request, "quarantine_entry", 422 if error else 200, entry=entry, error=error, may_discard=may_discard,
        may_decide=may_discard and entry.upload is not None,
        report="" if is_visit or not report.is_file() else report.name,
        is_visit=is_visit, visits=room_of(request).protocol.visits,
        releasable=is_visit or entry.refused_as == IdentityError.__name__,
    )  # fmt: skip


@router.post("/quarantine/{name}/discard")
@allow(Role.DATA_MANAGER)
async def _discard(request: Request, name: str) -> Response:
    """Discard a refused upload."""
    form = await form_of(request)
    return await run_in_threadpool(_discarded, request, name, form.get("reason", "").strip())


def _discarded(request: Request, name: str, reason: str) -> Response:
    entry = _existing(request, name)
    if len(reason) > _FIELDS["reason"]:
        return _entry_page(request, entry, f"Expected up to {_FIELDS['reason']} characters as reason, found more.")
    try:
        discard_upload(room_of(request).trial.root, name, reason=reason, by=user_of(request).code)
    except UsageError as error:
        return _entry_page(request, _existing(request, name), f"{error.message[:1].upper()}{error.message[1:]}.")
    return RedirectResponse(f"/office/quarantine/{name}", 303)


@router.post("/quarantine/{name}/{decision}")
@allow(Role.DATA_MANAGER)
async def _decide(request: Request, name: str, decision: Literal["retry", "release"]) -> Response:
    """Order another try, or the release, of a refused upload."""
    form = await form_of(request)
    return await run_in_threadpool(_decided, request, name, JobKind(decision), form)


def _decided(request: Request, name: str, kind: JobKind, form: dict[str, str]) -> Response:
    room = room_of(request)
    entry = _existing(request, name)
    wishes = {field: form.get(field, "").strip() for field in _FIELDS}
    error = _refusal(entry, kind, wishes, visits=[visit.label for visit in room.protocol.visits])
    if error:
        return _entry_page(request, entry, error)
    infusion = {"yes": True, "no": False}.get(wishes.pop("before_infusion"))
    tags = re.split(r"[;\s]+", wishes.pop("clear_identity"))
    visit = entry.visit or wishes["visit"]
    requested = {**wishes, "before_infusion": infusion, "clear_identity": [tag for tag in tags if tag]}
    code = new_code()
    WaitingUpload(room.trial, code).create(requested)  # it has the trial number, which the registry never has
    job = room.registry.jobs.order(
        kind, account=user_of(request).code, site=entry.site, visit=visit, entry=entry.name, code=code
    )
    return _ordered(request, job)


def _ordered(request: Request, job: Job) -> Response:
    worker_of(request).start(lane_of(job.kind))
    return RedirectResponse(f"/office/jobs/{job.code}", 303)


def _refusal(entry: QuarantineEntry, kind: JobKind, wishes: dict[str, str], *, visits: list[str]) -> str:
    """Why a decision cannot be carried out. The job would fail for the same reason."""
    if entry.outcome or entry.upload is None:
        return "Expected an upload that waits in quarantine, found none."
    for field, longest in _FIELDS.items():
        if len(wishes[field]) > longest:
            return f"Expected up to {longest} characters as {field.replace('_', ' ')}, found more."
    if entry.kind != DUMMY_RUN and not wishes["subject"]:
        return "Expected the trial number of the subject, found none."
    if entry.kind != DUMMY_RUN and not entry.visit and wishes["visit"] not in visits:
        return "Expected a visit of the protocol, found none or another."
    if kind is JobKind.RELEASE and not wishes["reason"]:
        return "Expected a reason for the release, found none."
    return ""


# jobs


@router.get("/jobs")
@allow(*_SEES)
def _jobs(request: Request) -> Response:
    """The latest uploads of the sites and jobs of the office."""
    return page(request, "jobs", jobs=room_of(request).registry.jobs.latest())


@router.get("/jobs/{job}")
@allow(*_SEES)
def _job(request: Request, job: str) -> Response:
    """One job."""
    found = room_of(request).registry.jobs.find(job)
    if found is None:
        raise HTTPException(404, "Expected a job of this trial, found none. Go to the jobs.")
    if found.state in {JobState.WAITING, JobState.RUNNING}:
        worker_of(request).start(lane_of(found.kind))
    return page(request, "job", job=found, tables=_written_tables(request) if found.kind is JobKind.TABLES else ())


# runs and tables


@router.get("/analysis")
@allow(*_SEES)
def _analysis(request: Request) -> Response:
    """What awaits its analysis, the tables, and the jobs that make them."""
    room = room_of(request)
    scans = Counter(visit.scan for subject in room.registry.state().subjects for visit in subject.visits)
    return page(
        request, "analysis",
        waiting=scans[ScanState.RECEIVED], failed=scans[ScanState.FAILED], analysed=scans[ScanState.ANALYSED],
        tables=_written_tables(request), jobs=room.registry.jobs.latest(kinds=LONG | DISPLAY, most=10),
        releases=list_releases(room.registry), busy={job.kind.value for job in room.registry.jobs.not_ended()},
        may_order=user_of(request).role is Role.DATA_MANAGER,
    )  # fmt: skip


@router.post("/analysis/{wish}")
@allow(Role.DATA_MANAGER)
async def _order(request: Request, wish: Literal["run", "tables", "quality"]) -> Response:
    """Order an analysis, the tables or the page on image quality.

    If a job of this kind is in progress, it is shown instead.
    """
    form = await form_of(request)
    wishes = {name: form.get(name) == "yes" for name in _WISHES[wish]}
    return await run_in_threadpool(_ordered_once, request, JobKind(wish), wishes)


_WISHES: Final = {"run": ["only_failed"], "tables": ["provisional"], "quality": []}


def _ordered_once(request: Request, kind: JobKind, wishes: dict[str, bool]) -> Response:
    jobs = room_of(request).registry.jobs
    return _ordered(request, jobs.order(kind, account=user_of(request).code, wishes=wishes, once=True))


@router.get("/tables/{name}")
@allow(*_SEES)
def _table(request: Request, name: str) -> Response:
    """A blinded table as a file."""
    if name not in _written_tables(request):
        raise HTTPException(404, "Expected a table of this trial, found none. Go to the analysis.")
    return FileResponse(room_of(request).trial.tables / name, media_type="text/plain", filename=name)


def _written_tables(request: Request) -> list[str]:
    folder = room_of(request).trial.tables
    return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


@router.post("/agreement")
@allow(Role.DATA_MANAGER)
def _write_agreement(request: Request) -> Response:
    """Order the agreement report."""
    return _ordered_once(request, JobKind.AGREEMENT, {})
