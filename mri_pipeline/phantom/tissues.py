"""Tissue fractions of one head from the template's maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.phantom.anatomy import (
    ORIGIN_MM,
    SHAPE,
    Anatomy,
    AnatomyTraits,
    Deformation,
    Tissue,
    head_grid,
    random_deformation,
    template_head,
)
from mri_pipeline.phantom.fields import Float32Array, generator, paint_tube, smooth_field, upsample
from mri_pipeline.phantom.head import outer_fractions
from mri_pipeline.phantom.vessels import Tube, artery_tubes, plexus_tubes, vein_tubes

_SEED_TISSUES = 12
_GREY_SHARPENING = 0.8
"""Correction of the average template, whose cortex is too thick. It gives a ratio of grey to white matter of 1.2."""
_MARGIN = 12  # voxels around the template's brain that a deformed brain may reach

_IRON = [((18, -3, -1), (6, 9, 5)), ((4, -20, -9), (3, 3, 3)), ((14, -56, -34), (6, 5, 3))]
"""Pallidum, red nucleus and dentate nucleus: centre and radii in the template's world, both sides."""

Box = tuple[slice, slice, slice]


def _brain_box() -> Box:
    brain = template_head().brain > 0
    box = []
    for axis in range(3):
        where = np.flatnonzero(brain.any(axis=tuple(i for i in range(3) if i != axis)))
        box.append(slice(max(0, where[0] - _MARGIN), min(SHAPE[axis], where[-1] + 1 + _MARGIN)))
    return box[0], box[1], box[2]


def _pull(data: Float32Array, coordinates: Float32Array) -> Float32Array:
    result: Float32Array = ndimage.map_coordinates(data, coordinates, order=1, mode="constant", output=np.float32)
    return result


def _brain_fractions(
    coordinates: Float32Array, traits: AnatomyTraits, rng: np.random.Generator
) -> tuple[dict[Tissue, Float32Array], Float32Array, Float32Array]:
    """Sharpened fractions in the brain's box, the brain's share, and the distance to the ventricles (mm)."""
    head = template_head()
    grey, white, brain, ventricle = (
        _pull(data, coordinates) for data in (head.grey, head.white, head.brain, head.ventricle_distance_mm)
    )
    shape = brain.shape
    fluid = np.clip(brain - grey - white, 0.0, 1.0)
    # an average of 152 brains is blurred where people differ: refine_rigid, with own random cortical detail
    detail = smooth_field(rng, shape, sigma=2.2)
    opening = traits.atrophy * np.exp(0.55 * detail)
    fluid = (opening * fluid) ** 3
    # the average has grey matter along the ventricles, where people differ
    lining = 0.45 * np.exp(-(np.maximum(ventricle, 0.0) ** 2) / 9.0) * (grey < 0.8)
    folding = 1.0 + 0.22 * smooth_field(rng, shape, sigma=3.5)
    grey = (_GREY_SHARPENING * (1.0 - lining) * np.clip(folding, 0.5, 1.6) * grey) ** 3
    white = white**3
    total = np.maximum(grey + white + fluid, 1e-6)
    scale = brain / total
    parts = {Tissue.GREY: grey * scale, Tissue.WHITE: white * scale, Tissue.CSF: fluid * scale}
    return parts, brain, ventricle


def _ellipsoid_weight(
    coordinates: Float32Array, centre: tuple[float, ...], radii: tuple[float, ...]
) -> Float32Array:
    total = np.zeros(coordinates.shape[1:], dtype=np.float32)
    for axis in range(3):
        mm = coordinates[axis] + np.float32(ORIGIN_MM[axis] - centre[axis])
        total += (mm / np.float32(radii[axis])) ** 2
    return np.clip((1.15 - np.sqrt(total)) / 0.3, 0.0, 1.0).astype(np.float32)


def _split_deep(parts: dict[Tissue, Float32Array], coordinates: Float32Array, ventricle: Float32Array) -> None:
    """Divide grey matter into cortex, deep and iron-rich nuclei, and CSF into still and flowing, in place."""
    deep = _ellipsoid_weight(coordinates, (0, -4, 4), (33, 34, 20))
    parts[Tissue.DEEP_GREY] = parts[Tissue.GREY] * deep
    parts[Tissue.GREY] = parts[Tissue.GREY] - parts[Tissue.DEEP_GREY]
    iron = np.zeros_like(deep)
    for centre, radii in _IRON:
        for side in (-1, 1):
            iron = np.maximum(iron, _ellipsoid_weight(coordinates, (side * centre[0], *centre[1:]), radii))
    parts[Tissue.IRON] = np.zeros_like(deep)
    for tissue in (Tissue.DEEP_GREY, Tissue.WHITE, Tissue.GREY):
        moved = parts[tissue] * iron * 0.8
        parts[tissue] = parts[tissue] - moved
        parts[Tissue.IRON] += moved
    low = np.clip((np.float32(-8.0) - (coordinates[2] + np.float32(ORIGIN_MM[2]))) / 12.0, 0.0, 1.0)
    central = _ellipsoid_weight(coordinates, (0, -20, 0), (8, 45, 16))
    moved = parts[Tissue.CSF] * np.maximum(low * (ventricle < 25.0), central)
    parts[Tissue.CSF] = parts[Tissue.CSF] - moved
    parts[Tissue.FLOWING_CSF] = moved


def _painted(tubes: list[Tube], deformation: Deformation) -> Float32Array:
    result = np.zeros(SHAPE, dtype=np.float32)
    for tube in tubes:
        paint_tube(result, np.array(ORIGIN_MM), deformation.to_person(tube[:, :3]), tube[:, 3])
    return result


def _put(fractions: dict[Tissue, NDArray[np.uint8]], tissue: Tissue, share: Float32Array) -> None:
    """Give `share` of each voxel to a tissue, taken from all others in proportion, in place."""
    where = np.nonzero(share > 0)
    taken = share[where]
    for other, data in fractions.items():
        if other is not tissue:
            data[where] = np.rint(data[where] * (1.0 - taken)).astype(np.uint8)
    target = fractions.setdefault(tissue, np.zeros(SHAPE, dtype=np.uint8))
    target[where] = np.rint(target[where] * (1.0 - taken) + 255.0 * taken).astype(np.uint8)


def _membranes(coordinates: Float32Array, box: Box, fluid: Float32Array) -> Float32Array:
    """Falx and tentorium: thin sheets in the fissures between the hemispheres and above the cerebellum."""
    x, y, z = (coordinates[i] + np.float32(ORIGIN_MM[i]) for i in range(3))
    falx = np.clip(1.1 - np.abs(x), 0.0, 1.0) * ((z > 22) | ((y > 40) & (z > -8)) | (y < -55)) * (z > -8)
    slope = -6.0 - 0.42 * np.abs(x) + 0.16 * (y + 70.0)
    tentorium = np.clip(1.1 - np.abs(z - slope), 0.0, 1.0) * (y < -36) * (np.abs(x) < 62) * (np.abs(x) > 2)
    result = np.zeros(SHAPE, dtype=np.float32)
    result[box] = np.maximum(falx, tentorium) * 0.75 * np.clip(fluid * 2.0, 0.0, 1.0)
    return result


def random_anatomy(seed: int, traits: AnatomyTraits | None = None) -> Anatomy:
    """The head of person `seed`: the same seed gives the same head.

    Parameters
    ----------
    seed : int
        Of the person; 0 or more.
    traits : AnatomyTraits, optional
        Default: `AnatomyTraits.random(seed)`.

    Returns
    -------
    Anatomy
    """
    traits = traits or AnatomyTraits.random(seed)
    rng = generator(seed, _SEED_TISSUES)
    deformation = random_deformation(seed, traits)
    box = _brain_box()
    shape = tuple(s.stop - s.start for s in box)
    coordinates = deformation.coordinates(
        (shape[0], shape[1], shape[2]), 1, (box[0].start, box[1].start, box[2].start)
    )
    parts, brain, ventricle = _brain_fractions(coordinates, traits, rng)
    _split_deep(parts, coordinates, ventricle)
    inside = np.zeros(SHAPE, dtype=np.float32)
    inside[box] = brain
    fractions = outer_fractions(deformation, inside, rng)
    for tissue, part in parts.items():
        data = fractions.setdefault(tissue, np.zeros(SHAPE, dtype=np.uint8))
        # floors, so that rounding never takes the sum beyond a full voxel
        data[box] += np.floor(part * 255.0).astype(np.uint8)
    fluid = parts[Tissue.CSF] + parts[Tissue.FLOWING_CSF]
    _put(fractions, Tissue.DURA, _membranes(coordinates, box, fluid))
    plexus = _painted(plexus_tubes(rng), deformation)
    plexus[box] *= np.clip(1.5 * fluid, 0.0, 1.0) * (ventricle < 2.0)
    _put(fractions, Tissue.CHOROID_PLEXUS, plexus)
    _put(fractions, Tissue.VEIN, _painted(vein_tubes(rng), deformation))
    _put(fractions, Tissue.ARTERY, _painted(artery_tubes(rng), deformation))
    distances = _distances(parts, ventricle, box)
    infratentorial = np.zeros(SHAPE, dtype=bool)
    infratentorial[box] = _below_tentorium(coordinates)
    return Anatomy(head_grid(), fractions, *distances, infratentorial, seed, traits)


def _below_tentorium(coordinates: Float32Array) -> NDArray[np.bool_]:
    x, y, z = (coordinates[i] + np.float32(ORIGIN_MM[i]) for i in range(3))
    roof = np.where(y < -36, -9.0 - 0.42 * np.abs(x) + 0.16 * (y + 70.0), -12.0)
    return np.asarray((z < roof) & (((np.abs(x) < 18) & (y < -8)) | (y < -34)))


def _distances(
    parts: dict[Tissue, Float32Array], ventricle: Float32Array, box: Box
) -> tuple[Float32Array, Float32Array]:
    to_ventricle = np.full(SHAPE, 99.0, dtype=np.float32)
    to_ventricle[box] = np.maximum(ventricle, 0.0)
    coarse = parts[Tissue.GREY][::2, ::2, ::2] < 0.5
    distance = ndimage.distance_transform_edt(coarse, sampling=2.0).astype(np.float32)
    to_cortex = np.full(SHAPE, 99.0, dtype=np.float32)
    to_cortex[box] = upsample(distance, ventricle.shape, 2)
    return to_ventricle, to_cortex
