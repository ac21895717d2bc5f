"""What two scans of an unchanged brain differ by: contrast, bias field, noise.

Each function is given the difference (follow-up minus reference); a difference of the opposite sign gives the
opposite result. Medians are taken from histograms: the same for every order of the voxels, and fast.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.model import BoolArray

NORMAL_RANGE = (0.6, 1.3)
"""Normal tissue on a FLAIR whose white matter is 1: above CSF, below lesions (1.40 to 1.44 in every case seen).

The intensity mapping between visits is fitted here alone; a free one would erase true change."""

BIAS_SIGMA_MM = 18.0
LOCAL_NOISE_SIGMA_MM = 12.0
NOISE_FLOOR = 0.02
"""Smallest noise of a difference, in white matters: for images without any, such as two identical ones."""

_INTENSITY_BINS = 14
_GRADIENT_BINS = 12
_GRADIENT_STEP = 1e-3  # white matters per mm
_BIAS_GRID_MM = 6.0
_BIAS_CLIPS = (8.0, 4.0, 3.0)
_MAD_TO_SIGMA = 1.4826
_MIN_VOXELS = 50
_MEAN_ABS_Z = 0.8  # of a standard normal variable
_RESTLESS_Z = 6.0
_LEVELS = 2001  # of a histogram of values between -1 and 1, in steps of 0.001
_Float = NDArray[np.float32]


def binned_medians(values: _Float, bins: NDArray[np.integer[Any]], n_bins: int) -> NDArray[np.float64]:
    """Median of the values (between -1 and 1, to 0.001) in every bin; NaN in bins of fewer than 50.

    With a single bin, `bins` is not looked at.

    Examples
    --------
    >>> values = np.repeat(np.float32([0.1, -0.25]), 60)
    >>> binned_medians(values, np.repeat([0, 1], 60), 3).round(3).tolist()
    [0.1, -0.25, nan]
    """
    half = (_LEVELS - 1) // 2
    level = np.clip(np.rint(values * half), -half, half).astype(np.int64) + half
    if n_bins > 1:
        level += bins.astype(np.int64) * _LEVELS
    counts = np.bincount(level, minlength=n_bins * _LEVELS)
    below = np.cumsum(counts.reshape(n_bins, _LEVELS), axis=1)
    total = below[:, -1:]
    # the mean of the lower and the upper median: a mirrored histogram has the mirrored median
    lower = np.argmax(2 * below >= total, axis=1)
    upper = np.argmax(2 * below > total, axis=1)
    middle = ((lower + upper) / 2 - half) / half
    return np.where(total[:, 0] >= _MIN_VOXELS, middle, np.nan)


def _median(values: _Float) -> float:
    return float(binned_medians(values, np.zeros(0, dtype=np.int64), 1)[0])


def contrast_difference(difference: _Float, mean: _Float, normal: BoolArray) -> _Float:
    """Difference that normal tissue of this intensity shows everywhere: two scans differ in contrast.

    The median of the difference given the mean of both images (as Bland and Altman plot it), so that neither
    visit is the measure of the other. Outside normal tissue it goes on as a constant: true change is kept.

    Parameters
    ----------
    difference, mean : ndarray of float32
        Follow-up minus reference, and half their sum.
    normal : ndarray of bool
        Normal tissue at both visits.
    """
    low, high = NORMAL_RANGE
    width = (high - low) / _INTENSITY_BINS
    bins = np.clip(((mean[normal] - low) / width).astype(np.int64), 0, _INTENSITY_BINS - 1)
    medians = binned_medians(difference[normal], bins, _INTENSITY_BINS)
    known = np.isfinite(medians)
    if not known.any():
        return np.zeros_like(mean)
    centres: NDArray[np.float64] = low + width * np.arange(0.5, _INTENSITY_BINS)
    return _looked_up(mean, centres[known], medians[known], low, high)


def _looked_up(
    x: _Float, positions: NDArray[np.float64], values: NDArray[np.float64], low: float, high: float
) -> _Float:
    """Piecewise linear function of every voxel, from a table of 1000 steps."""
    table = np.interp(np.linspace(low, high, 1001), positions, values).astype(np.float32)
    scaled = (x - np.float32(low)) * np.float32(1000 / (high - low))
    result: _Float = table[np.clip(np.rint(scaled), 0, 1000).astype(np.int32)]
    return result


def smooth_difference(difference: _Float, normal: BoolArray, spacing_mm: NDArray[np.float64]) -> _Float:
    """Smooth part of the difference in normal tissue (normalised convolution on a 6 mm grid).

    Voxels that differ much from their surroundings take no part; what "much" is, is found in three rounds.
    """
    step = np.maximum(1, np.round(_BIAS_GRID_MM / spacing_mm)).astype(int)
    at = [(np.arange(n) + 0.5) / s - 0.5 for n, s in zip(difference.shape, step, strict=True)]
    field = np.zeros_like(difference)
    voxels = np.flatnonzero(normal)
    for clip in _BIAS_CLIPS:
        residual = difference - field
        values = residual.ravel()[voxels]
        middle = _median(values)
        limit = clip * _MAD_TO_SIGMA * _median(np.abs(values - middle)) + 1e-3
        weight = (normal & (np.abs(residual - np.float32(middle)) <= limit)).astype(np.float32)
        low, total = (
            ndimage.gaussian_filter(_blocks(data, step), BIAS_SIGMA_MM / (spacing_mm * step), mode="constant")
            for data in (weight, weight * residual)
        )
        field += _interpolated(((total + middle * 1e-3) / (low + 1e-3)).astype(np.float32), at)
    return field


def _blocks(data: _Float, step: NDArray[np.int64]) -> _Float:
    """Sums over blocks of voxels."""
    padded = np.pad(data, [(0, int(-n % s)) for n, s in zip(data.shape, step, strict=True)])
    for axis in (2, 1, 0):
        first, *others = (padded[(slice(None),) * axis + (slice(i, None, step[axis]),)] for i in range(step[axis]))
        padded = first + functools.reduce(np.add, others) if others else first
    return padded


def _interpolated(field: _Float, at: list[NDArray[np.float64]]) -> _Float:
    """Linear interpolation of a coarse field, axis by axis."""
    for axis, positions in enumerate(at):
        clipped = np.clip(positions, 0, field.shape[axis] - 1)
        low = np.minimum(clipped.astype(int), max(field.shape[axis] - 2, 0))
        high = np.minimum(low + 1, field.shape[axis] - 1)
        shape = [-1 if a == axis else 1 for a in range(3)]
        part = (clipped - low).astype(np.float32).reshape(shape)
        before, after = np.take(field, low, axis), np.take(field, high, axis)
        before *= 1 - part
        after *= part
        before += after
        field = before
    return field


def gradient_magnitude(data: _Float, spacing_mm: NDArray[np.float64]) -> _Float:
    """Length of the gradient, per mm; axes of one voxel take no part."""
    squared = np.zeros(data.shape, dtype=np.float32)
    for axis in range(3):
        if data.shape[axis] > 1:
            slope = np.gradient(data, float(spacing_mm[axis]), axis=axis)
            squared += slope * slope
    return np.sqrt(squared)


def noise_by_gradient(difference: _Float, gradient: _Float, inside: BoolArray) -> _Float:
    """Robust noise of the difference (sigma from the median absolute value), rising with the local gradient.

    Voxels are grouped by their gradient into twelve groups of equal size.
    """
    values = np.abs(difference[inside])
    level = (gradient / np.float32(_GRADIENT_STEP)).astype(np.int32)[inside]
    cumulative = np.cumsum(np.bincount(level)) if len(level) else np.zeros(1)
    ranks = (cumulative - 0.5) / max(float(cumulative[-1]), 1.0)
    group = np.clip((ranks * _GRADIENT_BINS).astype(np.int64), 0, _GRADIENT_BINS - 1)
    bins = group[level]
    sigmas = _MAD_TO_SIGMA * binned_medians(values, bins, _GRADIENT_BINS)
    sizes = np.maximum(np.bincount(bins, minlength=_GRADIENT_BINS), 1)
    centres = (np.bincount(bins, weights=level, minlength=_GRADIENT_BINS) / sizes + 0.5) * _GRADIENT_STEP
    known = np.isfinite(sigmas)
    if not known.any():
        return np.full(difference.shape, NOISE_FLOOR, dtype=np.float32)
    rising = np.maximum(np.maximum.accumulate(sigmas[known]), NOISE_FLOOR)
    return _looked_up(gradient, centres[known], rising, 0.0, float(centres[known][-1]) + _GRADIENT_STEP)


def local_noise(z: _Float, normal: BoolArray, spacing_mm: NDArray[np.float64]) -> _Float:
    """How much noisier than elsewhere the surroundings are, at least 1.

    Flow, a coil's end, or a bias steeper than its model leave whole regions restless: at the skull base, a z of 3
    is nothing unusual. The mean of |z| in normal tissue (lesions left out, 6 at most), smoothed by 12 mm.
    """
    step = np.maximum(1, np.round(_BIAS_GRID_MM / spacing_mm)).astype(int)
    at = [(np.arange(n) + 0.5) / s - 0.5 for n, s in zip(z.shape, step, strict=True)]
    weight = normal.astype(np.float32)
    size = np.minimum(np.abs(z), np.float32(_RESTLESS_Z)) * weight
    low, total = (
        ndimage.gaussian_filter(_blocks(data, step), LOCAL_NOISE_SIGMA_MM / (spacing_mm * step), mode="constant")
        for data in (weight, size)
    )
    mean = (total + _MEAN_ABS_Z * 1e-3) / (low + 1e-3)
    return np.maximum(_interpolated((mean / _MEAN_ABS_Z).astype(np.float32), at), np.float32(1))
