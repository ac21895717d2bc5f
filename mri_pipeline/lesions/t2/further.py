"""Small and faint T2 lesions that the T2 rule has not found: candidates that a model accepts (`t2.basins`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.boxes import widened
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray
from mri_pipeline.core.trees import BoostedTrees
from mri_pipeline.core.visits import VisitImages
from mri_pipeline.lesions.contrast import LocalContrast
from mri_pipeline.lesions.t2.basins import FEATURES, Candidates, Surroundings, candidates
from mri_pipeline.lesions.t2.features import Evidence
from mri_pipeline.lesions.t2.symmetrical import is_symmetric

_BASINS = METHOD.t2_basins


def further_lesions(
    visits: Sequence[VisitImages],
    tissue: TissueMaps,
    evidences: Sequence[Evidence],
    *,
    contrasts: Sequence[LocalContrast],
    threshold: float,
    known: Sequence[BoolArray],
    model: BoostedTrees,
) -> list[BoolArray]:
    """T2 lesions that the rule has not found, for each visit.

    A lesion is accepted at one visit, and must be present at every visit whose field of view contains it: the mean
    contrast of its voxels is at least half of that at the accepting visit. Its mask is the same at all visits. A
    lesion that appears or disappears must be definite (`t2.segment`, `t2.changes`). Tissue that is as bright on the
    other side is no lesion. No lesion is returned if T1 is missing, or if
    grey matter is not darker than white matter on it: faint lesions cannot be told from grey matter then.

    Parameters
    ----------
    visits : sequence of VisitImages
        On one grid, FLAIRs on one intensity scale.
    tissue : TissueMaps
    evidences : sequence of Evidence
        Feature maps of each visit. A visit without T1 has the T1 of the others.
    contrasts : sequence of LocalContrast
        `basins.white_matter_contrast` of each visit.
    threshold : float
        Score threshold of the subject.
    known : sequence of ndarray of bool, shape (x, y, z)
        T2 lesions of each visit.
    model : BoostedTrees
        Of `basins.FEATURES`.

    Returns
    -------
    list of ndarray of bool, shape (x, y, z)
        Further lesions of each visit. They do not touch its known lesions.
    """
    nothing = [np.zeros(visit.grid.shape, dtype=bool) for visit in visits]
    if any(evidence.t1 is None or evidence.grey_t1 >= 0 for evidence in evidences):
        return nothing
    surroundings = Surroundings.of(tissue)
    found = [
        candidates(visit, tissue, evidence, threshold, flair=flair, surroundings=surroundings)
        for visit, evidence, flair in zip(visits, evidences, contrasts, strict=True)
    ]
    brains = [visit.brain.mask for visit in visits]
    stable = np.zeros(visits[0].grid.shape, dtype=bool)
    for own, visit in zip(found, visits, strict=True):
        likely = (model.probability(own.features) >= _BASINS.least_probability) & _definite(own)
        likely &= _present(own, found, brains)
        parts = own.components.selected(likely)
        stable |= parts.chosen(~is_symmetric(parts, own.contrast, visit, tissue))
    parts = ConnectedComponents.of(stable)
    return [
        parts.chosen(parts.sums(widened(taken, (1, 1, 1))) == 0) & brain
        for brain, taken in zip(brains, known, strict=True)
    ]


def _definite(own: Candidates) -> BoolArray:
    """True for candidates that are bright enough, and no gyrus, whatever their other features."""
    values = dict(zip(FEATURES, own.features.T, strict=True))
    bright = (values["contrast"] > _BASINS.least_contrast) & (values["score_peak"] > _BASINS.least_score)
    grey = values["grey_matter"] > METHOD.t2_symmetry.least_grey_matter
    return np.asarray(bright & ~(grey & (values["size"] > np.log(_BASINS.most_grey_mm3))))


def _present(own: Candidates, visits: Sequence[Candidates], brains: Sequence[BoolArray]) -> BoolArray:
    """True for candidates that are present at every visit whose field of view contains most of them."""
    parts = own.components
    least = parts.means(own.contrast) * _BASINS.present_share
    present = np.ones(len(parts.sizes), dtype=bool)
    for visit, brain in zip(visits, brains, strict=True):
        in_fov = parts.sums(brain)
        there = parts.sums(np.where(brain, visit.contrast, 0)) >= least * in_fov
        present &= there | (in_fov < parts.sizes / 2)
    return present
