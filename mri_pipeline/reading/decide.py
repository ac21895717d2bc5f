"""From decisions and edited masks to confirmed lesions; contradictions are refused, never resolved in silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.errors import GridMismatchError, UsageError
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.items import LesionKind


@dataclass(frozen=True)
class ConfirmedMask:
    """Confirmed lesions of one kind (0 and 1), and how many voxels a reader drew or erased."""

    mask: LabelImage
    voxels_added: int
    voxels_erased: int


def onto_grid_of(proposed: LabelImage, returned: LabelImage, what: str) -> LabelImage:
    """The returned mask on the proposed one's grid; axes that a viewer flipped or swapped are turned back.

    Raises
    ------
    GridMismatchError
        If it is another grid; nothing is resampled.
    """
    returned = returned.with_axes_of(proposed.grid)
    try:
        proposed.grid.require_same(returned.grid, what)
    except GridMismatchError as error:
        hint = "save the mask on the grid of the FLAIR beside it (in 3D Slicer: reference volume FLAIR)"
        raise GridMismatchError(error.message, hint=hint) from error
    return returned


def _named(numbers: list[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def confirm_mask(
    proposed: LabelImage, returned: LabelImage, decisions: Mapping[int, bool], *, what: str
) -> ConfirmedMask:
    """Confirmed lesions of one kind.

    Accepted lesions stay, rejected ones go, and where the mask was edited the edited mask wins: whatever is
    labelled in it is lesion, except what carries the number of a rejected lesion.

    Parameters
    ----------
    proposed : LabelImage
        The exported lesions by number.
    returned : LabelImage
        The mask that came back, on the same grid; equal to `proposed` where nothing was edited.
    decisions : mapping of lesion number to whether it was accepted
        Of every proposed lesion.
    what : str
        Names the mask in messages.

    Raises
    ------
    UsageError
        If the mask and the decisions contradict each other: a rejected lesion was drawn over with another label,
        an accepted one was erased, or the numbers of lesions were lost (saved as one label).
    """
    hint = "correct lesions.csv or the mask, then import again"
    rejected = [number for number, accepted in decisions.items() if not accepted]
    accepted = [number for number, accepted in decisions.items() if accepted]
    overdrawn = [n for n in rejected if np.isin(returned.data[proposed.data == n], [0, n], invert=True).any()]
    if overdrawn:
        raise UsageError(
            f"{what}: expected lesion {_named(overdrawn)} gone, as it was rejected, found another label there",
            hint=hint,
        )
    renamed = [n for n in accepted if np.isin(returned.data[proposed.data == n], rejected).any()]
    if renamed:
        raise UsageError(
            f"{what}: expected lesion {_named(renamed)} under its own number, found that of a rejected lesion",
            hint="keep the labels of the lesions when saving the mask, or accept all and erase what is wrong",
        )
    confirmed = returned.mask & ~np.isin(returned.data, rejected)
    erased = [n for n in accepted if not confirmed[proposed.data == n].any()]
    if erased:
        raise UsageError(
            f"{what}: expected lesion {_named(erased)} in the mask, as it was accepted, found it erased", hint=hint
        )
    kept = np.isin(proposed.data, accepted)
    return ConfirmedMask(
        LabelImage(confirmed, proposed.grid),
        voxels_added=int(np.count_nonzero(confirmed & ~kept)),
        voxels_erased=int(np.count_nonzero(kept & ~confirmed)),
    )


def require_holes_in_lesions(
    proposed: Mapping[LesionKind, LabelImage], confirmed: Mapping[LesionKind, ConfirmedMask], *, what: str
) -> None:
    """Refuse a black hole whose T2 lesion was rejected: a black hole lies inside a T2 lesion.

    Raises
    ------
    UsageError
        If an accepted black hole, or drawn voxels, touch no confirmed T2 lesion.
    """
    if LesionKind.BLACK_HOLE not in confirmed:
        return
    holes, lesions = confirmed[LesionKind.BLACK_HOLE].mask.mask, confirmed[LesionKind.T2].mask.mask
    numbers = proposed[LesionKind.BLACK_HOLE].data
    outside = [
        int(n) for n in np.unique(numbers[holes & (numbers > 0)]) if not lesions[holes & (numbers == n)].any()
    ]
    drawn = holes & (numbers == 0)
    if outside or (drawn.any() and not lesions[drawn].any()):
        found = f"black hole {_named(outside)}" if outside else "a drawn one"
        raise UsageError(
            f"{what}: expected black holes inside confirmed T2 lesions, found {found} outside",
            hint="reject the black hole too, or accept or draw its T2 lesion",
        )
