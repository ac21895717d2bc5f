"""Reads untrusted DICOM in a separate process with limits on memory and time.

`mri_pipeline.intake.read` runs it as ``python -m mri_pipeline.intake.header_worker`` with a JSON request on standard
input. It writes one JSON line (`FileReport`) per file to standard output and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import resource
import sys
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # pydicom imports them, to download test data and to decode pixels, which this process never does
    sys.modules.update(dict.fromkeys(("requests", "numpy", "PIL")))  # type: ignore[arg-type]

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import UID

from mri_pipeline.core.person_keys import person_key
from mri_pipeline.core.processes import collect_rarely
from mri_pipeline.intake.facts import Fault, FileReport, InstanceFacts, ObjectKind
from mri_pipeline.intake.header_values import header_kind, header_values
from mri_pipeline.intake.identity_words import identity_words
from mri_pipeline.intake.odd_numbers import OddValue, repair_numbers

_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_DICOMDIR = "1.2.840.10008.1.3.10"
_PSEUDONYMS = re.compile(r"PSN-([0-9a-f]{16})?\nPSN-([0-9a-f]{16})?\^([0-9a-f]{16})?\n")
"""Number, name with birth date, and no birth date, as the browser of a site writes them."""

_PARTS = ("number", "name", "birth")
"""Words of the browser before the value of which it sends a digest."""

_NO_DEVICE = re.compile(
    r"ANON(YM|YMOUS|YMI[SZ]ED)?|DEID(ENTIFIED)?|REDACTED|REMOVED|DELETED|CLEARED|MASKED|HIDDEN|BLANK|EMPTY"
    r"|UNKNOWN|UNDEFINED|UNSPECIFIED|NONE|NULL|NIL|NA|NOTAVAILABLE|NOTAPPLICABLE|PATIENT|DEFAULT|SERIAL|SERIALNUMBER|STATION|STATIONNAME"
)
"""Values, without punctuation and leading zeros, that identify no device."""

_MR_KINDS = {ObjectKind.MR, ObjectKind.ENHANCED_MR}


class TruncatedError(Exception):
    """The file ends before the end of its pixel data."""


def main() -> None:
    """Process one request."""
    request = json.load(sys.stdin)
    collect_rarely()
    _bound(memory_bytes=int(request["memory_bytes"]), cpu_s=int(request["cpu_s"]))
    warnings.simplefilter("ignore")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    key, browser_key = bytes.fromhex(request["key"]), bytes.fromhex(request["browser_key"])
    for index, path in request["files"]:
        report = read_one(index, Path(path), key, browser_key)
        sys.stdout.write(report.model_dump_json() + "\n")
        sys.stdout.flush()


def _bound(*, memory_bytes: int, cpu_s: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_one(index: int, path: Path, key: bytes, browser_key: bytes = b"") -> FileReport:
    """Facts of one file, or the reason why there are none. No content of the file raises an error.

    Parameters
    ----------
    index : int
        Position of the file in the upload.
    path : Path
    key : bytes
        Secret of the digests in `InstanceFacts`.
    browser_key : bytes, optional
        Key of the pseudonyms of the site. Without it, `InstanceFacts.pseudonym_keys` is empty.

    Returns
    -------
    FileReport
    """
    try:
        dataset = _dataset(path)
        if dataset is None:
            return FileReport(index=index, skipped="not_dicom")
        if (
            str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR
            or "DirectoryRecordSequence" in dataset
        ):
            return FileReport(index=index, skipped="dicomdir")
        return _report(index, path, dataset, key, browser_key)
    except TruncatedError as error:
        return FileReport(index=index, fault=Fault.TRUNCATED, detail=str(error))
    except EOFError:
        return FileReport(index=index, fault=Fault.TRUNCATED, detail="the file ends inside an element")
    except Exception as error:  # noqa: BLE001 - pydicom raises nearly any exception on damaged input
        return FileReport(index=index, fault=Fault.BROKEN, detail=type(error).__name__)


def _report(index: int, path: Path, dataset: Dataset, key: bytes, browser_key: bytes) -> FileReport:
    """The report of a data set. An MR image with a fault has facts too, so that its series is known."""
    try:
        odd = repair_numbers(dataset)
        values = header_values(dataset)
        odd += _field_of_unknown_unit(dataset, values)
    except Exception:
        if header_kind(dataset) in _MR_KINDS:
            raise
        return FileReport(index=index, skipped="other_object")
    if values["kind"] is ObjectKind.NOT_IMAGE:
        return FileReport(index=index, skipped="not_image")
    needed = values["kind"] in _MR_KINDS
    fault, detail = (Fault.ODD_VALUE, str(odd[0])) if odd and needed else (None, "")
    try:
        check_pixels(dataset)
    except Exception as error:
        if not needed:  # a spectrum or a parametric map has no integer pixels
            return FileReport(index=index, skipped="other_object")
        if not isinstance(error, TruncatedError):
            raise
        fault, detail = Fault.TRUNCATED, str(error)
    keys = {
        **_keys(dataset, key),
        **_person_keys(dataset, key, browser_key),
        "pixels_key": _pixels_key(dataset, key),
    }
    facts = InstanceFacts(path=path, **values, **keys)
    return FileReport(index=index, facts=facts, fault=fault, detail=detail)


def _field_of_unknown_unit(dataset: Dataset, values: dict[str, Any]) -> tuple[OddValue, ...]:
    is_image = values["kind"] in _MR_KINDS
    if is_image and values["field_strength_t"] is None and dataset.get("MagneticFieldStrength"):
        return (OddValue("MagneticFieldStrength", "a number that may be millitesla or gauss"),)
    return ()


def _dataset(path: Path) -> FileDataset | None:
    """The data set of a DICOM file, with or without preamble. None for other files."""
    try:
        return _with_class(pydicom.dcmread(path))
    except InvalidDicomError:
        with path.open("rb") as file:
            head = file.read(8)
        # a file without preamble starts with an element of group 0008; some archives export such files
        if len(head) < 8 or head[:2] != b"\x08\x00" or head[3] != 0:
            return None
        dataset = pydicom.dcmread(path, force=True)
        if "SOPClassUID" not in dataset:
            return None
        return dataset


def _with_class(dataset: FileDataset) -> FileDataset:
    if "SOPClassUID" not in dataset and "DirectoryRecordSequence" not in dataset:
        # pydicom returns an empty data set if a compressed file ends early
        raise TruncatedError("expected a SOP class UID, found none")
    return dataset


def check_pixels(dataset: Dataset) -> None:
    """Refuse an image whose pixel data are missing or shorter than the header states.

    Parameters
    ----------
    dataset : Dataset
        With its file meta information.

    Raises
    ------
    TruncatedError
        With the expected and found number of bytes or frames.
    """
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if "PixelData" not in dataset:
        raise TruncatedError("expected pixel data, found none")
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", _IMPLICIT_LITTLE)))
    data: bytes = dataset["PixelData"].value or b""
    if syntax.is_compressed and syntax.is_encapsulated:
        found = sum(1 for _ in pydicom.encaps.generate_frames(data, number_of_frames=frames))
        if found < frames:
            raise TruncatedError(f"expected {frames} compressed frames, found {found}")
        return
    expected = _pixel_bytes(dataset)
    if len(data) < expected:
        raise TruncatedError(f"expected {expected} bytes of pixel data, found {len(data)}")


def _pixel_bytes(dataset: Dataset) -> int:
    """Size of the uncompressed pixel data by the header."""
    return (
        int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames", 1) or 1)
        * int(dataset.get("SamplesPerPixel", 1)) * int(dataset.BitsAllocated) // 8
    )  # fmt: skip


def _person_keys(dataset: Dataset, key: bytes, browser_key: bytes) -> dict[str, Any]:
    stated = [dataset.get(k) for k in ("PatientID", "PatientName", "PatientBirthDate")]
    removed = _PSEUDONYMS.fullmatch("\n".join(str(value or "") for value in stated))
    if removed:
        return {"person_keys": _pseudonym_keys(key, removed.groups(default=""))}
    person = map(_plain, stated)
    keys: dict[str, Any] = {
        "person_keys": tuple(part and digest(key, f"person {n}", part) for n, part in enumerate(person))
    }
    if keys["person_keys"][0]:
        keys["number_key"] = digest(key, "number as sent", str(stated[0]).strip(" ^").upper())
    if browser_key:
        keys["pseudonym_keys"] = _pseudonym_keys(key, pseudonyms(browser_key, stated))
    return keys


def _pseudonym_keys(key: bytes, sent: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        part and person_key(digest(key, f"pseudonym {n}", part), pseudonym=True) for n, part in enumerate(sent)
    )


def pseudonyms(browser_key: bytes, stated: Iterable[Any]) -> list[str]:
    """The pseudonyms that the browser of a site sends for a patient, as ``static/upload/identity.js`` computes them.

    Parameters
    ----------
    browser_key : bytes
    stated : iterable of object
        Patient number, name and birth date as pydicom returns them.

    Returns
    -------
    list of str
        Each 16 hexadecimal digits; empty for a value that is not stated or identifies nobody.
    """
    texts = ("\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "") for value in stated)
    # an upper case may be decomposed again
    plain = (unicodedata.normalize("NFC", _plain(unicodedata.normalize("NFC", text))) for text in texts)
    return [part and digest(browser_key, kind, part) for kind, part in zip(_PARTS, plain, strict=True)]


def _keys(dataset: Dataset, key: bytes) -> dict[str, Any]:
    scanner = [
        str(dataset.get(k, "")).strip().upper()
        for k in ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "StationName")
    ]
    serial, station = (part if _significant(part) else "" for part in scanner[2:])
    if len(set(_significant(serial))) < 2:  # one repeated character, as de-identification leaves it
        serial = ""
    machine = [*scanner[:2], serial, station]
    return {
        "study_key": digest(key, "uid", _required(dataset, "StudyInstanceUID")),
        "series_key": digest(key, "uid", _required(dataset, "SeriesInstanceUID")),
        "instance_key": digest(key, "uid", _required(dataset, "SOPInstanceUID")),
        "frame_of_reference_key": digest(key, "uid", str(dataset.get("FrameOfReferenceUID", ""))),
        "scanner_key": digest(key, "scanner", "|".join(machine)),
        "earlier_scanner_key": "" if machine == scanner else digest(key, "scanner", "|".join(scanner)),
        "serial_key": serial and digest(key, "serial", serial),
        "station_key": station and digest(key, "station", station),
    }


def _pixels_key(dataset: Dataset, key: bytes) -> str:
    """Digest of the pixels without padding; empty for bytes that depend on the syntax (compressed, big-endian)."""
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", _IMPLICIT_LITTLE)))
    if "PixelData" not in dataset or syntax.is_encapsulated or not syntax.is_little_endian:
        return ""
    data = dataset["PixelData"].value
    if not isinstance(data, bytes):  # of a damaged object
        return ""
    secret = hashlib.sha256(key).digest()
    return hashlib.blake2b(data[: _pixel_bytes(dataset)], digest_size=8, key=secret).hexdigest()


def _significant(name: str) -> str:
    """A serial number or station name without punctuation and leading zeros; empty for a placeholder."""
    plain = re.sub(r"[\W_]+", "", name).lstrip("0")
    return "" if _NO_DEVICE.fullmatch(plain) else plain


def _plain(value: Any) -> str:
    """An identity without what consoles add: spaces, carets of empty parts, and other spellings of a name."""
    first = str(value or "").partition("=")[0]  # "=" precedes ideographic and phonetic spellings
    plain = re.sub(r"[\s^,]+", "", first).upper()
    return "" if plain in identity_words().placeholders else plain


def digest(key: bytes, what: str, text: str) -> str:
    """A keyed digest of an identity.

    Parameters
    ----------
    key : bytes
    what : str
        Kind of identity. Equal texts of two kinds have different digests.
    text : str
        The identity.

    Returns
    -------
    str
        16 hexadecimal digits of HMAC-SHA256.
    """
    return hmac.new(key, f"{what}|{text}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:16]


def _required(dataset: Dataset, keyword: str) -> str:
    value: Any = dataset.get(keyword)
    if not value:
        raise ValueError(f"expected {keyword} ({tag_for_keyword(keyword)}), found none")
    return str(value)


if __name__ == "__main__":
    main()
