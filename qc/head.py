"""The head in a scan: its mask, extent, blank slices and contact with the edge of the field of view."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.holes import filled
from mri_pipeline.core.robust import percentile
from mri_pipeline.core.spatial import BoolArray, Image
from qc.planes import mean_at

WORK_MM: Final = 3.0
"""Approximate spacing of the grid on which masks are made."""

_BRIGHTEST_PERCENTILE: Final = 99.5
"""Intensities above this percentile (vessels, fat) do not move the threshold."""

_OF_OTSU: Final = 0.6
"""Threshold of the head as a share of that of Otsu: CSF and bone belong to the head."""


def head_mask(image: Image) -> BoolArray:
    """Approximate head mask: Otsu threshold on a coarse smoothed copy, largest component, holes filled.

    Parameters
    ----------
    image : Image
        In RAS order: holes are filled in axial slices.

    Returns
    -------
    ndarray of bool, shape `image.grid.shape`
        Empty if no head is found.
    """
    step = [max(1, round(WORK_MM / s)) for s in image.grid.spacing_mm]
    coarse = mean_at(image.data, step, step)
    top = float(percentile(coarse, _BRIGHTEST_PERCENTILE))
    if top <= 0:
        return np.zeros(image.data.shape, dtype=bool)
    threshold = _OF_OTSU * float(threshold_otsu(np.clip(coarse, 0, top)))
    # fill holes before labelling: a dark skull separates the scalp from the brain
    solid = np.stack([filled(s) for s in np.moveaxis(coarse > threshold, 2, 0)], axis=2)
    parts = ConnectedComponents.of(solid, connectivity=1)
    full = parts.highest(parts.sizes).repeat(step[0], 0).repeat(step[1], 1).repeat(step[2], 2)
    shape = image.data.shape
    return np.asarray(full[: shape[0], : shape[1], : shape[2]], dtype=bool)


def extent_mm(head: BoolArray, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Extent of the head along each axis.

    Parameters
    ----------
    head : ndarray of bool, 3D
    spacing_mm : tuple of float

    Returns
    -------
    tuple of float
        In mm; 0 for an empty mask.
    """
    extents = []
    for axis in range(3):
        used = np.flatnonzero(head.any(axis=tuple(a for a in range(3) if a != axis)))
        extents.append(0.0 if used.size == 0 else float((used[-1] - used[0] + 1) * spacing_mm[axis]))
    return extents[0], extents[1], extents[2]


def edge_share(head: BoolArray, slice_axis: int) -> float:
    """Largest share of head on a side face of the volume.

    Parameters
    ----------
    head : ndarray of bool, 3D
        In RAS order.
    slice_axis : int
        Axis of the slices. Its faces are not looked at.

    Returns
    -------
    float
        0 to 1, of the faces left, right, anterior and posterior.
    """
    sides = [np.moveaxis(head, axis, 0)[face] for axis in (0, 1) if axis != slice_axis for face in (0, -1)]
    return float(max(side.mean() for side in sides))


def blank_slices(slices: NDArray[np.float32]) -> int:
    """Number of slices without content between others.

    Parameters
    ----------
    slices : ndarray of float32, shape (slices, rows, columns)

    Returns
    -------
    int
    """
    blank = np.array([float(np.ptp(s)) == 0 for s in slices])
    filled = np.flatnonzero(~blank)
    return int(blank[filled[0] : filled[-1]].sum()) if filled.size else 0
