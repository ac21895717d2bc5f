"""Lesion identity: a number that a lesion keeps over all visits.

Visits are processed in order of time. The lesions of the first visit get the numbers 1 to n (by descending volume,
`components.label_lesions`). Every lesion has an *extent*: the voxels that it covered when last present. The numbers
follow the comparison of the T2 lesions with the reference visit (`tracking.compare`). The number of T2 lesions that
ever got a number is therefore that of the first visit plus that of all new lesions (and of those that only the masks
show as new).

- A lesion with a predecessor at the reference visit has the number of a predecessor. Overlapping lesions and extents
  are paired one to one, the largest overlap first.
- A *new* lesion gets the next number, in order of volume, even where an earlier lesion had vanished. If there has been
  enhancement without a T2 lesion, it has the number of that.
- *Merge*: a lesion that covers several extents is one lesion. It has the number of the extent with the largest
  overlap as long as the merge lasts; the other numbers are absent. Each voxel of the merged lesion is assigned to the
  nearest of these extents, so that each lesion regains its number when they separate.
- *Split*: all parts have the number of the lesion.
- Enhancement without a T2 lesion, and a lesion that the images do not show as new, have the number of any extent that
  they overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mri_pipeline.core.spatial import Grid, LabelImage

_Voxels = NDArray[np.int64]  # flat indices, ascending


@dataclass(frozen=True)
class Continuity:
    """T2 lesions of a visit by what the comparison with the reference visit says about their identity.

    Parameters
    ----------
    t2 : frozenset of int
        All T2 lesions. Other labels are enhancement without a T2 lesion.
    followed : frozenset of int
        Those with a predecessor.
    new : frozenset of int
        The new ones.
    """

    t2: frozenset[int] = frozenset()
    followed: frozenset[int] = frozenset()
    new: frozenset[int] = frozenset()


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
    current : set of int
        Numbers of the T2 lesions of the last visit, and of the lesions that merged into them.
    ever_t2 : set of int
        Numbers of all T2 lesions so far.
    """

    grid: Grid
    voxels: dict[int, _Voxels] = field(default_factory=dict)
    absorbed: dict[int, list[int]] = field(default_factory=dict)
    current: set[int] = field(default_factory=set)
    ever_t2: set[int] = field(default_factory=set)

    def numbered(self, lesions: LabelImage, continuity: Continuity) -> dict[int, int]:
        """Assign numbers to the lesions of the next visit and store their extents.

        Parameters
        ----------
        lesions : LabelImage
            Lesions numbered 1 to n at this visit.
        continuity : Continuity
            By the same numbers.

        Returns
        -------
        dict of int to int
            Number over all visits, by number at this visit. Empty if there is no lesion.
        """
        here = _by_label(lesions)
        overlap = self._overlaps(lesions)
        numbers = self._known(overlap, continuity)
        following = max(self.voxels, default=0) + 1
        for label in sorted(here):
            if label not in numbers:
                numbers[label] = following
                following += 1
        self._store(numbers, here, overlap, continuity)
        return numbers

    def _known(self, overlap: dict[tuple[int, int], int], continuity: Continuity) -> dict[int, int]:
        """Numbers of the lesions that continue an earlier one."""

        def may_continue(label: int, extent: int) -> bool:
            if label in continuity.followed:
                return extent in self.current
            return label not in continuity.new or extent not in self.ever_t2

        ranked = sorted(
            ((label, extent, n) for (label, extent), n in self._with_absorbed(overlap).items()),
            key=lambda item: (item[0] not in continuity.followed, -item[2], item[1], item[0]),
        )
        allowed = [(label, extent) for label, extent, _ in ranked if may_continue(label, extent)]
        numbers: dict[int, int] = {}
        taken: set[int] = set()
        for label, extent in allowed:
            if label not in numbers and extent not in taken:
                numbers[label] = extent
                taken.add(extent)
        for label, extent in allowed:
            if label in continuity.followed:
                numbers.setdefault(label, extent)  # a split
        return numbers

    def _store(
        self,
        numbers: dict[int, int],
        here: dict[int, _Voxels],
        overlap: dict[tuple[int, int], int],
        continuity: Continuity,
    ) -> None:
        """Store the extents of this visit."""
        taken = set(numbers.values())
        merged = [(numbers[label], extent) for label, extent in overlap if label in continuity.followed]
        earlier, self.current = self.current, {numbers[label] for label in continuity.t2}
        for number in sorted(taken):
            parts = [here[label] for label in here if numbers[label] == number]
            absorbed = {extent for n, extent in merged if n == number and extent in earlier - taken}
            self._settle(number, sorted(absorbed), np.sort(np.concatenate(parts)))
            self.current |= absorbed
        self.ever_t2 |= self.current

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
