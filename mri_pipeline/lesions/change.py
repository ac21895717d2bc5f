"""Where FLAIR changed between two visits: a z-map, and the voxels that became or ceased to be lesion.

Both visits play the same part: exchanging them only changes the sign of every result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from mri_pipeline.lesions.change_model import (
    NORMAL_RANGE,
    contrast_difference,
    gradient_magnitude,
    local_noise,
    noise_by_gradient,
    smooth_difference,
)
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.model import BoolArray, Image, LabelImage

SMOOTHING_SIGMA_MM = 0.7
EXTENT_Z, SEED_Z = 2.0, 3.0
"""A changed voxel differs by two noises, and a changed component holds one that differs by three."""
HYPERINTENSE = 1.15
"""Brighter than white matter (1) by more than its spread; lesions are 1.40 to 1.44 at their core."""
REACH_MM = 3.0
"""How far beyond a drawn border a change may reach: the smallest lesion's diameter."""
_MIN_VOXELS = 50


def change_evidence(
    flair_reference: Image, flair_followup: Image, brain: BoolArray, *, lesions: BoolArray | None = None
) -> Image:
    """z-map of the change from the reference to the follow-up FLAIR (positive: brighter at follow-up).

    The steps (`change_model`): the difference of contrast in normal tissue removed, then the smooth local bias
    (18 mm), then divided by a noise that depends on the local gradient (edges differ by registration and partial
    volume) and on how restless the surroundings are.

    Parameters
    ----------
    flair_reference, flair_followup : Image
        On one grid, white matter about 1.
    brain : ndarray of bool
        Where the brain is; outside, z is 0.
    lesions : ndarray of bool, optional
        Lesions of either visit: left out of the mapping, the bias and the noise.

    Returns
    -------
    Image
        z on the same grid. Identical images give 0 everywhere; an empty brain, too.

    Raises
    ------
    GridMismatchError
        If the grids differ.
    """
    flair_reference.grid.require_same(flair_followup.grid, "follow-up FLAIR")
    grid = flair_reference.grid
    if grid.orientation != "RAS":  # one orientation for all: blocks of voxels begin at the same end
        turned = [image.reoriented("RAS") for image in (flair_reference, flair_followup)]
        masks = [None if m is None else LabelImage(m, grid).reoriented("RAS").mask for m in (brain, lesions)]
        if masks[0] is not None:
            canonical = change_evidence(turned[0], turned[1], masks[0], lesions=masks[1])
            return Image(canonical.reoriented(grid.orientation).data, grid)
    inside = brain & (flair_reference.data > 0) & (flair_followup.data > 0)
    spacing = np.array(grid.spacing_mm)
    before, after = (_smooth(i.data, SMOOTHING_SIGMA_MM / spacing) for i in (flair_reference, flair_followup))
    normal = inside & _within(before) & _within(after)
    if lesions is not None:
        normal &= ~lesions
    if np.count_nonzero(normal) < _MIN_VOXELS:
        return Image(np.zeros(grid.shape, dtype=np.float32), grid)
    difference = after - before
    difference -= contrast_difference(difference, (after + before) * np.float32(0.5), normal)
    difference -= smooth_difference(difference, normal, spacing)
    # an edge of both visits blurs and moves; one of a single visit is change itself
    gradient = np.minimum(gradient_magnitude(before, spacing), gradient_magnitude(after, spacing))
    unchanged = inside if lesions is None else inside & ~lesions
    z = np.where(inside, difference / noise_by_gradient(difference, gradient, unchanged), 0).astype(np.float32)
    return Image((z / local_noise(z, unchanged, spacing)).astype(np.float32), grid)


def _within(data: NDArray[np.float32]) -> BoolArray:
    return (data > NORMAL_RANGE[0]) & (data < NORMAL_RANGE[1])


def _smooth(data: NDArray[np.float32], sigma: NDArray[np.float64]) -> NDArray[np.float32]:
    # across thick slices the kernel would be narrower than a voxel: nothing to gain there
    sigma = np.where(sigma < 0.3, 0, sigma)
    return ndimage.gaussian_filter(data, sigma, truncate=3.0)


def changed_voxels(
    reference: LabelImage,
    followup: LabelImage,
    *,
    flairs: tuple[Image, Image] | None = None,
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
    flairs : (Image, Image), optional
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
        sigma = SMOOTHING_SIGMA_MM / np.array(flair.grid.spacing_mm)
        changed = (z >= EXTENT_Z) & ~both
        changed &= mask.mask | (_smooth(flair.data, sigma) > HYPERINTENSE)
        changed &= mask.mask | _near(changed, mask)
        labels = label_lesions(changed, flair.grid, min_volume_mm3=min_volume_mm3, connectivity=connectivity)
        seeded = np.unique(labels.data[(z >= SEED_Z) & mask.mask])
        results.append(LabelImage(np.isin(labels.data, seeded[seeded > 0]), flair.grid))
    return results[0], results[1]


def _near(candidates: BoolArray, mask: LabelImage) -> BoolArray:
    """Which of the candidates lie within reach of the mask, in mm."""
    near = np.zeros_like(candidates)
    points, target = np.argwhere(candidates), np.argwhere(mask.mask)
    if len(points) and len(target):
        tree = cKDTree(mask.grid.world(target.astype(float)))
        distance, _ = tree.query(mask.grid.world(points.astype(float)), distance_upper_bound=REACH_MM)
        near[tuple(points[np.isfinite(distance)].T)] = True
    return near
