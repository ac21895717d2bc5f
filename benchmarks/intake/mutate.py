"""One random change of a DICOM file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

Rng = np.random.Generator

VALUES: dict[str, tuple[Any, ...]] = {
    "ImagePositionPatient": (["0", "0", "0"], ["-20", "-30", "8.5"], ["-20", "-30", "104"], ["nan", "0", "0"], ["1"]),
    "ImageOrientationPatient": (
        ["0", "1", "0", "0", "0", "-1"], ["1", "0", "0", "0", "0.999", "0.02"], ["0"] * 6, ["1", "0", "0"],
        ["-1", "0", "0", "0", "1", "0"], ["2", "0", "0", "0", "2", "0"],
    ),
    "PixelSpacing": (["0.5", "0.5"], ["1", "2"], ["0", "0"], ["-1", "1"], ["1"]),
    "Rows": (0, 1, 8, 12, 32, 65535), "Columns": (0, 1, 6, 16, 24, 65535),
    "BitsAllocated": (1, 8, 12, 32, 64), "BitsStored": (8, 16, 99), "HighBit": (7, 15, 0),
    "PixelRepresentation": (1, 2), "SamplesPerPixel": (0, 3, 2),
    "PhotometricInterpretation": ("MONOCHROME1", "RGB", "PALETTE COLOR", ""),
    "RescaleSlope": ("0", "2.5", "-1", "1e30", "nan"), "RescaleIntercept": ("-1024", "1e30", "x"),
    "NumberOfFrames": ("0", "1", "2", "5", "7", "999999", "-1"),
    "SliceThickness": ("0", "1", "-3", "1000"), "SpacingBetweenSlices": ("0", "1", "-24", "1000"),
    "SeriesInstanceUID": ("1.2.3", "", "x"), "StudyInstanceUID": ("1.2.3", ""), "SOPInstanceUID": ("1.2.3", ""),
    "FrameOfReferenceUID": ("1.2.3", ""), "SOPClassUID": ("1.2.840.10008.5.1.4.1.1.2", "1.2.3", ""),
    "SeriesNumber": ("77", "", "a"), "InstanceNumber": ("1", "0", "99999", ""), "AcquisitionNumber": ("3",),
    "ImageType": (["DERIVED", "SECONDARY"], ["ORIGINAL", "PRIMARY", "P"], ""), "Modality": ("CT", ""),
    "SeriesDescription": ("localizer", "t1", ""), "EchoTime": ("20", "0", "1,1"), "RepetitionTime": ("500", "-1"),
    "InversionTime": ("0", "150"), "MagneticFieldStrength": ("0.2", "15000", "x"), "ScanningSequence": ("EP", "GR", ""),
    "AcquisitionTime": ("999999", "", "1"), "AcquisitionDate": ("20220101", "0", ""), "StudyDate": ("20200101", ""),
    "PatientName": ("Other^Name", ""), "PatientID": ("4712", ""), "PatientBirthDate": ("19700101", "x"),
    "SpecificCharacterSet": ("ISO_IR 192", "ISO 2022 IR 87", "nonsense"), "BurnedInAnnotation": ("YES",),
    "PixelPaddingValue": (0,),
}  # fmt: skip
"""Odd, wrong and other values of elements; of functional groups, too."""

SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.3",
)  # fmt: skip


def mutate(content: bytes, rng: Rng) -> tuple[str, bytes]:
    """Change a file in one way.

    Parameters
    ----------
    content : bytes
        A valid file in explicit VR little endian.
    rng : numpy.random.Generator

    Returns
    -------
    kind : str
        What was done.
    content : bytes
    """
    name = str(rng.choice(list(KINDS)))
    return name, KINDS[name](content, rng)


def _header_bytes(content: bytes, rng: Rng) -> bytes:
    return _flipped(content, rng, 128, len(content) - _pixel_bytes(content))


def _pixel_data(content: bytes, rng: Rng) -> bytes:
    return _flipped(content, rng, len(content) - _pixel_bytes(content), len(content))


def _flipped(content: bytes, rng: Rng, first: int, last: int) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(first, last, int(rng.integers(1, 9))):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _pixel_bytes(content: bytes) -> int:
    return len(pydicom.dcmread(BytesIO(content)).PixelData)


def _length(content: bytes, rng: Rng) -> bytes:
    """Another length of a top-level element."""
    dataset = pydicom.dcmread(BytesIO(content))
    raw = [dataset.get_item(tag) for tag in dataset.keys()]  # noqa: SIM118 - keeps the elements raw
    places = [element for element in raw if isinstance(element, RawDataElement)]
    element = places[int(rng.integers(len(places)))]
    long = element.VR in {"OB", "OW", "OF", "SQ", "UN", "UT", "UC", "UR"}
    size = 4 if long else 2
    word = int(rng.choice([0, 1, element.length + 2, max(0, element.length - 2), element.length * 2 + 1, 65534]))
    if long and rng.integers(3) == 0:
        word = 0xFFFFFFFF
    begin = element.value_tell - size
    return content[:begin] + (word % (1 << 8 * size)).to_bytes(size, "little") + content[begin + size :]


def _cut(content: bytes, rng: Rng) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def _inserted(content: bytes, rng: Rng) -> bytes:
    place = int(rng.integers(len(content)))
    return content[:place] + rng.bytes(int(rng.integers(1, 200))) + content[place:]


def _removed(content: bytes, rng: Rng) -> bytes:
    place = int(rng.integers(len(content)))
    return content[:place] + content[place + int(rng.integers(1, 200)) :]


def _repeated(content: bytes, rng: Rng) -> bytes:
    one, two = sorted(int(v) for v in rng.integers(0, len(content), 2))
    return content[:two] + content[one:two] + content[two:]


def _element(content: bytes, rng: Rng) -> bytes:
    """Another value of an element, at the top level or in a functional group. An element may also be removed."""
    dataset = pydicom.dcmread(BytesIO(content))
    keyword = str(rng.choice([name for name, values in VALUES.items() if values]))
    places = [d for d in _items(dataset) if keyword in d] or [dataset]
    place = places[int(rng.integers(len(places)))]
    values = VALUES[keyword]
    number = int(rng.integers(-1, len(values)))
    tag, vr = Tag(keyword), pydicom.datadict.dictionary_VR(keyword).partition(" or ")[0]
    place.pop(tag, None)
    if number >= 0:
        value = _encoded(values[number])
        place[tag] = RawDataElement(tag, vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True)
    return _written(dataset)


def _encoded(value: Any) -> bytes:
    """The bytes of a value, which need not be valid."""
    if isinstance(value, int):
        return value.to_bytes(2, "little")
    text = "\\".join([value] if isinstance(value, str) else value)
    return text.encode() + b" " * (len(text) % 2)


def _items(dataset: pydicom.Dataset) -> list[pydicom.Dataset]:
    found = [dataset]
    for tag in dataset.keys():  # noqa: SIM118 - iteration of a data set converts every element
        if dataset.get_item(tag).VR == "SQ":
            found += [inside for item in dataset[tag].value for inside in _items(item)]
    return found


def _pixels(content: bytes, rng: Rng) -> bytes:
    """Other, fewer or more pixels."""
    dataset = pydicom.dcmread(BytesIO(content))
    data = dataset.PixelData
    part = int(rng.integers(0, len(data) // 2)) * 2
    dataset.PixelData = [data[:part], data + data[:part], data[part:] + data[:part], bytes(len(data)), b""][
        int(rng.integers(5))
    ]
    return _written(dataset)


def _syntax(content: bytes, rng: Rng) -> bytes:
    """Another transfer syntax than that of the content."""
    dataset = pydicom.dcmread(BytesIO(content))
    old = b"1.2.840.10008.1.2.1\0"
    new = str(rng.choice(SYNTAXES)).encode()
    assert dataset.file_meta.TransferSyntaxUID.encode() == old[:-1]
    return content.replace(old, new.ljust(len(old), b"\0")[: len(old)], 1)


def _frames(content: bytes, rng: Rng) -> bytes:
    """Frames of an enhanced object exchanged, repeated or removed; of a classic one another position."""
    dataset = pydicom.dcmread(BytesIO(content))
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        dataset.ImagePositionPatient = (np.array([-20, -30, -40]) + rng.normal(0, 30, 3)).round(3).tolist()
        return _written(dataset)
    one, two = (int(v) for v in rng.integers(0, len(groups), 2))
    how = int(rng.integers(4))
    if how == 0:
        groups[one], groups[two] = groups[two], groups[one]
    elif how == 1:
        groups[one] = copy.deepcopy(groups[two])
    elif how == 2:
        del groups[one]
    else:
        groups.append(copy.deepcopy(groups[one]))
        dataset.NumberOfFrames = len(groups)
    return _written(dataset)


def _written(dataset: pydicom.Dataset) -> bytes:
    target = BytesIO()
    dataset.save_as(target)
    return target.getvalue()


KINDS: dict[str, Callable[[bytes, Rng], bytes]] = {
    "header bytes": _header_bytes, "pixel bytes": _pixel_data, "length": _length, "cut": _cut,
    "insertion": _inserted, "removal": _removed, "repetition": _repeated, "element": _element,
    "more elements": lambda content, rng: _element(_element(content, rng), rng),
    "pixels": _pixels, "transfer syntax": _syntax, "frames": _frames,
}  # fmt: skip
"""Kinds of mutations; all are equally frequent."""
