"""Where the brain lies in the scans of a visit: by the template on the FLAIR, and by the headers in the other scans.

The template is registered once, on the FLAIR, where brain, bone and scalp differ most. Scans of one visit differ from
each other by a few millimetres, which changes no measure of this module by more than its limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.distances import deeper_than
from mri_pipeline.core.io.template import Template
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, Image
from mri_pipeline.images.brain import fit_template
from mri_pipeline.images.matching import look_up
from mri_pipeline.images.sampling import PyramidLevel, downsample
from qc.shading import bias_percent

POINT_MM: Final = 3
"""Spacing of the points of the template."""

SUBCALLOSAL_SLOPE: Final = -0.165
"""Rise of the subcallosal line in the template from back to front: the line below the rostrum (y 23.5, z -3 mm) and the
splenium (y -37, z 7 mm) of the corpus callosum in the white matter of the middle (ICBM 2009a)."""

_CERTAIN: Final = 0.7
"""Similarity of a FLAIR that is the right way up. Real scans have 0.78 to 0.93, upside down 0.61 to 0.66 (20 scans)."""
_HALF: Final = 0.5
"""Share of brain or parenchyma from which a point of the template is inside."""
_TISSUE_SHARE: Final = 0.9
"""Share of white or grey matter from which a point is nearly all of it."""
_FLUID_SHARE: Final = 0.1
"""Share of parenchyma below which a point of the brain is CSF."""
MIN_POINTS: Final = 200
"""Fewest points of a tissue for a measure of it."""
_DARK: Final = 0.25
"""Signal relative to white matter below which parenchyma is a void: black holes and iron are brighter."""
_RIM_MM: Final = 6.0
"""Distance from the surface of the brain and from CSF of the template: the error of its registration."""


@dataclass(frozen=True)
class BrainPoints:
    """Grid points of the brain of the template, above the foramen magnum.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        Template coordinates.
    white, grey, fluid : ndarray of bool, shape (n,)
        Points that are nearly all white matter, grey matter or CSF.
    deep : ndarray of bool, shape (n,)
        Parenchyma far from the surface and from CSF.
    index : ndarray of int, shape (n, 3)
        Their index on the grid of the points.
    """

    points_mm: FloatArray
    white: BoolArray
    grey: BoolArray
    fluid: BoolArray
    deep: BoolArray
    index: NDArray[np.intp]


@dataclass(frozen=True)
class Placement:
    """The brain of a visit.

    Parameters
    ----------
    template_to_world : Affine
        From template to world coordinates of the visit.
    similarity : float
        Of the template to the FLAIR, 0 to 1 (`mri_pipeline.images.matching.evaluate`).
    upside_down_gain : float
        Similarity that the same scan gains with its slices in reverse order; 0 if it is high anyway.
    """

    template_to_world: Affine
    similarity: float
    upside_down_gain: float


@dataclass(frozen=True)
class BrainMeasures:
    """Measures of the brain in a scan; None if too little of it is in the field of view.

    Parameters
    ----------
    missing_percent : float
        Brain outside of the slices.
    cut_top_mm, cut_bottom_mm : float
        Brain above the uppermost and below the lowest slice, down to the foramen magnum.
    fluid_ratio, grey_ratio : float or None
        Median signal of CSF and of grey matter relative to white matter.
    bias_percent : float or None
        Shading of white matter: half of the range (5 to 95 %) of a quadratic surface.
    void_mm : float or None
        Diameter of the largest sphere without signal in the parenchyma.
    """

    missing_percent: float
    cut_top_mm: float
    cut_bottom_mm: float
    fluid_ratio: float | None
    grey_ratio: float | None
    bias_percent: float | None
    void_mm: float | None


@cache
def brain_points(template: Template) -> BrainPoints:
    """Points of the template for the measures.

    Parameters
    ----------
    template : Template

    Returns
    -------
    BrainPoints
    """
    white, grey = (template.coarse(name, POINT_MM) for name in ("white_matter", "grey_matter"))
    brain = template.coarse("brain", POINT_MM).data > _HALF
    parenchyma = brain & (white.data + grey.data > _HALF)
    deep = deeper_than(parenchyma, _RIM_MM, (POINT_MM,) * 3)
    index = np.argwhere(brain)
    points = white.grid.world(index.astype(float))
    kept = points[:, 2] > METHOD.regions.foramen_magnum_z_mm
    index, points = index[kept], points[kept]
    at = tuple(index.T)
    w, g = white.data[at], grey.data[at]
    fluid = w + g < _FLUID_SHARE
    return BrainPoints(points, w > _TISSUE_SHARE, g > _TISSUE_SHARE, fluid, deep[at], index)


def place_brain(flair: Image, template: Template) -> Placement:
    """Register the template to a FLAIR.

    Parameters
    ----------
    flair : Image
        With or without skull.
    template : Template

    Returns
    -------
    Placement
        With a similarity of 0 for an image that has nothing in common with a head.
    """
    match = fit_template(flair, template, METHOD.brain)
    gain = 0.0
    if match.similarity < _CERTAIN:
        gain = fit_template(_reversed(flair), template, METHOD.brain).similarity - match.similarity
    return Placement(match.fixed_to_moving, match.similarity, gain)


def _reversed(image: Image) -> Image:
    upright = image.reoriented("RAS")
    return Image(np.ascontiguousarray(upright.data[:, :, ::-1]), upright.grid)


def tilt_deg(image: Image, placement: Placement) -> float | None:
    """Angle between axial slices and the plane through the subcallosal line and the axis from left to right.

    Parameters
    ----------
    image : Image
        A scan of the visit.
    placement : Placement

    Returns
    -------
    float or None
        In degrees. None for slices that are not axial.
    """
    across = np.linalg.inv(image.grid.affine[:3, :3])[image.grid.slice_axis]
    normal = placement.template_to_world.matrix[:3, :3].T @ across
    if np.argmax(np.abs(normal)) != 2:
        return None
    recommended = np.array([0.0, -SUBCALLOSAL_SLOPE, 1.0])
    cosine = abs(normal @ recommended) / (np.linalg.norm(normal) * np.linalg.norm(recommended))
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def measure_brain(image: Image, placement: Placement, template: Template) -> BrainMeasures:
    """Measure the brain in a scan of a visit.

    Parameters
    ----------
    image : Image
        Any contrast and orientation.
    placement : Placement
    template : Template

    Returns
    -------
    BrainMeasures
    """
    known = brain_points(template)
    world = placement.template_to_world.points(known.points_mm)
    covered = _covered(image, world)
    top, bottom = _cut_mm(known.points_mm[:, 2], covered, placement.template_to_world)
    missing = 100 * (1 - float(covered.mean()))
    small = downsample(image, POINT_MM)
    values = look_up(PyramidLevel(small.data[None], small.grid), world, channels=1)[0][0]
    white, grey, fluid = (values[mask & covered] for mask in (known.white, known.grey, known.fluid))
    if min(white.size, grey.size, fluid.size) < MIN_POINTS or median(white) <= 0:
        return BrainMeasures(missing, top, bottom, None, None, None, None)
    base = float(median(white))
    return BrainMeasures(
        missing,
        top,
        bottom,
        fluid_ratio=float(median(fluid)) / base,
        grey_ratio=float(median(grey)) / base,
        bias_percent=bias_percent(known.points_mm[known.white & covered], white),
        void_mm=_void_mm(known, covered & (values < _DARK * base)),
    )


def _covered(image: Image, world: FloatArray) -> BoolArray:
    """Points within the slices that have content."""
    to_index = np.linalg.inv(image.grid.affine)
    index = world @ to_index[:3, :3].T + to_index[:3, 3]
    axis = image.grid.slice_axis
    filled = np.flatnonzero(np.ptp(image.data, axis=tuple({0, 1, 2} - {axis})) > 0)
    low, high = np.zeros(3), np.array(image.grid.shape) - 1.0
    if filled.size:
        low[axis], high[axis] = filled[0], filled[-1]
    return np.asarray(((index >= low - 0.5) & (index <= high + 0.5)).all(axis=1))


def _cut_mm(heights: FloatArray, covered: BoolArray, template_to_world: Affine) -> tuple[float, float]:
    """Height of the levels of the brain that are mostly outside of the slices, from above and from below."""
    levels, of = np.unique(heights, return_inverse=True)
    share = np.bincount(of, covered.astype(float)) / np.bincount(of)
    inside = np.flatnonzero(share >= _HALF)
    scale = float(np.linalg.norm(template_to_world.matrix[:3, 2])) * POINT_MM
    if inside.size == 0:
        return scale * levels.size, scale * levels.size
    return float(scale * (levels.size - 1 - inside[-1])), float(scale * inside[0])


def _void_mm(known: BrainPoints, dark: BoolArray) -> float:
    shape = known.index.max(axis=0) + 2
    void = np.zeros(shape, dtype=bool)
    void[tuple(known.index[dark & known.deep].T)] = True
    if not void.any():
        return 0.0
    return float(2 * ndimage.distance_transform_edt(np.pad(void, 1), sampling=POINT_MM).max() - POINT_MM)
