"""Simulated lesions and scans that benchmarks and tests share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.spatial import Affine, Grid, LabelImage
from mri_pipeline.phantom.histories import growing, shrinking, stable
from mri_pipeline.phantom.lesions import LesionPlan


def merging(
    location: Location, volume_mm3: float, visits: int, *, at: int, factor: float = 8.0, enhancement: float = 0.0
) -> tuple[LesionPlan, LesionPlan]:
    """Two neighbours of twice and once `volume_mm3`; the smaller one grows until they touch at visit `at`.

    Parameters
    ----------
    location, volume_mm3, visits, at, factor, enhancement
        As in `mri_pipeline.phantom.histories.growing`.

    Returns
    -------
    first, second : LesionPlan
        The second lies beside the first.
    """
    first = stable(location, 2.0 * volume_mm3, visits)
    second = growing(location, volume_mm3, visits, at=at, factor=factor, enhancement=enhancement)
    return first, replace(second, beside=first)


def splitting(
    location: Location, volume_mm3: float, visits: int, *, at: int, factor: float = 8.0
) -> tuple[LesionPlan, LesionPlan]:
    """One lesion that splits into two of twice and once `volume_mm3` at visit `at`; the reverse of `merging`.

    Parameters
    ----------
    location, volume_mm3, visits, at, factor
        As in `merging`.

    Returns
    -------
    first, second : LesionPlan
        The second lies beside the first.
    """
    first = stable(location, 2.0 * volume_mm3, visits)
    second = shrinking(location, factor * volume_mm3, visits, at=at, factor=1.0 / factor)
    return first, replace(second, beside=first)


def truth_on_grid(truth: LabelImage, subject_to_target: Affine, grid: Grid) -> LabelImage:
    """Resample true labels to another grid: the label that covers at least half of a voxel.

    Parameters
    ----------
    truth : LabelImage
        From `mri_pipeline.phantom.subject.truth_masks`.
    subject_to_target : Affine
        For a scan: its `mri_pipeline.phantom.subject.VisitScan.subject_to_scanner`.
    grid : Grid
        Target grid.

    Returns
    -------
    LabelImage
        On `grid`.
    """
    target = np.zeros(grid.shape, dtype=truth.data.dtype)
    to_index = np.linalg.inv(grid.affine) @ subject_to_target.matrix @ truth.grid.affine
    voxels = np.argwhere(truth.data > 0)
    if not len(voxels):
        return LabelImage(target, grid)
    labels = truth.data[tuple(voxels.T)]
    # each true voxel is sampled at eight points; a target voxel is lesion if they cover half of it
    corners = np.array(np.meshgrid(*[[-0.25, 0.25]] * 3)).reshape(3, -1).T
    points = (voxels[:, None, :] + corners).reshape(-1, 3)
    index = np.rint(points @ to_index[:3, :3].T + to_index[:3, 3]).astype(int)
    inside = ((index >= 0) & (index < np.array(grid.shape))).all(axis=1)
    flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
    owner = np.repeat(labels, 8)[inside]
    per_voxel = 8.0 * grid.voxel_volume_mm3 / truth.grid.voxel_volume_mm3
    where, counts = np.unique(flat, return_counts=True)
    half = where[counts >= 0.5 * per_voxel]
    lookup = np.zeros(target.size, dtype=truth.data.dtype)
    lookup[flat] = owner
    target.ravel()[half] = lookup[half]
    return LabelImage(target, grid)
