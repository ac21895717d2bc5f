"""Sums over the visits of a period, by the rules for missing visits of endpoints.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mri_pipeline.tables.columns import Cell, Row

REFERENCE_WEEK = "reference week"
"""Week of the reference visit, added to a row of lesion_timepoints.csv."""

Rows = Mapping[int, Row]
"""Rows of lesion_timepoints.csv of one subject by week, with `REFERENCE_WEEK`."""


@dataclass(frozen=True)
class Period:
    """A period over which numbers are summed.

    Parameters
    ----------
    start : int
        Week of its start, which is the first reference of its changes.
    weeks : tuple of int
        Weeks of its visits.
    """

    start: int
    weeks: tuple[int, ...]

    @property
    def length(self) -> int:
        """Number of weeks from its start to its last visit."""
        return self.weeks[-1] - self.start


def known_values(rows: Rows, measure: str, weeks: Sequence[int]) -> list[int | Decimal]:
    """The known numbers of a measure.

    Parameters
    ----------
    rows : mapping of int to Row
    measure : str
        Column of lesion_timepoints.csv.
    weeks : sequence of int

    Returns
    -------
    list of int or Decimal
        In the order of `weeks`, without the weeks that have no number.
    """
    values = [rows[week][measure] for week in weeks if week in rows]
    return [value for value in values if isinstance(value, int | Decimal)]


@dataclass(frozen=True)
class PeriodSum:
    """Sum over the visits of a period, by both rules for missing visits.

    Parameters
    ----------
    available : int or Decimal or bool, optional
        From the visits at which it is known; None if there is no such visit.
    visits : int
        Number of these visits.
    complete : int or Decimal or bool, optional
        From all visits; None unless every visit has a usable value.
    weeks : int
        Sum of the weeks between these visits and their reference visits; 0 for measures of single visits.
    """

    available: Cell
    visits: int
    complete: Cell
    weeks: int = 0


def visit_sum(rows: Rows, measure: str, period: Period) -> PeriodSum:
    """Sum of a measure of single visits, such as the number of GEL.

    Parameters
    ----------
    rows : mapping of int to Row
    measure : str
        Column of lesion_timepoints.csv.
    period : Period

    Returns
    -------
    PeriodSum
    """
    values = known_values(rows, measure, period.weeks)
    return PeriodSum(
        available=sum(values) if values else None,
        visits=len(values),
        complete=sum(values) if len(values) == len(period.weeks) else None,
    )


def change_sum(rows: Rows, measure: str, period: Period) -> PeriodSum:
    """Sum of a measure of changes since the reference visit, such as the number of new T2 lesions.

    A change belongs to the period if its reference visit is not before the start of the period.

    Parameters
    ----------
    rows : mapping of int to Row
    measure : str
        Column of lesion_timepoints.csv.
    period : Period

    Returns
    -------
    PeriodSum
        `complete` is None unless the changes of all visits cover the period from its start.
    """
    intervals = {}
    for week in period.weeks:
        known = week in rows and rows[week][measure] is not None
        reference = rows[week][REFERENCE_WEEK] if known else None
        if isinstance(reference, int) and reference >= period.start:
            intervals[week] = week - reference
    total = sum(known_values(rows, measure, tuple(intervals)))
    weeks = sum(intervals.values())
    covers = len(intervals) == len(period.weeks) and weeks == period.length
    return PeriodSum(
        available=total if intervals else None,
        visits=len(intervals),
        complete=total if covers else None,
        weeks=weeks,
    )


def activity_free(rows: Rows, period: Period) -> PeriodSum:
    """Freedom from activity: no GEL and no new or enlarging T2 lesion at any visit of a period.

    Parameters
    ----------
    rows : mapping of int to Row
    period : Period

    Returns
    -------
    PeriodSum
        True, False or None. `complete` is None unless the period starts with an analysed visit.
    """
    active = [_is_active(rows[week], period) for week in period.weeks if week in rows]
    known = [one for one in active if one is not None]
    started = bool(known_values(rows, "t2_count", (period.start,)))
    return PeriodSum(
        available=not any(known) if known else None,
        visits=len(known),
        complete=not any(known) if started and len(known) == len(period.weeks) else None,
    )


def _is_active(row: Row, period: Period) -> bool | None:
    """True if a visit shows activity in the period, False if it shows none, None if that is unknown.

    New or enlarging lesions since a visit before the period may have appeared before it: they are unknown here.
    """
    reference = row[REFERENCE_WEEK]
    in_period = isinstance(reference, int) and reference >= period.start
    known = [row["gel_count"], row["new_or_enlarging_t2_count"] if in_period else None]
    if any(isinstance(value, int) and value > 0 for value in known):
        return True
    return None if None in known else False
