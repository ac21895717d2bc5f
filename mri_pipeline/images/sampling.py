"""What registration looks at: averaged images, their gradients, and points of the fixed image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.spatial import FloatArray, Grid, Image, LabelImage

MIN_POINTS = 200
"""Fewer points than this say nothing about a position."""


@dataclass(frozen=True)
class Samples:
    """Points of the fixed image: `points_mm` (n, 3), their `values` (n,) and `bins` (n,) from 0 to n_bins - 1."""

    points_mm: FloatArray
    values: FloatArray
    bins: NDArray[np.integer[Any]]
    n_bins: int


@dataclass(frozen=True)
class Level:
    """The moving image at one resolution, with its gradient in world coordinates.

    `channels` has shape (4, nx, ny, nz): intensity and the three components of its gradient per mm.
    """

    channels: FloatArray
    grid: Grid


def downsample(image: Image, spacing_mm: float) -> Image:
    """Average blocks of voxels to about `spacing_mm`; axes that are coarser stay as they are."""
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
    """How many voxels along each axis are averaged into one of about `spacing_mm`."""
    return [max(1, int(spacing_mm / s + 0.26)) for s in grid.spacing_mm]


def level_of(image: Image, spacing_mm: float, *, smoothing_mm: float | None = None) -> Level:
    """The moving image averaged to `spacing_mm`, slightly smoothed, with its gradient."""
    small = downsample(image, spacing_mm)
    data = _smoothed(small, spacing_mm if smoothing_mm is None else smoothing_mm)
    steps = [np.gradient(data, axis=a) if data.shape[a] > 1 else np.zeros_like(data) for a in range(3)]
    to_world = np.linalg.inv(small.grid.affine[:3, :3]).T.astype(np.float32)
    gradient = np.tensordot(to_world, np.stack(steps), axes=1)
    return Level(np.concatenate([data[None], gradient]).astype(np.float32), small.grid)


def _smoothed(image: Image, spacing_mm: float) -> FloatArray:
    sigma = [0.6 * spacing_mm / s if s < 1.5 * spacing_mm else 0.0 for s in image.grid.spacing_mm]
    return np.asarray(ndimage.gaussian_filter(image.data, sigma, mode="nearest"))


def smoothed_box(image: Image, spacing_mm: float, corners_mm: FloatArray) -> Image:
    """The part of an image within the box of some world points, averaged to `spacing_mm` and slightly smoothed.

    Its voxels are those of the whole image averaged, whatever the box.
    """
    to_index = np.linalg.inv(image.grid.affine)
    index = corners_mm @ to_index[:3, :3].T + to_index[:3, 3]
    # a few voxels more: smoothing must not see the box, and the fit may move
    pad = np.ceil(3 * spacing_mm / np.array(image.grid.spacing_mm)) + 1
    shape = np.array(image.grid.shape)
    low = np.clip(np.floor(index.min(axis=0) - pad), 0, shape - 1).astype(int)
    low -= low % _block(image.grid, spacing_mm)
    high = np.clip(np.ceil(index.max(axis=0) + pad) + 1, low + 1, shape).astype(int)
    data = image.data[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    moved = np.eye(4)
    moved[:3, 3] = low
    small = downsample(Image(data, Grid(data.shape, image.grid.affine @ moved)), spacing_mm)
    return Image(_smoothed(small, spacing_mm).astype(np.float32), small.grid)


def values_and_gradients(image: Image, points_mm: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Linear interpolation at world points and its exact gradient.

    Returns
    -------
    values, gradients, inside
        Shapes (n,), (3, n) in world coordinates per mm, and (n,): whether a point is within the image.
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
    # along z first: the four edges of the cell and their slopes
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
    n_bins: int = 32,
    max_points: int = 60_000,
) -> Samples:
    """Points of the fixed image: voxels of the mask (or of the inner foreground) at `spacing_mm`, thinned evenly.

    The same image always gives the same points. `mask` lies on the image's own grid; it is widened by `margin_mm`.
    """
    small = downsample(image, spacing_mm)
    data = _smoothed(small, spacing_mm)
    if mask is not None:
        wanted = downsample(Image(mask.mask.astype(np.float32), mask.grid), spacing_mm).data > 0.5
        if margin_mm > 0:
            wanted = ndimage.distance_transform_edt(~wanted, sampling=small.grid.spacing_mm) <= margin_mm
    else:
        wanted = _inner(foreground(data), small.grid)
    index = np.argwhere(wanted)
    if len(index) > max_points:
        # a fixed seed: an even, reproducible thinning without the stripes of a regular step
        index = index[np.sort(np.random.default_rng(0).choice(len(index), max_points, replace=False))]
    values = data[tuple(index.T)].astype(np.float64)
    points = small.grid.world(index.astype(float))
    return Samples(points, values, *binned(values, n_bins))


def inner_foreground(image: Image, spacing_mm: float = 4.0) -> LabelImage:
    """The part of the head well below its surface, on a grid of about `spacing_mm`."""
    small = downsample(image, spacing_mm)
    return LabelImage(_inner(foreground(small.data), small.grid), small.grid)


def _inner(mask: NDArray[np.bool_], grid: Grid, depth_mm: float = 10.0) -> NDArray[np.bool_]:
    """The part of the foreground well below its surface: brain rather than scalp."""
    inner = ndimage.distance_transform_edt(mask, sampling=grid.spacing_mm) > depth_mm
    return np.asarray(inner if np.count_nonzero(inner) > MIN_POINTS else mask)


def binned(values: FloatArray, n_bins: int) -> tuple[NDArray[np.integer[Any]], int]:
    """Bins of equal width between robust extremes."""
    if len(values) == 0:
        return np.zeros(0, dtype=int), 1
    low, high = np.percentile(values, [0.5, 99.5])
    width = max(float(high - low), 1e-12)
    return np.clip((values - low) / width * n_bins, 0, n_bins - 1).astype(int), n_bins


def foreground(data: FloatArray) -> NDArray[np.bool_]:
    """Head or brain against air: above a low share of the bright tissue, with a margin and without holes."""
    positive = data[data > 0]
    if positive.size == 0:
        return np.ones(data.shape, dtype=bool)
    threshold = 0.15 * float(np.percentile(positive, 95))
    mask = ndimage.binary_opening(data > threshold)
    labels, count = ndimage.label(mask)
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = labels == int(sizes.argmax())
    filled = ndimage.binary_fill_holes(ndimage.binary_dilation(mask))
    return np.asarray(filled if filled.any() else np.ones(data.shape, dtype=bool))
