"""JSON and voxels of a case. Nothing here names a subject, a visit, a file or a position in space."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Header, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from mri_pipeline.core.accounts import Role
from mri_pipeline.core.layout import Trial
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.marks import runs_of
from mri_pipeline.reading.operations import OPERATION, Number
from mri_pipeline.registry.assignment_records import Assignment, AssignmentState
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.analysis.report_job import start_renewal
from reading_centre.use_cases.reading.faults import RefusedError
from reading_centre.use_cases.reading.signature import sign_read, summary_to_sign
from reading_centre.use_cases.reading.strokes import fill_runs, split_runs
from reading_centre.web.access import allow, room_of, user_of
from reading_centre.web.login import LOCKED_OUT, LockedOutError, WrongPasswordError, checked_account
from reading_centre.web.pages import short_code
from reading_centre.web.render import fault_place

router = APIRouter(prefix="/api/reading/{assignment}")
Coordinate = Annotated[int, Field(strict=True, ge=0, le=65_535)]
TabName = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
PaneName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Fill(_Request):
    """A click of the fill tool."""

    kind: LesionKind
    voxel: tuple[Coordinate, Coordinate, Coordinate]
    pane: PaneName


class _Split(_Request):
    """A lesion to split."""

    kind: LesionKind
    lesion: Number


class _Lease(_Request):
    """Heartbeat of a browser tab."""

    client: TabName
    take_over: bool = False


class _Sign(_Request):
    """A signature."""

    login: Annotated[str, Field(max_length=64)] = ""
    password: Annotated[str, Field(max_length=1024)]
    seen: Annotated[str, Field(max_length=64)]


def _own(request: Request, code: str) -> Assignment:
    found = room_of(request).assignment(code, user_of(request).code)
    if found is None:
        raise HTTPException(404, "Expected a case of yours, found none. Go to the worklist.")
    room_of(request).worklists.require_sitting(found)
    return found


@router.get("/case")
@allow(Role.READER, Role.ADJUDICATOR)
def _case(request: Request, assignment: str) -> Response:
    """The case without its voxels. The next case is prepared afterwards."""
    room, user, own = room_of(request), user_of(request), _own(request, assignment)
    opened = room.present_case(own)
    view = room.view(own, opened, user.name) | {"code": short_code(own)}
    return JSONResponse(view, background=BackgroundTask(room.prepare, view["next_case"], user.code))


@router.get("/volumes/{pane}")
@allow(Role.READER, Role.ADJUDICATOR)
def _volume(request: Request, assignment: str, pane: str) -> Response:
    """One image."""
    images = room_of(request).case(_own(request, assignment)).images
    if not images.has(pane):
        raise HTTPException(404, "Expected an image of this case, found none. Reload the page.")
    return Response(images.volume(pane).content, media_type="application/octet-stream")


@router.get("/labels/{kind}")
@allow(Role.READER, Role.ADJUDICATOR)
def _labels(request: Request, assignment: str, kind: str) -> Response:
    """The present labels of one kind of lesion."""
    opened = room_of(request).case(_own(request, assignment))
    with opened.lock:
        found = next((values for known, values in opened.marks.labels.items() if known.value == kind), None)
        if found is None:
            raise HTTPException(404, f"This case has no lesions of type {kind}. Reload the page.")
        return _runs(found)


@router.get("/reads/{name}/{kind}")
@allow(Role.ADJUDICATOR)
def _read(request: Request, assignment: str, name: str, kind: str) -> Response:
    """The outlines of read A or B, with the numbers of the lesions."""
    opened = room_of(request).case(_own(request, assignment))
    found = {known.value: values for known, values in opened.reads.get(name, {}).items()}
    if kind not in found:
        raise HTTPException(404, f"This case has no read {name} with lesions of type {kind}. Reload the page.")
    return _runs(found[kind])


@router.get("/previous/{kind}")
@allow(Role.READER)
def _previous(request: Request, assignment: str, kind: str) -> Response:
    """The confirmed lesions of the previous visit, if the protocol shows it."""
    opened = room_of(request).case(_own(request, assignment))
    found = {known.value: values for known, values in opened.confirmed_before.items()}
    if kind not in found:
        raise HTTPException(404, f"This case shows no earlier lesions of type {kind}. Reload the page.")
    return _runs(found[kind])


def _runs(labels: NDArray[np.integer[Any]]) -> Response:
    """A label map, as the runs that draw it on an empty one."""
    where = np.flatnonzero(labels)
    return JSONResponse({"runs": runs_of(where, np.zeros_like(where), labels[where].astype(np.int64))})


@router.post("/operations")
@allow(Role.READER, Role.ADJUDICATOR)
def _operations(
    request: Request,
    assignment: str,
    body: Annotated[dict[str, Any], Body()],
    x_client: Annotated[str, Header(max_length=64)] = "",
) -> Response:
    """Store and carry out an operation."""
    own = _own(request, assignment)
    number = body.pop("number", None)
    if type(number) is not int or number < 1:
        found = number if type(number) is int else f"a {type(number).__name__}"
        raise RefusedError(f"expected a number from 1 for the operation, found {found}", hint="reload the page")
    try:
        operation = OPERATION.validate_python(body)
    except ValidationError as error:
        place = fault_place(error.errors()[0]) or "its type"
        raise RefusedError(f"the operation has a fault at {place}", hint="reload the page") from error
    if not x_client:
        raise HTTPException(423, "Expected the name of the browser tab, found none. Reload the page.")
    return JSONResponse(room_of(request).operate(own, number, operation, client=x_client))


@router.post("/tools/fill")
@allow(Role.READER, Role.ADJUDICATOR)
def _fill(request: Request, assignment: str, body: _Fill) -> Response:
    """Voxels around a click."""
    room = room_of(request)
    return JSONResponse(
        {"runs": fill_runs(room.case(_own(request, assignment)), body.kind, body.voxel, body.pane)}
    )


@router.post("/tools/split")
@allow(Role.READER, Role.ADJUDICATOR)
def _split(request: Request, assignment: str, body: _Split) -> Response:
    """Voxels of the smaller part of a lesion."""
    room = room_of(request)
    return JSONResponse({"runs": split_runs(room.case(_own(request, assignment)), (body.kind, body.lesion))})


@router.post("/lease")
@allow(Role.READER, Role.ADJUDICATOR, background=True)
def _lease(request: Request, assignment: str, body: _Lease) -> Response:
    """Let one tab edit."""
    own = _own(request, assignment)
    if own.state is not AssignmentState.OPEN:
        return JSONResponse({"held": False, "by_other": False})
    leases = room_of(request).registry.assignments
    held = leases.lease(own.code, body.client, take_over=body.take_over)
    return JSONResponse({"held": held, "by_other": not held})


@router.get("/summary")
@allow(Role.READER, Role.ADJUDICATOR)
def _summary(request: Request, assignment: str) -> Response:
    """Contradictions, questions and counts."""
    summary = summary_to_sign(room_of(request), _own(request, assignment))
    return JSONResponse(summary | {"ask_login": not user_of(request).has_signed})


@router.post("/sign")
@allow(Role.READER, Role.ADJUDICATOR)
def _sign(
    request: Request, assignment: str, body: _Sign, x_client: Annotated[str, Header(max_length=64)] = ""
) -> Response:
    """Sign the read: login and password at the first signature of a session, the password at each later one.

    The reports are renewed afterwards.
    """
    room, user, own = room_of(request), user_of(request), _own(request, assignment)
    login = body.login or (user.code if user.has_signed else "")
    try:
        person, account = checked_account(request, login, body.password, purpose=AuditAction.SIGNATURE_REFUSED)
    except LockedOutError as error:
        raise HTTPException(429, LOCKED_OUT) from error
    except WrongPasswordError as error:
        raise HTTPException(401, _NOT_SIGNED) from error
    if person.code != user.code:
        room.registry.audit(AuditAction.SIGNATURE_REFUSED, reader=user.code, details={"account": person.code})
        raise HTTPException(401, _NOT_SIGNED)
    signature = sign_read(room, own, account=account, name=user.name, client=x_client, seen=body.seen)
    room.registry.sessions.signed(user.token)
    return JSONResponse(signature, background=BackgroundTask(_renew_reports, room.trial))


async def _renew_reports(trial: Trial) -> None:
    """Start the process in the main thread: the system would end it with a thread of the pool."""
    start_renewal(trial)


_NOT_SIGNED = "Login or password is wrong. Nothing was signed; try again."
