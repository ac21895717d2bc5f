"""Structures around the brain: fractions of dura, skull with marrow, scalp, eyes, face and neck on the head's grid.

The shapes are simplified (spheres, shells, cylinders). The head has the structures that cause errors of brain
extraction: bright scalp and marrow, orbital fat, thin skull, muscle next to the skull base, air cavities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.phantom.anatomy import (
    ORIGIN_MM,
    SHAPE,
    Deformation,
    Tissue,
    template_head,
)
from mri_pipeline.phantom.fields import Float32Array, smooth_field, upsample

Fractions = dict[Tissue, NDArray[np.uint8]]

_DURA_MM = 0.8
_TABLE_SHARE = 0.28  # of the skull's thickness, inner and outer table each; marrow between
_SPACING = 2  # mm; layers are evaluated at 1 mm from distances on this grid
_COARSE_SHAPE = (-(-SHAPE[0] // _SPACING) + 1, -(-SHAPE[1] // _SPACING) + 1, -(-SHAPE[2] // _SPACING) + 1)


def _ellipsoid(
    points: Float32Array, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> Float32Array:
    """Approximate signed distance (mm) to an ellipsoid."""
    q = [(points[i] - np.float32(centre[i])) / np.float32(radii[i]) for i in range(3)]
    norm = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
    return np.asarray((norm - 1.0) * np.float32(min(radii)), dtype=np.float32)


def _smooth_minimum(a: Float32Array, b: Float32Array, width: float) -> Float32Array:
    h = np.clip(0.5 + 0.5 * (b - a) / width, 0.0, 1.0)
    return np.asarray(b * (1 - h) + a * h - width * h * (1 - h), dtype=np.float32)


def _neck(points: Float32Array) -> Float32Array:
    """Signed distance to a cylinder downwards from the skull base."""
    radial = np.sqrt((points[0] / 60.0) ** 2 + ((points[1] + 32.0) / 62.0) ** 2)
    return np.asarray(np.maximum((radial - 1.0) * 58.0, points[2] + 45.0), dtype=np.float32)


def _full(coarse: Float32Array) -> Float32Array:
    return upsample(coarse, SHAPE, _SPACING)


def _share(fraction: Float32Array) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(fraction, 0.0, 1.0) * 255.0), dtype=np.uint8)


def outer_fractions(deformation: Deformation, inside: Float32Array, rng: np.random.Generator) -> Fractions:
    """Fractions of everything outside the brain mask.

    Parameters
    ----------
    deformation : Deformation
        Of this person.
    inside : ndarray, shape `SHAPE`
        Share of each voxel inside the brain mask, which nothing here may take.
    rng : numpy.random.Generator
        For thickness and texture.

    Returns
    -------
    dict of Tissue to ndarray of uint8, shape `SHAPE`
        255 is a voxel full of it.
    """
    warped = deformation.coordinates(_COARSE_SHAPE, _SPACING, (0, 0, 0))
    points = np.stack([warped[i] + np.float32(ORIGIN_MM[i]) for i in range(3)])
    distance = ndimage.map_coordinates(
        template_head().brain_distance_mm, warped / _SPACING, order=1, mode="nearest", output=np.float32
    )
    # beyond the grid's edge the nearest distance is too short: the head ends well within it
    skull = 6.0 + 1.3 * smooth_field(rng, _COARSE_SHAPE, sigma=20.0, spacing=_SPACING)
    skull = np.clip(skull + np.where(points[1] < -60, 1.5, 0.0), 3.5, 10.0)
    scalp = np.clip(5.5 + 1.5 * smooth_field(rng, _COARSE_SHAPE, sigma=25.0, spacing=_SPACING), 3.0, 10.0)
    fluid = np.clip(2.0 + 0.9 * smooth_field(rng, _COARSE_SHAPE, sigma=18.0, spacing=_SPACING), 0.6, 4.0)
    table = fluid + _DURA_MM + skull
    face = _smooth_minimum(_ellipsoid(points, (0, 34, -62), (64, 62, 62)), _neck(points), 18.0)
    # the scalp does not follow every dent of the skull
    outline = ndimage.gaussian_filter(distance - (table + scalp), 5.0 / _SPACING)
    surface = _smooth_minimum(np.minimum(outline, distance - table - 2.5), face, 8.0)
    texture = smooth_field(rng, _COARSE_SHAPE, sigma=6.0, spacing=_SPACING)
    return _layers(points, inside, distance=distance, surface=surface, fluid=fluid, skull=skull, texture=texture)


def _layers(
    points: Float32Array,
    inside: Float32Array,
    *,
    distance: Float32Array,
    surface: Float32Array,
    fluid: Float32Array,
    skull: Float32Array,
    texture: Float32Array,
) -> Fractions:
    depth = _full(distance - fluid)  # beyond the subarachnoid space
    thickness = _full(skull)
    room = np.clip(0.5 - _full(surface), 0.0, 1.0) * (1.0 - inside)  # inside the head, outside the brain
    layers: Fractions = {}

    def shell(tissue: Tissue, start: Float32Array | float, end: Float32Array | float) -> None:
        share = np.clip(depth - start + 0.5, 0.0, 1.0) - np.clip(depth - end + 0.5, 0.0, 1.0)
        part = _share(share * room)
        layers[tissue] = layers[tissue] + part if tissue in layers else part

    shell(Tissue.CSF, -1e3, 0.0)
    shell(Tissue.DURA, 0.0, _DURA_MM)
    shell(Tissue.BONE, _DURA_MM, _DURA_MM + _TABLE_SHARE * thickness)
    shell(Tissue.MARROW, _DURA_MM + _TABLE_SHARE * thickness, _DURA_MM + (1 - _TABLE_SHARE) * thickness)
    shell(Tissue.BONE, _DURA_MM + (1 - _TABLE_SHARE) * thickness, _DURA_MM + thickness)
    room *= np.clip(depth - (_DURA_MM + thickness) + 0.5, 0.0, 1.0)
    below = np.clip(0.5 - _full(surface + 1.6), 0.0, 1.0)  # under the skin
    layers[Tissue.SKIN] = _share(room * (1.0 - below))
    room *= below
    temporal = (np.abs(points[0]) > 55) & (points[2] < 10) & (points[1] > -45)
    muscle = np.maximum(np.clip(0.5 - _full(surface + 7.0), 0.0, 1.0), 0.9 * _full(temporal.astype(np.float32)))
    muscle *= np.clip(_full(texture) * 2.0 + 0.9, 0.0, 1.0)
    layers[Tissue.MUSCLE] = _share(room * muscle)
    layers[Tissue.FAT] = _share(room * (1.0 - muscle))
    for tissue in (Tissue.EYE, Tissue.WHITE):
        layers[tissue] = np.zeros(SHAPE, dtype=np.uint8)
    _carve(layers, points)
    return layers


_CAVITIES = (  # air: centre and radii in the template's world
    ((0, 48, -58), (13, 34, 26)),  # nose
    ((0, 22, -40), (11, 10, 8)),  # sphenoid sinus
    ((26, 46, -68), (12, 14, 13)),  # maxillary sinuses
    ((-26, 46, -68), (12, 14, 13)),
    ((6, 79, -12), (11, 4, 9)),  # frontal sinus
    ((0, 0, -84), (15, 17, 40)),  # throat
)


def _carve(layers: Fractions, points: Float32Array) -> None:
    """Cut eyes, air cavities, mastoid cells and the spinal canal into the layers, in place."""
    # only what is head and not brain can be replaced
    occupied = np.minimum(np.sum(list(layers.values()), axis=0, dtype=np.uint16), 255).astype(np.uint8)

    def replace(tissue: Tissue | None, sdf: Float32Array) -> None:
        coarse, fine = _bounding_boxes(sdf < 2.0)
        share = np.clip(0.5 - upsample(sdf[coarse], tuple(s.stop - s.start for s in fine), _SPACING), 0.0, 1.0)
        for data in layers.values():
            data[fine] = np.rint(data[fine] * (1.0 - share)).astype(np.uint8)
        if tissue is not None:
            layers[tissue][fine] += np.floor(share * occupied[fine]).astype(np.uint8)

    for centre, radii in _CAVITIES:
        replace(None, _ellipsoid(points, centre, radii))
    for side in (-1, 1):
        replace(Tissue.BONE, _ellipsoid(points, (side * 58, -36, -44), (8, 13, 13)))  # mastoids
        replace(Tissue.FAT, _ellipsoid(points, (side * 33, 58, -36), (17, 24, 16)))  # orbits
        replace(Tissue.EYE, _ellipsoid(points, (side * 33, 66, -36), (12, 12, 12)))
    spine = np.maximum(np.hypot(points[0], points[1] + 40.0) - 22.0, points[2] + 70.0)
    canal = np.maximum(np.hypot(points[0], points[1] + 44.0) - 10.0, points[2] + 60.0)
    cord = np.maximum(np.hypot(points[0], points[1] + 44.0) - 5.0, points[2] + 66.0)
    replace(Tissue.MARROW, spine)
    replace(Tissue.CSF, canal)
    replace(Tissue.WHITE, cord)


def _bounding_boxes(mask: NDArray[np.bool_]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The box of a coarse mask, and the same box in 1 mm voxels."""
    coarse, fine = [], []
    for axis in range(3):
        where = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        low, high = (int(where[0]), int(where[-1])) if where.size else (0, 0)
        coarse.append(slice(low, high + 1))
        fine.append(slice(low * _SPACING, max(low * _SPACING + 1, min(SHAPE[axis], high * _SPACING + 1))))
    return tuple(coarse), tuple(fine)
