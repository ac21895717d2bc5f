"""Measures of the spectrum of the slices: ghosts, spikes, lines of a single frequency, sharpness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from mri_pipeline.core.robust import median
from qc.spectrum import Spectrum, support

LEAST_GHOST_SHIFT: Final = 0.28
"""Half of the shortest rectangular field of view, as a share of the image."""

_GHOST_BAND: Final = (0.18, 0.06)
"""Standard deviations of the two Gaussians whose difference is the band of the autocorrelation, in cycles per pixel."""

_GHOST_AROUND: Final = 8
"""The level around a peak is the median over this part of the image."""

_SPIKE_AROUND: Final = 7
"""Frequencies along both axes whose mean power is the power around a frequency."""

_NO_SPIKE: Final = 0.04
"""Frequencies up to this one are not searched for spikes, in cycles per pixel: the power of the head is steep there."""

_LINES_AROUND: Final = 11
"""Rows or columns whose median deviation is the usual one."""

_LEAST_OF_LINES: Final = 0.05
"""Smallest usual deviation of a row or column, as a share of the median of all: rows of air have none."""

_FINE_PER_MM: Final = (0.20, 0.26)
_COARSE_PER_MM: Final = (0.06, 0.08)
"""Bands whose powers are compared. Half of a period is about 2 mm and 7 mm."""

_LEAST: Final = 1e-12
"""Avoids a division by 0 and the logarithm of 0."""


@dataclass(frozen=True)
class SpectrumMeasures:
    """Measures of the spectrum of the slices.

    Parameters
    ----------
    support : (float, float)
        `qc.spectrum.support`.
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
        Height of the second peak above its surroundings relative to the first one, in percent; the larger value
        of both axes.
    """
    rows, columns = spectrum.slices.shape[1:]
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    radius = fy**2 + fx**2
    wide, narrow = (np.exp(-radius / (2 * width**2)) for width in _GHOST_BAND)
    whitened = spectrum.mean * (wide - narrow) ** 2
    auto = np.fft.irfft2(whitened, s=(rows, columns))
    values = []
    for axis, n in ((0, rows), (1, columns)):
        line = np.moveaxis(auto, axis, 0)[:, 0]
        peaks = line - ndimage.median_filter(line, n // _GHOST_AROUND + 1, mode="wrap")
        shifts = slice(round(LEAST_GHOST_SHIFT * n), n // 2 + 1)
        values.append(100 * peaks[shifts].max() / max(float(auto[0, 0]), _LEAST))
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
    ordered = np.sort(spectrum.powers, axis=0)  # four times as fast as np.median along the first axis
    median = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1].mean(axis=0)
    around = ndimage.uniform_filter(median, _SPIKE_AROUND, mode=("wrap", "nearest"))
    rows, columns = spectrum.slices.shape[1:]
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    outside = (np.abs(fy) > _NO_SPIKE) & (fx > _NO_SPIKE)
    ratio = ordered[-1] / np.maximum(around, 1e-9)
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
        around = ndimage.median_filter(residual, _LINES_AROUND, mode="nearest")
        usual = np.maximum(around, _LEAST_OF_LINES * median(residual) + 1e-9)
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
    fine, coarse = (
        float(median(spectrum.mean[(radius > low) & (radius < high)]))
        for low, high in (_FINE_PER_MM, _COARSE_PER_MM)
    )
    return float(np.log10(max(fine, _LEAST) / max(coarse, _LEAST)))
