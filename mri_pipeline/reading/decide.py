"""Confirmed lesions from decisions and edited masks. Contradictions are refused, never resolved silently."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.errors import GridMismatchError, UsageError, listed
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.items import LesionKind


@dataclass(frozen=True)
class ConfirmedMask:
    """Confirmed lesions of one kind.

    Parameters
    ----------
    mask : LabelImage
        0 and 1.
    voxels_added, voxels_erased : int
        Number of voxels that the reader drew, and erased from accepted lesions.
    """

    mask: LabelImage
    voxels_added: int
    voxels_erased: int


def onto_grid_of(proposed: LabelImage, returned: LabelImage, what: str) -> LabelImage:
    """The returned mask on the grid of the proposed one. Axes flipped or permuted by a viewer are restored.

    Parameters
    ----------
    proposed, returned : LabelImage
    what : str
        Names the mask in messages.

    Returns
    -------
    LabelImage
        The returned labels, unchanged in number and position.

    Raises
    ------
    GridMismatchError
        If the grids differ otherwise. Nothing is resampled.
    """
    returned = returned.with_axes_of(proposed.grid)
    try:
        proposed.grid.require_same(returned.grid, what)
    except GridMismatchError as error:
        hint = "save the mask on the grid of the FLAIR in the same folder (in 3D Slicer: reference volume FLAIR)"
        raise GridMismatchError(error.message, hint=hint) from error
    return returned


def _named(what: str, numbers: Collection[int]) -> str:
    """The first numbers, and how many more there are: a wrong image has thousands of labels."""
    return f"{what}{'s' if len(numbers) > 1 else ''} {listed(map(str, sorted(numbers)))}"


def confirm_mask(
    proposed: LabelImage, returned: LabelImage, decisions: Mapping[int, bool], *, what: str
) -> ConfirmedMask:
    """Confirmed lesions of one kind.

    Accepted lesions are kept and rejected lesions are removed. An edited mask has priority: every labelled voxel is
    lesion, except voxels with the number of a rejected lesion.

    Parameters
    ----------
    proposed : LabelImage
        The exported lesions, one number each.
    returned : LabelImage
        The returned mask on the same grid. It equals `proposed` if nothing was edited.
    decisions : mapping of lesion number to bool
        True for accepted. Every proposed lesion has an entry.
    what : str
        Names the mask in messages.

    Returns
    -------
    ConfirmedMask
        On the grid of `proposed`; empty if every lesion is rejected and none is drawn.

    Raises
    ------
    UsageError
        If mask and decisions contradict each other: a rejected lesion has another label, an accepted lesion was
        erased or has the number of a rejected one (for example if all lesions were saved as one label).
    """
    hint = "correct lesions.csv or the mask, then import again"
    rejected = [number for number, accepted in decisions.items() if not accepted]
    accepted = [number for number, accepted in decisions.items() if accepted]
    others = {n: set(np.unique(returned.data[proposed.data == n]).tolist()) - {0, n} for n in rejected}
    overdrawn = [n for n in rejected if others[n]]
    if overdrawn:
        labels = _named("label", set().union(*others.values()))
        raise UsageError(
            f"{what}: expected rejected {_named('lesion', overdrawn)} erased or unchanged, found {labels} instead",
            hint=hint,
        )
    renamed = [n for n in accepted if np.isin(returned.data[proposed.data == n], rejected).any()]
    if renamed:
        raise UsageError(
            f"{what}: expected accepted {_named('lesion', renamed)} with the exported number, found the number of a "
            "rejected lesion",
            hint="keep the labels of the lesions when saving the mask, or accept all and erase the false lesions",
        )
    confirmed = returned.mask & ~np.isin(returned.data, rejected)
    erased = [n for n in accepted if not confirmed[proposed.data == n].any()]
    if erased:
        raise UsageError(
            f"{what}: expected accepted {_named('lesion', erased)} in the mask, found all voxels erased", hint=hint
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
    """Refuse black holes outside confirmed T2 lesions, for example if the T2 lesion was rejected.

    Parameters
    ----------
    proposed : mapping of LesionKind to LabelImage
        The exported lesions, one number each.
    confirmed : mapping of LesionKind to ConfirmedMask
        On the same grid. Nothing is checked without black holes.
    what : str
        Names the item in messages.

    Raises
    ------
    UsageError
        If an accepted black hole, or all drawn voxels, are outside of confirmed T2 lesions.
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
        found = _named("black hole", outside) if outside else "drawn voxels"
        raise UsageError(
            f"{what}: expected black holes inside confirmed T2 lesions, found {found} outside",
            hint="reject the black hole too, or accept or draw its T2 lesion",
        )
