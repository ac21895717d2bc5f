"""Which slices of a scan a finding concerns: blank, copied, displaced, of another intensity, or doubled ones."""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.quality_limits import ImageLimits
from mri_pipeline.core.spatial import BoolArray, Image
from qc.content import slice_digests
from qc.head import head_mask
from qc.planes import slices_first
from qc.slices.displacement import against_neighbours, displacements_mm
from qc.slices.measures import log_ratios, neighbour_differences
from qc.slices.stack import SliceStack, slice_stack

SLICE_REASONS: Final = MappingProxyType(
    {
        "repeated_slices": "copied",
        "blank_slices": "blank",
        "slice_displacement": "displaced",
        "slice_step": "intensity",
        "doubled_slice": "doubled",
    }
)
"""Rules whose findings concern single slices, with the reason that a mosaic shows."""

_OWN: Final = 0.75
"""Least difference of intensity of a slice, as a share of the larger one of its neighbours, that is its own.

A single dark slice changes its neighbours by half. Of displacements, only local maxima are those of the slice: the
correlation of a neighbour may follow the displaced slice.
"""


def doubtful_slices(image: Image, limits: ImageLimits, rules: Collection[str]) -> dict[int, str]:
    """The slices to which the findings on a scan point, each with the reason.

    They are those whose own value violates the limit. Its mask, neighbours and values are those of `qc.measures`.

    Parameters
    ----------
    image : Image
    limits : ImageLimits
    rules : collection of str
        Violated rules of the scan. Without one of `SLICE_REASONS`, no slice is doubtful.

    Returns
    -------
    dict of int to str
        By index along the slice axis of the image in RAS order, sorted. Of a doubled pair both.
    """
    upright = image.reoriented("RAS")
    slices = slices_first(upright)
    found: dict[int, list[str]] = {}
    by_rule = {"repeated_slices": _copied, "blank_slices": _blank}
    for rule, of in by_rule.items():
        for index in of(slices.data) if rule in rules else ():
            found.setdefault(index, []).append(SLICE_REASONS[rule])
    if not set(rules) & (SLICE_REASONS.keys() - by_rule.keys()):
        return _joined(found)
    head = np.moveaxis(head_mask(upright), upright.grid.slice_axis, 0)
    stack = slice_stack(slices, np.ascontiguousarray(head), three_d=False)  # a 3D scan has no such finding
    for rule, indices in _beyond(stack, limits).items() if stack is not None else ():
        for index in indices if rule in rules else ():
            found.setdefault(int(index), []).append(SLICE_REASONS[rule])
    return _joined(found)


def _joined(found: dict[int, list[str]]) -> dict[int, str]:
    return {index: ", ".join(dict.fromkeys(found[index])) for index in sorted(found)}


def _beyond(stack: SliceStack, limits: ImageLimits) -> dict[str, NDArray[np.intp]]:
    """By rule, the slices whose own value violates its limit."""
    moved = np.hypot(*against_neighbours(displacements_mm(stack)).T)
    steps = 100 * -np.expm1(-np.abs(log_ratios(stack)))
    differences = neighbour_differences(stack)
    with np.errstate(invalid="ignore"):  # a pair that was not measured is not doubtful
        pairs = np.flatnonzero(differences < limits.min_neighbour_difference.value)
    return {
        "slice_displacement": stack.middle[1:-1][_peaks(moved, limits.max_slice_displacement_mm.value, own=1.0)],
        "slice_step": stack.middle[_peaks(steps, limits.max_slice_step_percent.value, own=_OWN)],
        "doubled_slice": np.unique([stack.middle[0] - 1 + pairs, stack.middle[0] + pairs]).astype(np.intp),
    }


def _peaks(values: NDArray[np.float64], limit: float, *, own: float) -> BoolArray:
    """Values beyond the limit that are not due to a neighbour, whose deviation changes those of its neighbours."""
    known = np.nan_to_num(values)
    around = ndimage.maximum_filter1d(known, 3, mode="nearest")
    return np.asarray((known > limit) & (known >= own * around))


def _copied(planes: NDArray[np.float32]) -> list[int]:
    digests = slice_digests(planes)
    return [index for index, digest in enumerate(digests) if digest and digests.count(digest) > 1]


def _blank(planes: NDArray[np.float32]) -> list[int]:
    filled = np.flatnonzero([np.ptp(plane) > 0 for plane in planes])
    return sorted(set(range(filled[0], filled[-1])) - set(filled.tolist())) if filled.size else []
