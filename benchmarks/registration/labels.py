"""Resampling of reference labels to the grid of a result; the volume of every label is preserved."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage

from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, Grid, Image, LabelImage
from mri_pipeline.images.resample import index_map

_MAX_SUBSAMPLES = 5
_LARGE_LABEL_VOXELS = 100_000
"""Labels of at least this size (a brain mask) are sampled at 2 or more points per axis, small ones at 3 or more."""


def label_fraction(
    labels: LabelImage, grid: Grid, source_to_target: Affine | None = None, *, label: int = 0
) -> Image:
    """Fraction of each target voxel that a label fills.

    Source voxels are treated as boxes and sampled at several points of each target voxel. The sum of the fractions
    times the voxel volume is the volume of the label (within the sampling accuracy) for all grids.

    Parameters
    ----------
    labels : LabelImage
    grid : Grid
    source_to_target : Affine, optional
        Default: the identity transform.
    label : int
        Label to resample; 0 combines all labels.

    Returns
    -------
    Image
        Fractions from 0 to 1 on `grid`; zeros if the label is absent or outside the grid.
    """
    mask = labels.mask if label == 0 else labels.data == label
    matrix = index_map(labels.grid, grid, source_to_target or Affine.identity())
    result = np.zeros(grid.shape, dtype=np.float32)
    box = _target_box(mask, matrix, grid.shape)
    if box is None:
        return Image(result, grid)
    start = np.array([s.start for s in box])
    shape = tuple(int(s.stop - s.start) for s in box)
    extent = np.abs(matrix[:3, :3]).sum(axis=0)
    least = 3 if np.count_nonzero(mask) < _LARGE_LABEL_VOXELS else 2
    counts = np.clip(np.ceil(least / 1.5 * extent), least, _MAX_SUBSAMPLES).astype(int)
    total = np.zeros(shape, dtype=np.float32)
    data = mask.astype(np.uint8)
    for offset in product(*[(np.arange(n) + 0.5) / n - 0.5 for n in counts]):
        origin = matrix[:3, :3] @ (start + np.array(offset)) + matrix[:3, 3]
        total += ndimage.affine_transform(
            data, matrix[:3, :3], origin, output_shape=shape, order=0, mode="grid-constant", cval=0
        )
    result[box] = total / float(np.prod(counts))
    return Image(result, grid)


def _target_box(
    mask: BoolArray, matrix: FloatArray, shape: tuple[int, int, int]
) -> tuple[slice, slice, slice] | None:
    """Box of the target grid that contains the mask and a margin of one voxel; None if they do not overlap."""
    found = ndimage.find_objects(mask.astype(np.uint8), max_label=1)[0]
    if found is None:
        return None
    corners = np.array(list(product(*[(s.start - 1.0, s.stop) for s in found])))
    inverse = np.linalg.inv(matrix)
    index = corners @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.maximum(np.floor(index.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 2, shape)
    if (high <= low).any():
        return None
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def resample_labels(labels: LabelImage, grid: Grid, source_to_target: Affine | None = None) -> LabelImage:
    """Resample labels to a grid and preserve the volume of each label.

    Each label is assigned the target voxels that it fills most; their number matches its volume inside the grid. If
    two labels compete for a voxel, the one that fills more of it gets the voxel, and the other gets its next best.

    Parameters
    ----------
    labels : LabelImage
    grid : Grid
    source_to_target : Affine, optional
        Default: the identity transform.

    Returns
    -------
    LabelImage
        On `grid`, in the integer type of the source; zeros if there is no label.
    """
    result = np.zeros(int(np.prod(grid.shape)), dtype=labels.data.dtype)
    best = np.zeros(result.shape, dtype=np.float32)
    found = []
    for label in np.unique(labels.data[labels.data > 0]):
        share = label_fraction(labels, grid, source_to_target, label=int(label)).data.ravel()
        candidates = np.flatnonzero(share)
        ranked = candidates[np.argsort(-share[candidates], kind="stable")]
        wanted = round(float(share.sum(dtype=np.float64)))
        chosen = ranked[:wanted]
        chosen = chosen[share[chosen] > best[chosen]]
        result[chosen], best[chosen] = label, share[chosen]
        found.append((label, ranked, wanted))
    for label, ranked, wanted in found:
        free = ranked[result[ranked] == 0]
        result[free[: max(0, wanted - np.count_nonzero(result[ranked] == label))]] = label
    return LabelImage(result.reshape(grid.shape), grid)
