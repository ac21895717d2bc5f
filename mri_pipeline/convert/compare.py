"""Comparison of a converted image with the frames of its DICOM objects, voxel by voxel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.convert.frames import DicomFrame
from mri_pipeline.core.errors import UnreadableUploadError
from mri_pipeline.core.spatial import Image

VALUE_TOLERANCE: Final = 1e-5
"""Largest difference of a voxel from its pixel, as a share of the largest intensity. Single precision is 100 times more
accurate, and a step of 16-bit data is 1.5e-5."""

GRID_TOLERANCE: Final = 0.05
"""Largest distance of a pixel from its voxel, in voxels. Header positions are rounded to about 0.01 mm."""


def require_equal_values(image: Image, frames: Iterable[DicomFrame], what: str) -> None:
    """Compare every slice of a converted image with the frame at its position.

    Parameters
    ----------
    image : Image
        In any axis order.
    frames : iterable of DicomFrame
        Exactly one for each slice, in any order.
    what : str
        Name of the series in messages.

    Raises
    ------
    UnreadableUploadError
        If a frame has no slice at its position, a slice has no frame, or values differ by more than `VALUE_TOLERANCE`.
    """
    tolerance = VALUE_TOLERANCE * float(np.abs(image.data).max(initial=0))
    found: list[tuple[int, int]] = []
    different = 0
    for frame in frames:
        axis, index, plane = _slice_at(image, frame, what)
        found.append((axis, index))
        if not np.allclose(plane, frame.values, rtol=0, atol=tolerance):
            different += 1
    axis = found[0][0] if found else 2
    if sorted(found) != [(axis, index) for index in range(image.data.shape[axis])]:
        raise UnreadableUploadError(
            f"{what}: expected one frame for each of {image.data.shape[axis]} slices, found {len(set(found))} slices "
            f"with a frame among {len(found)} frames",
            hint="slices are missing or duplicate; export the complete series again",
        )
    if different:
        raise UnreadableUploadError(
            f"{what}: expected the rescaled pixel values of each frame at its position, found other values in "
            f"{different} of {len(found)} slices",
            hint="export the series again as single-frame MR images, or contact the reading centre",
        )


def _slice_at(image: Image, frame: DicomFrame, what: str) -> tuple[int, int, NDArray[np.float32]]:
    """Axis and index of the slice at the position of a frame, and its voxels in the order of rows and columns."""
    to_index = np.linalg.inv(image.grid.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    start = to_index[:3, :3] @ frame.position_mm + to_index[:3, 3]
    steps = to_index[:3, :3] @ np.column_stack([frame.along_column, frame.along_row])
    rows, columns = frame.stored.shape
    last = start + steps @ np.array([rows - 1.0, columns - 1.0])
    axes = np.abs(steps).argmax(axis=0)
    whole = np.rint(start).astype(int)
    exact = np.zeros((3, 2))
    exact[axes, [0, 1]] = np.sign(steps[axes, [0, 1]])
    expected_last = whole + exact @ np.array([rows - 1, columns - 1])
    shape = np.array(image.data.shape)
    if (
        axes[0] == axes[1]
        or max(np.abs(start - whole).max(), np.abs(last - expected_last).max()) > GRID_TOLERANCE
        or sorted((*shape[axes], 1)) != sorted((rows, columns, 1))
        or (whole < 0).any()
        or (whole >= shape).any()
    ):
        raise UnreadableUploadError(
            f"{what}: expected a slice of the volume at the position of each frame, found a frame elsewhere",
            hint="positions in the headers are inconsistent; export the series again",
        )
    axis = int(3 - axes.sum())
    plane = np.take(image.data, whole[axis], axis=axis)
    if axes[0] > axes[1]:
        plane = plane.T
    flips = tuple(slice(None, None, int(np.sign(steps[axes[n], n]))) for n in (0, 1))
    return axis, int(whole[axis]), plane[flips]
