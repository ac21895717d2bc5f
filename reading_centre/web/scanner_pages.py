"""Pages of the office on the scanners of the sites: their dummy runs, and the decisions of people on them."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response

from mri_pipeline.core.accounts import Role
from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry import ScannerGate
from reading_centre.use_cases.uploads.dummy_run.receive import decide_dummy_run
from reading_centre.use_cases.uploads.dummy_run.report import acceptance_report
from reading_centre.web.access import allow, room_of, user_of
from reading_centre.web.render import form_of, message_of, page

router = APIRouter(prefix="/office/scanners")
LONGEST_REASON: Final = 500
"""Characters of the reason for a decision."""
_SEES = (Role.DATA_MANAGER, Role.AUDITOR)
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
_QUALITY: Final = "qc.html"
_DECISIONS: Final = {"accept": True, "refuse": False}


@router.get("")
@allow(*_SEES)
def _scanners(request: Request) -> Response:
    """The scanners with the state of their gates; those that wait for a decision first."""
    room = room_of(request)
    found = sorted(room.registry.scanner_gates.all(), key=lambda gate: not _waits(gate))
    quality = room.trial.reports / _QUALITY
    written = dt.datetime.fromtimestamp(quality.stat().st_mtime, dt.UTC) if quality.is_file() else None
    return page(
        request, "scanners", gates=[(gate, _waits(gate)) for gate in found], quality=_QUALITY,
        written=written.isoformat() if written else "", may_order=user_of(request).role is Role.DATA_MANAGER,
    )  # fmt: skip


def _waits(gate: ScannerGate) -> bool:
    return bool(gate.proposed or gate.waiting_digest) or gate.state.value == "undecided"


@router.get("/{scanner}")
@allow(*_SEES)
def _scanner(request: Request, scanner: Number) -> Response:
    """One scanner, with a gate for each of its receive coils."""
    return _scanner_page(request, scanner)


def _gates(request: Request, scanner: int) -> list[ScannerGate]:
    found = [gate for gate in room_of(request).registry.scanner_gates.all() if gate.number == scanner]
    if not found:
        raise HTTPException(404, "Expected a scanner with a dummy run, found none. Go to the scanners.")
    return found


def _scanner_page(request: Request, scanner: int, error: str = "") -> Response:
    room, gates = room_of(request), _gates(request, scanner)
    reports = {
        gate.latest_digest: acceptance_report(room.trial, gate.site, gate.latest_digest).name
        for gate in gates
        if acceptance_report(room.trial, gate.site, gate.latest_digest).is_file()
    }
    return page(
        request, "scanner", 422 if error else 200, gates=gates, reports=reports, error=error,
        persons=room.people.protocol.scanner_gate.persons, longest=LONGEST_REASON,
        may_decide=user_of(request).role is Role.DATA_MANAGER,
    )  # fmt: skip


@router.post("/{scanner}/decide")
@allow(Role.DATA_MANAGER)
async def _decide(request: Request, scanner: Number) -> Response:
    """Enter the decision of the person on the dummy run of a scanner with a receive coil."""
    form = await form_of(request)
    return await run_in_threadpool(_decided, request, scanner, form)


def _decided(request: Request, scanner: int, form: dict[str, str]) -> Response:
    gate = next((gate for gate in _gates(request, scanner) if gate.coil == form.get("coil", "")), None)
    reason, accept = form.get("reason", "").strip(), _DECISIONS.get(form.get("decision", ""))
    if gate is None:
        error = "This scanner has no dummy run with this receive coil."
    elif accept is None:
        error = f"Expected one of {', '.join(_DECISIONS)} as decision, found {form.get('decision') or 'none'}."
    elif gate.latest_digest != form.get("dummy_run", ""):
        error = "There is a newer dummy run. See its report and decide again."
    elif not reason or len(reason) > LONGEST_REASON:
        error = f"Expected a reason of up to {LONGEST_REASON} characters, found none or a longer one."
    else:
        try:
            decide_dummy_run(
                room_of(request).trial.root, site=gate.site, accept=accept, reason=reason, by=user_of(request).code,
                scanner=scanner, coil=gate.coil,
            )  # fmt: skip
        except UsageError as refused:
            return _scanner_page(request, scanner, message_of(refused))
        return RedirectResponse(f"/office/scanners/{scanner}", 303)
    return _scanner_page(request, scanner, error)


@router.get("/reports/{name}")
@allow(*_SEES)
def _report(request: Request, name: str) -> Response:
    """The acceptance report of a dummy run, or the page on image quality."""
    folder = room_of(request).trial.reports
    known = {path.name for path in folder.glob("dummy-run_*.html")} | {path.name for path in folder.glob(_QUALITY)}
    if name not in known:
        raise HTTPException(404, "Expected a report on a scanner, found none. Go to the scanners.")
    return FileResponse(folder / name, media_type="text/html", filename=name)
