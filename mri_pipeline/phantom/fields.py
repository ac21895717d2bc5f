"""Smooth random fields, fast upsampling and tubes, used for anatomy and images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float32Array = NDArray[np.float32]


def generator(*key: int) -> np.random.Generator:
    """Random generator seeded by a key of non-negative integers.

    Parameters
    ----------
    *key : int
        0 or more.

    Returns
    -------
    numpy.random.Generator

    Examples
    --------
    >>> float(generator(1, 2).random()) == float(generator(1, 2).random())
    True
    """
    return np.random.default_rng(np.random.SeedSequence(entropy=key))


def upsample(coarse: NDArray[Any], shape: tuple[int, ...], factor: int) -> Float32Array:
    """Interpolate linearly from a grid `factor` times as coarse that shares voxel (0, 0, 0).

    Values beyond the last coarse voxel equal that of the last voxel.

    Parameters
    ----------
    coarse : ndarray
    shape : tuple of int
        Of the result, as many axes as `coarse`.
    factor : int
        1 or more.

    Returns
    -------
    ndarray of float32, shape `shape`
    """
    result = np.asarray(coarse, dtype=np.float32)
    for axis, size in enumerate(shape):
        needed = -(-(size - 1) // factor) + 1
        missing = max(0, needed - result.shape[axis])
        if missing:
            result = np.pad(result, [(0, missing if i == axis else 0) for i in range(result.ndim)], mode="edge")
        source = np.moveaxis(result, axis, 0)[:needed]
        fine = np.empty((max(1, (needed - 1) * factor + 1), *source.shape[1:]), dtype=np.float32)
        fine[::factor] = source
        for step in range(1, factor):
            weight = np.float32(step / factor)
            fine[step::factor] = (1 - weight) * source[:-1] + weight * source[1:]
        result = np.moveaxis(fine[:size], 0, axis)
    return np.ascontiguousarray(result)


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, ...], *, sigma: float, spacing: float = 1.0
) -> Float32Array:
    """A Gaussian random field of mean 0 and variance 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    sigma : float
        Smoothing of the white noise behind it, in the unit of `spacing` (mm).
    spacing : float
        Distance between voxels in the same unit.

    Returns
    -------
    ndarray of float32, shape `shape`
    """
    sigma_voxels = sigma / spacing
    factor = max(1, int(sigma_voxels // 1.5))  # white noise below this scale would be smoothed away anyway
    coarse_shape = tuple(-(-n // factor) + 2 for n in shape)
    noise = rng.standard_normal(coarse_shape, dtype=np.float32)
    coarse = ndimage.gaussian_filter(noise, sigma_voxels / factor, mode="wrap")
    coarse = (coarse - coarse.mean()) / max(float(coarse.std()), 1e-6)
    return upsample(coarse, shape, factor) if factor > 1 else coarse[tuple(slice(n) for n in shape)]


def polyline(points: NDArray[np.floating[Any]], *, step: float = 0.6) -> NDArray[np.float64]:
    """Points at equal distances on a smooth curve near given points.

    Parameters
    ----------
    points : ndarray, shape (m, k)
        x, y, z in mm, at least two points; columns beyond 3 are interpolated along the curve.
    step : float
        Distance of the points on the curve in mm.

    Returns
    -------
    ndarray, shape (n, k)
        From the first to the last of `points`.
    """
    points = np.asarray(points, dtype=float)
    lengths = np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1)
    position = np.concatenate([[0.0], np.cumsum(lengths)])
    samples = np.linspace(0.0, position[-1], max(2, int(position[-1] / step) + 1))
    curve = np.stack([np.interp(samples, position, column) for column in points.T], axis=1)
    # corners of the polygon are rounded over about 3 mm; point reflection at both ends keeps them in place
    reach = min(len(samples) - 1, round(9.0 / step))
    padded = np.pad(curve, [(reach, reach), (0, 0)], mode="reflect", reflect_type="odd")
    smooth = ndimage.gaussian_filter1d(padded, 3.0 / step, axis=0, mode="nearest")[reach : reach + len(curve)]
    smooth[[0, -1]] = curve[[0, -1]]
    return np.asarray(smooth)


def paint_tube(
    fraction: Float32Array,
    origin: NDArray[np.floating[Any]],
    centres: NDArray[np.floating[Any]],
    radius: NDArray[Any],
) -> None:
    """Raise `fraction` (1 mm voxels, voxel 0 at `origin`) to the share of each voxel inside balls, in place.

    Parameters
    ----------
    fraction : ndarray of float32, shape (x, y, z)
        0 to 1.
    origin : ndarray, shape (3,)
        In mm.
    centres : ndarray, shape (n, 3)
        Ball centres in mm; radii below half a voxel give a share below 1, as a thin vessel does.
    radius : ndarray, shape (n,)
        In mm.
    """
    shape = np.array(fraction.shape)
    for centre, r in zip(np.asarray(centres) - origin, radius, strict=True):
        reach = r + 0.5
        low = np.maximum(np.ceil(centre - reach).astype(int), 0)
        high = np.minimum(np.floor(centre + reach).astype(int) + 1, shape)
        if (high <= low).any():
            continue
        axes = [(np.arange(a, b) - c) ** 2 for a, b, c in zip(low, high, centre, strict=True)]
        distance = np.sqrt(axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :])
        share = np.clip(r + 0.5 - distance, 0.0, min(1.0, (2.0 * r) ** 2))
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        np.maximum(fraction[box], share.astype(np.float32), out=fraction[box])
