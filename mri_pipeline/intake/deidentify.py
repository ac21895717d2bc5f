"""De-identify DICOM by an allow-list, and search the written bytes for every identity of the original.

None of the tested libraries is sufficient alone. The output is therefore built from an empty data set: it cannot
contain a tag that is not on the list of `mri_pipeline.intake.allowed`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom.charset import convert_encodings, encode_string
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from mri_pipeline.core.errors import IdentityError, UploadRefusedError
from mri_pipeline.core.io.dicom_faults import dicom_faults_are_refusals
from mri_pipeline.intake.allowed import CODE_STRINGS_ONLY, GROUPS, KEPT, MOMENTS, UIDS, VENDORS
from mri_pipeline.intake.header_values import field_strength_t
from mri_pipeline.intake.identities import is_short_number, leaked, letters_of, original_identities
from mri_pipeline.intake.leaks import scan_text
from mri_pipeline.intake.odd_numbers import named_tag, repair_numbers

METHOD = "Allow-list of tags, keyed UIDs, moved dates, byte scan"
_PROFILE_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
_SYNTAXES: dict[tuple[bool | None, bool | None], UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
"""Transfer syntax by implicit types and byte order, for files that do not state it."""
_COPIED = {
    tag_for_keyword(keyword): keyword for keyword in UIDS | GROUPS | CODE_STRINGS_ONLY | KEPT | {"Manufacturer"}
}
_LEAST_SECRET_BYTES = 16
_MAX_SHIFT_DAYS = 3650
_MIN_SHIFT_DAYS = 365


@dataclass(frozen=True)
class Blinding:
    """Blinding of one subject: its code and a secret of the trial. The secret is never printed.

    Parameters
    ----------
    code : str
        The blinded code. It replaces patient name and number.
    secret : bytes
        At least 16 bytes, derived from the sealed folder of the trial.
    cleared : frozenset of str
        Elements whose values a person of the centre has found to be no identities: series number and keyword, such as
        ``4/SoftwareVersions`` (`IdentityError.elements`).

    Examples
    --------
    >>> one, two = Blinding("AB12", b"0123456789abcdef"), Blinding("CD34", b"0123456789abcdef")
    >>> one.shift == two.shift, dt.timedelta(days=-3651) < one.shift < dt.timedelta(days=-364)
    (False, True)
    """

    code: str
    secret: bytes
    cleared: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9]{1,16}", self.code) or len(self.secret) < _LEAST_SECRET_BYTES:
            raise ValueError(
                "expected an alphanumeric code of 1 to 16 characters and a secret of at least 16 bytes, found a "
                f"code of {len(self.code)} characters and a secret of {len(self.secret)} bytes"
            )

    def __repr__(self) -> str:
        return f"Blinding(code={self.code!r})"

    @property
    def shift(self) -> dt.timedelta:
        """Per-subject date shift, 1 to 10 years back. Intervals between visits are preserved."""
        number = int.from_bytes(self._digest("shift", self.code)[:8], "big")
        days = _MIN_SHIFT_DAYS + number % (_MAX_SHIFT_DAYS - _MIN_SHIFT_DAYS)
        return dt.timedelta(days=-days, seconds=-int(number >> 32) % 86400)

    def shifted_day(self, ordinal: int) -> dt.date:
        """The shifted date of a day. Only intervals between shifted dates are true.

        Parameters
        ----------
        ordinal : int
            Day as proleptic Gregorian ordinal (`datetime.date.toordinal`).

        Returns
        -------
        datetime.date
        """
        return dt.date.fromordinal(ordinal) + dt.timedelta(days=self.shift.days)

    def uid(self, original: str) -> UID:
        """The keyed replacement of a UID. Equal UIDs have equal replacements, and it cannot be inverted.

        Parameters
        ----------
        original : str

        Returns
        -------
        pydicom.uid.UID
            Under the root 2.25.
        """
        return UID(f"2.25.{int.from_bytes(self._digest('uid', original)[:16], 'big')}")

    def _digest(self, what: str, text: str) -> bytes:
        return hmac.new(self.secret, f"{what}|{text}".encode(), hashlib.sha256).digest()


def deidentify(files: Sequence[Path], folder: Path, blinding: Blinding) -> tuple[Path, ...]:
    """Write de-identified copies of DICOM files.

    Parameters
    ----------
    files : sequence of Path
        Files of one series whose headers were read by `mri_pipeline.intake.read_headers`.
    folder : Path
        Folder of the copies, which get numbers as names.
    blinding : Blinding

    Returns
    -------
    tuple of Path
        In the order of `files`.

    Raises
    ------
    IdentityError
        If an identity is found in a written file. The files are removed. The message names series and tag.
    UploadRefusedError
        If an image has burned-in text or is a screenshot.
    UnreadableUploadError
        If a file cannot be read or written as DICOM.
    """
    folder.mkdir(parents=True, exist_ok=True)
    targets = tuple(folder / f"{number:06d}.dcm" for number in range(len(files)))
    identities: frozenset[str] = frozenset()
    written = []
    try:
        for source, target in zip(files, targets, strict=True):
            with _damage_is_a_refusal():
                original = pydicom.dcmread(source, force=True)
                repair_numbers(original)
                identities |= original_identities(original, blinding.code)
                clean = deidentified(original, blinding)
                clean.save_as(target, enforce_file_format=True)
            written.append(_without_pixels(target, clean))
        # after all files: a damaged tag of one may contain a name that only another one declares
        for clean, header in written:
            _require_clean(clean, header, identities, blinding.cleared)
    except UploadRefusedError:
        for target in targets:
            target.unlink(missing_ok=True)
        raise
    return targets


def _damage_is_a_refusal() -> AbstractContextManager[None]:
    return dicom_faults_are_refusals(
        "DICOM that can be de-identified",
        hint="export the series again; if that fails too, contact the reading centre",
    )


def _without_pixels(target: Path, clean: Dataset) -> tuple[Dataset, bytes]:
    """A written data set and the bytes of its file, both without the pixels."""
    content = target.read_bytes()
    pixels = clean["PixelData"].value if "PixelData" in clean else b""
    begin = content.find(pixels) if pixels else -1
    clean.pop("PixelData", None)
    return clean, content if begin < 0 else content[:begin] + b"\0" + content[begin + len(pixels) :]


def _require_clean(clean: Dataset, header: bytes, identities: frozenset[str], cleared: frozenset[str]) -> None:
    number = clean.get("SeriesNumber")
    series = f"{'' if number is None else number}/"
    here = [element.removeprefix(series) for element in cleared if element.startswith(series)]
    scan = scan_text(clean, identities, here)
    for value in scan.allowed:
        header = header.replace(_as_written(value, clean), b"\0", 1)
    short = frozenset(filter(is_short_number, identities))
    in_text = frozenset[str]().union(*scan.found.values())
    count = len(set(map(letters_of, in_text))) + leaked(header, identities - short - in_text)
    if count or any(header[:128]):
        tags = ", ".join(map(named_tag, scan.found)) or "an element without text"
        raise IdentityError(
            f"{'a series' if number is None else f'series {number}'}: expected no identity after de-identification, "
            f"found {count} in {tags}",
            hint="the reading centre checks the header; if the value is no identity, it clears the tag: "
            "mri-pipeline quarantine release TRIAL ENTRY --clear-identity TAG --reason REASON --by PERSON",
            elements=[f"{series}{keyword}" for keyword in scan.found],
        )


def _as_written(value: str, dataset: Dataset) -> bytes:
    """The bytes of a text in the character set of its file."""
    encodings = convert_encodings(dataset.get("SpecificCharacterSet") or "ISO_IR 6")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that the character set does not have
        return b"\\".join(encode_string(part, encodings) for part in value.split("\\"))


def deidentified(original: Dataset, blinding: Blinding) -> Dataset:
    """A new data set with allowed tags only. Nothing is read from or written to disk.

    Parameters
    ----------
    original : Dataset
        With its file meta information and pixels.
    blinding : Blinding

    Returns
    -------
    Dataset
        Pixels and transfer syntax of the original.

    Raises
    ------
    UploadRefusedError
        If the image is a screenshot or has burned-in text.
    """
    if str(original.get("BurnedInAnnotation", "")).upper() == "YES" or str(original.SOPClassUID).startswith(
        "1.2.840.10008.5.1.4.1.1.7"
    ):
        raise UploadRefusedError(
            "expected images without burned-in text, found a screenshot or burned-in annotation",
            hint="send the original series of the scanner",
        )
    clean = _allowed(original, blinding)
    _set_identity(clean, blinding)
    _move_dates(original, clean, blinding.shift)
    if "MagneticFieldStrength" in clean and (strength := field_strength_t(original)) is not None:
        clean.MagneticFieldStrength = strength  # in tesla: some scanners write gauss or millitesla
    clean.file_meta = _file_meta(original, clean)
    return clean


def _allowed(original: Dataset, blinding: Blinding) -> Dataset:
    clean = Dataset()
    for tag in list(original.keys()):  # iteration of a data set converts every element
        keyword = _COPIED.get(int(tag))
        if keyword is None:
            continue
        element = original[tag]
        if keyword in UIDS:
            setattr(clean, keyword, blinding.uid(str(element.value)))
        elif keyword in GROUPS:
            setattr(clean, keyword, DicomSequence([_allowed(item, blinding) for item in element.value]))
        elif keyword in CODE_STRINGS_ONLY:
            setattr(clean, keyword, _code_strings(element.value))
        elif keyword == "Manufacturer":
            clean.Manufacturer = _vendor(str(element.value))
        else:
            clean[tag] = element
    return clean


def _code_strings(value: Any) -> list[str]:
    parts = [value] if isinstance(value, str) else list(value or [])
    return [str(part) for part in parts if re.fullmatch(r"[A-Z0-9_ ]{0,16}", str(part))]


def _vendor(name: str) -> str:
    return next((written for begin, written in VENDORS if name.upper().startswith(begin)), name)


def _set_identity(clean: Dataset, blinding: Blinding) -> None:
    clean.PatientName = blinding.code
    clean.PatientID = blinding.code
    clean.PatientBirthDate = ""
    clean.PatientSex = ""
    clean.ReferringPhysicianName = ""
    clean.AccessionNumber = ""
    clean.StudyID = ""
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = METHOD
    codes = []
    for value, meaning in _PROFILE_CODES:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    clean.DeidentificationMethodCodeSequence = DicomSequence(codes)
    clean.LongitudinalTemporalInformationModified = "MODIFIED"
    clean.BurnedInAnnotation = "NO"


def _move_dates(original: Dataset, clean: Dataset, shift: dt.timedelta) -> None:
    for date_keyword, time_keyword in MOMENTS:
        moment = _moment(str(original.get(date_keyword, "")), str(original.get(time_keyword, "")), shift)
        if moment is not None:
            setattr(clean, date_keyword, moment.strftime("%Y%m%d"))
            if original.get(time_keyword):
                setattr(clean, time_keyword, moment.strftime("%H%M%S.%f"))
    stated = str(original.get("AcquisitionDateTime", ""))
    moment = _moment(stated[:8], stated[8:], shift)
    if moment is not None:
        clean.AcquisitionDateTime = moment.strftime("%Y%m%d%H%M%S.%f")
    start = _moment(
        str(original.get("AcquisitionDate", "")), str(original.get("ContrastBolusStartTime", "")), shift
    )
    if start is not None and original.get("ContrastBolusStartTime"):
        clean.ContrastBolusStartTime = start.strftime("%H%M%S.%f")


@lru_cache(maxsize=1024)
def _moment(date: str, time: str, shift: dt.timedelta) -> dt.datetime | None:
    digits = re.match(r"\d{0,6}", time)
    clock = (digits.group() if digits else "").ljust(6, "0")
    try:
        return dt.datetime.strptime(date + clock, "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC) + shift
    except (ValueError, OverflowError):
        return None


def _file_meta(original: Dataset, clean: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = clean.SOPClassUID
    meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    stated = original.file_meta.get("TransferSyntaxUID")
    syntax = UID(str(stated or _SYNTAXES.get(original.original_encoding, ImplicitVRLittleEndian)))
    # the byte scan and dcm2niix read no deflated files
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax.is_deflated else syntax
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    return meta
