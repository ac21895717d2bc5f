"""Local contrast: brightness relative to the surrounding white matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import median, robust_spread
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import VisitImages
from mri_pipeline.lesions.t2.features import smoothed, standardised, surround

_CONSTANTS = METHOD.local_contrast


@dataclass(frozen=True)
class LocalContrast:
    """Brightness of an image, and its contrast to the surrounding white matter.

    Parameters
    ----------
    level : ndarray of float32, shape (x, y, z)
        Smoothed brightness in standard deviations of white matter; 0 is its mode.
    contrast : ndarray of float32, shape (x, y, z)
        Difference from the white matter within about 4 mm, in standard deviations of that difference in normal white
        matter. 0 where there is no white matter nearby.
    """

    level: NDArray[np.float32]
    contrast: NDArray[np.float32]


def local_contrast(image: Image, visit: VisitImages, tissue: TissueMaps) -> LocalContrast:
    """Contrast of an image to the white matter around each voxel.

    A lesion that is darker than grey matter elsewhere can be clearly brighter than its surroundings. The reference is
    the mean of normal white matter nearby, so that a remaining bias field and the normal differences between tracts
    have no effect.

    Parameters
    ----------
    image : Image
        White matter about 1.
    visit : VisitImages
        Provides the brain mask.
    tissue : TissueMaps

    Returns
    -------
    LocalContrast
    """
    standard = standardised(image, visit, tissue)
    level = smoothed(standard, visit.grid, _CONSTANTS.smoothing_mm)
    white = tissue.white_matter.data
    normal = visit.brain.mask & (white > _CONSTANTS.least_white_matter) & (np.abs(standard) < _CONSTANTS.normal_z)
    weight = np.where(normal, white, 0.0).astype(np.float32)
    difference = level - surround(standard, weight, visit.grid, _CONSTANTS.surround_mm, unknown=float("nan"))
    known = np.isfinite(difference)
    sure = visit.brain.mask & known & (white > _CONSTANTS.sure_white_matter)
    if not sure.any():
        return LocalContrast(level, np.zeros_like(level))
    middle = float(median(difference[sure]))
    spread = max(robust_spread(difference[sure], middle), _CONSTANTS.least_spread)
    return LocalContrast(level, np.where(known, (difference - middle) / spread, 0.0).astype(np.float32))
