"""An upload through the whole gate: the bad inputs of real sites, each with one clear line."""

import datetime as dt
import gc
import json
import os
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mri_pipeline.core.acquisition_limits import AcquisitionLimits
from mri_pipeline.core.errors import (
    ComplianceError,
    UnreadableUploadError,
    UnsafeUploadError,
    UploadRefusedError,
    UsageError,
)
from mri_pipeline.core.io.nifti import load_image, save_scan
from mri_pipeline.core.layout import RawDataset
from mri_pipeline.core.protocol import Protocol, parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action, QualityLimit
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.phantom.dicom import Examination, Patient, write_series
from mri_pipeline.phantom.scanner import (
    GE_MR750,
    PHILIPS_ACHIEVA,
    SIEMENS_SKYRA,
    Dimension,
    Plane,
    acquisitions,
)
from qc import decision
from qc.compliance import UploadPurpose
from qc.conversion import ImagesOnDisk, ScanFile
from qc.findings import Finding
from qc.protocol_change import PreviousScan, compare_with_previous
from qc.scan_profile import profile_of_record, profile_record
from tests.unit import dicom_factory as factory
from tests.unit.gate_steps import Checked, check_upload, write_scans

SECRET = b"0123456789abcdef"
PROTOCOL = parse_protocol(protocol_text())
BLINDING = Blinding("AB12", SECRET)

pytestmark = pytest.mark.usefixtures("no_image_checks")  # `test_qc_content` covers the images


@pytest.fixture
def gate(tmp_path):
    """A function that checks an upload as a visit."""

    def run(
        upload: Path, purpose: UploadPurpose = UploadPurpose.VISIT, protocol: Protocol = PROTOCOL, **more: object
    ) -> Checked:
        return check_upload(
            upload,
            protocol=protocol,
            work_dir=tmp_path / f"work{os.urandom(4).hex()}",
            secret=SECRET,
            purpose=purpose,
            **more,
        )

    return run


def test_a_good_visit_becomes_bids(tmp_path, gate):
    upload = factory.write_visit(tmp_path / "up", (*factory.VISIT, factory.PD, factory.EPI))
    archive = tmp_path / "up.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(upload.iterdir()):
            target.write(path, f"Mustermann/DICOM/{path.name}")
    checked = gate(archive)
    assert set(checked.chosen) == set(Contrast)
    assert len(checked.recognised) == 6
    raw = RawDataset(tmp_path / "raw")
    written = write_scans(checked, raw=raw, protocol=PROTOCOL, visit="wk04", blinding=BLINDING)
    assert set(raw.scans("AB12", "wk04")) == set(written.scans) == set(Contrast)
    assert load_image(written.scans[Contrast.FLAIR]).grid.shape == (24, 32, 24)
    for path in raw.root.rglob("*"):
        assert "Mustermann" not in path.name
        if path.is_file():
            assert b"Mustermann" not in path.read_bytes()


@pytest.mark.requirement("INTAKE-01")
def test_weaker_than_the_trial_allows_is_refused(tmp_path, gate):
    upload = factory.write_visit(tmp_path / "up", [replace(s, field_t=1.0) for s in factory.VISIT])
    with pytest.raises(ComplianceError, match=r"expected a field strength of at least 1.5 T, found 1 T"):
        gate(upload).compliance.require()


@pytest.mark.parametrize(
    ("stated", "refused"),
    [(1.494, False), (1.5, False), (15000.0, False), (1.4, True), (10000.0, True), (None, True)],
)
@pytest.mark.requirement("INTAKE-01")
def test_a_nominal_field_of_one_and_a_half_tesla_is_accepted(tmp_path, gate, stated, refused):
    upload = factory.write_visit(tmp_path / "up", [replace(s, field_t=stated) for s in factory.VISIT])
    found = [f.rule for f in gate(upload).compliance.of(Action.REFUSE)]
    assert found == (["field_strength"] if refused else [])


def test_missing_sequences_refuse_a_dummy_run_and_only_flair_refuses_a_visit(tmp_path, gate):
    no_flair = factory.write_visit(tmp_path / "a", [factory.T1, factory.T2, factory.T1_GD])
    with pytest.raises(ComplianceError, match="expected FLAIR, found T1w, T2w, ce-gadolinium_T1w"):
        gate(no_flair).compliance.require()
    no_contrast = factory.write_visit(tmp_path / "b", [factory.FLAIR, factory.T1, factory.T2])
    visit = gate(no_contrast)
    visit.compliance.require()
    assert any("expected ce-gadolinium_T1w" in f.message for f in visit.compliance.of(Action.QUERY))
    with pytest.raises(ComplianceError, match="expected ce-gadolinium_T1w, found FLAIR, T1w, T2w"):
        gate(no_contrast, UploadPurpose.DUMMY_RUN).compliance.require()


@pytest.mark.requirement("INTAKE-06")
def test_the_same_scan_sent_as_before_and_after_contrast_is_refused(tmp_path, gate):
    factory.write_visit(tmp_path / "up", (factory.FLAIR, factory.T1, factory.T2))
    original = factory.object_volume(factory.T1.shape) + np.uint16(factory.T1.number)
    uid = "1.2.826.0.1.3680043.8.498.1001.44"
    for index, pixels in enumerate(original):
        dataset = factory.slice_dataset(factory.T1_GD, factory.Patient(), uid, index, pixels)
        dataset.save_as(tmp_path / "up" / f"gd{index}.dcm", enforce_file_format=True)
    raw = RawDataset(tmp_path / "raw")
    with pytest.raises(
        UploadRefusedError, match="expected two T1 scans, before and after contrast, found one scan twice"
    ):
        write_scans(gate(tmp_path / "up"), raw=raw, protocol=PROTOCOL, visit="wk00", blinding=BLINDING)
    assert not raw.root.exists()


@pytest.mark.requirement("INTAKE-05")
def test_two_missing_slices_are_refused_and_nothing_is_written(tmp_path, gate):
    upload = factory.write_visit(tmp_path / "up")
    for index in (20, 21):
        (upload / f"Mustermann_3_{index:03d}.dcm").unlink()
    checked = gate(upload)
    raw = RawDataset(tmp_path / "raw")
    with pytest.raises(ComplianceError, match="T2w: expected a whole series, found 2 slices missing") as caught:
        write_scans(checked, raw=raw, protocol=PROTOCOL, visit="wk00", blinding=BLINDING)
    assert "Mustermann" not in str(caught.value)
    assert not raw.root.exists()


def test_an_incomplete_optional_sequence_is_a_query_and_left_out(tmp_path, gate):
    upload = factory.write_visit(tmp_path / "up", (*factory.VISIT, factory.PD))
    (upload / "Mustermann_5_020.dcm").unlink()
    checked = gate(upload)
    assert any("PDw: expected a whole series" in f.message for f in checked.compliance.of(Action.QUERY))
    written = write_scans(
        checked, raw=RawDataset(tmp_path / "raw"), protocol=PROTOCOL, visit="wk00", blinding=BLINDING
    )
    assert Contrast.PDW not in written.scans


def image_fault(monkeypatch, contrast):
    finding = Finding("blank_slices", Action.REFUSE, f"{contrast.value}: found 1 blank slice", contrast)
    monkeypatch.setattr(decision, "judge_images", lambda measures, protocol: [finding])


def test_an_optional_sequence_with_a_blank_slice_is_a_query_and_left_out(tmp_path, gate, monkeypatch):
    image_fault(monkeypatch, Contrast.PDW)
    checked = gate(factory.write_visit(tmp_path / "up", (*factory.VISIT, factory.PD)))
    raw = RawDataset(tmp_path / "raw")
    written = write_scans(checked, raw=raw, protocol=PROTOCOL, visit="wk00", blinding=BLINDING)
    assert set(written.scans) == set(raw.scans("AB12", "wk00")) == set(Contrast) - {Contrast.PDW}
    assert "PDw" not in written.pixels_keys
    assert Contrast.PDW not in written.profile.acquisitions
    queries = [f.message for f in written.compliance.of(Action.QUERY) if f.rule == "blank_slices"]
    assert queries == ["PDw: found 1 blank slice; the scan is optional and not used"]


def test_a_required_sequence_with_a_blank_slice_is_refused(tmp_path, gate, monkeypatch):
    image_fault(monkeypatch, Contrast.T2W)
    checked = gate(factory.write_visit(tmp_path / "up"))
    with pytest.raises(ComplianceError, match=r"T2w: found 1 blank slice$"):
        write_scans(checked, raw=RawDataset(tmp_path / "raw"), protocol=PROTOCOL, visit="wk00", blinding=BLINDING)
    assert not (tmp_path / "raw").exists()


@pytest.mark.requirement("INTAKE-05")
def test_a_truncated_file_refuses_the_upload(tmp_path, gate):
    upload = factory.write_visit(tmp_path / "up")
    path = upload / "Mustermann_1_010.dcm"
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UnreadableUploadError, match="expected whole DICOM files, found 1 truncated of 96"):
        gate(upload)


def test_empty_text_traversal_nested_and_mixed_uploads(tmp_path, gate):
    empty, text = tmp_path / "empty", tmp_path / "text"
    for folder in (empty, text):
        folder.mkdir()
    (text / "a.txt").write_text("see attached")
    with pytest.raises(UnreadableUploadError, match="empty upload"):
        gate(empty)
    with pytest.raises(UnreadableUploadError, match="expected DICOM images, found none among 1 files"):
        gate(text)
    for name, content, message in (
        ("../x", b"x", "found a path with .."),
        ("x.zip", b"PK\x03\x04....", "archive inside"),
    ):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(UnsafeUploadError, match=message):
            gate(tmp_path / "a.zip")
    small = replace(factory.FLAIR, shape=(16, 12, 12))
    factory.write_series(tmp_path / "mix", small)
    factory.write_series(
        tmp_path / "mix", replace(small, number=7), replace(factory.Patient(), name="Anders^Otto")
    )
    with pytest.raises(UploadRefusedError, match="expected one patient in an upload, found 2"):
        gate(tmp_path / "mix")


@pytest.mark.requirement("INTAKE-12")
def test_queries_of_geometry_follow_the_actions_of_the_protocol(tmp_path, gate):
    thick = replace(factory.FLAIR, thickness=5.0, spacing=6.0, pixel=(1.2, 1.2))
    upload = factory.write_visit(tmp_path / "up", (thick, *factory.VISIT[1:]))
    queries = {f.rule: f for f in gate(upload).compliance.of(Action.QUERY) if f.contrast is Contrast.FLAIR}
    assert {"thickness_2d", "gap", "in_plane_2d"} <= set(queries)
    assert (queries["gap"].measured, queries["gap"].limit) == (1.0, 0.05)
    strict = parse_protocol(
        protocol_text().replace(
            'gap_mm = { value = 0.05, action = "query"', 'gap_mm = { value = 0.05, action = "refuse"'
        )
    )
    with pytest.raises(
        ComplianceError, match=r"FLAIR: expected a gap between slices of at most 0.05 mm, found 1 mm"
    ):
        gate(upload, protocol=strict).compliance.require()


def test_a_limit_of_the_acquisition_says_what_to_do(tmp_path, gate):
    first = gate(factory.write_visit(tmp_path / "a"))
    whole = {c: replace(a, coverage_mm=a.coverage_mm + 50) for c, a in first.profile.acquisitions.items()}
    thick = replace(factory.FLAIR, thickness=5.0, spacing=6.0, pixel=(1.2, 1.2), te=180.0)
    early = replace(factory.T1_GD, extra={"ContrastBolusAgent": "x", "ContrastBolusStartTime": "094453"})
    solid = replace(factory.T1, acquisition="3D")
    sent = factory.write_visit(tmp_path / "b", (thick, solid, factory.T2, early))
    names = [n for n in AcquisitionLimits.model_fields if n not in {"min_field_strength_t", "scanner_change"}]
    asked = {n: getattr(PROTOCOL.acquisition, n).model_copy(update={"ask": f"ask for {n}"}) for n in names}
    asked["min_coverage_mm"] = asked["min_coverage_mm"].model_copy(update={"value": 500.0})
    protocol = PROTOCOL.model_copy(update={"acquisition": PROTOCOL.acquisition.model_copy(update=asked)})
    previous = PreviousScan("wk00", replace(first.profile, acquisitions=whole))
    found = gate(sent, protocol=protocol, previous=previous).compliance.of(Action.QUERY)
    assert {f.to_do for f in found} >= {f"ask for {name}" for name in names}


def test_minutes_after_contrast_are_measured_where_the_header_tells(tmp_path, gate):
    early = replace(
        factory.T1_GD, extra={"ContrastBolusAgent": "x", "ContrastBolusStartTime": "094453"}
    )  # scan at 09:46:53
    upload = factory.write_visit(tmp_path / "up", (factory.FLAIR, factory.T1, factory.T2, early))
    (finding,) = [f for f in gate(upload).compliance.findings if f.rule == "minutes_after_contrast"]
    assert (finding.action, finding.measured) == (Action.QUERY, 2.0)


@pytest.mark.requirement("INTAKE-09")
def test_another_scanner_or_protocol_than_before_is_flagged(tmp_path, gate):
    first = gate(factory.write_visit(tmp_path / "a"))
    same = gate(factory.write_visit(tmp_path / "b"), previous=PreviousScan("wk00", first.profile))
    assert [f.rule for f in same.compliance.findings if f.rule.startswith("same")] == []
    changed = [
        replace(
            s,
            te=s.te * 1.5 if s.number == 3 else s.te,
            extra={"DeviceSerialNumber": "SN-2", "SoftwareVersions": "VE11"},
        )
        for s in factory.VISIT
    ]
    assert profile_of_record(json.loads(json.dumps(profile_record(first.profile)))) == first.profile
    upload = factory.write_visit(tmp_path / "c", changed)
    other = gate(upload, previous=PreviousScan("wk00", first.profile))
    flagged = [(f.rule, f.contrast, f.action) for f in other.compliance.findings if f.rule.startswith("same")]
    assert flagged == [
        ("same_scanner", None, Action.QUERY),
        ("same_software", None, Action.QUERY),
        ("same_protocol", Contrast.T2W, Action.QUERY),
    ]
    messages = [f.message for f in other.compliance.findings]
    assert "T2w: expected the protocol of visit wk00, found another echo time (142.5 instead of 95 ms)" in messages
    software = f"another software version (VE11 instead of {first.profile.software})"
    assert f"expected the scanner software of visit wk00, found {software}" in messages
    flair = first.profile.acquisitions[Contrast.FLAIR]
    stranger = replace(flair, acquisition_type="SMITH", spacing_mm=(*flair.spacing_mm[:2], 3.4567))
    before = replace(first.profile, acquisitions={Contrast.FLAIR: stranger})
    (finding,) = compare_with_previous(first.profile, PreviousScan("wk00", before), PROTOCOL.acquisition)
    assert finding.message.endswith(
        f"found another slice distance ({flair.spacing_mm[2]:g} instead of 3.4567 mm), acquisition mode (2D instead of "
        "not stated)"
    )
    limits = PROTOCOL.acquisition.model_copy(
        update={
            "max_protocol_change": QualityLimit(value=0.6, action=Action.REFUSE, ask="call us"),
            "scanner_change": Action.REFUSE,
        }
    )
    strict = PROTOCOL.model_copy(update={"acquisition": limits})
    refused = gate(upload, protocol=strict, previous=PreviousScan("wk00", first.profile)).compliance.of(
        Action.REFUSE
    )
    assert [f.rule for f in refused] == ["same_scanner", "same_software"]  # 50 % longer is within 60 %


def test_a_visit_written_twice_and_an_unplanned_visit_are_refused(tmp_path, gate):
    upload = factory.write_visit(tmp_path / "up", [replace(s, shape=(16, 12, 12)) for s in factory.VISIT])
    raw = RawDataset(tmp_path / "raw")
    write_scans(gate(upload), raw=raw, protocol=PROTOCOL, visit="wk00", blinding=BLINDING)
    with pytest.raises(UsageError, match="expected no scans of visit wk00"):
        write_scans(gate(upload), raw=raw, protocol=PROTOCOL, visit="wk00", blinding=BLINDING)
    with pytest.raises(UsageError, match="expected a visit of the protocol"):
        write_scans(gate(upload), raw=raw, protocol=PROTOCOL, visit="wk99", blinding=BLINDING)


def test_the_order_of_files_changes_nothing(tmp_path, gate):
    upload = factory.write_visit(tmp_path / "up", [replace(s, shape=(16, 12, 12)) for s in factory.VISIT])
    other = tmp_path / "shuffled"
    other.mkdir()
    files = sorted(upload.iterdir())
    for new, old in enumerate(np.random.default_rng(1).permutation(len(files))):
        (other / f"IM{new:05d}").write_bytes(files[old].read_bytes())
    images = []
    for number, folder in enumerate((upload, other)):
        raw = RawDataset(tmp_path / f"raw{number}")
        written = write_scans(gate(folder), raw=raw, protocol=PROTOCOL, visit="wk00", blinding=BLINDING)
        images.append({contrast: path.read_bytes() for contrast, path in written.scans.items()})
    assert images[0] == images[1]


@pytest.mark.parametrize("dimension", list(Dimension))
@pytest.mark.parametrize("scanner", [SIEMENS_SKYRA, GE_MR750, PHILIPS_ACHIEVA], ids=lambda s: s.vendor.name)
def test_every_maker_s_headers_are_understood_and_its_voxels_kept(tmp_path, gate, scanner, dimension):
    """Witness: the reference trial's DICOM writer, written without knowledge of this intake."""
    study = Examination(dt.datetime(2020, 5, 6, 8, 0), injected_after=dt.timedelta(minutes=20))  # noqa: DTZ001
    protocol = acquisitions(scanner, dimension)
    sent = {}
    for number, contrast in enumerate(protocol, start=1):
        spacing = 3.0 if dimension is Dimension.TWO_D else 1.2
        data = np.random.default_rng(number).integers(1, 900, (20, 24, 16)).astype(np.float32)
        sent[contrast] = Image(data, Grid(data.shape, np.diag([1.2, 1.2, spacing, 1.0])))
        prescribed = replace(
            protocol[contrast],
            thickness_mm=spacing,
            spacing_mm=spacing,
            columns=20,
            rows=24,
            in_plane_mm=1.2,
            plane=Plane.AXIAL,
        )
        write_series(
            sent[contrast], contrast=contrast, scanner=scanner, study=study, acquisition=prescribed,
            series_number=number,
            patient=Patient("Volunteer^Vera", "VOL001"), out_dir=tmp_path / "up" / str(number),
            started=None if contrast is Contrast.T1W_GD else study.started + dt.timedelta(minutes=number),
        )  # fmt: skip
    checked = gate(tmp_path / "up", UploadPurpose.DUMMY_RUN)
    assert set(checked.chosen) == set(sent)
    assert [f.message for f in checked.compliance.of(Action.REFUSE)] == []
    assert not any(choice.doubtful for choice in checked.chosen.values())
    written = write_scans(
        checked, raw=RawDataset(tmp_path / "raw"), protocol=PROTOCOL, visit="wk00", blinding=BLINDING
    )
    for contrast, path in written.scans.items():
        found = load_image(path).reoriented("RAS")
        found.grid.require_same(sent[contrast].grid, contrast.value)
        assert np.corrcoef(found.data.ravel(), sent[contrast].data.ravel())[0, 1] > 0.9999


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ge_epi", "siemens_epi", "siemens_jpeg", "siemens_jpeg2000", "siemens_enhanced"])
def test_real_functional_series_are_refused_with_reasons(real_data, gate, name):
    checked = gate(real_data / "dicom" / name)
    with pytest.raises(
        ComplianceError, match=r"expected FLAIR, found no sequence of the protocol .*echo-planar"
    ) as caught:
        checked.compliance.require()
    assert checked.profile is None
    assert "Regression" not in str(caught.value)


def test_one_image_of_an_upload_is_in_memory(tmp_path, monkeypatch):
    grid = Grid((4, 4, 4), np.eye(4))
    files = {
        contrast: ScanFile(
            save_scan(Image(np.full((4, 4, 4), i, np.float32), grid), tmp_path / f"{i}.nii"), {}, tmp_path
        )
        for i, contrast in enumerate((Contrast.FLAIR, Contrast.T1W), start=1)
    }
    alive = weakref.WeakSet()

    def counted(path):
        image = load_image(path)
        alive.add(image)
        return image

    monkeypatch.setattr("qc.conversion.load_image", counted)
    images = ImagesOnDisk(files)
    assert Contrast.T1W in images
    assert Contrast.T2W not in images
    assert not alive
    assert images[Contrast.FLAIR] is images[Contrast.FLAIR]
    for contrast, value in ((Contrast.T1W, 2), (Contrast.FLAIR, 1)):
        assert images[contrast].data.max() == value
        gc.collect()
        assert len(alive) == 1
