"""Which lesion of one visit is which lesion of another: a number that a lesion keeps over all visits.

The rule. Visits are taken in their order. The lesions of the first get the numbers 1 to n (by descending
volume, `components.label_lesions`). Every lesion has a *home*: the voxels it covered when last seen. At a later
visit the lesions and the extents that overlap are paired one to one, the largest overlap first. What finds no home
gets the next number, in the order of its volume.

- *Merge*: a lesion that covers several extents is one lesion there and bears the number of the home with the largest
  overlap, as long as it lasts. The other numbers are absent then; the merged lesion's voxels go to the nearest of
  these extents, so that each number finds its lesion again when they separate.
- *Split*: the part with the largest overlap keeps the number, the others get a number of their own.
- *Return*: a lesion that comes back at the home of a vanished one is that lesion again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mri_pipeline.core.spatial import Grid, LabelImage

_Voxels = NDArray[np.int64]  # flat indices, ascending


@dataclass
class LesionExtents:
    """Where each numbered lesion was when last seen."""

    grid: Grid
    voxels: dict[int, _Voxels] = field(default_factory=dict)
    absorbed: dict[int, list[int]] = field(default_factory=dict)
    """Of a number whose lesion has grown together with others: their numbers."""

    def numbered(self, lesions: LabelImage) -> dict[int, int]:
        """Give the lesions of the next visit their numbers and remember where they are.

        Parameters
        ----------
        lesions : LabelImage
            Numbered 1 to n at this visit alone.

        Returns
        -------
        dict of int to int
            From the number at this visit to the lesion's number over all visits.
        """
        here = _by_label(lesions)
        overlap = self._overlaps(lesions)
        ranked = self._with_absorbed(overlap)
        numbers: dict[int, int] = {}
        taken: set[int] = set()
        for (label, home), _ in sorted(ranked.items(), key=lambda item: (-item[1], item[0][1], item[0][0])):
            if label not in numbers and home not in taken:
                numbers[label] = home
                taken.add(home)
        following = max(self.voxels, default=0) + 1
        for label in sorted(here):
            if label not in numbers:
                numbers[label] = following
                following += 1
        for label, voxels in here.items():
            absorbed = [home for lbl, home in overlap if lbl == label and home not in taken]
            self._settle(numbers[label], sorted(absorbed), voxels)
        return numbers

    def _overlaps(self, lesions: LabelImage) -> dict[tuple[int, int], int]:
        flat = lesions.data.ravel()
        found: dict[tuple[int, int], int] = {}
        for home, voxels in self.voxels.items():
            labels, counts = np.unique(flat[voxels], return_counts=True)
            for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
                if label:
                    found[label, home] = count
        return found

    def _with_absorbed(self, overlap: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
        """The overlaps, where a lesion that is merged still has all that it was made of at its number's home.

        Else its number would change where the part of an absorbed home is the larger one.
        """
        largest: dict[int, tuple[int, int]] = {}
        for (label, home), n in sorted(overlap.items()):
            if n > largest.get(home, (0, 0))[1]:
                largest[home] = (label, n)
        ranked = dict(overlap)
        for home, others in self.absorbed.items():
            label, _ = largest.get(home, (0, 0))
            for other in others:
                same, n = largest.get(other, (0, 0))
                if label and same == label:
                    ranked[label, home] += n
        return ranked

    def _settle(self, number: int, absorbed: list[int], voxels: _Voxels) -> None:
        """The lesion's voxels become its home, or the extents of all lesions that have grown together in it."""
        self.absorbed.pop(number, None)
        if not absorbed:
            self.voxels[number] = voxels
            return
        self.absorbed[number] = absorbed
        members = sorted([number, *absorbed])
        points = self._world(voxels)
        distance = np.stack([np.round(cKDTree(self._world(self.voxels[m])).query(points)[0], 4) for m in members])
        nearest = distance.argmin(axis=0)
        for i, member in enumerate(members):
            if (nearest == i).any():
                self.voxels[member] = voxels[nearest == i]

    def _world(self, voxels: _Voxels) -> NDArray[np.floating]:
        return self.grid.world(np.stack(np.unravel_index(voxels, self.grid.shape), axis=1).astype(float))


def _by_label(lesions: LabelImage) -> dict[int, _Voxels]:
    """Flat indices of every label."""
    flat = lesions.data.ravel()
    voxels = np.flatnonzero(flat)
    if not len(voxels):
        return {}
    order = np.argsort(flat[voxels], kind="stable")
    labels, starts = np.unique(flat[voxels][order], return_index=True)
    return {int(label): part for label, part in zip(labels, np.split(voxels[order], starts[1:]), strict=True)}
