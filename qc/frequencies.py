"""The spectrum of the slices: support of k-space, ghosts, spikes, lines of a single frequency, sharpness."""

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
_LOW: Final = (0.05, 0.3)
"""Frequencies of the other axis at which the power is read, in cycles per pixel, as far as they are sampled."""

LEAST_GHOST_SHIFT: Final = 0.28
"""Half of the shortest rectangular field of view, as a share of the image."""

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


@dataclass(frozen=True)
class SpectrumMeasures:
    """Measures of the spectrum of the slices.

    Parameters
    ----------
    support : (float, float)
        `support`.
    ghost_percent, spike_ratio, line_ratio, sharpness : float
        Functions of the same names.
    """

    support: tuple[float, float]
    ghost_percent: float
    spike_ratio: float
    line_ratio: float
    sharpness: float


def measure_spectrum(spectrum: Spectrum) -> SpectrumMeasures:
    """All measures of the spectrum.

    Parameters
    ----------
    spectrum : Spectrum

    Returns
    -------
    SpectrumMeasures
    """
    return SpectrumMeasures(
        support(spectrum),
        ghost_percent(spectrum),
        spike_ratio(spectrum),
        line_ratio(spectrum),
        sharpness(spectrum),
    )


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
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)[1:-1, 1:-1]
    share = np.clip((depth - _FADE_MM[0]) / (_FADE_MM[1] - _FADE_MM[0]), 0, 1)
    return np.asarray(np.sin(np.pi / 2 * share) ** 2, dtype=np.float32)


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
    f, log = frequency[order], np.log10(np.maximum(power[order], 1e-12))
    best, at = 0.0, 0.5
    for edge in np.arange(_MIN_SUPPORT / 2, 0.5 - _EDGE / 2, 0.004):
        below = log[(f > edge - _EDGE) & (f <= edge)]
        above = log[(f > edge) & (f <= edge + _EDGE)]
        if below.size < 3 or above.size < 3:
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


def ghost_percent(spectrum: Spectrum) -> float:
    """Strength of a copy of the image shifted by half of the field of view, also where the air is blanked.

    The autocorrelation of the fine detail is a narrow peak at zero. A copy makes a second peak at half of the acquired
    field of view along the phase direction. A rectangular field of view is acquired with fewer lines than the image
    has: its half is `LEAST_GHOST_SHIFT` to 1/2 of the image.

    Parameters
    ----------
    spectrum : Spectrum

    Returns
    -------
    float
        Height of the second peak above its surroundings relative to the first one, in percent, of the axis with more.
    """
    rows, columns = spectrum.slices.shape[1:]
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    radius = fy**2 + fx**2
    band = np.exp(-radius / (2 * 0.18**2)) - np.exp(-radius / (2 * 0.06**2))
    whitened = spectrum.mean * band**2
    auto = np.fft.irfft2(whitened, s=(rows, columns))
    values = []
    for axis, n in ((0, rows), (1, columns)):
        line = np.moveaxis(auto, axis, 0)[:, 0]
        peaks = line - ndimage.median_filter(line, n // 8 + 1, mode="wrap")
        shifts = slice(round(LEAST_GHOST_SHIFT * n), n // 2 + 1)
        values.append(100 * peaks[shifts].max() / max(float(auto[0, 0]), 1e-12))
    return float(max(values))


def spike_ratio(spectrum: Spectrum) -> float:
    """Largest power of one frequency of one slice relative to the power around it in all slices.

    Parameters
    ----------
    spectrum : Spectrum

    Returns
    -------
    float
        About 10 to 20 for k-space without spikes: the power of random values is exponentially distributed.
    """
    # the columns are half of the spectrum: only the rows are periodic
    around = ndimage.uniform_filter(np.median(spectrum.powers, axis=0), 7, mode=("wrap", "nearest"))
    rows, columns = spectrum.slices.shape[1:]
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    outside = (np.abs(fy) > 0.04) & (fx > 0.04)
    ratio = spectrum.powers.max(axis=0) / np.maximum(around, 1e-9)
    return float(ratio[outside].max())


def line_ratio(spectrum: Spectrum) -> float:
    """Largest deviation of a row or column from its neighbours, relative to the usual one.

    Interference of one frequency is a line through all slices, perpendicular to the readout (zipper).

    Parameters
    ----------
    spectrum : Spectrum

    Returns
    -------
    float
        About 1 to 2 without interference.
    """
    found = []
    for axis in (1, 2):
        data = np.moveaxis(spectrum.slices, axis, 0)
        residual = np.abs(data[1:-1] - (data[:-2] + data[2:]) / 2).mean(axis=(1, 2))
        usual = np.maximum(ndimage.median_filter(residual, 11, mode="nearest"), 0.05 * np.median(residual) + 1e-9)
        found.append(float((residual / usual).max()))
    return max(found)


def sharpness(spectrum: Spectrum) -> float:
    """Power of the detail of about 2 mm relative to that of about 7 mm, in decades.

    Parameters
    ----------
    spectrum : Spectrum

    Returns
    -------
    float
        A Gaussian blur of 3 mm (FWHM) lowers it by about 1.3.
    """
    rows, columns = spectrum.slices.shape[1:]
    fy = np.fft.fftfreq(rows, spectrum.spacing_mm[0])[:, None]
    fx = np.fft.rfftfreq(columns, spectrum.spacing_mm[1])[None]
    radius = np.hypot(fy, fx)
    fine = float(np.median(spectrum.mean[(radius > 0.20) & (radius < 0.26)]))
    coarse = float(np.median(spectrum.mean[(radius > 0.06) & (radius < 0.08)]))
    return float(np.log10(max(fine, 1e-12) / max(coarse, 1e-12)))
