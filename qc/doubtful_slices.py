"""Which slices of a scan are doubtful: blank, copied, displaced, of another intensity, or doubled."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.quality_limits import ImageLimits
from mri_pipeline.core.spatial import BoolArray, Image
from qc.content import slice_digests
from qc.head import head_mask
from qc.planes import slices_first
from qc.slice_displacement import against_neighbours, displacements_mm
from qc.slice_stack import slice_stack
from qc.slices import log_ratios, neighbour_differences

_OWN: Final = 0.75
"""Difference of intensity relative to the larger one of its neighbours from which it is that of the slice.

A single dark slice changes its neighbours by half. Of displacements, only local maxima are those of the slice: the
correlation of a neighbour may follow the displaced slice.
"""


def doubtful_slices(image: Image, limits: ImageLimits) -> dict[int, str]:
    """The slices that violate a limit, each with the reason.

    Parameters
    ----------
    image : Image
    limits : ImageLimits

    Returns
    -------
    dict of int to str
        By index along the slice axis of the image in RAS order, sorted. Of a doubled pair both.
    """
    image = slices_first(image)
    planes = image.data
    found = {index: ["copied"] for index in _copied(planes)}
    filled = np.flatnonzero([np.ptp(plane) > 0 for plane in planes])
    if filled.size:
        for index in sorted(set(range(filled[0], filled[-1])) - set(filled.tolist())):
            found.setdefault(index, []).append("blank")
    stack = slice_stack(image, head_mask(image))
    if stack is not None:
        moved = np.hypot(*against_neighbours(displacements_mm(stack)).T)
        steps = 100 * -np.expm1(-np.abs(log_ratios(stack)))
        differences = neighbour_differences(stack)
        with np.errstate(invalid="ignore"):  # a pair that was not measured is not doubtful
            for index in stack.middle[1:-1][_peaks(moved, limits.max_slice_displacement_mm.value, own=1.0)]:
                found.setdefault(int(index), []).append("displaced")
            for index in stack.middle[_peaks(steps, limits.max_slice_step_percent.value, own=_OWN)]:
                found.setdefault(int(index), []).append("intensity")
            for pair in np.flatnonzero(differences < limits.min_neighbour_difference.value):
                for index in (stack.middle[0] - 1 + pair, stack.middle[0] + pair):
                    found.setdefault(int(index), []).append("doubled")
    return {index: ", ".join(dict.fromkeys(found[index])) for index in sorted(found)}


def _peaks(values: NDArray[np.float64], limit: float, *, own: float) -> BoolArray:
    """Values beyond the limit that are not due to a neighbour, whose deviation changes those of its neighbours."""
    known = np.nan_to_num(values)
    around = ndimage.maximum_filter1d(known, 3, mode="nearest")
    return np.asarray((known > limit) & (known >= own * around))


def _copied(planes: NDArray[np.float32]) -> list[int]:
    digests = slice_digests(planes)
    return [index for index, digest in enumerate(digests) if digest and digests.count(digest) > 1]
