"""Segmentation of T2 lesions on FLAIR.

A T2 lesion is brighter than grey matter on FLAIR, lies at a typical location, and is neither the normal rim of CSF
nor grey matter. The method is an explicit rule with few constants, not a large model: only three labelled patients
with images are available. The score of a voxel is its FLAIR in standard deviations of white matter, plus a bonus
for the location (prior), minus a penalty for grey matter. One threshold does not fit all patients. It is estimated
per patient from two facts: lesions are brighter than the patient's grey matter, and the border of a lesion is
half-way between white matter and lesions. Components need a definite core (hysteresis thresholding). They must not
be the normal rim of the ventricles, nor grey matter on T1. A component that is white matter on T1 may be fainter on
FLAIR. Without T1, only components that are bright throughout are accepted. Small and faint lesions are accepted by a
model of all their features (`t2.further`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.io.priors import T2_BASINS_FILE, load_trees
from mri_pipeline.core.method.t2.segmentation import T2Settings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import BoolArray, Grid, Image, LabelImage
from mri_pipeline.core.trees import BoostedTrees
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.lesions.contrast import LocalContrast
from mri_pipeline.lesions.t2.basins import white_matter_contrast
from mri_pipeline.lesions.t2.border import small_to_half_height, to_border, with_faint
from mri_pipeline.lesions.t2.changes import proven_lesions
from mri_pipeline.lesions.t2.evidence import evidence_of_visits
from mri_pipeline.lesions.t2.features import OUTSIDE, Evidence
from mri_pipeline.lesions.t2.fluid import enclosed_by_csf, without_flow
from mri_pipeline.lesions.t2.further import further_lesions
from mri_pipeline.lesions.t2.symmetrical import symmetrical_grey_matter


@dataclass(frozen=True)
class T2Segmentation:
    """T2 lesions of one visit.

    Parameters
    ----------
    probability : Image
        0 to 1; 0.5 at the threshold, at least 0.5 in lesions. It ranks lesions for readers and is not calibrated.
    mask : LabelImage
        Numbered lesions.
    threshold : float
        Score threshold of this subject, in standard deviations of white matter.
    """

    probability: Image
    mask: LabelImage
    threshold: float


def segment_t2(
    visits: Sequence[VisitImages],
    tissue: TissueMaps,
    rules: LesionRules,
    *,
    settings: T2Settings | None = None,
    model: BoostedTrees | None = None,
) -> list[T2Segmentation]:
    """Segment the T2 lesions of all visits of a subject.

    All visits share one threshold. Their scores are averaged where the image did not change (`agree`), so that
    unchanged tissue is classified alike at every visit. A visit that is added later can change earlier results in
    five ways: by its weight in the average, by faint lesions that it does not show, by its T1 where earlier visits
    have none, by lesions that its comparison with them proves (`proven_lesions`), and by a lesion that is brighter
    than its surroundings at this visit alone (`diffusely_bright`). A model accepts small and faint lesions that the
    rule has not found (`further_lesions`).

    Parameters
    ----------
    visits : sequence of VisitImages
        FLAIR, and T1 (before or after contrast) if available, in any order. The FLAIRs of all visits are on one
        intensity scale. Brain masks may differ.
    tissue : TissueMaps
        On the grid of the visits, with the location prior.
    rules : LesionRules
    settings : T2Settings, optional
    model : BoostedTrees, optional
        Accepts small and faint lesions (`further_lesions`). Default: the model that comes with the package.

    Returns
    -------
    list of T2Segmentation
        One for each visit, with an empty mask if there is no lesion.

    Raises
    ------
    GridMismatchError
        If the visits or the tissue maps are on different grids.
    """
    settings = settings or T2Settings()
    evidences, threshold = evidence_of_visits(visits, tissue, settings)
    faint = _faint(evidences, threshold - settings.faint, tissue, settings)
    found = [
        _segmented(visit, evidence, faint, threshold, tissue, rules=rules, settings=settings)
        for visit, evidence in zip(visits, evidences, strict=True)
    ]
    local = [white_matter_contrast(visit, tissue) for visit in visits]
    contrasts = [flair.contrast for flair in local]
    diffuse = diffusely_bright([there.mask.mask for there in found], contrasts, tissue.white_matter.grid, settings)
    found = _with_further(
        [_without(there, diffuse, rules) for there in found],
        visits,
        tissue,
        evidences,
        local=local,
        threshold=threshold,
        rules=rules,
        model=model or load_trees(T2_BASINS_FILE),
    )
    excluded = _bright_in_everybody(
        found, visits, tissue, evidences, contrasts=contrasts, threshold=threshold, settings=settings
    )
    return [_without(there, excluded, rules) for there in found]


def diffusely_bright(
    found: Sequence[BoolArray], contrasts: Sequence[NDArray[np.float32]], grid: Grid, settings: T2Settings
) -> BoolArray:
    """Places that are hardly brighter than the normal white matter around them: no lesion, whatever their level.

    Coil field, tracts and diffuse change of white matter raise FLAIR over centimetres. A lesion has a border. The
    lesions of all visits together are judged as one, so that the decision is the same at every visit. A visit decides
    by the voxels that it has found, if the contrast of at least half of them is known.

    Parameters
    ----------
    found : sequence of ndarray of bool, shape (x, y, z)
        T2 lesions of each visit.
    contrasts : sequence of ndarray of float32, shape (x, y, z)
        FLAIR of each visit relative to the white matter around (`basins.white_matter_contrast`); 0 if there is none.
    grid : Grid
    settings : T2Settings
        Lesions below `small_mm3` are exempt: they are blurred as a whole.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        Lesions whose mean contrast is below `T2Settings.least_contrast` at every visit that decides, and that exceed
        `T2Settings.core_contrast` nowhere. A lesion on which no visit decides is kept.
    """
    parts = ConnectedComponents.of(np.any(found, axis=0))
    large = parts.sizes * grid.voxel_volume_mm3 >= settings.small_mm3
    highest = np.full(len(parts.sizes), np.nan)
    has_core = np.zeros(len(parts.sizes), dtype=bool)
    for mask, contrast in zip(found, contrasts, strict=True):
        known = mask & (contrast != 0)
        decides = 2 * parts.sums(known) >= np.maximum(parts.sums(mask), 1)
        means = parts.known_means(np.where(known, contrast, np.float32(np.nan)))
        highest = np.fmax(highest, np.where(decides, means, np.nan))
        has_core |= parts.maxima(contrast) > settings.core_contrast
    return parts.chosen(large & (highest < settings.least_contrast) & ~has_core)


def _with_further(
    found: list[T2Segmentation],
    visits: Sequence[VisitImages],
    tissue: TissueMaps,
    evidences: Sequence[Evidence],
    *,
    local: Sequence[LocalContrast],
    threshold: float,
    rules: LesionRules,
    model: BoostedTrees,
) -> list[T2Segmentation]:
    """Add the lesions that a comparison of visits proves, and those that the model accepts."""
    proven = proven_lesions(
        [visit.contrasts[Contrast.FLAIR] for visit in visits],
        [visit.brain for visit in visits],
        [visit.mask for visit in found],
        contrasts=[Image(flair.contrast, tissue.white_matter.grid) for flair in local],
        white_matter=tissue.white_matter,
        rules=rules,
    )
    found = _with_all(found, proven.definite, visits, tissue, rules)
    further = further_lesions(
        visits,
        tissue,
        evidences,
        contrasts=local,
        threshold=threshold,
        known=[there.mask.mask for there in found],
        model=model,
    )
    # each kind is judged alone: a stable lesion that adjoins an appearing one is lesion at every visit
    for more in (further, proven.faint):
        found = _with_all(found, more, visits, tissue, rules)
    return found


def _bright_in_everybody(
    found: Sequence[T2Segmentation],
    visits: Sequence[VisitImages],
    tissue: TissueMaps,
    evidences: Sequence[Evidence],
    *,
    contrasts: Sequence[NDArray[np.float32]],
    threshold: float,
    settings: T2Settings,
) -> BoolArray:
    """Structures that are no lesions: enclosed by CSF, or grey matter that is as bright on the other side."""
    masks = [there.mask.mask for there in found]
    enclosed = enclosed_by_csf(masks, [visit.brain for visit in visits], tissue)
    return enclosed | symmetrical_grey_matter(
        masks,
        visits,
        contrasts,
        reduce(np.maximum, (evidence.score for evidence in evidences)) - np.float32(threshold),
        tissue,
        bright=settings.grey_bright,
    )


def _with_all(
    found: Sequence[T2Segmentation],
    more: Sequence[BoolArray],
    visits: Sequence[VisitImages],
    tissue: TissueMaps,
    rules: LesionRules,
) -> list[T2Segmentation]:
    """Add lesions of each visit that are no CSF flow."""
    return [
        _with(there, without_flow(added, visit, tissue), rules)
        for there, added, visit in zip(found, more, visits, strict=True)
    ]


def _with(found: T2Segmentation, more: BoolArray, rules: LesionRules) -> T2Segmentation:
    """Add lesions; their probability is at least 0.5."""
    if not more.any():
        return found
    grid = found.mask.grid
    mask = label_lesions(
        found.mask.mask | more, grid, min_volume_mm3=rules.t2_min_volume_mm3, connectivity=rules.connectivity
    )
    probability = np.where(more, np.maximum(found.probability.data, 0.5), found.probability.data)
    return replace(found, probability=Image(probability, grid), mask=mask)


def _without(found: T2Segmentation, excluded: BoolArray, rules: LesionRules) -> T2Segmentation:
    """Remove the lesions of some places."""
    if not (found.mask.mask & excluded).any():
        return found
    kept = found.mask.mask & ~excluded
    mask = label_lesions(
        kept, found.mask.grid, min_volume_mm3=rules.t2_min_volume_mm3, connectivity=rules.connectivity
    )
    return replace(found, mask=mask)


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


def _sure(evidence: Evidence, threshold: float, grid: Grid, settings: T2Settings) -> BoolArray:
    """Components with a definite core that are neither ventricular rim nor grey matter."""
    parts = ConnectedComponents.of(evidence.score > threshold - settings.border)
    keep = parts.maxima(evidence.score) > threshold + settings.core
    # a rim is a bright line that fades to both sides, cortex is just above the threshold, a lesion is bright throughout
    mean = parts.means(evidence.score) - threshold
    apart = parts.means(evidence.darkest) >= settings.rim_darkest
    large = parts.sizes * grid.voxel_volume_mm3 > settings.rim_volume_mm3
    keep &= apart | large | (mean > settings.bright)
    no_grey = mean > settings.grey_bright
    if evidence.t1 is not None and evidence.grey_t1 < 0:
        no_grey |= parts.known_means(evidence.t1) >= settings.grey_t1_share * evidence.grey_t1
    return parts.chosen(keep & no_grey)


def _faint(
    evidences: Sequence[Evidence], threshold: float, tissue: TissueMaps, settings: T2Settings
) -> ConnectedComponents:
    """Faint components away from fluid that are not grey matter on T1 or in the template.

    Each component must be present at every visit whose field of view contains it. A lesion that appears or
    disappears must be definite.
    """
    scanned = [evidence.brightness > OUTSIDE for evidence in evidences]
    score = np.min([np.where(there, e.score, np.inf) for e, there in zip(evidences, scanned, strict=True)], axis=0)
    parts = ConnectedComponents.of(np.isfinite(score) & (score > threshold - settings.border))
    keep = parts.maxima(score) > threshold + settings.core
    keep &= parts.means(tissue.grey_matter.data) < settings.faint_grey_matter
    known = False
    for evidence, there in zip(evidences, scanned, strict=True):
        size = parts.sums(there)
        keep &= parts.sums(np.where(there, evidence.darkest, 0)) >= settings.rim_darkest * size
        if evidence.t1 is not None and evidence.grey_t1 < 0:
            t1 = np.where(there, evidence.t1, np.float32(np.nan))
            keep &= (parts.known_means(t1) >= settings.faint_t1_share * evidence.grey_t1) | (size == 0)
            known = True
    return ConnectedComponents.of(parts.chosen(keep & known))
