"""Tissue and location maps of a subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mri_pipeline.core.spatial import Affine, BoolArray, Image, LabelImage


class Location(StrEnum):
    """Region of the brain in which a lesion lies (McDonald 2017)."""

    PERIVENTRICULAR = "periventricular"
    JUXTACORTICAL = "juxtacortical"
    INFRATENTORIAL = "infratentorial"
    DEEP_WHITE_MATTER = "deep_white_matter"


LOCATION_LABELS: Mapping[int, Location] = {
    1: Location.PERIVENTRICULAR,
    2: Location.JUXTACORTICAL,
    3: Location.INFRATENTORIAL,
    4: Location.DEEP_WHITE_MATTER,
    5: Location.INFRATENTORIAL,
}
"""Values of `TissueMaps.location`; 0 is outside the brain, 5 (`BELOW_FORAMEN_MAGNUM`) is below the foramen magnum."""

BELOW_FORAMEN_MAGNUM = 5
"""Value of `TissueMaps.location` for the cord and the fluid around it. The program finds no lesion there; what a reader
draws there counts as infratentorial."""


@dataclass(frozen=True)
class TissueMaps:
    """Tissue maps of one subject on one grid, from the template registered to the subject.

    Parameters
    ----------
    white_matter, grey_matter, csf : Image
        Probabilities between 0 and 1; they sum to at most 1 inside the brain.
    location : LabelImage
        `LOCATION_LABELS` inside the brain mask, 0 outside.
    lesion_prior : Image
        Probability that a patient with MS has a T2 lesion at a position.
    template_to_subject : Affine
        Affine transform from template space to subject space.
    """

    white_matter: Image
    grey_matter: Image
    csf: Image
    location: LabelImage
    lesion_prior: Image
    template_to_subject: Affine

    @property
    def above_foramen_magnum(self) -> BoolArray:
        """Brain mask above the foramen magnum: the search for lesions is limited to it."""
        return np.asarray((self.location.data > 0) & (self.location.data != BELOW_FORAMEN_MAGNUM))

    @property
    def infratentorial(self) -> BoolArray:
        """All voxels whose location is infratentorial, those below the foramen magnum included."""
        return np.isin(self.location.data, [k for k, v in LOCATION_LABELS.items() if v is Location.INFRATENTORIAL])
