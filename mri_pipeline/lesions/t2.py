"""T2 lesions: brighter than grey matter on FLAIR, at a place where lesions occur, not CSF's rim, not grey matter.

One visible rule with few constants instead of a large model: there are three labelled patients with images. The
score of a voxel is its FLAIR in standard deviations of white matter, plus a bonus for the place (location prior),
minus a malus for grey matter. One threshold does not fit all patients, so it is found in each from two facts: a
lesion is brighter than the patient's grey matter, and its border lies half-way between white matter and lesions.
Components need a sure core (hysteresis) and must pass the gates for the normal rim of the ventricles and for grey
matter on T1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.lesions.components import label_lesions, structure
from mri_pipeline.lesions.t2_changes import proven_lesions
from mri_pipeline.lesions.t2_features import Evidence, evidence_of
from mri_pipeline.lesions.t2_visits import agree
from mri_pipeline.model import (
    BoolArray,
    Contrast,
    Grid,
    Image,
    LabelImage,
    TissueMaps,
    VisitImages,
)
from mri_pipeline.protocol import LesionRules


@dataclass(frozen=True)
class T2Settings:
    """Constants of the rule; brightness in standard deviations of white matter.

    Parameters
    ----------
    prior_weight, grey_matter_malus : float
        Ratios of the coefficients of logistic models fitted on two of three labelled patients at a time: 0.4 to
        0.8 per unit of log prior, 0.9 to 2 for grey matter. Dice is flat between 0.3 and 0.7, and 0 and 1.5.
    above_grey_matter : float
        The threshold lies this far above the upper quartile of grey matter (SLS, Roura et al., Neuroradiology
        2015, also threshold at grey matter plus a multiple of its spread).
    lesion_share : float
        The threshold is at least this share of the lesions' own brightness: the half-way border.
    least_threshold : float
    core : float
        A component holds a voxel this far above the threshold ...
    border : float
        ... and reaches to this far below it ...
    reach_mm : float
        ... and by up to this much further, as far as it is bright whatever the place: the location prior and grey
        matter tell whether there is a lesion, not where it ends.
    small_mm3 : float
        Lesions below this volume (a 5 mm sphere) are blurred as a whole: their peak is lower, so that the threshold
        cuts them short. They reach, by up to `reach_mm`, to half-way between their peak and white matter.
    sure_score, likely_prior : float
        Voxels above this score at places of at least this prior tell the lesions' brightness.
    rim_darkest, rim_volume_mm3 : float
        Components up to this volume whose mean of the darkest FLAIR within 2.5 mm is below this hug CSF: rim and
        caps of the ventricles, choroid plexus, flow ...
    bright : float
        ... but not if their mean lies this far above the threshold: of 32 rims in five real scans the brightest
        had 0.8, most 0.3.
    grey_t1_share, grey_core : float
        Components darker on T1 than this share of the way to grey matter are grey matter, unless their core is
        this far above the threshold.
    """

    prior_weight: float = 0.5
    grey_matter_malus: float = 0.8
    above_grey_matter: float = 1.6
    lesion_share: float = 0.5
    least_threshold: float = 1.6
    core: float = 0.3
    border: float = 0.3
    reach_mm: float = 2.0
    small_mm3: float = 65.0
    sure_score: float = 1.5
    likely_prior: float = 0.018
    rim_darkest: float = -2.0
    rim_volume_mm3: float = 500.0
    bright: float = 1.0
    grey_t1_share: float = 0.6
    grey_core: float = 1.5


@dataclass(frozen=True)
class T2Segmentation:
    """T2 lesions of one visit.

    Parameters
    ----------
    probability : Image
        0 to 1, 0.5 at the threshold: a rank for readers, not a calibrated probability.
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
    tissue gets the same answer at every visit. A visit added later changes earlier results by its one vote, and
    by what its comparison with them proves (`proven_lesions`).

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
    return [_with(visit, more, rules) for visit, more in zip(found, proven, strict=True)]


def _as_seen(
    visits: Sequence[VisitImages], tissue: TissueMaps, rules: LesionRules, settings: T2Settings
) -> list[T2Segmentation]:
    """What the scans show by themselves, with one vote each."""
    seen = [
        evidence_of(
            visit, tissue, prior_weight=settings.prior_weight, grey_matter_malus=settings.grey_matter_malus
        )
        for visit in visits
    ]
    threshold = float(np.median([patient_threshold(evidence, tissue, settings) for evidence in seen]))
    agreed = agree(
        [Image(evidence.score - np.float32(threshold), tissue.location.grid) for evidence in seen],
        [visit.contrasts[Contrast.FLAIR] for visit in visits],
        [visit.brain for visit in visits],
    )
    return [
        _segmented(replace(evidence, score=above.data + np.float32(threshold)), threshold, tissue, rules, settings)
        for evidence, above in zip(seen, agreed, strict=True)
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
    evidence: Evidence, threshold: float, tissue: TissueMaps, rules: LesionRules, settings: T2Settings
) -> T2Segmentation:
    grid = tissue.location.grid
    found = _to_border(
        _gated(evidence, threshold, grid, settings), evidence.brightness > threshold, grid, settings
    )
    found = _small_to_half_height(found, evidence.brightness, grid, settings)
    mask = label_lesions(found, grid, min_volume_mm3=rules.t2_min_volume_mm3, connectivity=rules.connectivity)
    with np.errstate(over="ignore"):
        probability = 1.0 / (1.0 + np.exp(-2.0 * (evidence.score - threshold)))
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


def _gated(evidence: Evidence, threshold: float, grid: Grid, settings: T2Settings) -> BoolArray:
    """Connected voxels above the border, of components with a core that are neither rim nor grey matter."""
    labels, count = ndimage.label(evidence.score > threshold - settings.border, structure(3))
    if not count:
        return np.zeros(labels.shape, dtype=bool)
    numbers = np.arange(1, count + 1)
    peak = ndimage.maximum(evidence.score, labels, numbers)
    volume = np.bincount(labels.ravel(), minlength=count + 1)[1:] * grid.voxel_volume_mm3
    keep = peak > threshold + settings.core
    darkest = ndimage.mean(evidence.darkest, labels, numbers)
    # a rim is a bright line that fades to both sides; a lesion beside fluid is bright throughout
    bright = ndimage.mean(evidence.score, labels, numbers) > threshold + settings.bright
    keep &= (darkest >= settings.rim_darkest) | (volume > settings.rim_volume_mm3) | bright
    if evidence.t1 is not None and evidence.grey_t1 < 0:
        t1 = ndimage.mean(evidence.t1, labels, numbers)
        keep &= (t1 >= settings.grey_t1_share * evidence.grey_t1) | (peak > threshold + settings.grey_core)
    return np.asarray(np.concatenate([[False], keep])[labels])


def _to_border(found: BoolArray, bright: BoolArray, grid: Grid, settings: T2Settings) -> BoolArray:
    """Lesions with the bright voxels connected to them within reach."""
    if not found.any():
        return found
    near = ndimage.distance_transform_edt(~found, sampling=grid.spacing_mm) <= settings.reach_mm
    return np.asarray(ndimage.binary_propagation(found, structure(3), mask=found | (bright & near)))


def _small_to_half_height(
    found: BoolArray, brightness: NDArray[np.float32], grid: Grid, settings: T2Settings
) -> BoolArray:
    """Small lesions with what is connected to them, within reach, above the half of their height."""
    labels, _ = ndimage.label(found, structure(3))
    margin = [int(np.ceil(settings.reach_mm / s)) for s in grid.spacing_mm]
    grown = found.copy()
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        where = tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(box, margin, strict=True))
        lesion, values = labels[where] == number, brightness[where]
        if np.count_nonzero(lesion) * grid.voxel_volume_mm3 >= settings.small_mm3:
            continue
        near = ndimage.distance_transform_edt(~lesion, sampling=grid.spacing_mm) <= settings.reach_mm
        high = values > float(values[lesion].max()) / 2  # white matter is 0
        grown[where] |= ndimage.binary_propagation(lesion, structure(3), mask=lesion | (high & near))
    return grown
