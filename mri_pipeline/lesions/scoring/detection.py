"""Detection rates of simulated lesions, and the smallest lesion that a scan shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scipy.stats import binomtest

from mri_pipeline.core.calibration import DetectionRate, LesionKind
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
    >>> lesions = [(PlannedLesion(LesionKind.T2, 3.0, 0.4), n < 8) for n in range(10)]
    >>> every, strong = detection_rates("wk04", lesions)
    >>> every.contrast, strong.contrast, every.rate, round(every.low, 2), round(every.high, 2)
    (None, 0.4, 0.8, 0.49, 0.94)
    """
    groups: dict[tuple[LesionKind, float | None, float], list[bool]] = {}
    for lesion, hit in found:
        for contrast in (None, lesion.contrast):
            groups.setdefault((lesion.kind, contrast, lesion.diameter_mm), []).append(hit)
    order = list(LesionKind)
    rates = []
    for key in sorted(groups, key=lambda k: (order.index(k[0]), -1.0 if k[1] is None else k[1], k[2])):
        hits = groups[key]
        interval = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
        rates.append(DetectionRate(visit, *key, len(hits), sum(hits), float(interval.low), float(interval.high)))
    return rates


def smallest_shown(rates: Sequence[DetectionRate], shown_rate: float) -> DetectionRate | None:
    """The smallest size from which on a scan shows its lesions.

    Parameters
    ----------
    rates : sequence of DetectionRate
        Of one visit, kind and contrast.
    shown_rate : float
        Least rate of a size that is shown.

    Returns
    -------
    DetectionRate or None
        Of the smallest size that is shown and all of whose larger sizes are; None if the largest size is not shown.
    """
    smallest = None
    for rate in sorted(rates, key=lambda one: -one.diameter_mm):
        if rate.rate < shown_rate:
            break
        smallest = rate
    return smallest


def smallest_of_visit(rates: Sequence[DetectionRate], shown_rate: float) -> dict[LesionKind, DetectionRate | None]:
    """The smallest lesion of usual contrast that the scans of a visit show.

    Parameters
    ----------
    rates : sequence of DetectionRate
        Of one visit.
    shown_rate : float
        As in `smallest_shown`.

    Returns
    -------
    dict of LesionKind to (DetectionRate or None)
        For each kind with rates, of the middle one of its contrasts.
    """
    groups = by_contrast(rates)
    found = {}
    for kind in dict.fromkeys(rate.kind for rate in rates):
        contrasts = sorted(contrast for of, contrast in groups if of is kind and contrast is not None)
        found[kind] = smallest_shown(groups[kind, contrasts[len(contrasts) // 2]], shown_rate)
    return found


def by_contrast(rates: Sequence[DetectionRate]) -> Mapping[tuple[LesionKind, float | None], list[DetectionRate]]:
    """Group the rates of one visit by kind and contrast.

    Parameters
    ----------
    rates : sequence of DetectionRate

    Returns
    -------
    mapping of (LesionKind, float or None) to list of DetectionRate
        In the order of `rates`.
    """
    groups: dict[tuple[LesionKind, float | None], list[DetectionRate]] = {}
    for rate in rates:
        groups.setdefault((rate.kind, rate.contrast), []).append(rate)
    return groups
