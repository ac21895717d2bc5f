"""Detection rates of simulated lesions in the report of a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mri_pipeline.core.calibration import CalibrationSettings, DetectionRate, SimulatedKind, VisitCalibration
from mri_pipeline.lesions.scoring.detection import (
    by_contrast,
    enough_simulated,
    is_shown,
    smallest_shown,
    usual_contrast,
)

_SETTINGS = CalibrationSettings()

COUNTED: Mapping[str, SimulatedKind] = {"gel_count": SimulatedKind.GEL, "t2_count": SimulatedKind.T2}
"""Counts that depend on the smallest lesion that a scan shows. Counts of new lesions depend on two scans."""

_NAMES = {SimulatedKind.T2: "T2 lesion, on FLAIR", SimulatedKind.GEL: "enhancing lesion, on T1 after contrast"}


def calibration_rows(calibration: VisitCalibration) -> list[dict[str, Any]]:
    """Table rows of one visit, one for each kind and contrast of lesion.

    Parameters
    ----------
    calibration : VisitCalibration

    Returns
    -------
    list of dict
        ``visit``, ``kind``, ``contrast``, ``cells`` by diameter with ``text`` and ``shown``, and ``smallest``.
    """
    return [
        {
            "visit": calibration.visit,
            "kind": _NAMES[kind],
            "contrast": f"+{100 * contrast:.0f} %",
            "cells": {
                rate.diameter_mm: {
                    "text": f"{rate.found}/{rate.inserted}",
                    "interval": _interval(rate),
                    "shown": is_shown(rate, _SETTINGS),
                }
                for rate in group
            },
            "smallest": _smallest(group),
        }
        for (kind, contrast), group in by_contrast(calibration.rates).items()
        if contrast is not None
    ]


def _interval(rate: DetectionRate) -> str:
    return f"{100 * rate.low:.0f} to {100 * rate.high:.0f} %"


def _smallest(group: Sequence[DetectionRate]) -> str:
    found = smallest_shown(group, _SETTINGS)
    if found is not None:
        return f"{found.diameter_mm:g} mm"
    return f"none up to {max(_SETTINGS.diameters_mm):g} mm" if enough_simulated(group, _SETTINGS) else "not known"


def shown_from(rates: Sequence[DetectionRate]) -> dict[str, str]:
    """For each count that depends on it, the smallest lesion of usual contrast that the scan shows.

    Parameters
    ----------
    rates : sequence of DetectionRate
        Of one visit; empty if it was not calibrated.

    Returns
    -------
    dict of str to str
        By name of the count, such as ``from 4 mm``. A count is absent if it is not known.
    """
    texts = {kind: _smallest(group) for kind, group in usual_contrast(rates, _SETTINGS).items()}
    return {
        count: text if text.startswith("none") else f"from {text}"
        for count, kind in COUNTED.items()
        if (text := texts.get(kind, "not known")) != "not known"
    }
