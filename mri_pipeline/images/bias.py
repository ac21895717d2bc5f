"""Bias field correction by N4 on a coarse grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.method.intensities import BiasSettings
from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image, LabelImage
from mri_pipeline.images.sampling import downsample

_ORDER = 3


def correct_bias(image: Image, brain: LabelImage, *, settings: BiasSettings | None = None) -> Image:
    """Divide an image by its bias field.

    Parameters
    ----------
    image : Image
    brain : LabelImage
        Brain mask on the grid of the image. The field is estimated there and extrapolated smoothly outside.
    settings : BiasSettings, optional

    Returns
    -------
    Image
        Same grid; the field has a geometric mean of 1 in the brain, so the image keeps its scale.

    Raises
    ------
    GridMismatchError
        If the mask is on a different grid.
    AnalysisError
        If the image is empty within the mask.
    """
    log_field = log_bias(image, brain, settings=settings)
    return Image((image.data * np.exp(-log_field)).astype(np.float32), image.grid)


def log_bias(image: Image, brain: LabelImage, *, settings: BiasSettings | None = None) -> NDArray[np.float32]:
    """Natural logarithm of the bias field on the grid of the image, with mean 0 over the voxels used.

    Parameters
    ----------
    image : Image
    brain : LabelImage
        Brain mask on the grid of the image.
    settings : BiasSettings, optional

    Returns
    -------
    ndarray of float32, shape `image.grid.shape`
        No unit; subtract it from the logarithm of the image to correct the bias.

    Raises
    ------
    GridMismatchError
        If the mask is on a different grid.
    AnalysisError
        If the image is empty within the mask.
    """
    settings = settings or BiasSettings()
    image.grid.require_same(brain.grid, "brain mask")
    values = image.data[brain.mask]
    if np.count_nonzero(values > 0) < settings.least_voxels:
        raise AnalysisError("bias correction: expected positive intensities in the brain mask, found none")
    middle = float(median(values[values > 0]))
    low, high = (share * middle for share in settings.usable_range)
    usable = brain.mask & (image.data > low) & (image.data < high)
    weight = downsample(Image(usable.astype(np.float32), image.grid), settings.grid_mm)
    total = downsample(Image(np.where(usable, image.data, 0.0), image.grid), settings.grid_mm)
    # means over the usable voxels of each block; blocks with too few of them are excluded
    mask = weight.data > settings.least_share
    log_data = np.log(total.data[mask] / weight.data[mask] / middle)
    to_coarse = np.linalg.inv(total.grid.affine) @ image.grid.affine
    positions = [
        np.clip(np.arange(n) * to_coarse[a, a] + to_coarse[a, 3], 0, total.grid.shape[a] - 1)
        for a, n in enumerate(image.grid.shape)
    ]
    field = _n4(log_data.astype(np.float64), mask, positions, settings)
    return np.asarray(field - field[usable].mean(), dtype=np.float32)


def _n4(
    log_data: FloatArray, mask: BoolArray, positions: list[FloatArray], settings: BiasSettings
) -> NDArray[np.float32]:
    """N4 on the voxels of a coarse mask; returns the log field at `positions`, given per axis in coarse voxels.

    This is the published algorithm with the constants of ITK. On a coarse grid the B-spline approximation is a small
    matrix, computed once per level, which makes it fast.
    """
    field = np.zeros([len(p) for p in positions], dtype=np.float32)
    at_data = np.zeros_like(log_data)
    for level, count in enumerate(settings.iterations):
        spans = 2**level
        basis = _at_voxels([_basis(np.arange(n, dtype=float), n, spans) for n in mask.shape], mask)
        fit = _approximation(basis)
        control = np.zeros(basis.shape[1])
        for _ in range(count):
            uncorrected = log_data - at_data
            step = fit @ (uncorrected - _sharpened(uncorrected, settings))
            control += step
            change = basis @ step
            at_data += change
            ratio = np.exp(change)
            if ratio.std(ddof=1) <= settings.converged * ratio.mean():
                break
        x, y, z = (_basis(p, n, spans) for p, n in zip(positions, mask.shape, strict=True))
        lattice = control.reshape(x.shape[1], y.shape[1], z.shape[1])
        field += np.einsum("ai,bj,ck,ijk->abc", x, y, z, lattice, optimize=True).astype(np.float32)
    return field


def _basis(positions: FloatArray, size: int, spans: int) -> FloatArray:
    """Uniform cubic B-splines over voxels 0 to size - 1 in a number of spans, shape (positions, spans + 3)."""
    scaled = np.asarray(positions, dtype=float) / max(size - 1, 1) * spans
    knots = np.arange(-_ORDER, spans + _ORDER + 1, dtype=float)
    scaled = np.clip(scaled, 0.0, spans - 1e-9)
    return np.asarray(BSpline.design_matrix(scaled, knots, _ORDER).toarray())


def _at_voxels(axes: list[FloatArray], mask: BoolArray) -> FloatArray:
    """Tensor product of the splines of the three axes at the voxels of the mask, shape (voxels, splines)."""
    x, y, z = (axis[index] for axis, index in zip(axes, np.nonzero(mask), strict=True))
    return np.asarray(np.einsum("ni,nj,nk->nijk", x, y, z).reshape(len(x), -1))


def _approximation(basis: FloatArray) -> FloatArray:
    """Matrix from values to control points of the B-spline approximation of Lee et al. (IEEE TVCG 1997;3:228)."""
    weight = basis**3 / (basis**2).sum(axis=1, keepdims=True)
    return np.asarray(weight.T / np.maximum((basis**2).sum(axis=0), 1e-12)[:, None])


def _sharpened(values: FloatArray, settings: BiasSettings) -> FloatArray:
    """Expected values without bias: Wiener deconvolution of the histogram, then conditional expectation."""
    bins = settings.bins
    low, high = float(values.min()), float(values.max())
    slope = (high - low) / (bins - 1)
    if slope <= 0:
        return values
    place = (values - low) / slope
    index = np.minimum(place.astype(int), bins - 2)
    part = place - index
    size = 2 ** (int(np.ceil(np.log2(bins))) + 1)
    offset = (size - bins) // 2
    histogram = np.zeros(size)
    histogram[offset : offset + bins] = np.bincount(index, 1 - part, bins) + np.bincount(index + 1, part, bins)
    width = settings.blur_width / slope
    distance = np.minimum(np.arange(size), size - np.arange(size))
    blur = 2 * np.sqrt(np.log(2) / np.pi) / width * np.exp(-4 * np.log(2) * (distance / width) ** 2)
    blurred = np.fft.rfft(blur)
    wiener = np.real(np.conj(blurred) / (np.abs(blurred) ** 2 + settings.wiener_noise))
    sharp = np.maximum(np.fft.irfft(np.fft.rfft(histogram) * wiener, size), 0.0)
    centres = low + (np.arange(size) - offset) * slope
    above = np.fft.irfft(np.fft.rfft(sharp * centres) * blurred, size)
    below = np.fft.irfft(np.fft.rfft(sharp) * blurred, size)
    expected = np.where(np.abs(below) > 0, above / np.where(below == 0, 1.0, below), 0.0)[offset : offset + bins]
    return np.asarray(expected[index] * (1 - part) + expected[index + 1] * part)
