"""Preparation of the scans of a subject: brain masks, registration, subject space, tissue maps, common intensity scale.

The steps compose functions of `mri_pipeline.images`. They use no files and no Nipype. Scans may have any axis order.
Each step reorients them to RAS first, so that results do not depend on the axis order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.errors import AnalysisError, ImageError
from mri_pipeline.core.io.priors import load_lesion_prior
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import Affine, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images import bias, brain, midway, normalise, resample, tissue
from mri_pipeline.images import register as registration
from mri_pipeline.images.duplicates import repeated, same_scan, scan_digest
from mri_pipeline.images.subject_grid import subject_grid


@dataclass(frozen=True)
class SubjectSpace:
    """Midpoint space of a subject.

    Parameters
    ----------
    brain : LabelImage
        Brain mask within the field of view of all visits, on the grid of the space.
    whole_brain : LabelImage
        Brain mask, not limited to the common field of view.
    flairs_to_subject : tuple of Affine
        Transform of the FLAIR of each visit.
    template_to_subject : Affine
    """

    brain: LabelImage
    whole_brain: LabelImage
    flairs_to_subject: tuple[Affine, ...]
    template_to_subject: Affine


def extract_brain(flair: Image) -> brain.BrainExtraction:
    """Skull-stripping of a FLAIR.

    Parameters
    ----------
    flair : Image
        As acquired, in any axis order.

    Returns
    -------
    BrainExtraction
        Brain mask on the grid of the FLAIR in RAS order, transform from the template to the FLAIR, quality.
    """
    return brain.extract_brain(flair.reoriented(), load_template())


def require_different(images: Mapping[Contrast, Image]) -> None:
    """Refuse a visit with one scan as two contrasts.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Scans of one visit.

    Raises
    ------
    ImageError
        If two images have the same voxels.
    """
    same = repeated({contrast: scan_digest(image) for contrast, image in images.items()})
    if same:
        raise ImageError(
            f"{' and '.join(same)}: expected different scans, found the same voxels",
            hint="give each contrast its own scan",
        )


def register(
    fixed: Image,
    moving: Image,
    *,
    fixed_brain: LabelImage | None,
    moving_brain: LabelImage | None = None,
    intra_modal: bool,
) -> registration.Registration:
    """Rigid registration of two scans. The transform must not be used if the result has `failed`.

    Two scans with the same voxels are not registered. If they are two visits, the alignment of their headers is used,
    which is the identity for a copy. If they are two contrasts of a visit, one of them is the wrong scan, and the
    registration has failed.

    Parameters
    ----------
    fixed, moving : Image
        In any axis order.
    fixed_brain, moving_brain : LabelImage or None
        Brain masks on the grids of the scans; None if unknown.
    intra_modal : bool
        True if intensities are linearly related (same contrast).

    Returns
    -------
    Registration
    """
    fixed, moving = fixed.reoriented(), moving.reoriented()
    if same_scan(fixed, moving):
        moving_to_fixed = Affine(fixed.grid.affine @ np.linalg.inv(moving.grid.affine))
        quality = 1.0 if intra_modal else 0.0
        return registration.Registration(
            moving_to_fixed, quality, registration.RegistrationMethod.SAME_SCAN, failed=not intra_modal
        )
    masks = [None if mask is None else mask.reoriented() for mask in (fixed_brain, moving_brain)]
    return registration.register_rigid(
        fixed, moving, intra_modal=intra_modal, fixed_mask=masks[0], moving_mask=masks[1]
    )


def require_match(found: registration.Registration, what: str) -> Affine:
    """Transform of a registration, which must not have failed.

    Parameters
    ----------
    found : Registration
    what : str
        Names the scans in the message.

    Returns
    -------
    Affine
        Moving to fixed.

    Raises
    ------
    AnalysisError
        If no match was found.
    """
    if found.failed:
        raise AnalysisError(
            f"registration of {what}: expected a match, found none (quality {found.quality:.2f})",
            hint="check both scans: other head, other body part, motion",
        )
    return found.moving_to_fixed


def subject_space(
    *,
    flairs: Sequence[Image],
    brains: Sequence[LabelImage],
    templates_to_flair: Sequence[Affine],
    later_to_first: Sequence[Affine],
) -> SubjectSpace:
    """Unbiased subject space (midpoint of all visits): all visits are interpolated equally.

    Parameters
    ----------
    flairs, brains, templates_to_flair
        FLAIR, its brain mask and the transform from template to FLAIR, for every visit in the same order.
    later_to_first
        Rigid transforms of the second and later visits to the first.

    Returns
    -------
    SubjectSpace
    """
    flairs, brains = [flair.reoriented() for flair in flairs], [mask.reoriented() for mask in brains]
    to_subject = midway.midway([Affine.identity(), *later_to_first])
    grid = subject_grid([f.grid for f in flairs], to_subject, brains)
    ways = list(zip(flairs, brains, to_subject, strict=True))
    masks = [resample.resample_nearest(mask, grid, way) for _, mask, way in ways]
    # only the common field of view can be compared; outside it lesions would seem to appear or disappear
    fields_of_view = [resample.covered(flair, grid, way) for flair, _, way in ways]
    return SubjectSpace(
        brain=brain.combine(masks, fields_of_view=fields_of_view),
        whole_brain=brain.combine(masks),
        flairs_to_subject=tuple(to_subject),
        template_to_subject=midway.mean_affine(
            [visit @ template for visit, template in zip(to_subject, templates_to_flair, strict=True)]
        ),
    )


def brain_of_visit(
    brain_mask: LabelImage, flair: Image, flair_to_subject: Affine, *, whole_brain: LabelImage | None = None
) -> tuple[LabelImage, float]:
    """Brain mask within the field of view of a visit's FLAIR, and the covered share of the whole brain.

    The brain mask of a midpoint space is limited to the common field of view of its visits. A visit that is added to
    a kept space may cover less.

    Parameters
    ----------
    brain_mask : LabelImage
        Brain mask of the subject space.
    flair : Image
    flair_to_subject : Affine
    whole_brain : LabelImage, optional
        Brain mask that is not limited to the common field of view; the default is `brain_mask`.

    Returns
    -------
    LabelImage
        On the grid of `brain_mask`.
    float
        Covered share, 0 to 1.

    Raises
    ------
    AnalysisError
        If the FLAIR covers less than half of the brain.
    """
    scanned = resample.covered(flair.reoriented(), brain_mask.grid, flair_to_subject).mask
    whole = (whole_brain or brain_mask).mask
    share = int(np.count_nonzero(scanned & whole)) / max(int(np.count_nonzero(whole)), 1)
    if share < METHOD.coverage.least:
        raise AnalysisError(
            f"expected a FLAIR of the whole brain, found {100 * share:.0f} % of the subject's brain in it",
            hint="check the FLAIR: cut off, other body part",
        )
    return LabelImage(scanned & brain_mask.mask, brain_mask.grid), share


def prepare_visit(
    images: Mapping[Contrast, Image], to_subject: Mapping[Contrast, Affine], brain_mask: LabelImage
) -> dict[Contrast, Image]:
    """Resample every contrast once to the subject grid and correct its bias field.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Scans as acquired.
    to_subject : mapping of Contrast to Affine
        Transform from each scan to the subject space.
    brain_mask : LabelImage
        Brain mask on the subject grid.

    Returns
    -------
    dict of Contrast to Image
        On the grid of `brain_mask`; 0 outside the field of view.
    """
    grid, detail = brain_mask.grid, brain_mask.mask
    return {
        contrast: bias.correct_bias(
            resample.resample(image.reoriented(), grid, to_subject[contrast], detail=detail), brain_mask
        )
        for contrast, image in images.items()
    }


def partly_scanned(images: Mapping[Contrast, Image], brain: LabelImage) -> str:
    """QC flags for scans that do not cover the brain; empty if all do.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Prepared images of one visit (`prepare_visit`): 0 outside the field of view.
    brain : LabelImage
        Brain mask within the field of view of the visit's FLAIR.

    Returns
    -------
    str
        One flag for each scan, separated by semicolons.
    """
    shares = {c: float(np.mean(i.data[brain.mask] > 0)) for c, i in images.items() if c is not Contrast.FLAIR}
    return "; ".join(
        f"{contrast.value}: covers {100 * share:.0f} % of the brain; the rest is not known"
        for contrast, share in shares.items()
        if share < METHOD.coverage.whole
    )


def map_subject_tissue(
    *, flairs: Sequence[Image], t1ws: Sequence[Image], brain: LabelImage, template_to_subject: Affine
) -> TissueMaps:
    """Tissue and location maps of the subject from the mean of its visits, equal for all visits.

    Parameters
    ----------
    flairs, t1ws : sequence of Image
        Prepared images of the visits, on the grid of `brain`; `t1ws` may be empty.
    brain : LabelImage
    template_to_subject : Affine

    Returns
    -------
    TissueMaps
        On the grid of `brain`.
    """
    return tissue.map_tissue(
        flairs=flairs,
        t1ws=t1ws,
        brain=brain,
        template=load_template(),
        template_to_subject=template_to_subject,
        lesion_prior=load_lesion_prior(),
    )


def match_flairs(flairs: Sequence[Image], *, brain: LabelImage, tissue: TissueMaps) -> list[Image]:
    """Normalise the FLAIRs of all visits: white matter 1, equal grey matter, no bias field between visits.

    Parameters
    ----------
    flairs : sequence of Image
        Prepared images, on the grid of `brain`.
    brain : LabelImage
    tissue : TissueMaps

    Returns
    -------
    list of Image
        In the order of `flairs`.
    """
    return normalise.match_visits([normalise.normalise(flair, tissue, brain) for flair in flairs], tissue, brain)
