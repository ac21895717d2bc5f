"""Detection rates of simulated lesions, and the smallest lesion that a scan shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mri_pipeline.core.calibration import CalibrationSettings, DetectionRate, SimulatedKind
from mri_pipeline.lesions.insertion import PlannedLesion


def detection_rates(visit: str, found: Sequence[tuple[PlannedLesion, bool]]) -> list[DetectionRate]:
    """Detection rates by kind, contrast and size.

    Parameters
    ----------
    visit : str
    found : sequence of (PlannedLesion, bool)
        Every simulated lesion, and whether it was found.

    Returns
    -------
    list of DetectionRate
        For each kind first those of all contrasts, then those of each; by ascending size. Empty without lesions.

    Examples
    --------
    >>> lesions = [(PlannedLesion(SimulatedKind.T2, 3.0, 0.4), n < 8) for n in range(10)]
    >>> every, strong = detection_rates("wk04", lesions)
    >>> every.contrast, strong.contrast, every.rate, round(every.low, 2), round(every.high, 2)
    (None, 0.4, 0.8, 0.49, 0.94)
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - 0.4 s and 30 MB, which a run without calibration does not need

    groups: dict[tuple[SimulatedKind, float | None, float], list[bool]] = {}
    for lesion, hit in found:
        for contrast in (None, lesion.contrast):
            groups.setdefault((lesion.kind, contrast, lesion.diameter_mm), []).append(hit)
    order = list(SimulatedKind)
    rates = []
    for key in sorted(groups, key=lambda k: (order.index(k[0]), -1.0 if k[1] is None else k[1], k[2])):
        hits = groups[key]
        interval = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
        rates.append(DetectionRate(visit, *key, len(hits), sum(hits), float(interval.low), float(interval.high)))
    return rates


def smallest_shown(rates: Sequence[DetectionRate], settings: CalibrationSettings) -> DetectionRate | None:
    """The size of lesion from which on a scan shows lesions.

    Parameters
    ----------
    rates : sequence of DetectionRate
        Of one visit, kind and contrast.
    settings : CalibrationSettings
        All sizes, as in `is_shown`.

    Returns
    -------
    DetectionRate or None
        Of the smallest size that is shown and all of whose larger sizes are; None if the largest size is not shown. A
        size without enough lesions is not shown.
    """
    by_size = {rate.diameter_mm: rate for rate in rates}
    smallest = None
    for diameter_mm in sorted(settings.diameters_mm, reverse=True):
        rate = by_size.get(diameter_mm)
        if rate is None or not is_shown(rate, settings):
            break
        smallest = rate
    return smallest


def is_shown(rate: DetectionRate, settings: CalibrationSettings) -> bool:
    """True if a scan shows a size of lesion.

    Parameters
    ----------
    rate : DetectionRate
    settings : CalibrationSettings
        Least rate of a size that is shown, and least number of its lesions.

    Returns
    -------
    bool
    """
    return rate.inserted >= settings.least_lesions and rate.rate >= settings.shown_rate


def enough_simulated(rates: Sequence[DetectionRate], settings: CalibrationSettings) -> bool:
    """True if enough simulated lesions of the largest size could be placed in a scan.

    Parameters
    ----------
    rates : sequence of DetectionRate
        Of one visit, kind and contrast.
    settings : CalibrationSettings
        All sizes, and the least number of lesions of a size.

    Returns
    -------
    bool
        True if at least `least_lesions` were placed.
    """
    largest_mm = max(settings.diameters_mm)
    return any(rate.diameter_mm == largest_mm and rate.inserted >= settings.least_lesions for rate in rates)


def usual_contrast(
    rates: Sequence[DetectionRate], settings: CalibrationSettings
) -> dict[SimulatedKind, list[DetectionRate]]:
    """The rates of lesions of usual contrast.

    Parameters
    ----------
    rates : sequence of DetectionRate
        Of one visit.
    settings : CalibrationSettings
        The middle one of its contrasts is the usual one.

    Returns
    -------
    dict of SimulatedKind to list of DetectionRate
        For each kind with rates; empty if none of them are of usual contrast.
    """
    groups = by_contrast(rates)
    return {
        kind: groups.get((kind, settings.middle_contrast(kind)), [])
        for kind in dict.fromkeys(rate.kind for rate in rates)
    }


def by_contrast(
    rates: Sequence[DetectionRate],
) -> Mapping[tuple[SimulatedKind, float | None], list[DetectionRate]]:
    """Group the rates of one visit by kind and contrast.

    Parameters
    ----------
    rates : sequence of DetectionRate

    Returns
    -------
    mapping of (SimulatedKind, float or None) to list of DetectionRate
        In the order of `rates`.
    """
    groups: dict[tuple[SimulatedKind, float | None], list[DetectionRate]] = {}
    for rate in rates:
        groups.setdefault((rate.kind, rate.contrast), []).append(rate)
    return groups
