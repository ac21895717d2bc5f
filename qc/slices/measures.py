"""The slices of a scan against their neighbours: displaced, dark, alternating and doubled slices.

A 2D scan excites its slices one after the other. Each slice is compared with its two neighbours, which show nearly the
same anatomy. The measures use no mask of the slice itself: a dark slice is inside the head like its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.robust import median
from qc.slices.coherence import coherence_ratio
from qc.slices.displacement import against_neighbours, displacements_mm
from qc.slices.stack import MIN_SLICES, SliceStack

_SMOOTH_MM: Final = 2.0
"""Standard deviation of the smoothing that removes noise before neighbouring slices are compared."""

_MIN_VOXELS: Final = 100
"""Fewest voxels of the interior for the comparison of two slices."""

_USUAL_PAIRS: Final = 9
"""Number of neighbouring pairs whose median is the usual difference of two slices."""


@dataclass(frozen=True)
class SliceMeasures:
    """Slices against their neighbours; None if no slice allows the measurement.

    Parameters
    ----------
    displacement_mm : float or None
        Largest in-plane displacement of a slice against the mean of its two neighbours.
    interleave_mm : float or None
        Mean displacement of odd against even slices: a head that moved between the two halves of an interleaved scan.
    step_percent : float or None
        Largest relative difference of the intensity of a slice and that of its neighbours.
    alternation_percent : float or None
        Systematic difference of the intensity of odd and even slices.
    neighbour_difference : float or None
        Smallest difference of two neighbouring slices as a share of the usual one. 0 for the same anatomy twice.
    coherence_ratio : float or None
        `qc.slices.coherence.coherence_ratio`; None for slices that are not axial.
    """

    displacement_mm: float | None
    interleave_mm: float | None
    step_percent: float | None
    alternation_percent: float | None
    neighbour_difference: float | None
    coherence_ratio: float | None = None


def measure_slices(stack: SliceStack) -> SliceMeasures:
    """Compare each slice of the middle of the head with its neighbours.

    Parameters
    ----------
    stack : SliceStack

    Returns
    -------
    SliceMeasures
    """
    shifts = displacements_mm(stack)
    logs = log_ratios(stack)
    signs = np.where(np.arange(logs.size) % 2 == 0, 1.0, -1.0)
    displacements = _measured(np.hypot(*against_neighbours(shifts).T))
    differences = _measured(signs[:, None] * shifts)
    known = _measured(logs)
    doubled = neighbour_differences(stack)
    alternating = _measured(signs * logs - signs * median(known)) if known.size else known
    return SliceMeasures(
        displacement_mm=float(displacements.max()) if displacements.size else None,
        interleave_mm=float(np.hypot(*differences.mean(axis=0))) if differences.size else None,
        step_percent=float(100 * -np.expm1(-np.abs(known).max())) if known.size else None,
        alternation_percent=float(100 * abs(alternating.mean())) if known.size else None,
        neighbour_difference=None if doubled.size == 0 else float(np.nanmin(doubled)),
        coherence_ratio=coherence_ratio(stack) if stack.axial else None,
    )


def _measured(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values of the slices that were measured, NaN in the others."""
    return values[np.isfinite(values.reshape(len(values), -1)).all(axis=1)]


def log_ratios(stack: SliceStack) -> NDArray[np.float64]:
    """Logarithm of the intensity of each slice relative to the mean of its neighbours.

    Parameters
    ----------
    stack : SliceStack

    Returns
    -------
    ndarray, shape (n,)
        Of the slices of the middle; NaN with too few voxels.
    """
    found = []
    for i in stack.middle:
        mean = (stack.data[i - 1] + stack.data[i + 1]) / 2
        used = stack.inside[i] & (mean > 0)
        enough = np.count_nonzero(used) >= _MIN_VOXELS
        ratio = float(median(stack.data[i][used] / mean[used])) if enough else np.nan
        found.append(np.log(np.maximum(ratio, 1e-3)))
    return np.array(found)


def neighbour_differences(stack: SliceStack) -> NDArray[np.float64]:
    """Difference of each pair of neighbouring slices relative to the local median. Noise is removed by smoothing.

    Parameters
    ----------
    stack : SliceStack

    Returns
    -------
    ndarray, shape (n + 1,)
        The first value compares the slice before the middle block with the first slice of that block; NaN for a pair
        with too few voxels. Empty if fewer than `MIN_SLICES` pairs were measured.
    """
    sigma = [_SMOOTH_MM / s for s in stack.spacing_mm]
    first, last = stack.middle[0] - 1, stack.middle[-1] + 2
    smooth = ndimage.gaussian_filter(stack.data[first:last], (0, *sigma))
    inside = stack.inside[first:last]
    pairs = zip(smooth[:-1], smooth[1:], inside[:-1] & inside[1:], strict=True)
    differences = [_relative_difference(one[used], other[used]) for one, other, used in pairs]
    found = np.array(differences, dtype=np.float64)
    known = np.isfinite(found)
    values = found[known]
    if values.size < MIN_SLICES:
        return np.zeros(0)
    found[known] = values / np.maximum(ndimage.median_filter(values, _USUAL_PAIRS, mode="nearest"), 1e-9)
    return found


def _relative_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Median difference of two slices, each relative to its own median; NaN if they have too few voxels."""
    if one.size < _MIN_VOXELS:
        return float("nan")
    usual_one, usual_other = median(one), median(other)
    if min(usual_one, usual_other) <= 0:
        return float("nan")
    return float(median(np.abs(one / usual_one - other / usual_other)))
