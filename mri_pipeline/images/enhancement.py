"""Whether two T1 scans of one visit are pre-contrast and post-contrast, as the images show it.

Vessels, dura and choroid plexus enhance in everybody. The difference u = after / median - before / median then has a
long upper tail. Noise, motion and other scanner settings change both tails alike. The lower tail thus is the measure of
what is not enhancement. Thresholds: `benchmarks/intake/contrast.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from scipy import ndimage

from mri_pipeline.core.method.images import RegisterSettings
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image, LabelImage
from mri_pipeline.images.register import register_rigid
from mri_pipeline.images.resample import resample
from mri_pipeline.images.sampling import downsample, foreground

TAIL_PERCENT: Final = 0.5
"""Share of the region in each tail."""

MIN_TAIL: Final = 0.45
"""Least tail of an enhancement, in multiples of the median. Without contrast the tails of the phantom reach 0.40, with
contrast they begin at 0.57."""

MIN_RATIO: Final = 1.7
"""Least ratio of the two tails in the presence of enhancement. Without contrast the ratio is at most 1.52, with it
at least 1.82."""

MAX_EQUAL_RATIO: Final = 1.6
"""Largest ratio of the two tails of a pair without enhancement."""

UPPER_HEAD_MM: Final = 110.0
"""Height of the region below the vertex. It leaves out face and neck, which change the median."""

DEPTH_MM: Final = 10.0
"""Depth of the region below the surface of the head: without scalp and most of the skull."""

_SPACING_MM: Final = 2.0
_MIN_VOXELS: Final = 2_000
_SETTINGS: Final = RegisterSettings(sharp_mm=1.0, max_points=(15_000, 15_000, 20_000, 30_000))


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
    if np.count_nonzero(inside) < _MIN_VOXELS:
        return EnhancementCheck(Enhancement.UNDECIDED)
    scaled = [image.data[inside] / np.median(image.data[inside]) for image in (before, after)]
    lower, upper = np.percentile(scaled[1] - scaled[0], [TAIL_PERCENT, 100 - TAIL_PERCENT]) * (-1, 1)
    return EnhancementCheck(_judged(float(upper), float(lower)), round(float(upper), 2), round(float(lower), 2))


def _judged(upper: float, lower: float) -> Enhancement:
    if upper >= MIN_TAIL and upper >= MIN_RATIO * lower:
        return Enhancement.PRESENT
    if lower >= MIN_TAIL and lower >= MIN_RATIO * upper:
        return Enhancement.REVERSED
    if max(upper, lower) < MIN_TAIL and max(upper, lower) <= MAX_EQUAL_RATIO * min(upper, lower):
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
    registration = register_rigid(before, after, intra_modal=True, fixed_mask=region, settings=_SETTINGS)
    if registration.failed:
        return EnhancementCheck(Enhancement.UNDECIDED)
    small = downsample(before, _SPACING_MM)
    moved = resample(after, small.grid, registration.moving_to_fixed, order=1)
    if region is None:
        return check_enhancement(small, moved, upper_head(small))
    inside = downsample(Image(region.mask.astype(np.float32), region.grid), _SPACING_MM)
    return check_enhancement(small, moved, LabelImage((inside.data > 0.5).astype(np.uint8), small.grid))


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
    depth = ndimage.distance_transform_edt(head, sampling=image.grid.spacing_mm)
    index = np.indices(image.grid.shape).reshape(3, -1)
    height: FloatArray = (image.grid.affine[2, :3] @ index + image.grid.affine[2, 3]).reshape(image.grid.shape)
    vertex = float(height[head].max(initial=-np.inf))
    inside = (depth > DEPTH_MM) & (height > vertex - UPPER_HEAD_MM)
    return LabelImage(inside.astype(np.uint8), image.grid)
