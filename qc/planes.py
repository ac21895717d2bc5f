"""Fast filters of slices. Each equals its function of scipy but for the rounding of single precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.spatial import BoolArray, Image


def slices_first(image: Image) -> Image:
    """An image in RAS order, but with the axis of its slices first: the pixels of a slice lie together in memory.

    Parameters
    ----------
    image : Image

    Returns
    -------
    Image
        Its axes are ``SRA`` for axial, ``ARS`` for coronal and ``RAS`` for sagittal slices.
    """
    axis = image.reoriented("RAS").grid.slice_axis
    return image.reoriented("RAS"[axis] + "RAS".replace("RAS"[axis], ""))


def eroded(mask: BoolArray) -> BoolArray:
    """Voxels of a mask whose neighbours by face are in the mask, too; none at the edge of the grid.

    Parameters
    ----------
    mask : ndarray of bool

    Returns
    -------
    ndarray of bool, shape `mask.shape`
        Equal to ``ndimage.binary_erosion(mask)``.

    Examples
    --------
    >>> eroded(np.ones((3, 4), dtype=bool)).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    result = mask.copy()
    for axis in range(mask.ndim):
        kept, given = np.moveaxis(result, axis, 0), np.moveaxis(mask, axis, 0)
        kept[1:] &= given[:-1]
        kept[:-1] &= given[1:]
        kept[[0, -1]] = False
    return result


def gradient(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Magnitude of the Sobel gradient of a slice.

    Parameters
    ----------
    plane : ndarray of float32, shape (rows, columns)

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        ``np.hypot`` of ``ndimage.sobel`` along both axes.

    Examples
    --------
    >>> gradient(np.arange(12, dtype=np.float32).reshape(3, 4))[1].astype(float).round(2).tolist()
    [32.25, 32.98, 32.98, 32.25]
    """
    wide = np.pad(plane, 1, mode="edge")
    down, right = wide[2:] - wide[:-2], wide[:, 2:] - wide[:, :-2]
    down = down[:, 2:] + 2 * down[:, 1:-1] + down[:, :-2]
    right = right[2:] + 2 * right[1:-1] + right[:-2]
    return np.asarray(np.hypot(down, right))


def second_difference(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Second difference of a slice along both axes.

    Parameters
    ----------
    plane : ndarray of float32, shape (rows, columns)

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        As ``ndimage.correlate1d`` with [1, -2, 1] along one axis after the other.
    """
    wide = np.pad(plane, 1, mode="edge")
    across = wide[:-2] - 2 * wide[1:-1] + wide[2:]
    return np.asarray(across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:])


def smoothed(data: NDArray[np.float32], sigma: Sequence[float]) -> NDArray[np.float32]:
    """Gaussian smoothing of a small image, by matrix products.

    They are faster than a filter whose kernel is as long as the image.

    Parameters
    ----------
    data : ndarray of float32
    sigma : sequence of float
        Standard deviation along each axis, in voxels.

    Returns
    -------
    ndarray of float32, shape `data.shape`
        As ``ndimage.gaussian_filter``.
    """
    for axis, width in enumerate(sigma):
        matrix = ndimage.gaussian_filter1d(np.eye(data.shape[axis], dtype=np.float32), width, axis=0)
        data = np.moveaxis(np.tensordot(matrix, data, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(data)


def mean_at(data: NDArray[np.float32], size: Sequence[int], step: Sequence[int]) -> NDArray[np.float32]:
    """Mean around every n-th voxel along each axis: ``uniform_filter(data, size)`` at these voxels alone.

    Parameters
    ----------
    data : ndarray of float32, 3D
    size, step : sequence of int
        Size of the neighbourhood, and distance of the voxels, along each axis.

    Returns
    -------
    ndarray of float32, 3D

    Examples
    --------
    >>> data = np.random.default_rng(0).random((9, 8, 7), dtype=np.float32)
    >>> found = mean_at(data, (3, 2, 1), (2, 3, 1))
    >>> np.allclose(found, ndimage.uniform_filter(data, (3, 2, 1))[::2, ::3])
    True
    """
    for axis, (width, every) in enumerate(zip(size, step, strict=True)):
        mirrored = np.pad(np.arange(data.shape[axis]), width, mode="symmetric")
        first = np.arange(0, data.shape[axis], every) + width - width // 2
        total = np.take(data, mirrored[first], axis=axis)
        for k in range(1, width):
            total += np.take(data, mirrored[first + k], axis=axis)
        data = total / np.float32(width)
    return data
