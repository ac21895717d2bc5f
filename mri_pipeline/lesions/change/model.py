"""Model of the differences between two scans of an unchanged brain: contrast, bias field, noise.

Each function takes the difference (follow-up minus reference). Reversing the sign of the difference reverses the sign
of the result. Medians are computed from histograms, which is fast and independent of the order of the voxels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import MAD_TO_SIGMA
from mri_pipeline.core.spatial import BoolArray
from mri_pipeline.lesions.change.blocks import Blocks

NORMAL_RANGE = METHOD.change.normal_range

BIAS_SIGMA_MM = METHOD.change.bias_sigma_mm
LOCAL_NOISE_SIGMA_MM = METHOD.change.local_noise_sigma_mm
NOISE_FLOOR = METHOD.change.noise_floor

_INTENSITY_BINS = METHOD.change.intensity_bins
_GRADIENT_BINS = METHOD.change.gradient_bins
_GRADIENT_STEP = METHOD.change.gradient_step
_BIAS_CLIPS = METHOD.change.bias_clips
_MIN_VOXELS = METHOD.change.min_voxels
_MEAN_ABS_Z = 0.8  # mean absolute value of a standard normal variable
_NOISE_CAP_Z = METHOD.change.noise_cap_z
_LEVELS = 2001  # bins of a histogram of values from -1 to 1, in steps of 0.001
_Float = NDArray[np.float32]


def binned_medians(values: _Float, bins: NDArray[np.integer[Any]], n_bins: int) -> NDArray[np.float64]:
    """Median of the values in every bin, to 0.001.

    Parameters
    ----------
    values : ndarray of float32, shape (n,)
        Clipped to -1 to 1.
    bins : ndarray of int, shape (n,)
        Bin of each value, from 0; ignored if `n_bins` is 1.
    n_bins : int

    Returns
    -------
    ndarray of float, shape (n_bins,)
        NaN in bins with fewer than 50 values.

    Examples
    --------
    >>> values = np.repeat(np.float32([0.1, -0.25]), 60)
    >>> binned_medians(values, np.repeat([0, 1], 60), 3).round(3).tolist()
    [0.1, -0.25, nan]
    """
    half = (_LEVELS - 1) // 2
    level = values * np.float32(half)
    np.clip(np.rint(level, out=level), -half, half, out=level)
    place = level.astype(np.int32)  # much faster than conversion to 64 bits
    place += half
    if n_bins > 1:
        place += bins.astype(np.int32) * np.int32(_LEVELS)
    counts = np.bincount(place, minlength=n_bins * _LEVELS)
    below = np.cumsum(counts.reshape(n_bins, _LEVELS), axis=1)
    total = below[:, -1:]
    # mean of lower and upper median: a mirrored histogram has the mirrored median
    lower = np.argmax(2 * below >= total, axis=1)
    upper = np.argmax(2 * below > total, axis=1)
    middle = ((lower + upper) / 2 - half) / half
    return np.where(total[:, 0] >= _MIN_VOXELS, middle, np.nan)


def _median(values: _Float) -> float:
    return float(binned_medians(values, np.zeros(0, dtype=np.int64), 1)[0])


def contrast_difference(difference: _Float, mean: _Float, normal: BoolArray) -> _Float:
    """Difference of contrast between two scans: the typical difference of normal tissue of each intensity.

    It is the median of the difference as a function of the mean of both images (as in a Bland-Altman plot), so that
    both visits are treated alike. It is constant beyond the range of normal tissue, so that true change is kept.

    Parameters
    ----------
    difference, mean : ndarray of float32, shape (n,)
        Follow-up minus reference, and half their sum.
    normal : ndarray of bool, shape (n,)
        Normal tissue at both visits.

    Returns
    -------
    ndarray of float32, shape (n,)
        Zeros if there is too little normal tissue.
    """
    low, high = NORMAL_RANGE
    width = (high - low) / _INTENSITY_BINS
    bins = np.clip(((mean[normal] - low) / width).astype(np.int32), 0, _INTENSITY_BINS - 1)
    medians = binned_medians(difference[normal], bins, _INTENSITY_BINS)
    known = np.isfinite(medians)
    if not known.any():
        return np.zeros_like(mean)
    centres: NDArray[np.float64] = low + width * np.arange(0.5, _INTENSITY_BINS)
    return _looked_up(mean, centres[known], medians[known], low, high)


def _looked_up(
    x: _Float, positions: NDArray[np.float64], values: NDArray[np.float64], low: float, high: float
) -> _Float:
    """Piecewise linear function of `x`, by a look-up table of 1000 steps."""
    table = np.interp(np.linspace(low, high, 1001), positions, values).astype(np.float32)
    scaled = (x - np.float32(low)) * np.float32(1000 / (high - low))
    result: _Float = table[np.clip(np.rint(scaled), 0, 1000).astype(np.int32)]
    return result


def smooth_difference(difference: _Float, normal: BoolArray, blocks: Blocks) -> _Float:
    """Smooth part of the difference in normal tissue (normalised convolution of blocks of 6 mm).

    Voxels that differ strongly from their surroundings are excluded. The limit is refined in three rounds.

    Parameters
    ----------
    difference, normal : ndarray, shape (n,)
        Difference and mask of normal tissue, as rows of `blocks`.
    blocks : Blocks

    Returns
    -------
    ndarray of float32, shape (n,)
        Row of `blocks`.
    """
    block, residual = blocks.block[normal], difference[normal]
    number = blocks.sums(block)
    field = np.zeros(blocks.coarse, dtype=np.float32)
    for clip in _BIAS_CLIPS:
        middle = np.float32(_median(residual))
        away = np.abs(residual - middle)
        limit = clip * MAD_TO_SIGMA * _median(away) + 1e-3
        far = np.flatnonzero(away > limit)
        residual[far] = 0
        sums = number - blocks.sums(block[far]), blocks.sums(block, residual)
        low, total = (blocks.smoothed(one, BIAS_SIGMA_MM) for one in sums)
        field += ((total + middle * 1e-3) / (low + 1e-3)).astype(np.float32)
        if clip != _BIAS_CLIPS[-1]:
            residual = (difference - blocks.at_voxels(field))[normal]
    return blocks.at_voxels(field)


def gradient_magnitude(data: _Float, spacing_mm: NDArray[np.float64]) -> _Float:
    """Gradient magnitude per mm, from central differences.

    The slopes equal those of `numpy.gradient`, in half its time.

    Parameters
    ----------
    data : ndarray of float32, shape (x, y, z)
    spacing_mm : ndarray of float, shape (3,)
        Distance between voxel centres along each axis, in mm.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Axes of one voxel are ignored.
    """
    squared, slope = np.zeros(data.shape, dtype=np.float32), np.empty(data.shape, dtype=np.float32)
    for axis in range(3):
        if data.shape[axis] > 1:
            values, out, step = np.moveaxis(data, axis, 0), np.moveaxis(slope, axis, 0), float(spacing_mm[axis])
            np.divide(np.subtract(values[2:], values[:-2], out=out[1:-1]), 2 * step, out=out[1:-1])
            out[0], out[-1] = (values[1] - values[0]) / step, (values[-1] - values[-2]) / step
            squared += np.square(slope, out=slope)
    length: _Float = np.sqrt(squared, out=squared)
    return length


def noise_by_gradient(difference: _Float, gradient: _Float, inside: BoolArray) -> _Float:
    """Robust noise SD of the difference as a non-decreasing function of the local gradient.

    Voxels are divided into twelve groups of equal size by their gradient. The SD of each group is derived from the
    median absolute value.

    Parameters
    ----------
    difference, gradient : ndarray of float32, shape (n,)
    inside : ndarray of bool, shape (n,)
        Voxels from which the noise is estimated.

    Returns
    -------
    ndarray of float32, shape (n,)
        At least `NOISE_FLOOR`; `NOISE_FLOOR` everywhere if there are too few voxels.
    """
    level = (gradient[inside] / np.float32(_GRADIENT_STEP)).astype(np.int32)
    counts = np.bincount(level, minlength=1)
    ranks = (np.cumsum(counts) - 0.5) / max(len(level), 1)
    group = np.clip((ranks * _GRADIENT_BINS).astype(np.int32), 0, _GRADIENT_BINS - 1)
    sigmas = MAD_TO_SIGMA * binned_medians(np.abs(difference[inside]), group[level], _GRADIENT_BINS)
    sizes, sums = (
        np.bincount(group, weights=w, minlength=_GRADIENT_BINS) for w in (counts, counts * np.arange(len(counts)))
    )
    centres = (sums / np.maximum(sizes, 1) + 0.5) * _GRADIENT_STEP
    known = np.isfinite(sigmas)
    if not known.any():
        return np.full(difference.shape, NOISE_FLOOR, dtype=np.float32)
    rising = np.maximum(np.maximum.accumulate(sigmas[known]), NOISE_FLOOR)
    return _looked_up(gradient, centres[known], rising, 0.0, float(centres[known][-1]) + _GRADIENT_STEP)


def local_noise(z: _Float, normal: BoolArray, blocks: Blocks) -> _Float:
    """Local noise relative to the noise model, at least 1.

    Flow artefacts, the signal drop at the end of a coil, and unmodelled bias raise the noise of whole regions: at the
    skull base, a z of 3 is common. The local noise is the mean of |z| (each at most 6) over tissue outside
    lesions, divided by its expected value in Gaussian noise, after Gaussian smoothing (sigma 12 mm).

    Parameters
    ----------
    z, normal : ndarray, shape (n,)
        z-scores and mask of voxels outside lesions, as rows of `blocks`.
    blocks : Blocks

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    size = np.minimum(np.abs(z), np.float32(_NOISE_CAP_Z)) * normal
    low, total = (blocks.smoothed(blocks.sums(blocks.block, row), LOCAL_NOISE_SIGMA_MM) for row in (normal, size))
    mean = (total + _MEAN_ABS_Z * 1e-3) / (low + 1e-3)
    return np.maximum(blocks.at_voxels((mean / _MEAN_ABS_Z).astype(np.float32)), np.float32(1))
