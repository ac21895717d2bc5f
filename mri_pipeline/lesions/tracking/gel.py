"""Enhancing lesions compared with the previous visit with contrast, and combined unique active lesions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import GelState
from mri_pipeline.core.spatial import BoolArray, LabelImage
from mri_pipeline.lesions.components import label_lesions, numbers_of, values_of

PLACE_MIN_OVERLAP = METHOD.tracking.place_min_overlap


def label_gel(mask: LabelImage, rules: LesionRules) -> LabelImage:
    """Number the enhancing lesions of a mask: diameter of at least 3 mm, at least `gel_min_voxels` voxels.

    Parameters
    ----------
    mask : LabelImage
    rules : LesionRules

    Returns
    -------
    LabelImage
        Zeros if there is none.
    """
    floor = max(rules.gel_min_volume_mm3, rules.gel_min_voxels * mask.grid.voxel_volume_mm3)
    return label_lesions(mask.mask, mask.grid, min_volume_mm3=floor, connectivity=rules.connectivity)


def overlaps(a: LabelImage, b: LabelImage) -> dict[tuple[int, int], int]:
    """Number of voxels that each overlapping pair of labels shares.

    Parameters
    ----------
    a, b : LabelImage
        On one grid.

    Returns
    -------
    dict of (int, int) to int
        Voxel count by label of `a` and label of `b`, ascending; empty if nothing overlaps.
    """
    both = np.flatnonzero(a.mask & b.mask)
    of_a, of_b = (labels.data.ravel()[both].astype(np.int64) for labels in (a, b))
    width = int(of_b.max(initial=0)) + 1
    pairs, counts = np.unique(of_a * width + of_b, return_counts=True)
    return {(int(p) // width, int(p) % width): int(n) for p, n in zip(pairs, counts, strict=True)}


def _at_place_of(lesions: LabelImage, others: LabelImage) -> set[int]:
    """Labels of `lesions` at the location of a label of `others`."""
    size_a, size_b = np.bincount(values_of(lesions)), np.bincount(values_of(others))
    return {
        i
        for (i, j), n in overlaps(lesions, others).items()
        if n >= PLACE_MIN_OVERLAP * min(int(size_a[i]), int(size_b[j]))
    }


def gel_states(
    gel: LabelImage, previous_gel: LabelImage | None, previous_t2: LabelImage | None
) -> dict[int, GelState]:
    """State of every enhancing lesion relative to the previous visit with contrast (Barkhof et al. 1997).

    Parameters
    ----------
    gel : LabelImage
        Numbered enhancing lesions of this visit.
    previous_gel, previous_t2 : LabelImage or None
        Numbered lesions of the previous visit with contrast; None if there was no such visit (all undetermined).

    Returns
    -------
    dict of int to GelState
        Persistent if the previous visit has an enhancing lesion at this location; else re-enhancing if it has a T2
        lesion there; else new. Empty if nothing enhances.
    """
    numbers = numbers_of(gel)
    if previous_gel is None or previous_t2 is None:
        return dict.fromkeys(numbers, GelState.UNDETERMINED)
    enhanced, lesion = _at_place_of(gel, previous_gel), _at_place_of(gel, previous_t2)
    return {
        n: GelState.PERSISTENT if n in enhanced else GelState.RE_ENHANCING if n in lesion else GelState.NEW
        for n in numbers
    }


def combined_unique_active(gel: LabelImage, t2: LabelImage, active_t2: Collection[int]) -> int:
    """Number of combined unique active lesions: enhancing, or new or enlarging on T2; each lesion counts once.

    An enhancing lesion and an active T2 lesion that overlap are one lesion. Each is paired with at most one of the
    other kind, with as many pairs as possible. Two enhancing lesions within one new T2 lesion therefore count as
    two, and so do two new T2 lesions under one enhancing lesion. The count is between the larger of both counts and
    their sum.

    Parameters
    ----------
    gel, t2 : LabelImage
        Numbered enhancing lesions and T2 lesions of one visit.
    active_t2 : collection of int
        Labels of the new or enlarging T2 lesions.

    Returns
    -------
    int
    """
    gels = numbers_of(gel)
    active = sorted(active_t2)
    row, column = {n: i for i, n in enumerate(gels)}, {n: i for i, n in enumerate(active)}
    pairs = [(row[i], column[j]) for i, j in overlaps(gel, t2) if j in column]
    if not pairs:
        return len(gels) + len(active)
    rows, columns = np.array(pairs).T
    graph = sparse.csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(gels), len(active)))
    matched = int(np.count_nonzero(maximum_bipartite_matching(graph, perm_type="column") >= 0))
    return len(gels) + len(active) - matched


def lesion_gel_states(gel: LabelImage, lesions: LabelImage, states: Mapping[int, GelState]) -> dict[int, GelState]:
    """State of each enhancing lesion.

    Parameters
    ----------
    gel : LabelImage
        Numbered enhancing components.
    lesions : LabelImage
        Numbered lesions of the same visit.
    states : mapping of int to GelState
        State of each label of `gel`.

    Returns
    -------
    dict of int to GelState
        By label of `lesions`. A lesion with several enhancing components has the state of the most active one.
    """
    rank = [GelState.NEW, GelState.RE_ENHANCING, GelState.PERSISTENT, GelState.UNDETERMINED]
    found: dict[int, GelState] = {}
    for i, j in overlaps(gel, lesions):
        found[j] = min(found.get(j, states[i]), states[i], key=rank.index)
    return found


def chronic_black_holes(
    black_holes: LabelImage,
    t2: BoolArray,
    past_t2: Sequence[tuple[int, BoolArray]] | None,
    week: int | None,
    rules: LesionRules,
) -> BoolArray | None:
    """Part of the black holes where there has been a T2 lesion for at least 24 weeks.

    A voxel qualifies if it was a lesion at every analysed visit since the latest visit at least 24 weeks ago,
    including that visit and the present one.

    Parameters
    ----------
    black_holes : LabelImage
        Black holes of this visit.
    t2 : ndarray of bool, shape (x, y, z)
        T2 lesions of this visit.
    past_t2 : sequence of (week, ndarray of bool), or None
        T2 lesions at every earlier analysed visit, in order of time; None if one of the weeks is unknown.
    week : int or None
        Week of this visit.
    rules : LesionRules

    Returns
    -------
    ndarray of bool or None, shape (x, y, z)
        None if a week is unknown or no analysed visit is at least 24 weeks ago.
    """
    if past_t2 is None or week is None:
        return None
    chronic = black_holes.mask & t2
    for then, lesions in reversed(past_t2):
        chronic &= lesions
        if week - then >= rules.black_hole_chronic_weeks:
            return chronic
    return None
