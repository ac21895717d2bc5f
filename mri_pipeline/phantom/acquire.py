"""Image formation: simulated acquisition of a head with a given geometry.

The order is the physical one: the head moves, slices of a profile are excited, coil sensitivity weights the
signal, noise enters both channels of the receiver, and the magnitude is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from mri_pipeline.core.io.itk import from_sitk, to_sitk
from mri_pipeline.core.spatial import Affine, Grid, Image
from mri_pipeline.phantom.fields import Float32Array


@dataclass(frozen=True)
class Quality:
    """Imaging effects of a scanner.

    Parameters
    ----------
    snr : float
        White-matter signal over the noise's standard deviation in one channel.
    bias : float
        Peak relative change of brightness over the head; 0.2 is ±20 %.
    motion_mm : float
        Movement of the head during the scan; ghosts along the phase direction. 0 is none.
    blur_mm : float
        Standard deviation of the in-plane point spread beyond the voxel itself.
    """

    snr: float = 30.0
    bias: float = 0.18
    motion_mm: float = 0.0
    blur_mm: float = 0.35


def rigid(rotation_degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Affine:
    """Rigid transform: rotation about x, then y, then z, and a translation.

    Parameters
    ----------
    rotation_degrees : (float, float, float)
        About x, y and z, by the right-hand rule.
    shift_mm : (float, float, float)
        Applied after the rotation.

    Returns
    -------
    Affine

    Examples
    --------
    >>> rigid((0, 0, 90), (1, 0, 0)).points(np.array([[1.0, 0, 0]])).round(6).tolist()
    [[1.0, 1.0, 0.0]]
    """
    matrix = np.eye(4)
    for axis, degrees in enumerate(rotation_degrees):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(4)
        turn[i, i] = turn[j, j] = c
        # positive by the right-hand rule about every axis
        sign = 1.0 if axis != 1 else -1.0
        turn[i, j], turn[j, i] = -sign * s, sign * s
        matrix = turn @ matrix
    matrix[:3, 3] = shift_mm
    return Affine(matrix)


def excite(head: Image, grid: Grid, subject_to_scanner: Affine, *, slice_thickness_mm: float) -> Image:
    """Noise-free slices: the head resampled finer across the slices, then weighted with the slice profile.

    Parameters
    ----------
    head : Image
        1 mm signal in the subject's space.
    grid : Grid
        Of the scan, in the scanner's space; slices lie along its last axis.
    subject_to_scanner : Affine
        Where the head lies in the scanner during this scan.
    slice_thickness_mm : float
        Full width at half maximum of the slice profile. The gap is the slice spacing of the grid minus this.

    Returns
    -------
    Image
        On `grid`; white matter is 1.
    """
    spacing = grid.spacing_mm[2]
    parts = max(1, round(spacing / 0.9))
    margin = parts  # sub-slices beyond the first and last slice, for the profile's tails
    step = np.diag([1.0, 1.0, 1.0 / parts, 1.0])
    step[2, 3] = -margin / parts
    fine_affine = subject_to_scanner.inverse().matrix @ grid.affine @ step
    fine = Grid((grid.shape[0], grid.shape[1], (grid.shape[2] - 1) * parts + 1 + 2 * margin), fine_affine)
    data = _resample(head, fine).data
    if parts > 1:
        position = np.arange(-margin, margin + 1) * spacing / parts
        # edges of a selective pulse roll off over about a fifth of the slice
        profile = np.clip(
            (slice_thickness_mm / 2.0 - np.abs(position)) / (0.2 * slice_thickness_mm) + 0.5, 0.0, 1.0
        )
        data = ndimage.correlate1d(data, profile / profile.sum(), axis=2, mode="nearest")
    return Image(data[:, :, margin : data.shape[2] - margin : parts], grid)


def _resample(head: Image, grid: Grid) -> Image:
    reference = sitk.Image([int(n) for n in grid.shape], sitk.sitkUInt8)
    frame = to_sitk(Image(np.zeros((1, 1, 1), dtype=np.float32), Grid((1, 1, 1), grid.affine)))
    reference.SetOrigin(frame.GetOrigin())
    reference.SetSpacing(frame.GetSpacing())
    reference.SetDirection(frame.GetDirection())
    moved = sitk.Resample(to_sitk(head), reference, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    return from_sitk(moved, grid)


def coil_sensitivity(grid: Grid, peak: float, rng: np.random.Generator) -> Float32Array:
    """A smooth field around 1 with waves of 150 to 400 mm.

    Parameters
    ----------
    grid : Grid
    peak : float
        Largest relative deviation: the field lies between ``1 / (1 + peak)`` and ``1 + peak``.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape `grid.shape`
    """
    coarse = [np.linspace(0.0, n - 1, max(4, n // 12)) for n in grid.shape]
    index = np.stack(np.meshgrid(*coarse, indexing="ij"), axis=-1)
    world = grid.world(index.reshape(-1, 3)).reshape(index.shape)
    field = np.zeros(index.shape[:3])
    for _ in range(5):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        phase = world @ direction * (2 * np.pi / rng.uniform(150.0, 400.0)) + rng.uniform(0, 2 * np.pi)
        field += rng.uniform(0.5, 1.0) * np.cos(phase)
    field -= field.mean()
    field = np.exp(field * np.log1p(peak) / max(float(np.abs(field).max()), 1e-6))
    return _stretch(field.astype(np.float32), grid.shape)


def _stretch(coarse: Float32Array, shape: tuple[int, int, int]) -> Float32Array:
    """Linear interpolation of a coarse field whose corners lie on the grid's corners."""
    result = coarse
    for axis, n in enumerate(shape):
        position = np.linspace(0.0, coarse.shape[axis] - 1, n)
        low = np.minimum(position.astype(int), coarse.shape[axis] - 2)
        weight = (position - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        result = np.take(result, low, axis) * (1 - weight) + np.take(result, low + 1, axis) * weight
    return result.astype(np.float32)


def _ghosts(data: Float32Array, spacing_mm: float, motion_mm: float, rng: np.random.Generator) -> Float32Array:
    """Motion during the scan: segments of phase-encoding lines (axis 1) are acquired with a shifted head."""
    lines = data.shape[1]
    frequency = np.fft.fftfreq(lines)[None, :, None]
    kspace = np.fft.fft(data, axis=1)
    shift = np.zeros((1, lines, data.shape[2]))
    for k in range(data.shape[2]):
        for _ in range(int(rng.integers(4, 9))):
            start = int(rng.integers(lines))
            shift[0, start : start + int(rng.integers(4, lines // 6)), k] += rng.normal(
                0.0, motion_mm / spacing_mm
            )
    shift = np.where(np.abs(frequency) < 0.01, 0.0, shift)  # the very centre sets the head's place
    moved: Float32Array = np.abs(np.fft.ifft(kspace * np.exp(-2j * np.pi * frequency * shift), axis=1)).astype(
        np.float32
    )
    return moved


def acquire(
    head: Image,
    grid: Grid,
    subject_to_scanner: Affine,
    *,
    slice_thickness_mm: float,
    quality: Quality,
    scale: float,
    rng: np.random.Generator,
) -> Image:
    """A magnitude image with point spread, coil sensitivity, motion and Rician noise.

    Parameters
    ----------
    head, grid, subject_to_scanner, slice_thickness_mm
        As in `excite`.
    quality : Quality
    scale : float
        Stored intensity of white matter: scanners differ.
    rng : numpy.random.Generator
        For coil, noise and motion.

    Returns
    -------
    Image
        On `grid`.
    """
    data = excite(head, grid, subject_to_scanner, slice_thickness_mm=slice_thickness_mm).data
    if quality.blur_mm > 0:
        for axis in (0, 1):
            data = ndimage.gaussian_filter1d(
                data, quality.blur_mm / grid.spacing_mm[axis], axis=axis, truncate=3.0
            )
    data = data * coil_sensitivity(grid, quality.bias, rng)
    if quality.motion_mm > 0:
        data = _ghosts(data, grid.spacing_mm[1], quality.motion_mm, rng)
    sigma = np.float32(1.0 / quality.snr)
    real = data + sigma * rng.standard_normal(grid.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(grid.shape, dtype=np.float32)
    return Image(np.float32(scale) * np.hypot(real, imaginary), grid)
