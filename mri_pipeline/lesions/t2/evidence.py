"""Feature maps of all visits of a subject for the T2 rule, and the score threshold of the subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.distances import depths_within
from mri_pipeline.core.method.t2.segmentation import T2Settings
from mri_pipeline.core.robust import quantile
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.t2.features import Evidence, evidence_of
from mri_pipeline.lesions.t2.visits import agree


def evidence_of_visits(
    visits: Sequence[VisitImages], tissue: TissueMaps, settings: T2Settings
) -> tuple[list[Evidence], float]:
    """Feature maps of all visits with averaged scores (`agree`), and the score threshold of the subject.

    Parameters
    ----------
    visits : sequence of VisitImages
    tissue : TissueMaps
    settings : T2Settings

    Returns
    -------
    tuple of (list of Evidence, float)
        A visit without T1 has the T1 of the others.
    """
    depths = depths_within([visit.brain.mask for visit in visits], tissue.location.grid.spacing_mm)
    evidences = [
        evidence_of(
            visit,
            tissue,
            depth,
            prior_weight=settings.prior_weight,
            grey_matter_penalty=settings.grey_matter_penalty,
        )
        for visit, depth in zip(visits, depths, strict=True)
    ]
    threshold = float(np.median([patient_threshold(evidence, tissue, settings) for evidence in evidences]))
    agreed = agree(
        [Image(evidence.score - np.float32(threshold), tissue.location.grid) for evidence in evidences],
        [visit.contrasts[Contrast.FLAIR] for visit in visits],
        [visit.brain for visit in visits],
    )
    return [
        replace(evidence, score=above.data + np.float32(threshold))
        for evidence, above in zip(_with_t1(evidences), agreed, strict=True)
    ], threshold


def _with_t1(evidences: Sequence[Evidence]) -> list[Evidence]:
    """Fill missing T1 with the mean T1 of the other visits, so that grey matter is classified alike at all visits."""
    known = [(evidence.t1, evidence.grey_t1) for evidence in evidences if evidence.t1 is not None]
    if not known or (len(known) == len(evidences) and not any(np.isnan(t1).any() for t1, _ in known)):
        return list(evidences)
    number = np.sum([np.isfinite(t1) for t1, _ in known], axis=0, dtype=np.float32)
    total = np.sum([np.nan_to_num(t1) for t1, _ in known], axis=0)
    mean = np.where(number > 0, total / np.maximum(number, 1.0), np.float32(np.nan))
    grey = float(np.mean([grey for _, grey in known]))
    return [
        replace(evidence, t1=mean, grey_t1=grey)
        if evidence.t1 is None
        else replace(evidence, t1=np.where(np.isnan(evidence.t1), mean, evidence.t1))
        for evidence in evidences
    ]


def patient_threshold(evidence: Evidence, tissue: TissueMaps, settings: T2Settings) -> float:
    """Score threshold of a patient, estimated from one visit.

    The threshold is the largest of three values: grey matter plus `above_grey_matter`; `lesion_share` times the
    upper decile of definitely bright voxels at likely locations; and a minimum, which is higher in a patient without
    evident lesions (`least_threshold`, `least_with_lesions`).

    Parameters
    ----------
    evidence : Evidence
    tissue : TissueMaps
    settings : T2Settings

    Returns
    -------
    float
        In standard deviations of white matter. The second value is 0 if there is no definitely bright voxel.
    """
    sure = (evidence.score > settings.sure_score) & (tissue.lesion_prior.data > settings.likely_prior)
    brightness = float(quantile(evidence.score[sure], settings.upper_quantile)) if sure.any() else 0.0
    return max(
        evidence.grey_flair + settings.above_grey_matter,
        settings.lesion_share * brightness,
        float(
            np.interp(
                brightness, settings.evident_brightness, (settings.least_threshold, settings.least_with_lesions)
            )
        ),
    )
