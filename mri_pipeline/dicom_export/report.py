"""Measurements of one visit as a DICOM structured report (TID 1500): the numbers of the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import highdicom as hd
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.dicom_export.codes import BRAIN, KINDS, ML, MM3, NO_UNITS, NUMBER, PROCEDURE, VOLUME
from mri_pipeline.dicom_export.describe import NAME, ObjectOf, derived_uid, finish
from mri_pipeline.dicom_export.segmentation import Segments, tracking

Row = Mapping[str, Any]

_SERIES_NUMBER = 9004


def lesion_volumes(rows: Sequence[Row], kind: MaskLabel) -> dict[int, Decimal]:
    """Volume of each lesion of a kind at a visit, as in lesions.csv.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of lesions.csv of the visit.
    kind : MaskLabel

    Returns
    -------
    dict of int to Decimal
        In mm3, by lesion number: the sum over the parts of a lesion that has split. A lesion that vanished is absent.
    """
    what = KINDS[kind]
    volumes: dict[int, Decimal] = {}
    for row in rows:
        if row[what.lesion_count]:
            number = int(row["lesion_id"])
            volumes[number] = volumes.get(number, Decimal(0)) + row[what.lesion_volume]
    return volumes


def make_report(
    sources: Sequence[Dataset],
    segmentations: Mapping[MaskLabel, Segments],
    timepoint: Row,
    lesions: Sequence[Row],
    of: ObjectOf,
) -> Any:
    """Make the report of a visit.

    Parameters
    ----------
    sources : sequence of Dataset
        Headers of the de-identified images.
    segmentations : mapping of MaskLabel to Segments
        Kinds of lesions without a segment are absent.
    timepoint : mapping
        Row of lesion_timepoints.csv.
    lesions : sequence of mapping
        Rows of lesions.csv of the visit.
    of : ObjectOf

    Returns
    -------
    highdicom.sr.Comprehensive3DSR
    """
    groups = [*_totals(timepoint, of), *_of_lesions(sources[0], segmentations, lesions, of)]
    source, found = sources[0], [made.dataset for made in segmentations.values()]
    description = of.description("measurements")
    rows = json.dumps([dict(timepoint), *map(dict, lesions)], default=str, sort_keys=True)
    parts = (
        str(source.SeriesInstanceUID), "report", rows, description, of.reader, of.version, of.build,
        *(str(made.SOPInstanceUID) for made in found),
    )  # fmt: skip
    made = sr.Comprehensive3DSR(
        evidence=[*sources, *found],
        content=_content(groups, of),
        series_instance_uid=derived_uid("series", *parts),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derived_uid("object", *parts),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=of.version,
        device_serial_number=of.build,
        is_complete=not of.provisional,
        is_final=not of.provisional,
        series_description=description,
    )
    return finish(made, source)


def _content(groups: Sequence[Any], of: ObjectOf) -> Any:
    """Content tree of the report (TID 1500): observer, procedure and measurements."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", of.version, of.build), name=NAME, manufacturer_name=NAME, model_name=of.version
    )
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_person_context=_person(of),
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device),
        ),
        procedure_reported=PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            hd.sr.CodedConcept("en-US", "RFC5646", "English (United States)")
        ),
    )


def _person(of: ObjectOf) -> Any:
    """The reader by code; None for an unread visit."""
    if not of.reader:
        return None
    return sr.ObserverContext(codes.DCM.Person, sr.PersonObserverIdentifyingAttributes(name=f"{of.reader}^"))


def _totals(timepoint: Row, of: ObjectOf) -> Iterator[Any]:
    """Number and volume of each kind that is known at the visit."""
    for what in KINDS.values():
        if timepoint[what.counted] is None:
            continue
        identifier = f"{of.subject} {of.visit} all {what.name}s"
        yield sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(derived_uid("tracking", identifier), identifier),
            time_point_context=sr.TimePointContext(of.visit),
            finding_type=what.code,
            finding_sites=[sr.FindingSite(BRAIN)],
            measurements=[
                sr.Measurement(NUMBER, int(timepoint[what.counted]), NO_UNITS),
                sr.Measurement(VOLUME, float(timepoint[what.volume]), ML),
            ],
        )


def _of_lesions(
    source: Dataset, segmentations: Mapping[MaskLabel, Segments], lesions: Sequence[Row], of: ObjectOf
) -> Iterator[Any]:
    """Volume of each lesion, with its segment if it has one."""
    for kind, what in KINDS.items():
        made = segmentations.get(kind)
        for number, volume in lesion_volumes(lesions, kind).items():
            identifier, uid = tracking(of.subject, kind, number)
            group: dict[str, Any] = {
                "tracking_identifier": sr.TrackingIdentifier(uid, identifier),
                "time_point_context": sr.TimePointContext(of.visit),
                "finding_type": what.code,
                "finding_sites": [sr.FindingSite(BRAIN)],
                "measurements": [sr.Measurement(VOLUME, float(volume), MM3)],
            }
            if made is None or number not in made.segments:  # no voxel of the FLAIR shows it
                yield sr.MeasurementsAndQualitativeEvaluations(**group)
                continue
            segment = sr.ReferencedSegment(
                made.dataset.SOPClassUID,
                made.dataset.SOPInstanceUID,
                made.segments[number],
                source_series=sr.SourceSeriesForSegmentation(source.SeriesInstanceUID),
            )
            yield sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **group)
