"""Lesions of natural shapes in one person's white matter, and how each looks at each visit.

A lesion is a nested family of shapes: sublevel sets of one warped-ellipsoid field inside the tissue it may occupy.
Growing and shrinking move the level; the place and the character of the outline stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.errors import AnalysisError
from mri_pipeline.model import Location
from mri_pipeline.phantom.anatomy import Anatomy, Tissue
from mri_pipeline.phantom.fields import Float32Array, generator, smooth_field, upsample

_SEED_LESIONS = 21
_TRIES = 400
ENHANCING_SHARE = 0.75
"""Share of a lesion's volume that enhances; oedema around it is bright on FLAIR alone."""
BLACK_HOLE_SHARE = 0.6
"""Share of a black-hole lesion's volume that is as dark as the hole; the rim is brighter."""
RING_CORE_SHARE = 0.4
"""Share of the enhancing part's volume that is the dark centre of a ring."""
EDGE_MM = 1.6
"""Width of the soft edge, centred on the outline of the true mask."""

_CONNECTED = np.ones((3, 3, 3), dtype=bool)  # 26-connected


@dataclass(frozen=True)
class Phase:
    """One lesion at one visit.

    Parameters
    ----------
    volume_mm3 : float
        T2 volume; 0 where there is no lesion.
    uplift : float
        Post-contrast T1 signal above white matter, as a share of it; 0 does not enhance.
    ring : bool
        Whether the enhancement spares the centre.
    black_hole : bool
        Whether the core is as dark as a black hole on T1.
    acute : bool
        Whether the lesion is fresh: brighter on FLAIR and T2.
    """

    volume_mm3: float
    uplift: float = 0.0
    ring: bool = False
    black_hole: bool = False
    acute: bool = False


@dataclass(frozen=True)
class LesionPlan:
    """A lesion to be placed: where, and one phase per visit."""

    location: Location
    phases: tuple[Phase, ...]

    @property
    def largest_mm3(self) -> float:
        """The largest volume it ever has."""
        return max(phase.volume_mm3 for phase in self.phases)


@dataclass(frozen=True, eq=False)
class Lesion:
    """A placed lesion.

    Parameters
    ----------
    lesion_id : int
        From 1, in the order of the plans.
    plan : LesionPlan
    box : tuple of slice
        Its part of the anatomy's grid.
    level : ndarray of float32
        The shape field in the box, in mm-like units; infinite where it may not be.
    """

    lesion_id: int
    plan: LesionPlan
    box: tuple[slice, slice, slice]
    level: Float32Array

    def threshold(self, volume_mm3: float) -> float:
        """The level below which the shape has this volume (voxels are 1 mm³)."""
        count = round(volume_mm3)
        values = self.level[np.isfinite(self.level)]
        if count <= 0 or count >= values.size:
            return -np.inf if count <= 0 else np.inf
        return float(np.partition(values, count)[count])

    def mask(self, volume_mm3: float) -> NDArray[np.bool_]:
        """The shape of this volume, in the box."""
        return np.asarray(self.level < self.threshold(volume_mm3))

    def soft(self, volume_mm3: float, *, edge_mm: float = EDGE_MM) -> Float32Array:
        """The shape with a soft edge, 0 to 1 and 0.5 on the outline, in the box."""
        if volume_mm3 <= 0:
            return np.zeros(self.level.shape, dtype=np.float32)
        depth = self.threshold(volume_mm3) - np.nan_to_num(self.level, posinf=1e6)
        return np.asarray(np.clip(0.5 + depth / edge_mm, 0.0, 1.0), dtype=np.float32)

    def t2_mask(self, visit: int) -> NDArray[np.bool_]:
        """The true T2 lesion at a visit, in the box."""
        return self.mask(self.plan.phases[visit].volume_mm3)

    def enhancing_soft(self, visit: int) -> Float32Array:
        """How much of each voxel enhances, in the box."""
        phase = self.plan.phases[visit]
        if phase.uplift <= 0:
            return np.zeros(self.level.shape, dtype=np.float32)
        volume = ENHANCING_SHARE * phase.volume_mm3
        soft = self.soft(volume, edge_mm=1.0)
        return soft - self.soft(RING_CORE_SHARE * volume, edge_mm=1.0) if phase.ring else soft

    def gel_mask(self, visit: int) -> NDArray[np.bool_]:
        """The true enhancing voxels at a visit, in the box; a ring's dark centre is not among them."""
        phase = self.plan.phases[visit]
        if phase.uplift <= 0:
            return np.zeros(self.level.shape, dtype=bool)
        volume = ENHANCING_SHARE * phase.volume_mm3
        mask = self.mask(volume)
        return mask & ~self.mask(RING_CORE_SHARE * volume) if phase.ring else mask

    def black_hole_mask(self, visit: int) -> NDArray[np.bool_]:
        """The true black hole at a visit, in the box: none while the lesion enhances."""
        phase = self.plan.phases[visit]
        if not phase.black_hole or phase.uplift > 0:
            return np.zeros(self.level.shape, dtype=bool)
        return self.mask(BLACK_HOLE_SHARE * phase.volume_mm3)


def _radius(volume_mm3: float) -> float:
    return float((3.0 * volume_mm3 / (4.0 * np.pi)) ** (1.0 / 3.0))


@dataclass(frozen=True, eq=False)
class _Ground:
    """What placing needs to know of the anatomy."""

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
    ground: _Ground, location: Location, voxel: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Orthonormal axes (rows); the first is the long one: away from the ventricle where that is near."""
    first = rng.standard_normal(3)
    if location is Location.PERIVENTRICULAR:
        patch = ground.anatomy.ventricle_distance_mm[tuple(slice(max(0, i - 3), i + 4) for i in voxel)]
        slope = np.array([g.mean() for g in np.gradient(ndimage.gaussian_filter(patch, 1.0))])
        if np.linalg.norm(slope) > 1e-3:
            first = slope / np.linalg.norm(slope) + 0.15 * first
    q, _ = np.linalg.qr(np.column_stack([first, rng.standard_normal((3, 2))]))
    return np.asarray(q.T)


def _shape_field(
    ground: _Ground, plan: LesionPlan, voxel: NDArray[np.intp], rng: np.random.Generator
) -> tuple[tuple[slice, slice, slice], Float32Array]:
    """The level field around one voxel: a union of warped ellipsoids, infinite where no lesion may be."""
    radius = _radius(plan.largest_mm3)
    reach = int(np.ceil(2.2 * radius + 4.0))
    low = np.maximum(voxel - reach, 0)
    high = np.minimum(voxel + reach + 1, np.array(ground.white.shape))
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    offset = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"))
    offset = offset - voxel.reshape(3, 1, 1, 1) + rng.uniform(-0.5, 0.5, (3, 1, 1, 1))
    axes = _directions(ground, plan.location, voxel, rng)
    long = rng.uniform(1.5, 2.4) if plan.location is Location.PERIVENTRICULAR else rng.uniform(1.0, 1.5)
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
    return all(ndimage.label(mask, _CONNECTED)[1] <= 1 for mask in masks)


def place_lesions(
    anatomy: Anatomy, plans: tuple[LesionPlan, ...], *, seed: int, gap_mm: float = 5.0
) -> tuple[Lesion, ...]:
    """Find a place and a shape for every plan, at least `gap_mm` apart at their largest.

    The gap keeps lesions apart on 3 mm slices, so that their number is known and not a matter of resolution.

    Parameters
    ----------
    anatomy : Anatomy
    plans : tuple of LesionPlan
        All with the same number of phases.
    seed : int
        Same seed, same lesions.

    Raises
    ------
    AnalysisError
        If a lesion finds no place: too many, or too large, for this brain.
    """
    rng = generator(seed, _SEED_LESIONS)
    ground = _Ground.of(anatomy)
    taken = np.zeros(anatomy.grid.shape, dtype=bool)
    placed: dict[int, Lesion] = {}
    order = sorted(range(len(plans)), key=lambda i: -plans[i].largest_mm3)
    for index in order:
        lesion = _place(ground, index + 1, plans[index], taken, rng)
        placed[index] = lesion
        near = np.pad(lesion.mask(lesion.plan.largest_mm3), int(gap_mm))
        near = ndimage.distance_transform_edt(~near) <= gap_mm
        grown = tuple(slice(s.start - int(gap_mm), s.stop + int(gap_mm)) for s in lesion.box)
        taken[grown] |= near
    return tuple(placed[i] for i in range(len(plans)))


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
    raise AnalysisError(
        f"expected room for a {plan.location.value} lesion of {plan.largest_mm3:.0f} mm3, found none",
        hint="simulate fewer or smaller lesions",
    )
