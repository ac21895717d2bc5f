"""The measures of `qc.field_measures` of one scan: the voxels of tissue, head and air, and which values mislead.

Tissue is that of the template, registered to the FLAIR of the visit. Scans are measured as acquired: MRIQC corrects
shading before, and segments tissue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.boxes import widened
from mri_pipeline.core.io.template import Template
from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, Image
from qc import field_measures
from qc.placement import MIN_POINTS, POINT_MM, BrainPoints, Placement, brain_points
from qc.planes import eroded
from qc.shading import white_shading, with_signal

AIR_WITH_SIGNAL: Final = 0.9
"""Share of air with a signal below which the scanner blanked it. Real scans have 0.07 to 0.67, integer noise with a
sigma of 2 grey levels 0.97."""

FACE_WITHOUT_SIGNAL: Final = 0.25
"""Share of the face without signal above which it was removed. Three real scans with a face have 0.01 to 0.08, 17
defaced ones 0.37 to 0.92."""

_HAT_SLOPE: Final = -0.073
_HAT_HEIGHT_MM: Final = -34.8
"""Nasio-occipital plane in template coordinates, z = height + slope y: through nasion (0, 85, -41) and inion
(0, -120, -26)."""

_ORBITS_AND_JAW_MM: Final = ((-30.0, 31.0), (50.0, 80.0), (-65.0, -38.0))
"""Box of the template with the orbits and the upper jaw: from and to along each axis."""
_BOX_STEP_MM: Final = 3.0

_ARTEFACT_SIGMA: Final = 5.0
"""Air above this multiple of the sigma of noise is an artefact: of magnitude noise, 1 in 3e5 voxels is brighter."""

_RIM_MM: Final = 8.0
"""Distance of air from the head mask: partial volume, and the error of the mask."""

_MIDDLE_MM: Final = 20.0
_HALF_MM: Final = 20.0
"""Height of the middle of the slab for the smoothness in template coordinates, and half of its thickness."""

_AIR_VOXELS: Final = 1500
"""Most voxels of air for the fit of QI2, evenly distributed."""

BLANKED: Final = "air without signal (blanked, or removed with the skull)"
DEFACED: Final = "face removed"
_OF_AIR: Final = ("efc", "fber", "qi1", "qi2", "snr_dietrich")
_OF_FACE: Final = ("efc", "fber", "qi1", "qi2")


@dataclass(frozen=True)
class FieldMeasures:
    """Measures of the field; None if the image does not allow the measurement.

    Parameters
    ----------
    cjv, efc, fber, wm2max, qi1, qi2, snr_dietrich : float or None
        Functions of the same names in `qc.field_measures`. SNR of white matter.
    inu_range, inu_median : float or None
        `qc.field_measures.inu` of the shading of white matter, in the brain.
    fwhm_voxels : tuple of float or None
        `qc.field_measures.fwhm_voxels` of a slab of the brain, from left to right, from back to front and upwards.
    misleading : mapping of str to str
        For each measure that is not comparable in this scan, the reason. It must not be read as good or bad.
    """

    cjv: float | None
    efc: float | None
    fber: float | None
    wm2max: float | None
    qi1: float | None
    qi2: float | None
    snr_dietrich: float | None
    inu_range: float | None
    inu_median: float | None
    fwhm_voxels: tuple[float | None, ...]
    misleading: Mapping[str, str]


def measure_field(image: Image, head: BoolArray, placement: Placement, template: Template) -> FieldMeasures:
    """Measure one scan of a visit.

    Parameters
    ----------
    image : Image
        In the axis order of `head`.
    head : ndarray of bool, shape `image.grid.shape`
        From `qc.head.head_mask`.
    placement : Placement
        Of the visit.
    template : Template

    Returns
    -------
    FieldMeasures
    """
    known = brain_points(template)
    world = placement.template_to_world.points(known.points_mm)
    index, inside = nearest(image.grid, world)
    values = image.data[tuple(index.T)]
    white, grey = values[known.white[inside]], values[known.grey[inside]]
    air = image.data[~head]
    blanked = bool(np.count_nonzero(air) < AIR_WITH_SIGNAL * air.size)
    field = field_measures.inu(_shading(known, inside, values))
    artefacts, hat = (0, air[:0]) if blanked else _hat(image, head, placement)
    return FieldMeasures(
        cjv=field_measures.cjv(white, grey),
        efc=field_measures.efc(image.data),
        fber=field_measures.fber(image.data[head], air),
        wm2max=field_measures.wm2max(image.data, white),
        qi1=field_measures.qi1(artefacts, hat.size),
        qi2=field_measures.qi2(hat[:: max(1, -(-hat.size // _AIR_VOXELS))]),
        snr_dietrich=field_measures.snr_dietrich(white, hat),
        inu_range=None if field is None else field[0],
        inu_median=None if field is None else field[1],
        fwhm_voxels=_smoothness(image, index[np.abs(known.points_mm[inside, 2] - _MIDDLE_MM) < _HALF_MM]),
        misleading=_misleading(blanked=blanked, defaced=_is_defaced(image, placement)),
    )


def _misleading(*, blanked: bool, defaced: bool) -> dict[str, str]:
    return dict.fromkeys(_OF_FACE if defaced else (), DEFACED) | dict.fromkeys(_OF_AIR if blanked else (), BLANKED)


def nearest(grid: Grid, world: FloatArray) -> tuple[NDArray[np.intp], BoolArray]:
    """Voxels at points.

    Parameters
    ----------
    grid : Grid
    world : ndarray, shape (n, 3)
        World coordinates in mm.

    Returns
    -------
    index : ndarray of int, shape (m, 3)
        Of the nearest voxel of each point in the image.
    inside : ndarray of bool, shape (n,)
        Points in the image.
    """
    to_index = np.linalg.inv(grid.affine)
    index = np.rint(world @ to_index[:3, :3].T + to_index[:3, 3]).astype(np.intp)
    inside = np.asarray(((index >= 0) & (index < grid.shape)).all(axis=1))
    return index[inside], inside


def _shading(known: BrainPoints, inside: BoolArray, values: NDArray[np.float32]) -> FloatArray:
    """Bias field at the points of the brain, with a geometric mean of 1."""
    points, white = known.points_mm[inside], known.white[inside]
    if np.count_nonzero(white) < MIN_POINTS:
        return np.zeros(0)
    used = white.copy()
    used[white] = with_signal(values[white])
    if np.count_nonzero(used) < MIN_POINTS:
        return np.zeros(0)
    surface = white_shading(points[used], values[used], points)
    return np.asarray(np.exp(surface - surface.mean()))


def _smoothness(image: Image, index: NDArray[np.intp]) -> tuple[float | None, ...]:
    """Smoothness at the voxels of points, and those up to half of the spacing of the points away."""
    if not len(index):
        return (None,) * 3
    low, high = index.min(axis=0), index.max(axis=0) + 1
    brain = np.zeros(high - low, dtype=bool)
    brain[tuple((index - low).T)] = True
    brain = widened(brain, [round(POINT_MM / spacing / 2) for spacing in image.grid.spacing_mm])
    return field_measures.fwhm_voxels(image.data[tuple(map(slice, low, high))], brain)


def _hat(image: Image, head: BoolArray, placement: Placement) -> tuple[int, NDArray[np.float32]]:
    """Air above the nasio-occipital plane: number of voxels with an artefact, and the intensities of the others.

    Artefacts are brighter than noise, in clusters that an opening with a cross of seven voxels keeps (Mortamet 2009,
    with another threshold).
    """
    rim = widened(head, [round(_RIM_MM / spacing) for spacing in image.grid.spacing_mm])
    row = (
        np.array([0.0, -_HAT_SLOPE, 1.0]) @ (placement.template_to_world.inverse().matrix @ image.grid.affine)[:3]
    )
    i, j, k = np.ogrid[tuple(slice(n) for n in image.grid.shape)]
    air = ~rim
    for n, heights in enumerate(row[0] * i + row[1] * j):  # one plane at a time stays in the cache
        air[n] &= heights + row[2] * k[0] + row[3] > _HAT_HEIGHT_MM
    values = image.data[air]
    if not values.size:
        return 0, values
    # the median of magnitude noise is sqrt(2 ln 2) sigma
    bright = air & (image.data > _ARTEFACT_SIGMA * float(median(values)) / np.sqrt(2 * np.log(2)))
    core = eroded(bright)
    if not core.any():
        return 0, values
    artefact = ndimage.binary_dilation(core)
    return int(np.count_nonzero(artefact)), image.data[air & ~artefact]


def _is_defaced(image: Image, placement: Placement) -> bool:
    """True if much of the orbits and of the upper jaw is empty, or not in the image."""
    axes = (np.arange(*ends, _BOX_STEP_MM) for ends in _ORBITS_AND_JAW_MM)
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)
    index, _ = nearest(image.grid, placement.template_to_world.points(points))
    return bool(np.count_nonzero(image.data[tuple(index.T)]) < (1 - FACE_WITHOUT_SIGNAL) * len(points))
