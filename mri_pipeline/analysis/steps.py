"""Lesion steps of an analysis: segmentation of prepared visits (`mri_pipeline.analysis.preparation`), and tracking.

The steps compose functions of `mri_pipeline.lesions`. They use no files and no Nipype. Each interface of `workflows`
calls one step of this module or of `preparation`. The command ``segment`` calls the steps in sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import SubjectResult
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages, VisitMasks
from mri_pipeline.images import normalise
from mri_pipeline.images.enhancement import looks_enhanced
from mri_pipeline.lesions import black_holes
from mri_pipeline.lesions.gel import detect as gel
from mri_pipeline.lesions.gel.candidates import GelDetection
from mri_pipeline.lesions.t2 import external
from mri_pipeline.lesions.t2 import segment as t2
from mri_pipeline.lesions.tracking import track as tracking


@dataclass(frozen=True)
class SegmentedVisit:
    """Normalised images of one visit with its lesions.

    Parameters
    ----------
    contrasts : mapping of Contrast to Image
        On the subject grid; median of white matter 1.
    t2_lesions : LabelImage
        Numbered T2 lesions, with the enhancing lesions that were not found on T2.
    t2_probability : Image
        Probability map of the T2 lesions, 0 to 1.
    gel : GelDetection or None
        None without post-contrast T1. An empty mask: none found.
    dark : DarkTissue or None
        Black holes and T1 hypointensity. None without T1 before contrast. An empty mask: none found.
    t1_enhanced : bool
        True if the T1 before contrast looks post-contrast. Black holes are then not known.
    """

    contrasts: Mapping[Contrast, Image]
    t2_lesions: LabelImage
    t2_probability: Image
    gel: GelDetection | None
    dark: black_holes.DarkTissue | None
    t1_enhanced: bool


def segment_t2(
    visits: Sequence[Mapping[Contrast, Image]],
    *,
    brains: Sequence[LabelImage],
    tissue: TissueMaps,
    rules: LesionRules,
) -> list[t2.T2Segmentation]:
    """Segment the T2 lesions of all visits of a subject with one threshold and longitudinal consistency.

    Parameters
    ----------
    visits : sequence of mapping of Contrast to Image
        Prepared images of each visit, FLAIRs normalised by `match_flairs`.
    brains : sequence of LabelImage
        Brain mask of each visit.
    tissue : TissueMaps
    rules : LesionRules

    Returns
    -------
    list of T2Segmentation
        One for each visit.
    """
    return t2.segment_t2(
        [normalised(_of_t2(images), brain, tissue) for images, brain in zip(visits, brains, strict=True)],
        tissue,
        rules,
    )


def _of_t2(images: Mapping[Contrast, Image]) -> dict[Contrast, Image]:
    """Images for the T2 segmentation: FLAIR, T2w, and T1 before contrast (after contrast if there is no other)."""
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
    """T2 lesions of all visits from the maps of an external segmenter, with QC flags.

    An empty map can be a result or a silent failure of the program. Such a visit is compared with the built-in
    segmentation.

    Parameters
    ----------
    found : sequence of Image
        Map of each visit, written by the segmenter.
    visits : sequence of mapping of Contrast to Image
        Prepared images of each visit.
    brains : sequence of LabelImage
        Brain mask of each visit.
    tissue : TissueMaps
    segmenter : Segmenter
    rules : LesionRules

    Returns
    -------
    list of T2Segmentation
        One for each visit.
    list of str
        QC flag of each visit; empty if there is none.
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
    t2_probability: Image,
    *,
    brain: LabelImage,
    tissue: TissueMaps,
    rules: LesionRules,
) -> SegmentedVisit:
    """Normalise a visit and segment its enhancing lesions and black holes, given its T2 lesions.

    An enhancing lesion that was not found on T2 becomes a T2 lesion. A T1 that looks post-contrast shows no black
    holes.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Prepared images on the grid of `brain`.
    t2_lesions : LabelImage
        Numbered T2 lesions.
    t2_probability : Image
        Their probability map, 0 to 1.
    brain : LabelImage
    tissue : TissueMaps
    rules : LesionRules

    Returns
    -------
    SegmentedVisit
    """
    visit = normalised(images, brain, tissue)
    enhancing, gel_mask = None, None
    if Contrast.T1W_GD in images:
        enhancing = gel.detect_gel(visit, tissue, t2_lesions, rules)
        gel_mask = enhancing.mask
        t2_lesions, t2_probability = gel.with_enhancing(t2_lesions, t2_probability, enhancing, rules)
    t1 = visit.contrasts.get(Contrast.T1W)
    t1_enhanced = t1 is not None and looks_enhanced(t1, tissue.csf, brain)
    dark = (
        black_holes.segment_black_holes(visit, tissue, t2_lesions, gel_mask, rules)
        if t1 is not None and not t1_enhanced
        else None
    )
    return SegmentedVisit(visit.contrasts, t2_lesions, t2_probability, enhancing, dark, t1_enhanced)


def normalised(images: Mapping[Contrast, Image], brain: LabelImage, tissue: TissueMaps) -> VisitImages:
    """Normalise all images of a visit: white matter 1.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Prepared images on the grid of `brain`.
    brain : LabelImage
    tissue : TissueMaps

    Returns
    -------
    VisitImages
    """
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
    """Track lesions over the visits of a subject.

    Parameters
    ----------
    visits : sequence of VisitMasks
        In the order of time.
    tissue_location : LabelImage
        Location map (`TissueMaps.location`).
    rules : LesionRules
    weeks : mapping of str to (int or None)
        Week of each visit; None if unknown.

    Returns
    -------
    Tracking
    """
    return tracking.track_subject(visits, tissue_location, rules, weeks)


def number(
    visits: Sequence[VisitMasks],
    *,
    tissue_location: LabelImage,
    rules: LesionRules,
    weeks: Mapping[str, int | None],
) -> Iterator[tracking.NumberedVisit]:
    """Number the lesions of each kind as `count` counts them.

    Parameters
    ----------
    visits, tissue_location, rules, weeks
        As in `track`.

    Yields
    ------
    NumberedVisit
    """
    yield from tracking.number_subject(visits, tissue_location, rules, weeks)


def count(
    subject: str,
    visits: Sequence[VisitMasks],
    *,
    tissue_location: LabelImage,
    rules: LesionRules,
    weeks: Mapping[str, int | None],
) -> SubjectResult:
    """Count lesions as `track` does, without masks of change.

    Parameters
    ----------
    subject : str
        Blinded code.
    visits, tissue_location, rules, weeks
        As in `track`.

    Returns
    -------
    SubjectResult
    """
    return tracking.count_subject(subject, visits, tissue_location, rules, weeks)
