"""What a visit does not need is left out with its reason; what it needs and is odd is named."""

import io
import os
import zipfile
from dataclasses import replace

import pydicom
import pytest

from mri_pipeline.core.errors import UnreadableUploadError, UnsafeUploadError
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from qc.compliance import UploadPurpose
from tests.unit import dicom_factory as factory
from tests.unit.gate_steps import check_upload
from tests.unit.test_intake_odd_numbers import spoil, written

PROTOCOL = parse_protocol(protocol_text())
LOCALIZER = replace(factory.T1, number=8, description="localizer", shape=(16, 16, 3), start_s=-60)
SPECTROSCOPY = "1.2.840.10008.5.1.4.1.1.4.2"
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


@pytest.fixture
def checked(tmp_path):
    """A function that checks an upload as a visit."""

    def run(upload):
        return check_upload(
            upload, protocol=PROTOCOL, work_dir=tmp_path / f"work{os.urandom(4).hex()}",
            secret=b"0123456789abcdef", purpose=UploadPurpose.VISIT,
        )  # fmt: skip

    return run


def notes(result, rule="left_out"):
    return [f.message for f in result.compliance.of(Action.NOTE) if f.rule == rule]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("sop_class", [SPECTROSCOPY, PARAMETRIC_MAP])
def test_an_object_without_integer_pixels_is_left_out(tmp_path, checked, sop_class):
    upload = factory.write_visit(tmp_path / "up")
    other = pydicom.dcmread(next(upload.iterdir()))
    del other.PixelData
    other.file_meta.MediaStorageSOPClassUID = other.SOPClassUID = sop_class
    other.save_as(upload / "other.dcm")
    result = checked(upload)
    assert set(result.chosen) == set(Contrast) - {Contrast.PDW}
    assert notes(result) == [
        "left out: 1 file (DICOM object of another kind (spectroscopy, parametric map, segmentation))"
    ]


def test_a_cut_file_of_a_series_that_is_not_needed_is_left_out(tmp_path, checked):
    upload = factory.write_visit(tmp_path / "up", (*factory.VISIT, LOCALIZER))
    cut(upload / "Mustermann_8_001.dcm")
    result = checked(upload)
    assert Contrast.FLAIR in result.chosen
    (note,) = notes(result)
    assert note.startswith(
        "left out: 1 file truncated in a series that is not needed (series 8: expected 512 bytes"
    )


def test_a_cut_file_of_a_needed_series_is_named_wherever_it_ends(tmp_path, checked):
    for number, share in enumerate((0.35, 0.5, 0.7, 0.98)):
        upload = factory.write_visit(tmp_path / f"up{number}")
        last = upload / "Mustermann_1_023.dcm"  # without this slice, the series would look whole
        last.write_bytes(last.read_bytes()[: int(share * last.stat().st_size)])
        with pytest.raises(UnreadableUploadError, match=r"found 1 (truncated|broken) of 96 \(first: "):
            checked(upload)


COLUMNS, ORIENTATION = b"\x28\x00\x11\x00US", b"\x20\x00\x37\x00DS"


def test_a_needed_file_that_ends_within_its_geometry_is_named(tmp_path, checked):
    upload = factory.write_visit(tmp_path / "one")
    last = upload / "Mustermann_1_023.dcm"
    last.write_bytes(last.read_bytes().partition(COLUMNS)[0])
    with pytest.raises(UnreadableUploadError, match=r"found 1 truncated of 96 \(first: series 1: "):
        checked(upload)
    upload = factory.write_visit(tmp_path / "all")
    for path in upload.glob("Mustermann_2_*"):  # the T1 before contrast, which is not recognised then
        path.write_bytes(path.read_bytes().partition(ORIENTATION)[0])
    with pytest.raises(UnreadableUploadError, match="found 24 truncated of 96"):
        checked(upload)


def test_a_whole_series_is_chosen_instead_of_a_damaged_one(tmp_path, checked):
    again = replace(factory.FLAIR, number=7, start_s=1500)
    for damaged in (1, 7):
        upload = factory.write_visit(tmp_path / f"up{damaged}", (*factory.VISIT, again))
        cut(upload / f"Mustermann_{damaged}_010.dcm")
        result = checked(upload)
        assert result.chosen[Contrast.FLAIR].recognised.series.first.series_number == 8 - damaged
        assert f"(series {damaged}: expected" in notes(result)[0]


@pytest.mark.parametrize("keyword", ["EchoTime", "PixelSpacing"])
def test_an_odd_value_of_a_needed_series_is_named(tmp_path, checked, keyword):
    upload = factory.write_visit(tmp_path / "up")
    odd = written(tmp_path / "odd", keyword, "Muster")
    odd.replace(upload / odd.name)
    with pytest.raises(
        UnreadableUploadError, match=rf"found 1 with an odd value of 96 \(first: series 1: {keyword} "
    ):
        checked(upload)


def test_a_series_of_odd_values_is_named_and_not_missing(tmp_path, checked):
    upload = factory.write_visit(tmp_path / "up")
    for path in upload.glob("Mustermann_2_*"):  # the T1 before contrast, whose absence would be a query
        spoil(path, "PixelSpacing", "Muster")
    with pytest.raises(
        UnreadableUploadError, match=r"found 24 with an odd value of 96 \(first: series 2: PixelSpacing "
    ):
        checked(upload)


def test_an_odd_value_of_another_series_is_left_out(tmp_path, checked):
    upload = factory.write_visit(tmp_path / "up")
    path = written(tmp_path / "odd", "FlipAngle", "Muster", LOCALIZER)
    path.replace(upload / "odd.dcm")
    (note,) = notes(checked(upload))
    assert note.startswith(
        "left out: 1 file with an odd value in a series that is not needed (series 8: FlipAngle"
    )


def test_the_viewer_of_a_cd_is_left_out_and_an_archive_of_images_is_not(tmp_path, checked):
    upload = factory.write_visit(tmp_path / "up")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0")
    for name in ("viewer.jar", "Report.DOCX"):
        (upload / name).write_bytes(content.getvalue())
    assert notes(checked(upload)) == ["left out: 2 files (program or document archive)"]
    packed = tmp_path / "up.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in upload.iterdir():
            archive.write(path, f"CD/{path.name}")
    assert notes(checked(packed)) == ["left out: 2 files (program or document archive)"]
    (upload / "series5.zip").write_bytes(content.getvalue())
    with pytest.raises(UnsafeUploadError, match="found a compressed file or an archive inside the upload"):
        checked(upload)


RESTARTED = factory.new_study(factory.Patient())
TWO_STUDIES = "expected one study in an upload, found 2 studies of one patient and one day"


@pytest.mark.parametrize(
    ("other", "messages"),
    [
        (RESTARTED, [TWO_STUDIES]),
        (replace(RESTARTED, name="MUSTERMANN^ERIKA^^^"), [TWO_STUDIES]),
        (
            replace(factory.Patient(), birth=""),
            ["expected the same patient data in all series, found a series with incomplete patient data"],
        ),
    ],
)
def test_one_patient_and_one_day_are_one_visit_with_a_note(tmp_path, checked, other, messages):
    upload = factory.write_visit(tmp_path / "up", factory.VISIT[:2])
    factory.write_visit(upload, factory.VISIT[2:], other)
    found = [f for f in checked(upload).compliance.findings if f.rule == "one_visit"]
    assert [f.message for f in found] == messages
    assert {f.action for f in found} == {Action.NOTE}


@pytest.mark.parametrize(
    ("other", "extra"),
    [
        (replace(RESTARTED, number=""), {}),  # one study is known by its name and birth date alone
        (RESTARTED, {"DeviceSerialNumber": "99999"}),
        (RESTARTED, {"DeviceSerialNumber": "", "StationName": ""}),
    ],
)
def test_two_studies_without_a_number_or_of_two_scanners_are_a_query(tmp_path, checked, other, extra):
    upload = factory.write_visit(tmp_path / "up", factory.VISIT[:2])
    factory.write_visit(upload, [replace(spec, extra=extra) for spec in factory.VISIT[2:]], other)
    found = checked(upload).compliance.of(Action.QUERY)
    assert [f.message for f in found if f.rule == "one_visit"] == [TWO_STUDIES]


@pytest.mark.parametrize("scanner", [{}, {"Manufacturer": "", "ManufacturerModelName": ""}])
def test_an_unknown_scanner_is_not_the_same_one(tmp_path, checked, scanner):
    unknown = [
        replace(spec, extra={"DeviceSerialNumber": "", "StationName": "UNKNOWN"} | scanner)
        for spec in factory.VISIT
    ]
    upload = factory.write_visit(tmp_path / "up", unknown[:2])
    found = checked(factory.write_visit(upload, unknown[2:], RESTARTED)).compliance.of(Action.QUERY)
    assert [f.message for f in found if f.rule == "one_visit"] == [TWO_STUDIES]


def test_a_scanner_with_a_station_name_is_known(tmp_path, checked):
    station = [replace(spec, extra={"DeviceSerialNumber": ""}) for spec in factory.VISIT]
    upload = factory.write_visit(tmp_path / "up", station[:2])
    found = checked(factory.write_visit(upload, station[2:], RESTARTED)).compliance.findings
    assert [f.action for f in found if f.rule == "one_visit"] == [Action.NOTE]


@pytest.mark.parametrize(
    "other",
    [
        {"number": "", "name": "", "birth": ""},
        {"number": "", "name": ""},
        {"number": "", "birth": ""},
        {"number": "ANON", "name": "ANONYMOUS"},
    ],
)
def test_a_series_that_states_no_patient_is_a_query(tmp_path, checked, other):
    upload = factory.write_visit(tmp_path / "up", factory.VISIT[:2])
    factory.write_visit(upload, factory.VISIT[2:], replace(factory.Patient(), **other))
    found = checked(upload).compliance.of(Action.QUERY)
    assert [f.message for f in found if f.rule == "one_visit"] == [
        "expected the same patient data in all series, found a series with incomplete patient data"
    ]


def test_an_aborted_run_is_a_note(tmp_path, checked):
    part = replace(factory.T2, number=7, start_s=500, shape=(32, 24, 5), spacing=6.0)
    visit = [replace(spec, spacing=6.0) for spec in factory.VISIT]
    assert notes(checked(factory.write_visit(tmp_path / "up", (*visit, part)))) == [
        "left out: series 7 is an aborted run beside a whole one of the same protocol (5 slices; series 3 has 24)"
    ]
