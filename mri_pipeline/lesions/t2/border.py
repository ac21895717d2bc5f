"""Where a T2 lesion ends: as far as it is bright, whatever the place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray, Grid
from mri_pipeline.lesions.components import ConnectedComponents, structure

_OWN = METHOD.t2_border.own


def with_faint(
    sure: BoolArray, faint: ConnectedComponents, score: NDArray[np.float32], threshold: float
) -> BoolArray:
    """Sure lesions and the faint ones apart from them; a faint one whose brightest part became sure stays whole.

    A sure lesion reaches to the half of its height, at most to the threshold, within the faint part that is its own.
    Around several lesions a faint part is what blurs them into one: they end at the threshold.
    """
    lesions = ConnectedComponents.of(sure)
    number = np.zeros(sure.size, dtype=np.intp)
    number[lesions.voxels] = lesions.number + 1
    shared = np.zeros((len(faint.sizes), len(lesions.sizes) + 1), dtype=np.intp)
    np.add.at(shared, (faint.number, number[faint.voxels]), 1)
    shared[:, 0] = 0  # not sure
    owner, total = shared.argmax(axis=1), shared.sum(axis=1)
    height = np.append(0.0, lesions.maxima(score))[owner]
    limit = np.where(shared.max(axis=1) > _OWN * total, np.minimum(height / 2, threshold), np.inf)
    limit[total == 0] = -np.inf
    reach = sure.copy()
    reach.ravel()[faint.voxels] |= score.ravel()[faint.voxels] > limit[faint.number]
    parts = ConnectedComponents.of(reach)
    return parts.chosen(parts.sums(sure | faint.chosen(total == 0)) > 0)


def to_border(found: BoolArray, bright: BoolArray, grid: Grid, *, reach_mm: float) -> BoolArray:
    """Lesions with the bright voxels connected to them within reach."""
    if not found.any():
        return found
    near = ndimage.distance_transform_edt(~found, sampling=grid.spacing_mm) <= reach_mm
    return np.asarray(ndimage.binary_propagation(found, structure(3), mask=found | (bright & near)))


def small_to_half_height(
    found: BoolArray, brightness: NDArray[np.float32], grid: Grid, *, small_mm3: float, reach_mm: float
) -> BoolArray:
    """Small lesions with what is connected to them, within reach, above the half of their height."""
    labels, _ = ndimage.label(found, structure(3))
    margin = [int(np.ceil(reach_mm / s)) for s in grid.spacing_mm]
    grown = found.copy()
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        where = tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(box, margin, strict=True))
        lesion, values = labels[where] == number, brightness[where]
        if np.count_nonzero(lesion) * grid.voxel_volume_mm3 >= small_mm3:
            continue
        near = ndimage.distance_transform_edt(~lesion, sampling=grid.spacing_mm) <= reach_mm
        high = values > float(values[lesion].max()) / 2  # white matter is 0
        grown[where] |= ndimage.binary_propagation(lesion, structure(3), mask=lesion | (high & near))
    return grown
