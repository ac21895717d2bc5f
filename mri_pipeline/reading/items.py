"""Reading items: the images and proposed lesions of one visit, under a random-looking code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.visits import Contrast


class LesionKind(StrEnum):
    """A kind of lesion on which readers decide. The value appears in ``lesions.csv``."""

    T2 = "T2"
    GEL = "GEL"
    BLACK_HOLE = "BH"

    @property
    def file(self) -> str:
        """File name of the mask in a worklist and in ``reads/``.

        Examples
        --------
        >>> LesionKind.BLACK_HOLE.file
        'black_holes.nii.gz'
        """
        return _MASK_FILES[self]


_MASK_FILES: Mapping[LesionKind, str] = {
    LesionKind.T2: "t2_lesions.nii.gz",
    LesionKind.GEL: "gel.nii.gz",
    LesionKind.BLACK_HOLE: "black_holes.nii.gz",
}
_MASK_LABELS: Mapping[LesionKind, MaskLabel] = {
    LesionKind.T2: MaskLabel.T2_LESION,
    LesionKind.GEL: MaskLabel.GEL,
    LesionKind.BLACK_HOLE: MaskLabel.BLACK_HOLE,
}
IMAGE_FILES: Mapping[Contrast, str] = {
    Contrast.FLAIR: "FLAIR.nii.gz",
    Contrast.T1W: "T1.nii.gz",
    Contrast.T1W_GD: "T1_Gd.nii.gz",
    Contrast.T2W: "T2.nii.gz",
    Contrast.PDW: "PD.nii.gz",
}
"""File names of the images in a worklist."""


@dataclass(frozen=True)
class ReadingItem:
    """One visit to be read.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label. They are not exported.
    images : mapping of Contrast to Path
        In the subject's space. FLAIR is required.
    masks : mapping of LesionKind to Path
        Proposed lesions on the same grid; labels above 0 are lesions. T2 is required. A kind is absent if the visit
        lacks the contrast it needs (post-contrast T1, T1).
    probabilities : mapping of LesionKind to Path
        Lesion probability of each voxel on the same grid. A kind without a map is absent.
    """

    subject: str
    visit: str
    images: Mapping[Contrast, Path]
    masks: Mapping[LesionKind, Path]
    probabilities: Mapping[LesionKind, Path] = field(default_factory=dict)


def item_from_derivatives(derivatives: DerivativeDataset, subject: str, visit: str) -> ReadingItem:
    """The images and masks of an analysed visit.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    ReadingItem
        With the files that exist. No file is read.

    Raises
    ------
    UsageError
        If its FLAIR or T2 lesion mask is missing.
    """
    images = {contrast: derivatives.image(subject, visit, contrast) for contrast in Contrast}
    masks = {kind: derivatives.mask(subject, visit, label) for kind, label in _MASK_LABELS.items()}
    probabilities = {kind: derivatives.probability(subject, visit, label) for kind, label in _MASK_LABELS.items()}
    item = ReadingItem(
        subject,
        visit,
        {contrast: path for contrast, path in images.items() if path.is_file()},
        {kind: path for kind, path in masks.items() if path.is_file()},
        {kind: path for kind, path in probabilities.items() if path.is_file()},
    )
    missing = ["FLAIR"] * (Contrast.FLAIR not in item.images) + ["T2 lesion mask"] * (
        LesionKind.T2 not in item.masks
    )
    if missing:
        raise UsageError(
            f"subject {subject}, visit {visit}: expected its FLAIR and T2 lesion mask, found no "
            f"{' and no '.join(missing)}",
            hint="run the analysis of this subject again",
        )
    return item
