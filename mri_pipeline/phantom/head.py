"""What lies around the brain: dura, skull with marrow, scalp, eyes, face and neck, as fractions on the head's grid.

Stylised (spheres, shells, cylinders), but with the signals that lead a brain extraction astray: bright scalp and
marrow, orbital fat, thin skull, muscle next to the skull base, air cavities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.phantom.anatomy import (
    ORIGIN_MM,
    SHAPE,
    Deformation,
    Tissue,
    template_head,
)
from mri_pipeline.phantom.fields import Float32Array, smooth_field, upsample
from scipy import ndimage

_SPACING = 2  # mm; layers are evaluated at 1 mm from distances on this grid
_COARSE_SHAPE = tuple(-(-n // _SPACING) + 1 for n in SHAPE)


def _ellipsoid(
    points: Float32Array, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> Float32Array:
    """Roughly the signed distance (mm) to an ellipsoid."""
    q = [(points[i] - np.float32(centre[i])) / np.float32(radii[i]) for i in range(3)]
    norm = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
    return ((norm - 1.0) * np.float32(min(radii))).astype(np.float32)


def _smooth_minimum(a: Float32Array, b: Float32Array, width: float) -> Float32Array:
    h = np.clip(0.5 + 0.5 * (b - a) / width, 0.0, 1.0)
    return (b * (1 - h) + a * h - width * h * (1 - h)).astype(np.float32)


def _neck(points: Float32Array) -> Float32Array:
    """Signed distance to a cylinder downwards from the skull base."""
    radial = np.sqrt((points[0] / 60.0) ** 2 + ((points[1] + 32.0) / 62.0) ** 2)
    return np.maximum((radial - 1.0) * 58.0, points[2] + 45.0).astype(np.float32)


def _full(coarse: Float32Array) -> Float32Array:
    return upsample(coarse, SHAPE, _SPACING)


def _share(fraction: Float32Array) -> NDArray[np.uint8]:
    return np.rint(np.clip(fraction, 0.0, 1.0) * 255.0).astype(np.uint8)


def outer_fractions(
    deformation: Deformation, inside: Float32Array, rng: np.random.Generator
) -> dict[Tissue, NDArray[np.uint8]]:
    """Fractions of everything outside the brain mask.

    Parameters
    ----------
    deformation : Deformation
        Of this person.
    inside : ndarray, shape `SHAPE`
        Share of each voxel inside the brain mask, which nothing here may take.
    rng : numpy.random.Generator
        For thickness and texture.
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
    table = fluid + 0.8 + skull
    face = _smooth_minimum(_ellipsoid(points, (0, 34, -62), (64, 62, 62)), _neck(points), 18.0)
    # the scalp does not follow every dent of the skull
    outline = ndimage.gaussian_filter(distance - (table + scalp), 5.0 / _SPACING)
    surface = _smooth_minimum(np.minimum(outline, distance - table - 2.5), face, 8.0)
    texture = smooth_field(rng, _COARSE_SHAPE, sigma=6.0, spacing=_SPACING)
    return _layers(points, distance, surface, fluid, skull, texture, inside)


def _layers(
    points: Float32Array,
    distance: Float32Array,
    surface: Float32Array,
    fluid: Float32Array,
    skull: Float32Array,
    texture: Float32Array,
    inside: Float32Array,
) -> dict[Tissue, NDArray[np.uint8]]:
    depth = _full(distance)
    room = np.clip(0.5 - _full(surface), 0.0, 1.0) * (1.0 - inside)  # inside the head, outside the brain
    cerebrospinal = _full(fluid)
    thickness = _full(skull)

    def beyond(limit: Float32Array) -> Float32Array:
        return np.clip(depth - limit + 0.5, 0.0, 1.0)

    dura_start = cerebrospinal
    inner = dura_start + 0.8
    outer = inner + thickness
    past = [
        beyond(dura_start),
        beyond(inner),
        beyond(inner + 0.28 * thickness),
        beyond(outer - 0.28 * thickness),
        beyond(outer),
    ]
    layers = {
        Tissue.CSF: 1.0 - past[0],
        Tissue.DURA: past[0] - past[1],
        Tissue.BONE: past[1] - past[2] + past[3] - past[4],
        Tissue.MARROW: past[2] - past[3],
    }
    soft = past[4]
    below = np.clip(0.5 - _full(surface + 1.6), 0.0, 1.0)  # under the skin
    deep = np.clip(0.5 - _full(surface + 7.0), 0.0, 1.0)
    temporal = _full((np.abs(points[0]) > 55).astype(np.float32) * (points[2] < 10) * (points[1] > -45))
    muscle = np.clip(_full(texture) * 2.0 + 0.9, 0.0, 1.0) * np.maximum(deep, 0.9 * temporal * below)
    layers[Tissue.SKIN] = soft * (1.0 - below)
    layers[Tissue.MUSCLE] = soft * below * muscle
    layers[Tissue.FAT] = soft * below * (1.0 - muscle)
    for tissue in layers:
        layers[tissue] = layers[tissue] * room
    layers[Tissue.EYE] = np.zeros(SHAPE, dtype=np.float32)
    _carve(layers, points)
    return {tissue: _share(fraction) for tissue, fraction in layers.items()}


def _carve(layers: dict[Tissue, Float32Array], points: Float32Array) -> None:
    """Cut eyes, air cavities, mastoid cells and the spinal canal into the layers, in place."""
    air = [
        _ellipsoid(points, (0, 48, -58), (13, 34, 26)),  # nose
        _ellipsoid(points, (0, 22, -40), (11, 10, 8)),  # sphenoid sinus
        _ellipsoid(points, (26, 46, -68), (12, 14, 13)),  # maxillary sinuses
        _ellipsoid(points, (-26, 46, -68), (12, 14, 13)),
        _ellipsoid(points, (6, 79, -12), (11, 4, 9)),  # frontal sinus
        _ellipsoid(points, (0, 0, -84), (15, 17, 40)),  # throat
    ]
    mastoids = np.minimum(
        _ellipsoid(points, (58, -36, -44), (8, 13, 13)), _ellipsoid(points, (-58, -36, -44), (8, 13, 13))
    )
    orbits = np.minimum(
        _ellipsoid(points, (33, 58, -36), (17, 24, 16)), _ellipsoid(points, (-33, 58, -36), (17, 24, 16))
    )
    eyes = np.minimum(
        _ellipsoid(points, (33, 66, -36), (12, 12, 12)), _ellipsoid(points, (-33, 66, -36), (12, 12, 12))
    )
    canal = np.maximum(np.sqrt(points[0] ** 2 + (points[1] + 44.0) ** 2) - 10.0, points[2] + 60.0).astype(
        np.float32
    )
    spine = np.maximum(np.sqrt(points[0] ** 2 + (points[1] + 40.0) ** 2) - 22.0, points[2] + 70.0).astype(
        np.float32
    )
    occupied = np.sum(list(layers.values()), axis=0)  # only what is head and not brain can be replaced

    def replace(tissue: Tissue | None, sdf: Float32Array) -> None:
        coarse, fine = _bounding_boxes(sdf < 2.0)
        share = np.clip(0.5 - upsample(sdf[coarse], tuple(s.stop - s.start for s in fine), _SPACING), 0.0, 1.0)
        for other in layers:
            layers[other][fine] *= 1.0 - share
        if tissue is not None:
            layers[tissue][fine] += share * occupied[fine]

    for cavity in air:
        replace(None, cavity)
    replace(Tissue.BONE, mastoids)
    replace(Tissue.FAT, orbits)
    replace(Tissue.EYE, eyes)
    replace(Tissue.MARROW, spine)
    replace(Tissue.CSF, canal)


def _bounding_boxes(mask: NDArray[np.bool_]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The box of a coarse mask, and the same box in 1 mm voxels."""
    coarse, fine = [], []
    for axis in range(3):
        where = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        low, high = (int(where[0]), int(where[-1])) if where.size else (0, 0)
        coarse.append(slice(low, high + 1))
        fine.append(slice(low * _SPACING, max(low * _SPACING + 1, min(SHAPE[axis], high * _SPACING + 1))))
    return tuple(coarse), tuple(fine)
