"""Small and faint T2 lesions from all their evidence together: brightness against the surroundings, T1, tissue, form.

The T2 rule has one threshold for the whole brain. A lesion that is brighter than the white matter around it can be
darker than this threshold. Its local contrast shows it; its features tell it from cortex, vessels and bright tracts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.components import ConnectedComponents, structure
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray, FloatArray
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.contrast import LocalContrast, local_contrast
from mri_pipeline.lesions.nodes import AcceptedNodes, Nodes, accepted_nodes, components_at_levels
from mri_pipeline.lesions.t2.features import smoothed

_NODES = METHOD.t2_nodes
FEATURES = (
    "lowest",
    "peak",
    "step",
    "brightness",
    "darkest_near",
    "t1_contrast",
    "white_matter",
    "white_matter_around",
    "csf_around",
    "depth_mm",
    "size",
    "elongation",
)
"""Features of the model, in the order of its coefficients (`_features`)."""


def t2_nodes(visit: VisitImages, tissue: TissueMaps, flair: LocalContrast) -> list[Nodes]:
    """Components of a visit that are brighter on FLAIR than the white matter around, at every level.

    Cortex, deep grey matter and the rim of CSF are not allowed.

    Parameters
    ----------
    visit : VisitImages
        With `Contrast.FLAIR`; T1 (before contrast if available) is used if present.
    tissue : TissueMaps
    flair : LocalContrast
        Of the FLAIR of the visit.

    Returns
    -------
    list of Nodes
        By ascending level; levels without a component are left out.
    """
    grid, brain = visit.grid, visit.brain.mask
    padded = np.pad(brain, 1, mode="edge")  # the brain continues beyond the field of view
    depth = ndimage.distance_transform_edt(padded, sampling=grid.spacing_mm)[1:-1, 1:-1, 1:-1].astype(np.float32)
    white = tissue.white_matter.data
    near_white = smoothed(white, grid, _NODES.near_mm) > _NODES.near_white_matter
    t1 = next((visit.contrasts[c] for c in (Contrast.T1W, Contrast.T1W_GD) if c in visit.contrasts), None)
    reach = [2 * int(_NODES.ring_mm / s) + 1 for s in grid.spacing_mm]
    maps = {
        "brightness": flair.level,
        "darkest": ndimage.minimum_filter(flair.level, reach),
        "t1": local_contrast(t1, visit, tissue).contrast if t1 is not None else np.zeros_like(flair.level),
        "white": white,
        "csf": tissue.csf.data,
        "depth": depth,
    }
    searched = brain & (depth >= _NODES.edge_mm) & near_white & tissue.above_foramen_magnum
    found = []
    for parts, ring in components_at_levels(flair.contrast, searched, grid, _NODES):
        allowed = parts.means(white) >= _NODES.least_white_matter
        allowed &= ring.means(tissue.csf.data) <= _NODES.most_csf_around
        found.append(Nodes(parts, _features(parts, ring, flair, maps, grid.spacing_mm), allowed))
    return found


def _features(
    nodes: ConnectedComponents,
    ring: ConnectedComponents,
    flair: LocalContrast,
    maps: dict[str, NDArray[np.float32]],
    spacing_mm: tuple[float, ...],
) -> FloatArray:
    """Features of each node in the order of `FEATURES`, limited to the range in which they were learned."""
    contrast = flair.contrast
    volume = nodes.sizes * float(np.prod(spacing_mm))
    columns = {
        "lowest": np.log1p(np.clip(nodes.minima(contrast), 2.0, 10.0)),
        "peak": np.log1p(np.clip(nodes.maxima(contrast), 2.0, 20.0)),
        "step": np.clip(nodes.means(contrast) - ring.means(contrast), 0.0, 8.0),
        "brightness": np.clip(nodes.means(maps["brightness"]), -2.0, 8.0),
        "darkest_near": np.clip(nodes.means(maps["darkest"]), -8.0, 3.0),
        "t1_contrast": np.clip(nodes.means(maps["t1"]), -8.0, 3.0),
        "white_matter": nodes.means(maps["white"]),
        "white_matter_around": ring.means(maps["white"]),
        "csf_around": np.sqrt(np.clip(ring.means(maps["csf"]), 0.0, 1.0)),
        "depth_mm": np.clip(nodes.means(maps["depth"]), 2.0, 15.0),
        "size": np.log(np.clip(volume, 7.4, 1100.0)),
        "elongation": np.clip(nodes.elongations(spacing_mm), 1.0, 4.0),
    }
    return np.stack([columns[name] for name in FEATURES], axis=1)


def further_lesions(
    visits: Sequence[VisitImages], tissue: TissueMaps, known: Sequence[BoolArray], model: LogisticModel
) -> list[BoolArray]:
    """T2 lesions that the rule has not found, for each visit.

    A lesion is accepted at one visit, and must be present at every visit whose field of view contains it: the mean
    contrast of its voxels is at least half of that at the accepting visit. Its mask is the same at all visits. A
    lesion that appears or disappears must be definite (`t2.segment`, `t2.changes`).

    Parameters
    ----------
    visits : sequence of VisitImages
        On one grid, FLAIRs on one intensity scale.
    tissue : TissueMaps
    known : sequence of ndarray of bool, shape (x, y, z)
        T2 lesions of each visit.
    model : LogisticModel
        Of `FEATURES`.

    Returns
    -------
    list of ndarray of bool, shape (x, y, z)
        Further lesions of each visit. They do not touch its known lesions.
    """
    flairs = [local_contrast(visit.contrasts[Contrast.FLAIR], visit, tissue) for visit in visits]
    found = [
        _accepted(visit, tissue, flair, taken, model)
        for visit, flair, taken in zip(visits, flairs, known, strict=True)
    ]
    stable = np.zeros(visits[0].grid.shape, dtype=bool)
    for flair, at_visit in zip(flairs, found, strict=True):
        stable |= _stable(at_visit, flair, flairs, [visit.brain.mask for visit in visits])
    parts = ConnectedComponents.of(stable)
    return [
        parts.chosen(parts.sums(ndimage.binary_dilation(taken, structure(3))) == 0) & visit.brain.mask
        for visit, taken in zip(visits, known, strict=True)
    ]


def _accepted(
    visit: VisitImages, tissue: TissueMaps, flair: LocalContrast, taken: BoolArray, model: LogisticModel
) -> AcceptedNodes:
    nodes = t2_nodes(visit, tissue, flair)
    probabilities = [model.probability(at_level.features) for at_level in nodes]
    return accepted_nodes(nodes, probabilities, flair.contrast, visit.grid, _NODES, taken=taken)


def _stable(
    found: AcceptedNodes, own: LocalContrast, flairs: Sequence[LocalContrast], brains: Sequence[BoolArray]
) -> BoolArray:
    """Lesions of one visit that are present at every visit whose field of view contains most of them."""
    voxels = np.flatnonzero(found.labels)
    number = found.labels.ravel()[voxels] - 1
    count = len(found.probabilities)
    size = np.maximum(np.bincount(number, minlength=count), 1)
    least = np.bincount(number, own.contrast.ravel()[voxels], count) / size * _NODES.present_share
    keep = np.ones(count, dtype=bool)
    for flair, brain in zip(flairs, brains, strict=True):
        in_fov = np.bincount(number, brain.ravel()[voxels], count)
        there = np.bincount(number, np.where(brain, flair.contrast, 0).ravel()[voxels], count)
        keep &= (there >= least * in_fov) | (in_fov < 0.5 * size)
    stable = np.zeros(found.labels.shape, dtype=bool)
    stable.ravel()[voxels] = keep[number]
    return stable
