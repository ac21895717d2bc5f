"""Rigid registration of two scans of one head, with a check of success."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

from mri_pipeline.core.method.registration import RegisterSettings
from mri_pipeline.core.spatial import Affine, FloatArray, Image, LabelImage
from mri_pipeline.images.agreement import agreement
from mri_pipeline.images.joint_density import refine_rigid, widened
from mri_pipeline.images.matching import evaluate, refine
from mri_pipeline.images.mutual_information import head_centre, mutual_information
from mri_pipeline.images.sampling import PyramidLevel, Samples, inner_foreground, level_of, samples_of


class RegistrationMethod(StrEnum):
    """Method that found the transform."""

    GAUSS_NEWTON = "gauss-newton"
    MUTUAL_INFORMATION = "mutual-information"
    SAME_SCAN = "same-scan"  # both scans have the same voxels: no registration was run


@dataclass(frozen=True)
class Registration:
    """Result of a registration.

    Parameters
    ----------
    moving_to_fixed : Affine
        Rigid transform in RAS+ mm.
    quality : float
        Fraction of the parts of the brain that agree, 0 to 1: see `mri_pipeline.images.agreement`. Near 0.1 for a
        false match, up to 0.35 for the head of another patient, 0.6 or more for a true match.
    method : RegistrationMethod
        Method that found the transform.
    failed : bool
        True if the quality is too low. The transform must then not be used.
    """

    moving_to_fixed: Affine
    quality: float
    method: RegistrationMethod
    failed: bool


def register_rigid(
    fixed: Image,
    moving: Image,
    *,
    intra_modal: bool,
    fixed_mask: LabelImage | None = None,
    moving_mask: LabelImage | None = None,
    settings: RegisterSettings | None = None,
) -> Registration:
    """Register two scans of the same head with a rigid transform.

    Parameters
    ----------
    fixed, moving : Image
        2D or 3D, any orientation and field of view, with or without skull.
    intra_modal : bool
        True if intensities are linearly related (intra-modal).
    fixed_mask : LabelImage, optional
        Region of the fixed image to match (the brain), on its grid. Default: the inner foreground.
    moving_mask : LabelImage, optional
        The same region of the moving image, on its grid. The last step then uses the intersection of both, so that
        exchanging the images gives the inverse transform.
    settings : RegisterSettings, optional

    Returns
    -------
    Registration
        A failed registration is marked and not raised; the caller decides about the scan. The transform is the
        identity if the motion is below the precision of the method (0.02 mm).

    Raises
    ------
    GridMismatchError
        If a mask is on a different grid.
    """
    settings = settings or RegisterSettings()
    if fixed_mask is not None:
        fixed.grid.require_same(fixed_mask.grid, "mask of the fixed image")
    if moving_mask is not None:
        moving.grid.require_same(moving_mask.grid, "mask of the moving image")
    margin_mm = 0.0 if intra_modal else settings.margin_across_mm
    region = widened(fixed_mask or inner_foreground(fixed), margin_mm)
    pair = _Pair(fixed, moving, fixed_mask, region, margin_mm, intra_modal)
    middle, fine = (_level(pair, number, pair.margin_mm, settings) for number in (1, 2))
    best, method, quality = Affine.identity(), RegistrationMethod.GAUSS_NEWTON, -1.0
    floor, tolerance_mm = settings.middle_scale_floor, settings.middle_tolerance_mm
    for candidate, start in _attempts(pair, settings):
        found = _refined(middle, start, pair, settings, scale_floor=floor, tolerance_mm=tolerance_mm)
        found = _refined_by_information(
            pair, found, settings.levels_mm[2], settings.max_points[2], tolerance_mm=tolerance_mm
        )
        reached = agreement(*fine, found)
        if reached > quality:
            best, quality, method = found, reached, candidate
        if quality >= settings.min_quality:
            break
    both = None if moving_mask is None else widened(moving_mask, margin_mm)
    sharp = _refined_by_information(
        pair,
        best,
        settings.sharp_mm,
        settings.max_points[3],
        tolerance_mm=settings.sharp_tolerance_mm,
        moving_region=both,
    )
    sharp = _as_headers_say_if_near(sharp, fine[0].points_mm, settings.precision_mm)
    quality = agreement(*fine, sharp)
    return Registration(sharp.inverse(), quality, method, failed=quality < settings.min_quality)


@dataclass(frozen=True)
class _Pair:
    """The two images of a registration, with masks and options."""

    fixed: Image
    moving: Image
    fixed_mask: LabelImage | None
    region: LabelImage
    margin_mm: float
    intra_modal: bool


def _level(pair: _Pair, number: int, margin_mm: float, settings: RegisterSettings) -> tuple[Samples, PyramidLevel]:
    spacing_mm, points = settings.levels_mm[number], settings.max_points[number]
    samples = samples_of(pair.fixed, spacing_mm, mask=pair.fixed_mask, margin_mm=margin_mm, max_points=points)
    return samples, level_of(pair.moving, spacing_mm)


def _refined(
    level: tuple[Samples, PyramidLevel],
    start: Affine,
    pair: _Pair,
    settings: RegisterSettings,
    *,
    scale_floor: float,
    tolerance_mm: float,
) -> Affine:
    return refine(
        *level,
        start,
        linear=pair.intra_modal,
        iterations=settings.iterations,
        tolerance_mm=tolerance_mm,
        scale_floor=scale_floor,
        full_overlap=settings.full_overlap,
    ).fixed_to_moving


def _refined_by_information(
    pair: _Pair,
    start: Affine,
    spacing_mm: float,
    max_points: int,
    *,
    tolerance_mm: float,
    moving_region: LabelImage | None = None,
) -> Affine:
    return refine_rigid(
        pair.fixed,
        pair.moving,
        pair.region,
        start,
        spacing_mm=spacing_mm,
        max_points=max_points,
        tolerance_mm=tolerance_mm,
        moving_region=moving_region,
    )


def _as_headers_say_if_near(fixed_to_moving: Affine, points_mm: FloatArray, precision_mm: float) -> Affine:
    """Identity if the motion is below the precision of the method, so that aligned scans are not interpolated."""
    moved_mm = np.linalg.norm(fixed_to_moving.points(points_mm) - points_mm, axis=1).mean()
    return Affine.identity() if moved_mm < precision_mm else fixed_to_moving


def _attempts(pair: _Pair, settings: RegisterSettings) -> Iterator[tuple[RegistrationMethod, Affine]]:
    """Initial transforms (fixed to moving) for the finer levels, the cheapest first; computed on demand."""
    # the headers are nearly always right within a few millimetres
    yield RegistrationMethod.GAUSS_NEWTON, Affine.identity()
    few, many = settings.kept_starts
    coarsest = _level(pair, 0, settings.coarse_margin_mm, settings)
    yield RegistrationMethod.GAUSS_NEWTON, _coarse(coarsest, pair, few, settings)
    # the outline can mislead if the fields of view differ: repeat without the coarse margin
    yield RegistrationMethod.GAUSS_NEWTON, _coarse(_level(pair, 0, pair.margin_mm, settings), pair, few, settings)
    yield RegistrationMethod.GAUSS_NEWTON, _coarse(coarsest, pair, many, settings)
    yield RegistrationMethod.MUTUAL_INFORMATION, mutual_information(pair.fixed, pair.moving, pair.fixed_mask)


def _motion_about(centre: FloatArray, turn: FloatArray, shift: FloatArray) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre + shift - turn @ centre
    return Affine(matrix)


def _coarse(coarsest: tuple[Samples, PyramidLevel], pair: _Pair, kept: int, settings: RegisterSettings) -> Affine:
    """Best of the refined initial transforms at the coarsest level, selected by `agreement`, not by similarity."""
    samples, level = coarsest
    linear = pair.intra_modal
    initial = _starts(pair.fixed, pair.moving, samples, settings.start_turn_deg)
    starts = [evaluate(samples, level, start, linear=linear) for start in initial]
    ranked = sorted(starts, key=lambda m: m.similarity * min(1.0, m.overlap / settings.full_overlap), reverse=True)
    floor, tolerance_mm = settings.coarse_scale_floor, settings.coarse_tolerance_mm
    found = [
        _refined(coarsest, m.fixed_to_moving, pair, settings, scale_floor=floor, tolerance_mm=tolerance_mm)
        for m in ranked[:kept]
    ]
    return max(found, key=lambda t: agreement(samples, level, t))


def _starts(fixed: Image, moving: Image, samples: Samples, turn_deg: int) -> list[Affine]:
    """Initial transforms (fixed to moving): by the headers, then 27 rotations with and without aligned centres."""
    centre = samples.points_mm.mean(axis=0)
    shift = head_centre(moving) - head_centre(fixed)
    turns = [
        Rotation.from_euler("xyz", t, degrees=True).as_matrix()
        for t in product((0, -turn_deg, turn_deg), repeat=3)
    ]
    return [Affine.identity()] + [
        _motion_about(centre, turn, offset) for offset in (shift, np.zeros(3)) for turn in turns
    ]
