"""Enhancing lesions compared with the previous visit with contrast, and combined unique active lesions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

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


def at_place_of(lesions: LabelImage, others: LabelImage) -> set[int]:
    """Labels of a visit at the location of a label of another visit (overlap of 10 % of the smaller one).

    Parameters
    ----------
    lesions, others : LabelImage
        On one grid.

    Returns
    -------
    set of int
        Labels of `lesions`.
    """
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
    enhanced, lesion = at_place_of(gel, previous_gel), at_place_of(gel, previous_t2)
    return {
        n: GelState.PERSISTENT if n in enhanced else GelState.RE_ENHANCING if n in lesion else GelState.NEW
        for n in numbers
    }


def counted_at(
    gel: LabelImage, lesions: LabelImage, active_t2: Collection[int], states: Mapping[int, GelState]
) -> dict[int, int]:
    """Lesion at which each enhancing lesion is counted.

    An enhancing lesion and an active T2 lesion that overlap are paired, one to one, with as many pairs as possible
    (persistent enhancing lesions last). An enhancing lesion without a pair is counted at the lesion with the largest
    overlap.

    Parameters
    ----------
    gel, lesions : LabelImage
        Numbered enhancing lesions and lesions of one visit. Every enhancing lesion overlaps a lesion.
    active_t2 : collection of int
        Labels of the new or enlarging T2 lesions.
    states : mapping of int to GelState
        State of each label of `gel`.

    Returns
    -------
    dict of int to int
        Label of `lesions` by label of `gel`.
    """
    found: dict[int, list[int]] = {}
    for (number, lesion), _ in sorted(overlaps(gel, lesions).items(), key=lambda item: (-item[1], item[0])):
        found.setdefault(number, []).append(lesion)
    partner: dict[int, int] = {}  # enhancing lesion by active T2 lesion

    def paired(number: int, tried: set[int]) -> bool:
        """Find a pair by an augmenting path. Enhancing lesions with a pair keep one."""
        for lesion in found[number]:
            if lesion in active_t2 and lesion not in tried:
                tried.add(lesion)
                if lesion not in partner or paired(partner[lesion], tried):
                    partner[lesion] = number
                    return True
        return False

    for number in sorted(found, key=lambda n: (states[n] is GelState.PERSISTENT, n)):
        paired(number, set())
    largest = {number: here[0] for number, here in found.items()}
    return largest | {number: lesion for lesion, number in partner.items()}


def combined_unique_active(counted: Collection[int], active_t2: Collection[int]) -> int:
    """Number of combined unique active lesions: enhancing, or new or enlarging on T2; each lesion counts once.

    Two enhancing lesions within one new T2 lesion count as two, and so do two new T2 lesions under one enhancing
    lesion. The count is between the larger of both counts and their sum.

    Parameters
    ----------
    counted : collection of int
        For each enhancing lesion, the lesion at which it is counted (`counted_at`).
    active_t2 : collection of int
        Labels of the new or enlarging T2 lesions.

    Returns
    -------
    int

    Examples
    --------
    >>> combined_unique_active([1, 1, 4], {1, 2})
    4
    """
    return len(counted) + len(set(active_t2) - set(counted))


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
