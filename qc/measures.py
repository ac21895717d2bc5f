"""Image quality measures. They use the voxels only, without a segmentation or a template.

The measures detect clearly inadequate scans: noise, ghosting, a head that is cut off, intensity steps between slices,
missing slices. They do not replace visual QC. Values of different sequences are not comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_multiotsu, threshold_otsu

from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.spatial import BoolArray, Image
from mri_pipeline.core.visits import Contrast
from qc.content import ContentMeasures, measure_content, slice_digests

_AIR_STD: Final = 0.68
"""Ratio of the standard deviation of magnitude noise in air to sigma: 0.655 (one coil) to 0.707 (many coils).
Constantinides 1997."""

_BRAIN_DEPTH_MM: Final = 20.0
"""Depth below the head's surface that excludes scalp, skull and most cortex."""

_BRAIN_HEIGHT_MM: Final = 90.0
"""Height of the brain in the head, from the vertex to about the midbrain."""

_NOISE_SLICES: Final = 32
"""Noise and signal are measured in at most twice as many slices, evenly distributed."""

_REACH: Final = 8
"""Reach of the filters of the noise in voxels: a Gaussian of 1.5 voxels, cut at four SD, and a Sobel filter."""

_WORK_MM: Final = 3.0
"""Approximate spacing of the grid on which masks are made."""

_CUT_AREA: Final = 0.4
"""Head area in the uppermost slice relative to the largest slice. The value corresponds to a sphere of 8 cm radius that
is cut 1.6 cm below its top, within the brain."""

_DARK_CSF: Final = frozenset({Contrast.T1W, Contrast.T1W_GD, Contrast.FLAIR})


@dataclass(frozen=True)
class ImageMeasures:
    """Measures of one scan; None if the image does not allow the measurement.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, in intensity units of the image. The larger of two estimates: from second
        differences in smooth tissue (too low in interpolated images), and from the corner of air with the lowest
        signal (too low if the scanner blanks the air).
    snr : float or None
        Median of smooth tissue divided by noise.
    cnr : float or None
        Difference between grey and white matter (by a three-class Otsu threshold inside the brain) divided by
        noise.
    ghosting_percent : float or None
        Difference between the air signals along the two in-plane axes divided by twice the tissue signal (as in the
        ACR phantom test). Wrap-around also increases it. None if the scanner blanks the air.
    head_mm : tuple of float
        Extent of the head: left to right, posterior to anterior, inferior to superior.
    cut_at_top : bool
        True if the head extends beyond the uppermost slice.
    edge_share : float
        Largest share of head on a side face of the volume (left, right, anterior, posterior): clipped or wrapped.
    slice_step_percent : float
        Largest difference between the median of a slice and the mean of its two neighbours, in the middle of the head.
    blank_slices : int
        Number of slices without content between others.
    slice_digests : tuple of str
        `qc.content.slice_digests`.
    content : ContentMeasures
        Whether the image shows a head.
    """

    noise: float
    snr: float | None
    cnr: float | None
    ghosting_percent: float | None
    head_mm: tuple[float, float, float]
    cut_at_top: bool
    edge_share: float
    slice_step_percent: float
    blank_slices: int
    slice_digests: tuple[str, ...]
    content: ContentMeasures

    @property
    def repeated_slices(self) -> int:
        """Number of slices with the pixels of another slice."""
        found = [digest for digest in self.slice_digests if digest]
        return len(found) - len(set(found))


def measure(image: Image, contrast: Contrast) -> ImageMeasures:
    """Measure one scan, in any orientation.

    Parameters
    ----------
    image : Image
        Converted image, not corrected or normalised.
    contrast : Contrast
        Determines the intensity classes of grey and white matter.

    Returns
    -------
    ImageMeasures
    """
    image = image.reoriented("RAS")
    axis = image.grid.slice_axis
    head = head_mask(image)
    noise, signal = _noise_and_signal(image, head, axis)
    measurable = noise > 0 and signal > 0
    return ImageMeasures(
        noise=noise,
        snr=signal / noise if measurable else None,
        cnr=_class_distance(image, head, contrast, axis) / noise if measurable else None,
        ghosting_percent=_ghosting_percent(image.data, head, axis, signal),
        head_mm=_extent_mm(head, image.grid.spacing_mm),
        cut_at_top=_cut_at_top(head),
        edge_share=_edge_share(head),
        slice_step_percent=_slice_step_percent(image.data, head, axis),
        blank_slices=_blank_slices(image.data, axis),
        slice_digests=slice_digests(image),
        content=measure_content(image, head),
    )


def head_mask(image: Image) -> BoolArray:
    """Approximate head mask: Otsu threshold on a coarse smoothed copy, largest component, holes filled.

    Parameters
    ----------
    image : Image
        In RAS order: holes are filled in axial slices.

    Returns
    -------
    ndarray of bool, shape `image.grid.shape`
        Empty if no head is found.
    """
    step = [max(1, round(_WORK_MM / s)) for s in image.grid.spacing_mm]
    smooth = ndimage.uniform_filter(image.data, step)
    coarse = smooth[:: step[0], :: step[1], :: step[2]]
    top = float(np.percentile(coarse, 99.5))
    if top <= 0:
        return np.zeros(image.data.shape, dtype=bool)
    threshold = 0.6 * float(
        threshold_otsu(np.clip(coarse, 0, top))
    )  # lower than Otsu: CSF and bone belong to the head
    # fill holes before labelling: a dark skull separates the scalp from the brain
    solid = np.stack([ndimage.binary_fill_holes(s) for s in np.moveaxis(coarse > threshold, 2, 0)], axis=2)
    parts = ConnectedComponents.of(solid, connectivity=1)
    full = parts.highest(parts.sizes).repeat(step[0], 0).repeat(step[1], 1).repeat(step[2], 2)
    shape = image.data.shape
    return np.asarray(full[: shape[0], : shape[1], : shape[2]], dtype=bool)


def _noise_and_signal(image: Image, head: BoolArray, axis: int) -> tuple[float, float]:
    data = np.moveaxis(image.data, axis, 0)
    inside = ndimage.binary_erosion(np.moveaxis(head, axis, 0), iterations=2)
    if np.count_nonzero(inside) < 100:
        return 0.0, 0.0
    air = _air_noise(data, np.moveaxis(head, axis, 0))
    used = np.flatnonzero(inside.any(axis=(1, 2)))
    some = used[:: max(1, len(used) // _NOISE_SLICES)]
    rows, columns = _near(inside)
    data, inside = data[some, rows, columns], inside[some, rows, columns]
    # the kernel is [1, -2, 1] along both axes: variance 36 sigma² (Immerkaer 1996)
    response = ndimage.correlate1d(ndimage.correlate1d(data, [1, -2, 1], axis=1), [1, -2, 1], axis=2)
    smooth = ndimage.gaussian_filter(data, (0, 1.5, 1.5))
    slope = np.hypot(ndimage.sobel(smooth, axis=1), ndimage.sobel(smooth, axis=2))
    bright = inside & (data > np.median(data[inside]))
    if not bright.any():
        return 0.0, 0.0
    # third with the lowest gradient of the brighter half: excludes edges, air cells and CSF
    flat = bright & (slope <= np.percentile(slope[bright], 33))
    by_differences = float(np.median(np.abs(response[flat]))) / 0.6745 / 6
    return max(by_differences, air), float(np.median(data[flat]))


def _near(region: BoolArray) -> tuple[slice, slice]:
    """Rows and columns of a region with a margin: filters of this reach have the same results in it."""
    spans = (np.flatnonzero(region.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    rows, columns = (slice(max(span[0] - _REACH, 0), span[-1] + _REACH + 1) for span in spans)
    return rows, columns


def _air_noise(data: NDArray[np.float32], head: BoolArray) -> float:
    """Noise in the in-plane corner with the lowest signal, without head and not blanked; 0 if there is none."""
    rows, columns = (max(4, n // 10) for n in data.shape[1:])
    found = []
    for corner in (
        np.s_[:, :rows, :columns], np.s_[:, :rows, -columns:], np.s_[:, -rows:, :columns], np.s_[:, -rows:,
        -columns:],
    ):  # fmt: skip
        values = data[corner]
        if not head[corner].any() and np.count_nonzero(values) > 0.9 * values.size:
            found.append(float(values.std()) / _AIR_STD)
    return min(found, default=0.0)


def _class_distance(image: Image, head: BoolArray, contrast: Contrast, axis: int) -> float:
    """Difference between the medians of the two tissue classes in the interior of the upper head."""
    spacing = image.grid.spacing_mm
    step = tuple(max(1, round(_WORK_MM / s)) for s in spacing)
    coarse_head = head[:: step[0], :: step[1], :: step[2]]
    depth = ndimage.distance_transform_edt(
        coarse_head, sampling=[n * s for n, s in zip(step, spacing, strict=True)]
    )
    top = int(np.flatnonzero(coarse_head.any(axis=(0, 1))).max(initial=0))
    lowest = max(0, round(top - _BRAIN_HEIGHT_MM / (spacing[2] * step[2])))
    deep = depth > _BRAIN_DEPTH_MM
    deep[:, :, :lowest] = False
    if np.count_nonzero(deep) < 200:
        return 0.0
    size = [1 if a == axis else 3 for a in range(3)]
    averaged = ndimage.uniform_filter(image.data, size)[:: step[0], :: step[1], :: step[2]]
    flat = averaged / _slow_shading(averaged, deep, [n * s for n, s in zip(step, spacing, strict=True)])
    values = flat[deep]
    values = values[(values > np.percentile(values, 1)) & (values < np.percentile(values, 99))]
    if np.unique(values).size < 10:
        return 0.0
    low, high = threshold_multiotsu(values, classes=3)
    medians = [
        float(np.median(part)) if part.size else np.nan
        for part in (values[values < low], values[(values >= low) & (values < high)], values[values >= high])
    ]
    pair = (1, 2) if contrast in _DARK_CSF else (0, 1)
    distance = abs(medians[pair[1]] - medians[pair[0]])
    return distance if np.isfinite(distance) else 0.0


def _slow_shading(data: NDArray[np.float32], mask: BoolArray, spacing_mm: list[float]) -> NDArray[np.float32]:
    """Coil shading over about 4 cm relative to its mean; 1 if unknown."""
    sigma = [30.0 / s for s in spacing_mm]
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    shade = ndimage.gaussian_filter(np.where(mask, data, 0).astype(np.float32), sigma) / np.maximum(weight, 1e-3)
    return np.asarray(
        np.where(mask, np.maximum(shade, 1e-6) / max(float(shade[mask].mean()), 1e-6), 1), np.float32
    )


def _ghosting_percent(data: NDArray[np.float32], head: BoolArray, axis: int, signal: float) -> float | None:
    data, head = np.moveaxis(data, axis, 0), np.moveaxis(head, axis, 0)
    plane = np.any(head, axis=0)
    if signal <= 0 or not plane.any():
        return None
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    beside, along = np.zeros_like(plane), np.zeros_like(plane)
    beside[: max(rows[0] - 2, 0), columns[0] : columns[-1]] = True
    beside[rows[-1] + 3 :, columns[0] : columns[-1]] = True
    along[rows[0] : rows[-1], : max(columns[0] - 2, 0)] = True
    along[rows[0] : rows[-1], columns[-1] + 3 :] = True
    if beside.sum() < 30 or along.sum() < 30:
        return None
    one, two = data[:, beside], data[:, along]
    if min(np.count_nonzero(one) / one.size, np.count_nonzero(two) / two.size) < 0.5:
        return None
    return 100 * abs(float(one.mean()) - float(two.mean())) / (2 * signal)


def _extent_mm(head: BoolArray, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    extents = []
    for axis in range(3):
        used = np.flatnonzero(head.any(axis=tuple(a for a in range(3) if a != axis)))
        extents.append(0.0 if used.size == 0 else float((used[-1] - used[0] + 1) * spacing_mm[axis]))
    return extents[0], extents[1], extents[2]


def _cut_at_top(head: BoolArray) -> bool:
    areas = head.sum(axis=(0, 1))
    return bool(areas.max(initial=0) > 0 and areas[-1] > _CUT_AREA * areas.max())


def _edge_share(head: BoolArray) -> float:
    return float(max(face.mean() for face in (head[0], head[-1], head[:, 0], head[:, -1])))


def _slice_step_percent(data: NDArray[np.float32], head: BoolArray, axis: int) -> float:
    data, head = np.moveaxis(data, axis, 0), np.moveaxis(head, axis, 0)
    areas = head.reshape(len(head), -1).sum(axis=1)
    used = np.flatnonzero(areas > 0.5 * areas.max(initial=1))
    medians = np.array([np.median(data[i][head[i]]) for i in used])
    if medians.size < 3 or np.median(medians) <= 0:
        return 0.0
    jumps = np.abs(medians[1:-1] - (medians[:-2] + medians[2:]) / 2)
    return float(100 * jumps.max() / np.median(medians))


def _blank_slices(data: NDArray[np.float32], axis: int) -> int:
    slices = np.moveaxis(data, axis, 0)
    blank = np.array([float(np.ptp(s)) == 0 for s in slices])
    filled = np.flatnonzero(~blank)
    return int(blank[filled[0] : filled[-1]].sum()) if filled.size else 0
