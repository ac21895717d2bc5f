"""Difference of the signals of grey and white matter, without a segmentation."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_multiotsu

from mri_pipeline.core.distances import deeper_than
from mri_pipeline.core.robust import median, percentile
from mri_pipeline.core.spatial import BoolArray, Image
from mri_pipeline.core.visits import Contrast
from qc.head import WORK_MM
from qc.planes import mean_at, smoothed

_BRAIN_DEPTH_MM: Final = 20.0
"""Depth below the head's surface that excludes scalp, skull and most cortex."""

_BRAIN_HEIGHT_MM: Final = 90.0
"""Height of the brain in the head, from the vertex to about the midbrain."""

_DARK_CSF: Final = frozenset({Contrast.T1W, Contrast.T1W_GD, Contrast.FLAIR})
"""Contrasts in which CSF is darker than grey and white matter. In the others it is the brightest class."""

_SHADING_MM: Final = 30.0
"""Standard deviation of the smoothing that gives the shading of the coil."""

_AVERAGED: Final = 3
"""In-plane neighbourhood, in voxels, whose mean is classified: noise broadens the classes."""

_LEAST_VOXELS: Final = 200
"""Fewest voxels of the interior."""

_TAIL_PERCENT: Final = 1.0
"""Share of the darkest and of the brightest voxels that is left out: vessels, and voxels outside of the brain."""

_LEAST_VALUES: Final = 10
"""Fewest different intensities for three classes."""


def tissue_difference(image: Image, head: BoolArray, contrast: Contrast) -> float | None:
    """Difference between the signals of grey and white matter in the interior of the upper head.

    The classes are those of a three-class Otsu threshold, after the shading of the coil was removed.

    Parameters
    ----------
    image : Image
        In RAS order.
    head : ndarray of bool, shape `image.grid.shape`
    contrast : Contrast
        Determines which of the three classes is CSF.

    Returns
    -------
    float or None
        Difference of the medians, in intensity units of the image. None for a small or uniform interior.
    """
    spacing = image.grid.spacing_mm
    step = tuple(max(1, round(WORK_MM / s)) for s in spacing)
    coarse_head = head[:: step[0], :: step[1], :: step[2]]
    mm = [n * s for n, s in zip(step, spacing, strict=True)]
    top = int(np.flatnonzero(coarse_head.any(axis=(0, 1))).max(initial=0))
    lowest = max(0, round(top - _BRAIN_HEIGHT_MM / (spacing[2] * step[2])))
    deep = deeper_than(coarse_head, _BRAIN_DEPTH_MM, mm)
    deep[:, :, :lowest] = False
    if np.count_nonzero(deep) < _LEAST_VOXELS:
        return None
    size = [1 if axis == image.grid.slice_axis else _AVERAGED for axis in range(3)]
    averaged = mean_at(image.data, size, step)
    flat = averaged / _slow_shading(averaged, deep, mm)
    values = flat[deep]
    darkest, brightest = percentile(values, _TAIL_PERCENT), percentile(values, 100 - _TAIL_PERCENT)
    values = values[(values > darkest) & (values < brightest)]
    if np.unique(values).size < _LEAST_VALUES:
        return None
    low, high = threshold_multiotsu(values, classes=3)
    medians = [
        float(median(part)) if part.size else np.nan
        for part in (values[values < low], values[(values >= low) & (values < high)], values[values >= high])
    ]
    pair = (1, 2) if contrast in _DARK_CSF else (0, 1)
    difference = abs(medians[pair[1]] - medians[pair[0]])
    return difference if np.isfinite(difference) else None


def _slow_shading(data: NDArray[np.float32], mask: BoolArray, spacing_mm: list[float]) -> NDArray[np.float32]:
    """Shading of the coil relative to its mean; 1 outside of the mask."""
    sigma = [_SHADING_MM / s for s in spacing_mm]
    weight = smoothed(mask.astype(np.float32), sigma)
    shade = smoothed(np.where(mask, data, 0).astype(np.float32), sigma) / np.maximum(weight, 1e-3)
    return np.asarray(
        np.where(mask, np.maximum(shade, 1e-6) / max(float(shade[mask].mean()), 1e-6), 1), np.float32
    )
