"""Definition of a lesion: a connected component of a lesion mask, and its measurements.

This module holds the only definition of a lesion in this program. Removal of small components, counting, location
and tracking all use it (docs/definitions.md: 26-connected, at least the protocol's minimum volume).
"""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.components import connected_parts, voxels_of
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, LabelImage

MM2_PER_CM2 = 100.0
_ROUNDING_MM3 = 1e-6  # tolerance in mm³: a volume equal to the minimum up to floating-point error is kept
_POSITION_DECIMALS = 2  # decimals of world positions in mm, used to order lesions of equal volume


def label_lesions(mask: BoolArray, grid: Grid, *, min_volume_mm3: float, connectivity: int = 3) -> LabelImage:
    """Number the lesions of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape `grid.shape`
    grid : Grid
    min_volume_mm3 : float
        Components of a smaller volume (voxel count times voxel volume) are removed.
    connectivity : int
        1, 2 or 3 (see `structure`); the trial's rule is 3.

    Returns
    -------
    LabelImage
        Lesions 1 to n by descending volume. Lesions of equal volume are ordered by their leftmost, then most
        posterior, then most inferior voxel in world space. The numbers therefore do not depend on the order or
        direction of the array axes. An empty mask gives an image of zeros.

    Examples
    --------
    >>> mask = np.zeros((6, 6, 6), dtype=bool)
    >>> mask[0, 0, 0] = mask[2:4, 2:4, 2:4] = True
    >>> label_lesions(mask, Grid(mask.shape, np.eye(4)), min_volume_mm3=0).data[[0, 2], [0, 2], [0, 2]].tolist()
    [2, 1]
    >>> int(label_lesions(mask, Grid(mask.shape, np.eye(4)), min_volume_mm3=2).data.max())
    1
    """
    labels, _ = connected_parts(mask, connectivity)
    return renumbered(LabelImage(labels, grid), min_volume_mm3=min_volume_mm3)


def values_of(labels: LabelImage) -> NDArray[Any]:
    """Labels of all non-zero voxels.

    Parameters
    ----------
    labels : LabelImage

    Returns
    -------
    ndarray, shape (n,)
        In array order.
    """
    return labels.data.ravel()[np.flatnonzero(labels.mask)]


def numbers_of(labels: LabelImage) -> list[int]:
    """Distinct labels in the image.

    Parameters
    ----------
    labels : LabelImage

    Returns
    -------
    list of int
        Ascending, without 0; empty if there is none.
    """
    return np.flatnonzero(np.bincount(values_of(labels))).tolist()


def renumbered(labels: LabelImage, *, min_volume_mm3: float = 0.0) -> LabelImage:
    """Renumber the labels 1 to n in the order of `label_lesions`.

    Parameters
    ----------
    labels : LabelImage
    min_volume_mm3 : float
        Labels of a smaller volume are removed.

    Returns
    -------
    LabelImage
        Zeros if no label is left.
    """
    out = np.zeros(labels.grid.shape, dtype=np.int32)
    voxels = voxels_of(labels.mask)
    if not len(voxels):
        return LabelImage(out, labels.grid)
    _, index = np.unique(values_of(labels), return_inverse=True)
    counts = np.bincount(index)
    world = np.round(labels.grid.world(voxels.astype(float)), _POSITION_DECIMALS)
    order = np.lexsort((world[:, 2], world[:, 1], world[:, 0]))
    first = np.empty(len(counts), dtype=np.int64)  # rank of each lesion's first voxel in world space
    first[index[order][::-1]] = np.arange(len(order))[::-1]
    kept = np.flatnonzero(counts * labels.grid.voxel_volume_mm3 >= min_volume_mm3 - _ROUNDING_MM3)
    kept = kept[np.lexsort((first[kept], -counts[kept]))]
    numbers = np.zeros(len(counts), dtype=np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    out[tuple(voxels.T)] = numbers[index]
    return LabelImage(out, labels.grid)


def lesion_volumes_mm3(labels: LabelImage) -> dict[int, float]:
    """Volume of every label: voxel count times voxel volume.

    Parameters
    ----------
    labels : LabelImage

    Returns
    -------
    dict of int to float
        Volume in mm³ by ascending label; empty if there is none.
    """
    counts = np.bincount(values_of(labels))
    return {int(v): float(counts[v]) * labels.grid.voxel_volume_mm3 for v in np.flatnonzero(counts)}


def lesion_centroids_mm(labels: LabelImage) -> dict[int, FloatArray]:
    """Centre of mass of every label.

    Parameters
    ----------
    labels : LabelImage

    Returns
    -------
    dict of int to ndarray of float, shape (3,)
        World position in mm by ascending label; empty if there is none.
    """
    voxels = voxels_of(labels.mask)
    values, index = np.unique(values_of(labels), return_inverse=True)
    counts = np.bincount(index)
    centres = np.stack([np.bincount(index, weights=voxels[:, axis]) / counts for axis in range(3)], axis=1)
    return {int(v): c for v, c in zip(values, labels.grid.world(centres), strict=True)}


def axial_axis(grid: Grid) -> int:
    """Array axis closest to world z; axial slices are perpendicular to it.

    Parameters
    ----------
    grid : Grid

    Returns
    -------
    int
        0, 1 or 2.
    """
    return int(np.flatnonzero(nib.io_orientation(grid.affine)[:, 0] == 2)[0])


def largest_axial_areas_cm2(labels: LabelImage) -> dict[int, float]:
    """Largest axial cross-sectional area of every label.

    "Enlarging" is defined by this area (Arch Neurol 1992;49:261). All voxels of a label within one axial slice of
    the grid are counted, connected or not.

    Parameters
    ----------
    labels : LabelImage

    Returns
    -------
    dict of int to float
        Area in cm² by ascending label; empty if there is none.

    Examples
    --------
    >>> block = np.zeros((8, 8, 3), dtype=int)
    >>> block[2:6, 2:6, 1] = block[2:4, 2:4, 2] = 7
    >>> largest_axial_areas_cm2(LabelImage(block, Grid(block.shape, np.diag([1.0, 1.0, 3.0, 1.0]))))
    {7: 0.16}
    """
    axis = axial_axis(labels.grid)
    sides = np.delete(labels.grid.affine[:3, :3], axis, axis=1)
    pixel_cm2 = float(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]))) / MM2_PER_CM2
    voxels = voxels_of(labels.mask)
    values, index = np.unique(values_of(labels), return_inverse=True)
    n_slices = labels.grid.shape[axis]
    per_slice = np.bincount(index * n_slices + voxels[:, axis], minlength=len(values) * n_slices)
    largest = per_slice.reshape(len(values), n_slices).max(axis=1)
    return {int(v): round(float(n) * pixel_cm2, 9) for v, n in zip(values, largest, strict=True)}
