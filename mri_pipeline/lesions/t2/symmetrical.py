"""Structures that are as bright on the other side and no lesions: hippocampus, amygdala, midbrain, tracts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray
from mri_pipeline.core.visits import VisitImages
from mri_pipeline.lesions.symmetry import mirrored

_SYMMETRY = METHOD.t2_symmetry


def is_symmetric(
    parts: ConnectedComponents, contrast: NDArray[np.float32], visit: VisitImages, tissue: TissueMaps
) -> BoolArray:
    """True for components that have the contrast of their mirrored position.

    Parameters
    ----------
    parts : ConnectedComponents
    contrast : ndarray of float32, shape (x, y, z)
        FLAIR relative to the white matter around (`basins.white_matter_contrast`).
    visit : VisitImages
        Provides grid and brain mask.
    tissue : TissueMaps

    Returns
    -------
    ndarray of bool, shape (components,)
        False for components of the midline, which have no other side, and if the other side is much brighter: it has
        a lesion. Components of white matter are compared with the white matter and CSF of the other side.
    """
    if not len(parts.sizes):
        return np.zeros(0, dtype=bool)
    grey = parts.means(tissue.grey_matter.data) > _SYMMETRY.least_grey_matter
    # the cortex opposite a lesion below the cortex is brighter than white matter, too
    beside_grey = np.where(tissue.grey_matter.data > _SYMMETRY.least_grey_matter, 0, contrast)
    other = np.zeros(contrast.shape, dtype=np.float32)
    for chosen, values in ((grey, contrast), (~grey, beside_grey)):
        if not chosen.any():
            continue
        other += mirrored(
            values,
            visit,
            tissue,
            smoothing_mm=_SYMMETRY.smoothing_mm,
            reach_mm=_SYMMETRY.reach_mm,
            midline_mm=_SYMMETRY.midline_mm,
            within=parts.chosen(chosen) & visit.brain.mask,
        )
    lateral = other != 0
    own, opposite = parts.sums(np.where(lateral, contrast, 0)), parts.sums(other)
    both = (parts.means(lateral) >= _SYMMETRY.least_lateral) & (own > 0)
    return both & (opposite >= _SYMMETRY.least_share * own) & (opposite <= _SYMMETRY.most_share * own)


def symmetrical_grey_matter(
    found: Sequence[BoolArray],
    visits: Sequence[VisitImages],
    contrasts: Iterable[NDArray[np.float32]],
    score: NDArray[np.float32],
    tissue: TissueMaps,
    *,
    bright: float,
) -> BoolArray:
    """Grey matter that is as bright on the other side at every visit.

    The decision is made once for the lesions of all visits together, so that it is the same at every visit.

    Parameters
    ----------
    found : sequence of ndarray of bool, shape (x, y, z)
        T2 lesions of each visit.
    visits : sequence of VisitImages
    contrasts : iterable of ndarray of float32, shape (x, y, z)
        FLAIR of each visit relative to the white matter around. Only read if there is grey matter to judge.
    score : ndarray of float32, shape (x, y, z)
        Highest score of all visits, relative to the threshold of the subject.
    tissue : TissueMaps
    bright : float
        A component with at least this mean score is bright throughout, which grey matter is not.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        False everywhere if nothing was found.
    """
    parts = ConnectedComponents.of(np.any(found, axis=0))
    grey = (parts.means(tissue.grey_matter.data) > _SYMMETRY.least_grey_matter) & (parts.means(score) < bright)
    if not grey.any():
        return np.zeros(score.shape, dtype=bool)
    parts = parts.selected(grey)
    alike = np.ones(len(parts.sizes), dtype=bool)
    for visit, contrast in zip(visits, contrasts, strict=True):
        seen = parts.sums(visit.brain.mask) > 0
        alike &= is_symmetric(parts, contrast, visit, tissue) | ~seen
    return parts.chosen(alike)
