"""Change of FLAIR between two visits: a z-map, and the voxels that became or ceased to be lesion.

The method is symmetric: exchanging the visits only reverses the sign of the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from mri_pipeline.core.components import voxels_of
from mri_pipeline.core.crop import Crop
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray, Grid, Image, LabelImage
from mri_pipeline.lesions.change.blocks import Blocks
from mri_pipeline.lesions.change.model import (
    NORMAL_RANGE,
    contrast_difference,
    gradient_magnitude,
    local_noise,
    noise_by_gradient,
    smooth_difference,
)
from mri_pipeline.lesions.components import label_lesions

_TRUNCATE = METHOD.change.truncate
SMOOTHING_SIGMA_MM = METHOD.change.smoothing_sigma_mm
EXTENT_Z, SEED_Z = METHOD.change.extent_z, METHOD.change.seed_z
HYPERINTENSE = METHOD.change.hyperintense
REACH_MM = METHOD.change.reach_mm
_MIN_VOXELS = METHOD.change.min_voxels


@dataclass(frozen=True, eq=False)
class SmoothFlair:
    """Smoothed FLAIR for comparisons, computed once per visit.

    Parameters
    ----------
    grid : Grid
        Grid of the FLAIR and of the arrays.
    in_fov : ndarray of bool, shape (x, y, z)
        True within the field of view, where the FLAIR has signal.
    data : ndarray of float32, shape (x, y, z)
        FLAIR after Gaussian smoothing (sigma 0.7 mm), except across thick slices.
    gradient : ndarray of float32, shape (x, y, z)
        Gradient magnitude of `data`, per mm.
    """

    grid: Grid
    in_fov: BoolArray
    data: NDArray[np.float32]
    gradient: NDArray[np.float32]

    @classmethod
    def of(cls, flair: Image | SmoothFlair) -> SmoothFlair:
        """Smooth a FLAIR and compute its gradient.

        Parameters
        ----------
        flair : Image or SmoothFlair
            White matter about 1; 0 outside the field of view.

        Returns
        -------
        SmoothFlair
            On the grid of the image. A `SmoothFlair` is returned unchanged.
        """
        if isinstance(flair, SmoothFlair):
            return flair
        if flair.grid.orientation != "RAS":  # a fixed axis order: rounding of sums depends on it
            return cls.of(flair.reoriented("RAS")).reoriented(flair.grid.orientation)
        spacing = np.array(flair.grid.spacing_mm)
        sigma = SMOOTHING_SIGMA_MM / spacing
        # across thick slices the kernel would be narrower than a voxel
        sigma = np.where(sigma < METHOD.change.least_sigma, 0, sigma)
        data, in_fov = ndimage.gaussian_filter(flair.data, sigma, truncate=_TRUNCATE), flair.data > 0
        if not in_fov.all():  # normalise within the field of view, so that its end is not a change
            data[in_fov] /= ndimage.gaussian_filter(in_fov.astype(np.float32), sigma, truncate=_TRUNCATE)[in_fov]
        return cls(flair.grid, in_fov, data, gradient_magnitude(data, spacing))

    def reoriented(self, orientation: str) -> SmoothFlair:
        """The same FLAIR with axes permuted and flipped.

        Parameters
        ----------
        orientation : str
            Anatomical direction of each axis, such as "RAS".

        Returns
        -------
        SmoothFlair
        """
        data, gradient = (Image(a, self.grid).reoriented(orientation) for a in (self.data, self.gradient))
        return SmoothFlair(
            data.grid, LabelImage(self.in_fov, self.grid).reoriented(orientation).mask, data.data, gradient.data
        )

    def within(self, crop: Crop) -> SmoothFlair:
        """Part of the FLAIR within a box.

        Parameters
        ----------
        crop : Crop
            Box of `grid`.

        Returns
        -------
        SmoothFlair
            On `crop.inner`.
        """
        data, gradient = (np.ascontiguousarray(a[crop.box]) for a in (self.data, self.gradient))
        return SmoothFlair(crop.inner, self.in_fov[crop.box], data, gradient)


def change_evidence(
    flair_reference: Image | SmoothFlair,
    flair_followup: Image | SmoothFlair,
    brain: BoolArray,
    *,
    lesions: BoolArray | None = None,
) -> Image:
    """z-map of the change from the reference to the follow-up FLAIR (positive: brighter at follow-up).

    The steps (`change.model`) are: subtract the difference of contrast in normal tissue; subtract the smooth bias
    field (18 mm); divide by the noise. The noise depends on the local gradient, because edges differ by registration
    and partial volume, and on the local noise of the surroundings.

    Parameters
    ----------
    flair_reference, flair_followup : Image or SmoothFlair
        On one grid, white matter about 1.
    brain : ndarray of bool, shape (x, y, z)
        Brain mask; z is 0 outside.
    lesions : ndarray of bool, shape (x, y, z), optional
        Lesions of either visit; excluded from the estimates of contrast, bias and noise.

    Returns
    -------
    Image
        z on the same grid; 0 where one of the visits shows no tissue. 0 everywhere for identical images or an empty
        brain mask.

    Raises
    ------
    GridMismatchError
        If the grids differ.
    """
    flair_reference.grid.require_same(flair_followup.grid, "follow-up FLAIR")
    grid = flair_reference.grid
    before, after = SmoothFlair.of(flair_reference), SmoothFlair.of(flair_followup)
    if grid.orientation != "RAS":  # a fixed orientation: blocks of voxels start at the same end
        turned = [flair.reoriented("RAS") for flair in (before, after)]
        masks = [None if m is None else LabelImage(m, grid).reoriented("RAS").mask for m in (brain, lesions)]
        if masks[0] is not None:
            canonical = change_evidence(turned[0], turned[1], masks[0], lesions=masks[1])
            return Image(canonical.reoriented(grid.orientation).data, grid)
    # the following steps use brain voxels only, as rows
    blocks = Blocks.of(brain & before.in_fov & after.in_fov, np.array(grid.spacing_mm))
    unchanged = np.ones(len(blocks.voxels), dtype=bool) if lesions is None else ~blocks.row(lesions)
    difference, normal, tissue = _compared(blocks.row(before.data), blocks.row(after.data), unchanged)
    if np.count_nonzero(normal) < _MIN_VOXELS:
        return Image(np.zeros(grid.shape, dtype=np.float32), grid)
    difference -= smooth_difference(difference, normal, blocks)
    # an edge present at both visits is subject to blur and misregistration; an edge at only one visit is change
    gradient = blocks.row(np.minimum(before.gradient, after.gradient))
    z = difference / noise_by_gradient(difference, gradient, unchanged)
    z /= local_noise(z, unchanged, blocks)
    # voxels without tissue at one of the visits cannot be compared: moved fluid, flow, fat beyond a gap
    z *= tissue
    return Image(blocks.image(z), grid)


def _compared(
    old: NDArray[np.float32], new: NDArray[np.float32], unchanged: BoolArray
) -> tuple[NDArray[np.float32], BoolArray, BoolArray]:
    """Difference after contrast correction; masks of normal tissue and of any tissue at both visits."""
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
    """Voxels that became lesion and voxels that ceased to be lesion, from masks and images.

    Without images, a voxel has changed if it is lesion at one visit and not at the other. With images, a change is a
    component of voxels that changed by at least 2 noise SD and are lesion at no more than one visit. The voxels must
    be in the lesion mask of the visit with the lesion, or hyperintense within 3 mm of it. The component must contain
    a voxel of that mask that changed by at least 3 noise SD.

    Parameters
    ----------
    reference, followup : LabelImage
        Lesion masks of both visits.
    flairs : pair of Image or SmoothFlair, optional
        FLAIR of reference and follow-up, white matter 1.
    evidence : Image, optional
        `change_evidence` of these images. If it or `flairs` is None, the result is the difference of the masks.
    min_volume_mm3 : float
        Smaller components are removed; ignored without images.
    connectivity : int
        As in `components.label_lesions`.

    Returns
    -------
    increase, decrease : LabelImage
        Exchanging the visits exchanges the two images. Both are empty if nothing changed.
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
    """Candidates within `REACH_MM` of the mask."""
    near = np.zeros_like(candidates)
    points, target = voxels_of(candidates), voxels_of(mask.mask)
    if len(points) and len(target):
        tree = cKDTree(mask.grid.world(target.astype(float)))
        distance, _ = tree.query(mask.grid.world(points.astype(float)), distance_upper_bound=REACH_MM)
        near[tuple(points[np.isfinite(distance)].T)] = True
    return near
