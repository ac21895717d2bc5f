"""T2 lesions from a map that another program made: checked, then counted as those of this project."""

from __future__ import annotations

import numpy as np

from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules, Segmenter
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.lesions.t2.segment import T2Segmentation

MOST_OF_BRAIN = METHOD.external.most_of_brain

MOST_OUTSIDE = METHOD.external.most_outside

_ROUNDING = 1e-3  # of probabilities


def check_map(found: Image, brain: LabelImage, segmenter: Segmenter, what: str) -> None:
    """Refuse what cannot be a lesion mask or probability of this brain.

    Parameters
    ----------
    found : Image
    brain : LabelImage
        On the grid of the images that the segmenter was given.
    segmenter : Segmenter
        For its threshold.
    what : str
        The segmenter and the visit, for the message.

    Raises
    ------
    AnalysisError
        If the map is on another grid, holds values beyond 0 and 1, or is lesion in most of the brain, or mostly
        outside it.
    """
    if not found.grid.same_as(brain.grid):
        raise AnalysisError(
            f"{what}: expected its output on the grid of its FLAIR, {brain.grid.against(found.grid)}",
            hint="let the command bring its mask back to the FLAIR that it was given",
        )
    low, high = float(found.data.min()), float(found.data.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise AnalysisError(
            f"{what}: expected a mask or probability from 0 to 1, found values from {low:g} to {high:g}",
            hint="let the command write lesions as 1 and everything else as 0",
        )
    mask = found.data >= segmenter.threshold
    n_found, n_inside = int(np.count_nonzero(mask)), int(np.count_nonzero(mask & brain.mask))
    if n_inside > MOST_OF_BRAIN * np.count_nonzero(brain.data):
        raise AnalysisError(
            f"{what}: expected lesions, found {100 * n_inside / np.count_nonzero(brain.data):.0f} % of the brain",
            hint="is it a brain mask, or are lesions 0 and the rest 1?",
        )
    if n_found - n_inside > MOST_OUTSIDE * n_found:
        raise AnalysisError(
            f"{what}: expected lesions in the brain, found {100 * (1 - n_inside / n_found):.0f} % of them outside",
            hint="the mask lies in another space than the FLAIR that the command was given",
        )


def lesions_of_map(found: Image, brain: LabelImage, segmenter: Segmenter, rules: LesionRules) -> T2Segmentation:
    """Lesions of a mask or probability map that was checked (`check_map`).

    Parameters
    ----------
    found : Image
        0 to 1, on the grid of `brain`; not finite counts as 0.
    brain : LabelImage
        What is found outside is left away.
    segmenter : Segmenter
        For its threshold.
    rules : LesionRules
        Least volume and connectivity, as for the built-in segmentation.

    Returns
    -------
    T2Segmentation
        With an empty mask where nothing is found. `threshold` is the probability.
    """
    inside = (found.data >= segmenter.threshold) & brain.mask
    lesions = label_lesions(
        inside, brain.grid, min_volume_mm3=rules.t2_min_volume_mm3, connectivity=rules.connectivity
    )
    probability = Image(np.clip(found.data, 0.0, 1.0) * brain.mask, brain.grid)
    return T2Segmentation(probability, lesions, segmenter.threshold)
