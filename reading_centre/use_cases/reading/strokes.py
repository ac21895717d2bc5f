"""Voxels that the tools of the reading view propose. They are stored only if the reader sends them as an operation."""

from __future__ import annotations

import numpy as np

from mri_pipeline.analysis.reading_tools import fill_from, split_in_two
from mri_pipeline.reading.canvas import BRAIN_LEVEL, ZERO_DIFFERENCE, Shape, flat, unflat
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.marks import Lesion, Runs, runs_of
from reading_centre.use_cases.reading.case import Case
from reading_centre.use_cases.reading.faults import RefusedError

_RELOAD = "reload the page"


def fill_runs(case: Case, kind: LesionKind, voxel: Shape, pane: str) -> Runs:
    """A new lesion around a voxel, to half of its contrast in a pane.

    Parameters
    ----------
    case : Case
    kind : LesionKind
    voxel : tuple of 3 int
        On the canvas.
    pane : str

    Returns
    -------
    list of (start, length, old, new)
        Empty if the voxel has no contrast.

    Raises
    ------
    RefusedError
        If the case has no such kind, pane or voxel.
    """
    with case.lock:
        if kind not in case.marks.labels or not case.images.has(pane):
            raise RefusedError(f"this case has no pane {pane} for lesions of type {kind}", hint=_RELOAD)
        if any(i < 0 or i >= n for i, n in zip(voxel, case.canvas.shape, strict=True)):
            raise RefusedError(
                f"expected a voxel within {case.canvas.shape}, found {tuple(voxel)}", hint="click in the image"
            )
        values = case.images.volume(pane).values(case.canvas.shape)
        level = ZERO_DIFFERENCE if pane.endswith("subtraction") else BRAIN_LEVEL
        filled = fill_from(voxel, values, level, case.canvas_grid, dark=kind is LesionKind.BLACK_HOLE)
        where = np.flatnonzero(flat(filled & unflat(case.marks.labels[kind] == 0, case.canvas.shape)))
        return runs_of(where, np.zeros_like(where), np.full_like(where, case.marks.free_number(kind)))


def split_runs(case: Case, lesion: Lesion) -> Runs:
    """Split a lesion: its smaller part gets a number of its own.

    Parameters
    ----------
    case : Case
    lesion : tuple of (LesionKind, int)

    Returns
    -------
    list of (start, length, old, new)

    Raises
    ------
    RefusedError
        If there is no such lesion, or it has no narrow place.
    """
    kind, number = lesion
    with case.lock:
        if not len(case.marks.voxels.get(lesion, ())):
            raise RefusedError("expected a lesion of this case, found an unknown number", hint=_RELOAD)
        mask = unflat(case.marks.labels[kind] == number, case.canvas.shape)
        box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask))
        parts = np.zeros(mask.shape, dtype=np.uint8)
        parts[box] = split_in_two(mask[box], case.grid.spacing_mm)
        where = np.flatnonzero(flat(parts == 2))
        if not len(where):
            raise RefusedError(
                "expected a lesion with a narrow place, found none", hint="split it with the eraser"
            )
        return runs_of(where, np.full_like(where, number), np.full_like(where, case.marks.free_number(kind)))
