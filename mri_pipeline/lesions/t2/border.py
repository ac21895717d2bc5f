"""Border of T2 lesions: set by brightness alone, not by location."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.boxes import widened_box
from mri_pipeline.core.components import ConnectedComponents, connected_parts, structure
from mri_pipeline.core.distances import ROUNDING_MM, within_reach
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray, Grid

_OWN = METHOD.t2_border.own


def with_faint(
    sure: BoolArray, faint: ConnectedComponents, score: NDArray[np.float32], threshold: float
) -> BoolArray:
    """Combine definite lesions with faint components.

    A faint component that touches no definite lesion is added whole. If a faint component belongs to one definite
    lesion, that lesion extends within the component to half of its maximum score, or to the threshold if that is
    lower. If a faint component surrounds several definite lesions, it is blur between them: they end at the
    threshold.

    Parameters
    ----------
    sure : ndarray of bool, shape (x, y, z)
        Definite lesions.
    faint : ConnectedComponents
        Faint components.
    score : ndarray of float32, shape (x, y, z)
        Score in standard deviations of white matter.
    threshold : float
        Score threshold of the subject.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
    """
    lesions = ConnectedComponents.of(sure)
    shared = _shared_voxels(faint, lesions)
    total = shared.sum(axis=1)
    apart = total == 0
    of_one_lesion, owner = np.nonzero(shared > _OWN * total[:, None])  # one owner at most: `own` is at least 0.5
    limit = np.full(len(faint.sizes), np.inf)
    limit[apart] = -np.inf
    limit[of_one_lesion] = np.minimum(lesions.maxima(score)[owner] / 2, threshold)
    added = score.ravel()[faint.voxels] > limit[faint.number]
    reach = sure.copy()
    reach.ravel()[faint.voxels[added]] = True
    # voxels above the limit that are not connected to the lesion are not part of it
    parts = ConnectedComponents.of(reach)
    return parts.chosen(parts.sums(sure | faint.chosen(apart)) > 0)


def _shared_voxels(faint: ConnectedComponents, lesions: ConnectedComponents) -> NDArray[np.intp]:
    """Number of voxels that each faint component shares with each lesion, shape (faint, lesions)."""
    _, in_faint, in_lesions = np.intersect1d(faint.voxels, lesions.voxels, assume_unique=True, return_indices=True)
    shared = np.zeros((len(faint.sizes), len(lesions.sizes)), dtype=np.intp)
    np.add.at(shared, (faint.number[in_faint], lesions.number[in_lesions]), 1)
    return shared


def to_border(found: BoolArray, bright: BoolArray, grid: Grid, *, reach_mm: float) -> BoolArray:
    """Extend lesions to the bright voxels that are connected to them.

    Parameters
    ----------
    found, bright : ndarray of bool, shape (x, y, z)
        Lesions, and voxels above the threshold.
    grid : Grid
    reach_mm : float
        Maximum distance from the lesion in mm.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        Empty if `found` is.
    """
    near = within_reach(found, reach_mm + ROUNDING_MM, grid.spacing_mm)
    return np.asarray(ndimage.binary_propagation(found, structure(3), mask=found | (bright & near)))


def small_to_half_height(
    found: BoolArray, brightness: NDArray[np.float32], grid: Grid, *, small_mm3: float, reach_mm: float
) -> BoolArray:
    """Extend small lesions to the connected voxels above half of their maximum brightness.

    Parameters
    ----------
    found : ndarray of bool, shape (x, y, z)
        Lesions.
    brightness : ndarray of float32, shape (x, y, z)
        FLAIR in standard deviations of white matter; white matter is 0.
    grid : Grid
    small_mm3 : float
        Lesions of this volume or more are left unchanged.
    reach_mm : float
        Maximum distance from the lesion in mm.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        A copy of `found` if there is no small lesion.
    """
    labels, _ = connected_parts(found)
    margin = [int(np.ceil(reach_mm / s)) for s in grid.spacing_mm]
    grown = found.copy()
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        where = widened_box(box, margin, found.shape)
        lesion, values = labels[where] == number, brightness[where]
        if np.count_nonzero(lesion) * grid.voxel_volume_mm3 >= small_mm3:
            continue
        near = within_reach(lesion, reach_mm, grid.spacing_mm)
        high = values > float(values[lesion].max()) / 2  # white matter is 0
        grown[where] |= ndimage.binary_propagation(lesion, structure(3), mask=lesion | (high & near))
    return grown
