"""Input of registration: averaged images, their gradients, and sample points of the fixed image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.boxes import box_around
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.distances import deeper_than, within_reach
from mri_pipeline.core.holes import filled
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import percentile
from mri_pipeline.core.spatial import FloatArray, Grid, Image, LabelImage

MIN_POINTS = METHOD.sampling.min_points
"""Minimum number of points for a registration."""
_SMOOTHING = METHOD.sampling.smoothing
_SMOOTHED_UP_TO = METHOD.sampling.smoothed_up_to


@dataclass(frozen=True)
class Samples:
    """Sample points of the fixed image.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        World coordinates in mm.
    values : ndarray, shape (n,)
        Intensities.
    bins : ndarray of int, shape (n,)
        Intensity bins, 0 to ``n_bins - 1``.
    n_bins : int
    """

    points_mm: FloatArray
    values: FloatArray
    bins: NDArray[np.integer[Any]]
    n_bins: int


@dataclass(frozen=True)
class PyramidLevel:
    """The moving image at one resolution, with its gradient in world coordinates.

    Parameters
    ----------
    channels : ndarray, shape (4, nx, ny, nz)
        Intensity and the three components of its gradient per mm.
    grid : Grid
        Grid of the averaged image, shape (nx, ny, nz).
    """

    channels: FloatArray
    grid: Grid


def downsample(image: Image, spacing_mm: float) -> Image:
    """Average blocks of voxels to a coarser voxel size.

    Parameters
    ----------
    image : Image
    spacing_mm : float
        Approximate voxel size of the result in mm. Axes that are already this coarse are unchanged.

    Returns
    -------
    Image
        Same orientation; an incomplete block at the end of an axis is dropped.
    """
    factors = _block(image.grid, spacing_mm)
    shape = [max(1, n // f) for n, f in zip(image.grid.shape, factors, strict=True)]
    factors = [min(f, n) for f, n in zip(factors, image.grid.shape, strict=True)]
    data = image.data
    for axis, (n, f) in enumerate(zip(shape, factors, strict=True)):
        data = np.moveaxis(data, axis, 0)[: n * f]
        data = np.moveaxis(data.reshape(n, f, *data.shape[1:]).mean(axis=1, dtype=np.float32), 0, axis)
    scale = np.diag([*factors, 1.0])
    scale[:3, 3] = (np.array(factors) - 1.0) / 2.0
    return Image(data, Grid(data.shape, image.grid.affine @ scale))


def _block(grid: Grid, spacing_mm: float) -> list[int]:
    """Number of voxels along each axis that are averaged into one of about `spacing_mm`."""
    return [max(1, int(spacing_mm / s + METHOD.sampling.rounded_up)) for s in grid.spacing_mm]


def level_of(image: Image, spacing_mm: float, *, smoothing_mm: float | None = None) -> PyramidLevel:
    """The moving image averaged to a voxel size, slightly smoothed, with its gradient.

    Parameters
    ----------
    image : Image
    spacing_mm : float
        Approximate voxel size in mm.
    smoothing_mm : float, optional
        Length that sets the Gaussian smoothing (sigma 0.6 times this length). Default: `spacing_mm`.

    Returns
    -------
    PyramidLevel
    """
    small = downsample(image, spacing_mm)
    data = _smoothed(small, spacing_mm if smoothing_mm is None else smoothing_mm)
    steps = [np.gradient(data, axis=a) if data.shape[a] > 1 else np.zeros_like(data) for a in range(3)]
    to_world = np.linalg.inv(small.grid.affine[:3, :3]).T.astype(np.float32)
    gradient = np.tensordot(to_world, np.stack(steps), axes=1)
    return PyramidLevel(np.concatenate([data[None], gradient]).astype(np.float32), small.grid)


def _smoothed(image: Image, spacing_mm: float) -> FloatArray:
    sigma = [
        _SMOOTHING * spacing_mm / s if s < _SMOOTHED_UP_TO * spacing_mm else 0.0 for s in image.grid.spacing_mm
    ]
    return np.asarray(ndimage.gaussian_filter(image.data, sigma, mode="nearest"))


def smoothed_box(image: Image, spacing_mm: float, corners_mm: FloatArray) -> Image:
    """Part of an image within the bounding box of world points, averaged to `spacing_mm` and slightly smoothed.

    The voxels coincide with those of the averaged whole image, for every box.

    Parameters
    ----------
    image : Image
    spacing_mm : float
    corners_mm : ndarray, shape (n, 3)
        World points in mm.

    Returns
    -------
    Image
    """
    to_index = np.linalg.inv(image.grid.affine)
    index = corners_mm @ to_index[:3, :3].T + to_index[:3, 3]
    # margin of a few voxels: smoothing must not depend on the box, and the transform may change
    pad = np.ceil(3 * spacing_mm / np.array(image.grid.spacing_mm)) + 1
    box = box_around(index, image.grid.shape, pad)
    low = np.array([side.start for side in box])
    low -= low % _block(image.grid, spacing_mm)
    data = image.data[tuple(slice(start, side.stop) for start, side in zip(low, box, strict=True))]
    # not `Crop.image`: its origin differs in the last bit, and with it every registration
    moved = np.eye(4)
    moved[:3, 3] = low
    small = downsample(Image(data, Grid(data.shape, image.grid.affine @ moved)), spacing_mm)
    return Image(_smoothed(small, spacing_mm).astype(np.float32), small.grid)


def values_and_gradients(image: Image, points_mm: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Linear interpolation at world points and its exact gradient.

    Parameters
    ----------
    image : Image
    points_mm : ndarray, shape (n, 3)
        World coordinates in mm.

    Returns
    -------
    values : ndarray, shape (n,)
    gradients : ndarray, shape (3, n)
        In world coordinates, per mm.
    inside : ndarray of bool, shape (n,)
        True for points within the image.
    """
    to_index = np.linalg.inv(image.grid.affine)
    index = to_index[:3, :3] @ points_mm.T + to_index[:3, 3:]
    size = np.array(image.grid.shape)[:, None]
    inside = ((index >= -0.5) & (index <= size - 0.5)).all(axis=0)
    clipped = np.clip(index, 0, size - 1)
    low = np.minimum(clipped.astype(np.intp), np.maximum(size - 2, 0))
    x, y, z = (clipped - low).astype(np.float32)
    ny, nz = image.grid.shape[1:]
    dx, dy, dz = (step if n > 1 else 0 for step, n in zip((ny * nz, nz, 1), image.grid.shape, strict=True))
    flat = np.ascontiguousarray(image.data, dtype=np.float32).ravel()
    corner = (low[0] * ny + low[1]) * nz + low[2]
    # z first: the four edges of the cell and their slopes
    edges, slopes = [], []
    for offset in (0, dy, dx, dx + dy):
        near = flat.take(corner + offset)
        slope = flat.take(corner + (offset + dz)) - near
        edges.append(near + z * slope)
        slopes.append(slope)
    left, right = (edges[0] + y * (edges[1] - edges[0])), (edges[2] + y * (edges[3] - edges[2]))
    across = (edges[1] - edges[0]) * (1 - x) + (edges[3] - edges[2]) * x
    up_left, up_right = slopes[0] + y * (slopes[1] - slopes[0]), slopes[2] + y * (slopes[3] - slopes[2])
    gradient = np.stack([right - left, across, up_left + x * (up_right - up_left)])
    return left + x * (right - left), to_index[:3, :3].T @ gradient, np.asarray(inside)


def samples_of(
    image: Image,
    spacing_mm: float,
    *,
    mask: LabelImage | None = None,
    margin_mm: float = 0.0,
    max_points: int,
) -> Samples:
    """Sample points of the fixed image: voxels of the mask at `spacing_mm`, thinned evenly.

    Parameters
    ----------
    image : Image
    spacing_mm : float
        Voxel size to which the image is averaged.
    mask : LabelImage, optional
        Region on the grid of the image. Default: the inner foreground.
    margin_mm : float
        Dilation of the mask in mm.
    max_points : int
        Maximum number of points.

    Returns
    -------
    Samples
        The same image always gives the same points.
    """
    small = downsample(image, spacing_mm)
    data = _smoothed(small, spacing_mm)
    if mask is not None:
        wanted = downsample(Image(mask.mask.astype(np.float32), mask.grid), spacing_mm).data > 0.5
        if margin_mm > 0:
            wanted = within_reach(wanted, margin_mm, small.grid.spacing_mm)
    else:
        wanted = _inner(foreground(data), small.grid)
    index = np.argwhere(wanted)
    if len(index) > max_points:
        # fixed seed: even, reproducible thinning without the stripe pattern of a regular step
        index = index[np.sort(np.random.default_rng(0).choice(len(index), max_points, replace=False))]
    values = data[tuple(index.T)].astype(np.float64)
    points = small.grid.world(index.astype(float))
    return Samples(points, values, *binned(values, METHOD.sampling.bins))


def inner_foreground(image: Image, spacing_mm: float = METHOD.sampling.inner_spacing_mm) -> LabelImage:
    """Part of the head more than 10 mm below its surface.

    Parameters
    ----------
    image : Image
    spacing_mm : float
        Approximate voxel size of the result in mm.

    Returns
    -------
    LabelImage
        The whole foreground if fewer than `MIN_POINTS` voxels are that deep.
    """
    small = downsample(image, spacing_mm)
    return LabelImage(_inner(foreground(small.data), small.grid), small.grid)


def _inner(
    mask: NDArray[np.bool_], grid: Grid, depth_mm: float = METHOD.sampling.inner_depth_mm
) -> NDArray[np.bool_]:
    """Part of the foreground well below its surface: brain rather than scalp; the whole mask if it is too small."""
    inner = deeper_than(mask, depth_mm, grid.spacing_mm)
    return np.asarray(inner if np.count_nonzero(inner) > MIN_POINTS else mask)


def binned(values: FloatArray, n_bins: int) -> tuple[NDArray[np.integer[Any]], int]:
    """Assign values to bins of equal width between their 0.5th and 99.5th percentile.

    Parameters
    ----------
    values : ndarray, shape (n,)
    n_bins : int

    Returns
    -------
    bins : ndarray of int, shape (n,)
        0 to ``n_bins - 1``; values beyond the percentiles are in the outer bins.
    n_bins : int
        1 if there are no values.
    """
    if len(values) == 0:
        return np.zeros(0, dtype=int), 1
    low, high = percentile(values, METHOD.sampling.range_percentiles)
    width = max(float(high - low), 1e-12)
    return np.clip((values - low) / width * n_bins, 0, n_bins - 1).astype(int), n_bins


def foreground(data: FloatArray) -> NDArray[np.bool_]:
    """Foreground mask (head or brain): above a low fraction of bright tissue, with a margin and without holes.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        Intensities.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        All voxels are foreground if the image has no positive value.
    """
    positive = data[data > 0]
    if positive.size == 0:
        return np.ones(data.shape, dtype=bool)
    threshold = METHOD.sampling.foreground_share * float(
        percentile(positive, METHOD.sampling.foreground_percentile)
    )
    parts = ConnectedComponents.of(ndimage.binary_opening(data > threshold), connectivity=1)
    whole = filled(ndimage.binary_dilation(parts.highest(parts.sizes)))
    return np.asarray(whole if whole.any() else np.ones(data.shape, dtype=bool))
