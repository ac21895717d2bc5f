"""The reference trial on disk: one small subject and both dummy runs."""

import csv
import json
import zipfile
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.nifti import load_labels
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.designs import VISITS, SubjectDesign, active_subject, reference_designs
from mri_pipeline.phantom.dummy import DummyRunFault, write_dummy_run
from mri_pipeline.phantom.histories import appearing, stable
from mri_pipeline.phantom.scanner import GE_MR750, PHILIPS_ACHIEVA, Dimension, acquisitions
from mri_pipeline.phantom.subject import simulate_subject
from mri_pipeline.phantom.trial import (
    ReferenceTrial,
    UploadKind,
    made_up_patient,
    visit_study,
    write_reference_trial,
)


def _small():
    plans = (
        stable(Location.PERIVENTRICULAR, 300, 3),
        appearing(Location.DEEP_WHITE_MATTER, 200, 3, at=2, enhancing=(2,)),
    )
    return SubjectDesign("S01-007", "S01", GE_MR750, plans, missing=("wk00", "wk04"), zipped=("wk12",))


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    lines = []
    out = tmp_path_factory.mktemp("trial")
    trial = write_reference_trial(out, seed=3, designs=[_small()], progress=lines.append)
    assert len(lines) >= 4
    return trial


def test_the_manifest_lists_the_uploads_in_their_order(trial):
    again = ReferenceTrial.load(trial.root)
    assert again == trial
    assert [(u.kind, u.site, u.accepted) for u in trial.uploads] == [
        (UploadKind.DUMMY_RUN, "S01", True),
        (UploadKind.DUMMY_RUN, "S02", False),
        (UploadKind.VISIT, "S01", True),
    ]
    assert "1.5 T" in trial.uploads[1].reason
    assert all(trial.path(u).exists() for u in trial.uploads)
    assert parse_protocol(protocol_text(trial.protocol)).site("S02").code == "S02"


def test_dummy_runs_differ_in_field_strength(trial):
    fields = {}
    for upload in trial.uploads[:2]:
        headers = [
            pydicom.dcmread(p, stop_before_pixels=True) for p in trial.path(upload).rglob("*") if p.is_file()
        ]
        fields[upload.site] = {float(h.MagneticFieldStrength) for h in headers}
        assert len({h.StudyInstanceUID for h in headers}) == 1
        assert len({h.SeriesInstanceUID for h in headers}) == 5  # a localizer and four contrasts
        assert len({h.SOPInstanceUID for h in headers}) == len(headers) == 3 + 4 * 54
    assert fields == {"S01": {3.0}, "S02": {1.0}}


def test_a_visit_is_a_zip_with_everything_and_a_name_to_remove(trial):
    path = trial.path(trial.uploads[2])
    assert path.suffix == ".zip"
    assert not path.with_suffix("").exists()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert len(names) == 3 + 4 * 54
        with archive.open(names[0]) as file:
            header = pydicom.dcmread(file)
    patient = made_up_patient("S01-007", trial.seed)
    assert header.PatientName == patient.name
    assert header.PatientID == patient.patient_id
    assert "S01-007" not in str(header)  # the hospital does not know the trial number


def test_the_truth_lies_beside_the_uploads(trial):
    with (trial.truth / "lesion_timepoints.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["visit"], r["scan_status"], r["t2_count"], r["gel_count"]) for r in rows] == [
        ("wk00", "missing", "", ""),
        ("wk04", "missing", "", ""),
        ("wk12", "analysed", "2", "1"),
    ]
    folder = trial.truth / "S01-007"
    masks = {name: load_labels(folder / f"wk12_{name}.nii.gz") for name in ("t2", "gel", "bh")}
    assert masks["t2"].volume_mm3 == pytest.approx(float(rows[2]["t2_volume_ml"]) * 1000, abs=1)
    assert masks["gel"].volume_mm3 == pytest.approx(float(rows[2]["gel_volume_ml"]) * 1000, abs=1)
    assert not masks["bh"].mask.any()
    for name in ("FLAIR", "T1w", "T1wGd", "T2w"):
        pose = load_transform(folder / f"wk12_from-subject_to-{name}.txt")
        assert np.linalg.det(pose.matrix[:3, :3]) == pytest.approx(1.0)


def test_the_designs_fit_the_protocol_and_hold_a_missing_visit():
    protocol = parse_protocol(protocol_text("demo"))
    assert tuple(v.label for v in protocol.visits) == VISITS
    designs = reference_designs(with_quiet=True)
    assert len({d.number for d in designs}) == len(designs) == 3
    assert len({d.scanner.vendor for d in designs}) == 3
    assert any(d.missing for d in designs)
    assert any(d.zipped for d in designs)
    assert all(protocol.site(d.site) for d in designs)
    # new, enhancing lesions of at least 5 mm: nothing in the design is at the edge of what can be seen
    for design in designs:
        for plan in design.plans:
            assert all(p.volume_mm3 == 0 or p.volume_mm3 >= 60 for p in plan.phases)
            assert all(p.enhancement == 0 or p.enhancement >= 0.3 for p in plan.phases)
    assert any(p.ring for plan in active_subject().plans for p in plan.phases)


def test_dates_follow_the_weeks():
    first, second = (visit_study("S01-001", visit, 1).started for visit in ("wk00", "wk12"))
    assert abs((second - first).days - 84) <= 3


def test_a_folder_with_files_is_not_overwritten(tmp_path):
    (tmp_path / "precious.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="expected an empty folder"):
        write_reference_trial(tmp_path)
    with pytest.raises(UsageError, match=r"manifest\.json, found none"):
        ReferenceTrial.load(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"protocol": "demo"}), encoding="utf-8")
    with pytest.raises(UsageError, match=r"manifest\.json, found none"):
        ReferenceTrial.load(tmp_path)


@pytest.fixture(scope="module")
def volunteer():
    return simulate_subject(11, ("dummy",), plans=())


@pytest.mark.parametrize(
    ("run", "series", "slices", "spacing"),
    [(DummyRunFault.NO_FLAIR, 3, 54, 3.0), (DummyRunFault.GAP, 4, 36, 4.5), (DummyRunFault.THICK, 4, 33, 5.0)],
)
def test_bad_dummy_runs_are_bad_in_the_way_they_say(tmp_path, volunteer, run, series, slices, spacing):
    paths = write_dummy_run(volunteer, tmp_path, run=run, scanner=PHILIPS_ACHIEVA)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    found = {}
    for header in headers:
        found.setdefault(header.SeriesDescription, []).append(header)
    found.pop("SURVEY")
    assert len(found) == series
    assert ("T2W_FLAIR_TRA" in found) is (run is not DummyRunFault.NO_FLAIR)
    assert {len(v) for v in found.values()} == {slices}
    assert {float(h.SpacingBetweenSlices) for v in found.values() for h in v} == {spacing}
    assert run.reason


def test_every_scanner_knows_both_protocols():
    for scanner in (GE_MR750, PHILIPS_ACHIEVA, replace(GE_MR750, field_strength_t=1.5)):
        for dimension in Dimension:
            series = acquisitions(scanner, dimension)
            assert set(series) == {Contrast.T1W, Contrast.T1W_GD, Contrast.T2W, Contrast.FLAIR}
            assert len({item.description for item in series.values()}) == 4
