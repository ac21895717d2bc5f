"""The receive coil in words that identify no person. It is stored, compared and shown to the staff."""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset

from mri_pipeline.intake.identities import original_identities
from mri_pipeline.intake.leaks import scan_text

_LONGEST: Final = 64
_SHORTEST_PART: Final = 2
"""Characters of a part of a name or number that is searched for as a whole word."""

_WORDS: Final = """
    HEAD NECK SPINE BRAIN BODY KNEE SHOULDER WRIST FOOT ANKLE HAND BREAST TORSO CARDIAC CHEST SPEEDER FLEX SENSE
    ATLAS QD QUAD MULTI COIL ARRAY MATRIX PHASED SURFACE TRANSMIT RECEIVE INTEGRATED EXTREMITY LOOP LARGE SMALL
    CHANNEL ELEMENTS BIRDCAGE VOLUME ANTERIOR POSTERIOR NEURO VASC NV HR HD HN HNS HNU GEM DS BASE TOP SOLID RIGID
    COMPOSITE PHANTOM TIM UNIT TR
""".split()  # noqa: SIM905 - easier to read than a list of strings
"""Words of the names of coils, also without a space between them (``HEADNECK``, ``HRBRAIN``)."""

_ELEMENTS: Final = frozenset({
    "HEA", "HEP", "NEA", "NEP", "HE", "NE", "SP", "BO", "BC", "BL", "BR", "SN", "PA", "FL", "HC", "CP", "TX", "RX",
    "CH",
})  # fmt: skip
"""Names of elements: three letters, or two with a number (``HEA;HEP``, ``SP1``, ``32CH``)."""

_OF_WORDS: Final = re.compile(f"(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))})+")
_NUMBERS: Final = re.compile(r"\d+(?:[\s.,/_-]{1,3}\d+){2}")
_LONGEST_NUMBER: Final = 3


def coil_without_identity(coil: str, dataset: Dataset) -> str:
    """The name of a receive coil, if it identifies nobody.

    Words and element names of coils and numbers of up to three digits are kept, even if they are part of the patient's
    name or number. Other words are searched for the identities of the header, as the text that de-identification keeps;
    parts of the patient's name and number from two characters are searched, too.

    Parameters
    ----------
    coil : str
        As the header states it.
    dataset : Dataset
        The header.

    Returns
    -------
    str
        At most 64 characters. Empty if an identity was found.

    Examples
    --------
    >>> dataset = Dataset()
    >>> dataset.PatientName = "Meyer^Eck"
    >>> coil_without_identity("Head/Neck 20", dataset), coil_without_identity("coil Eck", dataset)
    ('Head/Neck 20', '')
    """
    rest = re.sub(r"[^\W_]+", lambda word: _unless_of_coil(word.group()), coil)
    if not re.search(r"[^\W\d_]|\d{4}", rest) and not _NUMBERS.search(rest):
        return coil[:_LONGEST]
    patient = f"{dataset.get('PatientName') or ''} {dataset.get('PatientID') or ''}".upper()
    parts = {part for part in re.split(r"[\W_]+", patient) if len(part) >= _SHORTEST_PART}
    identities = {one for one in original_identities(dataset, "") | parts if not _is_short_number(one)}
    text = Dataset()
    text.PatientComments = rest
    return "" if scan_text(text, identities).found else coil[:_LONGEST]


def _unless_of_coil(word: str) -> str:
    """Numbers of a date are searched, and any word that is not of a coil."""
    return " " if re.search(r"[^\W\d_]", word) and _is_of_coil(word.upper()) else word


def _is_of_coil(word: str) -> bool:
    parts = re.findall(r"\d+|\D+", word)
    return all(
        len(part) <= _LONGEST_NUMBER
        if part.isdigit()
        else _OF_WORDS.fullmatch(part) or (part in _ELEMENTS and (len(parts) > 1 or len(part) == 3))
        for part in parts
    )


def _is_short_number(text: str) -> bool:
    return text.isdigit() and len(text) <= _LONGEST_NUMBER
