"""The identities of a DICOM file, and a search for them in bytes: the last check of de-identification."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import permutations
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from mri_pipeline.intake.identity_words import IdentityWords, identity_words

PERSONS: Final = frozenset({
    "ReferringPhysicianName", "ConsultingPhysicianName", "PhysiciansOfRecord", "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy", "OperatorsName", "PatientName", "OtherPatientNames", "PatientBirthName",
    "PatientMotherBirthName", "ResponsiblePerson", "SecondaryReviewerName", "EvaluatorName", "RequestingPhysician",
    "ScheduledPerformingPhysicianName", "NamesOfIntendedRecipientsOfResults", "OrderEnteredBy", "HumanPerformerName",
    "DocumentAuthorTrial", "VerifyingObserverName", "PersonName", "CurrentObserverTrial", "VerbalSourceTrial",
    "ContentCreatorName", "SelectorPNValue", "ROIInterpreter", "ReviewerName", "InterpretationRecorder",
    "InterpretationTranscriber", "InterpretationAuthor", "PhysicianApprovingInterpretation", "DistributionName",
})  # fmt: skip
"""Names of persons: all elements of this type in the standard."""

NUMBERS: Final = frozenset({
    "PatientID", "OtherPatientIDs", "PatientTelephoneNumbers", "MedicalRecordLocator", "AccessionNumber", "StudyID",
    "AdmissionID", "ServiceEpisodeID", "PerformedProcedureStepID", "ScheduledProcedureStepID", "RequestedProcedureID",
    "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    "PlacerOrderNumberImagingServiceRequestRetired", "FillerOrderNumberImagingServiceRequestRetired",
    "ReferringPhysicianTelephoneNumbers",
})  # fmt: skip
"""Numbers of the patient and of requests, which people write in several groupings."""

IDENTIFYING: Final = PERSONS | NUMBERS | {
    "PatientBirthDate", "PatientBirthDateInAlternativeCalendar", "PatientAddress", "PatientTelecomInformation",
    "IssuerOfPatientID", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
    "DeviceSerialNumber", "ReferringPhysicianAddress", "PatientComments", "PerformedStationName", "StudyDate",
    "SeriesDate", "AcquisitionDate", "ContentDate", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "PerformedProcedureStepStartDate",
}  # fmt: skip
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

_WHOLE: Final = frozenset({
    "StationName", "PerformedStationName", "DeviceSerialNumber", "StudyDate", "SeriesDate", "AcquisitionDate",
    "ContentDate", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "PerformedProcedureStepStartDate",
})  # fmt: skip
"""Dates, UIDs and the scanner's own numbers: their digits are not searched in other groupings."""

_PATIENT: Final = 0x0010
"""Group of the elements of the patient."""

_OF_AN_INSTITUTION: Final = frozenset({
    "InstitutionName", "InstitutionalDepartmentName", "InstitutionAddress", "ReferringPhysicianAddress", "StationName",
    "PerformedStationName",
})  # fmt: skip

_BESIDE_PATIENT: Final = frozenset({
    "PatientComments", "PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation", "IssuerOfPatientID",
})  # fmt: skip
"""Elements of this group that are neither name, number nor birth date: parts of them have at least four characters."""

MIN_LENGTH: Final = 3
"""Shorter values (initials, study number 1) match by chance and do not identify a person."""
_SHORTEST_PART: Final = 4
"""Letters of a part of any value that is not the patient's."""

_POSTCODE: Final = 4

_GROUPED: Final = range(6, 65)
"""Characters of a number that is searched in any grouping (123 456 789)."""

_MOST_WORDS: Final = 8
"""Of a name with more words, the first ones are paired."""

_IDEOGRAPH: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


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
    """All identities of a data set in upper case: whole values, parts of names and numbers, and dates.

    Where an identity has a caret, a text may have anything but letters and digits, or nothing. Two parts of a name are
    an identity in any order: `Li^Na` is found in *Na Li*, but not in *Li*.

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

    Examples
    --------
    >>> dataset = Dataset()
    >>> dataset.PatientName, dataset.StudyID = "Li^Na", "12-3456"
    >>> sorted(original_identities(dataset, "AB12"))
    ['12-3456', '1^2^3^4^5^6', 'LI^NA', 'NA^LI']
    """
    maker, model = (str(dataset.get(keyword, "")).upper() for keyword in ("Manufacturer", "ManufacturerModelName"))
    found: set[str] = set()
    for keyword, is_name, value in _values(dataset):
        forms = _forms_of(keyword, str(value), is_name=is_name)
        # a station or a room is often named after the model, which is kept
        if keyword in _OF_THE_DEVICE:
            device = _words(f"{maker} {model}", _SHORTEST_PART)
            forms = frozenset(form for form in forms - device if letters_of(form) != letters_of(model))
        found |= forms
    common = identity_words().common | {code.upper()}
    return frozenset(text for text in found if length_of(text) >= MIN_LENGTH and text not in common)


@lru_cache(maxsize=4096)
def _forms_of(keyword: str, value: str, *, is_name: bool) -> frozenset[str]:
    """Forms of a value in which it identifies. Cached: most values are those of the other files of a series."""
    words = identity_words()
    text = unicodedata.normalize("NFC", value).strip(" ^").upper()
    of_patient = Tag(tag_for_keyword(keyword) or 0).group == _PATIENT and keyword not in _BESIDE_PATIENT
    shortest = MIN_LENGTH if of_patient else _SHORTEST_PART
    forms = {text} if re.fullmatch(r"[\d.]+", text) else {text} | _words(text, shortest)
    forms |= _name_forms(text, shortest) if is_name else set() if keyword in _WHOLE else _number_forms(text)
    if not of_patient:
        forms = {form for form in forms if not _is_generic(form, text, keyword, words, is_name=is_name)}
    return frozenset(forms)


def _is_generic(form: str, value: str, keyword: str, words: IdentityWords, *, is_name: bool) -> bool:
    """True for a postcode, and for words of DICOM, hospitals and protocols, which identify nobody."""
    if re.fullmatch(rf"\d{{1,{_POSTCODE}}}", form):
        return keyword != "PatientComments"
    if is_name or keyword in _BESIDE_PATIENT - {"PatientComments"}:  # of an unknown person, no word is generic
        return keyword in PERSONS - {"PersonName"} and len(_plain_words(form)) == 1 and _all_generic(form, words)
    if keyword in _OF_AN_INSTITUTION:
        is_department = keyword == "InstitutionalDepartmentName"
        is_part = len(_plain_words(form)) == 1  # "Premier Imaging Center" stays
        return (is_department or is_part) and _all_generic(form, words, with_device=is_department)
    value_words = [word for word in _plain_words(value) if not re.search(r"\d", word)]
    generic = [word for word in value_words if word in words.generic | words.common]
    least = 2 if keyword == "PatientComments" and len(generic) < len(value_words) else 1  # not "Mr Post"
    return len(generic) >= least and all(_all_generic(some, words) for some in (" ".join(value_words), form))


def _plain_words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", spellings(text)[0])


def _all_generic(text: str, words: IdentityWords, *, with_device: bool = False) -> bool:
    """True if all words are generic, but for some of up to two letters."""
    generic = words.generic | words.common | (words.device if with_device else frozenset())
    parts = _plain_words(text)
    known = [part for part in parts if part in generic]
    return bool(known) and all(part in known or (part.isalpha() and len(part) < MIN_LENGTH) for part in parts)


def _words(text: str, shortest: int) -> set[str]:
    """Parts of a value; those of up to three digits are none."""
    parts = re.split(r"[\^=,;\s\\/_|]+", text.upper())
    return {part for part in parts if length_of(part) >= shortest and not re.fullmatch(r"\d{1,3}", part)}


@lru_cache(maxsize=8192)
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
    plain = unicodedata.normalize(
        "NFC", bare.translate({ord(one): other for one, other in identity_words().letters.items()})
    )
    return plain, re.sub(r"([AOU])E|(A)A|(D)J", r"\1\2\3", plain)


def length_of(text: str) -> int:
    """Number of letters of a text; a character of Chinese, Japanese or Korean counts as two.

    Parameters
    ----------
    text : str

    Returns
    -------
    int

    Examples
    --------
    >>> length_of("Li"), length_of("李娜")
    (2, 4)
    """
    return len(text) + len(_IDEOGRAPH.findall(text))


def letters_of(text: str) -> str:
    """The letters and digits of a text.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> letters_of("Li^Na"), letters_of("12-34")
    ('LiNa', '1234')
    """
    return re.sub(r"[\W_]+", "", text)


def _name_forms(name: str, shortest: int) -> set[str]:
    """Words and components of a name, and each two parts of different components in any order."""
    found: set[str] = set()
    for group in name.split("="):
        components = [words for part in group.split("^") if (words := re.findall(r"[^\W_]+", part))]
        several = components if len(components) > 1 else [[word] for words in components for word in words]
        parts = [{"^".join(words), *words[:_MOST_WORDS]} for words in several[:_MOST_WORDS]]
        found |= {"^".join(words) for words in components} | {word for words in components for word in words}
        found |= {f"{a}^{b}" for some, others in permutations(parts, 2) for a in some for b in others}
    return {form for form in found if length_of(form.replace("^", "")) >= shortest}


def _number_forms(number: str) -> set[str]:
    """A number in any grouping, without leading zeros, and its digits alone."""
    joined = letters_of(number)
    runs = {*re.findall(r"\d+", joined), *re.findall(r"\d+", number)}
    if not runs or len(joined) not in _GROUPED:
        return set()
    forms = (form for text in (joined, *runs) for form in (text, text.lstrip("0")))
    return {"^".join(form) for form in forms if len(form) in _GROUPED}


def _values(dataset: Dataset) -> Iterator[tuple[str, bool, Any]]:
    """Keyword, whether it is the name of a person, and value of the identifying elements."""
    for stored in list(dataset.values()):  # not yet converted, and not sorted
        if _is_harmless(stored):
            continue
        element = dataset[stored.tag]
        if element.VR == "SQ":
            for item in element.value or []:
                yield from _values(item)
        elif (element.keyword in IDENTIFYING or element.VR == "PN") and element.value not in (None, ""):
            many = element.VM > 1
            for value in element.value if many else [element.value]:
                yield element.keyword, element.VR == "PN", value


def _is_harmless(element: RawDataElement | DataElement) -> bool:
    """True if an element that is not converted yet can neither identify nor contain other elements."""
    raw = isinstance(element, RawDataElement) and element.VR not in {None, "UN", "SQ", "PN"}
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
