"""endpoints.csv, one row per subject: sums over visits, volumes and their changes, freedom from activity.

All endpoints are computed from the published, rounded rows of lesion_timepoints.csv. Adding up those rows gives the
same numbers. Every sum exists under two rules for missing visits, and the statistical analysis plan of the trial
chooses one:

- Measures of one visit (GEL): ``_available`` uses the available visits and ``_visits`` is their number; ``_complete``
  is empty unless every visit is available.
- Changes since the reference visit (new or enlarging T2 lesions, combined unique active lesions): a change belongs to
  a period if it lies in it whole, that is, if the reference visit is not before the start of the period (week 0,
  week 24). ``_weeks`` is the sum of the weeks between each visit and its reference visit. ``_complete`` is empty
  unless every visit and the start of the period are available and the weeks are those of the whole period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.tables.columns import Cell, Column, ColumnType, Row, Table, count, volume_ml
from mri_pipeline.tables.periods import (
    REFERENCE_WEEK,
    Period,
    Rows,
    activity_free,
    change_sum,
    known_values,
    visit_sum,
)
from mri_pipeline.tables.schema import SUBJECT

BASELINE_WEEK = 0


PERIODS = (Period(0, (4, 12, 24)), Period(24, (28, 36, 48)))
"""MESEMS: primary endpoint and cross-over."""

VOLUME_WEEKS = (0, 24, 48)
CHANGES = ((0, 24), (24, 48))

SUMMED = (
    ("gel_count", "gadolinium-enhancing lesions"),
    ("gel_volume_ml", "volume of gadolinium-enhancing lesions"),
)
CHANGES_SUMMED = (
    ("combined_unique_active_count", "combined unique active lesions of each visit"),
    ("new_or_enlarging_t2_count", "new or enlarging T2 lesions, each visit against its own reference_visit"),
    ("new_t2_count", "new T2 lesions, each visit against its own reference_visit"),
)
VOLUMES = (("t2_volume_ml", "volume of T2 lesions"), ("bh_volume_ml", "volume of black holes"))

_READ_ORDER = (ReadStatus.AUTOMATIC, ReadStatus.CONFIRMED, ReadStatus.ADJUDICATED, ReadStatus.LOCKED)


@dataclass(frozen=True)
class Endpoint:
    """One column of the table, and its computation from the visits of a subject.

    Parameters
    ----------
    column : Column
    compute : callable
        Takes the rows of lesion_timepoints.csv by week and returns the cell; None if it is not known. The rows also
        have `REFERENCE_WEEK`.
    """

    column: Column
    compute: Callable[[Rows], Cell]


def _week(week: int) -> str:
    return f"wk{week:02d}"


def _named(measure: str, weeks: Sequence[int]) -> str:
    return f"{measure}_{_week(weeks[0])}" + "".join(f"_{week:02d}" for week in weeks[1:])


def _sums(measure: str, about: str, period: Period) -> list[Endpoint]:
    name = _named(measure, period.weeks)
    column = volume_ml if measure.endswith("_ml") else count
    plus = " + ".join(map(str, period.weeks))
    available = column(
        f"{name}_available",
        f"sum over the visits of weeks {plus} whose {measure} is known: {about}",
        "it is known at none of them",
    )
    visits = count(f"{name}_visits", f"visits of weeks {plus} whose {measure} is known", "never")
    complete = column(
        f"{name}_complete",
        f"sum over the visits of weeks {plus}: {about}",
        f"{measure} is not known at one of them, or the trial has no such visit",
    )
    return [
        Endpoint(available, lambda rows: visit_sum(rows, measure, period).available),
        Endpoint(visits, lambda rows: visit_sum(rows, measure, period).visits),
        Endpoint(complete, lambda rows: visit_sum(rows, measure, period).complete),
    ]


def _change_sums(measure: str, about: str, period: Period) -> list[Endpoint]:
    name = _named(measure, period.weeks)
    plus = " + ".join(map(str, period.weeks))
    within = f"whose {measure} is known and whose reference_visit is not before week {period.start}"
    available = count(
        f"{name}_available", f"sum over the visits of weeks {plus} {within}: {about}", "there is no such visit"
    )
    visits = count(f"{name}_visits", f"visits of weeks {plus} {within}", "never")
    weeks = Column(
        f"{name}_weeks",
        ColumnType.INTEGER,
        f"sum of the weeks from the reference visit to the visit, over the visits of weeks {plus} {within}; the "
        "exposure (offset) of the count",
        unit="weeks",
    )
    complete = count(
        f"{name}_complete",
        f"sum over the visits of weeks {plus}: {about}",
        f"{measure} is not known at one of them, week {period.start} was not analysed, the visits do not cover "
        f"the period from week {period.start} on, or the trial has no such visit",
    )
    return [
        Endpoint(available, lambda rows: change_sum(rows, measure, period).available),
        Endpoint(visits, lambda rows: change_sum(rows, measure, period).visits),
        Endpoint(weeks, lambda rows: change_sum(rows, measure, period).weeks),
        Endpoint(complete, lambda rows: change_sum(rows, measure, period).complete),
    ]


def _activity_free(period: Period) -> list[Endpoint]:
    name = _named("activity_free", period.weeks)
    weeks = ", ".join(map(str, period.weeks))
    rule = "no GEL and no new or enlarging T2 lesion"
    known = (
        "activity is known (some is seen, or both counts are known; changes since a visit before week "
        f"{period.start} are not)"
    )
    available = Column(
        f"{name}_available",
        ColumnType.BOOLEAN,
        f"{rule} at any visit of weeks {weeks} whose {known}",
        "there is no such visit",
    )
    visits = count(f"{name}_visits", f"visits of weeks {weeks} whose {known}", "never")
    complete = Column(
        f"{name}_complete",
        ColumnType.BOOLEAN,
        f"{rule} at the visits of weeks {weeks}",
        f"activity is not known at one of them, week {period.start} was not analysed, or the trial has no such visit",
    )
    return [
        Endpoint(available, lambda rows: activity_free(rows, period).available),
        Endpoint(visits, lambda rows: activity_free(rows, period).visits),
        Endpoint(complete, lambda rows: activity_free(rows, period).complete),
    ]


def _at(measure: str, about: str, week: int) -> Endpoint:
    column = volume_ml if measure.endswith("_ml") else count

    def value(rows: Rows) -> Cell:
        return rows[week][measure] if week in rows else None

    missing = f"the trial has no visit of week {week}, or {measure} is not known there"
    return Endpoint(column(f"{measure}_{_week(week)}", f"{about} at week {week}", missing), value)


def _change(measure: str, about: str, first: int, last: int) -> Endpoint:
    def difference(rows: Rows) -> Cell:
        values = known_values(rows, measure, (first, last))
        return values[1] - values[0] if len(values) == 2 else None

    name = f"{measure}_change_{_week(first)}_{_week(last)}"
    rule = f"{about} at week {last} less that at week {first}"
    return Endpoint(volume_ml(name, rule, f"{measure} is not known at one of them"), difference)


def _endpoints() -> Iterable[Endpoint]:
    yield _at("gel_count", "gadolinium-enhancing lesions", BASELINE_WEEK)
    for measure, about in SUMMED:
        for period in PERIODS:
            yield from _sums(measure, about, period)
    for measure, about in CHANGES_SUMMED:
        for period in PERIODS:
            yield from _change_sums(measure, about, period)
    for measure, about in VOLUMES:
        for week in VOLUME_WEEKS:
            yield _at(measure, about, week)
        for first, last in CHANGES:
            yield _change(measure, about, first, last)
    for period in PERIODS:
        yield from _activity_free(period)


_ENDPOINTS = tuple(_endpoints())

ENDPOINTS = Table(
    "endpoints.csv",
    "One row per subject, computed from lesion_timepoints.csv. A week is used if exactly one visit has it.",
    (
        SUBJECT,
        Column(
            "read_status",
            ColumnType.CATEGORY,
            "the least advanced read_status of the subject's analysed visits",
            "no visit was analysed",
            values=tuple(status.value for status in ReadStatus),
        ),
        count("visits_planned", "planned visits", "never"),
        count("visits_analysed", "analysed visits", "never"),
        *(endpoint.column for endpoint in _ENDPOINTS),
    ),
)


def endpoint_row(timepoints: Sequence[Row]) -> Row:
    """The endpoints of one subject.

    Parameters
    ----------
    timepoints : sequence of rows of lesion_timepoints.csv
        All planned visits of one subject, at least one.

    Returns
    -------
    Row
        One row of endpoints.csv. A week that two visits share is not used.

    Examples
    --------
    >>> "gel_count_wk04_12_24_complete" in ENDPOINTS.names
    True
    """
    weeks = [row["week"] for row in timepoints]
    week_of = {row["visit"]: row["week"] for row in timepoints}
    by_week = {
        row["week"]: row | {REFERENCE_WEEK: week_of.get(row["reference_visit"])}
        for row in timepoints
        if isinstance(row["week"], int) and weeks.count(row["week"]) == 1
    }
    analysed = [row for row in timepoints if row["scan_status"] == ScanStatus.ANALYSED.value]
    reads = [status.value for status in _READ_ORDER if status.value in {row["read_status"] for row in analysed}]
    row: Row = {
        "subject": timepoints[0]["subject"],
        "read_status": reads[0] if reads else None,
        "visits_planned": len(timepoints),
        "visits_analysed": len(analysed),
    }
    for endpoint in _ENDPOINTS:
        row[endpoint.column.name] = endpoint.compute(by_week)
    return row
