"""All visits speak together: the same tissue gets the same answer unless its image changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image, LabelImage
from mri_pipeline.lesions.t2.features import smoothed

_SMOOTHING_MM = METHOD.t2_visits.smoothing_mm
_WIDTH = METHOD.t2_visits.width
_SURE = METHOD.t2_visits.sure
_MAD_TO_SIGMA = 1.4826
_LEAST_NOISE = METHOD.t2_visits.least_noise


def agree(scores: Sequence[Image], flairs: Sequence[Image], brains: Sequence[LabelImage]) -> list[Image]:
    """Average each visit's scores with those of the visits that look alike, voxel by voxel.

    The weight of another visit falls with the difference of the FLAIRs (1 mm mean) in standard deviations of that
    difference over the brain: a bilateral mean over time. Noise that made a lesion at one visit is voted down, and
    what changed stays.

    Parameters
    ----------
    scores, flairs : sequence of Image
        Of every visit in one order, on one grid: how far a voxel lies above the threshold, and the FLAIRs on one
        scale with white matter 1.
    brains : sequence of LabelImage
        What each visit has scanned of the brain; elsewhere it has no vote.

    Returns
    -------
    list of Image
        Scores, one for each visit; of a single visit those given. The order of the visits changes nothing.

    Raises
    ------
    GridMismatchError
        If an image lies on another grid.
    """
    grid = brains[0].grid
    for other in [image.grid for image in (*scores, *flairs)] + [brain.grid for brain in brains]:
        grid.require_same(other, "image of a visit")
    if len(scores) == 1:
        return list(scores)
    inside = np.any([brain.mask for brain in brains], axis=0)
    scanned = [brain.mask[inside] for brain in brains]
    seen = [smoothed(flair.data, grid, _SMOOTHING_MM)[inside] for flair in flairs]
    votes = [np.clip(score.data[inside], -_SURE, _SURE) for score in scores]
    result = []
    for own, score in enumerate(scores):
        weights = [
            _likeness(seen[own], other, scanned[own] & there) for other, there in zip(seen, scanned, strict=True)
        ]
        data = score.data.copy()
        data[inside] = np.where(scanned[own], _mean_vote(votes, weights), data[inside])
        result.append(Image(data, grid))
    return result


def _likeness(one: FloatArray, other: FloatArray, both: BoolArray) -> FloatArray:
    """Weight of one visit's vote at another; 0 where not both have scanned."""
    if not both.any():
        return np.zeros(one.shape)
    difference = one - other
    difference -= np.median(difference[both])
    noise = max(_MAD_TO_SIGMA * float(np.median(np.abs(difference[both]))), _LEAST_NOISE)
    return np.asarray(np.exp(-0.5 * (difference / (_WIDTH * noise)) ** 2) * both)


def _mean_vote(votes: Sequence[FloatArray], weights: Sequence[FloatArray]) -> FloatArray:
    total = np.maximum(np.sum(weights, axis=0), 1e-6)
    return np.asarray(
        np.sum([v * w for v, w in zip(votes, weights, strict=True)], axis=0) / total, dtype=np.float32
    )
