"""Headers of good, broken and hostile files."""

import datetime as dt
import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from mri_pipeline.core.errors import UnreadableUploadError, UploadRefusedError
from mri_pipeline.intake.facts import Fault
from mri_pipeline.intake.header_worker import read_one
from mri_pipeline.intake.read import ReadLimits, read_headers
from mri_pipeline.intake.series import group_series, require_one_visit
from tests.unit import dicom_factory as factory
from tests.unit.enhanced_factory import EnhancedSpec, texture, write_enhanced

KEY = b"k" * 32
SMALL = replace(factory.FLAIR, shape=(16, 12, 12))


def test_facts_hold_the_acquisition_and_no_identity(tmp_path):
    files = factory.write_series(tmp_path, SMALL)
    facts = read_headers(files, key=KEY).instances[0]
    assert (facts.repetition_time_ms, facts.echo_time_ms, facts.inversion_time_ms) == (9000, 110, 2500)
    assert facts.field_strength_t == 1.5
    shown = repr(facts).replace(str(tmp_path), "").replace(files[0].name, "").upper()
    for identity in ("MUSTERMANN", "ERIKA", "4711", "19640812", "20210314", "SN-55512", "KLINIKUM", "1.2.826"):
        assert identity not in shown


@pytest.mark.parametrize(
    ("stated", "orientation", "axis"),
    [
        ("ROW", [1, 0, 0, 0, 1, 0], 0),
        ("COL", [1, 0, 0, 0, 1, 0], 1),
        ("ROW", [0, 1, 0, 0, 0, -1], 1),  # sagittal
        ("COL", [0, 1, 0, 0, 0, -1], 2),
        ("ROW", [-0.1, 0.99, 0, 0.99, 0.1, 0], 1),  # axial, turned
        ("", [1, 0, 0, 0, 1, 0], None),
        ("OTHER", [1, 0, 0, 0, 1, 0], None),
    ],
)
def test_the_axis_of_the_phase_encoding(tmp_path, stated, orientation, axis):
    file = factory.write_series(tmp_path, SMALL)[0]
    dataset = pydicom.dcmread(file)
    dataset.ImageOrientationPatient, dataset.InPlanePhaseEncodingDirection = orientation, stated
    dataset.save_as(file)
    assert read_one(0, file, KEY).facts.phase_axis == axis


def test_an_enhanced_object_states_the_phase_encoding_in_its_groups(tmp_path):
    stored = texture(SMALL.shape)
    file = write_enhanced(tmp_path / "in.dcm", SMALL, stored, EnhancedSpec(range(len(stored))))
    dataset = pydicom.dcmread(file)
    group = pydicom.Dataset()
    group.InPlanePhaseEncodingDirection = "COLUMN"
    dataset.SharedFunctionalGroupsSequence[0].MRFOVGeometrySequence = [group]
    dataset.save_as(file)
    assert read_one(0, file, KEY).facts.phase_axis == 1


def test_keys_are_stable_under_one_secret_only(tmp_path):
    files = factory.write_series(tmp_path, SMALL)[:1]
    one, again, other = (
        read_headers(files, key=k).instances[0] for k in (KEY, KEY, b"another secret, 32 bytes long ok")
    )
    assert (one.person_keys, one.scanner_key) == (again.person_keys, again.scanner_key)
    assert one.person_keys != other.person_keys


@pytest.mark.parametrize("keyword", ["Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "StationName"])
def test_the_scanner_key_depends_on_each_property_of_the_scanner(tmp_path, keyword):
    (file,) = factory.write_series(tmp_path, SMALL)[:1]
    before = read_one(0, file, KEY).facts
    dataset = pydicom.dcmread(file)
    setattr(dataset, keyword, "another value")
    dataset.save_as(file)
    after = read_one(0, file, KEY).facts
    assert before is not None
    assert after is not None
    assert after.scanner_key != before.scanner_key
    assert (after.serial_key != before.serial_key) is (keyword == "DeviceSerialNumber")
    assert (after.station_key != before.station_key) is (keyword == "StationName")
    assert after.person_keys == before.person_keys


@pytest.mark.parametrize(
    ("name", "as_serial", "as_station"),
    [
        ("000000", False, False),
        ("00-00", False, False),
        ("-", False, False),
        ("Removed", False, False),
        ("DE-IDENTIFIED", False, False),
        ("anonymized", False, False),
        ("N/A", False, False),
        ("XXXXX", False, True),
        ("1", False, True),
        ("0001", False, True),
        ("12", True, True),
        ("ANON-2", True, True),
        ("SN-55512", True, True),
    ],
)
def test_a_constant_serial_number_is_not_stated(tmp_path, name, as_serial, as_station):
    (file,) = factory.write_series(tmp_path, SMALL)[:1]
    dataset = pydicom.dcmread(file)
    dataset.DeviceSerialNumber = dataset.StationName = name
    dataset.save_as(file)
    facts = read_one(0, file, KEY).facts
    assert facts is not None
    assert (bool(facts.serial_key), bool(facts.station_key)) == (as_serial, as_station)


def test_placeholders_of_the_station_are_one_scanner(tmp_path):
    (file,) = factory.write_series(tmp_path, SMALL)[:1]
    dataset = pydicom.dcmread(file)

    def facts(station, serial=""):
        dataset.StationName, dataset.DeviceSerialNumber = station, serial
        dataset.save_as(file)
        found = read_one(0, file, KEY).facts
        assert found is not None
        return found

    blank, *others = (facts(station) for station in ("", "ANONYMOUS", "None", "0000", "-"))
    assert {one.scanner_key for one in others} == {blank.scanner_key} == {facts("", "000").scanner_key}
    assert facts("MRC1").scanner_key != blank.scanner_key
    # the keys of earlier versions contain what is written
    assert blank.earlier_scanner_key == facts("MRC1", "SN-1").earlier_scanner_key == ""
    assert len({one.earlier_scanner_key for one in others} - {"", blank.scanner_key}) == len(others)


def test_other_files_are_counted_and_left_aside(tmp_path):
    files = factory.write_series(tmp_path, SMALL)[:2]
    (tmp_path / "readme.txt").write_text("not DICOM")
    directory = pydicom.dcmread(files[0])
    directory.DirectoryRecordSequence = []
    directory.save_as(tmp_path / "DICOMDIR")
    report = pydicom.dcmread(files[0])
    for keyword in ("PixelData", "Rows", "Columns"):
        del report[keyword]
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.save_as(tmp_path / "sr.dcm")
    reading = read_headers([*files, tmp_path / "readme.txt", tmp_path / "DICOMDIR", tmp_path / "sr.dcm"])
    assert len(reading.instances) == 2
    assert reading.skipped == {"not_dicom": 1, "dicomdir": 1, "not_image": 1}
    reading.require_whole()


def test_text_files_alone_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UnreadableUploadError, match="found none among 1 files"):
        read_headers([tmp_path / "a.txt"]).require_whole()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files_are_found_wherever_they_end(tmp_path, share):
    files = factory.write_series(tmp_path, SMALL)
    content = files[3].read_bytes()
    files[3].write_bytes(content[: int(len(content) * share)])
    reading = read_headers(files)
    assert len(reading.broken) == 1
    assert reading.broken[0].index == 3
    with pytest.raises(
        UnreadableUploadError, match=r"expected whole DICOM files, found 1 (truncated|broken) of 12"
    ):
        reading.require_whole()


def test_a_file_without_preamble_is_read(tmp_path):
    files = factory.write_series(tmp_path, SMALL)[:1]
    dataset = pydicom.dcmread(files[0])
    bare = tmp_path / "bare.dcm"
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    pydicom.filewriter.write_dataset(buffer, dataset)
    bare.write_bytes(buffer.getvalue())
    facts = read_headers([bare]).instances
    assert len(facts) == 1
    assert facts[0].repetition_time_ms == 9000


@pytest.mark.requirement("INTAKE-05")
def test_the_worker_survives_mutations_of_a_file(tmp_path):
    """Every mutated file ends as facts, a fault or skipped: nothing escapes."""
    content = factory.write_series(tmp_path, SMALL)[0].read_bytes()
    header = content.index(b"\xe0\x7f\x10\x00")
    draw = random.Random(7)
    path = tmp_path / "mutant"
    outcomes = set()
    for _ in range(300):
        mutant = bytearray(content)
        for _ in range(draw.randint(1, 6)):
            mutant[draw.randrange(128, header)] = draw.randrange(256)
        path.write_bytes(mutant)
        report = read_one(0, path, KEY)
        assert (report.facts is not None or report.fault is not None) is not bool(report.skipped)
        outcomes.add(report.fault)
    assert None in outcomes
    assert Fault.BROKEN in outcomes


def test_a_file_larger_than_the_memory_allowed_is_a_fault(tmp_path):
    files = factory.write_series(tmp_path, SMALL)[:3]
    content = bytearray(files[1].read_bytes())
    element = content.index(b"\xe0\x7f\x10\x00OW")
    content[element + 8 : element + 12] = (900_000_000).to_bytes(4, "little")
    files[1].write_bytes(content)
    with files[1].open("ab") as file:
        file.truncate(900_001_000)  # sparse: costs no disk
    reading = read_headers(files, limits=ReadLimits(memory_bytes=450_000_000))
    assert [report.index for report in reading.broken] == [1]
    assert len(reading.instances) == 2


def test_a_file_that_the_reader_does_not_finish_leaves_the_others_readable(tmp_path, monkeypatch):
    files = factory.write_series(tmp_path, SMALL)[:3]
    run, limits = subprocess.run, []

    def run_out_of_time(command, *, input, timeout, **options):  # noqa: A002 - as in subprocess.run
        """The time is over at the second file, however fast the machine is."""
        request = json.loads(input)
        limits.append((request["cpu_s"], timeout))
        before = [file for file in request["files"] if file[0] < 1]
        if len(before) < len(request["files"]) and before:
            run(command, input=json.dumps(request | {"files": before}), **options)
            raise subprocess.TimeoutExpired(command, timeout)
        return run(command, input=input, **options)

    monkeypatch.setattr(subprocess, "run", run_out_of_time)
    reading = read_headers(files, limits=ReadLimits(base_s=600, per_file_s=2))
    assert limits == [(606, 1818), (602, 1806)]
    assert [(report.index, report.fault) for report in reading.broken] == [(1, Fault.CRASHED)]
    assert len(reading.instances) == 2
    with pytest.raises(UnreadableUploadError, match="1 crashed the reader of 3"):
        reading.require_whole()


def test_the_reader_ends_when_its_processor_time_is_used_up():
    endless = (
        "from mri_pipeline.intake.header_worker import _bound; _bound(memory_bytes=1 << 40, cpu_s=1)\nwhile 1: 1"
    )
    ended = subprocess.run([sys.executable, "-c", endless], check=False)
    assert ended.returncode == -signal.SIGXCPU


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(factory.Patient(), number="HOSP-1"), "expected one patient in an upload, found 2 patients"),
        (replace(factory.Patient(), name="Mustermann^Eva"), "expected one patient in an upload, found 2 patients"),
        (replace(factory.Patient(), birth="19640813"), "expected one patient in an upload, found 2 patients"),
        (
            replace(factory.new_study(factory.Patient()), begin=factory.Patient().begin + dt.timedelta(days=1)),
            "expected one study in an upload, found 2 studies",
        ),
        (
            replace(factory.new_study(factory.Patient()), number="", birth=""),
            "expected one study in an upload, found 2 studies",
        ),
    ],
)
def test_mixed_patients_and_studies_are_refused(tmp_path, other, message):
    files = [
        *factory.write_series(tmp_path / "a", SMALL),
        *factory.write_series(tmp_path / "b", replace(SMALL, number=2), other),
    ]
    with pytest.raises(UploadRefusedError, match=message) as caught:
        require_one_visit(read_headers(files).instances)
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize(
    ("other", "notes"),
    [
        (factory.Patient(), []),
        (replace(factory.Patient(), name="MUSTERMANN^ERIKA^^^"), []),
        (replace(factory.Patient(), name="Mustermann, Erika=X"), []),
        (replace(factory.Patient(), birth=""), ["found a series with incomplete patient data"]),
        (factory.new_study(factory.Patient()), ["found 2 studies of one patient and one day"]),
        (
            replace(factory.new_study(factory.Patient()), birth=""),
            ["found 2 studies of one patient and one day", "found a series with incomplete patient data"],
        ),
    ],
)
def test_one_patient_and_one_day_are_one_visit_with_a_note(tmp_path, other, notes):
    files = [
        *factory.write_series(tmp_path / "a", SMALL)[:1],
        *factory.write_series(tmp_path / "b", replace(SMALL, number=2), other)[:1],
    ]
    for order in (files, files[::-1]):
        instances = read_headers(order, key=KEY).instances
        visit = require_one_visit(instances)
        assert [note.partition(", ")[2] for note in visit.notes] == notes
        whole = next(i for i in instances if all(i.person_keys))
        assert visit.person_keys == whole.person_keys  # of all images together
        assert visit.study_keys == {i.study_key for i in instances}


NUMBERED = replace(factory.Patient(), number="320")
SPELLING = "expected one spelling of the patient number, found several that differ in spaces or commas"


@pytest.mark.parametrize(
    ("person", "notes", "queries"),
    [
        ({}, (SPELLING,), ()),
        ({"name": "", "birth": ""}, (), (SPELLING,)),  # nothing else confirms the patient
    ],
)
@pytest.mark.parametrize("number", ["3 20", "3, 20"])
def test_numbers_that_differ_in_spaces_are_one_number_and_never_in_silence(
    tmp_path, number, person, notes, queries
):
    one = replace(NUMBERED, **person)
    files = [
        *factory.write_series(tmp_path / "a", SMALL, one),
        *factory.write_series(tmp_path / "b", replace(SMALL, number=2), replace(one, number=number)),
    ]
    for order in (files, files[::-1]):
        visit = require_one_visit(read_headers(order, key=KEY).instances)
        assert (visit.notes, visit.queries) == (notes, queries)


@pytest.mark.parametrize("number", ["320", " 320", "320^"])
def test_spaces_and_carets_around_a_number_need_no_note(tmp_path, number):
    files = [
        *factory.write_series(tmp_path / "a", SMALL, NUMBERED),
        *factory.write_series(tmp_path / "b", replace(SMALL, number=2), replace(NUMBERED, number=number)),
    ]
    visit = require_one_visit(read_headers(files, key=KEY).instances)
    assert (visit.notes, visit.queries) == ((), ())


@pytest.mark.parametrize("number", ["3-20", "32-0", "3/20", "3.20", "3_20", "0320", "320-1"])
def test_other_signs_of_a_number_make_another_patient(tmp_path, number):
    files = [
        *factory.write_series(tmp_path / "a", SMALL, NUMBERED),
        *factory.write_series(tmp_path / "b", replace(SMALL, number=2), replace(NUMBERED, number=number)),
    ]
    with pytest.raises(UploadRefusedError, match="expected one patient in an upload, found 2 patients"):
        require_one_visit(read_headers(files, key=KEY).instances)


LATE = replace(factory.Patient(), begin=dt.datetime(2021, 3, 14, 23, 30, tzinfo=dt.UTC))


def studies_of(tmp_path, second):
    """The images of two studies, the first before midnight."""
    files = [
        *factory.write_series(tmp_path / "a", replace(SMALL, start_s=0), LATE),
        *factory.write_series(tmp_path / "b", replace(SMALL, number=2, start_s=0), second),
    ]
    return read_headers(files, key=KEY).instances


def test_a_console_that_was_restarted_at_midnight_is_one_visit_with_a_query(tmp_path):
    restarted = replace(factory.new_study(LATE), begin=LATE.begin + dt.timedelta(hours=1))
    visit = require_one_visit(studies_of(tmp_path, restarted))
    assert (len(visit.study_keys), visit.notes) == (
        2,
        ("expected one study in an upload, found 2 studies of one patient and two days",),
    )
    assert visit.queries == ("expected a study of one day, found two days; was it acquired at midnight?",)


@pytest.mark.parametrize(
    "change",
    [
        {"begin": LATE.begin + dt.timedelta(hours=4)},  # the next visit of an early day
        {"begin": LATE.begin + dt.timedelta(hours=1), "birth": "", "name": ""},
        {"begin": LATE.begin + dt.timedelta(hours=1), "number": ""},
    ],
)
def test_studies_of_two_days_that_are_no_restart_are_refused(tmp_path, change):
    with pytest.raises(UploadRefusedError, match="expected one study in an upload, found 2 studies"):
        require_one_visit(studies_of(tmp_path, replace(factory.new_study(LATE), **change)))


def test_studies_of_two_days_that_overlap_are_refused(tmp_path):
    """The first study goes on after the second has begun: they are of two scanners or of two clocks."""
    second = replace(factory.new_study(LATE), begin=LATE.begin + dt.timedelta(hours=1))
    instances = studies_of(tmp_path, second)
    first = min(instances, key=lambda i: i.acquired_s)
    longer = first.model_copy(update={"instance_key": "another", "acquired_s": first.acquired_s + 2 * 3600})
    with pytest.raises(UploadRefusedError, match="expected one study in an upload, found 2 studies"):
        require_one_visit([*instances, longer])


@pytest.mark.real_data
def test_real_series_are_read(real_data: Path):
    for name, frames in (("ge_epi", 1), ("siemens_enhanced", 6), ("siemens_jpeg", 1), ("siemens_jpeg2000", 1)):
        reading = read_headers(sorted((real_data / "dicom" / name).glob("*.dcm")))
        reading.require_whole()
        assert {len(i.positions) for i in reading.instances} == {frames}
        assert all(i.field_strength_t == 3 and i.orientation for i in reading.instances)
    enhanced = group_series(
        read_headers(sorted((real_data / "dicom" / "siemens_enhanced").glob("*.dcm"))).instances
    )
    assert enhanced[0].geometry is not None
    assert enhanced[0].geometry.slices == 6
    assert enhanced[0].geometry.volumes == 4
    assert enhanced[0].geometry.spacing_mm[2] == pytest.approx(2.4, abs=0.01)


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["siemens_jpeg/jpg1.dcm", "siemens_jpeg2000/jp2k1.dcm", "siemens_enhanced/6_1.dcm"]
)
def test_truncated_compressed_and_enhanced_files_are_found(real_data: Path, tmp_path, name):
    content = (real_data / "dicom" / name).read_bytes()
    (tmp_path / "half.dcm").write_bytes(content[: len(content) * 3 // 4])
    assert len(read_headers([tmp_path / "half.dcm"]).broken) == 1
