"""Longitudinal consistency by similarity-weighted averaging of the scores of all visits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import median, robust_spread
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image, LabelImage
from mri_pipeline.lesions.t2.features import smoothed

_SMOOTHING_MM = METHOD.t2_visits.smoothing_mm
_WIDTH = METHOD.t2_visits.width
_SURE = METHOD.t2_visits.sure
_LEAST_NOISE = METHOD.t2_visits.least_noise


def agree(scores: Sequence[Image], flairs: Sequence[Image], brains: Sequence[LabelImage]) -> list[Image]:
    """Average the scores of each visit with those of similar visits, voxel by voxel.

    The weight of another visit decreases with the difference of the FLAIRs (1 mm mean), in standard deviations of
    that difference over the brain. This is a bilateral filter over time. It suppresses false lesions caused by
    noise at one visit and preserves true change.

    Parameters
    ----------
    scores : sequence of Image
        Score minus threshold of every visit, on one grid.
    flairs : sequence of Image
        FLAIR of every visit in the same order, on one intensity scale with white matter 1.
    brains : sequence of LabelImage
        Part of the brain within the field of view of each visit; outside it a visit has weight 0.

    Returns
    -------
    list of Image
        Averaged scores, one per visit, limited to `T2Visits.sure` in the brain. A single visit has the same scores as
        two copies of it. The result does not depend on the order of the visits.

    Raises
    ------
    GridMismatchError
        If an image is on a different grid.
    """
    grid = brains[0].grid
    for other in [image.grid for image in (*scores, *flairs)] + [brain.grid for brain in brains]:
        grid.require_same(other, "image of a visit")
    inside = np.any([brain.mask for brain in brains], axis=0)
    scanned = [brain.mask[inside] for brain in brains]
    smooth_flairs = [smoothed(flair.data, grid, _SMOOTHING_MM)[inside] for flair in flairs]
    clipped = [np.clip(score.data[inside], -_SURE, _SURE) for score in scores]
    result = []
    for own, score in enumerate(scores):
        weights = [
            _likeness(smooth_flairs[own], other, scanned[own] & there)
            for other, there in zip(smooth_flairs, scanned, strict=True)
        ]
        data = score.data.copy()
        data[inside] = np.where(scanned[own], _mean_vote(clipped, weights), data[inside])
        result.append(Image(data, grid))
    return result


def _likeness(one: FloatArray, other: FloatArray, both: BoolArray) -> FloatArray:
    """Weight of one visit at another, 0 to 1; 0 outside the common field of view `both`."""
    if not both.any():
        return np.zeros(one.shape)
    difference = one - other
    difference -= median(difference[both])
    noise = max(robust_spread(difference[both], centre=0.0), _LEAST_NOISE)
    return np.asarray(np.exp(-0.5 * (difference / (_WIDTH * noise)) ** 2) * both)


def _mean_vote(clipped: Sequence[FloatArray], weights: Sequence[FloatArray]) -> FloatArray:
    total = np.maximum(np.sum(weights, axis=0), 1e-6)
    return np.asarray(
        np.sum([v * w for v, w in zip(clipped, weights, strict=True)], axis=0) / total, dtype=np.float32
    )
