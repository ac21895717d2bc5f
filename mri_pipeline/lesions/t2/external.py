"""T2 lesions from the output map of an external segmenter: check, then label by the rules of this project."""

from __future__ import annotations

import numpy as np

from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.lesions.t2.segment import T2Segmentation

MOST_OF_BRAIN = METHOD.external.most_of_brain

MOST_OUTSIDE = METHOD.external.most_outside

_ROUNDING = 1e-3  # of probabilities


def check_map(found: Image, brain: LabelImage, segmenter: Segmenter, what: str) -> None:
    """Check that a map is a plausible lesion mask or probability map of this brain.

    Parameters
    ----------
    found : Image
        Output of the segmenter.
    brain : LabelImage
        Brain mask on the grid of the segmenter's input images.
    segmenter : Segmenter
        Provides the threshold.
    what : str
        Name of segmenter and visit, for the message.

    Raises
    ------
    AnalysisError
        If the map is on a different grid, has values outside 0 to 1, covers most of the brain, or lies mostly
        outside the brain. An empty map is accepted.
    """
    if not found.grid.same_as(brain.grid):
        raise AnalysisError(
            f"{what}: expected its output on the grid of its FLAIR, {brain.grid.against(found.grid)}",
            hint="resample the mask to the grid of the input FLAIR in the command",
        )
    low, high = float(found.data.min()), float(found.data.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise AnalysisError(
            f"{what}: expected a mask or probability from 0 to 1, found values from {low:g} to {high:g}",
            hint="write lesions as 1 and background as 0 in the command",
        )
    mask = found.data >= segmenter.threshold
    n_found, n_inside = int(np.count_nonzero(mask)), int(np.count_nonzero(mask & brain.mask))
    if n_inside > MOST_OF_BRAIN * np.count_nonzero(brain.data):
        raise AnalysisError(
            f"{what}: expected lesions, found {100 * n_inside / np.count_nonzero(brain.data):.0f} % of the brain",
            hint="check whether the map is a brain mask or has lesions as 0 and background as 1",
        )
    if n_found - n_inside > MOST_OUTSIDE * n_found:
        raise AnalysisError(
            f"{what}: expected lesions in the brain, found {100 * (1 - n_inside / n_found):.0f} % of them outside",
            hint="check that the mask is in the space of the input FLAIR",
        )


def lesions_of_map(found: Image, brain: LabelImage, segmenter: Segmenter, rules: LesionRules) -> T2Segmentation:
    """Label the lesions of a mask or probability map that passed `check_map`.

    Parameters
    ----------
    found : Image
        0 to 1, on the grid of `brain`; non-finite values count as 0.
    brain : LabelImage
        Lesions outside the brain are removed.
    segmenter : Segmenter
        Provides the threshold.
    rules : LesionRules
        Minimum volume and connectivity, as for the built-in segmentation.

    Returns
    -------
    T2Segmentation
        The mask is empty if there is no lesion. `threshold` is the probability threshold.
    """
    inside = (found.data >= segmenter.threshold) & brain.mask
    lesions = label_lesions(
        inside, brain.grid, min_volume_mm3=rules.t2_min_volume_mm3, connectivity=rules.connectivity
    )
    probability = Image(np.clip(found.data, 0.0, 1.0) * brain.mask, brain.grid)
    return T2Segmentation(probability, lesions, segmenter.threshold)
