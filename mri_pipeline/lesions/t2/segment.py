"""T2 lesions: brighter than grey matter on FLAIR, at a place where lesions occur, not CSF's rim, not grey matter.

One visible rule with few constants instead of a large model: there are three labelled patients with images. The
score of a voxel is its FLAIR in standard deviations of white matter, plus a bonus for the place (location prior),
minus a penalty for grey matter. One threshold does not fit all patients, so it is found in each from two facts: a
lesion is brighter than the patient's grey matter, and its border lies half-way between white matter and lesions.
Components need a sure core (hysteresis) and must pass the gates for the normal rim of the ventricles and for grey
matter on T1. What T1 shows to be white matter may be fainter on FLAIR; without T1 only what is bright throughout is
a lesion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.method.t2 import T2Settings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import BoolArray, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.components import ConnectedComponents, label_lesions
from mri_pipeline.lesions.t2.border import small_to_half_height, to_border, with_faint
from mri_pipeline.lesions.t2.changes import proven_lesions
from mri_pipeline.lesions.t2.features import OUTSIDE, Evidence, evidence_of
from mri_pipeline.lesions.t2.fluid import without_flow
from mri_pipeline.lesions.t2.visits import agree


@dataclass(frozen=True)
class T2Segmentation:
    """T2 lesions of one visit.

    Parameters
    ----------
    probability : Image
        0 to 1, 0.5 at the threshold and at least that in lesions: a rank for readers, not a calibrated probability.
    mask : LabelImage
        Lesions, numbered.
    threshold : float
        What was found for this subject, in standard deviations of white matter.
    """

    probability: Image
    mask: LabelImage
    threshold: float


def segment_t2(
    visits: Sequence[VisitImages], tissue: TissueMaps, rules: LesionRules, *, settings: T2Settings | None = None
) -> list[T2Segmentation]:
    """Find the T2 lesions of all visits of a subject.

    One threshold holds for all visits, and where the image did not change they vote together (`agree`): the same
    tissue gets the same answer at every visit. A visit added later changes earlier results by its one vote, by
    faint lesions that it does not show, by its T1 where they have none, and by what its comparison with them proves
    (`proven_lesions`).

    Parameters
    ----------
    visits : sequence of VisitImages
        FLAIR, and T1 (before or after contrast) if there is one, in any order; the FLAIRs of all visits on one
        scale. Brain masks may differ.
    tissue : TissueMaps
        On the visits' grid, with the location prior.
    rules : LesionRules
    settings : T2Settings, optional

    Returns
    -------
    list of T2Segmentation
        One for each visit, with an empty mask if there is no lesion.

    Raises
    ------
    GridMismatchError
        If the visits or the tissue maps lie on different grids.
    """
    found = _as_seen(visits, tissue, rules, settings or T2Settings())
    proven = proven_lesions(
        [visit.contrasts[Contrast.FLAIR] for visit in visits],
        [visit.brain for visit in visits],
        [visit.mask for visit in found],
        tissue.white_matter,
        rules,
    )
    return [
        _with(found_there, without_flow(more, visit, tissue), rules)
        for found_there, more, visit in zip(found, proven, visits, strict=True)
    ]


def _as_seen(
    visits: Sequence[VisitImages], tissue: TissueMaps, rules: LesionRules, settings: T2Settings
) -> list[T2Segmentation]:
    """What the scans show by themselves, with one vote each."""
    seen = [
        evidence_of(
            visit, tissue, prior_weight=settings.prior_weight, grey_matter_penalty=settings.grey_matter_penalty
        )
        for visit in visits
    ]
    threshold = float(np.median([patient_threshold(evidence, tissue, settings) for evidence in seen]))
    agreed = agree(
        [Image(evidence.score - np.float32(threshold), tissue.location.grid) for evidence in seen],
        [visit.contrasts[Contrast.FLAIR] for visit in visits],
        [visit.brain for visit in visits],
    )
    seen = [
        replace(evidence, score=above.data + np.float32(threshold))
        for evidence, above in zip(_with_t1(seen), agreed, strict=True)
    ]
    faint = _faint(seen, threshold - settings.faint, tissue, settings)
    return [
        _segmented(visit, evidence, faint, threshold, tissue, rules=rules, settings=settings)
        for visit, evidence in zip(visits, seen, strict=True)
    ]


def _with_t1(seen: Sequence[Evidence]) -> list[Evidence]:
    """Where a visit has no T1, the mean of the others': grey matter stays where it is, and is judged alike."""
    known = [(evidence.t1, evidence.grey_t1) for evidence in seen if evidence.t1 is not None]
    if not known or (len(known) == len(seen) and not any(np.isnan(t1).any() for t1, _ in known)):
        return list(seen)
    number = np.sum([np.isfinite(t1) for t1, _ in known], axis=0, dtype=np.float32)
    total = np.sum([np.nan_to_num(t1) for t1, _ in known], axis=0)
    mean = np.where(number > 0, total / np.maximum(number, 1.0), np.float32(np.nan))
    grey = float(np.mean([grey for _, grey in known]))
    return [
        replace(evidence, t1=mean, grey_t1=grey)
        if evidence.t1 is None
        else replace(evidence, t1=np.where(np.isnan(evidence.t1), mean, evidence.t1))
        for evidence in seen
    ]


def _with(found: T2Segmentation, more: BoolArray, rules: LesionRules) -> T2Segmentation:
    """The visit with lesions that were proven otherwise: they are at least as probable as the threshold."""
    if not more.any():
        return found
    grid = found.mask.grid
    mask = label_lesions(
        found.mask.mask | more, grid, min_volume_mm3=rules.t2_min_volume_mm3, connectivity=rules.connectivity
    )
    probability = np.where(more, np.maximum(found.probability.data, 0.5), found.probability.data)
    return replace(found, probability=Image(probability, grid), mask=mask)


def _segmented(
    visit: VisitImages,
    evidence: Evidence,
    faint: ConnectedComponents,
    threshold: float,
    tissue: TissueMaps,
    *,
    rules: LesionRules,
    settings: T2Settings,
) -> T2Segmentation:
    grid = tissue.location.grid
    found = with_faint(_sure(evidence, threshold, grid, settings), faint, evidence.score, threshold)
    found = to_border(found, evidence.brightness > threshold, grid, reach_mm=settings.reach_mm)
    found = small_to_half_height(
        found, evidence.brightness, grid, small_mm3=settings.small_mm3, reach_mm=settings.reach_mm
    )
    found = without_flow(found, visit, tissue)
    mask = label_lesions(found, grid, min_volume_mm3=rules.t2_min_volume_mm3, connectivity=rules.connectivity)
    with np.errstate(over="ignore"):
        probability = 1.0 / (1.0 + np.exp(-2.0 * (evidence.score - threshold)))
    probability = np.where(mask.mask, np.maximum(probability, 0.5), probability)
    return T2Segmentation(Image(probability.astype(np.float32), grid), mask, threshold)


def patient_threshold(evidence: Evidence, tissue: TissueMaps, settings: T2Settings) -> float:
    """The score above which a voxel is lesion in this patient, as one visit tells it.

    The largest of: grey matter plus `above_grey_matter`, `lesion_share` of the upper decile of what is surely
    bright at likely places, and `least_threshold`.
    """
    sure = (evidence.score > settings.sure_score) & (tissue.lesion_prior.data > settings.likely_prior)
    brightness = float(np.quantile(evidence.score[sure], 0.9)) if sure.any() else 0.0
    return max(
        evidence.grey_flair + settings.above_grey_matter,
        settings.lesion_share * brightness,
        settings.least_threshold,
    )


def _sure(evidence: Evidence, threshold: float, grid: Grid, settings: T2Settings) -> BoolArray:
    """Components with a core that are neither rim nor grey matter."""
    parts = ConnectedComponents.of(evidence.score > threshold - settings.border)
    keep = parts.maxima(evidence.score) > threshold + settings.core
    # a rim is a bright line that fades to both sides, cortex just passes; a lesion is bright throughout
    mean = parts.means(evidence.score) - threshold
    apart = parts.means(evidence.darkest) >= settings.rim_darkest
    large = parts.sizes * grid.voxel_volume_mm3 > settings.rim_volume_mm3
    keep &= apart | large | (mean > settings.bright)
    no_grey = mean > settings.grey_bright
    if evidence.t1 is not None and evidence.grey_t1 < 0:
        no_grey |= parts.means(evidence.t1) >= settings.grey_t1_share * evidence.grey_t1
    return parts.chosen(keep & no_grey)


def _faint(
    seen: Sequence[Evidence], threshold: float, tissue: TissueMaps, settings: T2Settings
) -> ConnectedComponents:
    """Fainter components of all visits together, apart from fluid, no grey matter on T1 nor by the template.

    Each must be there at every visit that scanned the place: what comes or goes must be sure.
    """
    scanned = [evidence.brightness > OUTSIDE for evidence in seen]
    score = np.min([np.where(there, e.score, np.inf) for e, there in zip(seen, scanned, strict=True)], axis=0)
    parts = ConnectedComponents.of(np.isfinite(score) & (score > threshold - settings.border))
    keep = parts.maxima(score) > threshold + settings.core
    keep &= parts.means(tissue.grey_matter.data) < settings.faint_grey_matter
    known = False
    for evidence, there in zip(seen, scanned, strict=True):
        size = parts.sums(there)
        keep &= parts.sums(np.where(there, evidence.darkest, 0)) >= settings.rim_darkest * size
        if evidence.t1 is not None and evidence.grey_t1 < 0:
            least = settings.faint_t1_share * evidence.grey_t1
            keep &= parts.sums(np.where(there, evidence.t1, 0)) >= least * size
            known = True
    return ConnectedComponents.of(parts.chosen(keep & known))
