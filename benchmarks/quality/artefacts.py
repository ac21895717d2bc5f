"""Artefacts put into scans, each in three severities: mild, moderate, severe.

An artefact takes a scan in RAS order whose slices are its third axis, and returns another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.spatial import BoolArray, Grid, Image

Data = NDArray[np.float32]
LEVELS = ("mild", "moderate", "severe")
FWHM = 2.3548


@dataclass(frozen=True)
class Scan:
    """A scan and what the artefacts need: its head, its tissue signal, and points inside the brain."""

    image: Image
    head: BoolArray
    signal: float
    noise: float
    brain_top_mm: float
    brain_bottom_mm: float
    centre: tuple[int, int, int]
    rng: np.random.Generator

    @property
    def middle(self) -> int:
        """Index of a slice through the brain."""
        return self.centre[2]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm."""
        return self.image.grid.spacing_mm


@dataclass(frozen=True)
class Artefact:
    """Name, values of the three severities, group of measures that may find it, and the function."""

    name: str
    values: tuple[float, float, float]
    group: str
    make: Callable[[Scan, float], Image]


def _same(scan: Scan, data: NDArray[np.floating]) -> Image:
    return Image(np.asarray(data, dtype=np.float32), scan.image.grid)


def between_slices(scan: Scan, mm: float) -> Image:
    """The second half of an interleaved scan is displaced along both axes."""
    data = scan.image.data.copy()
    shift = [mm / np.sqrt(2) / s for s in scan.spacing[:2]]
    data[..., 1::2] = ndimage.shift(data[..., 1::2], (*shift, 0), order=1)
    return _same(scan, data)


def within_slices(scan: Scan, mm: float) -> Image:
    """Segments of phase-encoding lines are acquired with a displaced head."""
    data = scan.image.data
    lines = data.shape[0]
    frequency = np.fft.fftfreq(lines)[:, None]
    shift = np.zeros((lines, data.shape[2]))
    for k in range(data.shape[2]):
        for _ in range(6):
            start = int(scan.rng.integers(lines))
            shift[start : start + int(scan.rng.integers(4, lines // 6)), k] += scan.rng.normal(
                0, mm / scan.spacing[0]
            )
    shift = np.where(np.abs(frequency) < 0.01, 0.0, shift)
    phase = np.exp(-2j * np.pi * frequency * shift)
    return _same(scan, np.abs(np.fft.ifft(np.fft.fft(data, axis=0) * phase[:, None, :], axis=0)))


def within_slices_back_to_front(scan: Scan, mm: float) -> Image:
    """The same for phase encoding from back to front."""
    data = np.ascontiguousarray(scan.image.data.swapaxes(0, 1))
    grid = Grid(data.shape, np.diag([scan.spacing[1], scan.spacing[0], scan.spacing[2], 1.0]))
    return _same(scan, within_slices(replace(scan, image=Image(data, grid)), mm).data.swapaxes(0, 1))


def ghost(scan: Scan, strength: float) -> Image:
    """A copy with another phase, displaced by half of the field of view."""
    data = scan.image.data
    return _same(scan, np.abs(data + strength * np.exp(0.8j) * np.roll(data, data.shape[0] // 2, axis=0)))


def rectangular_ghost(scan: Scan, strength: float) -> Image:
    """Copies displaced by half of a rectangular field of view, with 80 % of the lines of the image."""
    data, shift = scan.image.data, round(0.4 * scan.image.data.shape[0])
    copies = (np.roll(data, shift, axis=0) + np.roll(data, -shift, axis=0)) / 2
    return _same(scan, np.abs(data + strength * np.exp(0.8j) * copies))


def noise(scan: Scan, snr: float) -> Image:
    """Rician noise."""
    sigma = scan.signal / snr
    shape = scan.image.data.shape
    return _same(
        scan, np.hypot(scan.image.data + scan.rng.normal(0, sigma, shape), scan.rng.normal(0, sigma, shape))
    )


def filled_noise(scan: Scan, snr: float) -> Image:
    """Noise of k-space with a support of 75 and 85 %, and blanked air."""
    shape = scan.image.data.shape
    support = (np.abs(np.fft.fftfreq(shape[0])) < 0.375)[:, None] & (np.abs(np.fft.fftfreq(shape[1])) < 0.425)
    white = scan.rng.normal(size=shape) + 1j * scan.rng.normal(size=shape)
    limited = np.fft.ifft2(np.fft.fft2(white, axes=(0, 1)) * support[..., None], axes=(0, 1))
    limited *= scan.signal / snr / limited.real.std()
    data = np.abs(
        np.fft.ifft2(np.fft.fft2(scan.image.data, axes=(0, 1)) * support[..., None], axes=(0, 1)) + limited
    )
    return _same(scan, np.where(scan.head, data, 0))


def bias(scan: Scan, share: float) -> Image:
    """A linear shading from back to front of the head."""
    used = np.flatnonzero(scan.head.any(axis=(0, 2)))
    ramp = np.clip(np.interp(np.arange(scan.head.shape[1]), [used[0], used[-1]], [-1.0, 1.0]), -1, 1)
    return _same(scan, scan.image.data * (1 + share * ramp)[None, :, None])


def wrap(scan: Scan, percent: float) -> Image:
    """The field of view is shorter than the head by a share of the head, and the rest is folded into it."""
    used = np.flatnonzero(scan.head.any(axis=(1, 2)))
    first, last = used[0], used[-1] + 1
    length = round((last - first) * (1 - percent / 100))
    data = scan.image.data[first : first + length].copy()
    data[: last - first - length] += scan.image.data[first + length : last]
    return _part(scan, data, (int(first), 0, 0))


def _part(scan: Scan, data: Data, corner: tuple[int, int, int]) -> Image:
    affine = scan.image.grid.affine.copy()
    affine[:3, 3] = scan.image.grid.world(np.array(corner, dtype=float))
    return Image(np.ascontiguousarray(data), Grid(data.shape, affine))


def vertex(scan: Scan, mm: float) -> Image:
    """Slices with the uppermost part of the brain are missing."""
    kept = scan.image.data.shape[2] - round(max(scan.brain_top_mm + mm, 0) / scan.spacing[2])
    return _part(scan, scan.image.data[..., :kept], (0, 0, 0))


def bottom(scan: Scan, mm: float) -> Image:
    """Slices with the lowest part of the brain are missing."""
    lost = round(max(scan.brain_bottom_mm + mm, 0) / scan.spacing[2])
    return _part(scan, scan.image.data[..., lost:], (0, 0, lost))


def doubled(scan: Scan, slices: float) -> Image:
    """Slices repeat their neighbour, with noise of their own."""
    data = scan.image.data.copy()
    for n in range(int(slices)):
        k = scan.middle + 3 * (n - 1)
        extra = scan.rng.normal(0, scan.noise, data.shape[:2])
        data[..., k] = np.abs(data[..., k - 1] + extra)
    return _same(scan, data)


def displaced(scan: Scan, mm: float) -> Image:
    """One slice is displaced."""
    data = scan.image.data.copy()
    data[..., scan.middle] = ndimage.shift(data[..., scan.middle], (mm / scan.spacing[0], 0), order=1)
    return _same(scan, data)


def spike(scan: Scan, strength: float) -> Image:
    """A plane wave in one slice, with an amplitude relative to tissue."""
    data = scan.image.data.copy()
    x, y = np.indices(data.shape[:2])
    data[..., scan.middle] = np.abs(
        data[..., scan.middle] + strength * scan.signal * np.cos(2 * np.pi * (0.17 * x + 0.11 * y))
    )
    return _same(scan, data)


def zipper(scan: Scan, strength: float) -> Image:
    """A line of interference through all slices, with an amplitude relative to tissue."""
    data = scan.image.data.copy()
    row = scan.centre[0] + 20
    data[row] = np.abs(data[row] + strength * scan.signal * scan.rng.normal(size=data.shape[1:]))
    return _same(scan, data)


def saturation(scan: Scan, percent: float) -> Image:
    """The brightest part of the head is clipped."""
    return _same(scan, np.minimum(scan.image.data, np.percentile(scan.image.data[scan.head], 100 - percent)))


def dark_slice(scan: Scan, factor: float) -> Image:
    """One slice is darker."""
    data = scan.image.data.copy()
    data[..., scan.middle] *= factor
    return _same(scan, data)


def odd_even(scan: Scan, percent: float) -> Image:
    """Every second slice is brighter."""
    data = scan.image.data.copy()
    data[..., 1::2] *= 1 + percent / 100
    return _same(scan, data)


def blur(scan: Scan, mm: float) -> Image:
    """Gaussian blur in plane; the value is its full width at half maximum."""
    return _same(scan, ndimage.gaussian_filter(scan.image.data, [mm / FWHM / s for s in scan.spacing[:2]] + [0]))


def void(scan: Scan, mm: float) -> Image:
    """A sphere without signal in the white matter of one hemisphere."""
    index = np.indices(scan.image.data.shape).reshape(3, -1).T - np.array(scan.centre)
    distance = np.hypot(*(index[:, :2] * scan.spacing[:2]).T) ** 2 + (index[:, 2] * scan.spacing[2]) ** 2
    data = scan.image.data.copy()
    data.reshape(-1)[distance < (mm / 2) ** 2] = 0
    return _same(scan, data)


ARTEFACTS = (
    Artefact("motion between slices, mm", (1, 3, 6), "slices", between_slices),
    Artefact("motion within slices, mm", (1, 3, 6), "slices", within_slices),
    Artefact(
        "motion within slices, phase from back to front, mm", (1, 3, 6), "slices", within_slices_back_to_front
    ),
    Artefact("ghost", (0.05, 0.15, 0.4), "signal", ghost),
    Artefact("ghost, rectangular field of view", (0.05, 0.15, 0.4), "signal", rectangular_ghost),
    Artefact("noise, SNR", (20, 10, 5), "signal", noise),
    Artefact("noise zero-filled, air blanked, SNR", (20, 10, 5), "signal", filled_noise),
    Artefact("bias, ±", (0.2, 0.4, 0.8), "brain", bias),
    Artefact("wrap, %", (5, 15, 30), "signal", wrap),
    Artefact("vertex cut, mm", (10, 20, 40), "brain", vertex),
    Artefact("bottom cut, mm", (20, 40, 60), "brain", bottom),
    Artefact("doubled slices", (1, 2, 4), "slices", doubled),
    Artefact("displaced slice, mm", (3, 8, 15), "slices", displaced),
    Artefact("spike", (0.05, 0.15, 0.4), "signal", spike),
    Artefact("zipper", (0.1, 0.3, 1.0), "signal", zipper),
    Artefact("saturation, % of the head", (1, 5, 15), "signal", saturation),
    Artefact("dark slice", (0.85, 0.6, 0.3), "slices", dark_slice),
    Artefact("odd and even slices, %", (5, 15, 30), "slices", odd_even),
    Artefact("blur, mm", (1.5, 3, 5), "signal", blur),
    Artefact("void, mm", (8, 20, 35), "brain", void),
)
