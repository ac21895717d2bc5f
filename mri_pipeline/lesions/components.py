"""Definition of a lesion: a connected component of a lesion mask, and its measurements.

This module holds the only definition of a lesion in this program. Removal of small components, counting, location
and tracking all use it (docs/definitions.md: 26-connected, at least the protocol's minimum volume).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, LabelImage

MM2_PER_CM2 = 100.0
_ROUNDING_MM3 = 1e-6  # tolerance in mm³: a volume equal to the minimum up to floating-point error is kept
_POSITION_DECIMALS = 2  # decimals of world positions in mm, used to order lesions of equal volume


def structure(connectivity: int) -> BoolArray:
    """Structuring element of a neighbourhood.

    Parameters
    ----------
    connectivity : int
        1: face neighbours (6). 2: face and edge neighbours (18). 3: face, edge and corner neighbours (26).

    Returns
    -------
    ndarray of bool, shape (3, 3, 3)
    """
    return ndimage.generate_binary_structure(3, connectivity)


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


def connected_parts(mask: BoolArray, connectivity: int = 3) -> tuple[NDArray[np.int32], int]:
    """Label the connected components of a mask: `scipy.ndimage.label` on the bounding box of the mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    connectivity : int
        See `structure`.

    Returns
    -------
    labels : ndarray of int32, shape of the mask
        0 is background. An empty mask gives zeros.
    count : int
        Number of components.
    """
    labels = np.zeros(mask.shape, dtype=np.int32)
    voxels = voxels_of(mask)
    if not len(voxels):
        return labels, 0
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(voxels.min(axis=0), voxels.max(axis=0), strict=True))
    found = ndimage.label(mask[box], structure(connectivity), output=labels[box])
    return labels, int(found)


@dataclass(frozen=True, eq=False)
class ConnectedComponents:
    """Connected components of a mask, with image statistics per component.

    Parameters
    ----------
    shape : tuple of int
        Shape of the mask.
    voxels : ndarray of int, shape (n,)
        Flat indices of the voxels of the mask.
    number : ndarray of int, shape (n,)
        Component of each voxel, from 0.
    sizes : ndarray of int, shape (components,)
        Voxel count of each component.
    """

    shape: tuple[int, ...]
    voxels: NDArray[np.intp]
    number: NDArray[np.intp]
    sizes: NDArray[np.intp]

    @classmethod
    def of(cls, mask: BoolArray, connectivity: int = 3) -> ConnectedComponents:
        """Find the components of a mask; for `connectivity` see `structure`."""
        labels, count = connected_parts(mask, connectivity)
        voxels = np.flatnonzero(labels)
        number = labels.ravel()[voxels].astype(np.intp) - 1
        return cls(mask.shape, voxels, number, np.bincount(number, minlength=count))

    def selected(self, keep: BoolArray) -> ConnectedComponents:
        """The components for which `keep`, shape (components,), is True, numbered anew in the same order."""
        kept = keep[self.number]
        numbers = np.cumsum(keep) - 1
        return ConnectedComponents(
            self.shape, self.voxels[kept], numbers[self.number[kept]].astype(np.intp), self.sizes[keep]
        )

    def ring(self, within: BoolArray, reach: tuple[int, ...]) -> ConnectedComponents:
        """The voxels around each component, under its number.

        Parameters
        ----------
        within : ndarray of bool, shape `shape`
            Voxels that may belong to a ring.
        reach : tuple of int
            Width of the ring in voxels along each axis.

        Returns
        -------
        ConnectedComponents
            Voxels in two rings belong to the larger component. A component without such voxels has size 0.
        """
        count = len(self.sizes)
        if not count:
            return self
        rank = np.empty(count, dtype=np.int32)
        rank[np.argsort(self.sizes, kind="stable")] = np.arange(1, count + 1)
        indices = np.unravel_index(self.voxels, self.shape)
        box = tuple(
            slice(max(int(i.min()) - r, 0), int(i.max()) + r + 1) for i, r in zip(indices, reach, strict=True)
        )
        ranks = np.zeros(self.shape, dtype=np.int32)
        ranks.ravel()[self.voxels] = rank[self.number]
        near = ndimage.maximum_filter(ranks[box], [2 * r + 1 for r in reach], mode="constant")
        around = np.zeros(self.shape, dtype=np.int32)
        around[box] = np.where((ranks[box] == 0) & within[box], near, 0)
        voxels = np.flatnonzero(around)
        of_rank = np.argsort(rank)
        number = of_rank[around.ravel()[voxels] - 1].astype(np.intp)
        return ConnectedComponents(self.shape, voxels, number, np.bincount(number, minlength=count))

    def sums(self, image: NDArray[np.float32] | BoolArray) -> NDArray[np.float64]:
        """Sum of an image over each component, shape (components,); the image has the shape of the mask."""
        weights = image.ravel()[self.voxels].astype(np.float64)
        return np.asarray(np.bincount(self.number, weights, len(self.sizes)), dtype=np.float64)

    def means(self, image: NDArray[np.float32] | BoolArray) -> NDArray[np.float64]:
        """Mean of an image over each component, shape (components,); 0 for a component without voxels."""
        return np.asarray(self.sums(image) / np.maximum(self.sizes, 1), dtype=np.float64)

    def maxima(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Maximum of an image in each component, shape (components,)."""
        highest = np.full(len(self.sizes), -np.inf)
        np.maximum.at(highest, self.number, image.ravel()[self.voxels])
        return highest

    def minima(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Minimum of an image in each component, shape (components,)."""
        return -self.maxima(-image)

    def elongations(self, spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
        """Length of each component relative to its width, shape (components,); 1 for a sphere or a disc.

        Length and width are the standard deviations along the first and second principal axis. The extent of the
        voxel itself is added, so that they are never 0.
        """
        count, spacing = len(self.sizes), np.array(spacing_mm)
        points = np.stack(np.unravel_index(self.voxels, self.shape), axis=1)
        offsets = (points - self.centres()[self.number]) * spacing
        moments = [np.bincount(self.number, a * b, count) for a in offsets.T for b in offsets.T]
        covariance = np.stack(moments, axis=1).reshape(count, 3, 3) / np.maximum(self.sizes, 1)[:, None, None]
        variances = np.linalg.eigvalsh(covariance + np.diag(spacing**2 / 12))
        return np.asarray(np.sqrt(variances[:, 2] / variances[:, 1]), dtype=np.float64)

    def centres(self) -> NDArray[np.float64]:
        """Centroid of each component in voxel indices, shape (components, 3)."""
        indices = np.unravel_index(self.voxels, self.shape)
        count = len(self.sizes)
        return np.stack([np.bincount(self.number, axis, count) / self.sizes for axis in indices], axis=1)

    def chosen(self, keep: BoolArray) -> BoolArray:
        """Mask of the components for which `keep`, shape (components,), is True."""
        mask = np.zeros(self.shape, dtype=bool)
        mask.ravel()[self.voxels] = keep[self.number]
        return mask


def voxels_of(mask: BoolArray) -> NDArray[np.int64]:
    """Indices of the voxels of a mask, shape (n, 3), in array order.

    The result equals that of `numpy.argwhere`, in a tenth of its time. An empty mask gives shape (0, 3).

    Examples
    --------
    >>> voxels_of(np.array([[[0, 1]], [[1, 0]]]) > 0).tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    return np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape), axis=1)


def values_of(labels: LabelImage) -> NDArray[Any]:
    """Labels of all non-zero voxels, shape (n,), in array order."""
    return labels.data.ravel()[np.flatnonzero(labels.mask)]


def numbers_of(labels: LabelImage) -> list[int]:
    """Distinct labels in the image, ascending; an empty list if there is none."""
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
    """Volume of every label in mm³ (voxel count times voxel volume), by ascending label; empty if there is none."""
    counts = np.bincount(values_of(labels))
    return {int(v): float(counts[v]) * labels.grid.voxel_volume_mm3 for v in np.flatnonzero(counts)}


def lesion_centroids_mm(labels: LabelImage) -> dict[int, FloatArray]:
    """Centre of mass of every label in world mm, shape (3,), by ascending label; empty if there is none."""
    voxels = voxels_of(labels.mask)
    if not len(voxels):
        return {}
    values, index = np.unique(values_of(labels), return_inverse=True)
    counts = np.bincount(index)
    centres = np.stack([np.bincount(index, weights=voxels[:, axis]) / counts for axis in range(3)], axis=1)
    return {int(v): c for v, c in zip(values, labels.grid.world(centres), strict=True)}


def axial_axis(grid: Grid) -> int:
    """Array axis closest to world z; axial slices are perpendicular to it."""
    return int(np.flatnonzero(nib.io_orientation(grid.affine)[:, 0] == 2)[0])


def largest_axial_areas_cm2(labels: LabelImage) -> dict[int, float]:
    """Largest axial cross-sectional area of every label in cm², by ascending label.

    "Enlarging" is defined by this area (Arch Neurol 1992;49:261). All voxels of a label within one axial slice of
    the grid are counted, connected or not. The result is empty if there is no label.

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
    if not len(voxels):
        return {}
    values, index = np.unique(values_of(labels), return_inverse=True)
    n_slices = labels.grid.shape[axis]
    per_slice = np.bincount(index * n_slices + voxels[:, axis], minlength=len(values) * n_slices)
    largest = per_slice.reshape(len(values), n_slices).max(axis=1)
    return {int(v): round(float(n) * pixel_cm2, 9) for v, n in zip(values, largest, strict=True)}
