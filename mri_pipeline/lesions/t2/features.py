"""Features of the T2 rule: FLAIR brightness in SD of white matter, T1 hypointensity, location.

All features are ratios or millimetres, so that they apply to 2D and 3D scans of any scanner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import MAD_TO_SIGMA, median, quantile, robust_spread
from mri_pipeline.core.spatial import FloatArray, Grid, Image
from mri_pipeline.core.visits import Contrast, VisitImages

_EVIDENCE = METHOD.t2_evidence
FINE_MM = METHOD.t2_evidence.fine_mm
_COARSE_MM = METHOD.t2_evidence.coarse_mm
_COARSE_SHARE = METHOD.t2_evidence.coarse_share
_SURROUND_MM = METHOD.t2_evidence.surround_mm
_LOW_REACH_MM = METHOD.t2_evidence.low_reach_mm
_EDGE_MM = METHOD.t2_evidence.edge_mm
_PRIOR_FLOOR = METHOD.t2_evidence.prior_floor
_MIDDLE_LOG_PRIOR = METHOD.t2_evidence.middle_log_prior
OUTSIDE = -99.0
"""Score of voxels that cannot be a lesion."""
_LEAST_SPREAD = METHOD.t2_evidence.least_spread
_MODE_WIDTH = METHOD.t2_evidence.mode_width
_BINS_PER_SPREAD = METHOD.t2_evidence.bins_per_spread
_TYPICAL_SPREAD = METHOD.t2_evidence.typical_spread
_LEAST_WEIGHT = METHOD.t2_evidence.least_weight


@dataclass(frozen=True)
class Evidence:
    """Feature maps of one visit on its grid, in standard deviations of white matter (0 is its mode).

    Parameters
    ----------
    score : ndarray of float32, shape (x, y, z)
        FLAIR brightness plus the bonus for a likely location, minus the penalty for grey matter; `OUTSIDE` outside
        the brain and within 2 mm of its edge.
    brightness : ndarray of float32, shape (x, y, z)
        The same without bonus and penalty: the border of a lesion does not depend on location.
    darkest : ndarray of float32, shape (x, y, z)
        Minimum FLAIR within 2.5 mm; far below 0 beside CSF.
    t1 : ndarray of float32 or None, shape (x, y, z)
        T1, before contrast if available; NaN in the brain outside the field of view of T1.
    depth_mm : ndarray of float32, shape (x, y, z)
        Depth below the surface of the brain, in mm.
    grey_flair, grey_t1 : float
        Upper quartile of FLAIR and median of T1 in grey matter (0 if unknown).
    """

    score: NDArray[np.float32]
    brightness: NDArray[np.float32]
    darkest: NDArray[np.float32]
    t1: NDArray[np.float32] | None
    depth_mm: NDArray[np.float32]
    grey_flair: float
    grey_t1: float


def smoothed(data: FloatArray, grid: Grid, sigma_mm: float) -> NDArray[np.float32]:
    """Gaussian smoothing that accounts for the smoothing of the voxel itself.

    The kernel variance along each axis is reduced by that of the voxel (variance of a box). A 3 mm slice is
    therefore not smoothed again by 1 mm.

    Parameters
    ----------
    data : ndarray of float, shape (x, y, z)
    grid : Grid
    sigma_mm : float
        Standard deviation of the total smoothing in mm.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
    """
    box = np.array(grid.spacing_mm) / np.sqrt(12.0)
    width = np.sqrt(np.maximum(sigma_mm**2 - box**2, 0.0)) / np.array(grid.spacing_mm)
    return np.asarray(
        ndimage.gaussian_filter(data, width, mode="nearest", truncate=METHOD.t2_evidence.truncate),
        dtype=np.float32,
    )


def surround(
    data: FloatArray, weight: FloatArray, grid: Grid, sigma_mm: float = _SURROUND_MM, *, unknown: float = 0.0
) -> NDArray[np.float32]:
    """Weighted mean of the surrounding tissue.

    Parameters
    ----------
    data, weight : ndarray of float, shape (x, y, z)
        Intensities and their weights.
    grid : Grid
    sigma_mm : float
        Standard deviation of the Gaussian weights in mm.
    unknown : float
        Value where all weights nearby are 0.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
    """
    step = [max(1, int(sigma_mm / 3 / s)) for s in grid.spacing_mm]  # a coarse grid suffices for a wide mean
    coarse = tuple(slice(k // 2, None, k) for k in step)
    spacing = np.array(grid.spacing_mm) * step
    blurred = [
        ndimage.gaussian_filter(
            ndimage.uniform_filter(x, step)[coarse].astype(np.float32), sigma_mm / spacing, mode="nearest"
        )
        for x in (weight, weight * data)
    ]
    mean = np.where(blurred[0] > _LEAST_WEIGHT, blurred[1] / np.maximum(blurred[0], _LEAST_WEIGHT), unknown)
    if max(step) == 1:
        return np.asarray(mean, dtype=np.float32)
    scale = 1.0 / np.array(step)
    offset = -(np.array(step) - 1) / 2 * scale  # the centre of the first coarse voxel
    return np.asarray(
        ndimage.affine_transform(mean, scale, offset, output_shape=grid.shape, order=1, mode="nearest"),
        dtype=np.float32,
    )


def evidence_of(
    visit: VisitImages,
    tissue: TissueMaps,
    depth_mm: NDArray[np.float32],
    *,
    prior_weight: float,
    grey_matter_penalty: float,
) -> Evidence:
    """Feature maps for the segmentation of T2 lesions.

    Parameters
    ----------
    visit : VisitImages
    tissue : TissueMaps
        On the grid of the visit.
    depth_mm : ndarray of float32, shape (x, y, z)
        Depth of each voxel below the surface of the brain (`depth_within`).
    prior_weight : float
        Standard deviations per unit of the logarithm of the lesion prior.
    grey_matter_penalty : float
        Standard deviations subtracted in pure grey matter.

    Returns
    -------
    Evidence

    Raises
    ------
    GridMismatchError
        If the tissue maps are on a different grid.
    """
    grid, brain = visit.grid, visit.brain.mask
    grid.require_same(tissue.lesion_prior.grid, "tissue map")
    flair = standardised(visit.contrasts[Contrast.FLAIR], visit, tissue)
    fine = smoothed(flair, grid, FINE_MM)
    brightness = (1.0 - _COARSE_SHARE) * fine + _COARSE_SHARE * smoothed(flair, grid, _COARSE_MM)
    place = np.log(np.maximum(tissue.lesion_prior.data, _PRIOR_FLOOR)) - _MIDDLE_LOG_PRIOR
    score = brightness + prior_weight * np.clip(place, *_EVIDENCE.place_range)
    score -= grey_matter_penalty * smoothed(tissue.grey_matter.data, grid, _EVIDENCE.grey_matter_smoothing_mm)
    edge = depth_mm <= _EDGE_MM
    score[edge] = brightness[edge] = OUTSIDE
    reach = [2 * int(_LOW_REACH_MM / s) + 1 for s in grid.spacing_mm]
    dark = _t1(visit, tissue)
    grey = brain & (tissue.grey_matter.data > _EVIDENCE.sure)
    known = bool(grey.any())
    return Evidence(
        score=score.astype(np.float32),
        brightness=brightness.astype(np.float32),
        darkest=ndimage.minimum_filter(fine, reach),
        t1=dark,
        depth_mm=depth_mm,
        grey_flair=float(quantile(fine[grey], _EVIDENCE.grey_quantile)) if known else 0.0,
        grey_t1=_median(dark[grey]) if dark is not None else 0.0,
    )


def _t1(visit: VisitImages, tissue: TissueMaps) -> NDArray[np.float32] | None:
    """T1 in standard deviations of white matter; NaN in the brain outside its field of view."""
    for contrast in (Contrast.T1W, Contrast.T1W_GD):
        if contrast in visit.contrasts:
            data = standardised(visit.contrasts[contrast], visit, tissue)
            data[visit.brain.mask & ~visit.scanned(contrast)] = np.nan
            return smoothed(data, visit.grid, FINE_MM)
    return None


def _median(values: FloatArray) -> float:
    """Median of the finite values; 0 if there is none."""
    known = values[np.isfinite(values)]
    return float(median(known)) if known.size else 0.0


def standardised(image: Image, visit: VisitImages, tissue: TissueMaps) -> NDArray[np.float32]:
    """Standardise an image by normal white matter: 0 is its mode, 1 is one standard deviation above.

    Scanners differ in contrast by up to a half (lesion to white matter 1.32 to 1.67 on FLAIR). In standard
    deviations of white matter, lesions are at 3.1 to 4.5 on all scanners. The mode and the lower half of the
    distribution are used because lesions do not affect them: 50 mL of lesions and their surroundings shift the
    median by 0.2 and widen a two-sided spread by a quarter.

    Parameters
    ----------
    image : Image
        White matter about 1.
    visit : VisitImages
        Provides the brain mask.
    tissue : TissueMaps

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        A spread below the minimum (`least_spread`, 5 %) is replaced by the minimum. Without white matter, a typical
        spread is used.
    """
    inside = image.data[(tissue.white_matter.data > _EVIDENCE.sure) & visit.brain.mask & (image.data > 0)]
    if not inside.size:
        return np.asarray((image.data - 1.0) / _TYPICAL_SPREAD, dtype=np.float32)
    middle, spread = mode_and_spread(inside)
    return np.asarray((image.data - middle) / max(spread, _LEAST_SPREAD), dtype=np.float32)


def mode_and_spread(values: FloatArray) -> tuple[float, float]:
    """Mode of a distribution, and its standard deviation from the values below the mode.

    Parameters
    ----------
    values : ndarray of float
        At least one value.

    Returns
    -------
    tuple of float
        Mode and standard deviation.
    """
    middle = _mode(values)
    return middle, MAD_TO_SIGMA * float(median(middle - values[values <= middle]))


def _mode(values: FloatArray) -> float:
    """Peak of the histogram after smoothing by a third of the spread."""
    middle = float(median(values))
    spread = max(robust_spread(values, middle), _LEAST_SPREAD)
    counts, edges = np.histogram(values, 8 * _BINS_PER_SPREAD, (middle - 4 * spread, middle + 4 * spread))
    peak = int(ndimage.gaussian_filter1d(counts.astype(float), _MODE_WIDTH * _BINS_PER_SPREAD).argmax())
    return float(edges[peak] + edges[peak + 1]) / 2
