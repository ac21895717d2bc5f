"""Serial reading: the previous visit beside the present one, and the reader's decision on each proposed change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.records import CHANGE_CODES, T2State
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.items import LesionKind, ReadingItem
from mri_pipeline.reading.record import Opinion

PREVIOUS, CHANGES_CSV = "previous", "changes.csv"
CHANGE_COLUMNS = ("reading_code", "lesion", "proposed_change", "decision", "comment")
CHANGE_WORDS = {"new": T2State.NEW, "enlarging": T2State.ENLARGING, "none": T2State.STABLE}


@dataclass(frozen=True)
class Previous:
    """The previous visit of a subject, as confirmed.

    Parameters
    ----------
    item : ReadingItem
        Its images.
    opinion : Opinion
        The read that confirmed it.
    masks : mapping of LesionKind to LabelImage
        Its confirmed lesions.
    propose : callable
        State of each numbered T2 lesion of the present visit relative to the previous one.
    """

    item: ReadingItem
    opinion: Opinion
    masks: Mapping[LesionKind, LabelImage]
    propose: Callable[[LabelImage], Mapping[int, T2State]]

    def changes(self, proposed: LabelImage) -> dict[int, str]:
        """The changes on which the reader decides.

        Parameters
        ----------
        proposed : LabelImage
            Numbered T2 lesions of the present visit.

        Returns
        -------
        dict of int to str
            ``new`` or ``enlarging`` by number, in ascending order.
        """
        states = self.propose(proposed)
        asked = (T2State.NEW, T2State.ENLARGING)
        return {number: states[number].value for number in sorted(states) if states[number] in asked}


def changes_mask(
    decided: Mapping[int, T2State], lesions: LabelImage, confirmed: LabelImage, previous: LabelImage, *, what: str
) -> LabelImage | None:
    """The decisions in the voxels of their lesions, for the counts.

    Parameters
    ----------
    decided : mapping of int to T2State
        From `change_decisions`.
    lesions : LabelImage
        The returned T2 lesions, with their numbers.
    confirmed : LabelImage
        The confirmed T2 lesions.
    previous : LabelImage
        The counted T2 lesions of the previous visit, as confirmed.
    what : str
        Names the item in messages.

    Returns
    -------
    LabelImage or None
        `core.records.CHANGE_CODES`. None without decisions.

    Raises
    ------
    UsageError
        If a lesion that has no predecessor is not new.
    """
    if not decided:
        return None
    codes = np.zeros(lesions.data.shape, dtype=np.uint8)
    for number, state in decided.items():
        lesion = (lesions.data == number) & confirmed.mask
        if state is not T2State.NEW and not (lesion & previous.mask).any():
            raise UsageError(
                f"{what}: expected new for lesion {number}, which overlaps no lesion of the previous visit, found "
                "another decision",
                hint="decide new, reject the lesion, or have the read of the previous visit corrected",
            )
        codes[lesion] = CHANGE_CODES[state]
    return LabelImage(codes, lesions.grid)
