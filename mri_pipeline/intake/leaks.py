"""Identities in the text that de-identification keeps: as words, glued to other text, and as dates in any notation.

Some devices have names that are also names of persons: *Vida*, *Sola* and *Avanto* are scanners. Such a word is no
identity in an element that names the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from mri_pipeline.intake.identities import COMMON, NUMERIC_VRS

DEVICE_ELEMENTS: Final = frozenset({"Manufacturer", "ManufacturerModelName", "SoftwareVersions"})
"""Elements that name a device."""

DEVICE_WORDS: Final = frozenset("""
    MAGNETOM AERA ALLEGRA ALTEA AMIRA AVANTO BIOGRAPH CIMA CONCERTO CONNECTOM ESPREE ESSENZA EXPERT FIT FLOW FREE
    HARMONY IMPACT LUMINA MMR MOSAIC NUMARIS OPEN PRISMA PRISMAFIT SEMPRA SKYRA SKYRAFIT SOLA SONATA SPECTRA SYMPHONY
    SYMPHONYTIM SYNGO TERRA TIM TRIO TRIOTIM VERIO VIATO VIDA VISION
    ARCHITECT ARTIST BRIVO CHAMPION CREATOR DISCOVERY EXCITE EXPLORER GENESIS HERO HDE HDI HDX HDXT OPTIMA PIONEER
    PREMIER SIGNA VICTOR VOYAGER
    ACHIEVA AMBITION DSTREAM ECLIPSE ELITION EVOLUTION GYROSCAN INGENIA INTERA MULTIVA PANORAMA PRODIVA
    ATLAS CENTURIAN ELAN EXCELART FORTIAN GALAN OPART ORIAN TITAN VANTAGE
    AIRIS APERTO ECHELON OASIS OVAL SMART SYNERGY VELOCITY JUPITER OMEGA UMR
    BUILD LATEST PATCH RELEASE SERVICE SOFTWARE SYSTEM VERSION
""".split()  # noqa: SIM905 - easier to read than a list of strings
)  # fmt: skip
"""Names of MR scanners (Siemens, GE, Philips, Canon, Hitachi, UIH) and their software, and words of version texts."""

_MIN_GLUED: Final = 4
_MIN_GLUED_IN_CODE: Final = 5
"""Letters of an identity that is searched within a longer word; in code strings (ScanOptions) one more."""

_MIN_GLUED_DIGITS: Final = 5

_CODED: Final = frozenset({"PatientName", "PatientID"})
"""Elements that hold the blinded code."""

_MONTHS: Final = (
    "JAN|JÄN|GEN|ENE", "FEB|FÉV|FEV", "MAR|MÄR|MRT|MAA", "APR|AVR|ABR", "MAY|MAI|MAG|MEI|MAJ", "JUN|JUIN|GIU",
    "JUL|JUIL|LUG", "AUG|AGO|AOÛ|AOU", "SEP|SET", "OCT|OKT|OTT|OUT", "NOV", "DEC|DEZ|DIC|DÉC",
)  # fmt: skip
"""Beginnings of the names of the months in the languages of the trial's sites."""


@dataclass(frozen=True)
class TextScan:
    """Result of a search in the text of a data set.

    Parameters
    ----------
    found : dict of str to frozenset of str
        Identities by keyword of the element that contains them.
    allowed : tuple of str
        Values with a word that is the name of a device, and values that a person has cleared.
    """

    found: dict[str, frozenset[str]]
    allowed: tuple[str, ...]


def scan_text(dataset: Dataset, identities: Iterable[str], cleared: Iterable[str] = ()) -> TextScan:
    """Search the text elements of a de-identified data set for identities.

    Parameters
    ----------
    dataset : Dataset
        Sequences are included. Numbers, dates, times, UIDs and pixels are not searched.
    identities : iterable of str
        In upper case. Eight digits that are a date are searched in other notations, too.
    cleared : iterable of str
        Keywords of elements whose values are no identities.

    Returns
    -------
    TextScan

    Examples
    --------
    >>> dataset = Dataset()
    >>> dataset.ManufacturerModelName, dataset.SoftwareVersions = "MAGNETOM Vida", "syngoMUSTER1"
    >>> {k: sorted(v) for k, v in scan_text(dataset, {"VIDA", "MUSTER"}).found.items()}
    {'SoftwareVersions': ['MUSTER']}
    """
    identities, cleared = frozenset(identities), frozenset(cleared)
    dates = {identity: date_pattern(identity) for identity in identities if _is_date(identity)}
    found: dict[str, frozenset[str]] = {}
    allowed: list[str] = []
    for element in _text_elements(dataset):
        keyword, text = element.keyword, _text(element)
        least = _MIN_GLUED_IN_CODE if element.VR == "CS" else _MIN_GLUED
        upper = text.upper()
        hits = frozenset(
            identity for identity in identities if identity in upper and _holds(upper, identity, least)
        )
        hits |= {date for date, pattern in dates.items() if pattern.search(upper)}
        if not hits:
            continue
        if keyword in cleared:
            allowed.append(text)
            continue
        names = hits & DEVICE_WORDS if keyword in DEVICE_ELEMENTS else frozenset()
        if hits - names:
            found[keyword] = found.get(keyword, frozenset()) | (hits - names)
        else:
            allowed.append(text)
    return TextScan(found, tuple(allowed))


def _text_elements(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or []:
                yield from _text_elements(item)
        elif element.VR not in NUMERIC_VRS and element.keyword not in _CODED and element.value not in (None, ""):
            yield element


def _text(element: DataElement) -> str:
    return "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)


def _holds(text: str, identity: str, min_glued: int) -> bool:
    if re.search(rf"(?<![^\W_]){re.escape(identity)}(?![^\W_])", text):
        return True
    if identity.isdigit():
        return len(identity) >= _MIN_GLUED_DIGITS and re.search(rf"(?<!\d){identity}(?!\d)", text) is not None
    if len(identity) < min_glued:
        return False
    return any(identity in word and word not in COMMON | DEVICE_WORDS for word in re.split(r"[\W_]+", text))


def _is_date(identity: str) -> bool:
    return re.fullmatch(r"(18|19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", identity) is not None


@lru_cache(maxsize=256)
def date_pattern(date: str) -> re.Pattern[str]:
    """A pattern that finds a date in any common notation, in text in upper case.

    Parameters
    ----------
    date : str
        ``YYYYMMDD``.

    Returns
    -------
    re.Pattern

    Examples
    --------
    >>> pattern = date_pattern("20240305")
    >>> all(map(pattern.search, ("2024-03-05", "05.03.2024", "3/5/24", "5 MAR 2024", "MARCH 5, 2024", "5. MÄRZ 2024")))
    True
    >>> pattern.search("12024-03-051"), pattern.search("2024-03-15")
    (None, None)
    """
    year, month, day = date[:4], date[4:6], date[6:]
    y, m, d = rf"(?:{year}|'?{year[2:]})", f"0?{int(month)}", f"0?{int(day)}"
    name = f"(?:{_MONTHS[int(month) - 1]})[^\\W\\d_]*"
    gap, some = r"[\s.,/_-]{1,3}", r"[\s.,/_-]{0,3}"
    forms = (
        f"{year}{month}{day}", f"{day}{month}{year}", f"{month}{day}{year}",
        f"{y}{gap}{m}{gap}{d}", f"{d}{gap}{m}{gap}{y}", f"{m}{gap}{d}{gap}{y}",
        f"{d}(?:ST|ND|RD|TH)?{some}(?:DE )?{name}{some}(?:DE )?{y}", f"{name}{some}{d}(?:ST|ND|RD|TH)?{gap}{y}",
        f"{year}{some}{name}{some}{d}",
    )  # fmt: skip
    return re.compile(rf"(?<!\d)(?:{'|'.join(forms)})(?!\d)")
