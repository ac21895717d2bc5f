"""Lesion identity: a number that a lesion keeps over all visits.

Visits are processed in order of time. The lesions of the first visit get the numbers 1 to n (by descending volume,
`components.label_lesions`). Every lesion has an *extent*: the voxels that it covered when last present. At a later
visit, overlapping lesions and extents are paired one to one, the largest overlap first. A lesion without a pair gets
the next number, in order of volume.

- *Merge*: a lesion that covers several extents is one lesion. It has the number of the extent with the largest
  overlap as long as the merge lasts; the other numbers are absent. Each voxel of the merged lesion is assigned to the
  nearest of these extents, so that each lesion regains its number when they separate.
- *Split*: the part with the largest overlap keeps the number; the other parts get new numbers.
- *Return*: a lesion that reappears at the extent of a vanished lesion has the number of that lesion.
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
    """Extent of each numbered lesion when last present.

    Parameters
    ----------
    grid : Grid
    voxels : dict of int to ndarray of int
        Flat voxel indices of each lesion, ascending, by lesion number.
    absorbed : dict of int to list of int
        For each merged lesion, the numbers of the lesions that merged into it.
    """

    grid: Grid
    voxels: dict[int, _Voxels] = field(default_factory=dict)
    absorbed: dict[int, list[int]] = field(default_factory=dict)
    """For each merged lesion, the numbers of the lesions that merged into it."""

    def numbered(self, lesions: LabelImage) -> dict[int, int]:
        """Assign numbers to the lesions of the next visit and store their extents.

        Parameters
        ----------
        lesions : LabelImage
            Lesions numbered 1 to n at this visit.

        Returns
        -------
        dict of int to int
            Number over all visits, by number at this visit. Empty if there is no lesion.
        """
        here = _by_label(lesions)
        overlap = self._overlaps(lesions)
        ranked = self._with_absorbed(overlap)
        numbers: dict[int, int] = {}
        taken: set[int] = set()
        for (label, extent), _ in sorted(ranked.items(), key=lambda item: (-item[1], item[0][1], item[0][0])):
            if label not in numbers and extent not in taken:
                numbers[label] = extent
                taken.add(extent)
        following = max(self.voxels, default=0) + 1
        for label in sorted(here):
            if label not in numbers:
                numbers[label] = following
                following += 1
        for label, voxels in here.items():
            absorbed = [extent for lbl, extent in overlap if lbl == label and extent not in taken]
            self._settle(numbers[label], sorted(absorbed), voxels)
        return numbers

    def _overlaps(self, lesions: LabelImage) -> dict[tuple[int, int], int]:
        flat = lesions.data.ravel()
        found: dict[tuple[int, int], int] = {}
        for extent, voxels in self.voxels.items():
            labels, counts = np.unique(flat[voxels], return_counts=True)
            for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
                if label:
                    found[label, extent] = count
        return found

    def _with_absorbed(self, overlap: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
        """Overlaps in which a merged lesion also has the overlaps of the extents that it absorbed.

        Otherwise its number would change when an absorbed extent has the larger overlap.
        """
        largest: dict[int, tuple[int, int]] = {}
        for (label, extent), n in sorted(overlap.items()):
            if n > largest.get(extent, (0, 0))[1]:
                largest[extent] = (label, n)
        ranked = dict(overlap)
        for extent, others in self.absorbed.items():
            label, _ = largest.get(extent, (0, 0))
            for other in others:
                same, n = largest.get(other, (0, 0))
                if label and same == label:
                    ranked[label, extent] += n
        return ranked

    def _settle(self, number: int, absorbed: list[int], voxels: _Voxels) -> None:
        """Store the voxels of a lesion as its extent; divide those of a merged lesion among the absorbed extents."""
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
