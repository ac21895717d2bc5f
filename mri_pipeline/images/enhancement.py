"""Whether T1 scans are pre-contrast or post-contrast, as the images show it.

Vessels, dura and choroid plexus enhance in everybody. The difference u = after / median - before / median then has a
long upper tail. Noise, motion and other scanner settings change both tails alike. The lower tail therefore measures
everything that is not enhancement. Thresholds: `benchmarks/intake/contrast.md`.

A single T1 is judged by choroid plexus and vessels in the central CSF, which are as bright as white matter only after
contrast.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mri_pipeline.core.distances import deeper_than
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import median, percentile
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image, LabelImage
from mri_pipeline.images.register import register_rigid
from mri_pipeline.images.resample import resample
from mri_pipeline.images.sampling import downsample, foreground

_CONSTANTS = METHOD.enhancement_check


class Enhancement(StrEnum):
    """Enhancement of the second of two T1 against the first."""

    PRESENT = "present"
    ABSENT = "absent"
    REVERSED = "reversed"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class EnhancementCheck:
    """Result of the comparison of two T1.

    Parameters
    ----------
    enhancement : Enhancement
    upper, lower : float or None
        Tails of the difference, in multiples of the median: the 99.5th percentile, and the negated 0.5th. None if the
        scans could not be registered or the region is too small.
    """

    enhancement: Enhancement
    upper: float | None = None
    lower: float | None = None


def check_enhancement(before: Image, after: Image, region: LabelImage) -> EnhancementCheck:
    """Compare two registered T1 scans in a region.

    Parameters
    ----------
    before, after : Image
        T1 on one grid. Voxels of 0 are outside the field of view.
    region : LabelImage
        Brain, or the upper head, on the same grid.

    Returns
    -------
    EnhancementCheck
        Reversed if the first scan enhances against the second. Undecided if the tails are neither clearly different nor
        both short: motion, noise, or scans of different kinds.

    Raises
    ------
    GridMismatchError
        If the grids differ.

    Examples
    --------
    >>> from mri_pipeline.core.spatial import Grid
    >>> noise = np.random.default_rng(0).normal(100, 3, (2, 20, 20, 20)).astype(np.float32)
    >>> grid = Grid((20, 20, 20), np.eye(4))
    >>> noise[1, :2] += 100  # 10 % of the voxels enhance
    >>> scans = [Image(data, grid) for data in noise]
    >>> check_enhancement(*scans, LabelImage(np.ones(grid.shape, dtype=np.uint8), grid)).enhancement.value
    'present'
    """
    before.grid.require_same(after.grid, "the second T1")
    before.grid.require_same(region.grid, "the region")
    inside = region.mask & (before.data > 0) & (after.data > 0)
    if np.count_nonzero(inside) < _CONSTANTS.min_voxels:
        return EnhancementCheck(Enhancement.UNDECIDED)
    scaled = [image.data[inside] / median(image.data[inside]) for image in (before, after)]
    lower, upper = percentile(scaled[1] - scaled[0], [_CONSTANTS.tail_percent, 100 - _CONSTANTS.tail_percent]) * (
        -1,
        1,
    )
    return EnhancementCheck(_judged(float(upper), float(lower)), round(float(upper), 2), round(float(lower), 2))


def _judged(upper: float, lower: float) -> Enhancement:
    if upper >= _CONSTANTS.min_tail and upper >= _CONSTANTS.min_ratio * lower:
        return Enhancement.PRESENT
    if lower >= _CONSTANTS.min_tail and lower >= _CONSTANTS.min_ratio * upper:
        return Enhancement.REVERSED
    if max(upper, lower) < _CONSTANTS.min_tail and max(upper, lower) <= _CONSTANTS.max_equal_ratio * min(
        upper, lower
    ):
        return Enhancement.ABSENT
    return Enhancement.UNDECIDED


def compare_t1(before: Image, after: Image, *, region: LabelImage | None = None) -> EnhancementCheck:
    """Register two T1 of one visit and compare them (`check_enhancement`) at 2 mm.

    Parameters
    ----------
    before, after : Image
        With skull, 2D or 3D, on any grid.
    region : LabelImage, optional
        Brain on the grid of `before`. Default: the inner part of the upper head. Required for skull-stripped scans.

    Returns
    -------
    EnhancementCheck
        Undecided if the registration fails or a scan is uniform.
    """
    if any(np.ptp(image.data) == 0 for image in (before, after)):
        return EnhancementCheck(Enhancement.UNDECIDED)
    registration = register_rigid(
        before, after, intra_modal=True, fixed_mask=region, settings=_CONSTANTS.registration
    )
    if registration.failed:
        return EnhancementCheck(Enhancement.UNDECIDED)
    small = downsample(before, _CONSTANTS.spacing_mm)
    moved = resample(after, small.grid, registration.moving_to_fixed, order=1)
    return check_enhancement(small, moved, upper_head(small) if region is None else _coarse(region))


def compare_registered_t1(before: Image, after: Image, brain: LabelImage) -> EnhancementCheck:
    """Compare two T1 of one visit that are on one grid (`check_enhancement`) at 2 mm.

    Parameters
    ----------
    before, after : Image
        Voxels of 0 are outside the field of view.
    brain : LabelImage
        On the same grid.

    Returns
    -------
    EnhancementCheck

    Raises
    ------
    GridMismatchError
        If the grids differ.
    """
    small, other = (downsample(image, _CONSTANTS.spacing_mm) for image in (before, after))
    return check_enhancement(small, other, _coarse(brain))


def looks_enhanced(t1: Image, csf: Image, brain: LabelImage) -> bool:
    """Whether choroid plexus and vessels of a single T1 are as bright as after contrast.

    Parameters
    ----------
    t1 : Image
        Median of white matter 1. Voxels of 0 are outside the field of view.
    csf : Image
        CSF probability of the registered template, 0 to 1, on the same grid.
    brain : LabelImage
        On the same grid.

    Returns
    -------
    bool
        False also if the central CSF is too small to decide.

    Raises
    ------
    GridMismatchError
        If the grids differ.
    """
    t1.grid.require_same(csf.grid, "the CSF probability")
    t1.grid.require_same(brain.grid, "the brain mask")
    small, fluid = (downsample(image, _CONSTANTS.spacing_mm) for image in (t1, csf))
    inside = np.pad(_coarse(brain).mask, 1)  # the edge of the grid is a surface, too
    deep = deeper_than(inside, _CONSTANTS.csf_depth_mm, small.grid.spacing_mm)[1:-1, 1:-1, 1:-1]
    central = deep & (fluid.data > _CONSTANTS.csf_probability) & (small.data > 0)
    if np.count_nonzero(central) < _CONSTANTS.min_central_voxels:
        return False
    brightest = percentile(small.data[central], 100 - _CONSTANTS.csf_percent)
    return bool(brightest >= _CONSTANTS.enhanced_csf)


def _coarse(region: LabelImage) -> LabelImage:
    share = downsample(Image(region.mask.astype(np.float32), region.grid), _CONSTANTS.spacing_mm)
    return LabelImage((share.data > 0.5).astype(np.uint8), share.grid)


def upper_head(image: Image) -> LabelImage:
    """Inner part of the upper head: mostly brain, without face, neck and scalp.

    Parameters
    ----------
    image : Image
        A scan with skull.

    Returns
    -------
    LabelImage
        On the grid of the image.
    """
    head: BoolArray = np.asarray(foreground(image.data))
    index = np.indices(image.grid.shape).reshape(3, -1)
    height: FloatArray = (image.grid.affine[2, :3] @ index + image.grid.affine[2, 3]).reshape(image.grid.shape)
    vertex = float(height[head].max(initial=-np.inf))
    inside = deeper_than(head, _CONSTANTS.depth_mm, image.grid.spacing_mm) & (
        height > vertex - _CONSTANTS.upper_head_mm
    )
    return LabelImage(inside.astype(np.uint8), image.grid)
