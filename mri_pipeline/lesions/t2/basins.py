"""Candidates for small and faint T2 lesions: basins of local FLAIR contrast, and their features.

The T2 rule (`t2.segment`) has one threshold for the whole brain, which must exclude grey matter. A lesion that is
clearly brighter than the white matter around it can be darker than this threshold. Each local maximum of the contrast
to this white matter is a candidate. It extends to half of its height within its basin (watershed), so that it is
separated from a neighbouring lesion or gyrus. Its features distinguish a lesion from cortex, tracts and vessels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.distances import distance_to
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray, FloatArray
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.contrast import LocalContrast, local_contrast
from mri_pipeline.lesions.symmetry import mirrored
from mri_pipeline.lesions.t2.features import OUTSIDE, Evidence, mode_and_spread
from mri_pipeline.lesions.t2.watersheds import basins_of, upper_part

_BASINS = METHOD.t2_basins
FEATURES = (
    "peak",
    "contrast",
    "step_near",
    "step_wide",
    "brightness",
    "score_peak",
    "score",
    "darkest_near",
    "t1_contrast",
    "t1",
    "t1_around",
    "white_matter",
    "grey_matter",
    "csf",
    "white_matter_near",
    "grey_matter_near",
    "csf_near",
    "white_matter_wide",
    "grey_matter_wide",
    "csf_wide",
    "depth_mm",
    "size",
    "elongation",
    "mirrored",
    "over_mirrored",
    "location",
    "infratentorial",
    "brightness_near",
    "csf_distance_mm",
    "saddle",
    "basin_size",
    "share_of_basin",
)
"""Features of the model, in the order of its parameters (`_features`)."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates of one visit.

    Parameters
    ----------
    components : ConnectedComponents
        The voxels of each candidate. Candidates may adjoin each other.
    features : ndarray of float, shape (candidates, features)
        In the order of `FEATURES`.
    contrast : ndarray of float32, shape (x, y, z)
        FLAIR relative to the white matter around, in standard deviations of normal white matter.
    """

    components: ConnectedComponents
    features: FloatArray
    contrast: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Basins:
    """Candidates, with the volume of the basin of each, and its saddle to the next basin relative to its peak."""

    components: ConnectedComponents
    volume_mm3: FloatArray
    saddle: FloatArray


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Maps of the subject for the candidates of every visit, all of shape (x, y, z).

    Parameters
    ----------
    near_white : ndarray of bool
        White matter and its neighbourhood.
    csf_distance_mm : ndarray of float32
        Distance to CSF in mm, at most `METHOD.t2_basins.far_mm`.
    """

    near_white: BoolArray
    csf_distance_mm: NDArray[np.float32]

    @classmethod
    def of(cls, tissue: TissueMaps) -> Surroundings:
        """Compute the maps of a subject.

        Parameters
        ----------
        tissue : TissueMaps

        Returns
        -------
        Surroundings
        """
        spacing = tissue.csf.grid.spacing_mm
        white = ndimage.gaussian_filter(tissue.white_matter.data, [_BASINS.near_mm / s for s in spacing])
        distance = distance_to(tissue.csf.data > METHOD.t2_fluid.most, spacing)
        return cls(white > _BASINS.near_white_matter, np.minimum(distance, np.float32(_BASINS.far_mm)))


def candidates(
    visit: VisitImages,
    tissue: TissueMaps,
    evidence: Evidence,
    threshold: float,
    *,
    flair: LocalContrast,
    surroundings: Surroundings,
) -> Candidates:
    """Find the candidates of a visit.

    Parameters
    ----------
    visit : VisitImages
        With `Contrast.FLAIR`; T1 (before contrast if available) is used if present.
    tissue : TissueMaps
    evidence : Evidence
        Feature maps of the T2 rule.
    threshold : float
        Score threshold of the subject.
    flair : LocalContrast
        `white_matter_contrast` of the visit.
    surroundings : Surroundings

    Returns
    -------
    Candidates
        Empty if nothing in or near white matter is brighter than its surroundings.
    """
    contrast, depth = flair.contrast, evidence.depth_mm
    searched = visit.brain.mask & (depth >= METHOD.t2_evidence.edge_mm) & tissue.above_foramen_magnum
    basins = _basins(contrast, searched, surroundings.near_white, visit.grid.voxel_volume_mm3)
    maps = {
        "contrast": contrast,
        "brightness": flair.level,
        "score": np.clip(evidence.score - np.float32(threshold), -_BASINS.most_score, _BASINS.most_score),
        "darkest_near": np.clip(evidence.darkest, -_BASINS.most_score, _BASINS.most_score),
        "t1": _relative_t1(evidence),
        "t1_contrast": _t1_contrast(visit, tissue),
        "white_matter": tissue.white_matter.data,
        "grey_matter": tissue.grey_matter.data,
        "csf": tissue.csf.data,
        "depth_mm": depth,
        "location": np.log(np.maximum(tissue.lesion_prior.data, METHOD.t2_evidence.prior_floor)),
        "mirrored": mirrored(
            contrast, visit, tissue, smoothing_mm=_BASINS.mirror_smoothing_mm, reach_mm=_BASINS.near_mm
        ),
        "infratentorial": tissue.infratentorial.astype(np.float32),
        "csf_distance_mm": surroundings.csf_distance_mm,
    }
    return Candidates(basins.components, _features(basins, maps, visit), contrast)


def white_matter_contrast(visit: VisitImages, tissue: TissueMaps) -> LocalContrast:
    """FLAIR relative to the white matter around.

    Parameters
    ----------
    visit : VisitImages
        With `Contrast.FLAIR`.
    tissue : TissueMaps

    Returns
    -------
    LocalContrast
        Its contrast is from the mode of white matter, in units of its darker half, which lesions do not affect.
    """
    flair = local_contrast(visit.contrasts[Contrast.FLAIR], visit, tissue)
    return replace(flair, contrast=_by_normal_white_matter(flair.contrast, visit.brain.mask, tissue))


def _by_normal_white_matter(
    contrast: NDArray[np.float32], brain: BoolArray, tissue: TissueMaps
) -> NDArray[np.float32]:
    """Contrast from the mode of white matter in units of its darker half, which lesions do not affect."""
    known = contrast != 0
    inside = contrast[brain & known & (tissue.white_matter.data > METHOD.local_contrast.sure_white_matter)]
    if not inside.size:
        return contrast
    middle, spread = mode_and_spread(inside)
    return np.where(known, (contrast - middle) / max(spread, _BASINS.least_spread), 0).astype(np.float32)


def _basins(
    contrast: NDArray[np.float32], searched: BoolArray, near_white: BoolArray, voxel_mm3: float
) -> _Basins:
    """Local maxima in or near white matter, each to half of its height within its basin."""
    landscape = np.where(searched, np.clip(contrast, -_BASINS.most_contrast, _BASINS.most_contrast), OUTSIDE)
    landscape = landscape.astype(np.float32)
    box = ndimage.find_objects(searched.astype(np.uint8), max_label=1)[0] or (slice(0, 1),) * 3
    labels = np.zeros(contrast.shape, dtype=np.int32)
    labels[box], count = basins_of(
        landscape[box],
        near_white[box],
        least_peak=_BASINS.least_peak,
        least_prominence=_BASINS.least_prominence,
        floor=_BASINS.floor,
    )
    basins = ConnectedComponents.of_labels(labels, count)
    components, peak = upper_part(basins, landscape, 0.5)
    lower = ndimage.minimum_filter(np.where(labels > 0, labels, count + 1), 3)
    meets = (lower < labels) | (ndimage.maximum_filter(labels, 3) > labels)
    saddle = np.maximum(basins.maxima(np.where(meets, landscape, 0)), 0)
    volume = components.sizes * voxel_mm3
    keep = (volume >= _BASINS.least_mm3) & (volume <= _BASINS.most_mm3)
    return _Basins(components.selected(keep), basins.sizes[keep] * voxel_mm3, (saddle / peak)[keep])


def _relative_t1(evidence: Evidence) -> NDArray[np.float32]:
    """T1 between white matter (0) and grey matter (-1); 0 where it is unknown."""
    if evidence.t1 is None:
        return np.zeros_like(evidence.score)
    relative = evidence.t1 / np.float32(abs(evidence.grey_t1) or 1.0)
    return np.asarray(np.nan_to_num(relative), dtype=np.float32)


def _t1_contrast(visit: VisitImages, tissue: TissueMaps) -> NDArray[np.float32]:
    """T1 relative to the white matter around; 0 outside its field of view."""
    for contrast in (Contrast.T1W, Contrast.T1W_GD):
        if contrast in visit.contrasts:
            known = visit.scanned(contrast)
            return np.where(
                known, local_contrast(visit.contrasts[contrast], visit, tissue).contrast, np.float32(0)
            )
    return np.zeros(visit.grid.shape, dtype=np.float32)


def _features(basins: _Basins, maps: dict[str, NDArray[np.float32]], visit: VisitImages) -> FloatArray:
    """Features of each candidate in the order of `FEATURES`."""
    grid, parts = visit.grid, basins.components
    near, wide = (
        parts.ring(visit.brain.mask, tuple(max(1, round(mm / s)) for s in grid.spacing_mm))
        for mm in (_BASINS.near_mm, _BASINS.wide_mm)
    )
    own = {name: parts.means(image) for name, image in maps.items()}
    around = {
        f"{name}_{reach}": ring.means(maps[name])
        for reach, ring in (("near", near), ("wide", wide))
        for name in ("contrast", "brightness", "white_matter", "grey_matter", "csf")
    }
    size = parts.sizes * grid.voxel_volume_mm3
    columns = (
        own
        | around
        | {
            "peak": np.log1p(np.clip(parts.maxima(maps["contrast"]), 0.0, _BASINS.most_contrast)),
            "step_near": own["contrast"] - around["contrast_near"],
            "step_wide": own["contrast"] - around["contrast_wide"],
            "score_peak": parts.maxima(maps["score"]),
            "t1_around": near.means(maps["t1"]),
            "size": np.log(size),
            "elongation": np.clip(parts.elongations(grid.spacing_mm), 1.0, _BASINS.most_elongation),
            "over_mirrored": own["contrast"] - own["mirrored"],
            "saddle": basins.saddle,
            "basin_size": np.log(basins.volume_mm3),
            "share_of_basin": np.log(size / basins.volume_mm3),
        }
    )
    return np.stack([columns[name] for name in FEATURES], axis=1)
