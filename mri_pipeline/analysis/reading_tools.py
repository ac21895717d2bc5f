"""Tools of the reading view that propose voxels. The reader decides whether they are stored."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from mri_pipeline.core.boxes import widened_box
from mri_pipeline.core.components import connected_parts, structure
from mri_pipeline.core.distances import within_reach
from mri_pipeline.core.spatial import BoolArray, Grid
from mri_pipeline.lesions.t2.border import small_to_half_height

FILL_REACH_MM: Final = 12.0
"""A lesion is filled up to this distance from the seed."""
SEED_REACH_MM: Final = 2.5
"""The seed moves to the extreme voxel within this distance."""
SPLIT_SMOOTHING: Final = 0.7
"""Gaussian width (sigma, in voxels) of the smoothing of the depth of a lesion before it is split."""


def fill_from(
    seed: tuple[int, int, int], values: NDArray[np.uint16], level: float, grid: Grid, *, dark: bool
) -> BoolArray:
    """The voxels around a seed up to half of its contrast, by the delineation of small lesions.

    Parameters
    ----------
    seed : tuple of 3 int
    values : ndarray of uint16, shape of the grid
        Displayed intensities.
    level : float
        Intensity of normal tissue.
    grid : Grid
    dark : bool
        True for lesions darker than normal tissue.

    Returns
    -------
    ndarray of bool, shape of the grid
        Empty if the seed has no contrast.
    """
    reach = [int(np.ceil(FILL_REACH_MM / s)) for s in grid.spacing_mm]
    box = widened_box(tuple(slice(i, i + 1) for i in seed), reach, values.shape)
    contrast = (values[box].astype(np.float32) - np.float32(level)) * (-1 if dark else 1)
    contrast[values[box] == 0] = 0  # outside the head
    local = Grid(contrast.shape, grid.affine)
    found = np.zeros(contrast.shape, dtype=bool)
    found[tuple(i - s.start for i, s in zip(seed, box, strict=True))] = True
    near = within_reach(found, SEED_REACH_MM, local.spacing_mm)
    best = np.unravel_index(int(np.argmax(np.where(near, contrast, -np.inf))), contrast.shape)
    result = np.zeros(values.shape, dtype=bool)
    if contrast[best] <= 0:
        return result
    found[...] = False
    found[best] = True
    result[box] = small_to_half_height(found, contrast, local, small_mm3=np.inf, reach_mm=FILL_REACH_MM)
    return result


def split_in_two(lesion: BoolArray, spacing_mm: tuple[float, ...]) -> NDArray[np.integer[Any]]:
    """Split a lesion at its narrowest place, or into its connected parts.

    Parameters
    ----------
    lesion : ndarray of bool, shape (x, y, z)
        In its bounding box.
    spacing_mm : tuple of 3 float

    Returns
    -------
    ndarray of int, shape (x, y, z)
        0 outside, 1 for the largest part, 2 for the rest. All 1 if there is no narrow place.
    """
    parts, count = connected_parts(lesion)
    if count < 2:
        padded = np.pad(lesion, 1)
        depth = ndimage.distance_transform_edt(padded, sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
        smooth = ndimage.gaussian_filter(depth, SPLIT_SMOOTHING)
        peaks = (ndimage.maximum_filter(smooth, footprint=structure(3)) == smooth) & lesion
        seeds, count = connected_parts(peaks)
        heights = ndimage.maximum(smooth, seeds, np.arange(1, count + 1))
        highest = 1 + np.argsort(-np.asarray(heights), kind="stable")[:2]
        if len(highest) < 2:
            return lesion.astype(np.uint8)
        markers = np.select([seeds == highest[0], seeds == highest[1]], [1, 2], 0)
        parts = watershed(-smooth, markers, mask=lesion, connectivity=structure(3))
    sizes = np.bincount(parts.ravel())[1:]
    largest = 1 + int(np.argmax(sizes))
    return np.where(parts == largest, 1, np.where(lesion, 2, 0)).astype(np.uint8)
