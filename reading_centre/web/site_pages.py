"""Pages of the people of a site."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response

from mri_pipeline.core.accounts import Role
from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry import Query, QueryState
from mri_pipeline.registry.job_records import Job, JobState
from reading_centre.use_cases.office.query import answer_query
from reading_centre.use_cases.uploads.site_portal import UNLISTED
from reading_centre.use_cases.uploads.waiting import BusyError, WaitingUpload
from reading_centre.web.access import allow, room_of, user_of, worker_of
from reading_centre.web.render import form_of, message_of, page
from reading_centre.web.site_api import own_upload, portal_of

router = APIRouter(prefix="/site")
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("")
@allow(Role.SITE)
def _overview(request: Request) -> Response:
    """Subjects, what is due, uploads and open queries."""
    portal = portal_of(request)
    names = portal.names()
    return page(
        request, "site", gate=portal.gate.value,
        subjects=portal.subjects(today=dt.datetime.now(dt.UTC).date()),
        visits=portal.protocol.visits, unlisted=UNLISTED,
        uploads=[(job, _name_of(request, job, names)) for job in portal.uploads()[:10]],
        queries=sum(query.state is QueryState.OPEN for query in portal.queries()),
    )  # fmt: skip


def _name_of(request: Request, job: Job, names: dict[str, str]) -> str:
    """Number of a listed subject: of the request while the upload waits, then by the blinded code.

    Empty for a subject that is not listed: its number and its code would appear at one address.
    """
    waiting = WaitingUpload(room_of(request).trial, job.code).request
    stated = str(waiting.get("subject", ""))
    listed = {number.upper() for number in names.values()}
    return stated if stated.upper() in listed else names.get(job.subject, "")


# uploads


@router.get("/upload")
@allow(Role.SITE)
def _form(request: Request) -> Response:
    """The form of a new upload."""
    portal = portal_of(request)
    return page(
        request, "site_upload", gate=portal.gate.value, subjects=portal.site.subjects, visits=portal.protocol.visits,
        most_mb=portal.protocol.max_upload_mb, job=None,
    )  # fmt: skip


@router.get("/uploads/{upload}")
@allow(Role.SITE)
def _upload(request: Request, upload: str) -> Response:
    """Progress and verdict of an upload. The check of a waiting one is started if no process does it."""
    job = own_upload(request, upload)
    if job.state in {JobState.WAITING, JobState.RUNNING}:
        worker_of(request).start()
    received = WaitingUpload(room_of(request).trial, job.code).received
    subject = _name_of(request, job, portal_of(request).names())
    return page(request, "site_verdict", job=job, subject=subject, received=received, **_verdict(job))


def _verdict(job: Job) -> dict[str, Any]:
    hint = str(job.outcome.get("next_step", ""))
    own = not any(word in hint for word in ("mri-pipeline", "--", "trial.toml"))
    return {
        "next_step": hint if own else "The reading centre has this upload and will contact you",
        "outcome": job.outcome,
        "ended": job.state.ended,
    }


@router.post("/uploads/{upload}/discard")
@allow(Role.SITE)
def _discard(request: Request, upload: str) -> Response:
    """Give up an upload that is not whole."""
    job = own_upload(request, upload)
    try:
        portal_of(request).discard(job, account=user_of(request).code)
    except BusyError as error:
        raise HTTPException(409, message_of(error)) from error
    return RedirectResponse("/site", 303)


@router.get("/uploads/{upload}/report")
@allow(Role.SITE)
def _report(request: Request, upload: str) -> Response:
    """The acceptance report of a dummy run."""
    job = own_upload(request, upload)
    name = str(job.outcome.get("report", ""))
    path = room_of(request).trial.reports / name
    if not name or not path.is_file():
        raise HTTPException(404, "Expected the report of a dummy run, found none. Go to the first page.")
    return FileResponse(path, media_type="text/html", filename=name)


# queries


@router.get("/queries")
@allow(Role.SITE)
def _queries(request: Request) -> Response:
    """The queries of the site, those that wait for an answer first."""
    portal = portal_of(request)
    names = portal.names()
    order = [QueryState.OPEN, QueryState.ANSWERED, QueryState.CLOSED]
    found = sorted(portal.queries(), key=lambda query: order.index(query.state))
    return page(
        request, "site_queries", queries=[(query, portal.name_of(query.subject, names)) for query in found]
    )


@router.get("/queries/{number}")
@allow(Role.SITE)
def _query(request: Request, number: Number) -> Response:
    """One query."""
    return _query_page(request, _own_query(request, number))


@router.post("/queries/{number}/answer")
@allow(Role.SITE)
async def _answer(request: Request, number: Number) -> Response:
    """Answer a query."""
    text = (await form_of(request)).get("text", "").strip()
    return await run_in_threadpool(_answered, request, number, text)


def _answered(request: Request, number: int, text: str) -> Response:
    query = _own_query(request, number)
    try:
        answer_query(room_of(request).trial.root, number, text=text, by=user_of(request).code)
    except UsageError as error:
        return _query_page(request, query, message_of(error))
    return RedirectResponse(f"/site/queries/{number}", 303)


def _own_query(request: Request, number: int) -> Query:
    query = portal_of(request).query(number)
    if query is None:
        raise HTTPException(404, "Expected a query of your site, found none. Go to the queries.")
    return query


def _query_page(request: Request, query: Query, error: str = "") -> Response:
    portal = portal_of(request)
    name = portal.name_of(query.subject, portal.names())
    return page(
        request, "query", 422 if error else 200, query=query, subject=name, history=[], base="/site/queries",
        may_answer=True, may_close=False, error=error,
    )  # fmt: skip
