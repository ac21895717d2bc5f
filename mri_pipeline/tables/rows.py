"""Rows of lesion_timepoints.csv, lesions.csv and supplementary_timepoints.csv, made from results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import NoneType
from typing import Any, cast

from mri_pipeline.core.errors import quoted
from mri_pipeline.core.records import (
    BlackHoleState,
    ComparedMasks,
    LesionRecord,
    ReadStatus,
    ScanStatus,
    T2State,
    VisitCounts,
)
from mri_pipeline.tables.columns import Cell, Column, ColumnType, Row, Table
from mri_pipeline.tables.inputs import VisitInput
from mri_pipeline.tables.schema import LESIONS, QUESTIONS, SUPPLEMENTARY, TIMEPOINTS

MEASURED = tuple(column for column in TIMEPOINTS.columns if column.name in VisitCounts.__dataclass_fields__)[1:]
"""The measured columns of lesion_timepoints.csv."""

COMPARISONS = (
    "gel_new_count",
    "gel_re_enhancing_count",
    "gel_persistent_count",
    "new_t2_count",
    "enlarging_t2_count",
    "new_or_enlarging_t2_count",
    "bh_chronic_volume_ml",
    "combined_unique_active_count",
)
"""The columns that also depend on the masks of earlier visits."""

_LESION_COMPARISONS = ("gel_state", "gel_states", "t2_state", "t2_comparison", "image_support", "new_since_first")
"""The columns of lesions.csv that also depend on the masks of earlier visits."""

_GOES_WITH = {
    "new_t2_since_first_count": "new_t2_count",
    "t1_hypointense_volume_ml": "bh_volume_ml",
    "bh_severe_volume_ml": "bh_volume_ml",
    "combined_with_persistent_gel_count": "new_t2_count",
    "combined_without_persistent_gel_count": "new_t2_count",
    "read_version": "t2_count",
}
"""Columns of supplementary_timepoints.csv, and the column of lesion_timepoints.csv known at the same visits."""


def quantised(value: float, decimals: int) -> Decimal:
    """A number with exactly `decimals` places, rounded half to even, without negative zero.

    Parameters
    ----------
    value : float
    decimals : int

    Returns
    -------
    Decimal

    Raises
    ------
    ValueError
        If the number is not finite.

    Examples
    --------
    >>> quantised(0.12345, 4), quantised(-0.00001, 4)
    (Decimal('0.1234'), Decimal('0.0000'))
    """
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {value}")
    number = Decimal(repr(float(value))).quantize(_step(decimals))
    return number or abs(number)


def decimal_text(number: Decimal) -> str:
    """A number with all its places, without exponent.

    Parameters
    ----------
    number : Decimal

    Returns
    -------
    str

    Examples
    --------
    >>> decimal_text(Decimal("0.1230")), decimal_text(Decimal("1E-8")), decimal_text(Decimal("2E+1"))
    ('0.1230', '0.00000001', '20')
    """
    text = str(number)  # faster than a format; most numbers have no exponent
    return f"{number:f}" if "E" in text else text


@cache
def _step(decimals: int) -> Decimal:
    return Decimal(1).scaleb(-decimals)


_CELLS = frozenset({NoneType, bool, str})
"""Types of values that are written as they are."""


def _cell(value: Any, column: Column) -> Cell:
    if type(value) in _CELLS:
        return cast("Cell", value)
    if column.decimals:
        return quantised(value, column.decimals)
    if isinstance(value, tuple):
        return ";".join(value) or None
    return str(value) if isinstance(value, StrEnum) else int(value)


def timepoint_rows(subject: str, visits: Iterable[VisitInput]) -> list[Row]:
    """Rows of lesion_timepoints.csv. A visit without numbers has a row with empty values.

    Parameters
    ----------
    subject : str
        Blinded code.
    visits : iterable of VisitInput

    Returns
    -------
    list of Row
        One for each visit, in the given order. Volumes are in mL.
    """
    rows: list[Row] = []
    for visit in visits:
        row: Row = {
            "subject": subject,
            "visit": visit.plan.label,
            "week": visit.plan.week,
            "scan_status": visit.scan.value,
            "read_status": visit.read.value if visit.read else None,
        }
        for column in MEASURED:
            row[column.name] = _cell(getattr(visit.counts, column.name), column) if visit.counts else None
        rows.append(row)
    return rows


def lesion_rows(subject: str, visits: Iterable[VisitInput]) -> list[Row]:
    """Rows of lesions.csv: one for every lesion at every analysed visit.

    Parameters
    ----------
    subject : str
        Blinded code.
    visits : iterable of VisitInput

    Returns
    -------
    list of Row
        Volumes are in mm3, positions in RAS+ mm of the subject's space.
    """
    return [lesion_row(subject, lesion) for visit in visits for lesion in visit.lesions]


def lesion_row(subject: str, lesion: LesionRecord) -> Row:
    """One lesion as a row of lesions.csv. All other lists of lesions use the same columns.

    Parameters
    ----------
    subject : str
        Blinded code.
    lesion : LesionRecord

    Returns
    -------
    Row
    """
    values = {"subject": subject, **vars(lesion)}
    return {column.name: _cell(values[column.name], column) for column in LESIONS.columns}


_QUESTIONS = {
    T2State.NEW.value: "FLAIR is no brighter there than at the reference visit: new, or missed there?",
    T2State.ENLARGING.value: "FLAIR is no brighter where the lesion grew: larger, or drawn larger?",
    T2State.SHRINKING.value: "FLAIR is no darker where the lesion shrank: smaller, or drawn smaller?",
    T2State.VANISHED.value: "FLAIR is no darker there than at the reference visit: gone, or missed here?",
}


def question_rows(timepoints: Iterable[Row], lesions: Iterable[Row]) -> list[Row]:
    """Rows of questions.csv of one subject.

    Parameters
    ----------
    timepoints, lesions : iterables of rows of lesion_timepoints.csv and lesions.csv
        Of one subject.

    Returns
    -------
    list of Row
        One for each change between confirmed reads that the images do not support.
    """
    reference = {row["visit"]: row["reference_visit"] for row in timepoints}
    confirmed = ComparedMasks.CONFIRMED.value
    return [
        {name: (row | asked)[name] for name in QUESTIONS.names}
        for row in lesions
        if row["t2_comparison"] == confirmed and row["image_support"] is False
        for asked in [{"reference_visit": reference[row["visit"]], "question": _QUESTIONS[str(row["t2_state"])]}]
    ]


def supplementary_rows(timepoints: Iterable[Row], visits: Iterable[VisitInput]) -> list[Row]:
    """Rows of supplementary_timepoints.csv of one subject, one for each of its rows in lesion_timepoints.csv.

    A value is known where the related column of lesion_timepoints.csv is known.

    Parameters
    ----------
    timepoints : iterable of rows of lesion_timepoints.csv
        Of one subject.
    visits : iterable of VisitInput
        All visits named in `timepoints`.

    Returns
    -------
    list of Row
        Volumes are in mL.
    """
    found = {visit.plan.label: visit for visit in visits}
    rows: list[Row] = []
    for row in timepoints:
        values: Row = {"subject": row["subject"], "visit": row["visit"]}
        visit = found[str(row["visit"])]
        for column in SUPPLEMENTARY.columns[2:]:
            known = row[_GOES_WITH[column.name]] is not None
            source = visit if column.name == "read_version" else visit.counts
            values[column.name] = _cell(getattr(source, column.name), column) if known else None
        rows.append(values)
    return rows


def locked_rows(timepoints: Iterable[Row], lesions: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The rows with numbers of locked reads only.

    A visit without a locked read loses its numbers and its lesions. The columns that compare a locked visit with
    earlier ones are kept only if the reads of all earlier analysed visits of the subject are locked, because they
    depend on those masks.

    Parameters
    ----------
    timepoints, lesions : rows of `timepoint_rows` and `lesion_rows`
        Of any subjects, the visits of each subject in their order.

    Returns
    -------
    timepoints : list of Row
        As many as given.
    lesions : list of Row
        Without the lesions of visits whose read is not locked.
    """
    visits: list[Row] = []
    comparable: dict[tuple[Cell, Cell], bool] = {}
    open_before: set[Cell] = set()
    for row in timepoints:
        key = row["subject"], row["visit"]
        if row["scan_status"] == ScanStatus.ANALYSED.value and row["read_status"] != ReadStatus.LOCKED.value:
            open_before.add(row["subject"])
            visits.append(row | dict.fromkeys((column.name for column in MEASURED), None))
            continue
        comparable[key] = row["subject"] not in open_before
        visits.append(row if comparable[key] else row | dict.fromkeys(COMPARISONS, None))
    return visits, [kept for row in lesions for kept in _locked_lesion(row, comparable)]


def _locked_lesion(row: Row, comparable: dict[tuple[Cell, Cell], bool]) -> list[Row]:
    key = row["subject"], row["visit"]
    if key not in comparable:
        return []
    if comparable[key]:
        return [row]
    if row["t2_state"] == T2State.VANISHED.value:
        return []  # the row describes a lesion of an earlier visit
    hole = row["black_hole"] if row["black_hole"] == BlackHoleState.NONE.value else None
    return [row | dict.fromkeys(_LESION_COMPARISONS) | {"black_hole": hole}]


def check_rows(table: Table, rows: Iterable[Row]) -> None:
    """Check every row against the definition of its table.

    Parameters
    ----------
    table : Table
    rows : iterable of Row

    Raises
    ------
    ValueError
        If a row has other columns, lacks a required value, or has a value of another type. This is an error of the
        program, never of a user.
    """
    rows = list(rows)
    for number, row in enumerate(rows, start=1):
        if tuple(row) != table.names:
            raise ValueError(f"{table.file}, row {number}: expected the columns of the schema in their order")
    of_columns = zip(*(row.values() for row in rows), strict=True)
    for column, values in zip(table.columns, of_columns, strict=bool(rows)):
        if _all_valid(values, column):
            continue
        number, fault = next((i, text) for i, value in enumerate(values, 1) if (text := _fault(value, column)))
        raise ValueError(f"{table.file}, row {number}, {column.name}: {fault}")


def _all_valid(values: Sequence[Cell], column: Column) -> bool:
    """True if `_fault` finds no fault in any value. It is ten times faster."""
    types = set(map(type, values))
    if column.unrestricted.issuperset(types):
        return True
    if not types <= column.types:
        return False
    if column.values:
        return column.allowed.issuperset(value for value in values if value is not None)
    step = _step(column.decimals)
    return all(step.same_quantum(value) for value in values if isinstance(value, Decimal))


def _fault(value: Cell, column: Column) -> str:
    if value is None:
        return "expected a value, found none" if column.required else ""
    expected = column.type.python
    if type(value) is not expected:
        return f"expected {column.type.value}, found {type(value).__name__}"
    if column.values and value not in column.values:
        return f"expected one of {', '.join(column.values)}, found {quoted(str(value))}"
    if (
        column.type is ColumnType.DECIMAL
        and isinstance(value, Decimal)
        and value.as_tuple().exponent != -column.decimals
    ):
        return f"expected {column.decimals} decimals"
    return ""
