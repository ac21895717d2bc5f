"""Intensity normalisation: normal-appearing white matter is 1; FLAIRs of all visits are matched to each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import median, robust_spread
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image, LabelImage
from mri_pipeline.images.resample import resample
from mri_pipeline.images.sampling import downsample

_SURE_WHITE_MATTER = METHOD.normalise.sure_white_matter
_LEAST_VOXELS = METHOD.normalise.least_voxels
_TRIM = METHOD.normalise.trim
_NORMAL_RANGE = METHOD.normalise.normal_range


def normalise(image: Image, tissue: TissueMaps, brain: LabelImage) -> Image:
    """Divide an image by the median of its normal-appearing white matter.

    Parameters
    ----------
    image : Image
        Any contrast, bias-corrected.
    tissue : TissueMaps
    brain : LabelImage

    Returns
    -------
    Image
        Same grid; the median of white matter is 1.

    Raises
    ------
    GridMismatchError
        If the inputs are on different grids.
    AnalysisError
        If there is too little white matter to measure.
    """
    image.grid.require_same(brain.grid, "brain mask")
    image.grid.require_same(tissue.white_matter.grid, "tissue map")
    return Image(image.data / white_matter_median(image, tissue.white_matter, brain), image.grid)


def white_matter_median(image: Image, white_matter: Image, brain: LabelImage) -> float:
    """Median of white matter with lesions and partial volume trimmed.

    Values more than 2.5 robust standard deviations from the median are excluded, and the median is recomputed until
    it converges. 50 mL of lesions are a tenth of white matter and would bias a plain median.

    Parameters
    ----------
    image : Image
        Bias-corrected; voxels of 0 or less are ignored.
    white_matter : Image
        Probability of white matter.
    brain : LabelImage

    Returns
    -------
    float

    Raises
    ------
    AnalysisError
        If there is too little white matter to measure.
    """
    values = image.data[brain.mask & (white_matter.data > _SURE_WHITE_MATTER) & (image.data > 0)]
    if values.size < _LEAST_VOXELS:
        raise AnalysisError(
            f"normalisation: expected at least {_LEAST_VOXELS} voxels of white matter, found {values.size}",
            hint="check the brain mask and the registration to the template",
        )
    kept = values
    for _ in range(METHOD.normalise.rounds):
        middle = float(median(kept))
        spread = robust_spread(kept, middle)
        inside = values[np.abs(values - middle) <= _TRIM * max(spread, 1e-6 * middle)]
        if inside.size == kept.size:
            break
        kept = inside
    return float(median(kept))


def match_visits(
    images: Sequence[Image],
    tissue: TissueMaps,
    brain: LabelImage,
    *,
    sigma_mm: float = METHOD.normalise.bias_sigma_mm,
) -> list[Image]:
    """Match the FLAIR intensities of all visits, fitted on normal tissue only.

    Scanners and sequences differ in the ratio of grey to white matter (measured: 1.06 and 1.18 in two visits of one
    patient). Thresholds relative to grey matter would therefore differ between visits. Each visit is mapped onto the
    mean of all visits by an offset proportional to the probability of grey matter and by a smooth factor. The
    offset needs the probability because intensity alone does not separate the two tissues. Both are fitted where all
    visits are in the normal range. A lesion that appeared or vanished is excluded, and is changed only as much as
    its surroundings.

    Parameters
    ----------
    images : sequence of Image
        Normalised FLAIRs of the visits, on one grid. The result does not depend on the order.
    tissue : TissueMaps
    brain : LabelImage
    sigma_mm : float
        Smoothness of the differential bias field.

    Returns
    -------
    list of Image
        In the same order. A single image is returned unchanged.

    Raises
    ------
    GridMismatchError
        If an image is on a different grid.
    """
    for image in images:
        image.grid.require_same(brain.grid, "brain mask")
    if len(images) < 2:
        return list(images)
    data = np.stack([image.data for image in images])
    low, high = _NORMAL_RANGE
    parenchyma = brain.mask & (tissue.white_matter.data + tissue.grey_matter.data > METHOD.normalise.parenchyma)
    normal = parenchyma & ((data > low) & (data < high)).all(axis=0)
    target = data.mean(axis=0)
    return [_matched(image, target, normal, tissue, sigma_mm) for image in images]


def _matched(image: Image, target: FloatArray, normal: BoolArray, tissue: TissueMaps, sigma_mm: float) -> Image:
    difference = target - image.data
    white, grey = (
        _median_where(difference, normal & (share.data > _SURE_WHITE_MATTER))
        for share in (tissue.white_matter, tissue.grey_matter)
    )
    mapped = image.data + (grey - white) * tissue.grey_matter.data
    ratio = np.log(np.maximum(target[normal], 1e-3) / np.maximum(mapped[normal], 1e-3))
    middle = float(median(ratio))
    spread = max(robust_spread(ratio, middle), METHOD.normalise.least_spread)
    agrees = np.zeros(normal.shape, dtype=np.float32)
    agrees[normal] = np.abs(ratio - middle) < _TRIM * spread
    log_ratio = np.zeros(normal.shape, dtype=np.float32)
    log_ratio[normal] = ratio
    field = _smooth_mean(Image(log_ratio, image.grid), Image(agrees, image.grid), sigma_mm)
    matched = np.where(image.data > 0, np.maximum(mapped, 0.0) * np.exp(field), 0.0)
    return Image(matched.astype(np.float32), image.grid)


def _median_where(values: FloatArray, where: BoolArray) -> float:
    found = values[where]
    return float(median(found)) if found.size >= _LEAST_VOXELS else 0.0


def _smooth_mean(values: Image, weights: Image, sigma_mm: float) -> FloatArray:
    """Weighted Gaussian mean, computed on a coarse grid and interpolated to the original grid."""
    spacing = sigma_mm / 4
    total = downsample(Image(values.data * weights.data, values.grid), spacing)
    weight = downsample(weights, spacing)
    sigma = [sigma_mm / s for s in weight.grid.spacing_mm]
    below = ndimage.gaussian_filter(weight.data, sigma) + 1e-3
    mean = Image(ndimage.gaussian_filter(total.data, sigma) / below, weight.grid)
    return np.asarray(resample(mean, values.grid, order=1, outside=0.0).data)
