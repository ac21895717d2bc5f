"""The slices of a 2D scan, prepared for the comparison with their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.distances import deeper_than
from mri_pipeline.core.spatial import BoolArray, Image

DEPTH_MM: Final = 10.0
"""Depth below the surface of the head that excludes scalp and skull."""

MIN_SLICES: Final = 8
"""Fewest slices of the middle of the head for a comparison with neighbours."""

ISOTROPIC: Final = 1.6
"""A scan whose header does not state it is a 3D acquisition if its slices are up to this multiple of its in-plane voxel
size, and at most 1.6 mm."""

_MIDDLE: Final = 0.6
"""Area of the head in a slice of the middle, as a share of the largest area."""

_KEPT: Final = 0.5
"""Area of the interior of a slice, as a share of that of the slices around it, below which its mask is not used."""

_AROUND: Final = 5
"""Number of slices whose median area is that of the surroundings."""

_DARK_SLICE: Final = 3
"""Number of slices over which the median of the areas is taken: a single dark slice has no head of its own."""

_MARGIN_PIXELS: Final = 8
"""Margin around the head within which slices are compared."""

_FADE_PIXELS: Final = 3.0
"""Standard deviation of the smoothing of the interior, so that its border is no edge and has no detail."""

_PIXEL_MM: Final = 1.0
"""Approximate in-plane spacing of the comparison."""


@dataclass(frozen=True)
class SliceStack:
    """The slices of a scan, in-plane averaged to about 1 mm.

    Parameters
    ----------
    data : ndarray of float32, shape (slices, rows, columns)
    inside : ndarray of bool, shape (slices, rows, columns)
        Head deeper than `DEPTH_MM`. The mask of a slice is taken from its two neighbours.
    spacing_mm : tuple of float
        Distance of rows and columns.
    middle : ndarray of int, shape (n,)
        Indices of consecutive slices through the middle of the head, without the first and the last of the scan.
    axial : bool
        True if the first in-plane axis runs from left to right and the second one from back to front.
    """

    data: NDArray[np.float32]
    inside: BoolArray
    spacing_mm: tuple[float, float]
    middle: NDArray[np.intp]
    axial: bool = False

    @cached_property
    def faded(self) -> NDArray[np.float32]:
        """Interior with a smooth border, 0 to 1, from the slice before the middle to the one after it."""
        inside = self.inside[self.middle[0] - 1 : self.middle[-1] + 2].astype(np.float32)
        return np.asarray(ndimage.gaussian_filter(inside, (0, _FADE_PIXELS, _FADE_PIXELS)))


def slice_stack(image: Image, head: BoolArray, *, three_d: bool | None = None) -> SliceStack | None:
    """The slices of a 2D scan for the comparison with their neighbours.

    Parameters
    ----------
    image : Image
        In the axis order of `head`, with the axes within the slices in RAS order.
    head : ndarray of bool, shape `image.grid.shape`
    three_d : bool, optional
        Whether the scan is a 3D acquisition, by its header. None: by its voxel size (`ISOTROPIC`).

    Returns
    -------
    SliceStack or None
        None for a 3D acquisition, and for fewer than `MIN_SLICES` slices of the middle of the head.
    """
    axis = image.grid.slice_axis
    spacing = [s for a, s in enumerate(image.grid.spacing_mm) if a != axis]
    across = image.grid.spacing_mm[axis]
    if across <= ISOTROPIC * min(1.0, max(spacing)) if three_d is None else three_d:
        return None
    step = [max(1, round(_PIXEL_MM / s)) for s in spacing]
    data, mask = _averaged(np.moveaxis(image.data, axis, 0), step), np.moveaxis(head, axis, 0)
    mask = mask[:, : data.shape[1] * step[0] : step[0], : data.shape[2] * step[1] : step[1]]
    mm = (spacing[0] * step[0], spacing[1] * step[1])
    areas = mask.reshape(len(mask), -1).sum(axis=1).astype(float)
    areas = ndimage.median_filter(areas, _DARK_SLICE)
    large = np.flatnonzero(areas > _MIDDLE * areas.max(initial=1.0))
    if large.size == 0:
        return None
    middle = np.arange(max(large[0], 1), min(large[-1] + 1, len(data) - 1))
    if middle.size < MIN_SLICES:
        return None
    rows, columns = (
        slice(max(found[0] - _MARGIN_PIXELS, 0), found[-1] + _MARGIN_PIXELS + 1)
        for found in (np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    )
    data, mask = np.ascontiguousarray(data[:, rows, columns]), mask[:, rows, columns]
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))  # the edge of a slice is a surface
    deep = deeper_than(padded, DEPTH_MM, (np.inf, *mm))[:, 1:-1, 1:-1]
    return SliceStack(
        data,
        _of_neighbours(deep),
        mm,
        middle,
        axial=bool(np.argmax(np.abs(image.grid.affine[:3, axis])) == 2),
    )


def _of_neighbours(deep: BoolArray) -> BoolArray:
    """Interior of each slice: the overlap of that of the nearest slices below and above that have an interior.

    A dark slice has none of its own.
    """
    areas = deep.reshape(len(deep), -1).sum(axis=1)
    usable = np.flatnonzero(areas > _KEPT * ndimage.median_filter(areas, _AROUND))
    inside = deep.copy()
    for i in range(len(deep)):
        below, above = usable[usable < i], usable[usable > i]
        if below.size and above.size:
            inside[i] = deep[below[-1]] & deep[above[0]]
    return inside


def _averaged(data: NDArray[np.float32], step: list[int]) -> NDArray[np.float32]:
    if step == [1, 1]:
        return data
    n, rows, columns = data.shape
    rows, columns = rows // step[0], columns // step[1]
    cut = data[:, : rows * step[0], : columns * step[1]]
    return np.asarray(cut.reshape(n, rows, step[0], columns, step[1]).mean(axis=(2, 4)), dtype=np.float32)
