"""Adjudication of two reads that disagree. The adjudicator sees them as A and B; a keyed hash decides which is which.

The lesions of both reads together are numbered. A lesion that both reads outline in the same way needs no decision. For
every other one the adjudicator takes the outline of A, of B or of both, or rejects it. Missed lesions are drawn and
voxels erased as in a read.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mri_pipeline.blinding.secret import derived_key
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.decide import ConfirmedMask, confirm_mask
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.proposals import numbered_by_place
from mri_pipeline.reading.record import LesionDecision, Opinion

NAMES = ("A", "B")
"""The two reads, as the adjudicator sees them."""

Masks = Mapping[LesionKind, LabelImage]


@dataclass(frozen=True)
class Dispute:
    """Two reads of a visit that disagree.

    Parameters
    ----------
    opinions : tuple of 2 Opinion
        Read A and read B.
    a, b : mapping of LesionKind to LabelImage
        Their masks on one grid, 0 and 1, of the same kinds.
    reasons : tuple of str
        Limits of the protocol that the two reads exceed, for the adjudicator.
    """

    opinions: tuple[Opinion, Opinion]
    a: Masks
    b: Masks
    reasons: tuple[str, ...] = ()

    def together(self, number: Callable[[LesionKind, LabelImage], LabelImage]) -> dict[LesionKind, LabelImage]:
        """The lesions of both reads, numbered by place.

        Parameters
        ----------
        number : callable
            Gives every connected component of a mask its own label, however small.

        Returns
        -------
        dict of LesionKind to LabelImage
        """
        either = {kind: LabelImage(self.a[kind].mask | self.b[kind].mask, self.a[kind].grid) for kind in self.a}
        return {kind: numbered_by_place(number(kind, mask)) for kind, mask in either.items()}

    def to_decide(self, kind: LesionKind, together: LabelImage) -> list[int]:
        """Numbers of the lesions that the reads do not outline in the same way.

        Parameters
        ----------
        kind : LesionKind
        together : LabelImage
            From `together`.

        Returns
        -------
        list of int
            In ascending order.
        """
        differs = self.a[kind].mask != self.b[kind].mask
        return sorted(int(n) for n in np.unique(together.data[differs]) if n)

    def outlined(self, together: Masks) -> dict[str, dict[LesionKind, LabelImage]]:
        """The outlines of each read, with the numbers of the lesions of both reads.

        Parameters
        ----------
        together : mapping of LesionKind to LabelImage
            From `together`.

        Returns
        -------
        dict of str to dict
            By ``A`` and ``B``.
        """
        return {
            name: {
                kind: LabelImage(np.where(masks[kind].mask, mask.data, 0), mask.grid)
                for kind, mask in together.items()
            }
            for name, masks in zip(NAMES, (self.a, self.b), strict=True)
        }

    def row(self, kind: LesionKind, number: int, together: Masks) -> dict[str, object]:
        """What each read has at a lesion, for ``lesions.csv``.

        Parameters
        ----------
        kind : LesionKind
        number : int
            Number of the lesion.
        together : mapping of LesionKind to LabelImage
            From `together`.

        Returns
        -------
        dict of str to object
            ``seen_by``, ``volume_a_mm3`` and ``volume_b_mm3``.
        """
        lesion, volume = together[kind].data == number, together[kind].grid.voxel_volume_mm3
        voxels = [int(np.count_nonzero(masks[kind].mask & lesion)) for masks in (self.a, self.b)]
        return {
            "seen_by": " ".join(name for name, n in zip(NAMES, voxels, strict=True) if n),
            "volume_a_mm3": f"{voxels[0] * volume:.1f}",
            "volume_b_mm3": f"{voxels[1] * volume:.1f}",
        }

    def resolved(
        self,
        kind: LesionKind,
        together: LabelImage,
        returned: LabelImage,
        decisions: Sequence[LesionDecision],
        *,
        what: str,
    ) -> ConfirmedMask:
        """The adjudicated lesions of one kind.

        Parameters
        ----------
        kind : LesionKind
        together : LabelImage
            From `together`.
        returned : LabelImage
            The mask that the adjudicator returned, on the same grid.
        decisions : sequence of LesionDecision
            Of this kind, one for every lesion of `to_decide`. The other lesions are accepted.
        what : str
            Names the mask in messages.

        Returns
        -------
        ConfirmedMask
            An outline that is not chosen is removed, except where the adjudicator gave it another label.

        Raises
        ------
        UsageError
            As `mri_pipeline.reading.decide.confirm_mask`.
        """
        numbers = [int(n) for n in np.unique(together.data) if n]
        accepted = dict.fromkeys(numbers, True) | {d.lesion: d.accepted for d in decisions}
        confirmed = confirm_mask(together, returned, accepted, what=what)
        mask = confirmed.mask.mask.copy()
        for decision in decisions:
            if decision.choice:
                chosen = (self.a if decision.choice == "A" else self.b)[kind].mask
                mask &= ~((together.data == decision.lesion) & (returned.data == decision.lesion) & ~chosen)
        return ConfirmedMask(
            LabelImage(mask, together.grid),
            voxels_added=confirmed.voxels_added,
            voxels_erased=confirmed.voxels_erased,
        )


def blinded_order(key: bytes, subject: str, visit: str, opinions: Sequence[Opinion]) -> tuple[Opinion, Opinion]:
    """Which read is A and which is B. It is the same at every export and reveals no reader.

    Parameters
    ----------
    key : bytes
        The secret key of the trial for reading codes.
    subject, visit : str
        Blinded code and visit label.
    opinions : sequence of 2 Opinion
        In any order.

    Returns
    -------
    tuple of 2 Opinion
        Read A and read B.
    """
    first, second = sorted(opinions, key=lambda opinion: opinion.reader)
    text = f"{subject}|{visit}".encode()
    swapped = hmac.digest(derived_key(key, "adjudication order"), text, "sha256")[0] % 2
    return (second, first) if swapped else (first, second)
