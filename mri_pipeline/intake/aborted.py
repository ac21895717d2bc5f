"""Leave out aborted runs that were repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mri_pipeline.intake.contrast import Recognised, by_acquisition
from mri_pipeline.intake.contrast_words import said_of_contrast
from mri_pipeline.intake.gadolinium import same_protocol
from mri_pipeline.intake.geometry import are_parallel, reaches_beyond
from mri_pipeline.intake.series import Series
from mri_pipeline.intake.unwanted import Unwanted

WHOLE_HEAD_MM = 100.0
"""A series that covers less is a slab or a part of a run."""


def leave_out_aborted(recognised: Sequence[Recognised]) -> tuple[Recognised, ...]:
    """Leave out series with missing slices that a whole series of the same contrast and protocol follows.

    Order and number of the remaining T1 series then distinguish pre-contrast from post-contrast. A T1 whose header or
    description says something else about contrast agent than the whole series is kept. A run of a few slices, which is
    no candidate, has an aborted run as its reason, also if the whole series precedes it.

    Parameters
    ----------
    recognised : sequence of Recognised
        All series of one visit, before `split_gadolinium`.

    Returns
    -------
    tuple of Recognised
        In the same order. The aborted runs have no contrast and name the whole series as the reason.
    """
    return tuple(_left_out(item, _repeat(item, recognised)) for item in recognised)


def _left_out(item: Recognised, repeat: Recognised | None) -> Recognised:
    if repeat is None:
        return item
    sent, whole = (r.series.geometry.slices if r.series.geometry else 0 for r in (item, repeat))
    counts = f"{sent} slices; {repeat.series.label} has {whole}"
    evidence = f"{item.series.label} is {Unwanted.ABORTED.value} ({counts})"
    return replace(item, contrast=None, unwanted=Unwanted.ABORTED, evidence=evidence)


def _repeat(item: Recognised, recognised: Sequence[Recognised]) -> Recognised | None:
    if item.unwanted is Unwanted.FEW_SLICES:
        few = replace(item, contrast=by_acquisition(item.series).contrast)
        return next((other for other in recognised if _repeats(other, few) and _repeats_slices(other, few)), None)
    if item.contrast is None or _is_whole(item.series):
        return None
    return next((other for other in recognised if _repeats(other, item) and _follows(other, item)), None)


def _repeats(other: Recognised, item: Recognised) -> bool:
    return (
        item.contrast is not None
        and other.contrast is item.contrast
        and _is_whole(other.series)
        and same_protocol(other, item)
        and _contrast_agent(other.series) == _contrast_agent(item.series)
    )


def _follows(other: Recognised, item: Recognised) -> bool:
    start, again = item.series.acquired_s, other.series.acquired_s
    return start is not None and again is not None and again >= start


def _repeats_slices(other: Recognised, few: Recognised) -> bool:
    """True if a few slices lie within a whole series. False for end slices, and for a test scan of another matrix."""
    one, two = other.series.geometry, few.series.geometry
    return (
        one is not None
        and two is not None
        and same_matrix(other.series, few.series)
        and are_parallel(two, one)
        and not reaches_beyond(two, one)
    )


def same_matrix(one: Series, other: Series) -> bool:
    """True if two series have the same matrix and pixel spacing.

    Parameters
    ----------
    one, other : Series

    Returns
    -------
    bool
    """
    return len({(s.first.rows, s.first.columns, s.first.pixel_spacing_mm) for s in (one, other)}) == 1


def _is_whole(series: Series) -> bool:
    geometry = series.geometry
    return geometry is not None and geometry.complete and geometry.coverage_mm >= WHOLE_HEAD_MM


def _contrast_agent(series: Series) -> tuple[object, ...]:
    return series.first.contrast_agent, said_of_contrast(series.first.description)
