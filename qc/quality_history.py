"""Image quality of a scanner over time: outliers and drift of each measure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from scipy.stats import kendalltau, theilslopes

from mri_pipeline.core.change_limits import ChangeLimits
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.quality_limits import QualityLimit
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import StoredMeasures
from qc.change import CHANGE_RULES, ChangeRule
from qc.quality_rules import RULES, may_be_motion

LEAST_BEFORE: Final = 3
"""Accepted uploads of a scanner with which a later one is compared."""

LEAST_FOR_DRIFT: Final = 8
"""Accepted uploads from which a drift is computed. With fewer, the test of Kendall hardly reaches its level."""

DRIFT_LEVEL: Final = 0.01
"""Significance of the test of Kendall. One page has about a hundred series."""

DRIFT_SHARE: Final = 0.5
"""Least drift, as a share of the limit of change: a significant trend may be irrelevant."""


@dataclass(frozen=True)
class Point:
    """A measure of one upload.

    Parameters
    ----------
    at : datetime.datetime
        When the upload was measured; not the day of the scan.
    value : float
        In the unit of the series.
    dummy_run : bool
        True for a dummy run, False for a visit.
    accepted : bool
        False if the upload was refused.
    outlier : bool
        True if it is beyond the limit of image quality, or worse than the uploads before by more than the limit of
        change.
    """

    at: dt.datetime
    value: float
    dummy_run: bool
    accepted: bool
    outlier: bool


@dataclass(frozen=True)
class MeasureSeries:
    """One measure of one contrast over the uploads from a scanner.

    Parameters
    ----------
    contrast : Contrast
    rule : str
        Rule that limits the measure.
    unit : str
    limit : float or None
        Limit of image quality; None if there is none for this contrast.
    points : tuple of Point
        In the order of their times.
    drift : float or None
        Change over the whole time by the slope of Theil and Sen, in `unit`. None without drift.
    """

    contrast: Contrast
    rule: str
    unit: str
    limit: float | None
    points: tuple[Point, ...]
    drift: float | None

    @property
    def outliers(self) -> int:
        """Number of outliers."""
        return sum(point.outlier for point in self.points)


def latest_of_each(uploads: Iterable[StoredMeasures]) -> list[StoredMeasures]:
    """The latest measures of each upload of a site and scanner. An upload is measured again when it is tried again.

    Parameters
    ----------
    uploads : iterable of StoredMeasures
        In the order in which they were measured.

    Returns
    -------
    list of StoredMeasures
        In that order.
    """
    entries = list(uploads)
    times = {_upload(one): one.at for one in entries}
    latest = {(_upload(one), one.scanner): one for one in entries if one.at == times[_upload(one)]}
    return sorted(latest.values(), key=lambda one: one.at)


def _upload(one: StoredMeasures) -> tuple[str, str, str, str]:
    return one.site, one.upload_digest, one.subject, one.visit


def measure_series(uploads: Sequence[StoredMeasures], protocol: Protocol) -> list[MeasureSeries]:
    """The series of all measures of a scanner.

    The limit of change of an outlier is that of a dummy run (`ChangeLimits.dummy_run_factor`), because the uploads
    show several persons. A drift is a trend by the test of Kendall for the worse, by more than `DRIFT_SHARE` of the
    limit of change between visits by the slope of Theil and Sen.

    Parameters
    ----------
    uploads : sequence of StoredMeasures
        Of one scanner, in the order of time (`latest_of_each`).
    protocol : Protocol
        With the limits.

    Returns
    -------
    list of MeasureSeries
        In the order of the contrasts, FLAIR first, and rules; without measures that no upload has.
    """
    found = []
    for contrast in sorted(Contrast, key=lambda contrast: contrast is not Contrast.FLAIR):
        for rule in CHANGE_RULES:
            measured = [
                (one, one.values[contrast.value][rule.value])
                for one in uploads
                if rule.value in (values := one.values.get(contrast.value, {}))
                and may_be_motion(rule.rule, values.get("phase_axis"))
            ]
            if measured:
                found.append(_series(contrast, rule, measured, protocol))
    return found


def _series(
    contrast: Contrast, rule: ChangeRule, measured: Sequence[tuple[StoredMeasures, float]], protocol: Protocol
) -> MeasureSeries:
    change, limits = protocol.image_change, protocol.image_quality
    settings = [r.setting for r in RULES if r.name == rule.rule and (not r.contrasts or contrast in r.contrasts)]
    limit = getattr(limits, settings[0]).value if settings else None
    points: list[Point] = []
    before: list[float] = []
    for one, value in measured:
        shown = value * rule.scale
        beyond = limit is not None and (shown < limit if settings[0].startswith("min_") else shown > limit)
        changed = len(before) >= LEAST_BEFORE and _exceeds(
            rule, value, median(before), change, change.dummy_run_factor
        )
        at = dt.datetime.fromisoformat(one.at)
        points.append(Point(at, shown, not one.visit, one.accepted, beyond or changed))
        if one.accepted:
            before.append(value)
    return MeasureSeries(contrast, rule.rule, rule.unit, limit, tuple(points), _drift(rule, points, change))


def _exceeds(rule: ChangeRule, now: float, before: float, limits: ChangeLimits, factor: float) -> bool:
    limit: QualityLimit = getattr(limits, rule.setting)
    worse = rule.worse(now, before)
    return worse is not None and worse > factor * limit.value


def _drift(rule: ChangeRule, points: Sequence[Point], limits: ChangeLimits) -> float | None:
    accepted = [point for point in points if point.accepted]
    if len(accepted) < LEAST_FOR_DRIFT:
        return None
    start = accepted[0].at
    days = [(point.at - start).total_seconds() / 86400 for point in accepted]
    values = [point.value for point in accepted]
    if len(set(days)) < LEAST_FOR_DRIFT or len(set(values)) == 1 or kendalltau(days, values).pvalue >= DRIFT_LEVEL:
        return None
    slope, intercept, *_ = theilslopes(values, days)
    first, last = float(intercept), float(intercept + slope * days[-1])
    if not _exceeds(rule, last / rule.scale, first / rule.scale, limits, DRIFT_SHARE):
        return None
    return last - first
