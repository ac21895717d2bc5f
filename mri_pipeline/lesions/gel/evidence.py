"""The maps on which an enhancing lesion is judged: how much T1 rises, and what the place is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.t2.features import smoothed, standardised, surround

_LEAST_VOXELS = METHOD.gel_probability.least_voxels


@dataclass(frozen=True)
class GelEvidence:
    """Maps the rules look at, all on the visit's grid."""

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
    """Increase on post-contrast T1 as a share of white matter.

    Where there is no pre-contrast T1: against the normal tissue within about 8 mm. Where there is: the change from
    it, where the voxel is also at least `least_local_enhancement` above its surroundings; each image is divided by its
    own surroundings first, so that differences of the coil's field cancel, and what a tissue changes everywhere is
    taken off, as is what tissue of its brightness changes. Where the post-contrast T1 has not scanned, nothing
    enhances.
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
    """The 1 mm mean over the local level of white matter, and that of all normal tissue around, on that scale."""
    scanned = visit.scanned(contrast) | ~visit.brain.mask
    mean = smoothed(visit.contrasts[contrast].data, visit.grid, 1.0)
    if not scanned.all():  # the mean of what was scanned
        mean /= np.maximum(smoothed(scanned.astype(np.float32), visit.grid, 1.0), 1e-3)
    white = visit.brain.mask & (np.abs(mean - 1.0) < 0.25)
    level = surround(mean, (white * tissue.white_matter.data).astype(np.float32), visit.grid)
    level = np.where(level > 0.5, level, 1.0)
    normal = visit.brain.mask & (mean > 0.5) & (mean < 1.25)
    around = surround(mean, normal.astype(np.float32), visit.grid)
    return mean / level, np.where(around > 0.3, around, 1.0) / level


def _normal_change(pre: FloatArray, change: FloatArray, visit: VisitImages, tissue: TissueMaps) -> FloatArray:
    """What tissue gains between two T1 of unlike weighting (grey matter 0.14 of white matter in a real pair).

    By what the place is, and by how bright it was before contrast, the larger: a T2 lesion lies in white matter, and
    gains what tissue as dark as it gains.
    """
    expected = np.zeros(visit.grid.shape, dtype=np.float32)
    levels = []
    for part in (tissue.white_matter, tissue.grey_matter, tissue.csf):
        sure = visit.brain.mask & (part.data > 0.8)
        if np.count_nonzero(sure) >= _LEAST_VOXELS:
            gain = float(np.median(change[sure]))
            expected += np.float32(gain) * smoothed(part.data, visit.grid, 1.0)
            levels.append((float(np.median(pre[sure])), gain))
    if not levels:
        return expected
    before, gains = zip(*sorted(levels), strict=True)
    return np.asarray(np.maximum(expected, np.interp(pre, before, gains)))


def gel_evidence(
    visit: VisitImages, tissue: TissueMaps, t2_mask: LabelImage, settings: GelSettings
) -> GelEvidence:
    """The maps of a visit with a post-contrast T1."""
    grid, brain = visit.grid, visit.brain.mask
    enhancement = enhancement_map(visit, tissue, least_local_enhancement=settings.least_local_enhancement).data
    sure = brain & (tissue.white_matter.data > 0.8)
    noise = (
        1.4826 * float(np.median(np.abs(enhancement[sure] - np.median(enhancement[sure])))) if sure.any() else 0.0
    )
    flair = visit.contrasts[Contrast.FLAIR]
    # dark on FLAIR, and called fluid by the tissue map or by its t1_hypointensity alone
    level = smoothed(flair.data, grid, 1.0)
    fluid = brain & ((level < 0.55) | ((level < 0.8) & (tissue.csf.data > 0.5)))
    fluid &= ~ndimage.binary_fill_holes(t2_mask.mask)  # a lesion's own cavity is neither plexus nor flow
    padded = np.pad(brain, 1, mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=grid.spacing_mm)[1:-1, 1:-1, 1:-1]
    return GelEvidence(
        grid=grid,
        enhancement=enhancement,
        noise=noise,
        compared=Contrast.T1W in visit.contrasts,
        t2_lesions=t2_mask.mask,
        correlate=t2_mask.mask | _bright(visit, tissue, settings),
        fluid=_widened(fluid, grid, settings.fluid_reach_mm),
        depth_mm=depth,
        white_matter=tissue.white_matter.data,
    )


def _bright(visit: VisitImages, tissue: TissueMaps, settings: GelSettings) -> BoolArray:
    """What is brighter than normal tissue there: on FLAIR, in the posterior fossa on FLAIR and T2.

    In white matter `flair_correlate` is enough; the more grey matter or fluid, the more the brightness of grey
    matter counts. In the posterior fossa FLAIR is full of flow artefacts, and the T2 correlate is mandatory
    (Barkhof 1997).
    """
    flair = _deviation(Contrast.FLAIR, visit, tissue)
    grey = flair[visit.brain.mask & (tissue.grey_matter.data > 0.8)]
    above = float(np.quantile(grey, 0.75)) + settings.above_grey_matter if grey.size else 0.0
    white = smoothed(tissue.white_matter.data, visit.grid, 1.0)
    least = settings.flair_correlate
    bright = flair > least + (1.0 - white) * max(above - least, 0.0)
    infratentorial = tissue.infratentorial
    if Contrast.T2W in visit.contrasts:
        infratentorial &= _deviation(Contrast.T2W, visit, tissue) < settings.t2_correlate
    return np.asarray(bright & ~infratentorial)


def _deviation(contrast: Contrast, visit: VisitImages, tissue: TissueMaps) -> FloatArray:
    return smoothed(standardised(visit.contrasts[contrast], visit, tissue), visit.grid, 1.0)


def _widened(mask: BoolArray, grid: Grid, reach_mm: float) -> BoolArray:
    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm) <= reach_mm)
