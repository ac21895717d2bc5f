"""Pages of data managers and auditors. Auditors change nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response

from mri_pipeline.core.accounts import Role
from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry import Query, QueryState
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.office.query import answer_query, close_query, list_queries, show_query
from reading_centre.use_cases.office.reads import (
    adjudication_rates,
    agreement_table,
    reader_progress,
    visits_with_reads,
)
from reading_centre.use_cases.office.visits import site_overview, totals
from reading_centre.use_cases.reading.agreement import PAGE, TABLE
from reading_centre.use_cases.trial.audit import AuditSelection, audit_text, selected_entries
from reading_centre.use_cases.trial.roles import change_role, other_roles
from reading_centre.web.access import allow, room_of, user_of
from reading_centre.web.render import form_of, message_of, page

router = APIRouter(prefix="/office")
MOST_ENTRIES: Final = 200
"""Entries of the audit trail on a page. The download has all."""
_SEES = (Role.DATA_MANAGER, Role.AUDITOR)
_REPORTS: Final = {PAGE: "text/html", TABLE: "text/csv"}
_TYPES: Final = {"csv": "text/csv", "json": "application/json"}
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("")
@allow(*_SEES)
def _overview(request: Request) -> Response:
    """Sites, subjects and visits."""
    room = room_of(request)
    sites = site_overview(room.trial, room.protocol, room.registry, today=dt.datetime.now(dt.UTC).date())
    numbers = totals(sites, room.registry)
    return page(request, "office", sites=sites, totals=numbers, visits=room.protocol.visits)


# queries


@router.get("/queries")
@allow(*_SEES)
def _queries(request: Request, state: str = "open", site: str = "") -> Response:
    """Queries by state and site."""
    room = room_of(request)
    states = [*(known.value for known in QueryState), "all"]
    sites = [known.code for known in room.people.protocol.sites]
    if state not in states or site not in ["", *sites]:
        wrong = f"state {state}" if state not in states else f"site {site}"
        raise HTTPException(404, f"This trial has no {wrong}. Go to the queries.")
    found = list_queries(room.trial.root, state=state, site=site)
    return page(request, "queries", queries=found, states=states, sites=sites, state=state, site=site)


@router.get("/queries/{number}")
@allow(*_SEES)
def _query(request: Request, number: Number) -> Response:
    """One query."""
    return _query_page(request, number)


@router.post("/queries/{number}/answer")
@allow(Role.DATA_MANAGER)
async def _answer(request: Request, number: Number) -> Response:
    """Enter the answer of a site."""
    text = (await form_of(request)).get("text", "").strip()
    return await run_in_threadpool(
        _changed, request, number, lambda by: answer_query(room_of(request).trial.root, number, text=text, by=by)
    )


@router.post("/queries/{number}/close")
@allow(Role.DATA_MANAGER)
async def _close(request: Request, number: Number) -> Response:
    """Close a query."""
    reason = (await form_of(request)).get("text", "").strip()
    return await run_in_threadpool(
        _changed,
        request,
        number,
        lambda by: close_query(room_of(request).trial.root, number, reason=reason, by=by),
    )


def _changed(request: Request, number: int, change: Callable[[str], Query]) -> Response:
    try:
        change(user_of(request).code)
    except UsageError as error:
        return _query_page(request, number, error)
    return RedirectResponse(f"/office/queries/{number}", 303)


def _query_page(request: Request, number: int, error: UsageError | None = None) -> Response:
    room = room_of(request)
    try:
        query = show_query(room.trial.root, number)
    except UsageError as missing:
        raise HTTPException(404, "Expected a query of this trial, found none. Go to the queries.") from missing
    history = [
        entry for entry in room.registry.audit_trail() if entry.target.split()[:2] == ["query", str(number)]
    ]
    return page(
        request, "query", 422 if error else 200, query=query, history=history, base="/office/queries",
        may_answer=user_of(request).role is Role.DATA_MANAGER, may_close=user_of(request).role is Role.DATA_MANAGER,
        error=message_of(error) if error else "",
    )  # fmt: skip


# reads


@router.get("/reads")
@allow(*_SEES)
def _reads(request: Request) -> Response:
    """Readers, reads and their agreement."""
    room = room_of(request)
    return page(
        request, "reads",
        readers=reader_progress(room.people.readers, room.registry),
        visits=visits_with_reads(room.registry.state()),
        rates=adjudication_rates(room.registry),
        agreement=agreement_table(room.trial),
        may_order=user_of(request).role is Role.DATA_MANAGER,
    )  # fmt: skip


@router.get("/agreement/{name}")
@allow(*_SEES)
def _agreement(request: Request, name: str) -> Response:
    """The agreement report as a file."""
    path = room_of(request).trial.reports / name
    if name not in _REPORTS or not path.is_file():
        raise HTTPException(404, "Expected a report on agreement, found none. Go to the reads.")
    return FileResponse(path, media_type=_REPORTS[name], filename=name)


# people


@router.get("/people")
@allow(*_SEES)
def _people(request: Request) -> Response:
    """The people of the trial with their roles."""
    return _people_page(request)


def _people_page(request: Request, error: str = "", status: int = 200) -> Response:
    room, user = room_of(request), user_of(request)
    everybody = (*room.people.protocol.readers, *room.people.protocol.accounts)
    logins = {entry.reader: entry.at for entry in room.registry.audit_entries(AuditAction.LOGIN)}
    has_app = room.registry.second_factors.is_on
    may_change = user.role is Role.DATA_MANAGER
    people = []
    for one in everybody:
        roles = [role.value for role in other_roles(one)] if may_change and one.code != user.code else []
        people.append((one, logins.get(one.code, ""), has_app(one.code), roles))
    return page(
        request, "people", status, people=people, now=dt.datetime.now(dt.UTC), error=error, may_change=may_change,
        sites=[site.code for site in room.people.protocol.sites],
    )  # fmt: skip


@router.post("/people/{person}/role")
@allow(Role.DATA_MANAGER)
async def _role(request: Request, person: str) -> Response:
    """Give a person another role."""
    form = await form_of(request)
    return await run_in_threadpool(_role_changed, request, person, form)


def _role_changed(request: Request, person: str, form: dict[str, str]) -> Response:
    room = room_of(request)
    if form.get("role") not in set(Role):
        raise HTTPException(422, "Expected a role, found none. Reload the page.")
    try:
        change_role(
            room.trial,
            room.registry,
            person,
            Role(form["role"]),
            site=form.get("site", ""),
            by=user_of(request).code,
            old=form.get("old"),
        )
    except UsageError as error:
        return _people_page(request, message_of(error), 422)
    return RedirectResponse("/office/people", 303)


# audit trail


@router.get("/audit")
@allow(*_SEES)
def _audit(request: Request) -> Response:
    """Entries of the audit trail, the latest first."""
    fields = _audit_fields(request)
    try:
        found, error = selected_entries(room_of(request).trial.root, AuditSelection(**fields)), ""
    except UsageError as wrong:
        found, error = [], message_of(wrong)
    rows = [(entry, json.dumps(entry.details, ensure_ascii=False, sort_keys=True)) for entry in found]
    return page(
        request, "audit", 422 if error else 200, entries=rows[: -MOST_ENTRIES - 1 : -1], total=len(found),
        actions=[known.value for known in AuditAction], fields=fields, error=error,
        link=urlencode({name: value for name, value in fields.items() if value}),
    )  # fmt: skip


@router.get("/audit/audit.{kind}")
@allow(*_SEES)
def _audit_file(request: Request, kind: str) -> Response:
    """The same entries as a file, oldest first."""
    if kind not in _TYPES:
        raise HTTPException(404, f"Expected audit.csv or audit.json, found audit.{kind}. Go to the audit trail.")
    try:
        selection = AuditSelection(**_audit_fields(request))
    except UsageError as wrong:
        raise HTTPException(422, message_of(wrong)) from wrong
    text = audit_text(selected_entries(room_of(request).trial.root, selection), f".{kind}")
    disposition = {"Content-Disposition": f'attachment; filename="audit.{kind}"'}
    return Response(text, media_type=_TYPES[kind], headers=disposition)


def _audit_fields(request: Request) -> dict[str, str]:
    names = (one.name for one in dataclasses.fields(AuditSelection))
    return {name: request.query_params.get(name, "").strip() for name in names}
