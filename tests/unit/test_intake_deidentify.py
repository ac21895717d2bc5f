"""Nothing of a patient gets through, and what is needed does."""

import datetime as dt
import hashlib
import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mri_pipeline.core.errors import UnreadableUploadError, UnsafeUploadError, UploadRefusedError
from mri_pipeline.intake.allowed import KEPT, MOMENTS, UIDS
from mri_pipeline.intake.deidentify import Blinding, deidentified, deidentify
from mri_pipeline.intake.identities import leaked, original_identities
from mri_pipeline.intake.leaks import scan_text
from mri_pipeline.intake.quarantine import quarantine
from tests.unit import dicom_factory as factory

SMALL = replace(
    factory.T1_GD,
    shape=(16, 12, 12),
    extra={"ContrastBolusAgent": "Gadovist Mustermann", "ContrastBolusStartTime": "092000"},
)
BLINDING = Blinding("AB12", b"0123456789abcdef")
IDENTITIES = [
    b"MUSTERMANN", b"ERIKA", b"4711", b"19640812", b"20210314", b"KLINIKUM", b"MUSTERSTADT",
    b"MRSTATION7", b"ZUWEISER",
    b"ACC998877", b"SN-55512", b"1.2.826.0.1.3680043.8.498.1001", b"GADOVIST", b"092653",
]  # fmt: skip


@pytest.mark.requirement("INTAKE-04")
def test_no_identity_is_left_in_any_byte(tmp_path):
    files = factory.write_series(tmp_path / "in", SMALL)
    content = bytearray(files[0].read_bytes())
    content[10:30] = b"Mustermann was here!"
    files[0].write_bytes(content)
    for path in deidentify(files, tmp_path / "out", BLINDING):
        written = path.read_bytes().upper()
        assert [identity for identity in IDENTITIES if identity in written] == []
        assert written[:128] == bytes(128)
        clean = pydicom.dcmread(path)
        assert not [element for element in clean.iterall() if element.tag.is_private]
        assert (clean.PatientName, clean.PatientID, clean.PatientBirthDate) == ("AB12", "AB12", "")
        assert clean.PatientIdentityRemoved == "YES"
        assert clean.LongitudinalTemporalInformationModified == "MODIFIED"
        assert [code.CodeValue for code in clean.DeidentificationMethodCodeSequence] == ["113100", "113107"]


def test_pixels_geometry_and_physics_are_unchanged(tmp_path):
    files = factory.write_series(tmp_path / "in", SMALL)
    for before_path, after_path in zip(files, deidentify(files, tmp_path / "out", BLINDING), strict=True):
        before, after = pydicom.dcmread(before_path), pydicom.dcmread(after_path)
        np.testing.assert_array_equal(before.pixel_array, after.pixel_array)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
                        "EchoTime", "RepetitionTime", "MagneticFieldStrength", "InstanceNumber",
                        "SoftwareVersions"):  # fmt: skip
            assert before[keyword].value == after[keyword].value


def test_dates_move_together_and_differently_for_each_subject(tmp_path):
    later = replace(factory.Patient(), begin=factory.Patient().begin + dt.timedelta(days=28))
    moved = {}
    for code in ("AB12", "CD34"):
        for name, patient in (("one", factory.Patient()), ("two", later)):
            files = factory.write_series(tmp_path / code / name, SMALL, patient)[:1]
            (path,) = deidentify(files, tmp_path / f"out{code}{name}", Blinding(code, BLINDING.secret))
            clean = pydicom.dcmread(path)
            moved[code, name] = dt.datetime.strptime(
                clean.AcquisitionDate + clean.AcquisitionTime[:6], "%Y%m%d%H%M%S"
            ).replace(tzinfo=dt.UTC)
    assert moved["AB12", "two"] - moved["AB12", "one"] == dt.timedelta(days=28)
    assert moved["CD34", "two"] - moved["CD34", "one"] == dt.timedelta(days=28)
    assert moved["AB12", "one"] != moved["CD34", "one"]
    assert abs(
        moved["AB12", "one"].date() - BLINDING.shifted_day(dt.date(2021, 3, 14).toordinal())
    ) <= dt.timedelta(days=1)


def test_the_time_from_injection_to_scan_is_kept(tmp_path):
    files = factory.write_series(tmp_path / "in", SMALL)[:1]
    (path,) = deidentify(files, tmp_path / "out", BLINDING)
    before, after = pydicom.dcmread(files[0]), pydicom.dcmread(path)

    def seconds(value):
        return int(value[:2]) * 3600 + int(value[2:4]) * 60 + int(value[4:6])

    span = [(seconds(d.AcquisitionTime) - seconds(d.ContrastBolusStartTime)) % 86400 for d in (before, after)]
    assert span[0] == span[1]


def test_uids_are_keyed_consistent_and_not_the_originals(tmp_path):
    files = factory.write_series(tmp_path / "in", SMALL)[:2]
    first, second = (pydicom.dcmread(p) for p in deidentify(files, tmp_path / "out", BLINDING))
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    other = deidentify(files, tmp_path / "other", Blinding("AB12", b"another secret!!"))
    assert pydicom.dcmread(other[0]).SeriesInstanceUID != first.SeriesInstanceUID
    assert first.SeriesInstanceUID.is_valid


def test_an_identity_in_a_tag_that_must_be_kept_refuses_the_file(tmp_path):
    files = factory.write_series(tmp_path / "in", replace(SMALL, extra={"SoftwareVersions": "VB17 Mustermann"}))
    with pytest.raises(
        UploadRefusedError, match="expected no identity after de-identification, found 1"
    ) as caught:
        deidentify(files, tmp_path / "out", BLINDING)
    assert "Mustermann" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_name_in_a_damaged_file_is_known_from_its_neighbours(tmp_path):
    files = factory.write_series(tmp_path / "in", SMALL)
    damaged = pydicom.dcmread(files[0])
    damaged.SoftwareVersions, damaged.PatientName, damaged.PatientComments = "Mustermann", "", ""
    damaged.save_as(files[0])
    with pytest.raises(UploadRefusedError, match="found 1"):
        deidentify(files, tmp_path / "out", BLINDING)


def test_a_short_numeric_patient_number_that_is_also_a_coordinate_is_no_leak(tmp_path):
    patient = replace(factory.Patient(), number="-30")
    deidentify(factory.write_series(tmp_path / "a", SMALL, patient), tmp_path / "outa", BLINDING)
    patient = replace(factory.Patient(), number="550")  # equals the repetition time
    deidentify(factory.write_series(tmp_path / "b", SMALL, patient), tmp_path / "outb", BLINDING)
    spec = replace(SMALL, extra={"SoftwareVersions": "B17 550"})
    with pytest.raises(UploadRefusedError, match="found 1"):
        deidentify(factory.write_series(tmp_path / "c", spec, patient), tmp_path / "outc", BLINDING)


def test_a_station_named_after_its_model_is_no_leak_but_a_patient_is(tmp_path):
    extra = {"StationName": "KANORAMA", "ManufacturerModelName": "Kanorama HFO"}
    deidentify(factory.write_series(tmp_path / "a", replace(SMALL, extra=extra)), tmp_path / "outa", BLINDING)
    patient = replace(factory.Patient(), name="Kanorama^Pia")
    files = factory.write_series(tmp_path / "b", replace(SMALL, extra=extra), patient)
    with pytest.raises(UploadRefusedError, match="found 1"):
        deidentify(files, tmp_path / "outb", BLINDING)


@pytest.mark.parametrize("name", ["Müller^Jörg", "Łukasz^Żak", "Иванов^Пётр"])
def test_names_in_other_alphabets_are_found(name):
    dataset = Dataset()
    dataset.PatientName = name
    identities = original_identities(dataset, "AB12")
    family = name.split("^")[0]
    for encoding in ("utf-8", "latin-1", "iso8859_2", "iso8859_5"):
        try:
            content = f"xx {family} yy".encode(encoding)
        except UnicodeEncodeError:
            continue
        assert leaked(content, identities), (name, encoding)
    assert not leaked(b"xx nobody yy", identities)


@pytest.mark.requirement("INTAKE-04")
def test_identities_deep_in_sequences_are_known():
    dataset, item = Dataset(), Dataset()
    item.ReferringPhysicianName = "Zuweiser^Otto"
    dataset.RequestAttributesSequence = Sequence([item])
    identities = original_identities(dataset, "AB12")
    assert leaked(b"Otto", identities) == leaked(b"zuweiser", identities) == 1


@pytest.mark.parametrize("change", [{"BurnedInAnnotation": "YES"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}])
@pytest.mark.requirement("INTAKE-04")
def test_screenshots_and_burned_in_text_are_refused(tmp_path, change):
    files = factory.write_series(tmp_path / "in", replace(SMALL, extra=change))
    with pytest.raises(UploadRefusedError, match="screenshot or burned-in"):
        deidentify(files, tmp_path / "out", BLINDING)


def test_what_is_no_dicom_is_unreadable(tmp_path):
    (tmp_path / "a").write_bytes(bytes(500))
    with pytest.raises(UnreadableUploadError, match="cannot"):
        deidentify([tmp_path / "a"], tmp_path / "out", BLINDING)


def test_the_secret_is_never_shown():
    assert "0123456789abcdef" not in repr(BLINDING)
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Blinding("AB12", b"short")


@pytest.mark.real_data
@pytest.mark.requirement("INTAKE-04")
def test_real_files_keep_their_image_and_lose_their_names(real_data, tmp_path):
    for name, names in (("siemens_jpeg/jpg1.dcm", [b"STC_TEST", b"CRLAB", b"USC", b"MCBI"]),
                        ("siemens_enhanced/6_1.dcm", [b"IRC", b"LUCI", b"TEXAS", b"AWP175689", b"REST1"]),
                        ("siemens_epi/epi_pe_ap-00001.dcm", [b"REGRESSION", b"NIH", b"FMRIF"])):  # fmt: skip
        source = real_data / "dicom" / name
        (path,) = deidentify([source], tmp_path / source.stem, BLINDING)
        written = path.read_bytes()
        assert not [n for n in names if n in written.upper()]
        before, after = pydicom.dcmread(source), pydicom.dcmread(path)
        assert before.PixelData == after.PixelData
        assert not [element for element in after.iterall() if element.tag.is_private]
        if "enhanced" in name:
            groups = after.PerFrameFunctionalGroupsSequence
            assert len(groups) == 6
            assert "PlanePositionSequence" in groups[0]


@pytest.mark.requirement("INTAKE-03")
def test_quarantine_keeps_the_upload_and_the_reason(tmp_path):
    upload = tmp_path / "Mustermann.zip"
    upload.write_bytes(b"PK whatever")
    reason = UnsafeUploadError("expected names inside the archive, found others", hint="make it again")
    now = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    places = [
        quarantine(
            upload,
            tmp_path / "quarantine",
            stage=tmp_path,
            reason=reason,
            context={"site": "S01"},
            now=now,
            max_bytes=10**6,
        )
        for _ in range(2)
    ]
    assert places[0] != places[1]
    for place in places:
        assert (place / "upload.zip").read_bytes() == b"PK whatever"
        entry = json.loads((place / "reason.json").read_text())
        assert (entry["refused_as"], entry["site"], entry["upload_kept"]) == ("UnsafeUploadError", "S01", True)
        assert "Mustermann" not in json.dumps(entry)
    assert upload.exists()


def test_quarantine_of_a_folder_keeps_links_as_links_and_of_a_huge_upload_its_checksum(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a").write_bytes(b"x" * 100)
    (folder / "link").symlink_to("/etc/passwd")
    reason, now = UploadRefusedError("no"), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    place = quarantine(folder, tmp_path / "q", stage=tmp_path, reason=reason, context={}, now=now, max_bytes=1000)
    assert (place / "upload" / "link").is_symlink()
    place = quarantine(folder, tmp_path / "q", stage=tmp_path, reason=reason, context={}, now=now, max_bytes=10)
    entry = json.loads((place / "reason.json").read_text())
    assert (entry["upload_kept"], entry["bytes"]) == (False, 100)
    assert not (place / "upload").exists()


def test_deidentified_touches_no_disk_and_keeps_the_original(tmp_path):
    original = pydicom.dcmread(factory.write_series(tmp_path, SMALL)[0])
    deidentified(original, BLINDING)
    assert str(original.PatientName) == "Mustermann^Erika"


@pytest.mark.parametrize(("named", "leaking"), [(0, -1), (-1, 0), (3, 5)])
def test_a_name_that_one_file_states_is_searched_for_in_all_files_of_the_series(tmp_path, named, leaking):
    files = factory.write_series(tmp_path / "in", SMALL)
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.PatientName = dataset.PatientComments = ""
        if path == files[named]:
            dataset.PatientName = "Beispiel^Berta"
        if path == files[leaking]:
            dataset.SoftwareVersions = "VB17 Beispiel"
        dataset.save_as(path)
    with pytest.raises(
        UploadRefusedError, match="expected no identity after de-identification, found 1"
    ) as caught:
        deidentify(files, tmp_path / "out", BLINDING)
    assert "Beispiel" not in str(caught.value)


@pytest.mark.parametrize(
    ("maker", "written"),
    [
        ("SIEMENS", "Siemens"),
        ("Siemens Healthineers AG", "Siemens"),
        ("Philips Healthcare, Beispiel site", "Philips"),
    ],
)
def test_of_a_maker_only_its_known_name_is_written(tmp_path, maker, written):
    files = factory.write_series(tmp_path / "in", replace(SMALL, extra={"Manufacturer": maker}))[:1]
    (path,) = deidentify(files, tmp_path / "out", BLINDING)
    assert pydicom.dcmread(path).Manufacturer == written


def test_a_file_without_preamble_is_deidentified(tmp_path):
    """Old archives export bare data sets."""
    (source,) = factory.write_series(tmp_path / "in", SMALL)[:1]
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    pydicom.filewriter.write_dataset(buffer, pydicom.dcmread(source))
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(buffer.getvalue())
    (path,) = deidentify([bare], tmp_path / "out", BLINDING)
    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, pydicom.dcmread(source).pixel_array)
    assert [identity for identity in IDENTITIES if identity in path.read_bytes().upper()] == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_the_functional_groups_that_tell_what_a_frame_is_are_kept(tmp_path):
    original = pydicom.dcmread(factory.write_series(tmp_path, SMALL)[0])
    frame, kind, echo, other = Dataset(), Dataset(), Dataset(), Dataset()
    kind.FrameType, echo.EffectiveEchoTime = ["ORIGINAL", "PRIMARY", "M", "Mustermann, E."], 90.0
    other.ReferringPhysicianName = "Zuweiser^Otto"
    frame.MRImageFrameTypeSequence, frame.MREchoSequence = Sequence([kind]), Sequence([echo])
    frame.ReferencedImageSequence = Sequence([other])
    original.PerFrameFunctionalGroupsSequence = Sequence([frame])
    (clean,) = deidentified(original, BLINDING).PerFrameFunctionalGroupsSequence
    assert clean.MRImageFrameTypeSequence[0].FrameType == ["ORIGINAL", "PRIMARY", "M"]
    assert clean.MREchoSequence[0].EffectiveEchoTime == 90.0
    assert "ReferencedImageSequence" not in clean


@pytest.mark.parametrize("vr", ["US", "SS", "UL", "SL", "FL", "FD", "DS", "IS"])
def test_a_short_number_is_not_searched_for_among_numbers(vr):
    dataset = Dataset()
    dataset.add_new(0x00111010, vr, 118)
    assert scan_text(dataset, {"118"}).found == {}
    dataset.SoftwareVersions = "B17 118"
    assert scan_text(dataset, {"118"}).found == {"SoftwareVersions": {"118"}}


@pytest.mark.requirement("INTAKE-03")
def test_quarantine_says_the_checksum_of_what_was_sent(tmp_path):
    """The sender of an upload that is not kept must be able to tell which one it was."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b").write_bytes(b"second"), (folder / "a").write_bytes(b"first ")
    upload = tmp_path / "upload.zip"
    upload.write_bytes(b"first second")
    reason, now = UploadRefusedError("no"), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    for sent in (folder, upload):
        place = quarantine(sent, tmp_path / "q", stage=tmp_path, reason=reason, context={}, now=now, max_bytes=5)
        entry = json.loads((place / "reason.json").read_text())
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(b"first second").hexdigest(), 12)


def test_every_allowed_name_is_a_keyword_of_the_standard():
    assert [
        name
        for name in sorted({*KEPT, *UIDS, *(name for pair in MOMENTS for name in pair)})
        if tag_for_keyword(name) is None
    ] == []
