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

from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import BoolArray, Image
from mri_pipeline.core.visits import Contrast
from qc.content import ContentMeasures, measure_content, slice_digests
from qc.field_scan import FieldMeasures, measure_field
from qc.frequencies import SpectrumMeasures, measure_spectrum
from qc.ghosting import ghosting_percent
from qc.head import blank_slices, edge_share, extent_mm, head_mask
from qc.laterality import flair_points, mirror_ratio
from qc.noise import noise_and_signal
from qc.placement import BrainMeasures, Placement, measure_brain, place_brain, tilt_deg
from qc.planes import slices_first
from qc.slices.measures import SliceMeasures, measure_slices
from qc.slices.stack import slice_stack
from qc.spectrum import spectrum_of
from qc.tissue_contrast import tissue_difference

_NO_HEAD: Final = (0.3, 2.6, 0.05)
"""Volume in litres, local variation in percent and coherence of slices up to which no brain is searched for."""

_LEAST_SIMILARITY: Final = 0.3
"""Below this similarity of the template, nothing is measured in the brain."""

_MIDDLE_AREA: Final = 0.5
"""Area of the head in a slice of the middle, as a share of the largest area."""

_MIN_SPECTRUM_SLICES: Final = 3
"""Fewest slices of the middle for a spectrum."""

_MIN_MATRIX: Final = 64
"""Fewest rows and columns for a spectrum: with fewer, the bands of its measures hold few frequencies."""


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
        Image quality metrics of MRIQC. They have no limits. None if the brain was not located.
    mirror_ratio : float or None
        `qc.laterality.mirror_ratio` of a scan other than the FLAIR.
    tilt_deg : float or None
        `qc.placement.tilt_deg` of a 2D scan.
    phase_axis : int or None
        Axis of the phase encoding by the header: 0 left-right, 1 front-back, 2 head-feet; None if it is not stated.
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
    phase_axis: int | None = None

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
    phase_axes: Mapping[Contrast, int | None] | None = None,
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
    phase_axes : mapping of Contrast to (int or None), optional
        Axes of the phase encoding, by the headers (`qc.decision.phase_axes`).

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
        values = measure(image, contrast, head=head, three_d=stated.get(contrast))
        values = replace(values, phase_axis=(phase_axes or {}).get(contrast))
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


def measure(
    image: Image, contrast: Contrast, *, head: BoolArray | None = None, three_d: bool | None = None
) -> ImageMeasures:
    """Measure one scan by itself, without the place of the brain.

    Parameters
    ----------
    image : Image
        Converted image in any orientation, not corrected or normalised.
    contrast : Contrast
        Determines the intensity classes of grey and white matter.
    head : ndarray of bool, optional
        `qc.head.head_mask` of an image in RAS order. None: it is computed.
    three_d : bool, optional
        As in `qc.slices.stack.slice_stack`.

    Returns
    -------
    ImageMeasures
        Without `brain`, `placement`, `field`, `mirror_ratio` and `tilt_deg`.
    """
    image = image.reoriented("RAS")
    head = head_mask(image) if head is None else head
    axis = image.grid.slice_axis
    slices = slices_first(image)
    inside = np.ascontiguousarray(np.moveaxis(head, axis, 0))
    stack = slice_stack(slices, inside, three_d=three_d)
    spectrum = _spectrum(slices, inside)
    noise, signal = noise_and_signal(slices.data, inside, (1.0, 1.0) if spectrum is None else spectrum.support)
    measurable = spectrum is not None and noise > 0 and signal > 0
    difference = tissue_difference(image, head, contrast) if measurable else None
    return ImageMeasures(
        noise=noise,
        snr=signal / noise if measurable else None,
        cnr=None if difference is None else difference / noise,
        ghosting_percent=ghosting_percent(slices.data, inside, signal),
        head_mm=extent_mm(head, image.grid.spacing_mm),
        edge_share=edge_share(head, axis),
        blank_slices=blank_slices(slices.data),
        slice_digests=slice_digests(slices.data),
        content=measure_content(image, head),
        saturated_percent=_saturated_percent(image.data[head]),
        spectrum=spectrum,
        slices=None if stack is None else measure_slices(stack),
    )


def _spectrum(slices: Image, head: BoolArray) -> SpectrumMeasures | None:
    """Measures of the spectrum of the slices of the middle of the head. Their axis is the first one."""
    areas = head.reshape(len(head), -1).sum(axis=1)
    used = np.flatnonzero(areas > _MIDDLE_AREA * areas.max(initial=1))
    if used.size < _MIN_SPECTRUM_SLICES or min(slices.data.shape[1:]) < _MIN_MATRIX:
        return None
    middle = slice(used[0], used[-1] + 1)
    return measure_spectrum(spectrum_of(slices.data[middle], head[middle], slices.grid.spacing_mm[1:]))


def _saturated_percent(values: NDArray[np.float32]) -> float:
    return float(100 * np.mean(values >= values.max())) if values.size else 0.0
