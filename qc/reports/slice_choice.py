"""Choice of the axial slices of a subject's report: they show as many lesions as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.spatial import LabelImage

RADIOLOGICAL = "LAS"
"""Axes of a displayed volume. The first axis points to the patient's left and is drawn from left to right."""

COLUMNS = 5

MAX_SLICES = 5 * COLUMNS

MIN_SLICES = 2 * COLUMNS


@dataclass(frozen=True)
class View:
    """Shown part of a volume: axial slices of the grid in `RADIOLOGICAL` order and an in-plane box.

    Parameters
    ----------
    slices : tuple of int
        Indices of the slices.
    box : (slice, slice)
        Voxels along the first and second axis.
    spacing_mm : (float, float)
        In-plane voxel size.
    z_mm : tuple of float
        World z of the centre of each slice.
    n_lesions, n_shown : int
        Number of lesions of all visits, and of those in the slices.
    """

    slices: tuple[int, ...]
    box: tuple[slice, slice]
    spacing_mm: tuple[float, float]
    z_mm: tuple[float, ...]
    n_lesions: int
    n_shown: int


def choose_view(
    brain: Sequence[LabelImage], lesions: Sequence[LabelImage], *, max_slices: int = MAX_SLICES
) -> View:
    """Choose axial slices that show all lesions of all visits; the slices are the same for all visits.

    Slices are added one by one. Each added slice shows the largest number of lesions not yet shown, preferably at
    their largest section. Slices in between are then added until the rows are full, at least `MIN_SLICES`. If
    `max_slices` slices can't show all lesions, `n_shown` is less than `n_lesions`.

    Parameters
    ----------
    brain, lesions : sequence of LabelImage
        Brain mask and numbered lesions of every visit, all on one grid, shape (x, y, z).
    max_slices : int
        Maximum number of slices.

    Returns
    -------
    View
    """
    shown = [image.reoriented(RADIOLOGICAL) for image in brain]
    grid = shown[0].grid
    inside = np.any([image.mask for image in shown], axis=0)
    if not inside.any():
        inside[:] = True
    box = tuple(_extent(inside.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    depth = _extent(inside.any(axis=(0, 1)))
    areas = [_areas(image.reoriented(RADIOLOGICAL)) for image in lesions]
    area = np.concatenate([a for a in areas if len(a)] or [np.zeros((0, grid.shape[2]), dtype=np.int64)])
    chosen = _cover(area, max_slices)
    slices = _filled(chosen, depth)
    return View(
        slices=slices,
        box=(box[0], box[1]),
        spacing_mm=(grid.spacing_mm[0], grid.spacing_mm[1]),
        z_mm=tuple(_height(grid.affine, k, box) for k in slices),
        n_lesions=len(area),
        n_shown=int(np.count_nonzero(area[:, list(slices)].sum(axis=1))) if len(area) else 0,
    )


def _filled(chosen: Sequence[int], depth: slice) -> tuple[int, ...]:
    """Add slices until the rows are full, each in the middle of the widest gap."""
    margin = (depth.stop - depth.start) // 8
    low, high = depth.start + margin, depth.stop - 1 - margin
    wanted = max(MIN_SLICES, -(-len(chosen) // COLUMNS) * COLUMNS)
    slices = sorted(set(chosen))
    while len(slices) < min(wanted, depth.stop - depth.start):
        ends = [min(low, *slices) - 1, *slices, max(high, *slices) + 1] if slices else [low, high]
        gap = int(np.argmax(np.diff(ends)))
        middle = (ends[gap] + ends[gap + 1]) // 2
        if middle in slices or middle < 0:
            break
        slices = sorted([*slices, middle])
    return tuple(slices)


def _height(affine: NDArray[np.floating], k: int, box: Sequence[slice]) -> float:
    """World z of the centre of a slice."""
    middle = [(s.start + s.stop - 1) / 2 for s in box]
    return float((affine @ [*middle, k, 1.0])[2])


def _extent(used: NDArray[np.bool_], margin: int = 3) -> slice:
    found = np.flatnonzero(used)
    return slice(max(int(found[0]) - margin, 0), min(int(found[-1]) + margin + 1, len(used)))


def _areas(lesions: LabelImage) -> NDArray[np.int64]:
    """Voxels of every lesion in every axial slice, shape (lesions, slices)."""
    where = np.nonzero(lesions.data)
    values, index = np.unique(lesions.data[where], return_inverse=True)
    depth = lesions.grid.shape[2]
    return np.bincount(index * depth + where[2], minlength=len(values) * depth).reshape(len(values), depth)


def _cover(area: NDArray[np.int64], max_slices: int) -> list[int]:
    """Few slices that show as many lesions as possible, preferably at large cross-sections."""
    if not len(area):
        return []
    share = area / np.maximum(area.max(axis=1, keepdims=True), 1)
    open_lesions = np.ones(len(area), dtype=bool)
    chosen: list[int] = []
    while open_lesions.any() and len(chosen) < max_slices:
        # a slice through at least half of the largest section shows a lesion well
        gain = np.where(share[open_lesions] >= 0.5, share[open_lesions], 0).sum(axis=0)
        chosen.append(int(np.argmax(gain)))
        open_lesions &= share[:, chosen[-1]] < 0.5
    return chosen
