"""True state of a lesion since the reference visit, by the rules of docs/definitions.md.

Written independently of `mri_pipeline.lesions`, on the 1 mm masks of the design.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.components import connected_parts
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import GelState, T2State
from mri_pipeline.phantom.families import Family, Unit
from mri_pipeline.phantom.lesions import Lesion


def largest_axial_area_mm2(mask: NDArray[np.bool_]) -> float:
    """Largest cross-section of a 1 mm mask over its slices.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)

    Returns
    -------
    float
        In mm²; 0 if the mask is empty.
    """
    return float(mask.sum(axis=(0, 1)).max(initial=0))


def has_enlarged(before: NDArray[np.bool_], after: NDArray[np.bool_], rules: LesionRules) -> bool:
    """The rule of Arch Neurol 1992;49:261 with the growth floor, on two masks of one lesion.

    The growth floor is part of this rule alone. A lesion at a place without lesion is new, however little it exceeds
    what was there.

    Parameters
    ----------
    before, after : ndarray of bool, shape (x, y, z)
        1 mm voxels.
    rules : LesionRules

    Returns
    -------
    bool
    """
    area_before, area_after = largest_axial_area_mm2(before), largest_axial_area_mm2(after)
    small = area_before / 100.0 < rules.enlarging_area_threshold_cm2
    limit = rules.enlarging_small_growth if small else rules.enlarging_large_growth
    growth_mm3 = float(after.sum()) - float(before.sum())
    return area_after > (1.0 + limit) * area_before and growth_mm3 >= rules.enlarging_min_growth_mm3


def shares(units: Sequence[Unit], other: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """For each unit of one visit the part of the other visit's lesions that is the same lesion.

    A component of the other visit belongs to the unit that it overlaps. If it overlaps several, each voxel belongs to
    the nearest.

    Parameters
    ----------
    units : sequence of Unit
        Lesions of one visit.
    other : ndarray of bool, shape of the family's box
        All lesions of the other visit.

    Returns
    -------
    list of ndarray of bool, shape of the family's box
        One for each unit; empty masks where nothing overlaps.
    """
    shares = [np.zeros_like(other) for _ in units]
    labels, count = connected_parts(other)
    for label in range(1, count + 1):
        shape = labels == label
        owners = [i for i, unit in enumerate(units) if (unit.mask & shape).any()]
        if not owners:
            continue
        distances = [ndimage.distance_transform_edt(~units[i].mask) for i in owners]
        nearest = np.argmin(distances, axis=0)
        for rank, i in enumerate(owners):
            shares[i] |= shape & (nearest == rank)
    return shares


def t2_states(family: Family, visit: int, reference: int | None, rules: LesionRules) -> list[tuple[Unit, T2State]]:
    """The lesions of a family with their states; a vanished lesion is given as it was at the reference visit.

    Parameters
    ----------
    family : Family
    visit, reference : int
        Numbers of the visit and of the one it is compared with; None at the first analysed visit.
    rules : LesionRules

    Returns
    -------
    list of (Unit, T2State)
        Vanished lesions come last.
    """
    now = _lesions(family, visit, rules)
    if reference is None:
        return [(unit, T2State.BASELINE) for unit in now]
    before = _lesions(family, reference, rules)
    states = []
    for unit, was in zip(now, shares(now, family.t2_mask(reference)), strict=True):
        if not _overlaps_any(unit, before):
            states.append((unit, T2State.NEW))
        elif has_enlarged(was, unit.mask, rules):
            states.append((unit, T2State.ENLARGING))
        else:
            shrunk = has_enlarged(unit.mask, was, rules)
            states.append((unit, T2State.SHRINKING if shrunk else T2State.STABLE))
    return states + [(unit, T2State.VANISHED) for unit in before if not _overlaps_any(unit, now)]


def _lesions(family: Family, visit: int, rules: LesionRules) -> list[Unit]:
    return [unit for unit in family.units(visit) if unit.mask.sum() >= rules.t2_min_volume_mm3]


def _overlaps_any(unit: Unit, others: Sequence[Unit]) -> bool:
    return any((unit.mask & other.mask).any() for other in others)


def _exists(lesion: Lesion, visit: int, rules: LesionRules) -> bool:
    return bool(lesion.t2_mask(visit).sum() >= rules.t2_min_volume_mm3)


def _enhances(lesion: Lesion, visit: int, rules: LesionRules) -> bool:
    voxels = int(lesion.gel_mask(visit).sum())
    return voxels >= max(rules.gel_min_volume_mm3, rules.gel_min_voxels)


def gel_state(lesion: Lesion, visit: int, reference: int | None, rules: LesionRules) -> GelState | None:
    """Enhancement state of a lesion.

    Parameters
    ----------
    lesion : Lesion
    visit, reference : int
        Numbers of the visit and of the one it is compared with; None at the first analysed visit.
    rules : LesionRules

    Returns
    -------
    GelState or None
        None if it does not enhance.
    """
    if not _enhances(lesion, visit, rules):
        return None
    if reference is None:
        return GelState.UNDETERMINED
    if _enhances(lesion, reference, rules):
        return GelState.PERSISTENT
    return GelState.RE_ENHANCING if _exists(lesion, reference, rules) else GelState.NEW
