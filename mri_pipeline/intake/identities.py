"""The identities of a DICOM file, and a search for them in bytes: the last check of de-identification."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

IDENTIFYING: Final = frozenset({
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName",
    "PatientMotherBirthName", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers",
    "MedicalRecordLocator", "IssuerOfPatientID",
    "AccessionNumber", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
    "DeviceSerialNumber", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName",
    "RequestingPhysician",
    "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord", "ResponsiblePerson", "PatientComments", "StudyID",
    "AdmissionID", "PerformedProcedureStepID", "ScheduledProcedureStepID", "RequestedProcedureID",
    "PerformedStationName", "ScheduledPerformingPhysicianName", "StudyDate", "SeriesDate", "AcquisitionDate",
    "ContentDate", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "PerformedProcedureStepStartDate",
})  # fmt: skip
"""Elements whose values must not appear anywhere in a de-identified file, including in sequences."""

_IDENTIFYING_TAGS: Final = frozenset(map(tag_for_keyword, IDENTIFYING))

NUMERIC_VRS: Final = frozenset({
    "DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "OB", "OW", "AT", "DA", "TM", "DT", "UI",
})  # fmt: skip
"""Types of elements without free text."""

_ENCODINGS: Final = ("utf-8", "latin-1", "iso8859_2", "iso8859_5", "iso8859_7", "iso8859_9")

_OF_THE_DEVICE: Final = frozenset({
    "StationName", "PerformedStationName", "DeviceSerialNumber", "InstitutionalDepartmentName",
})  # fmt: skip

MIN_LENGTH: Final = 3
"""Shorter values (initials, study number 1) match by chance and do not identify a person."""

COMMON: Final = frozenset("""
    ABDOMEN ADDED AXIAL BASIC APPLICATION BYTE CANON CODE CONFIDENTIALITY DATES DCM DERIVED DIS2D DIS3D
    ENHANCED FAST FLAIR FOR GEMS HEAD HEALTHCARE HITACHI INFORMATION KEYED LIST LONGITUDINAL MAGNITUDE
    MEDICAL MIXED MODIFIED MONOCHROME MONOCHROME2 MOVED NONE NORM NORMAL NOT OPTION ORIGINAL OTHER PHILIPS
    PRIMARY PROFILE PYDICOM RETAIN SCAN SECONDARY SIEMENS SYSTEMS TAGS TEMPORAL THE TOSHIBA UIDS UNKNOWN
    VOLUME YES HFS HFP SPIN GRADIENT NO ALLOW MRI ANONYMOUS ANON TEST PATIENT RECTILINEAR BOTH FAT WATER
    IDENTITY UIH
""".split()  # noqa: SIM905 - easier to read than a list of strings
)  # fmt: skip
"""Words of DICOM and of this project's output. A patient named Fast or Philips is not identified by them."""


PLACEHOLDERS: Final = frozenset({
    "ANON", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "UNKNOWN", "NONE", "NA", "N/A", "NULL", "PATIENT",
    "0", "00000000", "-",
})  # fmt: skip
"""Values of a patient's number, name or birth date, without spaces, that identify nobody."""


def is_short_number(identity: str) -> bool:
    """True if an identity is a number so short that a header may contain it by chance.

    Parameters
    ----------
    identity : str

    Returns
    -------
    bool
        True for 1 to 6 digits, signs or points.
    """
    return re.fullmatch(r"[-+.\d]{1,6}", identity) is not None


def original_identities(dataset: Dataset, code: str) -> frozenset[str]:
    """All identities of a data set in upper case: whole values, parts of names, and dates.

    Parameters
    ----------
    dataset : Dataset
        The original.
    code : str
        The blinded code, which is allowed in the output.

    Returns
    -------
    frozenset of str
        Without values shorter than `MIN_LENGTH` and words of DICOM.
    """
    device = _words(f"{dataset.get('Manufacturer', '')} {dataset.get('ManufacturerModelName', '')}")
    found: set[str] = set()
    for keyword, value in _values(dataset):
        text = str(value).strip().upper()
        words = {text} if re.fullmatch(r"[\d.]+", text) else {text} | _words(text)
        # a station or a room is often named after the model, which is kept
        found |= words - device if keyword in _OF_THE_DEVICE else words
    common = COMMON | {code.upper()}
    return frozenset(text for text in found if len(text) >= MIN_LENGTH and text not in common)


def _words(text: str) -> set[str]:
    return {part for part in re.split(r"[\^=,;\s\\/_|]+", text.upper()) if len(part) > MIN_LENGTH}


def _values(dataset: Dataset) -> Iterator[tuple[str, Any]]:
    for stored in list(dataset.elements()):  # not yet converted
        if _is_harmless(stored):
            continue
        element = dataset[stored.tag]
        if element.VR == "SQ":
            for item in element.value or []:
                yield from _values(item)
        elif element.keyword in IDENTIFYING and element.value not in (None, ""):
            many = element.VM > 1
            for value in element.value if many else [element.value]:
                yield element.keyword, value


def _is_harmless(element: RawDataElement | DataElement) -> bool:
    """True if an element that is not converted yet can neither identify nor contain other elements."""
    raw = isinstance(element, RawDataElement) and element.VR not in {None, "UN", "SQ"}
    return raw and int(element.tag) not in _IDENTIFYING_TAGS


def leaked(content: bytes, identities: Iterable[str]) -> int:
    """Number of identities that occur in the bytes as separate words, in any common encoding, ignoring case.

    Parameters
    ----------
    content : bytes
    identities : iterable of str
        In upper case.

    Returns
    -------
    int

    Examples
    --------
    >>> leaked(b"..Doe^Jane..", {"DOE", "JAN"})
    1
    """
    upper = content.upper()
    texts = [content.decode(encoding, "ignore").upper() for encoding in _ENCODINGS]
    return sum(_is_in(identity, upper, texts) for identity in identities)


def _is_in(identity: str, upper: bytes, texts: Iterable[str]) -> bool:
    if identity.isascii() and identity.encode() in upper:
        pattern = rf"(?<![A-Z0-9]){re.escape(identity)}(?![A-Z0-9])".encode()
        if re.search(pattern, upper):
            return True
    # also for ASCII: the upper case of Weiß is WEISS
    return any(identity in text and re.search(rf"(?<!\w){re.escape(identity)}(?!\w)", text) for text in texts)
