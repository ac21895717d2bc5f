"""The de-identified DICOM series of a FLAIR, and masks of the subject's space on its own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mri_pipeline.convert.compare import require_equal_values
from mri_pipeline.convert.decompress import decompressed
from mri_pipeline.convert.frames import DicomFrame, frames_of, in_spatial_order
from mri_pipeline.core.errors import UnreadableUploadError, UsageError
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.images.resample import resample_nearest


@dataclass(frozen=True, eq=False)
class FlairSeries:
    """A DICOM series without its pixels.

    Parameters
    ----------
    datasets : tuple of Dataset
        One for each slice in the order of the slices, or one enhanced image.
    grid : Grid
        Axes: slice, row, column.
    slice_of_frame : ndarray of int, shape (frames,)
        Index of the slice of each frame, in the order of `datasets` or of the frames in it.
    """

    datasets: tuple[Dataset, ...]
    grid: Grid
    slice_of_frame: NDArray[np.intp]

    def frames(self, labels: LabelImage, flair_to_subject: Affine) -> NDArray[Any]:
        """Labels of the subject's space on the frames, by nearest neighbour.

        Parameters
        ----------
        labels : LabelImage
            In the subject's space.
        flair_to_subject : Affine

        Returns
        -------
        ndarray of int, shape (frames, rows, columns)
        """
        own = resample_nearest(labels, self.grid, flair_to_subject.inverse())
        return np.asarray(own.data[self.slice_of_frame])


def read_flair_series(folder: Path, scan: Image, decoded: Path, *, what: str) -> FlairSeries:
    """Read a series, and compare it slice by slice with the scan that was converted from it.

    Parameters
    ----------
    folder : Path
        `SourceDataset.series`.
    scan : Image
        The scan in ``rawdata/``.
    decoded : Path
        New folder for decoded files of a compressed series.
    what : str
        Names the scan in messages.

    Returns
    -------
    FlairSeries

    Raises
    ------
    UsageError
        If the series is missing, damaged or another one, or consists of several series or enhanced images, to which no
        segmentation can refer.
    """
    if not folder.is_dir():
        raise UsageError(
            f"{what}: expected its DICOM series in sourcedata/, found none",
            hint="an earlier version has ingested it; ingest the same upload again: its series is kept then, and scan "
            "and reads stay as they are. Or choose other subjects with --subject",
        )
    with _refused(what, "a damaged series"):
        stored = list(frames_of(decompressed(folder, decoded)))
    with _refused(what, "a series that does not match it"):
        require_equal_values(scan, stored, what)
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in sorted(folder.iterdir())]
    frames = in_spatial_order(stored)
    _require_one_series(headers, len(frames), what)
    if len(headers) == 1:
        return FlairSeries(tuple(headers), _grid(frames), np.argsort([frame.number for frame in frames]))
    # a decoded file may have another UID: the objects refer to the files that are kept
    header_of = {id(frame.source): header for frame, header in zip(stored, headers, strict=True)}
    return FlairSeries(tuple(header_of[id(f.source)] for f in frames), _grid(frames), np.arange(len(frames)))


@contextmanager
def _refused(what: str, found: str) -> Iterator[None]:
    """Refuse an unreadable series: it or the scan was changed after ingest."""
    try:
        yield
    except UnreadableUploadError as error:
        raise UsageError(
            f"{what}: expected the DICOM series from which the scan was converted, found {found}",
            hint="restore sourcedata/ and rawdata/ from their backup",
        ) from error


def _require_one_series(sources: Sequence[Dataset], frames: int, what: str) -> None:
    series = {
        (s.StudyInstanceUID, s.SeriesInstanceUID, s.get("FrameOfReferenceUID"), s.Rows, s.Columns) for s in sources
    }
    if len(series) > 1 or len(sources) not in {1, frames}:
        raise UsageError(
            f"{what}: expected one DICOM series of single slices or one enhanced image, found {len(series)} series "
            f"of {len(sources)} images",
            hint="a DICOM segmentation refers to one series; choose other subjects with --subject",
        )


def _grid(frames: Sequence[DicomFrame]) -> Grid:
    """Grid of the frames in spatial order, RAS."""
    first, last = frames[0], frames[-1]
    affine = np.eye(4)
    affine[:3, 0] = (last.position_mm - first.position_mm) / max(len(frames) - 1, 1)
    affine[:3, 1], affine[:3, 2], affine[:3, 3] = first.along_column, first.along_row, first.position_mm
    return Grid((len(frames), *first.stored.shape), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
