"""Crop images to the bounding box of the brain: results are unchanged, computation is faster."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mri_pipeline.core.boxes import widened_box
from mri_pipeline.core.spatial import BoolArray, Grid, Image, LabelImage
from mri_pipeline.core.visits import VisitMasks


@dataclass(frozen=True)
class Crop:
    """A box of voxels of a grid.

    Parameters
    ----------
    grid : Grid
        The whole grid.
    box : tuple of slice
        Range of voxel indices along each axis.

    Examples
    --------
    >>> grid = Grid((6, 6, 6), np.eye(4))
    >>> labels = np.zeros(grid.shape, dtype=int)
    >>> labels[2:4, 3, 1:5] = 7
    >>> crop = Crop.around([labels > 0], grid)
    >>> small = crop.labels(LabelImage(labels, grid))
    >>> small.grid.shape, bool((crop.restored(small).data == labels).all())
    ((4, 3, 6), True)
    """

    grid: Grid
    box: tuple[slice, slice, slice]

    @classmethod
    def around(cls, masks: Iterable[BoolArray], grid: Grid, *, margin: int = 1) -> Crop:
        """Smallest box that contains all masks, plus a margin.

        Parameters
        ----------
        masks : iterable of ndarray of bool, shape `grid.shape`
        grid : Grid
        margin : int
            In voxels. The box ends at the border of the grid.

        Returns
        -------
        Crop
            The whole grid if all masks are empty.
        """
        union = functools.reduce(np.logical_or, masks, np.zeros(grid.shape, dtype=bool))
        box = tuple(slice(0, n) for n in grid.shape)
        if union.any():
            used = [np.flatnonzero(union.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
            box = tuple(slice(int(along[0]), int(along[-1]) + 1) for along in used)
        x, y, z = widened_box(box, (margin,) * 3, grid.shape)
        return cls(grid, (x, y, z))

    @property
    def inner(self) -> Grid:
        """Grid of the box."""
        start = np.array([[s.start for s in self.box]], dtype=float)
        affine = np.array(self.grid.affine, dtype=float)
        affine[:3, 3] = self.grid.world(start)[0]
        return Grid((*(s.stop - s.start for s in self.box),), affine)

    def labels(self, image: LabelImage) -> LabelImage:
        """Labels within the box.

        Parameters
        ----------
        image : LabelImage
            On `grid`.

        Returns
        -------
        LabelImage
            On `inner`.
        """
        return LabelImage(image.data[self.box], self.inner)

    def image(self, image: Image) -> Image:
        """Intensities within the box.

        Parameters
        ----------
        image : Image
            On `grid`.

        Returns
        -------
        Image
            On `inner`.
        """
        return Image(image.data[self.box], self.inner)

    def masks(self, visit: VisitMasks) -> VisitMasks:
        """Masks and FLAIR of a visit within the box.

        Parameters
        ----------
        visit : VisitMasks
            On `grid`.

        Returns
        -------
        VisitMasks
            On `inner`. Masks that are None stay None.
        """
        return replace(
            visit,
            t2_lesions=self.labels(visit.t2_lesions),
            gel=None if visit.gel is None else self.labels(visit.gel),
            black_holes=None if visit.black_holes is None else self.labels(visit.black_holes),
            flair=None if visit.flair is None else self.image(visit.flair),
            t1_hypointensity=None if visit.t1_hypointensity is None else self.labels(visit.t1_hypointensity),
            t2_changes=None if visit.t2_changes is None else self.labels(visit.t2_changes),
        )

    def restored(self, image: LabelImage) -> LabelImage:
        """Labels of the box on the whole grid.

        Parameters
        ----------
        image : LabelImage
            On `inner`.

        Returns
        -------
        LabelImage
            On `grid`; 0 outside the box.
        """
        whole = np.zeros(self.grid.shape, dtype=image.data.dtype)
        whole[self.box] = image.data
        return LabelImage(whole, self.grid)
