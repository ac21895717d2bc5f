"""Lesions of one kind at one visit as a DICOM segmentation (BINARY), a segment for each lesion.

A kind has an object of its own, because a GEL and a black hole lie in a T2 lesion. Segments of one object that overlap
were refused or merged by OHIF (issues 3496 and 3992 of OHIF/Viewers). Segments of one object never overlap here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.dicom_export.codes import ABNORMAL, BRAIN, FAMILY, KINDS
from mri_pipeline.dicom_export.describe import NAME, ObjectOf, derived_uid, finish

_SERIES_NUMBER = {MaskLabel.T2_LESION: 9001, MaskLabel.GEL: 9002, MaskLabel.BLACK_HOLE: 9003}


@dataclass(frozen=True)
class Segments:
    """A segmentation and the lesions of its segments.

    Parameters
    ----------
    dataset : highdicom.seg.Segmentation
    segments : dict of int to int
        Segment number by lesion number.
    """

    dataset: Any
    segments: dict[int, int]


def tracking(subject: str, kind: MaskLabel, lesion_id: int) -> tuple[str, str]:
    """Tracking identifier of a lesion: the same at all visits, in segmentations and reports.

    Parameters
    ----------
    subject : str
        Blinded code.
    kind : MaskLabel
    lesion_id : int
        As in lesions.csv.

    Returns
    -------
    identifier, uid : str

    Examples
    --------
    >>> tracking("AB12", MaskLabel.GEL, 7)[0]
    'AB12 lesion_id 7 GEL'
    """
    identifier = f"{subject} lesion_id {lesion_id} {KINDS[kind].name}"
    return identifier, derived_uid("tracking", identifier)


def make_segmentation(
    sources: Sequence[Dataset], numbers: NDArray[np.integer[Any]], kind: MaskLabel, of: ObjectOf
) -> Segments | None:
    """Make the segmentation of one kind.

    Parameters
    ----------
    sources : sequence of Dataset
        Headers of the de-identified images: one for each slice, or one enhanced image.
    numbers : ndarray of int, shape (frames, rows, columns)
        Number of the lesion of each voxel, 0 outside; the frames in the order of `sources` or of the frames in it.
    kind : MaskLabel
    of : ObjectOf

    Returns
    -------
    Segments or None
        None without a lesion: a segmentation has at least one segment.
    """
    lesions = [int(number) for number in np.unique(numbers) if number]
    if not lesions:
        return None
    segment_of = {lesion: segment for segment, lesion in enumerate(lesions, start=1)}
    labels = np.searchsorted([0, *lesions], numbers).astype(np.uint16)
    what = KINDS[kind]
    description = of.description(f"{what.name}s")
    digest = hashlib.sha256(labels.tobytes() + repr((labels.shape, lesions)).encode()).hexdigest()
    source = sources[0]
    parts = (str(source.SeriesInstanceUID), what.file, digest, description, of.reader, of.version, of.build)
    made = hd.seg.Segmentation(
        source_images=list(sources),
        pixel_array=labels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(segment, lesion, kind, of) for lesion, segment in segment_of.items()],
        series_instance_uid=derived_uid("series", *parts),
        series_number=_SERIES_NUMBER[kind],
        sop_instance_uid=derived_uid("object", *parts),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=of.version,
        device_serial_number=of.build,
        content_label=what.content_label,
        content_description=description,
        content_creator_name=f"{of.reader}^" if of.reader else None,
        series_description=description,
    )
    _settle_order(made, derived_uid("dimensions", *parts))
    return Segments(finish(made, source), segment_of)


def _settle_order(made: Dataset, dimensions: str) -> None:
    """Replace the random UID of the dimensions, and sort the references: equal content gives equal bytes."""
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    for group in (made, *made.get("ReferencedSeriesSequence", ())):
        for keyword in ("SourceImageSequence", "ReferencedInstanceSequence"):
            if keyword in group:
                setattr(
                    group, keyword, sorted(group[keyword].value, key=lambda one: str(one.ReferencedSOPInstanceUID))
                )


def _described(segment: int, lesion: int, kind: MaskLabel, of: ObjectOf) -> hd.seg.SegmentDescription:
    what, (identifier, uid) = KINDS[kind], tracking(of.subject, kind, lesion)
    types = hd.seg.SegmentAlgorithmTypeValues
    return hd.seg.SegmentDescription(
        segment_number=segment,
        segment_label=f"{what.name} {lesion}",
        segmented_property_category=ABNORMAL,
        segmented_property_type=what.code,
        # proposed by the program; confirmed or corrected by a reader
        algorithm_type=types.SEMIAUTOMATIC if of.reader else types.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(NAME, FAMILY, of.version),
        tracking_uid=uid,
        tracking_id=identifier,
        anatomic_regions=[BRAIN],
    )
