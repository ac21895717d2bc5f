"""Resampling, once per image: intensities by B-splines, labels by nearest neighbour."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, Grid, Image, LabelImage

Order = Literal[0, 1, 3]
"""Order of an interpolating B-spline; 0 copies the nearest voxel."""
_FWHM_TO_SIGMA = 1.0 / np.sqrt(8.0 * np.log(2.0))
_BLURRED_FROM = METHOD.resample.blurred_from
_EXACT = 1e-4
"""Voxel mappings within this distance (in voxels) of integers copy voxels without interpolation."""


def index_map(source: Grid, target: Grid, source_to_target: Affine) -> FloatArray:
    """Matrix from voxel indices of `target` to voxel indices of `source`.

    Parameters
    ----------
    source, target : Grid
    source_to_target : Affine
        World coordinates, mm.

    Returns
    -------
    ndarray, shape (4, 4)
    """
    return np.asarray(np.linalg.inv(source.affine) @ source_to_target.inverse().matrix @ target.affine)


def resample(
    image: Image,
    grid: Grid,
    source_to_target: Affine | None = None,
    *,
    order: Order = 3,
    outside: float = 0.0,
    detail: BoolArray | None = None,
) -> Image:
    """Resample intensities to a grid with a single interpolation.

    Parameters
    ----------
    image : Image
    grid : Grid
        Target grid.
    source_to_target : Affine, optional
        From the world of the image to that of the grid. Default: the identity transform.
    order : {3, 1, 0}
        Order of the B-spline: 3 (cubic, preserves detail), 1 (linear, no overshoot) or 0 (nearest voxel). Values are
        clipped to the range of the source, which limits the ringing of a cubic spline at bright edges.
    outside : float
        Value outside the field of view of the source.
    detail : ndarray of bool, shape `grid.shape`, optional
        Voxels that need a cubic spline (the brain); the others are interpolated linearly at a quarter of the cost.
        Default: all voxels.

    Returns
    -------
    Image
        On `grid`. If target voxels are larger than source voxels, the source is first blurred along its own axes to
        the target voxel size, to avoid aliasing.
    """
    matrix = index_map(image.grid, grid, source_to_target or Affine.identity())
    data = image.data
    extent = np.sqrt((matrix[:3, :3] ** 2).sum(axis=1))
    sigma = np.where(extent > _BLURRED_FROM, np.sqrt(np.maximum(extent**2 - 1.0, 0.0)) * _FWHM_TO_SIGMA, 0.0)
    if sigma.any():
        data = ndimage.gaussian_filter(data, sigma, mode="nearest")
    order = _useful_order(matrix, order)
    result = _interpolate(data, matrix, grid.shape, order=1 if order == 3 and detail is not None else order)
    if order == 3 and detail is not None:
        result[detail] = _cubic_at(data, matrix, detail)
    # the image extends half a voxel beyond the outermost centres; voxels further out are set to `outside`
    corners = np.array(list(product(*[(0, n - 1) for n in grid.shape]))) @ matrix[:3, :3].T + matrix[:3, 3]
    if (corners < -0.5).any() or (corners > np.array(data.shape) - 0.5).any():
        result[~_inside(matrix, grid.shape, data.shape)] = outside
    return Image(result, grid)


def _useful_order(matrix: FloatArray, order: Order) -> Order:
    whole_steps = np.abs(matrix - np.rint(matrix)).max() < _EXACT
    return 0 if whole_steps else order


def _interpolate(
    data: NDArray[np.float32], matrix: FloatArray, shape: tuple[int, int, int], *, order: Order
) -> NDArray[np.float32]:
    result = np.empty(shape, dtype=np.float32)
    cubic = order == 3
    ndimage.affine_transform(
        _spline(data) if cubic else data,
        matrix[:3, :3],
        matrix[:3, 3],
        output=result,
        order=order,
        mode="mirror" if cubic else "nearest",
        prefilter=False,
    )
    return np.clip(result, float(data.min()), float(data.max()), out=result) if cubic else result


def _cubic_at(data: NDArray[np.float32], matrix: FloatArray, wanted: BoolArray) -> NDArray[np.float32]:
    index = matrix[:3, :3] @ np.argwhere(wanted).T + matrix[:3, 3:]
    values = ndimage.map_coordinates(
        _spline(data), index, output=np.float32, order=3, mode="mirror", prefilter=False
    )
    return np.asarray(np.clip(values, float(data.min()), float(data.max())))


def _spline(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coefficients of the cubic spline; mirrored boundaries need no padding."""
    return np.asarray(ndimage.spline_filter(data, 3, output=np.float32, mode="mirror"))


def _inside(matrix: FloatArray, shape: tuple[int, int, int], source_shape: tuple[int, ...]) -> BoolArray:
    """True for target voxels whose centre is within the source voxels."""
    axes = [
        np.arange(n, dtype=np.float32).reshape([-1 if k == a else 1 for k in range(3)])
        for a, n in enumerate(shape)
    ]
    inside = np.ones(shape, dtype=bool)
    for row, offset, size in zip(matrix[:3, :3], matrix[:3, 3], source_shape, strict=True):
        index = sum(float(c) * axis for c, axis in zip(row, axes, strict=True)) + np.float32(offset)
        inside &= (index >= -0.5 - _EXACT) & (index <= size - 0.5 + _EXACT)
    return inside


def covered(image: Image | LabelImage, grid: Grid, source_to_target: Affine | None = None) -> LabelImage:
    """Field of view of an image on another grid, as a mask.

    Parameters
    ----------
    image : Image or LabelImage
    grid : Grid
        Target grid.
    source_to_target : Affine, optional
        Default: the identity transform.

    Returns
    -------
    LabelImage
        1 for voxels of `grid` whose centre is within the voxels of the image.
    """
    matrix = index_map(image.grid, grid, source_to_target or Affine.identity())
    return LabelImage(_inside(matrix, grid.shape, image.grid.shape), grid)


def resample_nearest(labels: LabelImage, grid: Grid, source_to_target: Affine | None = None) -> LabelImage:
    """Resample labels to a grid by nearest neighbour: fast, for masks whose exact volume does not matter.

    Parameters
    ----------
    labels : LabelImage
    grid : Grid
        Target grid.
    source_to_target : Affine, optional
        Default: the identity transform.

    Returns
    -------
    LabelImage
        On `grid`; 0 outside the field of view of the source.
    """
    matrix = index_map(labels.grid, grid, source_to_target or Affine.identity())
    data = ndimage.affine_transform(
        labels.data, matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=0, mode="grid-constant", cval=0
    )
    return LabelImage(data, grid)
