"""The web application of one trial."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, FileSystemLoader
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.templating import Jinja2Templates

from mri_pipeline.core.errors import ReadingCentreError
from reading_centre.use_cases.reading.faults import (
    BreakError,
    ConflictError,
    NotHeldError,
    RefusedError,
    UnavailableError,
)
from reading_centre.use_cases.reading.room import ReadingRoom
from reading_centre.use_cases.uploads.jobs import Worker
from reading_centre.use_cases.uploads.waiting import BusyError, ChecksumError, OffsetError, UploadRequestError
from reading_centre.web import office_jobs, office_pages, pages, reading_api, scanner_pages, site_api, site_pages
from reading_centre.web.access import OWN_PASSWORD, MustChangeError, authorise
from reading_centre.web.render import FILTERS, fault_place, page
from reading_centre.web.security import Guard
from reading_centre.web.static_files import StaticFiles

_LOG = logging.getLogger(__name__)
_HERE = Path(__file__).parent
_API = "/api/"
_STATUS: dict[type[ReadingCentreError], int] = {
    BreakError: 403,
    ConflictError: 409,
    RefusedError: 422,
    NotHeldError: 423,
    UnavailableError: 503,
    UploadRequestError: 422,
    OffsetError: 409,
    BusyError: 423,
    ChecksumError: 460,  # as in tus
}
_FAULT = "The server has a fault. Tell the reading centre the time."


def create_app(room: ReadingRoom, worker: Worker | None = None) -> FastAPI:
    """The application.

    Parameters
    ----------
    room : ReadingRoom
    worker : Worker, optional
        Starter of the process that does the jobs.

    Returns
    -------
    FastAPI
    """
    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, dependencies=[Depends(authorise)], redirect_slashes=False
    )
    app.state.room, app.state.worker = room, worker or Worker(room.trial)
    loader = FileSystemLoader(_HERE / "templates")
    environment = Environment(loader=loader, autoescape=True)  # by suffix it would be off
    static = StaticFiles(_HERE / "static")
    environment.filters |= FILTERS | {"static": static.address, "modules": static.modules}
    app.state.templates = Jinja2Templates(env=environment)
    app.include_router(pages.router)
    app.include_router(reading_api.router)
    app.include_router(office_pages.router)
    app.include_router(office_jobs.router)
    app.include_router(scanner_pages.router)
    app.include_router(site_pages.router)
    app.include_router(site_api.router)
    app.mount("/static", static)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_form)
    app.add_exception_handler(ReadingCentreError, _own_error)
    app.add_middleware(Guard, fault=_fault)
    return app


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, MustChangeError) and not request.url.path.startswith(_API):
        return RedirectResponse(OWN_PASSWORD, 303)
    if error.status_code == 401 and not request.url.path.startswith(_API):
        return RedirectResponse("/login", 303)
    return _told(request, error.status_code, error.detail)


def _wrong_form(request: Request, error: Exception) -> Response:
    """Refuse a body of another form. Its content is not repeated, only the place of the first fault in it."""
    assert isinstance(error, RequestValidationError)
    return _told(request, 422, f"The request has a fault at {fault_place(error.errors()[0])}. Reload the page.")


def _own_error(request: Request, error: Exception) -> Response:
    """Answer with the message of an error that is meant for the reader; other messages may name a subject."""
    assert isinstance(error, ReadingCentreError)
    status = _STATUS.get(type(error))
    if status is None:
        _LOG.error("%s: %s", type(error).__name__, error)
        return _fault(request)
    detail = f"{error.message[0].upper()}{error.message[1:]}."
    if error.hint:
        detail += f" {error.hint[0].upper()}{error.hint[1:]}."
    more: dict[str, Any] = error.more if isinstance(error, ConflictError) else {}
    return JSONResponse({"detail": detail, **more}, status)


def _fault(request: Request) -> Response:
    return _told(request, 500, _FAULT)


def _told(request: Request, status: int, text: str) -> Response:
    """A message: JSON for the scripts of the pages, else a page."""
    if request.url.path.startswith(_API):
        return JSONResponse({"detail": text}, status)
    return page(request, "error", status, text=text)
