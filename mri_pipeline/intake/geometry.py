"""Slice geometry of a series from its headers, and detection of missing slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mri_pipeline.intake.facts import InstanceFacts

SAME_PLACE_MM = 0.02
"""Slices closer than this have the same position."""

IRREGULAR_SPACING = 0.1
"""Slice distances are irregular if they differ from the median by more than this fraction. Rounding is far below."""

PARALLEL_COSINE = 0.999
"""Slices are parallel if their normals differ by less than 2.6 degrees."""

NORMAL_LENGTH = (0.99, 1.01)
"""Length of the cross product of the directions of row and column, from and to. They are perpendicular unit vectors,
written with a few decimals; outside, the header has no orientation."""


@dataclass(frozen=True)
class Geometry:
    """Slice geometry of one series, from the headers.

    Parameters
    ----------
    slices : int
        Number of different slice positions.
    volumes : int
        Images per position (1 for anatomical scans).
    columns, rows : int
        Size of the matrix.
    spacing_mm : tuple of float
        Between rows, between columns, between slices.
    thickness_mm : float
        From the header, or else the slice distance.
    coverage_mm : float
        From the outer face of the first to the outer face of the last slice.
    missing_slices : int
        Slices missing between the first and the last, or by the number of images in the header.
    regular : bool
        True if all slice distances are integer multiples of the median distance.
    slice_direction : tuple of float
        Unit normal of the slices in DICOM patient coordinates (LPS).
    uneven : bool
        True if some positions have more images than others, so that a volume is incomplete.
    corners_ras_mm : tuple
        Centres of the eight corner voxels in RAS world coordinates, in the order (column, row, slice).
    """

    slices: int
    volumes: int
    columns: int
    rows: int
    spacing_mm: tuple[float, float, float]
    thickness_mm: float
    coverage_mm: float
    missing_slices: int
    regular: bool
    uneven: bool
    slice_direction: tuple[float, float, float]
    corners_ras_mm: tuple[tuple[float, float, float], ...]

    @property
    def gap_mm(self) -> float:
        """Gap between slices. 0 if slices are contiguous or overlap."""
        return max(0.0, self.spacing_mm[2] - self.thickness_mm)

    @property
    def complete(self) -> bool:
        """True for a single volume without missing slices."""
        return self.missing_slices == 0 and self.regular and not self.uneven and self.volumes == 1

    @property
    def plane(self) -> str:
        """The nearest anatomical plane: axial, coronal or sagittal."""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.slice_direction)))]


def slice_geometry(group: Sequence[InstanceFacts], *, alone: bool) -> Geometry | None:
    """Geometry of the images of one series.

    Parameters
    ----------
    group : sequence of InstanceFacts
        Of one orientation.
    alone : bool
        True if the images are the whole series of their UID, so that their number can be compared with the header.

    Returns
    -------
    Geometry or None
        None if the headers have no positions.
    """
    first = group[0]
    if first.orientation is None or first.pixel_spacing_mm is None or any(i.orientation is None for i in group):
        return None
    along_row, along_column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(along_row, along_column)
    length = float(np.linalg.norm(normal))
    positions = np.array([p for i in group for p in i.positions])
    if not NORMAL_LENGTH[0] < length < NORMAL_LENGTH[1] or len(positions) == 0:
        return None
    normal /= length
    depth = positions @ normal
    order = np.argsort(depth, kind="stable")
    places = _places(depth[order])
    spacing, missing, regular = _slice_distances(places, first.thickness_mm)
    if alone and first.images_in_acquisition is not None and len(group) < first.images_in_acquisition:
        missing = max(missing, first.images_in_acquisition - len(group))
    uneven = len(depth) % len(places) > 0  # some positions have more images than others: a volume is incomplete
    thickness = first.thickness_mm or spacing
    # Pixel Spacing is (between rows, between columns): steps along the column and along the row
    row_step, column_step = first.pixel_spacing_mm
    low, high = positions[order[0]], positions[order[-1]]
    across = along_row * column_step * (first.columns - 1)
    down = along_column * row_step * (first.rows - 1)
    corners = [start + a * across + b * down for start in (low, high) for b in (0, 1) for a in (0, 1)]
    return Geometry(
        slices=len(places),
        volumes=max(1, round(len(depth) / len(places))),
        columns=first.columns,
        rows=first.rows,
        spacing_mm=(row_step, column_step, spacing),
        thickness_mm=thickness,
        coverage_mm=float(places[-1] - places[0]) + thickness,
        missing_slices=missing,
        regular=regular,
        uneven=uneven,
        slice_direction=(float(normal[0]), float(normal[1]), float(normal[2])),
        corners_ras_mm=tuple((-float(c[0]), -float(c[1]), float(c[2])) for c in corners),
    )


def are_parallel(one: Geometry, other: Geometry) -> bool:
    """True if the slices of two series are parallel.

    Parameters
    ----------
    one, other : Geometry

    Returns
    -------
    bool
    """
    cosine = float(np.dot(one.slice_direction, other.slice_direction))
    return abs(cosine) > PARALLEL_COSINE


def reaches_beyond(part: Geometry, stack: Geometry) -> bool:
    """True if a part of an image lies beyond the first or the last slice of a stack.

    Parameters
    ----------
    part, stack : Geometry

    Returns
    -------
    bool
    """
    normal, to_ras = np.array(stack.slice_direction), np.array([-1.0, -1.0, 1.0])
    ends, depths = (np.array(g.corners_ras_mm) * to_ras @ normal for g in (stack, part))
    half_mm = stack.spacing_mm[2] / 2
    return bool(depths.min() < ends.min() - half_mm or depths.max() > ends.max() + half_mm)


def _places(sorted_depth: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    places: list[float] = []
    for depth in sorted_depth.tolist():
        if not places or depth - places[-1] > SAME_PLACE_MM:
            places.append(depth)
    return places


def _slice_distances(places: Sequence[float], thickness_mm: float | None) -> tuple[float, int, bool]:
    """Median distance, number of missing slices, and whether all distances are multiples of the median."""
    if len(places) < 2:
        return thickness_mm or 1.0, 0, True
    distances = np.diff(places)
    spacing = float(np.median(distances))
    steps = np.maximum(np.rint(distances / spacing), 1)
    regular = bool((np.abs(distances - steps * spacing) <= IRREGULAR_SPACING * spacing * steps).all())
    return spacing, int((steps - 1).sum()), regular
