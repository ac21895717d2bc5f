"""Noise of a scan, from smooth tissue and from air."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.robust import median, percentile
from mri_pipeline.core.spatial import BoolArray
from qc.planes import eroded, gradient, second_difference
from qc.spectrum import difference_gain

_AIR_STD: Final = 0.68
"""Ratio of the standard deviation of magnitude noise in air to sigma: 0.655 (one coil) to 0.707 (many coils).
Constantinides 1997."""

_NOISE_SLICES: Final = 32
"""Noise and signal are measured in at most twice as many slices, evenly distributed."""

_SMOOTHING: Final = 1.5
"""Standard deviation of the Gaussian before the gradient, in voxels."""

_REACH: Final = 8
"""Reach of the filters of the noise in voxels: the Gaussian, cut at four SD, and a Sobel filter."""

_LEAST_VOXELS: Final = 100
"""Fewest voxels of the interior of the head."""

_FLAT_PERCENT: Final = 33
"""Percentile of the gradient up to which the brighter half is smooth tissue: no edges, air cells or CSF."""

_MAD_OF_NOISE: Final = 0.6745
"""Median of the magnitude of normal noise with a mean of 0 and a standard deviation of 1.

Not the inverse of `mri_pipeline.core.robust.MAD_TO_SIGMA`: the stored measures would move in the fifth digit."""

_CORNER: Final = 10
"""A corner is this part of rows and columns, at least `_LEAST_CORNER` of them."""
_LEAST_CORNER: Final = 4

_WITH_SIGNAL: Final = 0.9
"""Share of air with a signal below which the scanner blanked it, as `qc.field_scan.AIR_WITH_SIGNAL`."""


def noise_and_signal(
    data: NDArray[np.float32], head: BoolArray, support: tuple[float, float]
) -> tuple[float, float]:
    """Noise and signal of smooth tissue of a scan.

    The noise is the larger of two estimates: from second differences in smooth tissue (Immerkaer 1996), and from the
    corner of air with the lowest signal (Constantinides 1997).

    Parameters
    ----------
    data : ndarray of float32, shape (slices, rows, columns)
    head : ndarray of bool, shape (slices, rows, columns)
        Head mask.
    support : tuple of float
        Share of k-space that was acquired along both in-plane axes (`qc.spectrum.support`).

    Returns
    -------
    noise : float
        Standard deviation of the noise, in intensity units of the image.
    signal : float
        Median of smooth tissue, in the same units. Both are 0 without tissue.
    """
    inside = eroded(eroded(head))
    if np.count_nonzero(inside) < _LEAST_VOXELS:
        return 0.0, 0.0
    air = _air_noise(data, head)
    used = np.flatnonzero(inside.any(axis=(1, 2)))
    some = used[:: max(1, len(used) // _NOISE_SLICES)]
    rows, columns = _near(inside)
    data, inside = data[some, rows, columns], inside[some, rows, columns]
    # the kernel is [1, -2, 1] along both axes (Immerkaer 1996): variance 36 sigma², less for zero-filled k-space
    gain = np.sqrt(difference_gain(support[0]) * difference_gain(support[1]))
    smooth = [ndimage.gaussian_filter(plane, _SMOOTHING) for plane in data]
    near = [smooth[0], *smooth, smooth[-1]]  # a Sobel filter in 3D also averages across the slices
    slope = np.stack([gradient(a + 2 * b + c) for a, b, c in zip(near, near[1:], near[2:], strict=False)])
    bright = inside & (data > median(data[inside]))
    if not bright.any():
        return 0.0, 0.0
    flat = bright & (slope <= percentile(slope[bright], _FLAT_PERCENT))
    response = np.concatenate([second_difference(plane)[chosen] for plane, chosen in zip(data, flat, strict=True)])
    by_differences = float(median(np.abs(response))) / _MAD_OF_NOISE / float(gain)
    return max(by_differences, air), float(median(data[flat]))


def _near(region: BoolArray) -> tuple[slice, slice]:
    """Rows and columns of a region with a margin: filters of this reach have the same results in it."""
    spans = (np.flatnonzero(region.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    rows, columns = (slice(max(span[0] - _REACH, 0), span[-1] + _REACH + 1) for span in spans)
    return rows, columns


def _air_noise(data: NDArray[np.float32], head: BoolArray) -> float:
    """Noise in the in-plane corner with the lowest signal, without head and not blanked; 0 if there is none."""
    rows, columns = (max(_LEAST_CORNER, n // _CORNER) for n in data.shape[1:])
    found = []
    for corner in (
        np.s_[:, :rows, :columns], np.s_[:, :rows, -columns:], np.s_[:, -rows:, :columns], np.s_[:, -rows:,
        -columns:],
    ):  # fmt: skip
        values = data[corner]
        if not head[corner].any() and np.count_nonzero(values) > _WITH_SIGNAL * values.size:
            # a mean that differs between slices is no noise
            found.append(float((values - values.mean(axis=(1, 2), keepdims=True)).std()) / _AIR_STD)
    return min(found, default=0.0)
