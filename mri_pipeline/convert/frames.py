"""Frames of DICOM objects with their positions and rescaled values, read with pydicom.

They are the reference for the output of dcm2niix, which is known to misplace or misscale frames of some enhanced
objects (issues 363, 809, 839, 853 of dcm2niix). Classic objects have one frame, enhanced objects several.
"""

from __future__ import annotations

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
from mri_pipeline.core.spatial import FloatArray


@dataclass(frozen=True, eq=False)
class DicomFrame:
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


def frames_of(files: Iterable[Path]) -> Iterator[DicomFrame]:
    """Frames of uncompressed DICOM files, one file at a time.

    Parameters
    ----------
    files : iterable of Path
        From `mri_pipeline.convert.decompress.decompressed`.

    Yields
    ------
    DicomFrame
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


def _frame(dataset: Dataset, number: int, stored: NDArray[Any]) -> DicomFrame:
    orientation = _numbers(dataset, number, "ImageOrientationPatient", 6)
    row_mm, column_mm = _numbers(dataset, number, "PixelSpacing", 2)
    slope = float(value_of_frame(dataset, number, "RescaleSlope", 1.0))
    if slope == 0:
        raise UnreadableUploadError(
            "expected a RescaleSlope other than 0 of each frame, found a frame with 0, which has no image",
            hint="export the series again",
        )
    return DicomFrame(
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


def damage_is_a_refusal() -> AbstractContextManager[None]:
    """Turn any exception on damaged frames into a refusal.

    Returns
    -------
    context manager
        `mri_pipeline.core.io.dicom_faults.dicom_faults_are_refusals`.
    """
    return dicom_faults_are_refusals("DICOM frames with positions and pixels", hint="export the series again")


def in_spatial_order(frames: Iterable[DicomFrame]) -> Sequence[DicomFrame]:
    """Frames in the order of their slices.

    Parameters
    ----------
    frames : iterable of DicomFrame

    Returns
    -------
    sequence of DicomFrame
    """
    return sorted(frames, key=lambda frame: frame.depth_mm)
