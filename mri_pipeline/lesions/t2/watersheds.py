"""Basins of a map: each prominent local maximum with its surroundings, apart from those of other maxima."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from skimage.segmentation import watershed

from mri_pipeline.core.components import ConnectedComponents, connected_parts, structure
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray

_ROUNDING = METHOD.t2_basins.rounding


def basins_of(
    landscape: NDArray[np.float32],
    tops: BoolArray,
    *,
    least_peak: float,
    least_prominence: float,
    floor: float,
) -> tuple[NDArray[np.int32], int]:
    """Number the basins of a map.

    Parameters
    ----------
    landscape : ndarray of float32, shape (x, y, z)
    tops : ndarray of bool, shape (x, y, z)
        Where a maximum may lie.
    least_peak : float
        Minimum value of a maximum.
    least_prominence : float
        Minimum height of a maximum above its saddle to a higher one.
    floor : float
        Minimum value in a basin.

    Returns
    -------
    labels : ndarray of int32, shape (x, y, z)
        Basins 1 to `count`; 0 elsewhere.
    count : int
    """
    maxima = _prominent(landscape, least_prominence) & tops & (landscape > least_peak)
    markers, count = connected_parts(maxima)
    labels = watershed(-landscape, markers, mask=landscape > floor, connectivity=structure(3))
    return np.asarray(labels, dtype=np.int32), int(count)


def upper_part(
    basins: ConnectedComponents, landscape: NDArray[np.float32], share: float
) -> tuple[ConnectedComponents, NDArray[np.float64]]:
    """The part of each basin above a share of its maximum.

    Parameters
    ----------
    basins : ConnectedComponents
    landscape : ndarray of float32, shape (x, y, z)
    share : float

    Returns
    -------
    parts : ConnectedComponents
        In the order of the basins.
    peak : ndarray of float64, shape (basins,)
        Maximum of each basin.
    """
    peak = basins.maxima(landscape)
    high = landscape.ravel()[basins.voxels] > peak[basins.number] * share
    number = basins.number[high]
    sizes = np.bincount(number, minlength=len(basins.sizes))
    return ConnectedComponents(basins.shape, basins.voxels[high], number, sizes), peak


def _prominent(landscape: NDArray[np.float32], height: float) -> BoolArray:
    """Maxima that are at least `height` above their saddle to a higher one."""
    above = sitk.GetArrayFromImage(sitk.HConvex(sitk.GetImageFromArray(landscape), height, True))
    return np.asarray(above >= np.float32(height * (1 - _ROUNDING)))
