"""Conversion of a pydicom data set, classic or enhanced multi-frame, to the values of `InstanceFacts`."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

from mri_pipeline.intake.coil import coil_without_identity
from mri_pipeline.intake.contrast_words import agent_given
from mri_pipeline.intake.element_values import (
    LONGEST_TEXT,
    day_of,
    number,
    positive_number,
    seconds_of_day,
    text,
    texts,
    vector,
    whole,
)
from mri_pipeline.intake.facts import SAME_DIRECTION, SAME_ECHO_MS, ObjectKind

_GYROMAGNETIC_MHZ_PER_T = 42.577
_GAUSS_PER_T = 10_000.0
_MILLITESLA_PER_T = 1000.0
_STRONGEST_T = 20.0
_NOMINAL_T = (0.2, 0.23, 0.25, 0.3, 0.35, 0.4, 0.5, 0.55, 0.6, 0.7, 1.0, 1.16, 1.2, 1.5, 2.0, 3.0, 4.0, 4.7, 7.0, 9.4,
              11.7)  # fmt: skip
_NOMINAL_TOLERANCE = 0.05
_MAX_FRAMES = 20_000
_LOSSY = frozenset({str(JPEGBaseline8Bit), str(JPEGExtended12Bit)})
"""Transfer syntaxes that always lose information. LossyImageCompression states it of the others."""

_KINDS = {
    "1.2.840.10008.5.1.4.1.1.4": ObjectKind.MR,
    "1.2.840.10008.5.1.4.1.1.4.1": ObjectKind.ENHANCED_MR,
    "1.2.840.10008.5.1.4.1.1.4.4": ObjectKind.ENHANCED_MR,  # legacy converted
    "1.2.840.10008.5.1.4.1.1.7": ObjectKind.SECONDARY_CAPTURE,
}


def header_values(dataset: Dataset) -> dict[str, Any]:
    """All fields of `InstanceFacts` except the path and the keys.

    Parameters
    ----------
    dataset : Dataset
        As read from the file.

    Returns
    -------
    dict
        Only ``{"kind": NOT_IMAGE}`` for objects without an image (reports, presentation states).

    Raises
    ------
    ValueError
        If a number is malformed. Damaged input may also raise other exceptions of pydicom.
    """
    kind = header_kind(dataset)
    if kind is ObjectKind.NOT_IMAGE:
        return {"kind": kind}
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if not 0 < frames <= _MAX_FRAMES:
        raise ValueError(f"expected 1 to {_MAX_FRAMES} frames, found {frames}")
    return {
        "kind": kind,
        "rows": int(dataset.get("Rows", 0) or 0),
        "columns": int(dataset.get("Columns", 0) or 0),
        "burned_in": text(dataset.get("BurnedInAnnotation")).upper() == "YES",
        "lossy": text(dataset.get("LossyImageCompression")) == "01" or _syntax(dataset) in _LOSSY,
        "inverted": text(dataset.get("PhotometricInterpretation")).upper() == "MONOCHROME1",
        **_identification(dataset),
        **_times(dataset),
        **_physics(dataset),
        **_geometry(dataset, frames),
    }


def header_kind(dataset: Dataset) -> ObjectKind:
    """Kind of a DICOM object by its SOP class.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    ObjectKind
    """
    sop_class = str(dataset.get("SOPClassUID", ""))
    if sop_class in _KINDS:
        return _KINDS[sop_class]
    if sop_class.startswith("1.2.840.10008.5.1.4.1.1.7."):
        return ObjectKind.SECONDARY_CAPTURE
    return ObjectKind.OTHER_IMAGE if dataset.get("Rows") else ObjectKind.NOT_IMAGE


def _identification(dataset: Dataset) -> dict[str, Any]:
    return {
        "modality": text(dataset.get("Modality")).upper(),
        "manufacturer": text(dataset.get("Manufacturer")),
        "model": text(dataset.get("ManufacturerModelName")),
        "software": " ".join(texts(dataset.get("SoftwareVersions")))[:LONGEST_TEXT],
        "coil": _coil(dataset),
        "description": " | ".join(
            filter(None, (text(dataset.get(k)) for k in ("SeriesDescription", "ProtocolName")))
        ),
        "series_number": whole(dataset.get("SeriesNumber")),
        "instance_number": whole(dataset.get("InstanceNumber")),
        "images_in_acquisition": whole(dataset.get("ImagesInAcquisition")),
        "image_type": tuple(t.upper() for t in texts(dataset.get("ImageType"))),
    }


def _coil(dataset: Dataset) -> str:
    coil = text(dataset.get("ReceiveCoilName"))
    coil = coil or text(_first_group(dataset, "MRReceiveCoilSequence").get("ReceiveCoilName"))
    return coil_without_identity(coil, dataset)


def _times(dataset: Dataset) -> dict[str, Any]:
    day = None
    for keyword in ("AcquisitionDate", "SeriesDate", "ContentDate", "StudyDate"):
        day = day if day is not None else day_of(text(dataset.get(keyword)))
    study_day = day_of(text(dataset.get("StudyDate")))
    moment = text(dataset.get("AcquisitionDateTime"))
    if moment:
        day, clock = day_of(moment), seconds_of_day(moment[8:])
    else:
        clock = None
        for keyword in ("AcquisitionTime", "SeriesTime", "ContentTime"):
            clock = clock if clock is not None else seconds_of_day(text(dataset.get(keyword)))
    start = seconds_of_day(text(dataset.get("ContrastBolusStartTime")))
    base = (day or 0) * 86400.0
    return {
        "study_day": study_day if study_day is not None else day,
        "acquired_s": None if clock is None else base + clock,
        "contrast_start_s": None if start is None else base + start,
    }


def _physics(dataset: Dataset) -> dict[str, Any]:
    timing = _first_group(dataset, "MRTimingAndRelatedParametersSequence")
    echo = _first_group(dataset, "MREchoSequence")
    modifier = _first_group(dataset, "MRModifierSequence")
    diffusion = _first_group(dataset, "MRDiffusionSequence")
    field_of_view = _first_group(dataset, "MRFOVGeometrySequence")
    scanning = tuple(t.upper() for t in texts(dataset.get("ScanningSequence")))
    inversion = modifier.get("InversionTimes")
    b_values = [number(part.get("DiffusionBValue")) for part in _groups(dataset, "MRDiffusionSequence")]
    return {
        "field_strength_t": field_strength_t(dataset),
        "scanning_sequence": scanning,
        "sequence_variant": tuple(t.upper() for t in texts(dataset.get("SequenceVariant"))),
        "scan_options": tuple(t.upper() for t in texts(dataset.get("ScanOptions"))),
        "sequence_name": text(dataset.get("SequenceName")) or text(dataset.get("PulseSequenceName")),
        "acquisition_type": text(dataset.get("MRAcquisitionType")).upper(),
        "phase_direction": text(
            dataset.get("InPlanePhaseEncodingDirection", field_of_view.get("InPlanePhaseEncodingDirection"))
        ).upper(),
        "angiography": text(dataset.get("AngioFlag")).upper() == "Y"
        or text(dataset.get("TimeOfFlightContrast")).upper() == "YES",
        "echo_planar": "EP" in scanning or text(dataset.get("EchoPlanarPulseSequence")).upper() == "YES",
        "repetition_time_ms": positive_number(dataset.get("RepetitionTime", timing.get("RepetitionTime"))),
        "echo_time_ms": positive_number(dataset.get("EchoTime", echo.get("EffectiveEchoTime"))),
        "inversion_time_ms": positive_number(dataset.get("InversionTime", inversion)),
        "flip_angle_deg": positive_number(dataset.get("FlipAngle", timing.get("FlipAngle"))),
        "b_value": max(
            (b for b in [number(dataset.get("DiffusionBValue")), number(diffusion.get("DiffusionBValue")),
            *b_values]
             if b is not None), default=None),
        "echo_number": whole(dataset.get("EchoNumbers")),
        "contrast_agent": _contrast_agent(dataset),
    }  # fmt: skip


def _contrast_agent(dataset: Dataset) -> bool | None:
    """What the header states about contrast agent; None if it states nothing or contradicts itself."""
    stated = agent_given(text(dataset.get("ContrastBolusAgent")))
    volume = number(dataset.get("ContrastBolusVolume"))
    dosed = bool(volume and volume > 0) or bool(dataset.get("ContrastBolusAgentSequence"))
    if stated is False and dosed:
        return None
    return True if dosed else stated


def _syntax(dataset: Dataset) -> str:
    """Transfer syntax; empty if the file states none."""
    return str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", ""))


def field_strength_t(dataset: Dataset) -> float | None:
    """Field strength from the header in tesla, millitesla or gauss, or else from the imaging frequency.

    A number above 20 is millitesla or gauss. The imaging frequency decides, or else which of them is the field of a
    scanner that is built: 1500 is 1.5 T, 15000 is 1.5 T.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    float or None
        In tesla. None if the header has neither, or if the number has two meanings (3000 without a frequency is 0.3
        or 3 T).

    Raises
    ------
    ValueError
        If a number is malformed.
    """
    stated = positive_number(dataset.get("MagneticFieldStrength"))
    if stated is not None and stated <= _STRONGEST_T:
        return stated
    frequency = positive_number(dataset.get("ImagingFrequency"))
    if frequency is None:
        frequency = positive_number(_first_group(dataset, "MRImagingModifierSequence").get("TransmitterFrequency"))
    by_frequency = None if frequency is None else round(frequency / _GYROMAGNETIC_MHZ_PER_T, 3)
    if stated is None:
        return by_frequency
    known = _NOMINAL_T if by_frequency is None else (by_frequency,)
    meant = [value for value in (stated / _MILLITESLA_PER_T, stated / _GAUSS_PER_T) if _is_near(value, known)]
    return meant[0] if len(meant) == 1 else by_frequency


def _is_near(value: float, known: tuple[float, ...]) -> bool:
    return any(abs(value - one) <= _NOMINAL_TOLERANCE * one for one in known)


def _geometry(dataset: Dataset, frames: int) -> dict[str, Any]:
    measures = _first_group(dataset, "PixelMeasuresSequence")
    spacing = vector(dataset.get("PixelSpacing", measures.get("PixelSpacing")), 2)
    orientations: list[tuple[float, ...] | None]
    positions: list[tuple[float, ...] | None]
    if "ImageOrientationPatient" in dataset:
        orientations = [vector(dataset.get("ImageOrientationPatient"), 6)]
        positions = [vector(dataset.get("ImagePositionPatient"), 3)]
        echoes: set[float | None] = set()
    else:
        orientations = [
            vector(g.get("ImageOrientationPatient"), 6) for g in _groups(dataset, "PlaneOrientationSequence")
        ]
        positions = [vector(g.get("ImagePositionPatient"), 3) for g in _groups(dataset, "PlanePositionSequence")]
        echoes = {number(g.get("EffectiveEchoTime")) for g in _groups(dataset, "MREchoSequence")}
    first = orientations[0] if orientations else None
    differ = _several(echoes, SAME_ECHO_MS) or any(
        o is None or first is None or max(abs(a - b) for a, b in zip(o, first, strict=True)) > SAME_DIRECTION
        for o in orientations
    )
    return {
        "pixel_spacing_mm": spacing,
        "thickness_mm": positive_number(dataset.get("SliceThickness", measures.get("SliceThickness"))),
        "slice_distance_mm": positive_number(
            dataset.get("SpacingBetweenSlices", measures.get("SpacingBetweenSlices"))
        ),
        "orientation": first,
        "positions": tuple(p for p in positions if p is not None)[:frames],
        "frames_differ": differ and frames > 1,
    }


def _several(values: set[float | None], tolerance: float) -> bool:
    known = [v for v in values if v is not None]
    return len(known) < len(values) > 1 or (bool(known) and max(known) - min(known) > tolerance)


def _groups(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a functional group: one per frame, or a single shared one."""
    per_frame = [f[keyword][0] for f in dataset.get("PerFrameFunctionalGroupsSequence") or [] if f.get(keyword)]
    if per_frame:
        return per_frame
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    return [shared[0][keyword][0]] if shared and shared[0].get(keyword) else []


def _first_group(dataset: Dataset, keyword: str) -> Dataset:
    groups = _groups(dataset, keyword)
    return groups[0] if groups else Dataset()
