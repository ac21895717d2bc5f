"""Motion within the slices of a scan: its detail along the rows and along the columns."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mri_pipeline.core.robust import median
from qc.slices.stack import SliceStack

_DETAIL_PER_MM: Final = (0.12, 0.2)
"""Frequencies of the detail whose correlation is compared in two directions."""

_SECTOR: Final = 2.0
"""Least ratio of the frequency along one axis to that along the other: within 27 degrees of the axis."""

_LEAST: Final = 1e-9
"""Avoids a division by 0."""


def coherence_ratio(stack: SliceStack) -> float | None:
    """Correlation of the detail of neighbouring slices along the rows relative to that along the columns.

    A head that moves while the lines of a slice are acquired displaces the detail along the phase-encoding direction,
    in every slice in another way. The detail along the frequency-encoding direction is hardly changed.

    Parameters
    ----------
    stack : SliceStack

    Returns
    -------
    float or None
        Of frequencies of 5 to 8 mm within 27 degrees of each axis; the median over the pairs of slices. None if there
        is no correlation along the columns.
    """
    slices = stack.data[stack.middle]
    weight = stack.faded[1:-1]
    mean = (slices * weight).sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), _LEAST)
    spectrum = fft.rfft2((slices - mean[:, None, None]) * weight)
    fy = np.abs(np.fft.fftfreq(slices.shape[1], stack.spacing_mm[0]))[:, None]
    fx = np.fft.rfftfreq(slices.shape[2], stack.spacing_mm[1])[None]
    radius = np.hypot(fy, fx)
    band = (radius > _DETAIL_PER_MM[0]) & (radius < _DETAIL_PER_MM[1])
    along_rows, along_columns = (
        _pair_correlation(spectrum[:, band & sector]) for sector in (fy > _SECTOR * fx, fx > _SECTOR * fy)
    )
    return along_rows / along_columns if along_columns > 0 else None


def _pair_correlation(values: NDArray[np.complex64]) -> float:
    """Median correlation of neighbouring slices over frequencies, shape (slices, frequencies)."""
    power = np.square(np.abs(values)).sum(axis=1)
    cross = np.real(values[1:] * np.conj(values[:-1])).sum(axis=1)
    return float(median(cross / np.maximum(np.sqrt(power[1:] * power[:-1]), _LEAST)))
