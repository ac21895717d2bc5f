"""Upload of a site in parts. PATCH, HEAD and their headers are those of tus 1.0 (core and checksum)."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from mri_pipeline.core.accounts import Role
from mri_pipeline.registry.job_records import Job, JobKind, JobState
from reading_centre.use_cases.uploads.site_portal import SitePortal, Statement
from reading_centre.use_cases.uploads.waiting import OffsetError, WaitingUpload
from reading_centre.web.access import allow, room_of, user_of, worker_of

router = APIRouter(prefix="/api/site/uploads")
_NONE = "Expected an upload of your site, found none. Go to the first page."
_TEXT = r"^[^\x00]*$"  # PostgreSQL has no text with NUL
_TUS = {"Tus-Resumable": "1.0.0"}


class _Begin(BaseModel):
    """An upload that begins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["visit", "dummy run"]
    size: Annotated[int, Field(strict=True, ge=0, le=2**62)]
    content: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    subject: Annotated[str, Field(max_length=32, pattern=_TEXT)] = ""
    visit: Annotated[str, Field(max_length=32, pattern=_TEXT)] = ""
    before_infusion: bool | None = None
    replace_because: Annotated[str, Field(max_length=500, pattern=_TEXT)] = ""


def portal_of(request: Request) -> SitePortal:
    """The portal of the person's site.

    Parameters
    ----------
    request : Request

    Returns
    -------
    SitePortal
    """
    room = room_of(request)
    return SitePortal(room.trial, room.people.protocol, room.registry, user_of(request).site)


def own_upload(request: Request, code: str) -> Job:
    """An upload of the person's site.

    Parameters
    ----------
    request : Request
    code : str

    Returns
    -------
    Job

    Raises
    ------
    HTTPException
        404 for every other code.
    """
    job = portal_of(request).upload(code)
    if job is None:
        raise HTTPException(404, _NONE)
    return job


@router.post("")
@allow(Role.SITE)
def _begin(request: Request, body: _Begin) -> Response:
    """Begin an upload."""
    is_visit = body.kind == JobKind.VISIT.value
    stated = Statement(
        JobKind(body.kind), body.size, body.content,
        subject=body.subject.strip() if is_visit else "", visit=body.visit if is_visit else "",
        before_infusion=body.before_infusion if is_visit else None,
        replace_because=body.replace_because.strip() if is_visit else "",
    )  # fmt: skip
    job = portal_of(request).begin(stated, account=user_of(request).code)
    return JSONResponse({"upload": job.code}, 201, headers={"Location": f"{router.prefix}/{job.code}", **_TUS})


@router.api_route("/{upload}", methods=["GET", "HEAD"])
@allow(Role.SITE, background=True)
def _state(request: Request, upload: str) -> Response:
    """State of an upload. The check of a waiting one is started if no process does it."""
    job = own_upload(request, upload)
    if job.state in {JobState.WAITING, JobState.RUNNING}:
        worker_of(request).start()
    found = WaitingUpload(room_of(request).trial, job.code)
    received = found.received if job.state is JobState.RECEIVING else job.size_bytes
    content: dict[str, Any] = {"state": job.state.value, "received": received, "size": job.size_bytes}
    if job.state is JobState.RECEIVING:
        content["content"] = found.request.get("content", "")
    headers = {"Upload-Offset": str(received), "Upload-Length": str(job.size_bytes), **_TUS}
    return JSONResponse(content, headers=headers)


@router.patch("/{upload}")
@allow(Role.SITE)
async def _append(
    request: Request,
    upload: str,
    upload_offset: Annotated[int, Header(ge=0, le=2**62)],
    upload_checksum: Annotated[str, Header(pattern=r"^sha256 [A-Za-z0-9+/]{43}=$")],
) -> Response:
    """Store the next part. The upload is checked when it is whole."""
    try:
        content = await request.body()
    except ClientDisconnect as error:
        raise HTTPException(400, "The transfer of this part broke off. Send it again.") from error
    try:
        sha256 = base64.b64decode(upload_checksum.removeprefix("sha256 "), validate=True)
    except binascii.Error as error:
        raise HTTPException(422, "The checksum of this part is not in base64. Send the part again.") from error
    return await run_in_threadpool(_stored, request, upload, upload_offset, content, sha256)


def _stored(request: Request, code: str, offset: int, content: bytes, sha256: bytes) -> Response:
    job, room = own_upload(request, code), room_of(request)
    if job.state is not JobState.RECEIVING:
        raise OffsetError(
            f"expected an upload in transfer, found state {job.state}", hint="go to the page of the upload"
        )
    received = WaitingUpload(room.trial, job.code).append(offset, content, sha256=sha256, size=job.size_bytes)
    if received == job.size_bytes:
        room.registry.jobs.submit(job.code)
        worker_of(request).start()
    return Response(status_code=204, headers={"Upload-Offset": str(received), **_TUS})
