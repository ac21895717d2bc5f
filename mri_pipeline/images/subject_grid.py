"""Voxel grid of the subject space: the resolution of the FLAIRs, cropped to the brain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import GRID_TOLERANCE_MM, Affine, FloatArray, Grid, Image, LabelImage
from mri_pipeline.images.sampling import downsample

ISOTROPIC_MAX_MM = METHOD.grid.isotropic_max_mm
_ISOTROPIC_GRID_MM = METHOD.grid.isotropic_grid_mm
_COARSEST_IN_PLANE_MM = METHOD.grid.coarsest_in_plane_mm


def subject_grid(
    flairs: Sequence[Grid],
    to_subject: Sequence[Affine],
    brains: Sequence[LabelImage],
    *,
    margin_mm: float = METHOD.grid.margin_mm,
) -> Grid:
    """Grid for all images of a subject.

    If more than half of the FLAIRs are 3D (no voxel side above 1.5 mm), the grid is 1 mm isotropic. Otherwise the 2D
    FLAIRs determine it: the slice direction is that of most of them, the slice thickness that of the thinnest, and
    the in-plane voxel size that of the coarsest, at most 1 mm. Axes are RAS, rotated to the mean of the scan axes in
    subject space, so that slices are preserved. A single visit keeps its own voxels, so that it is not interpolated;
    so do visits whose voxels coincide in subject space. The result does not depend on the order of the visits.

    Parameters
    ----------
    flairs : sequence of Grid
        Grid of the FLAIR of each visit.
    to_subject : sequence of Affine
        ``flair_to_subject`` of each visit.
    brains : sequence of LabelImage
        Brain mask of each visit, on the grid of its FLAIR.
    margin_mm : float
        Margin around the brain in mm.

    Returns
    -------
    Grid

    Raises
    ------
    UsageError
        If there is no visit, the sequences differ in length, or a brain mask is empty.
    """
    if not flairs or not len(flairs) == len(to_subject) == len(brains):
        raise UsageError("subject grid: expected a transform and a brain mask for each FLAIR")
    points = np.concatenate(
        [transform.points(_outline(brain)) for brain, transform in zip(brains, to_subject, strict=True)]
    )
    if _coincide(flairs, to_subject):
        flairs, to_subject = flairs[:1], to_subject[:1]
    spacing = _spacing(flairs)
    directions = _mean_directions(flairs, to_subject)
    along = points @ directions
    anchor = _anchor(flairs, to_subject, directions, spacing)
    low = np.floor((along.min(axis=0) - margin_mm - anchor) / spacing)
    high = np.ceil((along.max(axis=0) + margin_mm - anchor) / spacing)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = directions @ (anchor + low * spacing)
    nx, ny, nz = (int(n) + 1 for n in high - low)
    return Grid((nx, ny, nz), affine)


def is_3d(grid: Grid) -> bool:
    """True if no voxel side of a scan exceeds `ISOTROPIC_MAX_MM`.

    Parameters
    ----------
    grid : Grid

    Returns
    -------
    bool
    """
    return round(max(grid.spacing_mm), 3) <= ISOTROPIC_MAX_MM  # tolerance for rounded affines


def _ras(grid: Grid) -> Grid:
    """Grid of the same voxels with axes closest to right, anterior, superior."""
    return Image(np.broadcast_to(np.float32(0), grid.shape), grid).reoriented("RAS").grid


def _coincide(flairs: Sequence[Grid], to_subject: Sequence[Affine]) -> bool:
    """True if the voxel centres of all FLAIRs coincide in the subject's space, up to shifts by whole voxels."""
    first = _ras(flairs[0])
    for grid, transform in zip(flairs[1:], to_subject[1:], strict=True):
        own = _ras(grid)
        index = np.linalg.inv(to_subject[0].matrix @ first.affine) @ transform.matrix @ own.affine
        shift_mm = (index[:3, 3] - np.rint(index[:3, 3])) * first.spacing_mm
        drift_mm = (np.abs(index[:3, :3] - np.eye(3)) @ own.shape) * first.spacing_mm
        if max(np.abs(shift_mm).max(), drift_mm.max()) > GRID_TOLERANCE_MM:
            return False
    return True


def _spacing(flairs: Sequence[Grid]) -> FloatArray:
    if len(flairs) == 1:
        own = np.array(_ras(flairs[0]).spacing_mm)
        if not is_3d(flairs[0]) or own.min() > METHOD.grid.finer_share * _ISOTROPIC_GRID_MM:
            return own
    flat = [_ras(grid) for grid in flairs if not is_3d(grid)]
    if 2 * len(flat) < len(flairs):
        return np.full(3, _ISOTROPIC_GRID_MM)
    counts = Counter(grid.slice_axis for grid in flat)
    axis = max(counts, key=lambda a: (counts[a], a))
    agreeing = [grid for grid in flat if grid.slice_axis == axis]
    in_plane = max(s for grid in agreeing for a, s in enumerate(grid.spacing_mm) if a != axis)
    spacing = np.full(3, min(in_plane, _COARSEST_IN_PLANE_MM))
    spacing[axis] = min(grid.spacing_mm[axis] for grid in agreeing)
    return np.round(spacing, 4)


def _mean_directions(flairs: Sequence[Grid], to_subject: Sequence[Affine]) -> FloatArray:
    """Orthonormal axes (columns) closest to the mean of the RAS axes of the scans in subject space."""
    total = np.zeros((3, 3))
    for grid, transform in zip(flairs, to_subject, strict=True):
        axes = transform.matrix[:3, :3] @ _ras(grid).affine[:3, :3]
        total += axes / np.linalg.norm(axes, axis=0)
    u, _, vt = np.linalg.svd(total)
    return np.asarray(u @ vt)


def _anchor(
    flairs: Sequence[Grid], to_subject: Sequence[Affine], directions: FloatArray, spacing: FloatArray
) -> FloatArray:
    """Position of a voxel centre along each axis: a voxel of a single visit, otherwise the world origin."""
    if len(flairs) > 1:
        return np.zeros(3)
    origin = to_subject[0].points(_ras(flairs[0]).affine[None, :3, 3])[0]
    return np.asarray((origin @ directions) % spacing)


def _outline(brain: LabelImage) -> FloatArray:
    """World points of the brain mask at a coarse spacing, extended by half a block to each side."""
    small = downsample(Image(brain.mask.astype(np.float32), brain.grid), METHOD.grid.outline_mm)
    index = np.argwhere(small.data > 0).astype(float)
    if len(index) == 0:
        raise UsageError("subject grid: expected a brain mask, found an empty one")
    half = 0.5 * np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    return np.concatenate([small.grid.world(index + h) for h in half])
