"""Position and shape of every planned lesion in the white matter of one head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.components import connected_parts
from mri_pipeline.core.errors import AnalysisError, UsageError
from mri_pipeline.phantom.anatomy import Anatomy, Tissue
from mri_pipeline.phantom.fields import Float32Array, generator, smooth_field, upsample
from mri_pipeline.phantom.lesions import Lesion, LesionPlan

_SEED_LESIONS = 21
_TRIES = 400
_TRIES_BESIDE, _TRIES_TOGETHER = 40, 60
APART_MM = 4.0
"""Minimum gap (mm) between two neighbouring separate lesions: more than a 3 mm slice."""
TOUCHING_MM3 = 20.0
"""Minimum overlap of two merged lesions: a bridge that is visible in every slice."""
_BESIDE_REACH_MM = 4.0  # of centres beyond the nearest possible place
_SAME_SLICE_MM = 2.0  # of the centres: two lesions above each other are one on thick slices


def _radius(volume_mm3: float) -> float:
    return float((3.0 * volume_mm3 / (4.0 * np.pi)) ** (1.0 / 3.0))


@dataclass(frozen=True, eq=False)
class _Ground:
    """Anatomical constraints of lesion positions."""

    anatomy: Anatomy
    white: Float32Array
    around: Float32Array  # white matter within a few millimetres
    occupiable: NDArray[np.bool_]
    grey: Float32Array

    @classmethod
    def of(cls, anatomy: Anatomy) -> _Ground:
        white = anatomy.fraction(Tissue.WHITE)
        cortex = anatomy.fraction(Tissue.GREY)
        nuclei = anatomy.fraction(Tissue.DEEP_GREY, Tissue.IRON)
        around = ndimage.gaussian_filter(white[::2, ::2, ::2], 1.5)
        room = (white + cortex + nuclei) > 0.75
        return cls(anatomy, white, upsample(around, white.shape, 2), room, cortex + 2.0 * nuclei)

    def candidates(self, location: Location, radius: float) -> NDArray[np.intp]:
        """Voxels (n, 3) where a lesion of this radius may be centred."""
        a = self.anatomy
        ventricle, cortex = a.ventricle_distance_mm, a.cortex_distance_mm
        if location is Location.PERIVENTRICULAR:
            where = (ventricle > 0.8 * radius) & (ventricle < 1.3 * radius + 2.0) & (cortex > 0.6 * radius)
            where &= ~a.infratentorial
        elif location is Location.JUXTACORTICAL:
            where = (cortex > 0.3 * radius) & (cortex < 0.7 * radius + 1.5) & (ventricle > radius + 8.0)
            where &= ~a.infratentorial
        elif location is Location.INFRATENTORIAL:
            where = a.infratentorial & (cortex > 0.5)
        else:
            where = (cortex > radius + 2.0) & (ventricle > radius + 6.0) & ~a.infratentorial
        if location is Location.INFRATENTORIAL:
            return np.argwhere(where & (self.white > 0.45))
        # not in the deep nuclei, mixed with white matter; near a ventricle half of what is around is fluid
        surrounded = {Location.PERIVENTRICULAR: 0.6, Location.JUXTACORTICAL: 0.4}.get(location, 0.8)
        return np.argwhere(where & (self.white > 0.85) & (self.around > surrounded))


def _directions(
    ground: _Ground,
    location: Location,
    voxel: NDArray[np.intp],
    rng: np.random.Generator,
    towards: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Orthonormal axes (rows); the first is the long one: away from the ventricle where that is near."""
    first = rng.standard_normal(3)
    if towards is not None:
        first = towards
    elif location is Location.PERIVENTRICULAR:
        patch = ground.anatomy.ventricle_distance_mm[tuple(slice(max(0, i - 3), i + 4) for i in voxel)]
        slope = np.array([g.mean() for g in np.gradient(ndimage.gaussian_filter(patch, 1.0))])
        if np.linalg.norm(slope) > 1e-3:
            first = slope / np.linalg.norm(slope) + 0.15 * first
    q, _ = np.linalg.qr(np.column_stack([first, rng.standard_normal((3, 2))]))
    return np.asarray(q.T)


def _shape_field(
    ground: _Ground,
    plan: LesionPlan,
    voxel: NDArray[np.intp],
    rng: np.random.Generator,
    *,
    towards: NDArray[np.float64] | None = None,
) -> tuple[tuple[slice, slice, slice], Float32Array]:
    """The level field around one voxel: a union of warped ellipsoids, infinite where lesions are not allowed.

    The long axis runs `towards` a neighbour where there is one.
    """
    radius = _radius(plan.largest_mm3)
    reach = int(np.ceil(2.2 * radius + 4.0))
    low = np.maximum(voxel - reach, 0)
    high = np.minimum(voxel + reach + 1, np.array(ground.white.shape))
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    offset = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"))
    offset = offset - voxel.reshape(3, 1, 1, 1) + rng.uniform(-0.5, 0.5, (3, 1, 1, 1))
    axes = _directions(ground, plan.location, voxel, rng, towards)
    elongated = plan.location is Location.PERIVENTRICULAR or towards is not None
    long = rng.uniform(1.5, 2.4) if elongated else rng.uniform(1.0, 1.5)
    stretch = np.array([long, rng.uniform(0.85, 1.15), 1.0])
    stretch /= np.prod(stretch) ** (1.0 / 3.0)
    level = None
    blobs = 1 if plan.largest_mm3 < 60 else int(rng.integers(1, 4))
    for blob in range(blobs):
        shift = np.zeros(3) if blob == 0 else axes.T @ (rng.uniform(-0.9, 0.9, 3) * radius * stretch)
        scale = 1.0 if blob == 0 else rng.uniform(0.55, 0.85)
        along = np.einsum("ij,jxyz->ixyz", axes, offset - shift.reshape(3, 1, 1, 1))
        rho = np.sqrt(((along / stretch.reshape(3, 1, 1, 1)) ** 2).sum(axis=0)) / scale
        level = rho if level is None else -np.logaddexp(-level * 1.5, -rho * 1.5) / 1.5
    warp = smooth_field(rng, offset.shape[1:], sigma=max(1.3, 0.45 * radius))
    field = np.asarray(level) * (1.0 + 0.16 * np.clip(warp, -2.0, 2.0))
    penalty = 0.15 if plan.location is Location.JUXTACORTICAL else 0.5
    field = field + penalty * radius * ground.grey[box]
    return box, np.where(ground.occupiable[box], field, np.inf).astype(np.float32)


def _is_natural(lesion: Lesion, radius: float) -> bool:
    """Whether the shape is whole at every visit, and neither squeezed by anatomy nor cut by its box."""
    if np.isfinite(lesion.level).sum() < 2 * lesion.plan.largest_mm3:
        return False
    largest = lesion.mask(lesion.plan.largest_mm3)
    edge = [largest[i].any() or largest[:, i].any() or largest[:, :, i].any() for i in (0, -1)]
    if any(edge) or lesion.threshold(lesion.plan.largest_mm3) > 1.7 * radius + 1.0:
        return False
    masks = [largest]
    for visit, phase in enumerate(lesion.plan.phases):
        masks += [lesion.mask(phase.volume_mm3), lesion.gel_mask(visit), lesion.black_hole_mask(visit)]
    return all(connected_parts(mask)[1] <= 1 for mask in masks)


def place_lesions(
    anatomy: Anatomy, plans: tuple[LesionPlan, ...], *, seed: int, gap_mm: float = 5.0
) -> tuple[Lesion, ...]:
    """Position and shape every planned lesion, at least `gap_mm` apart at maximum size.

    The gap keeps lesions apart on 3 mm slices, so that their number is known and not a matter of resolution. Only a
    lesion that is planned `beside` another is placed closer to it.

    Parameters
    ----------
    anatomy : Anatomy
    plans : tuple of LesionPlan
        All with the same number of phases.
    seed : int
        Same seed, same lesions.
    gap_mm : float
        Least distance between the outlines of two lesions.

    Returns
    -------
    tuple of Lesion
        In the order of the plans.

    Raises
    ------
    AnalysisError
        If a lesion finds no place: too many, or too large, for this brain.
    UsageError
        If a plan lies beside one that is not among the plans.
    """
    rng = generator(seed, _SEED_LESIONS)
    ground = _Ground.of(anatomy)
    taken = np.zeros(anatomy.grid.shape, dtype=bool)
    placed: dict[int, Lesion] = {}
    for index in sorted(range(len(plans)), key=lambda i: -plans[i].largest_mm3):
        plan = plans[index]
        if plan.beside is not None:
            if not any(plan.beside is other for other in plans):
                raise UsageError("expected the plan of the lesion beside it among the plans, found none")
            continue
        beside = [i for i, other in enumerate(plans) if other.beside is plan]
        for lesion in _place_together(ground, plans, (index, *beside), taken, rng):
            placed[lesion.lesion_id - 1] = lesion
            _take(taken, lesion, gap_mm)
    return tuple(placed[i] for i in range(len(plans)))


def _take(taken: NDArray[np.bool_], lesion: Lesion, gap_mm: float) -> None:
    """Mark a lesion and the gap around it, as far as it lies on the grid."""
    gap = int(gap_mm)
    near = ndimage.distance_transform_edt(~np.pad(lesion.mask(lesion.plan.largest_mm3), gap)) <= gap_mm
    grown = tuple(slice(max(s.start - gap, 0), s.stop + gap) for s in lesion.box)
    first = [max(gap - s.start, 0) for s in lesion.box]
    there = tuple(slice(a, a + n) for a, n in zip(first, taken[grown].shape, strict=True))
    taken[grown] |= near[there]


def _no_room(plan: LesionPlan) -> AnalysisError:
    return AnalysisError(
        f"expected room for a {plan.location.value} lesion of {plan.largest_mm3:.0f} mm3, found none",
        hint="simulate fewer or smaller lesions",
    )


def _place_together(
    ground: _Ground,
    plans: tuple[LesionPlan, ...],
    indices: tuple[int, ...],
    taken: NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[Lesion]:
    """A lesion and its neighbours. The first is moved if the neighbours do not fit."""
    index, *beside = indices
    for _ in range(_TRIES_TOGETHER if beside else 1):
        first = _place(ground, index + 1, plans[index], taken, rng)
        others = [_place_beside(ground, i + 1, plans[i], first, taken, rng=rng) for i in beside]
        placed = [first, *(lesion for lesion in others if lesion is not None)]
        if len(placed) == len(indices):
            return placed
    raise _no_room(plans[beside[0]])


def _place(
    ground: _Ground, lesion_id: int, plan: LesionPlan, taken: NDArray[np.bool_], rng: np.random.Generator
) -> Lesion:
    radius = _radius(plan.largest_mm3)
    candidates = ground.candidates(plan.location, radius)
    candidates = candidates[~taken[tuple(candidates.T)]]
    for _ in range(_TRIES if len(candidates) else 0):
        voxel = candidates[rng.integers(len(candidates))]
        lesion = Lesion(lesion_id, plan, *_shape_field(ground, plan, voxel, rng))
        if not _is_natural(lesion, radius):
            continue
        if not (taken[lesion.box] & lesion.mask(plan.largest_mm3)).any():
            return lesion
    raise _no_room(plan)


def _place_beside(
    ground: _Ground,
    lesion_id: int,
    plan: LesionPlan,
    neighbour: Lesion,
    taken: NDArray[np.bool_],
    *,
    rng: np.random.Generator,
) -> Lesion | None:
    """Lesion next to `neighbour` within the slice, with its long axis towards it; None if no shape fits."""
    radius = _radius(plan.largest_mm3)
    apart = max((p.volume_mm3 for p in plan.phases if p.volume_mm3 < plan.largest_mm3), default=0.0)
    distance, centre = _distance_to(neighbour, taken.shape, int(3 * radius + _BESIDE_REACH_MM))
    candidates = ground.candidates(plan.location, radius)
    away = distance[tuple(candidates.T)] - _radius(apart) - APART_MM
    level = np.abs(candidates[:, 2] - centre[2]) <= _SAME_SLICE_MM
    candidates = candidates[level & (away >= 0) & (away <= _BESIDE_REACH_MM)]
    for _ in range(_TRIES_BESIDE if len(candidates) else 0):
        voxel = candidates[rng.integers(len(candidates))]
        lesion = Lesion(lesion_id, plan, *_shape_field(ground, plan, voxel, rng, towards=centre - voxel))
        largest, gaps = lesion.mask(plan.largest_mm3), distance[lesion.box]
        common = int((gaps[largest] == 0).sum())
        touches = TOUCHING_MM3 <= common <= neighbour.plan.largest_mm3 / 2
        separate = not apart or gaps[lesion.mask(apart)].min() >= APART_MM
        free = not (taken[lesion.box] & largest).any()
        if touches and separate and free and _is_natural(lesion, radius):
            return lesion
    return None


def _distance_to(lesion: Lesion, shape: tuple[int, ...], reach: int) -> tuple[Float32Array, NDArray[np.float64]]:
    """Distance of every voxel within reach to the lesion (mm), and the lesion's centre (voxels)."""
    mask = np.zeros(shape, dtype=bool)
    mask[lesion.box] = lesion.mask(lesion.plan.largest_mm3)
    box = tuple(
        slice(max(0, s.start - reach), min(n, s.stop + reach)) for s, n in zip(lesion.box, shape, strict=True)
    )
    distance = np.full(shape, np.inf, dtype=np.float32)
    distance[box] = ndimage.distance_transform_edt(~mask[box])
    return distance, np.argwhere(mask).mean(axis=0)
