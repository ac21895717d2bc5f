"""What all exported objects of a visit share: identifiers, equipment and dates."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

NAME: Final = "mri-pipeline"
NO_DATE, NO_TIME = "19000101", "000000"
"""Content date and time of objects whose source states none: both are required."""

_DATES: Final = ("AcquisitionDate", "SeriesDate", "StudyDate", "ContentDate")
_REQUIRED: Final = (
    "StudyDate", "StudyTime", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber",
    "StudyID", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes that may be empty, but not absent."""


@dataclass(frozen=True)
class ObjectOf:
    """Subject, visit and read of the exported objects, and the software that writes them.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.
    status : str
        Read status of the visit: automatic, confirmed, adjudicated or locked.
    reader : str
        Code of the reader or adjudicator whose read counts. Empty without one.
    provisional : bool
        True if the objects are no final result.
    version, build : str
        Version of the software, and digest of its source.
    """

    subject: str
    visit: str
    status: str
    reader: str
    provisional: bool
    version: str
    build: str

    def description(self, what: str) -> str:
        """Series description, at most 64 characters.

        Parameters
        ----------
        what : str

        Returns
        -------
        str

        Examples
        --------
        >>> ObjectOf("AB12", "wk04", "automatic", "", True, "1.0", "ab").description("GEL")
        'PROVISIONAL, not locked: GEL, wk04, read: automatic'
        """
        begin = "PROVISIONAL, not locked: " if self.provisional else ""
        return f"{begin}{what}, {self.visit}, read: {self.status}"[:64]


def derived_uid(*parts: str) -> UID:
    """A UID that equal parts have in common, under the root 2.25.

    Parameters
    ----------
    *parts : str

    Returns
    -------
    pydicom.uid.UID

    Examples
    --------
    >>> derived_uid("AB12", "lesion 1") == derived_uid("AB12", "lesion 1") != derived_uid("AB12", "lesion 2")
    True
    """
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join((NAME, *parts))).int}")


def with_required(source: Dataset) -> Dataset:
    """A source image with every attribute that the exported objects copy. Values that are absent become empty.

    Parameters
    ----------
    source : Dataset
        De-identified; changed in place.

    Returns
    -------
    Dataset
    """
    for keyword in _REQUIRED:
        if keyword not in source:
            setattr(source, keyword, "")
    source.PatientName = f"{source.PatientID}^"  # highdicom warns of a name without a caret; `finish` removes it
    if not source.get("FrameOfReferenceUID"):
        source.FrameOfReferenceUID = derived_uid("frame of reference", str(source.SeriesInstanceUID))
    return source


def moment(source: Dataset) -> tuple[str, str]:
    """Date and time of the scan as its de-identified source states them, both shifted.

    Parameters
    ----------
    source : Dataset

    Returns
    -------
    date, time : str
        `NO_DATE` and `NO_TIME` if the source states no date.
    """
    for keyword in _DATES:
        if source.get(keyword):
            return str(source[keyword].value), str(source.get(keyword.replace("Date", "Time")) or NO_TIME)
    stated = str(source.get("AcquisitionDateTime") or "")
    return (stated[:8], stated[8:] or NO_TIME) if stated else (NO_DATE, NO_TIME)


def finish(made: Any, source: Dataset) -> Any:
    """Replace every date of an object by that of the scan, in place: the day of the export is not blinded.

    Parameters
    ----------
    made : Dataset
        From highdicom.
    source : Dataset

    Returns
    -------
    Dataset
        `made`.
    """
    made.add_new("PatientName", "PN", str(made.PatientID))  # as in the source, with which it shares the element
    date, time = moment(source)
    for keyword in ("ContentDate", "SeriesDate"):
        setattr(made, keyword, date)
    for keyword in ("ContentTime", "SeriesTime"):
        setattr(made, keyword, time)
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "TimezoneOffsetFromUTC"):
        made.pop(keyword, None)
    for equipment in made.ContributingEquipmentSequence:
        equipment.pop("ContributionDateTime", None)
    return made
