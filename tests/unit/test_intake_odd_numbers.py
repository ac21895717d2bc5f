"""Numbers that are not written as DICOM requires: understood, or named by tag, series and kind of value."""

from dataclasses import replace

import pydicom
import pytest

from mri_pipeline.intake.facts import Fault
from mri_pipeline.intake.header_worker import read_one
from tests.unit import dicom_factory as factory

KEY = b"k" * 32
COMMA = "a comma that may be decimal or separate thousands"
SMALL = replace(factory.FLAIR, shape=(16, 12, 12))


def written(folder, keyword, text, spec=SMALL, vr=b"DS"):
    """The first file of a series whose element `keyword` holds `text` as it is."""
    path = factory.write_series(folder, spec)[0]
    spoil(path, keyword, text, vr)
    return path


def spoil(path, keyword, text, vr=b"DS"):
    """Replace the value of the element `keyword` of a file by `text` as it is."""
    dataset = pydicom.dcmread(path)
    place = "X" * (len(text) + len(text) % 2)
    dataset[keyword].VR = "LO"
    dataset[keyword].value = place
    dataset.save_as(path)
    content = path.read_bytes()
    element = b"LO" + len(place).to_bytes(2, "little") + place.encode()
    assert content.count(element) == 1
    path.write_bytes(
        content.replace(element, vr + len(place).to_bytes(2, "little") + text.encode("latin-1").ljust(len(place)))
    )


@pytest.mark.parametrize(
    ("keyword", "text", "field", "value"),
    [
        ("MagneticFieldStrength", "3,0", "field_strength_t", 3.0),
        ("MagneticFieldStrength", "1.5T", "field_strength_t", 1.5),
        ("MagneticFieldStrength", "1500 mT", "field_strength_t", 1.5),
        ("MagneticFieldStrength", "1500", "field_strength_t", 1.5),
        ("MagneticFieldStrength", "2893,6 mT", "field_strength_t", 2.8936),
        ("MagneticFieldStrength", "15000 G", "field_strength_t", 1.5),
        ("MagneticFieldStrength", "15000", "field_strength_t", 1.5),
        ("MagneticFieldStrength", "10000", "field_strength_t", 1.0),
        ("RepetitionTime", "9 s", "repetition_time_ms", 9000),
        ("RepetitionTime", "9,000 s", "repetition_time_ms", 9000),
        ("RepetitionTime", "9000,00", "repetition_time_ms", 9000),
        ("RepetitionTime", "8,67", "repetition_time_ms", 8.67),
        ("EchoTime", "2,460", "echo_time_ms", 2.46),
        ("MagneticFieldStrength", "1,500", "field_strength_t", 1.5),
        ("EchoTime", "110,5", "echo_time_ms", 110.5),
        ("InversionTime", "2500 ms", "inversion_time_ms", 2500),
        ("SliceThickness", "3,0 mm", "thickness_mm", 3.0),
        ("PixelSpacing", "0,5\\0,6", "pixel_spacing_mm", (0.5, 0.6)),
        ("ImagePositionPatient", "-20,5\\-30,0\\1,25e1", "positions", ((-20.5, -30.0, 12.5),)),
        ("PatientWeight", "70 kg", "field_strength_t", 1.5),
    ],
)
def test_a_decimal_comma_and_a_unit_are_understood(tmp_path, keyword, text, field, value):
    spec = replace(SMALL, extra={"PatientWeight": 70})
    report = read_one(0, written(tmp_path, keyword, text, spec), KEY)
    assert report.fault is None, report.detail
    found = getattr(report.facts, field)
    assert found == value if isinstance(value, tuple) else found == pytest.approx(value)


@pytest.mark.parametrize(
    ("keyword", "text", "vr", "detail"),
    [
        ("EchoTime", "Muster", b"DS", "EchoTime (0018,0081): text in place of a number"),
        ("EchoTime", "110 parsec", b"DS", "EchoTime (0018,0081): a number with text that is no known unit"),
        ("RepetitionTime", "9,000", b"DS", f"RepetitionTime (0018,0080): {COMMA}"),
        ("InversionTime", "2,500 ms", b"DS", f"InversionTime (0018,0082): {COMMA}"),
        ("InstanceNumber", "1,000", b"IS", f"InstanceNumber (0020,0013): {COMMA}"),
        ("InstanceNumber", "1,5", b"IS", "InstanceNumber (0020,0013): a fraction in place of a whole number"),
        (
            "MagneticFieldStrength", "3000", b"DS",
            "MagneticFieldStrength (0018,0087): a number that may be millitesla or gauss",
        ),
    ],
)  # fmt: skip
def test_another_value_is_named_by_tag_series_and_kind_and_not_shown(tmp_path, keyword, text, vr, detail):
    report = read_one(0, written(tmp_path, keyword, text, vr=vr), KEY)
    assert report.fault is Fault.ODD_VALUE
    assert report.where == f"series 1: {detail}"
    assert report.facts is not None


def test_the_frequency_decides_between_millitesla_and_gauss(tmp_path):
    for number, (frequency, field) in enumerate([(127.7, 3.0), (12.77, 0.3)]):
        spec = replace(SMALL, extra={"ImagingFrequency": frequency})
        report = read_one(0, written(tmp_path / str(number), "MagneticFieldStrength", "3000", spec), KEY)
        assert report.facts is not None
        assert report.facts.field_strength_t == pytest.approx(field)
