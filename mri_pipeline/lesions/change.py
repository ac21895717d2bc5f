"""Where FLAIR changed between two visits: a z-map, and the voxels that became or ceased to be lesion.

Both visits play the same part: exchanging them only changes the sign of every result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.model import BoolArray, Image, LabelImage

NORMAL_RANGE = (0.6, 1.3)
"""Normal tissue on a FLAIR whose white matter is 1: above CSF, below lesions (1.40 to 1.44 in every case seen).

The intensity mapping between visits is fitted here alone; a free one would erase true change."""

BIAS_SIGMA_MM = 18.0
SMOOTHING_SIGMA_MM = 0.7
NOISE_FLOOR = 0.02
"""Smallest noise of a difference, in white matters: for images without any, such as two identical ones."""

_GRADIENT_BINS = 12
_MAD_TO_SIGMA = 1.4826
_BIAS_GRID_MM = 6.0
_MIN_VOXELS = 50
_CLIP = 3.0


def change_evidence(
    flair_reference: Image, flair_followup: Image, brain: BoolArray, *, lesions: BoolArray | None = None
) -> Image:
    """z-map of the change from the reference to the follow-up FLAIR (positive: brighter at follow-up).

    The steps: one linear intensity mapping from normal tissue, smooth local bias (18 mm) removed, difference
    divided by a noise that depends on the local gradient (edges differ by registration and partial volume).

    Parameters
    ----------
    flair_reference, flair_followup : Image
        On one grid, white matter about 1.
    brain : ndarray of bool
        Where the brain is; outside, z is 0.
    lesions : ndarray of bool, optional
        Lesions of either visit: left out of the mapping, the bias and the noise.

    Returns
    -------
    Image
        z on the same grid. Identical images give 0 everywhere; an empty brain, too.

    Raises
    ------
    GridMismatchError
        If the grids differ.
    """
    flair_reference.grid.require_same(flair_followup.grid, "follow-up FLAIR")
    grid = flair_reference.grid
    inside = brain & (flair_reference.data > 0) & (flair_followup.data > 0)
    spacing = np.array(grid.spacing_mm)
    before, after = (_smooth(i.data, SMOOTHING_SIGMA_MM / spacing) for i in (flair_reference, flair_followup))
    normal = inside & _within(before) & _within(after)
    if lesions is not None:
        normal &= ~lesions
    if np.count_nonzero(normal) < _MIN_VOXELS:
        return Image(np.zeros(grid.shape, dtype=np.float32), grid)
    before, after = _matched(before, after, normal)
    difference = after - before
    difference -= _bias(difference, normal, spacing)
    gradient = np.maximum(_gradient(before, spacing), _gradient(after, spacing))
    noise = _noise(difference, gradient, inside if lesions is None else inside & ~lesions)
    return Image(np.where(inside, difference / noise, 0).astype(np.float32), grid)


def _within(data: NDArray[np.float32]) -> BoolArray:
    return (data > NORMAL_RANGE[0]) & (data < NORMAL_RANGE[1])


def _smooth(data: NDArray[np.float32], sigma: NDArray[np.float64]) -> NDArray[np.float32]:
    # across thick slices the kernel would be narrower than a voxel: nothing to gain there
    sigma = np.where(sigma < 0.3, 0, sigma)
    return ndimage.gaussian_filter(data, sigma, truncate=3.0)


def _matched(
    before: NDArray[np.float32], after: NDArray[np.float32], normal: BoolArray
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both images on their common scale: equal medians and equal spread of normal tissue."""
    x, y = before[normal], after[normal]
    middle_x, middle_y = float(np.median(x)), float(np.median(y))
    residual = (y - middle_y) - (x - middle_x)
    calm = np.abs(residual) <= _CLIP * (_MAD_TO_SIGMA * float(np.median(np.abs(residual))) + NOISE_FLOOR)
    spread_x, spread_y = float(np.std(x[calm])), float(np.std(y[calm]))
    if min(spread_x, spread_y) < NOISE_FLOOR:  # flat images have no spread to match
        spread_x = spread_y = 1.0
    spread, middle = np.sqrt(spread_x * spread_y), (middle_x + middle_y) / 2
    return (
        ((before - middle_x) * (spread / spread_x) + middle).astype(np.float32),
        ((after - middle_y) * (spread / spread_y) + middle).astype(np.float32),
    )


def _bias(difference: NDArray[np.float32], normal: BoolArray, spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Smooth part of the difference in normal tissue, on a coarse grid (normalised convolution)."""
    values = difference[normal]
    middle = float(np.median(values))
    limit = _CLIP * _MAD_TO_SIGMA * float(np.median(np.abs(values - middle)))
    weight = (normal & (np.abs(difference - middle) <= limit)).astype(np.float32)
    step = np.maximum(1, np.round(_BIAS_GRID_MM / spacing)).astype(int)
    pad = [(0, int(-n % s)) for n, s in zip(difference.shape, step, strict=True)]
    coarse = []
    for data in (weight, weight * difference):
        padded = np.pad(data, pad)
        nx, ny, nz = (n // s for n, s in zip(padded.shape, step, strict=True))
        blocks = padded.reshape(nx, step[0], ny, step[1], nz, step[2]).sum(axis=(1, 3, 5))
        coarse.append(ndimage.gaussian_filter(blocks, BIAS_SIGMA_MM / (spacing * step), mode="constant"))
    field = ((coarse[1] + middle * 1e-3) / (coarse[0] + 1e-3)).astype(np.float32)
    at = [(np.arange(n) + 0.5) / s - 0.5 for n, s in zip(difference.shape, step, strict=True)]
    return _interpolated(field, at)


def _interpolated(field: NDArray[np.float32], at: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Linear interpolation of a coarse field, axis by axis."""
    for axis, positions in enumerate(at):
        clipped = np.clip(positions, 0, field.shape[axis] - 1)
        low = np.minimum(clipped.astype(int), max(field.shape[axis] - 2, 0))
        high = np.minimum(low + 1, field.shape[axis] - 1)
        shape = [-1 if a == axis else 1 for a in range(3)]
        part = (clipped - low).astype(np.float32).reshape(shape)
        field = np.take(field, low, axis) * (1 - part) + np.take(field, high, axis) * part
    return field


def _gradient(data: NDArray[np.float32], spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    squared = np.zeros(data.shape, dtype=np.float32)
    for axis in range(3):
        if data.shape[axis] > 1:
            squared += np.square(np.gradient(data, float(spacing[axis]), axis=axis), dtype=np.float32)
    return np.sqrt(squared)


def _noise(
    difference: NDArray[np.float32], gradient: NDArray[np.float32], inside: BoolArray
) -> NDArray[np.float32]:
    """Robust noise of the difference as a rising function of the local gradient."""
    values, slopes = difference[inside], gradient[inside]
    edges = np.unique(np.quantile(slopes, np.linspace(0, 1, _GRADIENT_BINS + 1)))
    index = np.clip(np.searchsorted(edges, slopes, side="right") - 1, 0, max(len(edges) - 2, 0))
    centres, sigmas = [], []
    for i in range(max(len(edges) - 1, 1)):
        chosen = values[index == i]
        if len(chosen) >= _MIN_VOXELS:
            centres.append(float(np.median(slopes[index == i])))
            sigmas.append(_MAD_TO_SIGMA * float(np.median(np.abs(chosen))))
    if not centres:
        return np.full(difference.shape, max(NOISE_FLOOR, float(np.std(values))), dtype=np.float32)
    rising = np.maximum(np.maximum.accumulate(sigmas), NOISE_FLOOR)
    return np.interp(gradient, centres, rising).astype(np.float32)


EXTENT_Z = 1.0
SEED_Z = 2.5


def changed_voxels(
    reference: LabelImage, followup: LabelImage, *, evidence: Image | None = None
) -> tuple[LabelImage, LabelImage]:
    """Voxels that became lesion and voxels that ceased to be lesion, from masks and images together.

    Parameters
    ----------
    reference, followup : LabelImage
        Lesion masks of both visits.
    evidence : Image, optional
        `change_evidence` of the visits; None leaves the plain difference of the masks.

    Returns
    -------
    increase, decrease : LabelImage
    """
    became = followup.mask & ~reference.mask
    ceased = reference.mask & ~followup.mask
    if evidence is not None:
        became &= evidence.data >= EXTENT_Z
        ceased &= evidence.data <= -EXTENT_Z
    return LabelImage(became, reference.grid), LabelImage(ceased, reference.grid)
