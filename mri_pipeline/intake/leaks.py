"""Identities in the text that de-identification keeps: as words, glued to other text, and as dates in any notation.

Some devices have names that are also names of persons: *Vida*, *Sola* and *Avanto* are scanners. Such a word is no
identity in an element that names the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from mri_pipeline.intake.identities import MIN_LENGTH, NUMERIC_VRS, length_of, letters_of, spellings
from mri_pipeline.intake.identity_words import identity_words

DEVICE_ELEMENTS: Final = frozenset({"Manufacturer", "ManufacturerModelName", "SoftwareVersions"})
"""Elements that name a device."""

_MIN_GLUED: Final = 4
_MIN_GLUED_IN_CODE: Final = 5
"""Letters of an identity that is searched within a longer word; in code strings (ScanOptions) one more."""

_MIN_GLUED_DIGITS: Final = 5

_CODED: Final = frozenset({"PatientName", "PatientID"})
"""Elements that hold the blinded code."""

_ROMAN: Final = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")


@cache
def _spellings_of(kind: str) -> frozenset[str]:
    """Words of a list, in each spelling."""
    return frozenset(spelt for word in getattr(identity_words(), kind) for spelt in spellings(word))


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
    return all(word in _spellings_of("device") for word in words)


@lru_cache(maxsize=1024)
def _identities_in(text: str, identities: frozenset[str], min_glued: int) -> frozenset[str]:
    """Cached: the files of a series have the same texts."""
    parted = _CAMEL.sub(_with_gap, text)
    spelt = tuple(
        (one, letters_of(one)) for version in dict.fromkeys((text, parted)) for one in spellings(version)
    )
    dates = frozenset(filter(_is_date, map(letters_of, identities)))
    return frozenset(one for one in identities if _is_in(one, spelt, min_glued)) | frozenset(
        date for date in dates if any(date_pattern(date).search(one) for one, _ in spelt)
    )


_CAMEL: Final = re.compile(r"[^\W\d_](?=[^\W\d_])")


def _with_gap(letter: re.Match[str]) -> str:
    """A small letter with a gap if a capital follows: *LiNaT1* is searched as *Li Na T1*, too."""
    return letter[0] + " " * (letter[0].islower() and letter.string[letter.end()].isupper())


def _is_in(identity: str, texts: Iterable[tuple[str, str]], min_glued: int) -> bool:
    own_letters = letters_of(identity)
    if own_letters != identity and length_of(own_letters) < MIN_LENGTH:
        return False  # initials with points: "R.M."
    parts = [part for part in identity.split("^") if part]
    return any(
        letters and letters in text_letters and _holds(text, letters, pattern, min_glued, parts)
        for text, text_letters in texts
        for letters, pattern in _forms(identity)
    )


@lru_cache(maxsize=4096)
def _forms(identity: str) -> tuple[tuple[str, str], ...]:
    """Letters and pattern of each spelling of an identity."""
    plain, folded = spellings(identity)
    forms = []
    for spelt in dict.fromkeys((plain, folded if len(letters_of(folded)) > MIN_LENGTH else plain)):
        letters = letters_of(spelt)
        beside = r"[^\W\d_]"
        if re.search(r"\d", letters):
            beside = r"\d" if letters.isdigit() and len(letters) >= _MIN_GLUED_DIGITS else r"[^\W_]"
        is_uid = re.fullmatch(r"\d+(?:\.\d+){2,}", spelt)  # its points are points
        words = [re.escape(spelt)] if is_uid else re.findall(r"[^\W_]+", spelt)
        parts = r"[\W_]*".join(words)
        within_words = letters and length_of(letters) == 2 * len(letters)  # Chinese, Japanese, Korean
        forms.append((letters, parts if within_words else rf"(?<!{beside}){parts}(?!{beside})"))
    return tuple(forms)


def _holds(text: str, letters: str, pattern: str, min_glued: int, parts: Sequence[str]) -> bool:
    known = _spellings_of("known")
    is_pair = len(parts) > 1
    has_initial = any(length_of(part) == 1 for part in parts)
    if any(not has_initial or match[0] not in known for match in re.finditer(pattern, text)):
        return True  # not "time" for Tim E
    if letters.isdigit():
        return len(letters) > _MIN_GLUED_DIGITS and letters in text
    if length_of(letters) < min_glued or (is_pair and any(length_of(part) < MIN_LENGTH for part in parts)):
        return False  # a pair with a short part is no part of a word (Ge^Ma of "image")
    return any(letters in word and word not in known for word in re.split(r"[\W_]+", text))


def _is_date(identity: str) -> bool:
    """True for eight digits that are a date of the Gregorian, Persian, Islamic or Buddhist calendar."""
    return re.fullmatch(r"(1[389]|14|20|25)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", identity) is not None


@cache
def _word_of_month(month: int) -> str:
    """Pattern of a name of a month, but no word of the table with the same beginning (CERVICAL, SPACE, MAIN)."""
    begins = identity_words().months[month]
    others = sorted(word for word in _spellings_of("known") if word.startswith(begins) and word.isalpha())
    no_other = rf"(?!(?:{'|'.join(others)})(?![^\W\d_]))" if others else ""
    return rf"{no_other}(?:{'|'.join(begins)})[^\W\d_]{{0,12}}"


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
    year, short, month, day = date[:4], date[2:4], date[4:6], date[6:]
    y, m, d = rf"(?:{year}|'?{short})", f"0?{int(month)}", f"0?{int(day)}"
    name = _word_of_month(int(month) - 1)
    some, gap = r"[\W_]{0,5}", r"(?:[\W_]{1,5}|\s?[年月년월]\s?)"
    th, of = "(?:ST|ND|RD|TH)?", rf"(?:[^\W\d_]{{1,3}}{gap})?"  # of, de, del
    forms = (
        *(form for one in (year, short) for form in (f"{one}{month}{day}", f"{day}{month}{one}", f"{month}{day}{one}")),
        f"{year}{day}{month}",
        f"{y}{gap}{m}{gap}{d}", f"{year}{gap}{d}{gap}{m}", f"{d}{gap}{m}{gap}{y}", f"{m}{gap}{d}{gap}{y}",
        rf"{d}{th}{some}{of}(?:{name}|{_ROMAN[int(month) - 1]}(?![^\W\d_])){some}{of}{y}",
        f"{name}{some}{d}{th}{gap}{of}{y}", f"{name}{day}{y}", f"{y}{some}{of}{name}{some}{d}",
    )  # fmt: skip
    return re.compile(rf"(?<!\d)(?:{'|'.join(forms)})(?!\d)")
