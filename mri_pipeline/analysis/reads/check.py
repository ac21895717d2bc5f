"""Check of a read by the definitions of the counted lesions. Everything that does not count is reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.lesions.black_holes import countable
from mri_pipeline.lesions.components import label_lesions, numbers_of
from mri_pipeline.lesions.tracking.gel import label_gel, overlaps
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.proposals import Proposal, describe_proposals


def number_counted(kind: LesionKind, mask: LabelImage, rules: LesionRules) -> LabelImage:
    """Number the lesions of a mask that count.

    Parameters
    ----------
    kind : LesionKind
    mask : LabelImage
    rules : LesionRules

    Returns
    -------
    LabelImage
        Zeros if there is none.
    """
    if kind is LesionKind.GEL:
        return label_gel(mask, rules)
    least = rules.t2_min_volume_mm3 if kind is LesionKind.T2 else rules.black_hole_min_volume_mm3
    return label_lesions(mask.mask, mask.grid, min_volume_mm3=least, connectivity=rules.connectivity)


def number_parts(_kind: LesionKind, mask: LabelImage, rules: LesionRules) -> LabelImage:
    """Number all connected components of a mask, however small.

    Parameters
    ----------
    _kind : LesionKind
        Not used: the definition of a component is the same for all kinds.
    mask : LabelImage
    rules : LesionRules

    Returns
    -------
    LabelImage
        Zeros if there is none.
    """
    return label_lesions(mask.mask, mask.grid, min_volume_mm3=0, connectivity=rules.connectivity)


def check_read(
    masks: Mapping[LesionKind, LabelImage], rules: LesionRules, *, what: str
) -> tuple[dict[LesionKind, LabelImage], list[str]]:
    """Apply the definition of a black hole to a read, and name everything that does not count.

    Parameters
    ----------
    masks : mapping of LesionKind to LabelImage
        Confirmed masks of one visit. T2 is required.
    rules : LesionRules
    what : str
        Names the item in messages.

    Returns
    -------
    masks : dict of LesionKind to LabelImage
        Black holes are cut to the T2 lesions; the others are unchanged.
    notes : list of str
        One line for each black hole that was cut, each drawing too small to count, and each GEL without T2 lesion.

    Raises
    ------
    UsageError
        If a black hole touches an enhancing lesion.
    """
    checked, notes = dict(masks), []
    counted = {kind: number_counted(kind, mask, rules) for kind, mask in masks.items()}
    if LesionKind.BLACK_HOLE in masks:
        checked[LesionKind.BLACK_HOLE], cut = _inside_t2(masks[LesionKind.BLACK_HOLE], counted, rules, what)
        notes += cut
    for kind, mask in checked.items():
        notes += _too_small(kind, mask, rules, what)
    if LesionKind.GEL in counted:
        notes += _without_t2(counted[LesionKind.GEL], counted[LesionKind.T2], what)
    return checked, notes


def _inside_t2(
    holes: LabelImage, counted: Mapping[LesionKind, LabelImage], rules: LesionRules, what: str
) -> tuple[LabelImage, list[str]]:
    t2, gel = counted[LesionKind.T2].mask, counted.get(LesionKind.GEL)
    inside = countable(holes.mask, t2, None)
    allowed = countable(holes.mask, t2, None if gel is None else gel.mask)
    enhancing = LabelImage(inside & ~allowed, holes.grid)
    for place in describe_proposals(number_counted(LesionKind.BLACK_HOLE, enhancing, rules)):
        raise UsageError(
            f"{what}: expected black holes that do not enhance, found {_place(place)} at an enhancing lesion",
            hint="reject or erase the black hole, or the enhancing lesion",
        )
    outside = int((holes.mask & ~inside).sum())
    notes = [f"{what}: {outside} voxels of black holes outside T2 lesions were cut off"] if outside else []
    return LabelImage(inside, holes.grid), notes


def _too_small(kind: LesionKind, mask: LabelImage, rules: LesionRules, what: str) -> Iterator[str]:
    counted = number_counted(kind, mask, rules)
    rest = LabelImage(mask.mask & ~counted.mask, mask.grid)
    for place in describe_proposals(number_parts(kind, rest, rules)):
        yield f"{what}: the {kind.value} lesion of {_place(place)} is too small to count"


def _without_t2(gel: LabelImage, t2: LabelImage, what: str) -> Iterator[str]:
    with_t2 = {number for number, _ in overlaps(gel, t2)}
    alone = set(numbers_of(gel)) - with_t2
    for place in describe_proposals(gel):
        if place.number in alone:
            yield (
                f"{what}: the GEL of {_place(place)} lies in no confirmed T2 lesion. It counts as it is; check FLAIR "
                "and T2 there. In the posterior fossa and the temporal lobes a GEL needs a T2 lesion"
            )


def _place(place: Proposal) -> str:
    """Volume and voxel of a lesion, counted from 1 as in lesions.csv."""
    x, y, z = (i + 1 for i in place.voxel)
    return f"{place.volume_mm3:.1f} mm3 at voxel {x}, {y}, {z}"
