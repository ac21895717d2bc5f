"""Last step of rigid registration: symmetric Gauss-Newton maximisation of mutual information.

Near the solution the conditional mean of `mri_pipeline.images.matching` is no longer the best predictor. Fluid and
bone are both dark on FLAIR, but on T2 fluid is bright and bone is dark. The joint density represents both cases. Each
point contributes the gradient of its log density ratio. The outer products of these gradients form the information
matrix (Berndt, Hall, Hall and Hausman 1974), so that no step size search is needed.

Each image is sampled at points of the other, and both gradients are summed. Interpolation blurs the sampled image, by
an amount that depends on the offset, which biases a one-sided fit towards some offsets. The sum is symmetric:
exchanging the images gives the inverse transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.distances import within_reach
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import percentile
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, Grid, Image, LabelImage
from mri_pipeline.images.matching import TURN_ARM_MM, finite_motion, generators
from mri_pipeline.images.sampling import MIN_POINTS, binned, downsample, smoothed_box, values_and_gradients

_DENSITY = METHOD.joint_density
_BINS = _DENSITY.bins
_LAST_BIN = _BINS - 1.001
"""Upper limit of a position in bins: just below the last bin, so that it has a right neighbour."""
_EVENLY = 1.2207440846057596 ** -np.arange(1.0, 4.0)
"""Steps of a low-discrepancy sequence in three dimensions: powers of the root of x^4 = x + 1 (Roberts 2018)."""
_DIGITS = (997.0, 1009.0, 1013.0)
"""Primes that make three offsets of the last digits of one rank."""


@dataclass(frozen=True)
class _Side:
    """Points of one image in its world coordinates, the bins of their values, and the image for interpolation."""

    points_mm: FloatArray
    bins: NDArray[np.intp]
    image: Image


def refine_rigid(
    fixed: Image,
    moving: Image,
    region: LabelImage,
    fixed_to_moving: Affine,
    *,
    spacing_mm: float,
    max_points: int,
    tolerance_mm: float,
    moving_region: LabelImage | None = None,
) -> Affine:
    """Refine a rigid transform with an error of some millimetres by maximising mutual information.

    Parameters
    ----------
    fixed, moving : Image
    region : LabelImage
        Region to match, in world coordinates of the fixed image (see `widened`).
    fixed_to_moving : Affine
        Initial transform.
    spacing_mm : float
        Smaller voxels are averaged to this size.
    max_points : int
        Maximum number of sampled voxels of each image.
    tolerance_mm : float
        Iterations end when the step is below this length.
    moving_region : LabelImage, optional
        Region to match in world coordinates of the moving image. If given, the intersection of both regions is used,
        whichever image is the fixed one.

    Returns
    -------
    Affine
        Fixed to moving. The initial transform if the images hardly overlap.
    """
    moving_to_fixed, still = fixed_to_moving.inverse(), Affine.identity()
    of_fixed, of_moving = [(region, still)], [(region, moving_to_fixed)]
    if moving_region is not None:
        # the own region of each image comes first and defines its box: the points do not depend on the direction
        of_fixed, of_moving = [*of_fixed, (moving_region, fixed_to_moving)], [(moving_region, still), *of_moving]
    between = same_voxel_lattice(fixed.grid, moving.grid, fixed_to_moving)
    sides = (
        _side(fixed, of_fixed, spacing_mm, max_points, between=between),
        _side(moving, of_moving, spacing_mm, max_points, between=between),
    )
    if min(len(side.points_mm) for side in sides) < MIN_POINTS:
        return fixed_to_moving
    basis = generators(6)
    centre = sides[0].points_mm.mean(axis=0)
    best, reached = fixed_to_moving, -np.inf
    step: FloatArray = np.zeros(6)
    for _ in range(_DENSITY.most_steps):
        current = best @ finite_motion(basis, step, centre)
        information, slope, value = _both(sides, current, centre)
        if value < reached:
            step = step / 2
        else:
            best, reached = current, value
            information += np.eye(6) * (_DENSITY.damping * np.trace(information) / 6 + 1e-12)
            step = np.linalg.solve(information, slope)
            step *= min(1.0, _DENSITY.longest_step_mm / max(float(np.abs(step).max()), 1e-9))
        if float(np.abs(step).max()) < tolerance_mm:
            break
    return best


def widened(region: LabelImage, margin_mm: float) -> LabelImage:
    """Region dilated by a margin in mm, on a grid of about 2 mm.

    Parameters
    ----------
    region : LabelImage
    margin_mm : float
        0 only averages the region to the coarser grid.

    Returns
    -------
    LabelImage
        1 in the region.
    """
    small = downsample(Image(region.mask.astype(np.float32), region.grid), _DENSITY.region_mm)
    mask = small.data > 0.5
    if margin_mm > 0:
        mask = within_reach(mask, margin_mm, small.grid.spacing_mm)
    return LabelImage(mask, small.grid)


def same_voxel_lattice(fixed: Grid, moving: Grid, fixed_to_moving: Affine) -> bool:
    """True if two voxel grids differ only by a translation, and possibly by exchanged or reversed axes.

    Interpolation then blurs an image by the same amount everywhere, and mutual information has false maxima caused
    by differences in blur (Pluim et al., Comput Vis Image Underst 2000;77:211).

    Parameters
    ----------
    fixed, moving : Grid
    fixed_to_moving : Affine

    Returns
    -------
    bool
    """
    mapping = np.linalg.inv(moving.affine) @ fixed_to_moving.matrix @ fixed.affine
    whole = np.rint(mapping[:3, :3])
    drift = np.abs(mapping[:3, :3] - whole) @ (np.array(fixed.shape) / 2)
    return bool(drift.max() < _DENSITY.lattice_drift and abs(np.linalg.det(whole)) == 1)


def _side(
    image: Image,
    regions: Sequence[tuple[LabelImage, Affine]],
    spacing_mm: float,
    max_points: int,
    *,
    between: bool,
) -> _Side:
    """Points of an image within all regions, and the image in the box of the first region.

    Each region comes with the transform from the image to its world. The points are voxel centres, or are evenly
    distributed between them if `between` is True.
    """
    region, to_region = regions[0]
    box = smoothed_box(image, spacing_mm, _corners(region, to_region.inverse()))
    rank = _even_rank(box.grid)
    chosen = np.flatnonzero(rank * box.data.size < _DENSITY.candidates * max_points)
    points = box.grid.world(np.stack(np.unravel_index(chosen, box.grid.shape), axis=1).astype(float))
    inside = np.flatnonzero(np.all([_within(where, mapping.points(points)) for where, mapping in regions], axis=0))
    if len(inside) > max_points:
        inside = inside[np.argpartition(rank[chosen[inside]], max_points)[:max_points]]
    points, values = points[inside], box.data.ravel()[chosen[inside]]
    if between:
        points = points + _offsets(rank[chosen[inside]]) @ box.grid.affine[:3, :3].T
        values, _, _ = values_and_gradients(box, points)
    bins, _ = binned(values.astype(float), _BINS)
    return _Side(points, bins.astype(np.intp), box)


def _offsets(rank: FloatArray) -> FloatArray:
    """Offsets of -0.5 to 0.5 voxels along each axis, shape (n, 3), from the last digits of `_even_rank`."""
    return np.asarray(rank[:, None] * _DIGITS % 1.0 - 0.5)


def _even_rank(grid: Grid) -> FloatArray:
    """Rank from 0 to 1 for each voxel, flat; voxels below any limit are evenly distributed (Kronecker sequence).

    The rank depends on the position of a voxel on the lattice of the image, not on the box. The same points are used
    whichever image is the fixed one. With random points for each direction, the inconsistency of forward and inverse
    registration is twice as large.
    """
    first = np.linalg.solve(grid.affine[:3, :3], grid.affine[:3, 3])
    steps = zip(grid.shape, first, _EVENLY, strict=True)
    x, y, z = (((np.arange(n) + f) * g % 1.0).astype(np.float32) for n, f, g in steps)
    rank = x[:, None, None] + (y[:, None] + z)
    return np.asarray((rank - np.floor(rank)).ravel())


def _corners(region: LabelImage, mapping: Affine) -> FloatArray:
    """Transformed corners of the bounding box of a region, shape (8, 3)."""
    where = [np.flatnonzero(region.mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    ends = [(w[0], w[-1]) if len(w) else (0, 0) for w in where]
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T.astype(float)
    return mapping.points(region.grid.world(corners))


def _within(region: LabelImage, points_mm: FloatArray) -> BoolArray:
    to_index = np.linalg.inv(region.grid.affine)
    index = np.rint(points_mm @ to_index[:3, :3].T + to_index[:3, 3]).astype(int)
    inside: BoolArray = np.asarray(((index >= 0) & (index < region.grid.shape)).all(axis=1))
    inside[inside] = region.mask[tuple(index[inside].T)]
    return inside


def _both(
    sides: tuple[_Side, _Side], fixed_to_moving: Affine, centre: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Information matrix, gradient and mutual information, summed over both directions."""
    fixed, moving = sides
    there, gradient, inside = values_and_gradients(moving.image, fixed_to_moving.points(fixed.points_mm))
    turned = fixed_to_moving.matrix[:3, :3].T @ gradient
    one = _slopes(there, inside, fixed.bins, _along_motions(turned, fixed.points_mm - centre))
    at = fixed_to_moving.inverse().points(moving.points_mm)
    back, gradient, inside = values_and_gradients(fixed.image, at)
    other = _slopes(back, inside, moving.bins, _along_motions(-gradient, at - centre))
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def log_density_ratio(counts: FloatArray) -> FloatArray:
    """Log ratio of the joint density to the product of its marginals, by a Parzen window.

    Parameters
    ----------
    counts : ndarray, shape (m, n)
        Joint histogram.

    Returns
    -------
    ndarray, shape (m, n)
        Zeros if the histogram is empty.
    """
    density = ndimage.gaussian_filter(counts, _DENSITY.parzen_bins, mode="constant")
    density = density / max(float(density.sum()), 1e-12) + _DENSITY.least_density / density.size
    return np.asarray(np.log(density / (density.sum(axis=0) * density.sum(axis=1, keepdims=True))))


def _along_motions(gradient: FloatArray, from_centre_mm: FloatArray) -> FloatArray:
    """Change of the value under each of the six motions of `generators`, shape (6, n)."""
    turns = np.cross(from_centre_mm.T, gradient, axis=0) / TURN_ARM_MM
    return np.concatenate([gradient, turns])


def _slopes(
    values: FloatArray, inside: BoolArray, bins: NDArray[np.intp], along: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Information matrix, gradient over the motions, and mutual information of the values with the bins."""
    n = np.count_nonzero(inside)
    if n < MIN_POINTS:
        return np.zeros((6, 6)), np.zeros(6), 0.0
    values, bins = values[inside], bins[inside]
    low, high = percentile(values, METHOD.sampling.range_percentiles)
    per_bin = max(float(high - low), 1e-12) / (_BINS - 1)
    place = np.clip((values - low) / per_bin, 0, _LAST_BIN)
    left = place.astype(np.intp)
    part = place - left
    cell = bins * _BINS + left
    counts = np.bincount(cell, 1 - part, _BINS**2) + np.bincount(cell + 1, part, _BINS**2)
    ratio = log_density_ratio(counts.astype(float).reshape(_BINS, _BINS))
    rise = np.gradient(ratio, axis=1).ravel() / per_bin
    # beyond the last bin the density does not change
    slope = np.where((place > 0) & (place < _LAST_BIN), rise[cell] * (1 - part) + rise[cell + 1] * part, 0.0)
    along = along[:, inside] * slope
    return along @ along.T / n, along.sum(axis=1) / n, float(ratio.ravel() @ counts / counts.sum())
