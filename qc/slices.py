"""The slices of a scan against their neighbours: displaced, dark, alternating and doubled slices.

A 2D scan excites its slices one after the other. Each slice is compared with its two neighbours, which show nearly the
same anatomy. The measures use no mask of the slice itself: a dark slice is inside the head like its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from mri_pipeline.core.distances import deeper_than
from mri_pipeline.core.spatial import BoolArray, Image
from qc.planes import gradient

DEPTH_MM: Final = 10.0
"""Depth below the surface of the head that excludes scalp and skull."""

MIN_SLICES: Final = 8
"""Fewest slices of the middle of the head for a comparison with neighbours."""

ISOTROPIC: Final = 1.6
"""A scan whose header does not state it is a 3D acquisition if its slices are up to this multiple of its in-plane voxel
size, and at most 1.6 mm."""

_MIDDLE: Final = 0.6
"""Area of the head in a slice of the middle, as a share of the largest area."""

_KEPT: Final = 0.5
"""Area of the interior of a slice, as a share of that of its surroundings, below which its mask is lost."""

_SMOOTH_MM: Final = 2.0
_PIXEL_MM: Final = 1.0
"""In-plane spacing of the comparison."""

_MAX_SHIFT_MM: Final = 25.0
_LOW_PASS: Final = 0.2
"""Standard deviation of the low-pass filter of the correlation, in cycles per pixel."""
_EDGE_PIXELS: Final = 0.7
_MIN_VOXELS: Final = 100
_DETAIL_PER_MM: Final = (0.12, 0.2)
"""Frequencies of the detail whose correlation is compared in two directions."""


@dataclass(frozen=True)
class SliceStack:
    """The slices of a scan, in-plane averaged to about 1 mm.

    Parameters
    ----------
    data : ndarray of float32, shape (slices, rows, columns)
    inside : ndarray of bool, shape (slices, rows, columns)
        Head deeper than `DEPTH_MM`; mask of a slice, taken from its two neighbours.
    spacing_mm : tuple of float
        Distance of rows and columns.
    middle : ndarray of int, shape (n,)
        Indices of consecutive slices through the middle of the head, without the first and the last of the scan.
    axial : bool
        True if the rows run from left to right and the columns from back to front.
    """

    data: NDArray[np.float32]
    inside: BoolArray
    spacing_mm: tuple[float, float]
    middle: NDArray[np.intp]
    axial: bool = False


@dataclass(frozen=True)
class SliceMeasures:
    """Slices against their neighbours; None if no slice allows the measurement.

    Parameters
    ----------
    displacement_mm : float or None
        Largest in-plane displacement of a slice against the mean of its two neighbours.
    interleave_mm : float or None
        Mean displacement of odd against even slices: a head that moved between the two halves of an interleaved scan.
    step_percent : float or None
        Largest deviation of the intensity of a slice from its neighbours.
    alternation_percent : float or None
        Systematic difference of the intensity of odd and even slices.
    neighbour_difference : float or None
        Smallest difference of two neighbouring slices as a share of the usual one. 0 for the same anatomy twice.
    coherence_ratio : float or None
        `coherence_ratio`; None for slices that are not axial.
    """

    displacement_mm: float | None
    interleave_mm: float | None
    step_percent: float | None
    alternation_percent: float | None
    neighbour_difference: float | None
    coherence_ratio: float | None = None


def slice_stack(image: Image, head: BoolArray, *, three_d: bool | None = None) -> SliceStack | None:
    """The slices of a 2D scan for the comparison with their neighbours.

    Parameters
    ----------
    image : Image
        In the axis order of `head`, with the axes within the slices in RAS order.
    head : ndarray of bool, shape `image.grid.shape`
    three_d : bool, optional
        Whether the scan is a 3D acquisition, by its header. None: by its voxel size (`ISOTROPIC`).

    Returns
    -------
    SliceStack or None
        None for a 3D acquisition, and for fewer than `MIN_SLICES` slices of the middle of the head.
    """
    axis = image.grid.slice_axis
    spacing = [s for a, s in enumerate(image.grid.spacing_mm) if a != axis]
    across = image.grid.spacing_mm[axis]
    if across <= ISOTROPIC * min(1.0, max(spacing)) if three_d is None else three_d:
        return None
    step = [max(1, round(_PIXEL_MM / s)) for s in spacing]
    data, mask = _averaged(np.moveaxis(image.data, axis, 0), step), np.moveaxis(head, axis, 0)
    mask = mask[:, : data.shape[1] * step[0] : step[0], : data.shape[2] * step[1] : step[1]]
    mm = (spacing[0] * step[0], spacing[1] * step[1])
    areas = mask.reshape(len(mask), -1).sum(axis=1).astype(float)
    areas = ndimage.median_filter(areas, 3)  # a dark slice has no head of its own
    large = np.flatnonzero(areas > _MIDDLE * areas.max(initial=1.0))
    if large.size == 0:
        return None
    middle = np.arange(max(large[0], 1), min(large[-1] + 1, len(data) - 1))
    if middle.size < MIN_SLICES:
        return None
    rows, columns = (
        slice(max(found[0] - 8, 0), found[-1] + 9)
        for found in (np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    )
    data, mask = np.ascontiguousarray(data[:, rows, columns]), mask[:, rows, columns]
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))  # the edge of a slice is a surface
    deep = deeper_than(padded, DEPTH_MM, (np.inf, *mm))[:, 1:-1, 1:-1]
    return SliceStack(
        data,
        _as_neighbours_show(deep),
        mm,
        middle,
        axial=bool(np.argmax(np.abs(image.grid.affine[:3, axis])) == 2),
    )


def _as_neighbours_show(deep: BoolArray) -> BoolArray:
    """Interior of each slice by the nearest slices below and above whose own mask is not lost, as in dark slices."""
    areas = deep.reshape(len(deep), -1).sum(axis=1)
    seen = np.flatnonzero(areas > _KEPT * ndimage.median_filter(areas, 5))
    inside = deep.copy()
    for i in range(len(deep)):
        below, above = seen[seen < i], seen[seen > i]
        if below.size and above.size:
            inside[i] = deep[below[-1]] & deep[above[0]]
    return inside


def _averaged(data: NDArray[np.float32], step: list[int]) -> NDArray[np.float32]:
    if step == [1, 1]:
        return data
    n, rows, columns = data.shape
    rows, columns = rows // step[0], columns // step[1]
    cut = data[:, : rows * step[0], : columns * step[1]]
    return np.asarray(cut.reshape(n, rows, step[0], columns, step[1]).mean(axis=(2, 4)), dtype=np.float32)


def measure_slices(stack: SliceStack) -> SliceMeasures:
    """Compare each slice of the middle of the head with its neighbours.

    Parameters
    ----------
    stack : SliceStack

    Returns
    -------
    SliceMeasures
    """
    shifts = displacements_mm(stack)
    logs = log_ratios(stack)
    signs = np.where(np.arange(logs.size) % 2 == 0, 1.0, -1.0)
    displacements = _measured(np.hypot(*against_neighbours(shifts).T))
    differences = _measured(signs[:, None] * shifts)
    known = _measured(logs)
    doubled = neighbour_differences(stack)
    alternating = _measured(signs * logs - signs * np.median(known)) if known.size else known
    return SliceMeasures(
        displacement_mm=float(displacements.max()) if displacements.size else None,
        interleave_mm=float(np.hypot(*differences.mean(axis=0))) if differences.size else None,
        step_percent=float(100 * -np.expm1(-np.abs(known).max())) if known.size else None,
        alternation_percent=float(100 * abs(alternating.mean())) if known.size else None,
        neighbour_difference=None if doubled.size == 0 else float(np.nanmin(doubled)),
        coherence_ratio=coherence_ratio(stack) if stack.axial else None,
    )


def _measured(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values of the slices that were measured, NaN in the others."""
    return values[np.isfinite(values.reshape(len(values), -1)).all(axis=1)]


def log_ratios(stack: SliceStack) -> NDArray[np.float64]:
    """Logarithm of the intensity of each slice relative to the mean of its neighbours.

    Parameters
    ----------
    stack : SliceStack

    Returns
    -------
    ndarray, shape (n,)
        Of the slices of the middle; NaN with too few voxels.
    """
    found = []
    for i in stack.middle:
        mean = (stack.data[i - 1] + stack.data[i + 1]) / 2
        used = stack.inside[i] & (mean > 0)
        enough = np.count_nonzero(used) >= _MIN_VOXELS
        ratio = float(np.median(stack.data[i][used] / mean[used])) if enough else np.nan
        found.append(np.log(np.maximum(ratio, 1e-3)))
    return np.array(found)


def against_neighbours(shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement of inner slices: their own shift and the opposite half shifts of their neighbours.

    Parameters
    ----------
    shifts : ndarray, shape (n, 2)
        Of `displacements_mm`.

    Returns
    -------
    ndarray, shape (n - 2, 2)
        In mm, without the first and the last slice of `shifts`.
    """
    return np.asarray((shifts[1:-1] - (shifts[:-2] + shifts[2:]) / 2) / 1.5)


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
    spectra = [
        _edge_spectrum(*pair) for pair in zip(stack.data[first:last], stack.inside[first:last], strict=True)
    ]
    spectrum = np.stack(spectra)
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    cross = spectrum[1:-1] * np.conj((spectrum[:-2] + spectrum[2:]) / 2)
    cross *= np.exp(-(fy**2 + fx**2) / (2 * _LOW_PASS**2)).astype(np.float32)
    surface = fft.irfft2(cross, s=(rows, columns))
    return np.array([_peak_mm(plane, stack.spacing_mm) for plane in surface])


def _edge_spectrum(plane: NDArray[np.float32], inside: BoolArray) -> NDArray[np.complex64]:
    edges = gradient(ndimage.gaussian_filter(plane, _EDGE_PIXELS))
    usual = float(np.median(edges[inside])) if inside.any() else 0.0
    edges = np.log1p(edges / max(usual, 1e-9))
    weight = ndimage.gaussian_filter(inside.astype(np.float32), 3)
    mean = float((edges * weight).sum() / max(float(weight.sum()), 1e-9))
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
    weight = ndimage.gaussian_filter(stack.inside[stack.middle].astype(np.float32), (0, 3, 3))
    mean = (slices * weight).sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1e-9)
    spectrum = fft.rfft2((slices - mean[:, None, None]) * weight)
    fy = np.abs(np.fft.fftfreq(slices.shape[1], stack.spacing_mm[0]))[:, None]
    fx = np.fft.rfftfreq(slices.shape[2], stack.spacing_mm[1])[None]
    radius = np.hypot(fy, fx)
    band = (radius > _DETAIL_PER_MM[0]) & (radius < _DETAIL_PER_MM[1])
    along_rows, along_columns = (
        _pair_correlation(spectrum[:, band & sector]) for sector in (fy > 2 * fx, fx > 2 * fy)
    )
    return along_rows / along_columns if along_columns > 0 else None


def _pair_correlation(values: NDArray[np.complex64]) -> float:
    """Median correlation of neighbouring slices over frequencies, shape (slices, frequencies)."""
    power = np.square(np.abs(values)).sum(axis=1)
    cross = np.real(values[1:] * np.conj(values[:-1])).sum(axis=1)
    return float(np.median(cross / np.maximum(np.sqrt(power[1:] * power[:-1]), 1e-9)))


def neighbour_differences(stack: SliceStack) -> NDArray[np.float64]:
    """Difference of each pair of neighbouring slices relative to the local median. Noise is removed by smoothing.

    Parameters
    ----------
    stack : SliceStack

    Returns
    -------
    ndarray, shape (n + 1,)
        The first is that of the slice before the middle and the first of the middle; NaN for a pair with too few
        voxels. Empty if fewer than `MIN_SLICES` pairs were measured.
    """
    sigma = [_SMOOTH_MM / s for s in stack.spacing_mm]
    first, last = stack.middle[0] - 1, stack.middle[-1] + 2
    smooth = ndimage.gaussian_filter(stack.data[first:last], (0, *sigma))
    inside = stack.inside[first:last]
    pairs = zip(smooth[:-1], smooth[1:], inside[:-1] & inside[1:], strict=True)
    differences = [_relative_difference(one[used], other[used]) for one, other, used in pairs]
    found = np.array(differences, dtype=np.float64)
    known = np.isfinite(found)
    values = found[known]
    if values.size < MIN_SLICES:
        return np.zeros(0)
    found[known] = values / np.maximum(ndimage.median_filter(values, 9, mode="nearest"), 1e-9)
    return found


def _relative_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Median difference of two slices, each relative to its own median; NaN if they have too few voxels."""
    if one.size < _MIN_VOXELS or min(np.median(one), np.median(other)) <= 0:
        return float("nan")
    return float(np.median(np.abs(one / np.median(one) - other / np.median(other))))
