"""The steps of an analysis, each a composition of library functions; no files, no nipype.

Scans come with any order of axes. Each step brings them to RAS order first, so that no result depends on it.

Interfaces call one of these each, and ``segment`` calls them in a row: there is one way for the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.errors import AnalysisError, ImageError
from mri_pipeline.core.io.priors import load_lesion_prior
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.protocol import LesionRules, Segmenter
from mri_pipeline.core.records import SubjectResult
from mri_pipeline.core.spatial import Affine, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages, VisitMasks
from mri_pipeline.images import bias, brain, midway, normalise, resample, tissue
from mri_pipeline.images import register as registration
from mri_pipeline.images.duplicates import repeated, scan_digest
from mri_pipeline.images.subject_grid import subject_grid
from mri_pipeline.lesions import black_holes
from mri_pipeline.lesions.gel import detect as gel
from mri_pipeline.lesions.t2 import external
from mri_pipeline.lesions.t2 import segment as t2
from mri_pipeline.lesions.tracking import track as tracking

LEAST_SCANNED = 0.5
"""Share of the subject's brain that a FLAIR must hold: with less it is cut off, or of another body part."""
WHOLLY_SCANNED = 0.95
"""Share of the brain that any other scan must hold, else a person is told: skull-stripping differs by less."""


@dataclass(frozen=True)
class SubjectSpace:
    """The midway space of a subject: its brain mask (whose grid is the subject's), and the ways into it.

    `whole_brain` is the brain before what some visit has not scanned was taken off.
    """

    brain: LabelImage
    whole_brain: LabelImage
    flairs_to_subject: tuple[Affine, ...]
    template_to_subject: Affine


@dataclass(frozen=True)
class SegmentedVisit:
    """One visit, normalised, with its lesions on T1; None is "cannot be known", an empty mask is "none found"."""

    contrasts: Mapping[Contrast, Image]
    gel: gel.GelDetection | None
    dark: black_holes.DarkTissue | None


def extract_brain(flair: Image) -> brain.BrainExtraction:
    """Brain mask of a FLAIR on its grid in RAS order, and the template's way to it."""
    return brain.extract_brain(flair.reoriented(), load_template())


def require_different(images: Mapping[Contrast, Image]) -> None:
    """Refuse a visit with one scan as two contrasts.

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
    """Rigid registration; one that found no match says so (`failed`) and must not be used.

    Two scans with the same voxels are not registered. As two visits they keep their headers' alignment, the identity
    for a copy; as two contrasts of a visit one of them is the wrong scan, and the registration has failed.
    """
    fixed, moving = fixed.reoriented(), moving.reoriented()
    if scan_digest(fixed) == scan_digest(moving):
        moving_to_fixed = Affine(fixed.grid.affine @ np.linalg.inv(moving.grid.affine))
        quality = 1.0 if intra_modal else 0.0
        return registration.Registration(
            moving_to_fixed, quality, registration.Method.SAME_SCAN, failed=not intra_modal
        )
    masks = [None if mask is None else mask.reoriented() for mask in (fixed_brain, moving_brain)]
    return registration.register_rigid(
        fixed, moving, intra_modal=intra_modal, fixed_mask=masks[0], moving_mask=masks[1]
    )


def require_match(found: registration.Registration, what: str) -> Affine:
    """The transform of a registration that must have worked.

    Raises
    ------
    AnalysisError
        If no match was found; `what` names the scans.
    """
    if found.failed:
        raise AnalysisError(
            f"registration of {what}: expected a match, found none (quality {found.quality:.2f})",
            hint="look at the two scans: another head, another body part, or a scan that moved?",
        )
    return found.moving_to_fixed


def subject_space(
    *,
    flairs: Sequence[Image],
    brains: Sequence[LabelImage],
    templates_to_flair: Sequence[Affine],
    later_to_first: Sequence[Affine],
) -> SubjectSpace:
    """Midway between all visits: no visit is interpolated less than another.

    Parameters
    ----------
    flairs, brains, templates_to_flair
        FLAIR, its brain mask and the template's way to it, for every visit in one order.
    later_to_first
        Rigid transforms of the second and later visits to the first.
    """
    flairs, brains = [flair.reoriented() for flair in flairs], [mask.reoriented() for mask in brains]
    to_subject = midway.midway([Affine.identity(), *later_to_first])
    grid = subject_grid([f.grid for f in flairs], to_subject, brains)
    ways = list(zip(flairs, brains, to_subject, strict=True))
    masks = [resample.resample_nearest(mask, grid, way) for _, mask, way in ways]
    # only what every visit has scanned can be compared: elsewhere a lesion would seem to come or to go
    seen = [resample.covered(flair, grid, way) for flair, _, way in ways]
    return SubjectSpace(
        brain=brain.combine(masks, fields_of_view=seen),
        whole_brain=brain.combine(masks),
        flairs_to_subject=tuple(to_subject),
        template_to_subject=midway.mean_affine(
            [visit @ template for visit, template in zip(to_subject, templates_to_flair, strict=True)]
        ),
    )


def brain_of_visit(
    brain_mask: LabelImage, flair: Image, flair_to_subject: Affine, *, whole_brain: LabelImage | None = None
) -> tuple[LabelImage, float]:
    """The subject's brain as far as a visit's FLAIR has scanned it, and the share of the whole brain that is.

    In a midway space the subject's brain is what every visit has scanned, and the whole brain is known beside it. A
    visit that is added to a kept space may have scanned less of the brain that is kept.

    Raises
    ------
    AnalysisError
        If the FLAIR has scanned less than half of the brain.
    """
    scanned = resample.covered(flair.reoriented(), brain_mask.grid, flair_to_subject).mask
    whole = (whole_brain or brain_mask).mask
    share = int(np.count_nonzero(scanned & whole)) / max(int(np.count_nonzero(whole)), 1)
    if share < LEAST_SCANNED:
        raise AnalysisError(
            f"expected a FLAIR of the whole brain, found {100 * share:.0f} % of the subject's brain in it",
            hint="look at the FLAIR: is it cut off, or of another body part?",
        )
    return LabelImage(scanned & brain_mask.mask, brain_mask.grid), share


def prepare_visit(
    images: Mapping[Contrast, Image], to_subject: Mapping[Contrast, Affine], brain_mask: LabelImage
) -> dict[Contrast, Image]:
    """Resample every contrast once onto the subject's grid and correct its bias field."""
    grid, detail = brain_mask.grid, brain_mask.mask
    return {
        contrast: bias.correct_bias(
            resample.resample(image.reoriented(), grid, to_subject[contrast], detail=detail), brain_mask
        )
        for contrast, image in images.items()
    }


def partly_scanned(images: Mapping[Contrast, Image], brain: LabelImage) -> str:
    """What a person has to know of scans that end before the brain does; empty where none does.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Of one visit, prepared: 0 beyond what was scanned.
    brain : LabelImage
        What the visit's FLAIR has scanned of the brain.
    """
    shares = {c: float(np.mean(i.data[brain.mask] > 0)) for c, i in images.items() if c is not Contrast.FLAIR}
    return "; ".join(
        f"{contrast.value}: has scanned {100 * share:.0f} % of the brain; what it would show beyond is not known"
        for contrast, share in shares.items()
        if share < WHOLLY_SCANNED
    )


def map_subject_tissue(
    *, flairs: Sequence[Image], t1ws: Sequence[Image], brain: LabelImage, template_to_subject: Affine
) -> TissueMaps:
    """Tissue and location maps of the subject from the mean of its visits: less noise, one answer for all."""
    return tissue.map_tissue(
        flairs=flairs,
        t1ws=t1ws,
        brain=brain,
        template=load_template(),
        template_to_subject=template_to_subject,
        lesion_prior=load_lesion_prior(),
    )


def match_flairs(flairs: Sequence[Image], *, brain: LabelImage, tissue: TissueMaps) -> list[Image]:
    """FLAIRs of all visits on one scale: white matter 1, grey matter the same, no field between them."""
    return normalise.match_visits([normalise.normalise(flair, tissue, brain) for flair in flairs], tissue, brain)


def segment_t2(
    visits: Sequence[Mapping[Contrast, Image]],
    *,
    brains: Sequence[LabelImage],
    tissue: TissueMaps,
    rules: LesionRules,
) -> list[t2.T2Segmentation]:
    """T2 lesions of all visits of a subject together: one threshold, one answer where nothing changed."""
    return t2.segment_t2(
        [_normalised(_of_t2(images), brain, tissue) for images, brain in zip(visits, brains, strict=True)],
        tissue,
        rules,
    )


def _of_t2(images: Mapping[Contrast, Image]) -> dict[Contrast, Image]:
    """What the T2 lesions are found on: FLAIR, T2w, and T1 before contrast or, without it, after."""
    used = {contrast: images[contrast] for contrast in (Contrast.FLAIR, Contrast.T2W) if contrast in images}
    t1 = images.get(Contrast.T1W, images.get(Contrast.T1W_GD))
    return used if t1 is None else {**used, Contrast.T1W: t1}


def take_t2(
    found: Sequence[Image],
    visits: Sequence[Mapping[Contrast, Image]],
    *,
    brains: Sequence[LabelImage],
    tissue: TissueMaps,
    segmenter: Segmenter,
    rules: LesionRules,
) -> tuple[list[t2.T2Segmentation], list[str]]:
    """T2 lesions from what another program made of every visit, and what a person has to look at in each.

    A visit in which it found nothing is held against the built-in segmentation: an empty mask is an answer, and what
    a program leaves that failed in silence.
    """
    searched = [LabelImage(brain.mask & tissue.above_foramen_magnum, brain.grid) for brain in brains]
    taken = [
        external.lesions_of_map(image, brain, segmenter, rules)
        for image, brain in zip(found, searched, strict=True)
    ]
    notes = ["" for _ in taken]
    if all(one.mask.mask.any() for one in taken):
        return taken, notes
    for number, own in enumerate(segment_t2(visits, brains=brains, tissue=tissue, rules=rules)):
        if own.mask.mask.any() and not taken[number].mask.mask.any():
            notes[number] = (
                f"T2 lesions: {segmenter.name} {segmenter.version} found none, the built-in segmentation "
                f"{int(own.mask.data.max())} ({own.mask.volume_mm3 / 1000:.2f} mL)"
            )
    return taken, notes


def segment_visit(
    images: Mapping[Contrast, Image],
    t2_lesions: LabelImage,
    *,
    brain: LabelImage,
    tissue: TissueMaps,
    rules: LesionRules,
) -> SegmentedVisit:
    """Normalise a visit and find its enhancing lesions and black holes, given its T2 lesions."""
    visit = _normalised(images, brain, tissue)
    enhancing = gel.detect_gel(visit, tissue, t2_lesions, rules) if Contrast.T1W_GD in images else None
    gel_mask = enhancing.mask if enhancing else None
    dark = (
        black_holes.segment_black_holes(visit, tissue, t2_lesions, gel_mask, rules)
        if Contrast.T1W in images
        else None
    )
    return SegmentedVisit(visit.contrasts, enhancing, dark)


def _normalised(images: Mapping[Contrast, Image], brain: LabelImage, tissue: TissueMaps) -> VisitImages:
    return VisitImages(
        {contrast: normalise.normalise(image, tissue, brain) for contrast, image in images.items()}, brain
    )


def track(
    visits: Sequence[VisitMasks],
    *,
    tissue_location: LabelImage,
    rules: LesionRules,
    weeks: Mapping[str, int | None],
) -> tracking.Tracking:
    """Follow lesions over the visits of a subject, given in the order of time."""
    return tracking.track_subject(visits, tissue_location, rules, weeks)


def count(
    subject: str,
    visits: Sequence[VisitMasks],
    *,
    tissue_location: LabelImage,
    rules: LesionRules,
    weeks: Mapping[str, int | None],
) -> SubjectResult:
    """What `track` counts, without masks of what changed."""
    return tracking.count_subject(subject, visits, tissue_location, rules, weeks)
