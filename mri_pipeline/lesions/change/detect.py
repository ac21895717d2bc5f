"""Where FLAIR changed between two visits: a z-map, and the voxels that became or ceased to be lesion.

Both visits play the same part: exchanging them only changes the sign of every result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray, Grid, Image, LabelImage
from mri_pipeline.lesions.change.model import (
    NORMAL_RANGE,
    Blocks,
    contrast_difference,
    gradient_magnitude,
    local_noise,
    noise_by_gradient,
    smooth_difference,
)
from mri_pipeline.lesions.components import label_lesions, voxels_of
from mri_pipeline.lesions.crop import Crop

SMOOTHING_SIGMA_MM = METHOD.change.smoothing_sigma_mm
EXTENT_Z, SEED_Z = METHOD.change.extent_z, METHOD.change.seed_z
HYPERINTENSE = METHOD.change.hyperintense
REACH_MM = METHOD.change.reach_mm
_MIN_VOXELS = METHOD.change.min_voxels


@dataclass(frozen=True, eq=False)
class SmoothFlair:
    """A FLAIR as comparisons look at it, made once for a visit that is compared with two others.

    Parameters
    ----------
    grid : Grid
        Of the FLAIR; the arrays lie on it.
    seen : ndarray of bool
        Where the FLAIR has a signal.
    data : ndarray of float32
        The FLAIR, smoothed by 0.7 mm within thin slices.
    gradient : ndarray of float32
        Its gradient, per mm.
    """

    grid: Grid
    seen: BoolArray
    data: NDArray[np.float32]
    gradient: NDArray[np.float32]

    @classmethod
    def of(cls, flair: Image | SmoothFlair) -> SmoothFlair:
        """Smooth an image; what is smooth stays as it is."""
        if isinstance(flair, SmoothFlair):
            return flair
        if flair.grid.orientation != "RAS":  # one order of the axes for all: sums are rounded
            return cls.of(flair.reoriented("RAS")).reoriented(flair.grid.orientation)
        spacing = np.array(flair.grid.spacing_mm)
        sigma = SMOOTHING_SIGMA_MM / spacing
        # across thick slices the kernel would be narrower than a voxel: nothing to gain there
        sigma = np.where(sigma < 0.3, 0, sigma)
        data, seen = ndimage.gaussian_filter(flair.data, sigma, truncate=3.0), flair.data > 0
        if not seen.all():  # the mean of what was scanned: at the end of one visit's scan nothing has changed
            data[seen] /= ndimage.gaussian_filter(seen.astype(np.float32), sigma, truncate=3.0)[seen]
        return cls(flair.grid, seen, data, gradient_magnitude(data, spacing))

    def reoriented(self, orientation: str) -> SmoothFlair:
        """The same with axes permuted and flipped."""
        data, gradient = (Image(a, self.grid).reoriented(orientation) for a in (self.data, self.gradient))
        return SmoothFlair(
            data.grid, LabelImage(self.seen, self.grid).reoriented(orientation).mask, data.data, gradient.data
        )

    def within(self, crop: Crop) -> SmoothFlair:
        """The part within a box of its grid."""
        data, gradient = (np.ascontiguousarray(a[crop.box]) for a in (self.data, self.gradient))
        return SmoothFlair(crop.inner, self.seen[crop.box], data, gradient)


def change_evidence(
    flair_reference: Image | SmoothFlair,
    flair_followup: Image | SmoothFlair,
    brain: BoolArray,
    *,
    lesions: BoolArray | None = None,
) -> Image:
    """z-map of the change from the reference to the follow-up FLAIR (positive: brighter at follow-up).

    The steps (`change_model`): the difference of contrast in normal tissue removed, then the smooth local bias
    (18 mm), then divided by a noise that depends on the local gradient (edges differ by registration and partial
    volume) and on how restless the surroundings are.

    Parameters
    ----------
    flair_reference, flair_followup : Image or SmoothFlair
        On one grid, white matter about 1.
    brain : ndarray of bool
        Where the brain is; outside, z is 0.
    lesions : ndarray of bool, optional
        Lesions of either visit: left out of the mapping, the bias and the noise.

    Returns
    -------
    Image
        z on the same grid; 0 where one visit shows no tissue. Identical images give 0 everywhere; an empty brain,
        too.

    Raises
    ------
    GridMismatchError
        If the grids differ.
    """
    flair_reference.grid.require_same(flair_followup.grid, "follow-up FLAIR")
    grid = flair_reference.grid
    before, after = SmoothFlair.of(flair_reference), SmoothFlair.of(flair_followup)
    if grid.orientation != "RAS":  # one orientation for all: blocks of voxels begin at the same end
        turned = [flair.reoriented("RAS") for flair in (before, after)]
        masks = [None if m is None else LabelImage(m, grid).reoriented("RAS").mask for m in (brain, lesions)]
        if masks[0] is not None:
            canonical = change_evidence(turned[0], turned[1], masks[0], lesions=masks[1])
            return Image(canonical.reoriented(grid.orientation).data, grid)
    # the rest looks at the voxels of the brain alone, as rows
    blocks = Blocks.of(brain & before.seen & after.seen, np.array(grid.spacing_mm))
    unchanged = np.ones(len(blocks.voxels), dtype=bool) if lesions is None else ~blocks.row(lesions)
    difference, normal, tissue = _compared(blocks.row(before.data), blocks.row(after.data), unchanged)
    if np.count_nonzero(normal) < _MIN_VOXELS:
        return Image(np.zeros(grid.shape, dtype=np.float32), grid)
    difference -= smooth_difference(difference, normal, blocks)
    # an edge of both visits blurs and moves; one of a single visit is change itself
    gradient = blocks.row(np.minimum(before.gradient, after.gradient))
    z = difference / noise_by_gradient(difference, gradient, unchanged)
    z /= local_noise(z, unchanged, blocks)
    # what is no tissue at one of the visits was not there to be compared: fluid that moved, flow, fat beyond a gap
    z *= tissue
    return Image(blocks.image(z), grid)


def _compared(
    old: NDArray[np.float32], new: NDArray[np.float32], unchanged: BoolArray
) -> tuple[NDArray[np.float32], BoolArray, BoolArray]:
    """The difference but for contrast; where normal tissue is at both visits, and where any tissue is."""
    normal = unchanged & _within(old) & _within(new)
    difference = new - old
    difference -= contrast_difference(difference, (new + old) * np.float32(0.5), normal)
    return difference, normal, np.minimum(old, new) > NORMAL_RANGE[0]


def _within(data: NDArray[np.float32]) -> BoolArray:
    return (data > NORMAL_RANGE[0]) & (data < NORMAL_RANGE[1])


def changed_voxels(
    reference: LabelImage,
    followup: LabelImage,
    *,
    flairs: tuple[Image | SmoothFlair, Image | SmoothFlair] | None = None,
    evidence: Image | None = None,
    min_volume_mm3: float = 0.0,
    connectivity: int = 3,
) -> tuple[LabelImage, LabelImage]:
    """Voxels that became lesion and voxels that ceased to be lesion, from masks and images together.

    By the masks alone: lesion at one visit and not at the other. With images: a component of voxels that changed
    by at least 2 noises, are lesion-like at the visit where they are lesion (in its mask, or hyperintense within
    3 mm of it) and not lesion at both visits; it must hold a voxel of that mask that changed by at least 3.

    Parameters
    ----------
    reference, followup : LabelImage
        Lesion masks of both visits.
    flairs : pair of Image or SmoothFlair, optional
        FLAIR of reference and follow-up, white matter 1.
    evidence : Image, optional
        `change_evidence` of these images; None leaves the plain difference of the masks.
    min_volume_mm3 : float
        Smaller components are left out.
    connectivity : int
        As in `components.label_lesions`.

    Returns
    -------
    increase, decrease : LabelImage
        Exchanging the visits exchanges them.
    """
    if evidence is None or flairs is None:
        became, ceased = followup.mask & ~reference.mask, reference.mask & ~followup.mask
        return LabelImage(became, reference.grid), LabelImage(ceased, reference.grid)
    both = reference.mask & followup.mask
    results = []
    for mask, flair, z in ((followup, flairs[1], evidence.data), (reference, flairs[0], -evidence.data)):
        changed = (z >= EXTENT_Z) & ~both
        changed &= mask.mask | (SmoothFlair.of(flair).data > HYPERINTENSE)
        changed &= mask.mask | _near(changed, mask)
        labels = label_lesions(changed, flair.grid, min_volume_mm3=min_volume_mm3, connectivity=connectivity)
        seeded = np.zeros(int(labels.data.max()) + 1, dtype=bool)
        seeded[labels.data.ravel()[np.flatnonzero(mask.mask & (z >= SEED_Z))]] = True
        seeded[0] = False
        results.append(LabelImage(seeded[labels.data], flair.grid))
    return results[0], results[1]


def _near(candidates: BoolArray, mask: LabelImage) -> BoolArray:
    """Which of the candidates lie within reach of the mask, in mm."""
    near = np.zeros_like(candidates)
    points, target = voxels_of(candidates), voxels_of(mask.mask)
    if len(points) and len(target):
        tree = cKDTree(mask.grid.world(target.astype(float)))
        distance, _ = tree.query(mask.grid.world(points.astype(float)), distance_upper_bound=REACH_MM)
        near[tuple(points[np.isfinite(distance)].T)] = True
    return near
