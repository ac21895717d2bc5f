"""Decimal strings that are no numbers: what they mean, or which element has one.

Some scanners and archives write ``3,0``, ``1.5T`` or ``9.0 s`` where DICOM requires a plain number in a fixed unit.
pydicom raises an error for the whole data set at the first access. `repair_numbers` is called first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from mri_pipeline.intake.allowed import GROUPS

_UNITS: Final = {
    "MagneticFieldStrength": {"T": 1.0, "TESLA": 1.0, "MT": 1e-3, "G": 1e-4, "GAUSS": 1e-4, "KG": 0.1},
    "ImagingFrequency": {"MHZ": 1.0, "KHZ": 1e-3, "HZ": 1e-6},
    "RepetitionTime": {"MS": 1.0, "MSEC": 1.0, "S": 1e3, "SEC": 1e3},
    "EchoTime": {"MS": 1.0, "MSEC": 1.0, "S": 1e3, "SEC": 1e3},
    "InversionTime": {"MS": 1.0, "MSEC": 1.0, "S": 1e3, "SEC": 1e3},
    "FlipAngle": {"DEG": 1.0, "°": 1.0},
    "PixelSpacing": {"MM": 1.0, "CM": 10.0},
    "SliceThickness": {"MM": 1.0, "CM": 10.0},
    "SpacingBetweenSlices": {"MM": 1.0, "CM": 10.0},
    "ContrastBolusVolume": {"ML": 1.0, "CC": 1.0},
}
"""Factors from a written unit to the unit of DICOM."""

NEEDED: Final = frozenset({
    *_UNITS, "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "NumberOfFrames", "SeriesNumber", "InstanceNumber", "ImagesInAcquisition",
})  # fmt: skip
"""Elements that decide about a scan. Other elements with an odd value are left out."""

_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WRITTEN = re.compile(r"([-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z°]*)")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+\s*(MS|MSEC)?", re.IGNORECASE)
"""``9,000`` may mean 9 or 9000."""

_MAY_BE_THOUSANDS = frozenset({"RepetitionTime", "InversionTime"})
"""Elements with values of a thousand and more in their unit. Whole numbers are all treated so."""

_NUMBER_VRS = frozenset({"DS", "IS"})


@dataclass(frozen=True)
class OddValue:
    """An element whose value has no clear meaning as a number.

    Parameters
    ----------
    keyword : str
    kind : str
        Kind of the value, never the value itself.
    """

    keyword: str
    kind: str

    def __str__(self) -> str:
        """Keyword, tag and kind of value, for messages."""
        return f"{named_tag(self.keyword)}: {self.kind}"


def named_tag(keyword: str) -> str:
    """Keyword and tag of an element, for messages.

    Parameters
    ----------
    keyword : str

    Returns
    -------
    str

    Examples
    --------
    >>> named_tag("EchoTime")
    'EchoTime (0018,0081)'
    """
    number = tag_for_keyword(keyword)
    if number is None:
        return keyword
    tag = Tag(number)
    return f"{keyword} ({tag.group:04X},{tag.element:04X})"


def repair_numbers(dataset: Dataset) -> tuple[OddValue, ...]:
    """Replace odd decimal strings by the numbers that they mean, in place.

    A decimal comma and a written unit are understood. An element that cannot be understood becomes empty, also one
    whose comma may separate thousands. Sequences are searched if they are functional groups of enhanced objects.

    Parameters
    ----------
    dataset : Dataset
        As read from a file, before its elements are accessed.

    Returns
    -------
    tuple of OddValue
        Elements of `NEEDED` that became empty, in the order of their tags.
    """
    odd: list[OddValue] = []
    for raw in list(dataset.elements()):
        if not isinstance(raw, RawDataElement) or raw.tag.is_private:
            continue
        vr = raw.VR or _vr_of(raw.tag)
        if vr == "SQ" and keyword_for_tag(raw.tag) in GROUPS:
            for item in dataset[raw.tag].value or []:
                odd += repair_numbers(item)
        elif vr in _NUMBER_VRS and raw.value:
            odd += _repair(dataset, raw.tag, raw, keyword_for_tag(raw.tag), vr)
    return tuple(dict.fromkeys(odd))


def _vr_of(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _repair(dataset: Dataset, tag: BaseTag, raw: RawDataElement, keyword: str, vr: str) -> list[OddValue]:
    parts = (raw.value or b"").decode("latin-1").strip(" \0").split("\\")
    whole = vr == "IS"
    if all(not part.strip(" \0") or _is_plain(part.strip(" \0"), whole=whole) for part in parts):
        return []
    meant = [_meant(part.strip(" \0"), keyword, whole=whole) for part in parts]
    if None not in meant:
        dataset[tag] = DataElement(tag, vr, meant if len(meant) > 1 else meant[0])
        return []
    dataset[tag] = DataElement(tag, vr, None)
    return [OddValue(keyword, _kind(parts, keyword, whole=whole))] if keyword in NEEDED else []


def _is_plain(text: str, *, whole: bool) -> bool:
    return _PLAIN.fullmatch(text) is not None and (not whole or float(text).is_integer())


def _meant(text: str, keyword: str, *, whole: bool) -> str | None:
    written = _WRITTEN.fullmatch(text)
    if written is None or _is_ambiguous(text, keyword, whole=whole):
        return None
    units = _UNITS.get(keyword, {})
    unit = written.group(2).upper()
    if unit and unit not in units:
        return None
    value = float(written.group(1).replace(",", ".")) * units.get(unit, 1.0)
    if whole:
        return f"{value:.0f}" if value.is_integer() else None
    return f"{value:.10g}"


def _is_ambiguous(text: str, keyword: str, *, whole: bool) -> bool:
    return (whole or keyword in _MAY_BE_THOUSANDS) and _THOUSANDS.fullmatch(text) is not None


def _kind(parts: list[str], keyword: str, *, whole: bool) -> str:
    if any(_is_ambiguous(part.strip(" \0"), keyword, whole=whole) for part in parts):
        return "a comma that may be decimal or separate thousands"
    if not any(re.search(r"\d", part) for part in parts):
        return "text in place of a number"
    if whole and all(_WRITTEN.fullmatch(part.strip(" \0")) for part in parts):
        return "a fraction in place of a whole number"
    return "a number with text that is no known unit"
