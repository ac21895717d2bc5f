"""Identities in the text that de-identification keeps: as words, glued to other text, and as dates in any notation.

Some devices have names that are also names of persons: *Vida*, *Sola* and *Avanto* are scanners. Such a word is no
identity in an element that names the device.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from mri_pipeline.intake.identities import COMMON, MIN_LENGTH, NUMERIC_VRS, length_of, letters_of

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
    "JAN|GEN|ENE|IAN|STY|LED|TAM|OCA|ЯНВ|СІЧ|ΙΑΝ", "FEB|FEV|LUT|UNO|HEL|SUB|VEE|ФЕВ|ЛЮТ|ΦΕΒ",  # noqa: RUF001
    "MAR|MRT|MAA|MRZ|BRE|МАР|БЕР|ΜΑΡ", "APR|AVR|ABR|KWI|DUB|HUH|NIS|АПР|КВІ|ΑΠΡ",  # noqa: RUF001
    "MAY|MAI|MAG|MEI|MAJ|KVE|TOU|МАИ|МАЯ|ТРА|ΜΑΙ", "JUN|JUIN|GIU|IUN|CZE|CER|KES|HAZ|JUU|ИЮН|ЧЕР|ΙΟΥΝ",  # noqa: RUF001
    "JUL|JUIL|LUG|IUL|LIP|CER|CVC|HEI|TEM|JUU|ИЮЛ|ЛИП|ΙΟΥΛ", "AUG|AGO|AOU|SIE|SRP|ELO|AVG|АВГ|СЕР|ΑΥΓ",  # noqa: RUF001
    "SEP|SET|WRZ|ZAR|SYY|EYL|СЕН|ВЕР|ΣΕΠ", "OCT|OKT|OTT|OUT|PAZ|RIJ|LOK|EKI|ОКТ|ЖОВ|ΟΚΤ",  # noqa: RUF001
    "NOV|NOI|LIS|MARR|KAS|НОЯ|НОЕ|ЛИС|ΝΟΕ", "DEC|DEZ|DIC|DES|DET|GRU|PRO|JOU|ARA|ДЕК|ГРУ|ΔΕΚ",  # noqa: RUF001
)  # fmt: skip
"""Beginnings of the names of the months in European languages, without accents."""

_ROMAN: Final = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")

_LATIN: Final = str.maketrans({
    "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Æ": "AE", "Œ": "OE", "Þ": "TH", "ẞ": "SS", "Ħ": "H", "Ŧ": "T", "Ŋ": "N",
})  # fmt: skip


def spellings(text: str) -> tuple[str, str]:
    """A text in upper case without accents, and the same with one letter in place of two (*ue*, *aa*, *dj*).

    Parameters
    ----------
    text : str

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> spellings("Müller"), spellings("Mueller"), spellings("Håkan"), spellings("Haakan")
    (('MULLER', 'MULLER'), ('MUELLER', 'MULLER'), ('HAKAN', 'HAKAN'), ('HAAKAN', 'HAKAN'))
    """
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).upper())
    bare = "".join(one for one in letters if not unicodedata.category(one).startswith("M"))
    plain = unicodedata.normalize("NFC", bare.translate(_LATIN))
    return plain, re.sub(r"([AOU])E|(A)A|(D)J", r"\1\2\3", plain)


_DEVICE_SPELLINGS: Final = frozenset(spelt for word in DEVICE_WORDS for spelt in spellings(word))


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
        In upper case. Eight digits that are a date are searched in other notations, too. A caret is any gap or none.
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
    found: dict[str, frozenset[str]] = {}
    allowed: list[str] = []
    for element in _text_elements(dataset):
        keyword, text = element.keyword, _text(element)
        least = _MIN_GLUED_IN_CODE if element.VR == "CS" else _MIN_GLUED
        hits = _identities_in(text, identities, least)
        if not hits:
            continue
        if keyword in cleared:
            allowed.append(text)
            continue
        if keyword in DEVICE_ELEMENTS:
            hits = frozenset(one for one in hits if not _names_a_device(one))
        if hits:
            found[keyword] = found.get(keyword, frozenset()) | hits
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


def _names_a_device(identity: str) -> bool:
    words = filter(None, re.split(r"[\W_]+", spellings(identity)[0]))
    return all(word in _DEVICE_SPELLINGS for word in words)


@lru_cache(maxsize=1024)
def _identities_in(text: str, identities: frozenset[str], min_glued: int) -> frozenset[str]:
    """Cached: the files of a series have the same texts."""
    spelt = tuple((one, letters_of(one)) for one in spellings(text))
    dates = frozenset(filter(_is_date, map(letters_of, identities)))
    return frozenset(one for one in identities if _is_in(one, spelt, min_glued)) | frozenset(
        date for date in dates if any(date_pattern(date).search(one) for one, _ in spelt)
    )


def _is_in(identity: str, texts: Iterable[tuple[str, str]], min_glued: int) -> bool:
    forms = zip(_forms(identity), texts, strict=True)
    parts = identity.split(
        "^"
    )  # two parts of a name, of which one is short, are no part of a word (Ge^Ma of "image")
    is_whole = len(parts) > 1 and any(length_of(part) < MIN_LENGTH for part in parts)
    return any(
        letters and letters in text_letters and _holds(text, letters, pattern, min_glued, is_whole=is_whole)
        for (letters, pattern), (text, text_letters) in forms
    )


@lru_cache(maxsize=4096)
def _forms(identity: str) -> tuple[tuple[str, str], ...]:
    """Letters and pattern of each spelling of an identity."""
    plain, folded = spellings(identity)
    forms = []
    for spelt in (plain, folded if len(letters_of(folded)) > MIN_LENGTH else plain):
        letters = letters_of(spelt)
        beside = r"\d" if letters.isdigit() and len(letters) >= _MIN_GLUED_DIGITS else r"[^\W_]"
        words = [word for word in spelt.split("^") if word]
        has_initial = letters.isalpha() and len(words) > 1 and length_of(words[-1]) == 1  # "Tim E", not "time"
        parts = (r"[\W_]+" if has_initial else r"[\W_]*").join(map(re.escape, words))
        forms.append((letters, rf"(?<!{beside}){parts}(?!{beside})"))
    return tuple(forms)


def _holds(text: str, letters: str, pattern: str, min_glued: int, *, is_whole: bool) -> bool:
    if re.search(pattern, text):
        return True
    if letters.isdigit() or length_of(letters) < min_glued or is_whole:
        return False
    return any(letters in word and word not in COMMON | _DEVICE_SPELLINGS for word in re.split(r"[\W_]+", text))


def _is_date(identity: str) -> bool:
    """True for eight digits that are a date of the Gregorian, Persian, Islamic or Buddhist calendar."""
    return re.fullmatch(r"(1[389]|14|20|25)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", identity) is not None


@lru_cache(maxsize=256)
def date_pattern(date: str) -> re.Pattern[str]:
    """A pattern that finds a date in any common notation, in text in upper case without accents (`spellings`).

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
    >>> all(map(pattern.search, ("2024-03-05", "05.03.2024", "3/5/24", "5 MAR 2024", "MARCH 5, 2024", "5. MARZ 2024")))
    True
    >>> pattern.search("12024-03-051"), pattern.search("2024-03-15")
    (None, None)
    """
    year, month, day = date[:4], date[4:6], date[6:]
    y, m, d = rf"(?:{year}|'?{year[2:]})", f"0?{int(month)}", f"0?{int(day)}"
    name = f"(?:{_MONTHS[int(month) - 1]})[^\\W\\d_]{{0,12}}"
    some, gap = r"[\W_]{0,5}", r"(?:[\W_]{1,5}|\s?[年月년월]\s?)"
    th, of = "(?:ST|ND|RD|TH)?", rf"(?:[^\W\d_]{{1,3}}{gap})?"  # of, de, del
    forms = (
        f"{year}{month}{day}", f"{day}{month}{year}", f"{month}{day}{year}", f"{year}{day}{month}",
        f"{y}{gap}{m}{gap}{d}", f"{year}{gap}{d}{gap}{m}", f"{d}{gap}{m}{gap}{y}", f"{m}{gap}{d}{gap}{y}",
        f"{d}{th}{some}{of}(?:{name}|{_ROMAN[int(month) - 1]}){some}{of}{y}",
        f"{name}{some}{d}{th}{gap}{y}", f"{year}{some}{name}{some}{d}",
    )  # fmt: skip
    return re.compile(rf"(?<!\d)(?:{'|'.join(forms)})(?!\d)")
