"""In-plane displacement of slices against their neighbours, by correlation of their edges."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import BoolArray
from qc.planes import gradient
from qc.slices.stack import SliceStack

_MAX_SHIFT_MM: Final = 25.0
"""Largest displacement that is searched for: a head in a coil does not move further between two slices."""


_LOW_PASS: Final = 0.2
"""Standard deviation of the low-pass filter of the correlation, in cycles per pixel."""

_EDGE_PIXELS: Final = 0.7
"""Standard deviation of the smoothing before the gradient."""

_OF_NEIGHBOURS: Final = 1.5
"""A slice displaced by d is shifted by d against its neighbours, and each of them by about -d / 2: d + d / 2."""

_LEAST: Final = 1e-9
"""Avoids a division by 0."""


def against_neighbours(shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement of each inner slice: its own shift minus half of the shifts of its two neighbours, rescaled.

    Parameters
    ----------
    shifts : ndarray, shape (n, 2)
        Of `displacements_mm`.

    Returns
    -------
    ndarray, shape (n - 2, 2)
        In mm, without the first and the last slice of `shifts`.
    """
    return np.asarray((shifts[1:-1] - (shifts[:-2] + shifts[2:]) / 2) / _OF_NEIGHBOURS)


def displacements_mm(stack: SliceStack) -> NDArray[np.float64]:
    """In-plane displacement of each slice by correlation of its edges with those of its neighbours.

    The logarithm of the gradient gives faint and strong edges a similar weight. Scalp and skull, whose outline changes
    with the height, are left out.

    Parameters
    ----------
    stack : SliceStack

    Returns
    -------
    ndarray, shape (n, 2)
        Of the slices of the middle; NaN for a slice without interior.
    """
    first, last = stack.middle[0] - 1, stack.middle[-1] + 2
    rows, columns = stack.data.shape[1:]
    planes = zip(stack.data[first:last], stack.inside[first:last], stack.faded, strict=True)
    spectrum = np.stack([_edge_spectrum(*plane) for plane in planes])
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    cross = spectrum[1:-1] * np.conj((spectrum[:-2] + spectrum[2:]) / 2)
    cross *= np.exp(-(fy**2 + fx**2) / (2 * _LOW_PASS**2)).astype(np.float32)
    surface = fft.irfft2(cross, s=(rows, columns))
    return np.array([_peak_mm(plane, stack.spacing_mm) for plane in surface])


def _edge_spectrum(
    plane: NDArray[np.float32], inside: BoolArray, weight: NDArray[np.float32]
) -> NDArray[np.complex64]:
    edges = gradient(ndimage.gaussian_filter(plane, _EDGE_PIXELS))
    usual = float(median(edges[inside])) if inside.any() else 0.0
    edges = np.log1p(edges / max(usual, _LEAST))
    mean = float((edges * weight).sum() / max(float(weight.sum()), _LEAST))
    return np.asarray(fft.rfft2((edges - mean) * weight))


def _peak_mm(surface: NDArray[np.float32], spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Shift of the highest point, with the vertex of a parabola along each axis; NaN without one."""
    if not surface.any():
        return np.nan, np.nan
    reach = [min(int(_MAX_SHIFT_MM / s), n // 2 - 1) for s, n in zip(spacing_mm, surface.shape, strict=True)]
    window = np.roll(surface, (reach[0], reach[1]), axis=(0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
    row, column = (int(k) for k in np.unravel_index(int(window.argmax()), window.shape))
    return (
        (row - reach[0] + _vertex(window[:, column], row)) * spacing_mm[0],
        (column - reach[1] + _vertex(window[row], column)) * spacing_mm[1],
    )


def _vertex(profile: NDArray[np.float32], k: int) -> float:
    """Offset of the vertex of the parabola through a peak and its neighbours."""
    if not 0 < k < profile.size - 1:
        return 0.0
    below, here, above = profile[k - 1 : k + 2].astype(float)
    bend = below - 2 * here + above
    return float(0.5 * (below - above) / bend) if bend < 0 else 0.0
