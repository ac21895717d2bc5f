"""Report of one subject: one self-contained HTML file.

It shows the blinded code and no other personal data. It loads no external resource.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from mri_pipeline.core.calibration import CalibrationSettings
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.records import (
    GelState,
    LesionRecord,
    ScanStatus,
    SubjectResult,
    VisitCounts,
)
from mri_pipeline.core.robust import median, percentile
from mri_pipeline.core.visits import Contrast
from qc.registration import all_qc_flags
from qc.reports.activity import activity_rows, totals
from qc.reports.activity_crops import ShownVisit
from qc.reports.calibration import calibration_rows, shown_from
from qc.reports.read_attribution import AUTOMATIC, common_status
from qc.reports.slice_choice import View, choose_view
from qc.reports.subject.contents import SubjectReport, VisitReport
from qc.reports.subject.figures import over_time, overlay
from qc.reports.subject.scans import scan_rows
from qc.reports.subject.slices import mosaic

TEMPLATE = "templates/subject_report.html.j2"

_COLUMNS = {
    "gel_count": "GEL",
    "gel_new_count": "new GEL",
    "gel_re_enhancing_count": "re-enhancing",
    "gel_persistent_count": "persistent",
    "gel_volume_ml": "GEL mL",
    "t2_count": "T2",
    "t2_volume_ml": "T2 mL",
    "new_t2_count": "new T2",
    "enlarging_t2_count": "enlarging T2",
    "new_or_enlarging_t2_count": "new or enlarging",
    "bh_count": "BH",
    "bh_volume_ml": "BH mL",
    "bh_chronic_volume_ml": "chronic BH mL",
    "combined_unique_active_count": "combined unique active",
}
_BRIGHTEST = 1.9  # upper limit of the window relative to the median of the brain; excludes vessels and scalp


def write_subject_report(report: SubjectReport, path: Path) -> Path:
    """Write the report as one self-contained HTML file.

    Equal input gives equal bytes. No time, path or name is written.

    Parameters
    ----------
    report : SubjectReport
    path : Path

    Returns
    -------
    Path

    Raises
    ------
    GridMismatchError
        If images and masks of the visits are not on one grid.
    """
    return write_atomic(path, subject_report_html(report))


def subject_report_html(report: SubjectReport) -> str:
    """The report as text.

    Parameters
    ----------
    report : SubjectReport

    Returns
    -------
    str
        One HTML page with embedded figures. Without an analysed visit it has no mosaics.

    Raises
    ------
    GridMismatchError
        If images and masks of the visits are not on one grid.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("qc.reports") / TEMPLATE).read_text(encoding="utf-8"))
    shown = [visit for visit in report.visits if visit.shown]
    return template.render(
        report=report,
        columns=_COLUMNS,
        rows=[_row(visit, report.result) for visit in report.visits],
        plots=over_time(report.result, [(v.visit, v.week) for v in report.visits]),
        pages=_pages(shown, report.result),
        registrations=_registrations(shown),
        scans=scan_rows(report.result.quality),
        calibration=[row for visit in shown for row in calibration_rows(visit.calibration)],
        not_calibrated=[visit.calibration for visit in shown if visit.calibration.note],
        diameters=sorted({rate.diameter_mm for visit in shown for rate in visit.calibration.rates}),
        calibrated_by=CalibrationSettings(),
        contrasts=[Contrast.FLAIR.value, *(c.value for c in Contrast if c is not Contrast.FLAIR)],
        sure=METHOD.registration_flags.sure,
        to_qc_flags=all_qc_flags(report.result.quality),
        status=common_status(visit.attribution for visit in shown).value,
    )


def _row(visit: VisitReport, result: SubjectResult) -> dict[str, Any]:
    """Table row of one visit; unknown values are empty."""
    counts = next((row for row in result.visits if row.visit == visit.visit), None)
    measured = counts is not None and visit.status is ScanStatus.ANALYSED
    values = {name: _number(counts, name) if measured else "" for name in _COLUMNS}
    shown = shown_from(visit.calibration.rates) if measured and visit.attribution == AUTOMATIC else {}
    return {
        "visit": visit.visit,
        "week": "" if visit.week is None else str(visit.week),
        "status": visit.status.value,
        "read": str(visit.attribution) if measured else "",
        "reference": (counts.reference_visit or "") if counts is not None and measured else "",
        "cells": [{"text": values[name], "shown": values[name] and shown.get(name, "")} for name in _COLUMNS],
    }


def _number(counts: VisitCounts | None, name: str) -> str:
    value = getattr(counts, name)
    if value is None:
        return ""
    return f"{value:.2f}" if name.endswith("_ml") else str(value)


def _pages(visits: Sequence[VisitReport], result: SubjectResult) -> list[dict[str, Any]]:
    """Mosaics and lesions of every analysed visit; all visits show the same slices."""
    if not visits:
        return []
    grid = visits[0].images[Contrast.FLAIR].grid
    for visit in visits:
        for other in (*(i.grid for i in visit.images.values()), *(m.grid for m in visit.masks.values())):
            grid.require_same(other, f"visit {visit.visit}")
    view = choose_view([visit.brain_mask for visit in visits], [v.numbered for v in visits])
    windows = {contrast: _window(visits, contrast) for contrast in Contrast}
    counts = {row.visit: row for row in result.visits}
    shown_visits = {v.visit: ShownVisit.of(v.visit, v.images, v.masks, v.numbered) for v in visits}
    pages = []
    for visit in visits:
        records = [record for record in result.lesions if record.visit == visit.visit]
        pages.append(
            {
                "visit": visit.visit,
                "week": visit.week,
                "read": str(visit.attribution),
                "view": view,
                **_activity(visit, shown_visits, result, counts, windows=windows, brain=view.box),
                "mosaics": _mosaics(visit, view, windows),
                "lesions": [_lesion(r) for r in records],
                "without_contrast": Contrast.T1W_GD not in visit.images,
            }
        )
    return pages


def _activity(
    visit: VisitReport,
    shown: Mapping[str, ShownVisit],
    result: SubjectResult,
    counts: Mapping[str, VisitCounts],
    *,
    windows: Mapping[Contrast, tuple[float, float]],
    brain: tuple[slice, slice],
) -> dict[str, Any]:
    """Rows of the active lesions, the reference visit, and the sums of the rows."""
    own = counts.get(visit.visit)
    if own is None:
        return {"active": [], "reference": "", "totals": {}}
    reference = own.reference_visit or ""
    of = {v: [r for r in result.lesions if r.visit == v] for v in (visit.visit, reference)}
    rows = activity_rows(
        shown[visit.visit],
        shown.get(reference),
        of[visit.visit],
        earlier=of[reference],
        counts=own,
        windows=windows,
        brain=brain,
    )
    active = [row | _lesion(row["record"]) for row in rows]
    return {"active": active, "reference": reference, "totals": totals(rows, own)}


def _window(visits: Sequence[VisitReport], contrast: Contrast) -> tuple[float, float]:
    """Intensities displayed as black and as white, equal for all visits for comparison."""
    values = [v.images[contrast].data[v.brain_mask.mask] for v in visits if contrast in v.images]
    values = [v for v in values if v.size]
    if not values:
        return 0.0, 1.0
    few = [v[:: max(1, v.size // 50_000)] for v in values]
    low = float(np.median([percentile(v, 1) for v in few]))
    high = float(np.median([min(percentile(v, 99.7), _BRIGHTEST * median(v)) for v in few]))
    return (low, high) if high > low else (low, low + 1)


def _mosaics(
    visit: VisitReport, view: View, windows: Mapping[Contrast, tuple[float, float]]
) -> list[dict[str, Any]]:
    """Mosaics of FLAIR and of T1 after contrast (T1 before contrast if there is no other)."""
    second = next((c for c in (Contrast.T1W_GD, Contrast.T1W) if c in visit.images), None)
    names = {Contrast.FLAIR: "FLAIR", Contrast.T1W_GD: "T1 after contrast", Contrast.T1W: "T1 before contrast"}
    return [
        {
            "name": names[contrast],
            "svg": mosaic(
                visit.images[contrast],
                visit.masks,
                visit.numbered,
                view,
                window=windows[contrast],
                title=f"{names[contrast]} of visit {visit.visit}, axial slices with lesion outlines",
            ),
        }
        for contrast in (Contrast.FLAIR, second)
        if contrast is not None
    ]


def _lesion(record: LesionRecord) -> dict[str, str]:
    """One lesion as text."""
    enhancing = {None: "not known", False: "no", True: "yes"}[record.enhancing]
    if record.gel_state not in (None, GelState.UNDETERMINED):
        enhancing = record.gel_state.value.replace("_", "-")
    return {
        "number": str(record.lesion_id),
        "t2": record.t2_state.value,
        "enhancing": enhancing,
        "black_hole": "not known" if record.black_hole is None else record.black_hole.value.replace("_", " "),
        "location": record.location.value.replace("_", " "),
        "volume": f"{record.volume_mm3:.0f}",
        "x": f"{record.x_mm:.1f}",
        "y": f"{record.y_mm:.1f}",
        "z": f"{record.z_mm:.1f}",
    }


def _registrations(visits: Sequence[VisitReport]) -> list[dict[str, str]]:
    """FLAIR of each later visit over that of the first analysed visit, before and after registration."""
    pairs = []
    for visit in visits[1:]:
        entry = {"reference": visits[0].visit, "visit": visit.visit}
        for when, a, b in (
            ("before", visits[0].native_flair, visit.native_flair),
            ("after", visits[0].images[Contrast.FLAIR], visit.images[Contrast.FLAIR]),
        ):
            if a is not None and b is not None:
                entry[when], correlation = overlay(a, b)
                entry[f"{when}_r"] = "" if math.isnan(correlation) else f"{correlation:.3f}"
        pairs.append(entry)
    return pairs
