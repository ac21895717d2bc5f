"""Anatomy of one simulated head: tissue fractions on a 1 mm grid, from the deformed ICBM template.

The template is warped by a seeded smooth deformation of several millimetres, the ventricles are widened or
narrowed, sulci are opened by atrophy, and skull and scalp get their own thickness. A method that registers to
the same template therefore does not meet its own truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Grid
from mri_pipeline.phantom.fields import Float32Array, generator, smooth_field, upsample

ORIGIN_MM = (-100.0, -136.0, -104.0)
SHAPE = (201, 251, 213)
"""The head's grid: 1 mm, RAS, in the template's world; from the neck to above the scalp."""

_COARSE_MM = 4  # control points of the deformation; its smallest scale is 8 mm
_HEAD_MM = 2  # distances and layers outside the brain are smooth enough for this
_SEED_ANATOMY = 11


class Tissue(StrEnum):
    """Tissues of a voxel. The fractions sum to at most 1; the rest is air."""

    GREY = "grey"
    DEEP_GREY = "deep_grey"
    IRON = "iron"  # pallidum, red nucleus, dentate: dark on T2 and FLAIR
    WHITE = "white"
    CSF = "csf"
    FLOWING_CSF = "flowing_csf"  # third and fourth ventricle, cisterns: not fully nulled on FLAIR
    VEIN = "vein"
    ARTERY = "artery"
    CHOROID_PLEXUS = "choroid_plexus"
    DURA = "dura"
    BONE = "bone"
    MARROW = "marrow"
    FAT = "fat"
    MUSCLE = "muscle"
    SKIN = "skin"
    EYE = "eye"


@dataclass(frozen=True)
class AnatomyTraits:
    """Individual parameters of a head, besides the random deformation.

    Parameters
    ----------
    ventricle_growth_mm : float
        Outward shift of the ventricles' wall; negative is narrower than the template's.
    atrophy : float
        Weight of CSF in mixed voxels: 1.5 is a young brain, 2.8 has wide sulci.
    size : tuple of float
        Scale along x, y and z.
    deformation_mm : float
        Standard deviation of the smooth displacement along each axis.
    """

    ventricle_growth_mm: float = 0.5
    atrophy: float = 1.9
    size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    deformation_mm: float = 3.0

    @classmethod
    def random(cls, seed: int) -> AnatomyTraits:
        """Traits of a person.

        Parameters
        ----------
        seed : int
            Of the person; 0 or more.

        Returns
        -------
        AnatomyTraits
        """
        rng = generator(seed, _SEED_ANATOMY, 0)
        x, y, z = (float(s) for s in np.clip(rng.normal(0.97, 0.025, 3) * rng.normal(1.0, 0.02), 0.9, 1.04))
        return cls(
            float(rng.uniform(-0.8, 3.0)), float(rng.uniform(1.5, 2.8)), (x, y, z), float(rng.uniform(2.0, 2.8))
        )


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Tissue fractions of one head.

    Parameters
    ----------
    grid : Grid
        1 mm, RAS, in the person's own space.
    fractions : mapping of Tissue to ndarray of uint8, shape `grid.shape`
        255 is a voxel full of it; the sum over tissues is at most 255.
    ventricle_distance_mm, cortex_distance_mm : ndarray of float32, shape `grid.shape`
        Distance to the nearest ventricle and to the nearest cortex.
    infratentorial : ndarray of bool, shape `grid.shape`
        Brainstem and cerebellum.
    seed : int
    traits : AnatomyTraits
    """

    grid: Grid
    fractions: Mapping[Tissue, NDArray[np.uint8]]
    ventricle_distance_mm: Float32Array
    cortex_distance_mm: Float32Array
    infratentorial: NDArray[np.bool_]
    seed: int
    traits: AnatomyTraits

    def fraction(self, *tissues: Tissue) -> Float32Array:
        """Summed fraction of some tissues.

        Parameters
        ----------
        *tissues : Tissue
            Tissues of this head.

        Returns
        -------
        ndarray of float32, shape `grid.shape`
            0 to 1; zeros without tissues.
        """
        total = np.zeros(self.grid.shape, dtype=np.float32)
        for tissue in tissues:
            total += self.fractions[tissue]
        return total / np.float32(255.0)


@dataclass(frozen=True, eq=False)
class TemplateHead:
    """The template on the head's grid, with the distances that define the layers around the brain.

    Parameters
    ----------
    grey, white, brain : ndarray of float32, shape `SHAPE`
        Probabilities and mask of the template; 0 outside its field of view.
    ventricle_distance_mm : ndarray of float32, shape `SHAPE`
        Signed distance, negative inside.
    brain_distance_mm : ndarray of float32
        Signed distance on the grid with voxels of 2 mm, negative inside.
    """

    grey: Float32Array
    white: Float32Array
    brain: Float32Array
    ventricle_distance_mm: Float32Array  # signed, 1 mm grid; negative inside
    brain_distance_mm: Float32Array  # signed, 2 mm grid; negative inside


def head_grid() -> Grid:
    """The 1 mm grid of every simulated head.

    Returns
    -------
    Grid
        Of `SHAPE`, with its first voxel at `ORIGIN_MM`.
    """
    affine = np.eye(4)
    affine[:3, 3] = ORIGIN_MM
    return Grid(SHAPE, affine)


def _on_head_grid(data: NDArray[Any], origin: NDArray[np.floating[Any]]) -> Float32Array:
    result = np.zeros(SHAPE, dtype=np.float32)
    start = np.rint(origin - np.array(ORIGIN_MM)).astype(int)
    source = tuple(slice(max(0, -s), min(n, m - s)) for s, n, m in zip(start, data.shape, SHAPE, strict=True))
    target = tuple(slice(s + i.start, s + i.stop) for s, i in zip(start, source, strict=True))
    result[target] = data[source]
    return result


def _signed_distance(mask: NDArray[np.bool_], spacing: float) -> Float32Array:
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    return (outside - inside).astype(np.float32)


def _ventricle_region() -> NDArray[np.bool_]:
    """Boxes (template's world, mm) in which CSF is ventricle and not cistern or fissure, on the 2 mm grid."""
    x, y, z = (
        (ORIGIN_MM[i] + _HEAD_MM * np.arange(-(-SHAPE[i] // _HEAD_MM))).reshape(
            [-1 if axis == i else 1 for axis in range(3)]
        )
        for i in range(3)
    )
    side = np.abs(x)
    body = (side < 36) & (y > -60) & (y < 34) & (z > -4) & (z < 30) & ((side > 3) | (y > -32))
    temporal = (side > 20) & (side < 42) & (y > -45) & (y < -2) & (z > -26) & (z <= -4)
    third = (side < 6) & (y > -32) & (y < 8) & (z > -14) & (z < 10)
    fourth = (side < 14) & (y > -62) & (y < -33) & (z > -46) & (z < -16)
    return np.asarray(body | temporal | third | fourth)


@cache
def template_head() -> TemplateHead:
    """Maps of the template on the grid of the head. The ventricles are the deep CSF of the template.

    Returns
    -------
    TemplateHead
        Cached.
    """
    template = load_template()
    origin = template.t1.grid.affine[:3, 3]
    grey = _on_head_grid(template.grey_matter.data, origin)
    white = _on_head_grid(template.white_matter.data, origin)
    brain = _on_head_grid(template.brain.data, origin)
    step = slice(None, None, _HEAD_MM)
    coarse_brain = brain[step, step, step] > 0
    brain_distance = _signed_distance(coarse_brain, _HEAD_MM)
    ventricles = ((brain - grey - white) > 0.5)[step, step, step] & _ventricle_region()
    distance = upsample(_signed_distance(ventricles, _HEAD_MM), SHAPE, _HEAD_MM)
    return TemplateHead(grey, white, brain, distance, brain_distance)


@dataclass(frozen=True, eq=False)
class Deformation:
    """From a person's space (the head's grid) to the template's, on control points every 4 mm.

    ``template = person + displacement(person)``, all in mm.

    Parameters
    ----------
    displacement_mm : ndarray of float32, shape (3, nx, ny, nz)
        Along x, y and z at each control point.
    """

    displacement_mm: Float32Array  # shape (3, *coarse)

    def coordinates(self, shape: tuple[int, int, int], spacing: int, start: tuple[int, int, int]) -> Float32Array:
        """Template voxel coordinates (1 mm voxels of the head's grid) of a person's voxels.

        Parameters
        ----------
        shape : tuple of int
            The box wanted, in voxels of `spacing` mm.
        spacing : int
            Voxel size in mm.
        start : tuple of int
            Its first voxel, in 1 mm voxels of the head's grid.

        Returns
        -------
        ndarray of float32, shape (3, nx, ny, nz)
        """
        result = np.empty((3, *shape), dtype=np.float32)
        scale = np.full(3, spacing / _COARSE_MM)
        offset = np.array(start) / _COARSE_MM
        for axis in range(3):
            ndimage.affine_transform(
                self.displacement_mm[axis], scale, offset=offset, output_shape=shape, order=1, mode="nearest",
                output=result[axis],
            )  # fmt: skip
            index = start[axis] + spacing * np.arange(shape[axis], dtype=np.float32)
            result[axis] += index.reshape([-1 if i == axis else 1 for i in range(3)])
        return result

    def to_person(self, template_mm: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """A person's points of points in the template, by fixed-point iteration.

        Parameters
        ----------
        template_mm : ndarray, shape (n, 3)
            World coordinates in mm.

        Returns
        -------
        ndarray, shape (n, 3)
            World coordinates in mm.
        """
        target = np.asarray(template_mm, dtype=float)
        person = target.copy()
        for _ in range(12):
            index = ((person - np.array(ORIGIN_MM)) / _COARSE_MM).T
            moved = [ndimage.map_coordinates(d, index, order=1, mode="nearest") for d in self.displacement_mm]
            person = target - np.stack(moved, axis=1)
        return person


def random_deformation(seed: int, traits: AnatomyTraits) -> Deformation:
    """A smooth, invertible deformation: scale, two scales of random displacement, and the ventricles' width.

    Parameters
    ----------
    seed : int
        Of the person.
    traits : AnatomyTraits

    Returns
    -------
    Deformation
    """
    rng = generator(seed, _SEED_ANATOMY, 1)
    shape = tuple(-(-n // _COARSE_MM) + 1 for n in SHAPE)
    field = np.empty((3, *shape), dtype=np.float32)
    for axis in range(3):
        field[axis] = traits.deformation_mm * smooth_field(rng, shape, sigma=22.0, spacing=_COARSE_MM)
        field[axis] += 1.2 * smooth_field(rng, shape, sigma=9.0, spacing=_COARSE_MM)
        position = ORIGIN_MM[axis] + _COARSE_MM * np.arange(shape[axis], dtype=np.float32)
        stretch = (1.0 / traits.size[axis] - 1.0) * position
        field[axis] += stretch.reshape([-1 if i == axis else 1 for i in range(3)])
    distance = template_head().ventricle_distance_mm[::_COARSE_MM, ::_COARSE_MM, ::_COARSE_MM]
    distance = np.pad(distance, [(0, n - m) for n, m in zip(shape, distance.shape, strict=True)], mode="edge")
    distance = ndimage.gaussian_filter(distance, 1.0)
    # the wall moves by the whole growth, tissue 20 mm away hardly at all
    weight = traits.ventricle_growth_mm * np.exp(-np.maximum(distance, 0.0) / 12.0)
    slope = np.array(np.gradient(distance, _COARSE_MM), dtype=np.float32)
    # outwards from the wall; between the two walls of a narrow ventricle the direction turns over smoothly
    slope /= np.maximum(np.linalg.norm(slope, axis=0), 0.6)
    field -= ndimage.gaussian_filter(weight * slope, (0, 0.7, 0.7, 0.7))
    return Deformation(field)
