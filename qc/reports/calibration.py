"""Detection rates of simulated lesions in the report of a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mri_pipeline.core.calibration import CalibrationSettings, DetectionRate, LesionKind
from mri_pipeline.lesions.scoring.detection import by_contrast, smallest_of_visit, smallest_shown

_SHOWN = CalibrationSettings().shown_rate

COUNTED: Mapping[str, LesionKind] = {
    "gel_count": LesionKind.GEL,
    "gel_new_count": LesionKind.GEL,
    "t2_count": LesionKind.T2,
    "new_t2_count": LesionKind.T2,
}
"""Counts that depend on the smallest lesion that a scan shows."""

_NAMES = {LesionKind.T2: "T2 lesion, on FLAIR", LesionKind.GEL: "enhancing lesion, on T1 after contrast"}


def calibration_rows(visit: str, rates: Sequence[DetectionRate]) -> list[dict[str, Any]]:
    """Table rows of one visit, one for each kind and contrast of lesion.

    Parameters
    ----------
    visit : str
    rates : sequence of DetectionRate
        Of this visit.

    Returns
    -------
    list of dict
        ``visit``, ``kind``, ``contrast``, ``cells`` by diameter with ``text`` and ``shown``, and ``smallest``.
    """
    return [
        {
            "visit": visit,
            "kind": _NAMES[kind],
            "contrast": f"+{100 * contrast:.0f} %",
            "cells": {
                rate.diameter_mm: {
                    "text": f"{rate.found}/{rate.inserted}",
                    "interval": _interval(rate),
                    "shown": rate.rate >= _SHOWN,
                }
                for rate in group
            },
            "smallest": _smallest(group),
        }
        for (kind, contrast), group in by_contrast(rates).items()
        if contrast is not None
    ]


def _interval(rate: DetectionRate) -> str:
    return f"{100 * rate.low:.0f} to {100 * rate.high:.0f} %"


def _smallest(group: Sequence[DetectionRate]) -> str:
    found = smallest_shown(group, _SHOWN)
    if found is None:
        return f"none up to {max(rate.diameter_mm for rate in group):g} mm"
    return f"{found.diameter_mm:g} mm"


def shown_from(rates: Sequence[DetectionRate]) -> dict[str, str]:
    """For each count that depends on it, the smallest lesion of usual contrast that the scan shows.

    Parameters
    ----------
    rates : sequence of DetectionRate
        Of one visit; empty if it was not calibrated.

    Returns
    -------
    dict of str to str
        By name of the count, such as ``from 4 mm``.
    """
    largest = max((rate.diameter_mm for rate in rates), default=0.0)
    texts = {
        kind: f"none up to {largest:g} mm" if rate is None else f"from {rate.diameter_mm:g} mm"
        for kind, rate in smallest_of_visit(rates, _SHOWN).items()
    }
    return {count: texts[kind] for count, kind in COUNTED.items() if kind in texts}
