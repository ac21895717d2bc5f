"""Enhancing lesions from all their evidence together: enhancement, size and form, and FLAIR in and around them.

Strong compact enhancement in white matter needs a weaker T2 correlate than faint enhancement. The correlate is FLAIR
relative to its own surroundings (Barkhof et al. 1997), not membership of the T2 mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.spatial import BoolArray, FloatArray
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.contrast import LocalContrast, local_contrast
from mri_pipeline.lesions.gel.evidence import GelEvidence
from mri_pipeline.lesions.gel.levels import Nodes, components_at_levels
from mri_pipeline.lesions.symmetry import mirrored

_NODES = METHOD.gel_nodes
_RANGES = METHOD.gel_node_ranges
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
    "mirrored",
)
"""Features of the model, in the order of its coefficients (`_features`)."""


@dataclass(frozen=True, eq=False)
class _Maps:
    """Images that the features are measured on, all of shape (x, y, z); `t2` is None without T2w."""

    enhancement: FloatArray
    mirrored: FloatArray
    flair: LocalContrast
    t2: FloatArray | None
    white_matter: FloatArray
    csf: FloatArray


def gel_nodes(visit: VisitImages, tissue: TissueMaps, evidence: GelEvidence, settings: GelSettings) -> list[Nodes]:
    """Enhancing components of a visit at every level of enhancement above the noise.

    Components are excluded if they are within noise, at the brain edge, away from white matter or without T2 correlate,
    or if they contain fluid, as the choroid plexus does.

    Parameters
    ----------
    visit : VisitImages
        With `Contrast.FLAIR` and `Contrast.T1W_GD`.
    tissue : TissueMaps
    evidence : GelEvidence
    settings : GelSettings

    Returns
    -------
    list of Nodes
        By ascending level; levels without a component are left out.
    """
    maps = _maps(visit, tissue, evidence)
    found = []
    searched = visit.brain.mask & tissue.above_foramen_magnum
    least = _NODES.level_noise * evidence.noise
    for components, ring in components_at_levels(evidence.enhancement, searched, visit.grid, least_level=least):
        allowed = components.means(evidence.depth_mm) >= settings.edge_depth_mm
        allowed &= components.means(evidence.enhancement) >= settings.seed_noise * evidence.noise
        allowed &= ring.means(maps.white_matter) >= settings.white_matter_share
        allowed &= components.minima(maps.flair.contrast) >= _NODES.least_flair
        allowed &= _has_correlate(
            components, maps, components.means(tissue.infratentorial) >= _RANGES.infratentorial, settings
        )
        features = _features(components, ring, maps, visit.grid.spacing_mm)
        found.append(Nodes(components, features, allowed))
    return found


def _maps(visit: VisitImages, tissue: TissueMaps, evidence: GelEvidence) -> _Maps:
    """Images of a visit that the features are measured on."""
    t2 = visit.contrasts.get(Contrast.T2W)
    return _Maps(
        evidence.enhancement,
        mirrored(
            evidence.enhancement,
            visit,
            tissue,
            smoothing_mm=_NODES.mirror_smoothing_mm,
            reach_mm=_NODES.mirror_reach_mm,
            midline_mm=_NODES.midline_mm,
        ),
        local_contrast(visit.contrasts[Contrast.FLAIR], visit, tissue),
        None if t2 is None else local_contrast(t2, visit, tissue).contrast,
        tissue.white_matter.data,
        tissue.csf.data,
    )


def _has_correlate(
    nodes: ConnectedComponents, maps: _Maps, infratentorial: BoolArray, settings: GelSettings
) -> BoolArray:
    """True for components that are brighter than their surroundings on FLAIR.

    FLAIR has flow artefacts in the posterior fossa. There, components must be brighter on T2w, too, and the less they
    enhance the brighter they must be on FLAIR.
    """
    flair = nodes.means(maps.flair.contrast)
    if maps.t2 is None:
        return (flair >= _NODES.least_correlate) & ~infratentorial
    faint = settings.seed_enhancement
    least = np.interp(
        nodes.means(maps.enhancement),
        (faint, max(faint, _NODES.strong_enhancement)),
        (settings.flair_correlate, _NODES.least_correlate),
    )
    both = (flair >= least) & (nodes.means(maps.t2) >= _NODES.least_t2_correlate)
    return np.where(infratentorial, both, flair >= _NODES.least_correlate)


def _features(
    nodes: ConnectedComponents,
    ring: ConnectedComponents,
    maps: _Maps,
    spacing_mm: tuple[float, ...],
) -> FloatArray:
    """Features of each node in the order of `FEATURES`, limited to the range in which they were learned."""
    enhancement = nodes.means(maps.enhancement)
    alike = maps.enhancement.ravel()[ring.voxels] >= _NODES.alike_share * enhancement[ring.number]
    continued = np.bincount(ring.number, alike, len(nodes.sizes)) / np.maximum(ring.sizes, 1)
    fluid = np.zeros(len(nodes.sizes)) if maps.t2 is None else nodes.means(maps.t2) > _NODES.t2_fluid
    volume = nodes.sizes * float(np.prod(spacing_mm))
    columns = {
        "size": np.log(np.clip(volume, *_RANGES.volume_mm3)),
        "enhancement": np.log(np.clip(enhancement, *_RANGES.enhancement)),
        "flair_step": np.clip(nodes.means(maps.flair.level) - ring.means(maps.flair.level), *_RANGES.flair_step),
        "least_flair": np.clip(nodes.minima(maps.flair.contrast), *_RANGES.least_flair),
        "flair_around": np.clip(ring.means(maps.flair.contrast), *_RANGES.flair_around),
        "t2_fluid": fluid.astype(float),
        "white_matter": nodes.means(maps.white_matter),
        "csf_around": np.sqrt(np.clip(ring.means(maps.csf), 0.0, 1.0)),
        "enhancing_around": np.clip(continued, *_RANGES.enhancing_around),
        "elongation": np.clip(nodes.elongations(spacing_mm), *_RANGES.elongation),
        "mirrored": np.clip(nodes.means(maps.mirrored), *_RANGES.mirrored),
    }
    return np.stack([columns[name] for name in FEATURES], axis=1)
