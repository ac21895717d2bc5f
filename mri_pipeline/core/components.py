"""Connected components of a mask, their statistics, and the choice of components by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.boxes import box_of, widened_box
from mri_pipeline.core.spatial import BoolArray


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
    box = box_of(voxels)
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
        """Find the connected components of a mask.

        Parameters
        ----------
        mask : ndarray of bool, shape (x, y, z)
        connectivity : int
            See `structure`.

        Returns
        -------
        ConnectedComponents
            An empty mask has no components.
        """
        return cls.of_labels(*connected_parts(mask, connectivity))

    @classmethod
    def of_labels(cls, labels: NDArray[np.int32], count: int) -> ConnectedComponents:
        """The regions of a label image as components.

        Parameters
        ----------
        labels : ndarray of int, shape (x, y, z)
            1 to `count`, 0 outside of all regions.
        count : int

        Returns
        -------
        ConnectedComponents
            A number without voxels has size 0.
        """
        voxels = np.flatnonzero(labels)
        number = labels.ravel()[voxels].astype(np.intp) - 1
        return cls(labels.shape, voxels, number, np.bincount(number, minlength=count))

    def selected(self, keep: BoolArray) -> ConnectedComponents:
        """Select components and number them anew in the same order.

        Parameters
        ----------
        keep : ndarray of bool, shape (components,)
            True for each component to keep.

        Returns
        -------
        ConnectedComponents
        """
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
        indices = np.stack(np.unravel_index(self.voxels, self.shape), axis=1)
        box = widened_box(box_of(indices), reach, self.shape)
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
        """Sum of an image over each component.

        Parameters
        ----------
        image : ndarray of float32 or bool, shape `shape`

        Returns
        -------
        ndarray of float64, shape (components,)
            0 for a component without voxels.
        """
        weights = image.ravel()[self.voxels].astype(np.float64)
        return np.asarray(np.bincount(self.number, weights, len(self.sizes)), dtype=np.float64)

    def means(self, image: NDArray[np.float32] | BoolArray) -> NDArray[np.float64]:
        """Mean of an image over each component.

        Parameters
        ----------
        image : ndarray of float32 or bool, shape `shape`

        Returns
        -------
        ndarray of float64, shape (components,)
            0 for a component without voxels.
        """
        return np.asarray(self.sums(image) / np.maximum(self.sizes, 1), dtype=np.float64)

    def known_means(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean over the voxels of each component whose value is known.

        Parameters
        ----------
        image : ndarray of float32, shape `shape`
            NaN where it is unknown.

        Returns
        -------
        ndarray of float64, shape (components,)
            NaN for a component without a known value.
        """
        known = np.isfinite(image)
        number = self.sums(known)
        return np.where(number > 0, self.sums(np.where(known, image, 0)) / np.maximum(number, 1), np.nan)

    def maxima(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Maximum of an image in each component.

        Parameters
        ----------
        image : ndarray of float32, shape `shape`

        Returns
        -------
        ndarray of float64, shape (components,)
            Minus infinity for a component without voxels.
        """
        highest = np.full(len(self.sizes), -np.inf)
        np.maximum.at(highest, self.number, image.ravel()[self.voxels])
        return highest

    def minima(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Minimum of an image in each component.

        Parameters
        ----------
        image : ndarray of float32, shape `shape`

        Returns
        -------
        ndarray of float64, shape (components,)
            Infinity for a component without voxels.
        """
        return -self.maxima(-image)

    def elongations(self, spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
        """Length of each component relative to its width.

        Length and width are the standard deviations along the first and second principal axis. The extent of the
        voxel itself is added, so that they are never 0.

        Parameters
        ----------
        spacing_mm : tuple of float
            Distance between voxel centres along each axis, in mm.

        Returns
        -------
        ndarray of float64, shape (components,)
            1 for a sphere or a disc.
        """
        count, spacing = len(self.sizes), np.array(spacing_mm)
        points = np.stack(np.unravel_index(self.voxels, self.shape), axis=1)
        offsets = (points - self.centres()[self.number]) * spacing
        moments = [np.bincount(self.number, a * b, count) for a in offsets.T for b in offsets.T]
        covariance = np.stack(moments, axis=1).reshape(count, 3, 3) / np.maximum(self.sizes, 1)[:, None, None]
        variances = np.linalg.eigvalsh(covariance + np.diag(spacing**2 / 12))
        return np.asarray(np.sqrt(variances[:, 2] / variances[:, 1]), dtype=np.float64)

    def centres(self) -> NDArray[np.float64]:
        """Centroid of each component.

        Returns
        -------
        ndarray of float64, shape (components, 3)
            In voxel indices. NaN for a component without voxels.
        """
        indices = np.unravel_index(self.voxels, self.shape)
        count = len(self.sizes)
        return np.stack([np.bincount(self.number, axis, count) / self.sizes for axis in indices], axis=1)

    def chosen(self, keep: BoolArray) -> BoolArray:
        """Mask of some components.

        Parameters
        ----------
        keep : ndarray of bool, shape (components,)
            True for each component of the mask.

        Returns
        -------
        ndarray of bool, shape `shape`
        """
        mask = np.zeros(self.shape, dtype=bool)
        mask.ravel()[self.voxels] = keep[self.number]
        return mask

    def highest(self, values: NDArray[Any]) -> BoolArray:
        """Mask of the component with the highest value.

        Parameters
        ----------
        values : ndarray, shape (components,)

        Returns
        -------
        ndarray of bool, shape `shape`
            Of equal values, the component with the first voxel in array order is chosen. The mask is empty if there
            is no component.

        Examples
        --------
        >>> mask = np.array([[[1, 0, 1, 1]]]) > 0
        >>> parts = ConnectedComponents.of(mask)
        >>> parts.highest(parts.sizes).tolist()
        [[[False, False, True, True]]]
        """
        keep = np.zeros(len(self.sizes), dtype=bool)
        if len(values):
            keep[np.argmax(values)] = True
        return self.chosen(keep)


def voxels_of(mask: BoolArray) -> NDArray[np.int64]:
    """Indices of the voxels of a mask, in array order.

    The result equals that of `numpy.argwhere`, in a tenth of its time.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)

    Returns
    -------
    ndarray of int64, shape (n, 3)
        An empty mask gives shape (0, 3).

    Examples
    --------
    >>> voxels_of(np.array([[[0, 1]], [[1, 0]]]) > 0).tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    return np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape), axis=1)
