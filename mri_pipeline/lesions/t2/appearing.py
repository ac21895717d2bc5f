"""Faint T2 lesions that appear or vanish in white matter: changes between two visits that noise does not explain.

A lesion can be too faint for the T2 rule and for `t2.changes`, and its change can still be certain. A change is a basin
of the z-map of two visits. It is accepted by this pair of visits alone: normal white matter at one of them is brighter
than normal white matter at the other. Each other visit is compared with the midpoint of this pair. Visits are never
combined, so that a further visit removes no lesion from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.boxes import widened
from mri_pipeline.core.components import ConnectedComponents, connected_parts
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import BoolArray, Grid, Image
from mri_pipeline.lesions.t2.watersheds import basins_of, upper_part

_APPEARING = METHOD.t2_appearing
_FLOOR_Z = METHOD.change.seed_z
_LEAST_WHITE_MATTER = METHOD.t2_visits.least_white_matter
_SAME_PLACE = METHOD.tracking.place_min_overlap


@dataclass(frozen=True, eq=False)
class Change:
    """A lesion that is present at one visit and absent at another.

    Parameters
    ----------
    voxels : ndarray of int, shape (n,)
        Flat indices.
    visit : int
        Visit at which it is present.
    z : float
        Mean change, in noise SD.
    least_contrast : float
        Minimum mean contrast for presence at another visit.
    """

    voxels: NDArray[np.intp]
    visit: int
    z: float
    least_contrast: float

    def present(self, contrast: NDArray[np.float32], scanned: BoolArray) -> bool:
        """True if the lesion is present at a visit.

        Parameters
        ----------
        contrast : ndarray of float32, shape (x, y, z)
            FLAIR relative to the white matter around.
        scanned : ndarray of bool, shape (x, y, z)
            Brain within the field of view of the visit.

        Returns
        -------
        bool
            False if a part of it is outside the field of view.
        """
        inside = bool(scanned.ravel()[self.voxels].all())
        return inside and float(contrast.ravel()[self.voxels].mean()) >= self.least_contrast


def changes_between(
    z: NDArray[np.float32],
    contrasts: tuple[NDArray[np.float32], NDArray[np.float32]],
    visit: int,
    *,
    searched: BoolArray,
    known: BoolArray,
    white_matter: Image,
    rules: LesionRules,
) -> list[Change]:
    """Lesions that are absent at one visit and present at another.

    Each prominent maximum of the change extends to a share of its height within its basin, so that adjoining lesions
    stay apart. A change is a lesion if

    - its mean is certain, and its volume is that of a lesion;
    - it lies in white matter that was normal before and is brighter than normal afterwards;
    - it touches no known lesion of either visit;
    - no opposite change adjoins it: an edge that moved is brighter on one side and darker on the other;
    - the slices above and below do not become darker there: a thin structure that lies in one thick slice at one visit,
      and is shared by several at the other, does so. Grids of isotropic voxels have no slices.

    Parameters
    ----------
    z : ndarray of float32, shape (x, y, z)
        Change in noise SD (`change.change_evidence`); positive where the second visit is brighter.
    contrasts : pair of ndarray of float32, shape (x, y, z)
        FLAIR of both visits relative to the white matter around (`basins.white_matter_contrast`).
    visit : int
        Number of the second visit.
    searched : ndarray of bool, shape (x, y, z)
        Brain within the field of view of both visits, without its edge.
    known : ndarray of bool, shape (x, y, z)
        Lesions of either visit.
    white_matter : Image
        Probability of white matter.
    rules : LesionRules

    Returns
    -------
    list of Change
        Empty if nothing changed.
    """
    grid = white_matter.grid
    landscape = np.where(searched, z, np.float32(0))
    parts, peak = upper_part(_basins(landscape), landscape, _APPEARING.border_share)
    parts = _around_maximum(parts, landscape)
    before, after = (parts.means(contrast) for contrast in contrasts)
    mean = parts.means(landscape)
    keep = mean >= _APPEARING.least_z
    keep &= parts.sizes * grid.voxel_volume_mm3 >= rules.t2_min_volume_mm3
    keep &= parts.means(white_matter.data) >= _LEAST_WHITE_MATTER
    keep &= (np.abs(before) <= _APPEARING.normal_contrast) & (after > _APPEARING.normal_contrast)
    keep &= parts.sums(widened(known, (1, 1, 1))) == 0
    if not keep.any():
        return []
    reach = [2 * max(1, round(_APPEARING.around_mm / s)) + 1 for s in grid.spacing_mm]
    apart = np.where(known, np.float32(0), landscape)
    opposite = parts.minima(ndimage.minimum_filter(apart, reach, mode="constant"))
    keep &= opposite >= -_APPEARING.most_opposite * peak
    if max(grid.spacing_mm) > METHOD.grid.isotropic_max_mm:
        keep &= parts.means(_slices_beside(apart, grid)) >= 0
    least = np.maximum((before + after) / 2, after * _APPEARING.present_share)
    return [
        Change(parts.voxels[parts.number == n], visit, float(mean[n]), float(least[n]))
        for n in np.flatnonzero(keep)
    ]


def _slices_beside(values: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Mean of the voxels above and below each voxel, across the slices; 0 beyond the image."""
    weights = np.array([0.5, 0.0, 0.5], dtype=np.float32)
    beside: NDArray[np.float32] = ndimage.correlate1d(
        values, weights, axis=int(np.argmax(grid.spacing_mm)), mode="constant"
    )
    return beside


def _basins(landscape: NDArray[np.float32]) -> ConnectedComponents:
    """Basins of the maxima that can be a lesion."""
    regions, _ = connected_parts(landscape > _FLOOR_Z)
    labels, total = np.zeros(landscape.shape, dtype=np.int32), 0
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        region = regions[box] == number
        if landscape[box][region].max() <= _APPEARING.least_z:
            continue
        there, count = basins_of(
            np.where(region, landscape[box], np.float32(0)),
            region,
            least_peak=_APPEARING.least_z,
            least_prominence=_APPEARING.least_prominence_z,
            floor=_FLOOR_Z,
        )
        labels[box][there > 0] = there[there > 0] + total
        total += count
    return ConnectedComponents.of_labels(labels, total)


def _around_maximum(parts: ConnectedComponents, landscape: NDArray[np.float32]) -> ConnectedComponents:
    """The connected region of each part that contains its maximum. The upper part of a basin may have several."""
    kept = np.zeros(len(parts.voxels), dtype=bool)
    for number in range(len(parts.sizes)):
        own = parts.number == number
        at = np.stack(np.unravel_index(parts.voxels[own], parts.shape), axis=1)
        at -= at.min(axis=0)
        box = np.zeros(at.max(axis=0) + 1, dtype=bool)
        box[tuple(at.T)] = True
        regions = connected_parts(box)[0][tuple(at.T)]
        kept[own] = regions == regions[np.argmax(landscape.ravel()[parts.voxels[own]])]
    numbers = parts.number[kept]
    sizes = np.bincount(numbers, minlength=len(parts.sizes))
    return ConnectedComponents(parts.shape, parts.voxels[kept], numbers, sizes)


def appearing_lesions(
    changes: Sequence[Change],
    contrasts: Sequence[NDArray[np.float32]],
    scanned: Sequence[BoolArray],
    taken: Sequence[BoolArray],
) -> list[BoolArray]:
    """Lesions of each visit from the changes between all pairs of visits.

    For each visit, its own changes are added first, the largest one first; a change is left out if `same_share` of its
    voxels are already lesion. Changes found at other visits follow if the lesion is visible at this visit and they
    overlap no lesion. Of them, only voxels not yet labelled are added, so that a further visit removes no lesion.

    Parameters
    ----------
    changes : sequence of Change
        Of all pairs of visits.
    contrasts : sequence of ndarray of float32, shape (x, y, z)
        FLAIR of each visit relative to the white matter around.
    scanned : sequence of ndarray of bool, shape (x, y, z)
        Brain within the field of view of each visit.
    taken : sequence of ndarray of bool, shape (x, y, z)
        Other lesions of each visit.

    Returns
    -------
    list of ndarray of bool, shape (x, y, z)
        One mask per visit, without the other lesions.
    """
    ranked = sorted(changes, key=lambda change: -change.z)
    found = []
    for visit, (contrast, brain, other) in enumerate(zip(contrasts, scanned, taken, strict=True)):
        mask = other.copy()
        own = [change for change in ranked if change.visit == visit]
        lasting = [c for c in ranked if c.visit != visit and c.present(contrast, brain)]
        for changes_here, same in ((own, _APPEARING.same_share), (lasting, _SAME_PLACE)):
            for change in changes_here:
                if mask.ravel()[change.voxels].mean() < same:
                    mask.ravel()[change.voxels] = True
        found.append(mask & ~other)
    return found
