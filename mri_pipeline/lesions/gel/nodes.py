"""Enhancing lesions at several levels of enhancement, each accepted or rejected by all its evidence together.

The connected components of the enhancement at a few levels form a tree: a lesion that merges with a vessel at a low
level is separate at a higher one. Each component (node) has a probability of being an enhancing lesion, from a
logistic model of its enhancement, size and form, and of FLAIR in and around it. Strong compact enhancement in white
matter needs a weaker T2 correlate than faint enhancement. The correlate is FLAIR relative to its own surroundings
(Barkhof et al. 1997), not membership of the T2 mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.spatial import BoolArray, FloatArray
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.components import ConnectedComponents, structure
from mri_pipeline.lesions.contrast import LocalContrast, local_contrast
from mri_pipeline.lesions.gel.evidence import GelEvidence

FEATURES = (
    "size",
    "enhancement",
    "flair_step",
    "least_flair",
    "flair_around",
    "t2_fluid",
    "white_matter",
    "csf_around",
    "enhancing_around",
    "elongation",
)
"""Features of the model, in the order of its coefficients (`_features`)."""


@dataclass(frozen=True, eq=False)
class GelNodes:
    """Enhancing components at one level of enhancement.

    Parameters
    ----------
    components : ConnectedComponents
    features : ndarray of float, shape (components, features)
        In the order of `FEATURES`.
    allowed : ndarray of bool, shape (components,)
        False at the edge of the brain, and in the posterior fossa without a T2 correlate.
    """

    components: ConnectedComponents
    features: FloatArray
    allowed: BoolArray


@dataclass(frozen=True, eq=False)
class AcceptedNodes:
    """Nodes that are enhancing lesions.

    Parameters
    ----------
    labels : ndarray of int32, shape (x, y, z)
        Lesions, numbered from 1 by descending probability.
    probabilities : tuple of float
        Probability of each lesion.
    """

    labels: NDArray[np.int32]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Maps:
    """Images that the features are measured on, all of shape (x, y, z); `t2` is None without T2w."""

    enhancement: FloatArray
    flair: LocalContrast
    t2: LocalContrast | None
    white_matter: FloatArray
    csf: FloatArray


def nodes_of(
    visit: VisitImages, tissue: TissueMaps, evidence: GelEvidence, settings: GelSettings
) -> list[GelNodes]:
    """Enhancing components of a visit at every level of enhancement above the noise.

    Parameters
    ----------
    visit : VisitImages
        With `Contrast.FLAIR` and `Contrast.T1W_GD`.
    tissue : TissueMaps
    evidence : GelEvidence
    settings : GelSettings

    Returns
    -------
    list of GelNodes
        By ascending level; levels without a component are left out.
    """
    grid, brain = visit.grid, visit.brain.mask
    flair, t2 = (
        local_contrast(visit.contrasts[contrast], visit, tissue) if contrast in visit.contrasts else None
        for contrast in (Contrast.FLAIR, Contrast.T2W)
    )
    assert flair is not None
    maps = _Maps(evidence.enhancement, flair, t2, tissue.white_matter.data, tissue.csf.data)
    reach = tuple(max(1, round(settings.ring_mm / s)) for s in grid.spacing_mm)
    least, most = (volume / grid.voxel_volume_mm3 for volume in (settings.node_least_mm3, settings.node_most_mm3))
    found = []
    for level in settings.levels:
        if level < settings.level_noise * evidence.noise:
            continue
        mask = brain & tissue.above_foramen_magnum & (evidence.enhancement >= level)
        components = ConnectedComponents.of(mask)
        components = components.selected((components.sizes >= least) & (components.sizes <= most))
        if not len(components.sizes):
            continue
        deep = components.means(evidence.depth_mm) >= settings.edge_depth_mm
        infratentorial = components.means(tissue.infratentorial) >= 0.5
        bright = components.means(flair.contrast) >= settings.flair_correlate
        features = _features(components, components.ring(brain, reach), maps, grid.spacing_mm, settings)
        found.append(GelNodes(components, features, deep & (bright | ~infratentorial)))
    return found


def _features(
    nodes: ConnectedComponents,
    ring: ConnectedComponents,
    maps: _Maps,
    spacing_mm: tuple[float, ...],
    settings: GelSettings,
) -> FloatArray:
    """Features of each node in the order of `FEATURES`, limited to the range in which they were learned."""
    enhancement = nodes.means(maps.enhancement)
    alike = maps.enhancement.ravel()[ring.voxels] >= settings.alike_share * enhancement[ring.number]
    going_on = np.bincount(ring.number, alike, len(nodes.sizes)) / np.maximum(ring.sizes, 1)
    fluid = nodes.means(maps.t2.contrast) > settings.t2_fluid if maps.t2 else np.zeros(len(nodes.sizes))
    volume = nodes.sizes * float(np.prod(spacing_mm))
    columns = {
        "size": np.log(np.clip(volume, 6.0, 400.0)),
        "enhancement": np.log(np.clip(enhancement, 0.05, 1.0)),
        "flair_step": np.clip(nodes.means(maps.flair.level) - ring.means(maps.flair.level), -2.0, 4.0),
        "least_flair": np.clip(nodes.minima(maps.flair.contrast), -6.0, 4.0),
        "flair_around": np.clip(ring.means(maps.flair.contrast), -4.0, 4.0),
        "t2_fluid": fluid.astype(float),
        "white_matter": nodes.means(maps.white_matter),
        "csf_around": np.sqrt(np.clip(ring.means(maps.csf), 0.0, 1.0)),
        "enhancing_around": np.clip(going_on, 0.0, 0.4),
        "elongation": np.clip(nodes.elongations(spacing_mm), 1.0, 5.0),
    }
    return np.stack([columns[name] for name in FEATURES], axis=1)


def accepted_nodes(
    nodes: list[GelNodes],
    evidence: GelEvidence,
    model: LogisticModel,
    *,
    taken: BoolArray,
    settings: GelSettings,
) -> AcceptedNodes:
    """Nodes that are enhancing lesions, apart from those that touch a known lesion.

    Of the nodes of one branch of the tree, the most probable one is the lesion. It extends to the connected voxels of
    at least half its maximum enhancement nearby.

    Parameters
    ----------
    nodes : list of GelNodes
    evidence : GelEvidence
    model : LogisticModel
        Of `FEATURES`.
    taken : ndarray of bool, shape (x, y, z)
        Known lesions.
    settings : GelSettings

    Returns
    -------
    AcceptedNodes
    """
    ranked = sorted(
        (
            (float(probability), -level, number)
            for level, at_level in enumerate(nodes)
            for number, probability in enumerate(model.probability(at_level.features) * at_level.allowed)
            if probability >= settings.least_probability
        ),
        reverse=True,
    )
    labels = np.zeros(taken.shape, dtype=np.int32)
    probabilities: list[float] = []
    closed = ndimage.binary_dilation(taken, structure(3))
    for probability, level, number in ranked:
        components = nodes[-level].components
        voxels = components.chosen(np.arange(len(components.sizes)) == number)
        if closed[voxels].any():
            continue
        probabilities.append(probability)
        lesion = _to_half_maximum(voxels, closed, evidence, settings)
        labels[lesion] = len(probabilities)
        closed |= ndimage.binary_dilation(lesion, structure(3))
    return AcceptedNodes(labels, tuple(probabilities))


def _to_half_maximum(
    node: BoolArray, closed: BoolArray, evidence: GelEvidence, settings: GelSettings
) -> BoolArray:
    """A node and the connected voxels within `vessel_reach_mm` above half of its upper decile."""
    top = float(np.quantile(evidence.enhancement[node], 0.9))
    bright = evidence.enhancement >= max(settings.edge_share * top, settings.least_enhancement)
    near = ndimage.distance_transform_edt(~node, sampling=evidence.grid.spacing_mm) <= settings.vessel_reach_mm
    return np.asarray(ndimage.binary_propagation(node, structure(3), mask=node | (bright & near & ~closed)))
