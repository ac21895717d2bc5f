"""Rigid registration of two scans of one head, that says whether it worked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

from mri_pipeline.images.matching import Match, evaluate, refine
from mri_pipeline.images.mutual_information import head_centre, mutual_information
from mri_pipeline.images.sampling import Level, Samples, level_of, samples_of
from mri_pipeline.model import Affine, FloatArray, Image, LabelImage

_FULL_OVERLAP = 0.7
_LEAST_EXPLAINED = 0.01
_AWAY_MM = 8.0
_AWAY_DEGREES = 10.0
_EVERY = 97


class Method(StrEnum):
    """Which method found the transform."""

    GAUSS_NEWTON = "gauss-newton"
    MUTUAL_INFORMATION = "mutual-information"


@dataclass(frozen=True)
class RegisterSettings:
    """How two scans are brought together.

    Parameters
    ----------
    levels_mm : tuple of float
        Voxel sizes of the pyramid, coarse to fine; the first one is searched for starts.
    max_points : int
        Points of the fixed image at each level.
    coarse_margin_mm : float
        By how much the mask is widened where starts are searched: the head's outline finds the way from far off.
    margin_across_mm : float
        By how much the mask is widened across contrasts: the fluid around the brain has the best contrast there.
    kept_starts : tuple of int
        Starts that are refined at the coarsest level, in the first attempt and in a wider second one.
    sure_quality_same, sure_quality_across, min_quality : float
        From the sure quality on a match is taken at once; else attempts from other starts are made until two agree,
        or the best of all is taken. Across contrasts (one session) a match near the headers' position needs
        `min_quality` alone. Below `min_quality` a match counts as failed. True matches reached 0.37 to 0.74; of the
        false ones two were half a match: 0.39 across contrasts, far from the headers' position, and 0.47 between
        visits that differ by 13° and 15 mm.
    agreement_mm : float
        Mean distance up to which two attempts found the same.
    near_header_mm : float
        Mean motion up to which a match counts as near the headers' position.
    """

    levels_mm: tuple[float, ...] = (6.0, 4.0, 2.0)
    max_points: int = 40_000
    coarse_margin_mm: float = 20.0
    margin_across_mm: float = 3.0
    kept_starts: tuple[int, int] = (5, 16)
    sure_quality_same: float = 0.6
    sure_quality_across: float = 0.45
    min_quality: float = 0.3
    agreement_mm: float = 1.0
    near_header_mm: float = 15.0


@dataclass(frozen=True)
class Registration:
    """What a registration found.

    Parameters
    ----------
    moving_to_fixed : Affine
        Rigid, in RAS+ mm.
    quality : float
        How much is lost by moving away: 1 less the explained variation after shifts of 8 mm and turns of 10°,
        relative to that at the transform found. Unlike the similarity itself it means the same for every pair of
        contrasts: near 0 for a false match, 0.4 and more for a true one.
    method : Method
    failed : bool
        Whether the quality is too low; the transform must not be used.
    """

    moving_to_fixed: Affine
    quality: float
    method: Method
    failed: bool


def register_rigid(
    fixed: Image,
    moving: Image,
    *,
    same_contrast: bool,
    fixed_mask: LabelImage | None = None,
    settings: RegisterSettings | None = None,
) -> Registration:
    """Bring one scan of a head to another of the same head.

    Parameters
    ----------
    fixed, moving : Image
        2D or 3D, any orientation and field of view, with or without skull.
    same_contrast : bool
        Whether a straight line between the intensities will do.
    fixed_mask : LabelImage, optional
        Region of the fixed image to match, on its grid (the brain); its foreground when left out.
    settings : RegisterSettings, optional

    Returns
    -------
    Registration
        A failed one is marked, not raised: the caller knows what to do with the scan.

    Raises
    ------
    GridMismatchError
        If the mask lies on another grid.
    """
    settings = settings or RegisterSettings()
    if fixed_mask is not None:
        fixed.grid.require_same(fixed_mask.grid, "mask of the fixed image")
    margin_mm = 0.0 if same_contrast else settings.margin_across_mm
    margins_mm = [settings.coarse_margin_mm] + [margin_mm] * (len(settings.levels_mm) - 1)
    pyramid = [
        (
            samples_of(fixed, mm, mask=fixed_mask, margin_mm=margin, max_points=settings.max_points),
            level_of(moving, mm),
        )
        for mm, margin in zip(settings.levels_mm, margins_mm, strict=True)
    ]
    pair = _Pair(fixed, moving, fixed_mask, same_contrast=same_contrast)
    best, method = Affine.identity(), Method.GAUSS_NEWTON
    quality = -np.inf
    for candidate in Method:
        for start in _attempts(candidate, pyramid[0], pair, margin_mm, settings):
            found = _descend(pyramid[1:], start, linear=same_contrast).fixed_to_moving
            reached = peak_quality(*pyramid[-2], found, linear=same_contrast)
            agreed = min(reached, quality) >= settings.min_quality and (
                _mean_motion_mm(pyramid[-1][0], best.inverse() @ found) <= settings.agreement_mm
            )
            if reached > quality:
                best, quality, method = found, reached, candidate
            if agreed or quality >= _sure_quality(pyramid[-1][0], best, settings, same_contrast=same_contrast):
                return Registration(best.inverse(), quality, method, failed=False)
    return Registration(best.inverse(), max(quality, 0.0), method, failed=quality < settings.min_quality)


def _sure_quality(
    samples: Samples, transform: Affine, settings: RegisterSettings, *, same_contrast: bool
) -> float:
    if same_contrast:
        return settings.sure_quality_same
    near = _mean_motion_mm(samples, transform) <= settings.near_header_mm
    return settings.min_quality if near else settings.sure_quality_across


def _mean_motion_mm(samples: Samples, transform: Affine) -> float:
    moved = transform.points(samples.points_mm) - samples.points_mm
    return float(np.linalg.norm(moved, axis=1).mean())


@dataclass(frozen=True)
class _Pair:
    """What is to be registered."""

    fixed: Image
    moving: Image
    fixed_mask: LabelImage | None
    same_contrast: bool


def _attempts(
    method: Method, coarsest: tuple[Samples, Level], pair: _Pair, margin_mm: float, settings: RegisterSettings
) -> Iterator[Affine]:
    """Starts (fixed to moving) for the finer levels, the cheap ones first; made only when asked for."""
    if method is Method.GAUSS_NEWTON:
        yield Affine.identity()  # as the headers say: nearly always within a few millimetres
        few, many = settings.kept_starts
        yield _coarse(coarsest, pair, few)
        # the outline can mislead where the fields of view differ: once more with the inside alone
        inside = samples_of(pair.fixed, settings.levels_mm[0], mask=pair.fixed_mask, margin_mm=margin_mm)
        yield _coarse((inside, coarsest[1]), pair, few)
        yield _coarse(coarsest, pair, many)
    else:
        yield mutual_information(pair.fixed, pair.moving, pair.fixed_mask)


def peak_quality(samples: Samples, level: Level, fixed_to_moving: Affine, *, linear: bool) -> float:
    """How sharp a peak a transform stands on; see `Registration.quality`."""

    def explained(transform: Affine) -> float:
        match = evaluate(samples, level, transform, linear=linear)
        return match.similarity**2 * min(1.0, match.overlap / _FULL_OVERLAP)

    at_peak = explained(fixed_to_moving)
    if at_peak < _LEAST_EXPLAINED:
        return 0.0
    centre = samples.points_mm.mean(axis=0)
    around = [explained(fixed_to_moving @ motion) for motion in _nearby(centre)]
    return float(np.clip(1.0 - np.mean(around) / at_peak, 0.0, 1.0))


def _nearby(centre: FloatArray) -> list[Affine]:
    """Shifts of 8 mm and turns of 10° to either side of each axis about a point."""
    motions = []
    for axis, sign in product(np.eye(3), (-1, 1)):
        motions.append(_motion_about(centre, np.eye(3), sign * _AWAY_MM * axis))
        turn = Rotation.from_rotvec(sign * _AWAY_DEGREES * axis, degrees=True).as_matrix()
        motions.append(_motion_about(centre, turn, np.zeros(3)))
    return motions


def _motion_about(centre: FloatArray, turn: FloatArray, shift: FloatArray) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre + shift - turn @ centre
    return Affine(matrix)


def _coarse(coarsest: tuple[Samples, Level], pair: _Pair, kept: int) -> Affine:
    """The best of many starts, refined, at the coarsest level; sharpness decides, not similarity."""
    samples, level = coarsest
    linear = pair.same_contrast
    starts = [evaluate(samples, level, s, linear=linear) for s in _starts(pair.fixed, pair.moving, samples)]
    ranked = sorted(starts, key=lambda m: m.similarity * min(1.0, m.overlap / _FULL_OVERLAP), reverse=True)
    refined = [
        refine(samples, level, m.fixed_to_moving, linear=linear, scale_floor=0.3, tolerance_mm=0.1)
        for m in ranked[:kept]
    ]
    found = [m.fixed_to_moving for m in refined]
    return max(found, key=lambda t: peak_quality(samples, level, t, linear=linear))


def _descend(pyramid: list[tuple[Samples, Level]], start: Affine, *, linear: bool) -> Match:
    match = Match(start, 0.0, 0.0)
    for number, (samples, level) in enumerate(pyramid):
        last = number == len(pyramid) - 1
        match = refine(
            samples,
            level,
            match.fixed_to_moving,
            linear=linear,
            scale_floor=0.02 if last else 0.1,
            tolerance_mm=0.003 if last else 0.02,
        )
    return match


def _starts(fixed: Image, moving: Image, samples: Samples) -> list[Affine]:
    """Fixed to moving: as the headers say, then heads laid over each other with 27 turns."""
    centre = samples.points_mm.mean(axis=0)
    shift = head_centre(moving) - head_centre(fixed)
    turns = [Rotation.from_euler("xyz", t, degrees=True).as_matrix() for t in product((0, -22, 22), repeat=3)]
    return [Affine.identity()] + [
        _motion_about(centre, turn, offset) for offset in (shift, np.zeros(3)) for turn in turns
    ]


def position_error_mm(one: Affine, other: Affine, mask: LabelImage) -> float:
    """Mean distance in mm between where two transforms of a mask's world put its voxels."""
    points = mask.grid.world(np.argwhere(mask.mask)[::_EVERY].astype(float))
    return float(np.linalg.norm(one.points(points) - other.points(points), axis=1).mean())
