"""Power spectrum of the slices of a scan, and the part of k-space that was acquired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from mri_pipeline.core.spatial import BoolArray, FloatArray

MAX_SLICES: Final = 64
"""The spectrum is that of at most this many slices of the middle of the head: all slices of a 2D scan."""

_INNER_SLICES: Final = 8
"""Number of slices for the spectrum of the inner part of the head."""

_EDGE: Final = 0.06
"""Width of the bands on both sides of an edge of the support, in cycles per pixel."""

_DROP: Final = 0.8
"""Decades by which the power drops at an edge of the support. Untouched spectra fall by 0.3 per such band inside of the
support, and by 1.2 to 1.9 at its edge (20 scans of the Ljubljana longitudinal data)."""

_MIN_SUPPORT: Final = 0.25
"""Smallest support that is searched for."""

_STEP: Final = 0.004
"""Step of the search for the edge, in cycles per pixel."""

_LEAST_SAMPLES: Final = 3
"""Fewest frequencies of a band."""

_LOW: Final = (0.05, 0.3)
"""Frequencies of the other axis at which the power is read, in cycles per pixel, as far as they are sampled."""

_LEAST_POWER: Final = 1e-12
"""Avoids the logarithm of 0."""

_FADE_MM: Final = (4.0, 16.0)
"""Depths below the surface of the head between which the window of the inner part rises from 0 to 1."""


@dataclass(frozen=True)
class Spectrum:
    """Mean power of the slices.

    Parameters
    ----------
    slices : ndarray of float32, shape (n, rows, columns)
    powers : ndarray, shape (n, rows, columns // 2 + 1)
        Squared magnitude of the real two-dimensional Fourier transform of each slice.
    mean : ndarray, shape (rows, columns // 2 + 1)
    inner : ndarray, shape (rows, columns // 2 + 1)
        Mean power of the inner part of the head, which fades out smoothly: the edge of blanked air has all frequencies.
    spacing_mm : tuple of float
        Distance of rows and columns.
    """

    slices: NDArray[np.float32]
    powers: NDArray[np.float32]
    mean: NDArray[np.float32]
    inner: NDArray[np.float32]
    spacing_mm: tuple[float, float]


def spectrum_of(data: NDArray[np.float32], head: BoolArray, spacing_mm: tuple[float, float]) -> Spectrum:
    """Power of up to `MAX_SLICES` slices.

    Parameters
    ----------
    data : ndarray of float32, shape (slices, rows, columns)
        Slices with content.
    head : ndarray of bool, shape (slices, rows, columns)
    spacing_mm : tuple of float
        Distance of rows and columns.

    Returns
    -------
    Spectrum
    """
    step = max(1, -(-len(data) // MAX_SLICES))
    some, inside = np.ascontiguousarray(data[step // 2 :: step]), head[step // 2 :: step]
    powers = np.abs(fft.rfft2(some)) ** 2
    few = slice(None, None, max(1, len(some) // _INNER_SLICES))
    faded = some[few] * np.stack([_window(mask, spacing_mm) for mask in inside[few]])
    inner = (np.abs(fft.rfft2(faded)) ** 2).mean(axis=0)
    return Spectrum(some, powers, powers.mean(axis=0), inner, spacing_mm)


def _window(mask: BoolArray, spacing_mm: tuple[float, float]) -> NDArray[np.float32]:
    """1 in the depth of the head, 0 at its surface, with a smooth transition."""
    window = np.zeros(mask.shape, dtype=np.float32)
    if not mask.any():
        return window
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)  # the surface is in it, or beside it
    depth = ndimage.distance_transform_edt(np.pad(mask[box], 1), sampling=spacing_mm)[1:-1, 1:-1]
    share = np.clip((depth - _FADE_MM[0]) / (_FADE_MM[1] - _FADE_MM[0]), 0, 1)
    window[box] = np.sin(np.pi / 2 * share) ** 2
    return window


def support(spectrum: Spectrum) -> tuple[float, float]:
    """Sampled part of k-space along rows and columns: 1 without zero-filling.

    Parameters
    ----------
    spectrum : Spectrum

    Returns
    -------
    (float, float)
        Along the first and the second axis, from the drop of the power at the edge of the sampled frequencies. 1 for
        supports below 0.25, and for two below 0.35.
    """
    mean = spectrum.inner
    rows, columns = spectrum.slices.shape[1:]
    fy, fx = np.abs(np.fft.fftfreq(rows)), np.fft.rfftfreq(columns)
    along_rows, along_columns = 1.0, 1.0
    for _ in range(2):  # the support of each axis limits the frequencies for the other one
        along_rows = _edge(fy, np.median(mean[:, _low(fx, along_columns)], axis=1))
        along_columns = _edge(fx, np.median(mean[_low(fy, along_rows)], axis=0))
    return along_rows, along_columns


def _low(frequency: FloatArray, sampled: float) -> BoolArray:
    return (frequency > _LOW[0]) & (frequency < min(_LOW[1], sampled / 2))


def _edge(frequency: FloatArray, power: FloatArray) -> float:
    order = np.argsort(frequency)
    f, log = frequency[order], np.log10(np.maximum(power[order], _LEAST_POWER))
    best, at = 0.0, 0.5
    for edge in np.arange(_MIN_SUPPORT / 2, 0.5 - _EDGE / 2, _STEP):
        below = log[(f > edge - _EDGE) & (f <= edge)]
        above = log[(f > edge) & (f <= edge + _EDGE)]
        if min(below.size, above.size) < _LEAST_SAMPLES:
            continue
        drop = float(below.mean() - above.mean())
        if drop > best:
            best, at = drop, float(edge)
    return 2 * at if best >= _DROP else 1.0


def difference_gain(q: float) -> float:
    """Mean power of the second difference over noise that is limited to frequencies up to q / 2.

    Parameters
    ----------
    q : float
        Sampled part of k-space, above 0 to 1.

    Returns
    -------
    float
        6 for full support.

    Examples
    --------
    >>> round(difference_gain(1.0), 6)
    6.0
    """
    return float(6 - 8 * np.sinc(q) + 2 * np.sinc(2 * q))
