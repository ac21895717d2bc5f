"""The exported lesions with their volumes, in the tables and on the FLAIR's own grid."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.spatial import Grid, LabelImage
from mri_pipeline.dicom_export.codes import KINDS
from mri_pipeline.dicom_export.describe import ObjectOf
from mri_pipeline.dicom_export.segmentation import Segments


@dataclass(frozen=True)
class ExportedLesion:
    """A lesion of one kind at a visit: a row of volumes.csv.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.
    kind : str
        T2 lesion, GEL or Black hole.
    lesion_id : int
        As in lesions.csv.
    segment : int or None
        Number of its segment. None if no voxel of the FLAIR has its centre in the lesion.
    voxels : int
        Number of voxels of the segment.
    segment_mm3 : Decimal
        Their volume on the FLAIR's own grid.
    table_mm3 : Decimal
        Volume in the subject's space, as in lesions.csv.
    """

    subject: str
    visit: str
    kind: str
    lesion_id: int
    segment: int | None
    voxels: int
    segment_mm3: Decimal
    table_mm3: Decimal


@dataclass(frozen=True)
class ExportedVisit:
    """The objects of one visit.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.
    status : str
        Read status.
    files : tuple of str
        Relative to the folder of the export.
    lesions : tuple of ExportedLesion
    """

    subject: str
    visit: str
    status: str
    files: tuple[str, ...]
    lesions: tuple[ExportedLesion, ...]

    @property
    def without_segment(self) -> tuple[ExportedLesion, ...]:
        """Lesions without a voxel on the FLAIR's own grid."""
        return tuple(lesion for lesion in self.lesions if lesion.segment is None)

    def volumes(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Volume of each kind in mm3: in the tables, and of its segments.

        Returns
        -------
        dict of str to (Decimal, Decimal)
        """
        found: dict[str, tuple[Decimal, Decimal]] = {}
        for one in self.lesions:
            table, segments = found.get(one.kind, (Decimal(0), Decimal(0)))
            found[one.kind] = table + one.table_mm3, segments + one.segment_mm3
        return found


@dataclass(frozen=True, eq=False)
class Found:
    """The lesions of one kind at a visit in both spaces.

    Parameters
    ----------
    kind : MaskLabel
    labels : LabelImage
        Numbered lesions in the subject's space.
    frames : ndarray of int, shape (frames, rows, columns)
        The same on the frames of the FLAIR.
    grid : Grid
        Of the FLAIR.
    segments : Segments or None
        Their segmentation.
    """

    kind: MaskLabel
    labels: LabelImage
    frames: NDArray[Any]
    grid: Grid
    segments: Segments | None


def listed_lesions(found: Found, volumes: Mapping[int, Decimal], of: ObjectOf) -> list[ExportedLesion]:
    """The lesions of a kind with their volumes in both spaces.

    Parameters
    ----------
    found : Found
    volumes : mapping of int to Decimal
        In mm3 by lesion number, from the tables.
    of : ObjectOf

    Returns
    -------
    list of ExportedLesion
        By lesion number.

    Raises
    ------
    UsageError
        If the masks have other lesions or volumes than the tables.
    """
    voxel_mm3 = found.labels.grid.voxel_volume_mm3
    numbers, counts = np.unique(found.labels.data[found.labels.mask], return_counts=True)
    own_mm3 = {int(n): int(count) * voxel_mm3 for n, count in zip(numbers, counts, strict=True)}
    # volumes in the tables are rounded, those of the parts of a lesion apart
    if own_mm3.keys() != volumes.keys() or any(
        abs(own_mm3[n] - float(volumes[n])) > voxel_mm3 / 2 for n in own_mm3
    ):
        raise UsageError(
            f"subject {of.subject}, visit {of.visit}: expected masks with the lesions and volumes of the tables, found "
            "others",
            hint="run the analysis again: mri-pipeline run TRIAL",
        )
    voxels = np.bincount(found.frames[found.frames > 0], minlength=max(volumes, default=0) + 1)
    one_mm3 = Decimal(repr(found.grid.voxel_volume_mm3))
    segment_of = {} if found.segments is None else found.segments.segments
    return [
        ExportedLesion(
            of.subject, of.visit, KINDS[found.kind].name, number, segment_of.get(number), int(voxels[number]),
            (int(voxels[number]) * one_mm3).quantize(volume), volume,
        )
        for number, volume in sorted(volumes.items())
    ]  # fmt: skip


def volumes_text(lesions: Iterable[ExportedLesion]) -> str:
    """Text of volumes.csv.

    Parameters
    ----------
    lesions : iterable of ExportedLesion

    Returns
    -------
    str
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ExportedLesion)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(lesion) for lesion in lesions)
    return text.getvalue()
