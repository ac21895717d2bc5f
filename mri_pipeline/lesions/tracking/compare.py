"""Comparison of the T2 lesions of two visits: new, enlarging, stable, shrinking or vanished.

The rule for a lesion C of the later visit (26-connected, at least the protocol's minimum volume) and the lesion mask
R of the reference visit:

1. *Share.* The share of C is the set of components of R that C overlaps. If several lesions overlap one component
   of R (a split), each voxel of the component belongs to the nearest lesion; if two are equally near, to the one
   with the larger overlap. If a lesion overlaps several components of R (a merge), its share contains all of them.
   Lesions that merge or split are therefore compared with their previous extent, and are neither new nor vanished.
2. *Event.* C must be larger than its share by at least the minimum growth (12 mm³). Unless the masks alone decide, C
   must also have become brighter on FLAIR where it grew (`change.change_evidence`). A different border on an unchanged
   image is not an event.
3. C is *new* if its share is smaller than a lesion, that is, if there was no lesion at that location. C is
   *enlarging* if its largest axial cross-section grew by more than 45.2 % (from below 0.67 cm²) or 24.2 % (from
   0.67 cm² or more).
4. A lesion that overlaps no lesion of the reference visit has no predecessor and is never *stable*. If the masks alone
   decide, it is *new*, whatever its growth. If the images decide, too, and do not show an event, it is
   *unchanged_image*: it was probably missed at the reference visit.

The masks alone decide if a reader confirmed both, and if there are no images. A reader's own decision on a lesion with
a predecessor (new, enlarging or stable) has priority over both.

*Vanished* is the rule of *new* with the two visits exchanged; *shrinking* is that of *enlarging*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from mri_pipeline.core.components import voxels_of
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import T2State
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image, LabelImage
from mri_pipeline.lesions.components import (
    largest_axial_areas_cm2,
    lesion_volumes_mm3,
    numbers_of,
    values_of,
)
from mri_pipeline.lesions.tracking.gel import overlaps

EVIDENCE_MIN_Z = METHOD.tracking.evidence_min_z

_EPSILON = 1e-6  # tolerance for floating-point error, in mm³ and as a relative area


@dataclass(frozen=True)
class T2Comparison:
    """Comparison of the T2 lesions of one visit with the reference visit.

    Parameters
    ----------
    states : mapping of int to T2State
        State of every lesion of the later visit, by its number at that visit: new, enlarging, stable, shrinking or
        unchanged_image.
    vanished : frozenset of int
        Vanished lesions, by their number at the reference visit.
    support : mapping of int to bool
        For every lesion of the later visit that is not stable: whether FLAIR changed there, too. Empty without images.
    vanished_support : mapping of int to bool
        The same for the vanished lesions.
    """

    states: Mapping[int, T2State]
    vanished: frozenset[int]
    support: Mapping[int, bool] = field(default_factory=dict)
    vanished_support: Mapping[int, bool] = field(default_factory=dict)


def compare_t2(
    reference: LabelImage,
    followup: LabelImage,
    *,
    reference_parts: LabelImage,
    followup_parts: LabelImage,
    rules: LesionRules,
    evidence: Image | None = None,
    masks_decide: bool = False,
    decided: Mapping[int, T2State] | None = None,
) -> T2Comparison:
    """Compare the T2 lesions of two visits by the rule of this module.

    Parameters
    ----------
    reference, followup : LabelImage
        Numbered lesions of each visit (`components.label_lesions`).
    reference_parts, followup_parts : LabelImage
        All components of the same masks in any numbering, including those below the minimum volume.
    rules : LesionRules
    evidence : Image, optional
        z-map of the change of FLAIR from reference to follow-up. If None, the masks alone decide.
    masks_decide : bool
        If True, the masks alone decide; `evidence` is compared with the result and changes nothing.
    decided : mapping of int to T2State, optional
        A reader's decision on lesions of the follow-up: new, enlarging or stable. It has priority, except that a lesion
        without predecessor is new.

    Returns
    -------
    T2Comparison
        Without states if the follow-up has no lesion.
    """
    gained = None if evidence is None else evidence.data
    lost = None if evidence is None else -evidence.data
    was, will_be = shares(followup, reference_parts), shares(reference, followup_parts)
    brighter = _supported(followup, ~reference_parts.mask, gained)
    darker = _supported(was, followup.data == 0, lost)
    faded = _supported(reference, ~followup_parts.mask, lost)
    if masks_decide or evidence is None:
        shown: tuple[set[int] | None, ...] = (None, None, None)
    else:
        shown = (brighter, darker, faded)
    grown = _grown(followup, was, reference, rules, shown[0])
    shrunk = _shrunk(followup, was, rules, shown[1])
    vanishing = _grown(reference, will_be, followup, rules, shown[2])
    vanished = {n for n, s in vanishing.items() if s is T2State.NEW}
    states = {n: shrunk.get(n, T2State.STABLE) for n in lesion_volumes_mm3(followup)} | grown
    if decided:
        with_predecessor = {number for number, _ in overlaps(followup, reference)}
        states |= {n: s for n, s in decided.items() if n in with_predecessor or s is T2State.NEW}
    if evidence is None:
        return T2Comparison(states, frozenset(vanished))
    seen = {n: n in (darker if s is T2State.SHRINKING else brighter) for n, s in states.items()}
    changed = {n: s for n, s in seen.items() if states[n] is not T2State.STABLE}
    return T2Comparison(states, frozenset(vanished), changed, {n: n in faded for n in vanished})


def shares(lesions: LabelImage, parts: LabelImage) -> LabelImage:
    """Assign the components of another visit's mask to the lesions that overlap them (rule 1).

    Parameters
    ----------
    lesions : LabelImage
        Numbered lesions of one visit.
    parts : LabelImage
        Numbered components of the other visit's mask.

    Returns
    -------
    LabelImage
        Voxels of `parts` labelled with the number of their lesion; 0 for components without overlap.

    Examples
    --------
    >>> from mri_pipeline.core.spatial import Grid
    >>> line = Grid((7, 1, 1), np.eye(4))
    >>> two = LabelImage(np.array([1, 1, 0, 0, 0, 2, 2]).reshape(7, 1, 1), line)
    >>> was_one = LabelImage(np.array([1, 1, 1, 1, 1, 1, 1]).reshape(7, 1, 1), line)
    >>> shares(two, was_one).data.ravel().tolist()
    [1, 1, 1, 1, 2, 2, 2]
    """
    owners: dict[int, list[int]] = {}
    pairs = overlaps(parts, lesions)
    for (part, lesion), _ in sorted(
        pairs.items(), key=lambda item: (-item[1], item[0][1])
    ):  # largest overlap first
        owners.setdefault(part, []).append(lesion)
    table = np.zeros(int(parts.data.max()) + 1, dtype=np.int32)
    for part, found in owners.items():
        table[part] = found[0]
    shared = table[parts.data]
    contested = [part for part, found in owners.items() if len(found) > 1]
    if contested:
        boxes = ndimage.find_objects(parts.data)
        points = _lesion_points(lesions, {lesion for part in contested for lesion in owners[part]})
        for part in contested:
            voxels = voxels_of(parts.data[boxes[part - 1]] == part) + [s.start for s in boxes[part - 1]]
            shared[tuple(voxels.T)] = _nearest(lesions, voxels, {n: points[n] for n in owners[part]})
    return LabelImage(shared, lesions.grid)


def _lesion_points(lesions: LabelImage, numbers: set[int]) -> dict[int, FloatArray]:
    voxels, values = voxels_of(lesions.mask), values_of(lesions)
    return {n: lesions.grid.world(voxels[values == n].astype(float)) for n in sorted(numbers)}


def _nearest(
    lesions: LabelImage, voxels: NDArray[np.int64], points: Mapping[int, FloatArray]
) -> NDArray[np.int32]:
    """Number of the nearest lesion (in mm) for each voxel; ties go to the first in `points`."""
    world = lesions.grid.world(voxels.astype(float))
    distance = np.stack([np.round(cKDTree(p).query(world)[0], 4) for p in points.values()])
    numbers: NDArray[np.int32] = np.array(list(points), dtype=np.int32)
    nearest: NDArray[np.int32] = numbers[distance.argmin(axis=0)]
    return nearest


def _grown(
    lesions: LabelImage, share: LabelImage, others: LabelImage, rules: LesionRules, supported: set[int] | None
) -> dict[int, T2State]:
    """New and enlarging lesions, and those that only the masks show as new.

    `others` are the lesions of the other visit. If `supported` is None, the masks alone decide.
    """
    volumes, share_volumes = lesion_volumes_mm3(lesions), lesion_volumes_mm3(share)
    areas, share_areas = largest_axial_areas_cm2(lesions), largest_axial_areas_cm2(share)
    with_predecessor = {number for number, _ in overlaps(lesions, others)}
    states = {}
    for number, volume in volumes.items():
        before = share_volumes.get(number, 0.0)
        event = volume - before >= rules.enlarging_min_growth_mm3 - _EPSILON
        event = event and (supported is None or number in supported)
        if number not in with_predecessor:
            states[number] = T2State.NEW if event or supported is None else T2State.UNCHANGED_IMAGE
        elif event and before < rules.t2_min_volume_mm3 - _EPSILON:
            states[number] = T2State.NEW
        elif event and _area_grew(share_areas[number], areas[number], rules):
            states[number] = T2State.ENLARGING
    return states


def _shrunk(
    lesions: LabelImage, share: LabelImage, rules: LesionRules, supported: set[int] | None
) -> dict[int, T2State]:
    """Lesions that are smaller than their share of the reference visit, by the rule of enlarging."""
    volumes, share_volumes = lesion_volumes_mm3(lesions), lesion_volumes_mm3(share)
    areas, share_areas = largest_axial_areas_cm2(lesions), largest_axial_areas_cm2(share)
    return {
        number: T2State.SHRINKING
        for number, before in share_volumes.items()
        if (supported is None or number in supported)
        and before - volumes[number] >= rules.enlarging_min_growth_mm3 - _EPSILON
        and _area_grew(areas[number], share_areas[number], rules)
    }


def _area_grew(before_cm2: float, after_cm2: float, rules: LesionRules) -> bool:
    small = before_cm2 < rules.enlarging_area_threshold_cm2
    growth = rules.enlarging_small_growth if small else rules.enlarging_large_growth
    return after_cm2 > before_cm2 * (1 + growth) * (1 + _EPSILON)


def _supported(labels: LabelImage, where: BoolArray, z: NDArray[np.float32] | None) -> set[int]:
    """Labels whose mean z over their voxels in `where` indicates change; all labels if there is no z-map."""
    if z is None:
        return set(numbers_of(labels))
    chosen = np.flatnonzero(labels.mask & where)
    numbers = labels.data.ravel()[chosen]
    counts = np.bincount(numbers)
    means = np.bincount(numbers, weights=z.ravel()[chosen]) / np.maximum(counts, 1)
    return {int(n) for n in np.flatnonzero((counts > 0) & (means >= EVIDENCE_MIN_Z))}
