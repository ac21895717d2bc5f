"""Feature maps for enhancing lesions: T1 enhancement and tissue at each voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.distances import ROUNDING_MM, depth_within, within_reach
from mri_pipeline.core.holes import filled
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.robust import median, quantile, robust_spread
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.t2.features import smoothed, standardised, surround

_MAPS = METHOD.gel_evidence
_LEAST_VOXELS = METHOD.gel_probability.least_voxels


@dataclass(frozen=True)
class GelEvidence:
    """Feature maps of the rules, all of shape (x, y, z) on the grid of the visit.

    Parameters
    ----------
    grid : Grid
    enhancement : ndarray of float
        `enhancement_map`, as a fraction of white matter intensity.
    noise : float
        Robust standard deviation of the enhancement in white matter.
    compared : bool
        True if there is a pre-contrast T1.
    t2_lesions : ndarray of bool
    correlate : ndarray of bool
        T2 lesions and other voxels with a T2 correlate.
    fluid : ndarray of bool
        CSF and its neighbourhood.
    depth_mm : ndarray of float
        Depth below the brain surface in mm.
    white_matter : ndarray of float
        Probability of white matter.
    """

    grid: Grid
    enhancement: FloatArray
    noise: float
    compared: bool  # with a pre-contrast T1
    t2_lesions: BoolArray
    correlate: BoolArray
    fluid: BoolArray
    depth_mm: FloatArray
    white_matter: FloatArray


def enhancement_map(visit: VisitImages, tissue: TissueMaps, *, least_local_enhancement: float = 0.0) -> Image:
    """Increase on post-contrast T1 as a fraction of white matter intensity.

    Without a pre-contrast T1, the increase is relative to normal tissue within about 8 mm. With a pre-contrast T1,
    it is the change from it, provided that the voxel is also at least `least_local_enhancement` above its
    surroundings. Each image is first divided by its local white matter level, so that differences of the coil
    sensitivity cancel. The typical change of each tissue and of each intensity is subtracted.

    Parameters
    ----------
    visit : VisitImages
        With `Contrast.T1W_GD`.
    tissue : TissueMaps
    least_local_enhancement : float
        Fraction of white matter intensity.

    Returns
    -------
    Image
        0 in the brain outside the field of view of the post-contrast T1.

    Raises
    ------
    KeyError
        If the visit has no post-contrast T1.
    """
    post, around = _smooth_ratio(Contrast.T1W_GD, visit, tissue)
    local = post - around
    if Contrast.T1W in visit.contrasts:
        pre, _ = _smooth_ratio(Contrast.T1W, visit, tissue)
        change = post - pre
        change -= _normal_change(pre, change, visit, tissue)
        change = np.where(local >= least_local_enhancement, change, np.minimum(change, 0.0))
        local = np.where(visit.brain.mask & ~visit.scanned(Contrast.T1W), local, change)
    local[visit.brain.mask & ~visit.scanned(Contrast.T1W_GD)] = 0.0
    return Image(local.astype(np.float32), visit.grid)


def _smooth_ratio(contrast: Contrast, visit: VisitImages, tissue: TissueMaps) -> tuple[FloatArray, FloatArray]:
    """Mean of a voxel and mean of the surrounding normal tissue, both divided by the local white matter level."""
    scanned = visit.scanned(contrast) | ~visit.brain.mask
    mean = smoothed(visit.contrasts[contrast].data, visit.grid, _MAPS.smoothing_mm)
    if not scanned.all():  # normalise by the part within the field of view
        in_fov = smoothed(scanned.astype(np.float32), visit.grid, _MAPS.smoothing_mm)
        mean /= np.maximum(in_fov, _MAPS.least_scanned)
    white = visit.brain.mask & (np.abs(mean - 1.0) < _MAPS.white_matter_range)
    level = surround(mean, (white * tissue.white_matter.data).astype(np.float32), visit.grid)
    level = np.where(level > _MAPS.least_level, level, 1.0)
    lowest, highest = _MAPS.normal_range
    normal = visit.brain.mask & (mean > lowest) & (mean < highest)
    around = surround(mean, normal.astype(np.float32), visit.grid)
    return mean / level, np.where(around > _MAPS.least_normal, around, 1.0) / level


def _normal_change(pre: FloatArray, change: FloatArray, visit: VisitImages, tissue: TissueMaps) -> FloatArray:
    """Change of normal tissue between two T1 of different weighting (grey matter: 0.14 of white matter in one pair).

    The change is estimated from the tissue class and from the pre-contrast intensity; the larger value is used. A T2
    lesion lies in white matter; its expected change is that of its pre-contrast intensity.
    """
    expected = np.zeros(visit.grid.shape, dtype=np.float32)
    levels = []
    for part in (tissue.white_matter, tissue.grey_matter, tissue.csf):
        sure = visit.brain.mask & (part.data > _MAPS.sure)
        if np.count_nonzero(sure) >= _LEAST_VOXELS:
            gain = float(median(change[sure]))
            expected += np.float32(gain) * smoothed(part.data, visit.grid, _MAPS.smoothing_mm)
            levels.append((float(median(pre[sure])), gain))
    if not levels:
        return expected
    before, gains = zip(*sorted(levels), strict=True)
    return np.asarray(np.maximum(expected, np.interp(pre, before, gains)))


def gel_evidence(
    visit: VisitImages, tissue: TissueMaps, t2_mask: LabelImage, settings: GelSettings
) -> GelEvidence:
    """Feature maps of a visit with a post-contrast T1.

    Parameters
    ----------
    visit : VisitImages
        With `Contrast.FLAIR` and `Contrast.T1W_GD`.
    tissue : TissueMaps
    t2_mask : LabelImage
        T2 lesions of the visit.
    settings : GelSettings

    Returns
    -------
    GelEvidence
    """
    grid, brain = visit.grid, visit.brain.mask
    enhancement = enhancement_map(visit, tissue, least_local_enhancement=settings.least_local_enhancement).data
    sure = brain & (tissue.white_matter.data > _MAPS.sure)
    noise = robust_spread(enhancement[sure]) if sure.any() else 0.0
    flair = visit.contrasts[Contrast.FLAIR]
    # fluid: very dark on FLAIR, or dark on FLAIR and CSF in the tissue maps
    level = smoothed(flair.data, grid, _MAPS.smoothing_mm)
    mixed = (level < _MAPS.mixed_flair) & (tissue.csf.data > _MAPS.fluid_csf)
    fluid = brain & ((level < _MAPS.fluid_flair) | mixed)
    fluid &= ~filled(t2_mask.mask)  # the cavity of a lesion is neither choroid plexus nor flow
    return GelEvidence(
        grid=grid,
        enhancement=enhancement,
        noise=noise,
        compared=Contrast.T1W in visit.contrasts,
        t2_lesions=t2_mask.mask,
        correlate=t2_mask.mask | _bright(visit, tissue, settings),
        fluid=within_reach(fluid, settings.fluid_reach_mm + ROUNDING_MM, grid.spacing_mm),
        depth_mm=depth_within(brain, grid.spacing_mm),
        white_matter=tissue.white_matter.data,
    )


def _bright(visit: VisitImages, tissue: TissueMaps, settings: GelSettings) -> BoolArray:
    """Voxels brighter than normal tissue: on FLAIR; in the posterior fossa on FLAIR and T2.

    The limit is `flair_correlate` in white matter and rises towards the level of grey matter as the probability of
    white matter falls. In the posterior fossa FLAIR has many flow artefacts, and the T2 correlate is mandatory
    (Barkhof 1997).
    """
    flair = _deviation(Contrast.FLAIR, visit, tissue)
    grey = flair[visit.brain.mask & (tissue.grey_matter.data > _MAPS.sure)]
    above = float(quantile(grey, _MAPS.grey_quantile)) + settings.above_grey_matter if grey.size else 0.0
    white = smoothed(tissue.white_matter.data, visit.grid, _MAPS.smoothing_mm)
    least = settings.flair_correlate
    bright = flair > least + (1.0 - white) * max(above - least, 0.0)
    infratentorial = tissue.infratentorial
    if Contrast.T2W in visit.contrasts:
        infratentorial &= _deviation(Contrast.T2W, visit, tissue) < settings.t2_correlate
    return np.asarray(bright & ~infratentorial)


def _deviation(contrast: Contrast, visit: VisitImages, tissue: TissueMaps) -> FloatArray:
    return smoothed(standardised(visit.contrasts[contrast], visit, tissue), visit.grid, _MAPS.smoothing_mm)
