"""The canvas of the reading view: the voxels of a head in RAS order, in an array of one size for the whole trial.

The browser gets no affine and no position. The voxel grid is cut and padded, never resampled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.robust import median, percentile
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image, LabelImage

MARGIN_MM: Final = 25.0
"""Margin around the brain: scalp, skull base and eyes remain visible."""
STEP: Final = 8
"""The canvas is a multiple of this number of voxels along each axis, so that it seldom grows with a new subject."""
BRAIN_LEVEL: Final = 10_000
"""Display value of the median of the brain. The grey scale is then the same over the visits of a contrast."""
ZERO_DIFFERENCE: Final = 30_000
"""Display value of equal intensities in a subtraction."""
_WINDOW_PERCENTILES: Final = (1, 99.7)
_HEADROOM: Final = 1.1
"""Black and white of the display: these percentiles of the brain, and white above the upper one by this factor."""
_TOP: Final = 65_535

Voxels = TypeVar("Voxels", bound=np.generic)
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Canvas:
    """A window of a RAS grid.

    Parameters
    ----------
    origin : tuple of 3 int
        Voxel of the grid at the first voxel of the canvas; negative if the canvas is larger than the grid.
    shape : tuple of 3 int
    """

    origin: Shape
    shape: Shape

    @classmethod
    def around(cls, box: tuple[Shape, Shape], shape: Shape) -> Self:
        """The canvas of a shape with a box in its centre.

        Parameters
        ----------
        box : tuple of 2 tuples of 3 int
            First voxel, and the one after the last (`head_box`).
        shape : tuple of 3 int

        Returns
        -------
        Canvas
        """
        x, y, z = ((low + high - n) // 2 for low, high, n in zip(*box, shape, strict=True))
        return cls((x, y, z), shape)

    def cut(self, data: NDArray[Voxels]) -> NDArray[Voxels]:
        """The voxels of the canvas; zeros outside the grid.

        Parameters
        ----------
        data : ndarray, shape of the RAS grid

        Returns
        -------
        ndarray, shape of the canvas

        Examples
        --------
        >>> Canvas((1, 0, -1), (2, 1, 2)).cut(np.arange(3).reshape(3, 1, 1)).ravel().tolist()
        [0, 1, 0, 2]
        """
        here, there = self._overlap(data.shape)
        canvas: NDArray[Voxels] = np.zeros(self.shape, dtype=data.dtype)
        canvas[here] = data[there]
        return canvas

    def pasted(self, canvas: NDArray[Voxels], onto: NDArray[Any]) -> NDArray[Voxels]:
        """A copy of an array of the grid with the voxels of the canvas.

        Parameters
        ----------
        canvas : ndarray, shape of the canvas
        onto : ndarray, shape of the RAS grid

        Returns
        -------
        ndarray, shape of the RAS grid
            Of the type of `canvas`.
        """
        here, there = self._overlap(onto.shape)
        result = onto.astype(canvas.dtype)
        result[there] = canvas[here]
        return result

    def inside(self, shape: tuple[int, ...]) -> tuple[slice, ...]:
        """The box of the canvas that belongs to the grid.

        Parameters
        ----------
        shape : tuple of 3 int
            Of the RAS grid.

        Returns
        -------
        tuple of 3 slice
        """
        return self._overlap(shape)[0]

    def _overlap(self, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        low = [max(0, -o) for o in self.origin]
        high = [min(n, size - o) for n, size, o in zip(self.shape, shape, self.origin, strict=True)]
        here = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
        there = tuple(slice(s.start + o, s.stop + o) for s, o in zip(here, self.origin, strict=True))
        return here, there


def head_box(brain: LabelImage) -> tuple[Shape, Shape]:
    """The box of the brain with a margin, within the grid.

    Parameters
    ----------
    brain : LabelImage
        In RAS order.

    Returns
    -------
    low, high : tuple of 3 int
        First voxel, and the one after the last. The whole grid if the mask is empty.
    """
    low, high = [], []
    for axis, (size, spacing) in enumerate(zip(brain.grid.shape, brain.grid.spacing_mm, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(brain.mask.any(axis=others))
        first, last = (int(found[0]), int(found[-1])) if len(found) else (0, size - 1)
        margin = round(MARGIN_MM / spacing)
        low.append(max(0, first - margin))
        high.append(min(size, last + 1 + margin))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def common_shape(boxes: Iterable[tuple[Shape, Shape]], least: Shape = (STEP, STEP, STEP)) -> Shape:
    """The smallest canvas for all heads of a trial.

    Parameters
    ----------
    boxes : iterable of (low, high)
        From `head_box`.
    least : tuple of 3 int
        The canvas is at least so large.

    Returns
    -------
    tuple of 3 int

    Examples
    --------
    >>> common_shape([((0, 0, 0), (10, 3, 8)), ((5, 5, 5), (6, 30, 6))])
    (16, 32, 8)
    """
    largest = list(least)
    for low, high in boxes:
        largest = [max(n, b - a) for n, a, b in zip(largest, low, high, strict=True)]
    x, y, z = (-(-n // STEP) * STEP for n in largest)
    return x, y, z


def display_values(image: Image, brain: LabelImage) -> NDArray[np.uint16]:
    """Intensities for the display: the median of the brain is `BRAIN_LEVEL`.

    Parameters
    ----------
    image : Image
    brain : LabelImage
        On the same grid.

    Returns
    -------
    ndarray of uint16, shape of the grid
        Negative intensities are 0.
    """
    return _stored(image.data * (BRAIN_LEVEL / _level(image, brain)))


def display_difference(after: Image, before: Image, brain: LabelImage) -> NDArray[np.uint16]:
    """Difference of two images for the display, each scaled by the median of its brain.

    Parameters
    ----------
    after, before : Image
        On one grid.
    brain : LabelImage
        On the same grid.

    Returns
    -------
    ndarray of uint16, shape of the grid
        `ZERO_DIFFERENCE` where they are equal.
    """
    difference = after.data * (BRAIN_LEVEL / _level(after, brain)) - before.data * (
        BRAIN_LEVEL / _level(before, brain)
    )
    return _stored(difference + ZERO_DIFFERENCE)


def display_window(values: NDArray[np.uint16], brain: BoolArray) -> tuple[int, int]:
    """A window for the display, from the brain.

    Parameters
    ----------
    values : ndarray of uint16
        From `display_values`, or its canvas.
    brain : ndarray of bool, same shape

    Returns
    -------
    low, high : int
        Black and white.
    """
    inside = values[brain]
    if not inside.size:
        return 0, 2 * BRAIN_LEVEL
    low, high = percentile(inside, _WINDOW_PERCENTILES)
    return int(low), max(int(high * _HEADROOM), int(low) + 1)


def _stored(values: FloatArray) -> NDArray[np.uint16]:
    rounded: NDArray[np.uint16] = np.clip(np.rint(values), 0, _TOP).astype(np.uint16)
    return rounded


def _level(image: Image, brain: LabelImage) -> float:
    """Median of the brain; 1 if there is none."""
    inside = image.data[brain.mask]
    level = float(median(inside)) if inside.size else 0.0
    return level if level > 0 and np.isfinite(level) else 1.0


def flat(canvas: NDArray[Voxels]) -> NDArray[Voxels]:
    """The voxels in the order of the browser: index = x + nx (y + ny z).

    Parameters
    ----------
    canvas : ndarray, shape (nx, ny, nz)

    Returns
    -------
    ndarray, shape (nx * ny * nz,)
    """
    return canvas.ravel(order="F")


def unflat(values: NDArray[Voxels], shape: Shape) -> NDArray[Voxels]:
    """The inverse of `flat`.

    Parameters
    ----------
    values : ndarray, shape (nx * ny * nz,)
    shape : tuple of 3 int

    Returns
    -------
    ndarray, shape (nx, ny, nz)
    """
    return values.reshape(shape, order="F")
