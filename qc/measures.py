"""Image quality measures of a scan and of a visit.

The measures detect clearly inadequate scans: noise, ghosts, a brain that is cut off, slices that differ from their
neighbours, interference, blur, missing slices. They do not replace visual QC. Values of different sequences are not
comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_multiotsu, threshold_otsu

from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.distances import deeper_than
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import BoolArray, Image
from mri_pipeline.core.visits import Contrast
from qc.content import ContentMeasures, measure_content, slice_digests
from qc.field_scan import FieldMeasures, measure_field
from qc.frequencies import SpectrumMeasures, measure_spectrum, spectrum_of
from qc.laterality import flair_points, mirror_ratio
from qc.noise import noise_and_signal
from qc.placement import BrainMeasures, Placement, measure_brain, place_brain, tilt_deg
from qc.planes import mean_at, slices_first, smoothed
from qc.slices import SliceMeasures, measure_slices, slice_stack

_BRAIN_DEPTH_MM: Final = 20.0
"""Depth below the head's surface that excludes scalp, skull and most cortex."""

_BRAIN_HEIGHT_MM: Final = 90.0
"""Height of the brain in the head, from the vertex to about the midbrain."""

_NO_HEAD: Final = (0.3, 2.6, 0.05)
"""Volume in litres, local variation in percent and coherence of slices up to which no brain is searched for."""

_LEAST_SIMILARITY: Final = 0.3
"""Below this similarity of the template, nothing is measured in the brain."""

_MIN_SPECTRUM_SLICES: Final = 3
_MIN_MATRIX: Final = 64

_WORK_MM: Final = 3.0
"""Approximate spacing of the grid on which masks are made."""

_DARK_CSF: Final = frozenset({Contrast.T1W, Contrast.T1W_GD, Contrast.FLAIR})


@dataclass(frozen=True)
class ImageMeasures:
    """Measures of one scan; None if the image does not allow the measurement.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, in intensity units of the image. The larger of two estimates: from second
        differences in smooth tissue, corrected for zero-filled k-space, and from the corner of air with the lowest
        signal (too low if the scanner blanks the air).
    snr : float or None
        Median of smooth tissue divided by noise. None without a spectrum: noise that zero-filling smooths would be too
        low.
    cnr : float or None
        Difference between grey and white matter (by a three-class Otsu threshold inside the brain) divided by
        noise.
    ghosting_percent : float or None
        |(top + bottom) - (left + right)| / 2S with the mean signals of the air on four sides and of tissue S, as in the
        ACR phantom test. Wrap-around also increases it. None if the scanner blanks the air.
    head_mm : tuple of float
        Extent of the head: left to right, posterior to anterior, inferior to superior.
    edge_share : float
        Largest share of head on a side face of the volume (left, right, anterior, posterior): clipped or wrapped.
        Without the first and the last slice of a sagittal or coronal scan, which may lie in the head.
    blank_slices : int
        Number of slices without content between others.
    slice_digests : tuple of str
        `qc.content.slice_digests`.
    content : ContentMeasures
        Whether the image shows a head.
    saturated_percent : float
        Head at the largest value of the image.
    spectrum : SpectrumMeasures or None
        None for few slices with head, and for a small matrix.
    slices : SliceMeasures or None
        None for a 3D acquisition.
    brain : BrainMeasures or None
        None if the brain was not located.
    placement : Placement or None
        Of a FLAIR, from which the brain was located.
    field : FieldMeasures or None
        The measures that the field reports (MRIQC). They have no limits. None if the brain was not located.
    mirror_ratio : float or None
        `qc.laterality.mirror_ratio` of a scan other than the FLAIR.
    tilt_deg : float or None
        `qc.placement.tilt_deg` of a 2D scan.
    """

    noise: float
    snr: float | None
    cnr: float | None
    ghosting_percent: float | None
    head_mm: tuple[float, float, float]
    edge_share: float
    blank_slices: int
    slice_digests: tuple[str, ...]
    content: ContentMeasures
    saturated_percent: float = 0.0
    spectrum: SpectrumMeasures | None = None
    slices: SliceMeasures | None = None
    brain: BrainMeasures | None = None
    placement: Placement | None = None
    field: FieldMeasures | None = None
    mirror_ratio: float | None = None
    tilt_deg: float | None = None

    @property
    def edge_percent(self) -> float:
        """`edge_share` in percent."""
        return 100 * self.edge_share

    @property
    def repeated_slices(self) -> int:
        """Number of slices with the pixels of another slice."""
        found = [digest for digest in self.slice_digests if digest]
        return len(found) - len(set(found))


def measure_visit(
    images: Mapping[Contrast, Image],
    scans: Mapping[Contrast, Contrast],
    three_d: Mapping[Contrast, bool] | None = None,
) -> dict[Contrast, ImageMeasures]:
    """Measure the scans of one visit. The brain is located once, on the FLAIR.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Converted images. One at a time is in memory if the mapping reads them from disk.
    scans : mapping of Contrast to Contrast
        For each contrast to measure, its key in `images`.
    three_d : mapping of Contrast to bool, optional
        Whether a scan is a 3D acquisition, by its header (`qc.decision.acquired_3d`).

    Returns
    -------
    dict of Contrast to ImageMeasures
        In the order of `scans`.
    """
    found = {}
    stated = three_d or {}
    placement = flair = None
    for contrast in sorted(scans, key=lambda c: c is not Contrast.FLAIR):
        image = images[scans[contrast]].reoriented("RAS")
        head = head_mask(image)
        values = _measured(image, head, contrast, stated.get(contrast))
        if contrast is Contrast.FLAIR and _may_be_head(values.content):
            placement = place_brain(image, load_template())
            values = replace(values, placement=placement)
        if placement is not None and placement.similarity > _LEAST_SIMILARITY:
            values = replace(
                values,
                brain=measure_brain(image, placement, load_template()),
                field=measure_field(image, head, placement, load_template()),
                tilt_deg=None if values.slices is None else tilt_deg(image, placement),
                mirror_ratio=None if flair is None else mirror_ratio(flair, image, placement, load_template()),
            )
            if flair is None:
                flair = flair_points(image, placement, load_template())
        found[contrast] = values
    return {contrast: found[contrast] for contrast in scans}


def _may_be_head(content: ContentMeasures) -> bool:
    values = (content.head_litres, content.detail_percent, content.coherence)
    return all(value > least for value, least in zip(values, _NO_HEAD, strict=True))


def measure(image: Image, contrast: Contrast) -> ImageMeasures:
    """Measure one scan by itself, in any orientation.

    Parameters
    ----------
    image : Image
        Converted image, not corrected or normalised.
    contrast : Contrast
        Determines the intensity classes of grey and white matter.

    Returns
    -------
    ImageMeasures
        Without `brain`, `placement` and `field`.
    """
    image = image.reoriented("RAS")
    return _measured(image, head_mask(image), contrast, None)


def _measured(image: Image, head: BoolArray, contrast: Contrast, three_d: bool | None) -> ImageMeasures:  # noqa: FBT001
    axis = image.grid.slice_axis
    slices = slices_first(image)
    inside = np.ascontiguousarray(np.moveaxis(head, axis, 0))
    stack = slice_stack(slices, inside, three_d=three_d)
    spectrum = _spectrum(slices, inside)
    noise, signal = noise_and_signal(slices.data, inside, (1.0, 1.0) if spectrum is None else spectrum.support)
    measurable = spectrum is not None and noise > 0 and signal > 0
    distance = _class_distance(image, head, contrast, axis) if measurable else None
    return ImageMeasures(
        noise=noise,
        snr=signal / noise if measurable else None,
        cnr=None if distance is None else distance / noise,
        ghosting_percent=_ghosting_percent(slices.data, inside, signal),
        head_mm=_extent_mm(head, image.grid.spacing_mm),
        edge_share=_edge_share(head, axis),
        blank_slices=_blank_slices(slices.data),
        slice_digests=slice_digests(slices.data),
        content=measure_content(image, head),
        saturated_percent=_saturated_percent(image.data[head]),
        spectrum=spectrum,
        slices=None if stack is None else measure_slices(stack),
    )


def _spectrum(slices: Image, head: BoolArray) -> SpectrumMeasures | None:
    """Measures of the spectrum of the slices of the middle of the head. Their axis is the first one."""
    areas = head.reshape(len(head), -1).sum(axis=1)
    used = np.flatnonzero(areas > 0.5 * areas.max(initial=1))
    if used.size < _MIN_SPECTRUM_SLICES or min(slices.data.shape[1:]) < _MIN_MATRIX:
        return None
    middle = slice(used[0], used[-1] + 1)
    return measure_spectrum(spectrum_of(slices.data[middle], head[middle], slices.grid.spacing_mm[1:]))


def _saturated_percent(values: NDArray[np.float32]) -> float:
    return float(100 * np.mean(values >= values.max())) if values.size else 0.0


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
    coarse = mean_at(image.data, step, step)
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


def _class_distance(image: Image, head: BoolArray, contrast: Contrast, axis: int) -> float | None:
    """Difference between the medians of the two tissue classes in the interior of the upper head; None if unknown."""
    spacing = image.grid.spacing_mm
    step = tuple(max(1, round(_WORK_MM / s)) for s in spacing)
    coarse_head = head[:: step[0], :: step[1], :: step[2]]
    mm = [n * s for n, s in zip(step, spacing, strict=True)]
    top = int(np.flatnonzero(coarse_head.any(axis=(0, 1))).max(initial=0))
    lowest = max(0, round(top - _BRAIN_HEIGHT_MM / (spacing[2] * step[2])))
    deep = deeper_than(coarse_head, _BRAIN_DEPTH_MM, mm)
    deep[:, :, :lowest] = False
    if np.count_nonzero(deep) < 200:
        return None
    size = [1 if a == axis else 3 for a in range(3)]
    averaged = mean_at(image.data, size, step)
    flat = averaged / _slow_shading(averaged, deep, mm)
    values = flat[deep]
    values = values[(values > np.percentile(values, 1)) & (values < np.percentile(values, 99))]
    if np.unique(values).size < 10:
        return None
    low, high = threshold_multiotsu(values, classes=3)
    medians = [
        float(np.median(part)) if part.size else np.nan
        for part in (values[values < low], values[(values >= low) & (values < high)], values[values >= high])
    ]
    pair = (1, 2) if contrast in _DARK_CSF else (0, 1)
    distance = abs(medians[pair[1]] - medians[pair[0]])
    return distance if np.isfinite(distance) else None


def _slow_shading(data: NDArray[np.float32], mask: BoolArray, spacing_mm: list[float]) -> NDArray[np.float32]:
    """Coil shading over about 4 cm relative to its mean; 1 if unknown."""
    sigma = [30.0 / s for s in spacing_mm]
    weight = smoothed(mask.astype(np.float32), sigma)
    shade = smoothed(np.where(mask, data, 0).astype(np.float32), sigma) / np.maximum(weight, 1e-3)
    return np.asarray(
        np.where(mask, np.maximum(shade, 1e-6) / max(float(shade[mask].mean()), 1e-6), 1), np.float32
    )


def _ghosting_percent(data: NDArray[np.float32], head: BoolArray, signal: float) -> float | None:
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
    return 100 * abs(float(one.mean()) - float(two.mean())) / signal


def _extent_mm(head: BoolArray, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    extents = []
    for axis in range(3):
        used = np.flatnonzero(head.any(axis=tuple(a for a in range(3) if a != axis)))
        extents.append(0.0 if used.size == 0 else float((used[-1] - used[0] + 1) * spacing_mm[axis]))
    return extents[0], extents[1], extents[2]


def _edge_share(head: BoolArray, slice_axis: int) -> float:
    sides = [np.moveaxis(head, axis, 0)[face] for axis in (0, 1) if axis != slice_axis for face in (0, -1)]
    return float(max(side.mean() for side in sides))


def _blank_slices(slices: NDArray[np.float32]) -> int:
    blank = np.array([float(np.ptp(s)) == 0 for s in slices])
    filled = np.flatnonzero(~blank)
    return int(blank[filled[0] : filled[-1]].sum()) if filled.size else 0
