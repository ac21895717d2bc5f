"""Frames of DICOM objects with their positions and rescaled values, read with pydicom.

They are the reference for the output of dcm2niix, which is known to misplace or misscale frames of some enhanced
objects (issues 363, 809, 839, 853 of dcm2niix). Classic objects have one frame, enhanced objects several.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from mri_pipeline.core.errors import UnreadableUploadError
from mri_pipeline.core.io.dicom_faults import dicom_faults_are_refusals
from mri_pipeline.core.spatial import FloatArray, Image

VALUE_TOLERANCE: Final = 1e-5
"""Largest difference of a voxel from its pixel, as a share of the largest intensity. Single precision is 100 times more
accurate, and a step of 16-bit data is 1.5e-5."""

GRID_TOLERANCE: Final = 0.05
"""Largest distance of a pixel from its voxel, in voxels. Header positions are rounded to about 0.01 mm."""

DECODE_BASE_S: Final = 60
DECODE_PER_MB_S: Final = 2
"""Processor time of the decoding process in seconds. It grows with the size of the compressed files."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a DICOM object.

    Parameters
    ----------
    source : Dataset
        The object.
    number : int
        Index of the frame in the object, from 0.
    stored : ndarray of int, shape (rows, columns)
        Pixels as stored.
    slope, intercept : float
        Rescale parameters of this frame.
    position_mm : ndarray, shape (3,)
        Centre of the first pixel, LPS.
    along_row, along_column : ndarray, shape (3,)
        Steps from one column to the next and from one row to the next in mm, LPS.
    """

    source: Dataset
    number: int
    stored: NDArray[Any]
    slope: float
    intercept: float
    position_mm: FloatArray
    along_row: FloatArray
    along_column: FloatArray

    @property
    def values(self) -> FloatArray:
        """Rescaled values, shape (rows, columns)."""
        return np.asarray(self.stored * self.slope + self.intercept, dtype=float)

    @property
    def depth_mm(self) -> float:
        """Position along the normal of the slice."""
        normal = np.cross(self.along_row, self.along_column)
        return float(self.position_mm @ normal / np.linalg.norm(normal))


def frames_of(files: Iterable[Path]) -> Iterator[Frame]:
    """Frames of uncompressed DICOM files, one file at a time.

    Parameters
    ----------
    files : iterable of Path
        From `decompressed`.

    Yields
    ------
    Frame
        In the order of the files and of the frames in them.

    Raises
    ------
    UnreadableUploadError
        If a file cannot be read, if a frame has no position or a slope of 0, or if some frames have a slope and others
        have none.
    """
    with_slope: set[bool] = set()
    for path in files:
        with damage_is_a_refusal():
            dataset = pydicom.dcmread(path, force=True)
            frames = [_frame(dataset, n, stored) for n, stored in enumerate(iter_pixels(dataset, raw=True))]
            with_slope |= {value_of_frame(dataset, n, "RescaleSlope") is not None for n in range(len(frames))}
        if len(with_slope) > 1:
            raise UnreadableUploadError(
                "expected a RescaleSlope of every frame or of none, found frames without one among others",
                hint="export the series again",
            )
        yield from frames


def _frame(dataset: Dataset, number: int, stored: NDArray[Any]) -> Frame:
    orientation = _numbers(dataset, number, "ImageOrientationPatient", 6)
    row_mm, column_mm = _numbers(dataset, number, "PixelSpacing", 2)
    slope = float(value_of_frame(dataset, number, "RescaleSlope", 1.0))
    if slope == 0:
        raise UnreadableUploadError(
            "expected a RescaleSlope other than 0 of each frame, found a frame with 0, which has no image",
            hint="export the series again",
        )
    return Frame(
        source=dataset,
        number=number,
        stored=stored,
        slope=slope,
        intercept=float(value_of_frame(dataset, number, "RescaleIntercept", 0.0)),
        position_mm=_numbers(dataset, number, "ImagePositionPatient", 3),
        along_row=orientation[:3] * column_mm,
        along_column=orientation[3:] * row_mm,
    )


def _numbers(dataset: Dataset, number: int, keyword: str, count: int) -> FloatArray:
    """Numbers that describe where a frame lies."""
    found = np.atleast_1d(np.array(value_of_frame(dataset, number, keyword), dtype=float))  # None becomes NaN
    if found.shape != (count,) or not np.isfinite(found).all():
        raise UnreadableUploadError(
            f"expected {count} numbers in {keyword} of each frame, found a frame with others or none",
            hint="export the series again",
        )
    return found


_GROUPS: Final = {
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RepetitionTime": "MRTimingAndRelatedParametersSequence",
    "FlipAngle": "MRTimingAndRelatedParametersSequence",
    "EchoTrainLength": "MRTimingAndRelatedParametersSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "InversionTimes": "MRModifierSequence",
}
"""Functional group of an attribute in enhanced objects (DICOM PS3.3 C.7.6.16, C.8.13.5)."""


def value_of_frame(dataset: Dataset, number: int, keyword: str, default: Any = None) -> Any:
    """Value of an attribute for one frame: from its own functional group, the shared one, or the object.

    Parameters
    ----------
    dataset : Dataset
    number : int
        Index of the frame, from 0.
    keyword : str
        A key of `_GROUPS`, or an attribute of the object itself.
    default : object, optional
        Value if the attribute is absent or empty.

    Returns
    -------
    object
    """
    own = (dataset.get("PerFrameFunctionalGroupsSequence") or [])[number : number + 1]
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    for groups in (*own, *shared):
        items = groups.get(_GROUPS.get(keyword, "")) if keyword in _GROUPS else None
        if items and items[0].get(keyword) not in (None, ""):
            return items[0][keyword].value
    value = dataset.get(keyword)
    return default if value is None or value == "" else value


def require_equal_values(image: Image, frames: Iterable[Frame], what: str) -> None:
    """Compare every slice of a converted image with the frame at its position.

    Parameters
    ----------
    image : Image
        In any axis order.
    frames : iterable of Frame
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


def _slice_at(image: Image, frame: Frame, what: str) -> tuple[int, int, NDArray[np.float32]]:
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


def decompressed(folder: Path, out: Path) -> tuple[Path, ...]:
    """Files of a folder in an uncompressed transfer syntax.

    Compressed files are decoded in a separate process with limits: a damaged stream can crash a decoder.

    Parameters
    ----------
    folder : Path
        Contains DICOM files and nothing else.
    out : Path
        New folder for the decoded files.

    Returns
    -------
    tuple of Path
        Sorted by name; the files of `folder` itself if none is compressed.

    Raises
    ------
    UnreadableUploadError
        If a file cannot be read or decoded.
    """
    files = tuple(sorted(p for p in folder.iterdir() if p.is_file()))
    with damage_is_a_refusal():
        syntaxes = {
            pydicom.dcmread(
                p, force=True, specific_tags=["Rows"], stop_before_pixels=True
            ).file_meta.TransferSyntaxUID
            for p in files
        }
    if not any(syntax.is_encapsulated for syntax in syntaxes):
        return files
    out.mkdir(parents=True)
    seconds = DECODE_BASE_S + DECODE_PER_MB_S * (sum(p.stat().st_size for p in files) >> 20)
    request = {"files": [[str(p), str(out / p.name)] for p in files], "cpu_s": seconds}
    environment = {k: os.environ[k] for k in ("PATH", "LD_LIBRARY_PATH", "LANG") if k in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "mri_pipeline.convert.decode_worker"],
            input=json.dumps(request), text=True, capture_output=True, timeout=3 * seconds, check=False,
            env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, cwd="/",
        )  # fmt: skip
        fault = done.returncode != 0
    except subprocess.TimeoutExpired:
        fault = True
    decoded = tuple(sorted(out.iterdir()))
    if fault or len(decoded) != len(files):
        raise UnreadableUploadError(
            f"expected {len(files)} compressed images that can be decoded, found a damaged one",
            hint="export the series again, uncompressed if possible",
        )
    return decoded


def damage_is_a_refusal() -> AbstractContextManager[None]:
    """Turn any exception on damaged frames into a refusal.

    Returns
    -------
    context manager
        `mri_pipeline.core.io.dicom_faults.dicom_faults_are_refusals`.
    """
    return dicom_faults_are_refusals("DICOM frames with positions and pixels", hint="export the series again")


def in_spatial_order(frames: Iterable[Frame]) -> Sequence[Frame]:
    """Frames in the order of their slices.

    Parameters
    ----------
    frames : iterable of Frame

    Returns
    -------
    sequence of Frame
    """
    return sorted(frames, key=lambda frame: frame.depth_mm)
