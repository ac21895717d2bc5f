"""Rigid registration of two scans of one head, that says whether it worked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from mri_pipeline.images.matching import (
    Level,
    Match,
    Samples,
    downsample,
    evaluate,
    foreground,
    level_of,
    refine,
    samples_of,
)
from mri_pipeline.itk import to_sitk
from mri_pipeline.model import Affine, FloatArray, Grid, Image, LabelImage


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
    kept_starts : int
        Starts that are refined at the coarsest level.
    min_quality_same, min_quality_across : float
        Qualities below which a registration counts as failed, for equal and for different contrasts.
    """

    levels_mm: tuple[float, ...] = (8.0, 4.0, 2.0)
    max_points: int = 60_000
    kept_starts: int = 5
    min_quality_same: float = 0.75
    min_quality_across: float = 0.5


@dataclass(frozen=True)
class Registration:
    """What a registration found.

    Parameters
    ----------
    moving_to_fixed : Affine
        Rigid, in RAS+ mm.
    quality : float
        Similarity after registration, 0 to 1: the share (square root) of the moving image's variation that the
        fixed image explains, discounted where less than 70 % of the fixed region is covered.
    method : Method
    failed : bool
        Whether the quality is below what any true match reached; the transform must not be used.
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
    limit = settings.min_quality_same if same_contrast else settings.min_quality_across
    pyramid = [
        (samples_of(fixed, mm, mask=fixed_mask, max_points=settings.max_points), level_of(moving, mm))
        for mm in settings.levels_mm
    ]
    match = _descend(pyramid, _coarse(pyramid[0], fixed, moving, same_contrast, settings), same_contrast)
    method = Method.GAUSS_NEWTON
    if _quality(match) < limit:
        second = _descend(pyramid[1:], mutual_information(fixed, moving, fixed_mask), same_contrast)
        if _quality(second) > _quality(match):
            match, method = second, Method.MUTUAL_INFORMATION
    quality = _quality(match)
    return Registration(match.fixed_to_moving.inverse(), quality, method, quality < limit)


def _quality(match: Match) -> float:
    return match.similarity * min(1.0, match.overlap / 0.7)


def _coarse(
    level: tuple[Samples, Level], fixed: Image, moving: Image, same_contrast: bool, settings: RegisterSettings
) -> Affine:
    """The best of many starts, refined, at the coarsest level."""
    samples, moving_level = level
    starts = [evaluate(samples, moving_level, s, linear=same_contrast) for s in _starts(fixed, moving, samples)]
    # the header's own position is always tried: it is nearly always close
    chosen = [starts[0], *sorted(starts[1:], key=_quality, reverse=True)[: settings.kept_starts]]
    refined = [
        refine(samples, moving_level, m.fixed_to_moving, linear=same_contrast, scale_floor=0.3, tolerance_mm=0.1)
        for m in chosen
    ]
    return max(refined, key=_quality).fixed_to_moving


def _descend(pyramid: list[tuple[Samples, Level]], start: Affine, same_contrast: bool) -> Match:
    match = Match(start, 0.0, 0.0)
    for number, (samples, level) in enumerate(pyramid):
        last = number == len(pyramid) - 1
        match = refine(
            samples,
            level,
            match.fixed_to_moving,
            linear=same_contrast,
            scale_floor=0.02 if last else 0.1,
            tolerance_mm=0.003 if last else 0.02,
        )
    return match


def _starts(fixed: Image, moving: Image, samples: Samples) -> list[Affine]:
    """Fixed to moving: as the headers say, then heads laid over each other with 27 turns."""
    centre = samples.points_mm.mean(axis=0)
    heads = [_head_centre(image) for image in (fixed, moving)]
    shift = heads[1] - heads[0]
    turns = [Rotation.from_euler("xyz", t, degrees=True).as_matrix() for t in product((0, -22, 22), repeat=3)]
    starts = [Affine.identity()]
    for offset in (shift, np.zeros(3)):
        for turn in turns:
            matrix = np.eye(4)
            matrix[:3, :3] = turn
            matrix[:3, 3] = centre + offset - turn @ centre
            starts.append(Affine(matrix))
    return starts


def _head_centre(image: Image) -> FloatArray:
    """Middle of the foreground's top 150 mm (a neck in the field of view must not pull it down)."""
    small = downsample(image, 8.0)
    points = small.grid.world(np.argwhere(foreground(small.data)))
    top = np.percentile(points[:, 2], 99.5)
    return np.asarray(points[points[:, 2] > top - 150.0].mean(axis=0))


def mutual_information(fixed: Image, moving: Image, fixed_mask: LabelImage | None) -> Affine:
    """Fixed to moving by SimpleITK's Mattes mutual information from three starts: the independent second method."""
    small_fixed, small_moving = downsample(fixed, 2.0), downsample(moving, 2.0)
    region = None if fixed_mask is None else downsample(Image(fixed_mask.mask.astype(np.float32), fixed.grid), 2.0)
    target, source = to_sitk(small_fixed), to_sitk(small_moving)
    found = []
    for offset in (np.zeros(3), _head_centre(moving) - _head_centre(fixed)):
        method = _itk_method()
        if region is not None:
            method.SetMetricFixedMask(sitk.Cast(to_sitk(region) > 0.5, sitk.sitkUInt8))
        centre = small_fixed.grid.world((np.array(small_fixed.grid.shape)[None] - 1) / 2)[0] * (-1, -1, 1)
        start = sitk.Euler3DTransform()
        start.SetCenter([float(x) for x in centre])
        start.SetTranslation([float(x) for x in offset * (-1, -1, 1)])
        method.SetInitialTransform(start, inPlace=False)
        try:
            transform = method.Execute(target, source)
        except RuntimeError:  # ITK raises where the images do not meet
            continue
        found.append((method.GetMetricValue(), _as_affine(transform)))
    return min(found, key=lambda pair: pair[0])[1] if found else Affine.identity()


def _itk_method() -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2, 42)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.01, 100)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4, 2, 1])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _as_affine(transform: sitk.Transform) -> Affine:
    """ITK's map of points (LPS) as a RAS matrix."""
    flip = np.array([-1.0, -1.0, 1.0])
    origin = flip * transform.TransformPoint((0.0, 0.0, 0.0))
    matrix = np.eye(4)
    for axis in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[axis] = float(flip[axis])
        matrix[:3, axis] = flip * transform.TransformPoint(unit) - origin
    matrix[:3, 3] = origin
    return Affine(matrix)


def position_error_mm(one: Affine, other: Affine, grid: Grid, mask: LabelImage) -> float:
    """Mean distance over a mask between where two transforms (of the mask's world) put its voxels."""
    index = np.argwhere(mask.mask)[::97]
    points = grid.world(index)
    return float(np.linalg.norm(one.points(points) - other.points(points), axis=1).mean())
