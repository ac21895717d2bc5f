"""Activity of one visit: a row for each new, enlarging or enhancing lesion, with crops to check the counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mri_pipeline.core.records import GelState, LesionRecord, T2State, VisitCounts
from mri_pipeline.core.visits import Contrast
from qc.reports.activity_crops import Box, ShownVisit, Window, crops_of

COUNTED: Mapping[str, str] = {
    "gel": "gel_count",
    "new": "new_t2_count",
    "enlarging": "enlarging_t2_count",
    "combined": "combined_unique_active_count",
}
"""Counts to which a lesion adds, and their columns."""

_ACTIVE_T2 = (T2State.NEW, T2State.ENLARGING)


def is_active(record: LesionRecord) -> bool:
    """True if a lesion is enhancing, new or enlarging.

    Parameters
    ----------
    record : LesionRecord

    Returns
    -------
    bool
    """
    return bool(record.enhancing) or record.t2_state in _ACTIVE_T2


def activity_rows(
    now: ShownVisit,
    reference: ShownVisit | None,
    records: Sequence[LesionRecord],
    *,
    earlier: Sequence[LesionRecord],
    counts: VisitCounts,
    windows: Mapping[Contrast, Window],
    brain: Box,
) -> list[dict[str, Any]]:
    """The rows of the active lesions of a visit.

    Parameters
    ----------
    now : ShownVisit
    reference : ShownVisit or None
        The visit that T2 lesions are compared with; None for the first one.
    records, earlier : sequence of LesionRecord
        Lesions of both visits.
    counts : VisitCounts
        Of the visit.
    windows : mapping of Contrast to (float, float)
        Intensities displayed as black and as white.
    brain : (slice, slice)
        In-plane box of the brain: the shown part of the whole slice.

    Returns
    -------
    list of dict
        ``record``; ``counted``: what the lesion adds to each count of the visit; ``before_mm3``: its volume at the
        reference visit; ``crops``.
    """
    return [
        {
            "record": record,
            "counted": _counted(record, counts),
            "before_mm3": _volume_before(record, earlier) if reference else None,
            "crops": crops_of(now, reference, record, windows=windows, brain=brain),
        }
        for record in records
        if is_active(record)
    ]


def totals(rows: Sequence[Mapping[str, Any]], counts: VisitCounts) -> dict[str, tuple[int | None, int | None]]:
    """Sum over the rows, and the count of the visit in the tables. They are equal.

    Parameters
    ----------
    rows : sequence of mapping
        As `activity_rows`.
    counts : VisitCounts

    Returns
    -------
    dict of str to (int or None, int or None)
        By the names of `COUNTED`. None if the count is not known.
    """
    known = {name: getattr(counts, column) for name, column in COUNTED.items()}
    return {
        name: (None if value is None else sum(row["counted"][name] for row in rows), value)
        for name, value in known.items()
    }


def _counted(record: LesionRecord, counts: VisitCounts) -> dict[str, int]:
    """Contribution of a lesion to the counts; each of several enhancing lesions at one T2 lesion counts."""
    active_t2 = record.t2_state in _ACTIVE_T2
    persistent = counts.combined_unique_active_count == counts.combined_with_persistent_gel_count
    enhancing = [state for state in record.gel_states if persistent or state is not GelState.PERSISTENT]
    added = {
        "gel": record.gel_count or 0,
        "new": int(record.t2_state is T2State.NEW),
        "enlarging": int(record.t2_state is T2State.ENLARGING),
        "combined": len(enhancing) or int(active_t2),
    }
    return {name: 0 if getattr(counts, COUNTED[name]) is None else number for name, number in added.items()}


def _volume_before(record: LesionRecord, earlier: Sequence[LesionRecord]) -> float:
    return sum(other.volume_mm3 for other in earlier if other.lesion_id == record.lesion_id and other.t2_lesion)
