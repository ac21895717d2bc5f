"""Holes of masks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mri_pipeline.core.spatial import BoolArray


def filled(mask: BoolArray) -> BoolArray:
    """Fill the holes of a mask: voxels outside of it without a path by face neighbours to the edge of the grid.

    Parameters
    ----------
    mask : ndarray of bool, of any number of dimensions

    Returns
    -------
    ndarray of bool, shape `mask.shape`
        Equal to ``ndimage.binary_fill_holes(mask)``, in a fraction of its time: what is outside is labelled once, in
        the box of the mask.

    Examples
    --------
    >>> filled(np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]], dtype=bool)).astype(int).tolist()
    [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    """
    result = mask.copy()
    if not mask.any():
        return result
    axes = range(mask.ndim)
    found = (np.flatnonzero(mask.any(axis=tuple(a for a in axes if a != axis))) for axis in axes)
    box = tuple(slice(used[0], used[-1] + 1) for used in found)
    parts, _ = ndimage.label(np.pad(~mask[box], 1, constant_values=True))
    around = parts[(0,) * mask.ndim]  # of the margin
    result[box] = (parts != around)[(slice(1, -1),) * mask.ndim]
    return result
