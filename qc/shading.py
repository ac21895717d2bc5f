"""Shading of white matter: a smooth surface through the logarithm of its intensity."""

from __future__ import annotations

from typing import Final

import numpy as np

from mri_pipeline.core.robust import median, percentile, robust_spread
from mri_pipeline.core.spatial import BoolArray, FloatArray

_WITHOUT_SIGNAL: Final = 0.2
"""Signal of white matter relative to its median below which its logarithm is not fitted."""

_SHADING_PERCENT: Final = (5, 95)
"""Percentiles of the surface whose distance is the shading."""

_FITS: Final = 4
"""Number of fits of the surface, each with weights from the residuals of the one before."""

_OUTLIER: Final = 4.0
"""Residual in robust SD from which the weight is 0 (Tukey's bisquare): lesions and misplaced points."""

_LEAST_SPREAD: Final = 1e-6
"""Avoids a division by 0 if the surface fits exactly."""

_SCALE_MM: Final = 100.0
"""Unit of the coordinates of the surface, so that all its terms are of the same size."""


def with_signal(white: FloatArray) -> BoolArray:
    """Points of white matter that are bright enough for the logarithm of their intensity.

    Parameters
    ----------
    white : ndarray, shape (n,)
        Intensities; at least one.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    return np.asarray(white > _WITHOUT_SIGNAL * median(white))


def bias_percent(points_mm: FloatArray, white: FloatArray) -> float:
    """Shading of white matter: half of the range (5 to 95 %) of its surface.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        Points of white matter.
    white : ndarray, shape (n,)
        Their intensities.

    Returns
    -------
    float
        In percent.
    """
    used = with_signal(white)
    low, high = percentile(white_shading(points_mm[used], white[used], points_mm[used]), _SHADING_PERCENT)
    return float(100 * np.expm1((high - low) / 2))


def white_shading(points_mm: FloatArray, white: FloatArray, at_mm: FloatArray) -> FloatArray:
    """Quadratic surface through the logarithm of the intensity of white matter.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        Points of white matter.
    white : ndarray, shape (n,)
        Their intensities, positive.
    at_mm : ndarray, shape (m, 3)
        Points at which the surface is read.

    Returns
    -------
    ndarray, shape (m,)
    """
    design = _quadratic(points_mm)
    target = np.log(white)
    weights = np.ones_like(target)
    for _ in range(_FITS):
        root = np.sqrt(weights)[:, None]
        solution, *_ = np.linalg.lstsq(design * root, target * root[:, 0], rcond=None)
        residual = target - design @ solution
        spread = robust_spread(residual, centre=0.0) + _LEAST_SPREAD
        weights = np.clip(1 - (residual / (_OUTLIER * spread)) ** 2, 0, 1) ** 2
    return np.asarray(_quadratic(at_mm) @ solution)


def _quadratic(points_mm: FloatArray) -> FloatArray:
    x, y, z = points_mm.T / _SCALE_MM
    return np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
