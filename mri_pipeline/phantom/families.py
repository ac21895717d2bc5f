"""Groups of neighbouring lesions, and their number at each visit.

A lesion without neighbour counts as one lesion. Neighbouring lesions are counted by their connected components at that
visit: two that have merged are one lesion, with the number of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.components import connected_parts
from mri_pipeline.phantom.lesions import Lesion

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Unit:
    """One connected T2 lesion of a family at one visit. It consists of one member, or of several that have merged.

    Parameters
    ----------
    lesion_id : int
        Number of the lesion. A merged lesion has the lowest number of its members.
    mask : ndarray of bool, shape of the family's box
        Voxels of the lesion.
    """

    lesion_id: int
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Family:
    """A lesion and its neighbours.

    Parameters
    ----------
    members : tuple of Lesion
        By lesion number.
    box : tuple of slice
        The part of the anatomy's grid that holds them all.
    """

    members: tuple[Lesion, ...]
    box: Box

    def placed(self, lesion: Lesion, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A member's mask, in the family's box.

        Parameters
        ----------
        lesion : Lesion
            A member.
        mask : ndarray of bool
            In the box of the member.

        Returns
        -------
        ndarray of bool, shape of the box
        """
        result = np.zeros([s.stop - s.start for s in self.box], dtype=bool)
        inner = tuple(
            slice(s.start - b.start, s.stop - b.start) for s, b in zip(lesion.box, self.box, strict=True)
        )
        result[inner] = mask
        return result

    def t2_mask(self, visit: int) -> NDArray[np.bool_]:
        """All T2 lesions at a visit.

        Parameters
        ----------
        visit : int
            Number of the visit, from 0.

        Returns
        -------
        ndarray of bool, shape of the box
        """
        return self._union([m.t2_mask(visit) for m in self.members])

    def gel_mask(self, visit: int) -> NDArray[np.bool_]:
        """All that enhances at a visit.

        Parameters
        ----------
        visit : int
            Number of the visit, from 0.

        Returns
        -------
        ndarray of bool, shape of the box
        """
        return self._union([m.gel_mask(visit) for m in self.members])

    def black_hole_mask(self, visit: int) -> NDArray[np.bool_]:
        """All black holes at a visit.

        Parameters
        ----------
        visit : int
            Number of the visit, from 0.

        Returns
        -------
        ndarray of bool, shape of the box
        """
        return self._union([m.black_hole_mask(visit) for m in self.members])

    def _union(self, masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
        placed = [self.placed(member, mask) for member, mask in zip(self.members, masks, strict=True)]
        return np.asarray(np.logical_or.reduce(placed))

    def units(self, visit: int) -> tuple[Unit, ...]:
        """The connected lesions that its members form at a visit.

        Parameters
        ----------
        visit : int
            Number of the visit, from 0.

        Returns
        -------
        tuple of Unit
            In the order of their lesion numbers. Empty if no member exists at the visit.
        """
        labels, count = connected_parts(self.t2_mask(visit))
        found: dict[int, Unit] = {}
        for member in self.members:
            here = np.bincount(labels[self.placed(member, member.t2_mask(visit))], minlength=count + 1)
            label = int(here.argmax())
            if here.any() and label not in found:
                found[label] = Unit(member.lesion_id, labels == label)
        return tuple(found.values())


def families(lesions: Sequence[Lesion]) -> tuple[Family, ...]:
    """Every lesion in one family.

    Parameters
    ----------
    lesions : sequence of Lesion

    Returns
    -------
    tuple of Family
        In the order of their first members.
    """
    result = []
    for lesion in lesions:
        if lesion.plan.beside is not None:
            continue
        members = (lesion, *(other for other in lesions if other.plan.beside is lesion.plan))
        spans = [
            slice(min(m.box[axis].start for m in members), max(m.box[axis].stop for m in members))
            for axis in range(3)
        ]
        result.append(Family(members, (spans[0], spans[1], spans[2])))
    return tuple(result)
