"""Image quality metrics of MRIQC, by their published definitions.

Arrays of voxels in, values out. The values equal those of MRIQC 24 for the same voxels (`benchmarks/quality/mriqc.py`),
except that a value that cannot be computed is None. MRIQC applies the definitions to median and median absolute
deviation, as these functions do. They have no limits: their values depend on sequence, scanner and masks.

References
----------
Esteban O et al., MRIQC: advancing the automatic prediction of image quality in MRI from unseen sites. PLoS ONE
2017;12:e0184661.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mri_pipeline.core.robust import median, percentile
from mri_pipeline.core.spatial import BoolArray, FloatArray

Values = NDArray[np.floating]

MAD_TO_SD: Final = 1 / float(special.ndtri(0.75))
"""Standard deviation of a normal distribution with a median absolute deviation of 1.

Exact, as in MRIQC. With the four decimals of `mri_pipeline.core.robust.MAD_TO_SIGMA` the stored measures could move in
the sixth digit."""

RAYLEIGH_SD: Final = 0.6551364
"""Standard deviation of magnitude noise in air with a sigma of 1: the root of 2 - pi / 2. With the digits of MRIQC."""

_GREY_LEVEL: Final = 1.0
"""Up to this MAD of air, the steps of integer images determine it. Its SD is used instead, as in MRIQC."""

_LEAST_ENERGY: Final = 1e-3
"""Median energy of air up to which air is empty, as in MRIQC."""

_PART: Final = 1 << 16
"""Number of voxels that are computed at a time."""

_WM2MAX_PERCENTILE: Final = 99.95
"""Percentile of the brightest voxels, as in MRIQC."""

_LEAST_AIR: Final = 1000
"""Fewest voxels of air with a signal for QI2 (Mortamet 2009 gives none; that of MRIQC)."""

_QI2_SCALE: Final = (100.0, 99.0)
"""QI2 scales the intensity of air so that this percentile (second value) has the first value."""
_QI2_GRID: Final = np.linspace(0.0, 110.0, 1000)
"""Intensities at which the densities are compared, as in MRIQC."""
_QI2_BANDWIDTH: Final = 4.0
"""Bandwidth of the kernel density, as in MRIQC."""
_QI2_LEVELS: Final = 4096
"""Number of intensities whose kernels are in memory at a time."""
_QI2_COILS: Final = 32
"""Start of the fit of the degrees of freedom, as in MRIQC."""
_QI2_MARGIN: Final = 0.1
_QI2_PENALTY: Final = float(np.log(np.finfo(float).max)), 100
"""Margin of the first location below the values, and factors of the penalty of a value without a density, as in
`scipy.stats`."""


def spread(values: Values) -> float:
    """Robust standard deviation: median absolute deviation from the median, scaled to a normal distribution.

    Parameters
    ----------
    values : ndarray
        At least one value.

    Returns
    -------
    float

    Examples
    --------
    >>> round(spread(np.array([0.0, 1.0, 2.0, 3.0, 4.0])), 4)
    1.4826
    """
    values = np.asarray(values, dtype=float)
    distances = values - median(values)
    return MAD_TO_SD * float(median(np.abs(distances, out=distances), reorder=True))


def cjv(white: Values, grey: Values) -> float | None:
    """Coefficient of joint variation: noise and shading relative to the contrast of grey and white matter.

    Parameters
    ----------
    white, grey : ndarray
        Intensities of white and of grey matter.

    Returns
    -------
    float or None
        (SD of white + SD of grey) / |white - grey|. Lower is better. None without voxels or contrast.

    References
    ----------
    Ganzetti M et al., Intensity inhomogeneity correction of structural MR images: a data-driven approach to define
    input algorithm parameters. Front Neuroinform 2016;10:10.

    Examples
    --------
    >>> round(cjv(np.array([99.0, 100.0, 101.0]), np.array([79.0, 80.0, 81.0])), 4)
    0.1483
    """
    if not (white.size and grey.size):
        return None
    contrast = abs(float(median(white)) - float(median(grey)))
    return (spread(white) + spread(grey)) / contrast if contrast > 0 else None


def efc(data: Values) -> float | None:
    """Entropy focus criterion: entropy of the intensities relative to that of a uniform image.

    Parameters
    ----------
    data : ndarray
        Intensities of the whole image, not negative.

    Returns
    -------
    float or None
        0 for one bright voxel, 1 for a uniform image. Ghosts and blur of motion increase it. Blanked air lowers it.
        None for an image without intensities.

    References
    ----------
    Atkinson D et al., Automatic correction of motion artifacts in magnetic resonance images using an entropy focus
    criterion. IEEE Trans Med Imaging 1997;16:903-910.

    Examples
    --------
    >>> round(efc(np.ones(64)), 6)
    1.0
    """
    parts = np.array_split(data.ravel(order="K"), data.size // _PART + 1)  # small parts stay in the cache
    energy = sum(float(np.square(part[part > 0], dtype=float).sum()) for part in parts)
    if data.size < 2 or not energy:
        return None
    shares = (part[part > 0] / np.sqrt(energy) for part in parts)  # 0 log 0 is 0
    entropy = -sum(float((share * np.log(share)).sum(dtype=float)) for share in shares)
    root = np.sqrt(data.size)
    return entropy / float(root * np.log(root))


def fber(head: Values, air: Values) -> float | None:
    """Foreground-background energy ratio: median squared intensity of the head relative to that outside of it.

    Parameters
    ----------
    head, air : ndarray
        Intensities inside and outside of the head.

    Returns
    -------
    float or None
        Higher is better. None without voxels, and for air without signal (blanked, or a brain without skull).

    References
    ----------
    Shehzad Z et al., The Preprocessed Connectomes Project Quality Assessment Protocol. Front Neurosci conference
    abstract 2015. doi:10.3389/conf.fnins.2015.91.00047.
    """
    if not head.size or 2 * np.count_nonzero(air) < air.size or not air.size:
        return None
    outside = _median_energy(air)
    return _median_energy(head) / outside if outside >= _LEAST_ENERGY else None


def _median_energy(values: Values) -> float:
    return float(median(np.square(values), reorder=True))


def wm2max(data: Values, white: Values) -> float | None:
    """Median of white matter relative to the brightest voxels: long tails of vessels and fat lower it.

    Parameters
    ----------
    data : ndarray
        Intensities of the whole image.
    white : ndarray
        Intensities of white matter.

    Returns
    -------
    float or None
        Relative to the 99.95th percentile. None without white matter, and for an image without intensities.

    References
    ----------
    Esteban et al. 2017, as above.
    """
    brightest = float(percentile(data, _WM2MAX_PERCENTILE)) if data.size else 0.0
    return float(median(white)) / brightest if white.size and brightest > 0 else None


def qi1(artefacts: int, air: int) -> float | None:
    """Share of the air above the nasio-occipital plane with an artefact.

    Parameters
    ----------
    artefacts, air : int
        Number of voxels of this air with and without an artefact.

    Returns
    -------
    float or None
        Lower is better. None without air.

    References
    ----------
    Mortamet B et al., Automatic quality assessment in structural brain magnetic resonance imaging. Magn Reson Med
    2009;62:365-372.

    Examples
    --------
    >>> qi1(5, 95)
    0.05
    """
    return artefacts / (artefacts + air) if air > 0 else None


def qi2(air: Values) -> float | None:
    """Distance of the intensity distribution of air from the fitted chi-squared distribution of noise.

    Parameters
    ----------
    air : ndarray
        Intensities of air above the nasio-occipital plane without artefacts.

    Returns
    -------
    float or None
        Mean difference of both densities above the intensity at which the density falls to half of its maximum, on an
        intensity scale on which the 99th percentile of air is 100. Lower is better. None with fewer than 1000 voxels
        with a signal.

    Notes
    -----
    The density is a Gaussian kernel estimate with a bandwidth of 4, as in MRIQC. MRIQC draws 300,000 voxels at random
    from larger samples. This function uses all that it is given.

    References
    ----------
    Mortamet et al. 2009, as of `qi1`.
    """
    air = np.maximum(np.asarray(air, dtype=float), 0)
    if np.count_nonzero(air) < _LEAST_AIR:
        return None
    top, percent = _QI2_SCALE
    scaled = air * (top / percentile(air, percent))
    density = _kernel_density(scaled)
    tail = int(np.argmax(density[::-1] > density.max() / 2))
    fitted = chi_squared_density(scaled, _QI2_GRID)
    return float(np.abs(density - fitted)[-tail:].mean())


def chi_squared_density(values: FloatArray, grid: FloatArray) -> FloatArray:
    """Density of the chi-squared distribution that fits best, with location and scale (maximum likelihood).

    Parameters
    ----------
    values : ndarray
        At least two distinct values.
    grid : ndarray
        Where the density is wanted.

    Returns
    -------
    ndarray, shape of `grid`

    Raises
    ------
    ValueError
        If a value is not finite.

    Notes
    -----
    As ``scipy.stats.chi2.fit``, from the same start, with the same steps and the same order of sums: rounding changes
    the steps if one value is far from all others. The import of `scipy.stats` takes 0.4 s and 30 MB. `scipy.optimize`
    (0.1 s) is imported when it is used: scans with blanked air do not need it.
    """
    from scipy import optimize  # noqa: PLC0415 - see above

    if not np.isfinite(values).all():
        raise ValueError("expected finite values for the fit of a distribution, found others")
    scale = np.sqrt(np.var(values) / 2)  # by the moments of one degree of freedom
    location = float(np.mean(values)) - scale
    if location >= values.min():
        location, scale = values.min() - _QI2_MARGIN * np.ptp(values), 1.0
    start = _QI2_COILS, location, scale
    freedom, location, scale = optimize.fmin(_chi_squared_loss, start, args=(values,), disp=0)
    return np.asarray(np.exp(_log_chi_squared((grid - location) / scale, freedom)) / scale)


def _chi_squared_loss(parameters: FloatArray, values: FloatArray) -> float:
    """Negative log-likelihood, with a penalty for each value without a density."""
    freedom, location, scale = parameters
    if freedom <= 0 or scale <= 0:
        return np.inf
    logs = _log_chi_squared((values - location) / scale, freedom)
    logs = logs[np.isfinite(logs)]
    outside = values.size - logs.size
    unit, factor = _QI2_PENALTY
    return float(-logs.sum() + outside * unit * factor + values.size * np.log(scale))


def _log_chi_squared(values: FloatArray, freedom: float) -> FloatArray:
    positive = np.where(values < 0, np.nan, values)
    logs = special.xlogy(freedom / 2 - 1, positive) - positive / 2 - special.gammaln(freedom / 2)
    return np.where(values < 0, -np.inf, logs - np.log(2) * freedom / 2)


def _kernel_density(values: FloatArray) -> FloatArray:
    """Gaussian kernel density on the grid of QI2. Equal intensities are counted once."""
    levels, counts = np.unique(values, return_counts=True)
    total = np.zeros_like(_QI2_GRID)
    for start in range(0, levels.size, _QI2_LEVELS):
        part = slice(start, start + _QI2_LEVELS)
        distance = (_QI2_GRID[:, None] - levels[None, part]) / _QI2_BANDWIDTH
        total += np.exp(-0.5 * np.square(distance)) @ counts[part]
    return np.asarray(total / (values.size * _QI2_BANDWIDTH * np.sqrt(2 * np.pi)))


def snr_dietrich(tissue: Values, air: Values) -> float | None:
    """Signal-to-noise ratio with the noise of the air around the head.

    Parameters
    ----------
    tissue : ndarray
        Intensities of a tissue.
    air : ndarray
        Intensities of air above the nasio-occipital plane without artefacts.

    Returns
    -------
    float or None
        Median of the tissue divided by the noise, which is the SD of the air (by its MAD; by itself if the MAD is at
        most one grey level) divided by that of magnitude noise with a sigma of 1. None for air that does not vary.

    References
    ----------
    Dietrich O et al., Measurement of signal-to-noise ratios in MR images: influence of multichannel coils, parallel
    imaging, and reconstruction filters. J Magn Reson Imaging 2007;26:375-385, equation A.12.
    """
    if not (tissue.size and air.size):
        return None
    deviation = spread(air)
    if deviation <= _GREY_LEVEL:
        deviation = float(np.std(air, dtype=float))
    return RAYLEIGH_SD * float(median(tissue)) / deviation if deviation > _LEAST_ENERGY else None


def inu(field: Values) -> tuple[float, float] | None:
    """Intensity non-uniformity: range and median of the bias field.

    Parameters
    ----------
    field : ndarray
        Multiplicative bias field at voxels of the brain.

    Returns
    -------
    (float, float) or None
        Range from the 5th to the 95th percentile, and median. None without voxels.

    References
    ----------
    Tustison NJ et al., N4ITK: improved N3 bias correction. IEEE Trans Med Imaging 2010;29:1310-1320, for the field.

    Examples
    --------
    >>> inu(np.array([1.0, 1.0, 1.0]))
    (0.0, 1.0)
    """
    if not field.size:
        return None
    low, middle, high = percentile(field, [5, 50, 95])
    return float(high - low), float(middle)


def fwhm_voxels(data: Values, mask: BoolArray) -> tuple[float | None, ...]:
    """Smoothness of an image along each axis: FWHM of the Gaussian filter that gives white noise its correlation.

    Parameters
    ----------
    data : ndarray
        Image.
    mask : ndarray of bool, shape `data.shape`

    Returns
    -------
    tuple of float or None
        In voxels, for each axis. None where neighbours are not correlated.

    References
    ----------
    Forman SD et al., Improved assessment of significant activation in functional MRI: use of a cluster-size threshold.
    Magn Reson Med 1995;33:636-647. AFNI's 3dFWHMx, which MRIQC calls, has the same definition.
    """
    values = data[mask]
    variance = float(values.var(dtype=float)) if values.size else 0.0
    found: list[float | None] = []
    for axis in range(data.ndim):
        ordered, inside = np.moveaxis(data, axis, 0), np.moveaxis(mask, axis, 0)
        steps = (ordered[1:] - ordered[:-1])[inside[1:] & inside[:-1]]
        found.append(_fwhm(float(steps.var(dtype=float)), variance) if steps.size else None)
    return tuple(found)


def _fwhm(variance_of_steps: float, variance: float) -> float | None:
    correlation = 1 - variance_of_steps / (2 * variance) if variance > 0 else 0.0
    return float(np.sqrt(-2 * np.log(2) / np.log(correlation))) if 0 < correlation < 1 else None
