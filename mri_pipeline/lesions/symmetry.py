"""Comparison with the other hemisphere: tracts, vessels and choroid plexus are bright on both sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.spatial import BoolArray
from mri_pipeline.core.visits import VisitImages


def mirrored(
    values: NDArray[np.float32],
    visit: VisitImages,
    tissue: TissueMaps,
    *,
    smoothing_mm: float,
    reach_mm: float,
    midline_mm: float = 0.0,
    within: BoolArray | None = None,
) -> NDArray[np.float32]:
    """Highest value near the mirrored position of the other hemisphere.

    Parameters
    ----------
    values : ndarray of float32, shape (x, y, z)
    visit : VisitImages
        Provides grid and brain mask.
    tissue : TissueMaps
        Provides the transform from the template, whose midsagittal plane is x = 0.
    smoothing_mm : float
        Standard deviation of the Gaussian filter before the comparison.
    reach_mm : float
        Distance from the mirrored position in mm.
    midline_mm : float
        Voxels that are not farther than this from the midsagittal plane have no other side.
    within : ndarray of bool, shape (x, y, z), optional
        Voxels whose other side is wanted. Default: the brain.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        0 outside of `within`, near the midsagittal plane, and where the mirrored position is outside the grid.
    """
    grid, brain = visit.grid, visit.brain.mask if within is None else within
    reach = [2 * max(1, round(reach_mm / s)) + 1 for s in grid.spacing_mm]
    blurred = ndimage.gaussian_filter(values, smoothing_mm / np.array(grid.spacing_mm))
    highest = ndimage.maximum_filter(blurred, reach)
    points = tissue.template_to_subject.inverse().points(grid.world(np.argwhere(brain).astype(float)))
    lateral = np.abs(points[:, 0]) > midline_mm
    points[:, 0] *= -1.0
    world = tissue.template_to_subject.points(points)
    indices = np.linalg.solve(grid.affine[:3, :3], (world - grid.affine[:3, 3]).T)
    result = np.zeros(grid.shape, dtype=np.float32)
    other_side = ndimage.map_coordinates(highest, indices, order=1, mode="constant")
    result[brain] = np.where(lateral, other_side, 0) if midline_mm > 0 else other_side
    return result
