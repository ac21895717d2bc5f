"""Contrasts, visit labels, and the images and masks of one visit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.spatial import BoolArray, Grid, Image, LabelImage


class Contrast(StrEnum):
    """An MR contrast of the trial; the value is its BIDS suffix (with the ce entity)."""

    T1W = "T1w"
    T1W_GD = "ce-gadolinium_T1w"
    T2W = "T2w"
    PDW = "PDw"
    FLAIR = "FLAIR"


@dataclass(frozen=True)
class VisitImages:
    """One visit, ready for segmentation: on one grid, bias-corrected and normalised.

    Parameters
    ----------
    contrasts : mapping of Contrast to Image
        The median of normal-appearing white matter is 1 in every contrast. FLAIR is required.
    brain : LabelImage
        Brain mask (parenchyma and ventricles, without skull) on the same grid.
    """

    contrasts: Mapping[Contrast, Image]
    brain: LabelImage

    def __post_init__(self) -> None:
        if Contrast.FLAIR not in self.contrasts:
            raise ImageError("expected a FLAIR image, found none", hint="a visit without FLAIR cannot be analysed")
        for contrast, image in self.contrasts.items():
            self.grid.require_same(image.grid, contrast.value)

    @property
    def grid(self) -> Grid:
        """The common grid of all images of the visit."""
        return self.brain.grid

    def scanned(self, contrast: Contrast) -> BoolArray:
        """Brain voxels within the field of view of a contrast. Intensity is 0 outside of it.

        Parameters
        ----------
        contrast : Contrast
            A contrast of the visit.

        Returns
        -------
        ndarray of bool, shape `grid.shape`
        """
        return np.asarray(self.brain.mask & (self.contrasts[contrast].data > 0))


@dataclass(frozen=True)
class VisitMasks:
    """The lesions of one visit on the subject's grid, automatic or confirmed by a reader.

    Parameters
    ----------
    visit : str
        Label of the visit.
    t2_lesions : LabelImage
    gel : LabelImage or None
        None if the visit has no post-contrast T1.
    black_holes : LabelImage or None
        None if the visit has no pre-contrast T1.
    flair : Image or None
        White matter is 1. Tracking uses it in addition to the masks.
    t1_hypointensity : LabelImage or None
        Grade `lesions.black_holes.T1Hypointensity` of every voxel; None if the visit has no pre-contrast T1.
    confirmed : bool
        True if a reader confirmed the masks. Between two confirmed visits the masks alone decide what has changed.
    read : str
        Digest of the record of that read; empty for automatic masks.
    t2_changes : LabelImage or None
        `core.records.CHANGE_CODES` of the reader's decisions on changes, in the voxels of each decided lesion.
    changes_since : str
        Digest of the read of the previous visit to which the decisions refer; empty without decisions.
    """

    visit: str
    t2_lesions: LabelImage
    gel: LabelImage | None = None
    black_holes: LabelImage | None = None
    flair: Image | None = None
    t1_hypointensity: LabelImage | None = None
    confirmed: bool = False
    read: str = ""
    t2_changes: LabelImage | None = None
    changes_since: str = ""


_WEEK = re.compile(r"^wk(\d{1,4})$")


def week_of(visit: str) -> int | None:
    """The week in a visit label.

    Parameters
    ----------
    visit : str

    Returns
    -------
    int or None
        None if the label is not ``wk`` followed by digits.

    Examples
    --------
    >>> week_of("wk04"), week_of("1")
    (4, None)
    """
    match = _WEEK.match(visit)
    return int(match.group(1)) if match else None


def visit_order(visit: str) -> list[tuple[bool, int, str]]:
    """Natural sort key of visit labels: numbers are compared by value.

    Parameters
    ----------
    visit : str

    Returns
    -------
    list of tuple
        One entry for each run of digits or of other characters.

    Examples
    --------
    >>> sorted(["wk12", "10", "2", "wk04"], key=visit_order)
    ['2', '10', 'wk04', 'wk12']
    """
    parts = [part for part in re.split(r"(\d+)", visit) if part]
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
