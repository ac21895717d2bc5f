"""Confirmed lesions as DICOM: masks in patient coordinates, the numbers of the tables, blinded, whole or not at all."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from mri_pipeline import __version__
from mri_pipeline.analysis import steps
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.manifest import require_manifest
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.dicom_export.codes import KINDS
from mri_pipeline.dicom_export.describe import NO_DATE, NO_TIME, ObjectOf, moment, with_required
from mri_pipeline.dicom_export.report import make_report
from mri_pipeline.dicom_export.segmentation import make_segmentation
from mri_pipeline.registry import Registry
from reading_centre import cli
from reading_centre.use_cases.reading.lock import unlock_read
from reading_centre.use_cases.tables import export_dicom as command
from reading_centre.use_cases.tables.counting import counted_masks
from reading_centre.use_cases.tables.export_dicom import export_dicom
from tests.unit.export_trial import SERIES, add_flair, faults, segments_by_pydicom, source_points
from tests.unit.ingest_trial import IDENTITIES
from tests.unit.locked_trial import CODE, NUMBER, registry_of

VISITS = ("wk00", "wk04", "wk12", "wk24", "wk28", "wk36", "wk48")
OF_SERIES = dict(zip(SERIES, VISITS, strict=True))


@pytest.fixture(scope="module")
def exported(original_locked_trial, tmp_path_factory):
    """A trial whose visits have FLAIR series of every kind, and its export."""
    folder = tmp_path_factory.mktemp("export") / "trial"
    shutil.copytree(original_locked_trial.root, folder)
    trial = Trial(folder)
    for visit, (spec, how) in zip(VISITS, SERIES.values(), strict=True):
        add_flair(trial, CODE, visit, spec, how)
    return trial, export_dicom(trial.root)


@pytest.fixture
def trial(exported, tmp_path):
    """A copy, with its export."""
    shutil.copytree(exported[0].root, tmp_path / "trial")
    return Trial(tmp_path / "trial")


def objects(exported, visit):
    return exported[1].folder / f"sub-{CODE}" / f"ses-{visit}"


def rows(path, visit):
    with path.open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["visit"] == visit]


@pytest.fixture(scope="module")
def tracked(exported):
    """The lesions of each visit as the report of the subject shows them."""
    trial = exported[0]
    protocol = load_protocol(trial.protocol_file)
    with registry_of(trial) as registry:
        depends = {visit: inputs for (_, visit), inputs in registry.locked_inputs().items()}
        _, counted = counted_masks(trial, protocol, registry.subject(CODE), depends)
    found = steps.track(
        counted.masks, tissue_location=counted.location, rules=protocol.lesions, weeks=counted.weeks
    )
    return {one.visit: (one, masks) for one, masks in zip(found.visits, counted.masks, strict=True)}


def moved(points_lps, flair_to_subject):
    """Points of the FLAIR in the subject's space, RAS."""
    return points_lps * [-1, -1, 1] @ flair_to_subject.matrix[:3, :3].T + flair_to_subject.matrix[:3, 3]


def lesion_at(points_lps, labels, flair_to_subject):
    """Label at each point: the voxel of the subject's space whose centre is the nearest."""
    world = moved(points_lps, flair_to_subject)
    index = np.rint((np.linalg.inv(labels.grid.affine) @ np.column_stack([world, np.ones(len(world))]).T)[:3])
    last = np.array(labels.grid.shape) - 1
    inside = (np.clip(index.T, 0, last) == index.T).all(axis=1)
    found = np.zeros(len(world), dtype=int)
    found[inside] = labels.data[tuple(index.T[inside].astype(int).T)]
    return found


EVERY_NEIGHBOUR = np.ones((3, 3, 3))


def counted_parts(mask, grid, least_mm3, apart_from=None):
    """Witness: 26-connected parts of at least a volume, without those that touch another mask."""
    parts, count = ndimage.label(mask, EVERY_NEIGHBOUR)
    kept = np.bincount(parts.ravel(), minlength=count + 1) * grid.voxel_volume_mm3 >= least_mm3
    if apart_from is not None:
        kept[np.unique(parts[ndimage.binary_dilation(apart_from, EVERY_NEIGHBOUR)])] = False
    return LabelImage(kept[parts] & mask, grid)


def cells(points):
    return {tuple(point) for point in np.round(points, 2) + 0.0}


@pytest.mark.parametrize("series", SERIES)
def test_every_voxel_of_the_flair_has_the_lesion_at_its_place(exported, tracked, series):
    trial, visit = exported[0], OF_SERIES[series]
    one, masks = tracked[visit]
    points = source_points(trial.sourcedata.series(CODE, visit, Contrast.FLAIR))
    to_subject = load_transform(trial.derivatives.transform(CODE, visit, Contrast.FLAIR))
    lesion = lesion_at(points, one.lesions, to_subject)
    t2 = {record.lesion_id for record in one.records if record.t2_lesion}
    rules, grid = load_protocol(trial.protocol_file).lesions, one.lesions.grid
    least_gel_mm3 = max(rules.gel_min_volume_mm3, rules.gel_min_voxels * grid.voxel_volume_mm3)
    gel = counted_parts(masks.gel.mask, grid, least_gel_mm3)
    dark = masks.black_holes.mask & np.isin(one.lesions.data, list(t2))
    holes = counted_parts(dark, grid, rules.black_hole_min_volume_mm3, apart_from=gel.mask)
    for kind, mask in ((MaskLabel.T2_LESION, None), (MaskLabel.GEL, gel), (MaskLabel.BLACK_HOLE, holes)):
        file = objects(exported, visit) / KINDS[kind].file
        if not file.exists():
            assert not mask.mask.any()
            continue
        segments = segments_by_pydicom(file)
        found = {label: cells(at) for label, at in segments.values()}
        assert sum(map(len, found.values())) == sum(len(at) for _, at in segments.values())  # none overlap
        if mask is None:
            expected = {f"T2 lesion {n}": cells(points[lesion == n]) for n in t2 if (lesion == n).any()}
            assert found == expected
        else:
            assert set().union(*found.values()) == cells(points[lesion_at(points, mask, to_subject) > 0])
        by_highdicom = hd.seg.segread(file)
        volume = by_highdicom.get_volume(combine_segments=True)
        for number, (_, at) in segments.items():
            index = np.argwhere(volume.array == number)
            assert cells(volume.map_indices_to_reference(index)) == cells(at)


def test_lesions_have_the_places_of_the_table(exported):
    trial, visit = exported[0], OF_SERIES["oblique"]
    to_subject = load_transform(trial.derivatives.transform(CODE, visit, Contrast.FLAIR))
    table = rows(trial.tables / "lesions.csv", visit)
    of = {f"T2 lesion {row['lesion_id']}": row for row in table if row["t2_lesion"] == "true"}
    split = {row["lesion_id"] for row in table if row["part"] != "1"}
    segments = dict(segments_by_pydicom(objects(exported, visit) / "t2_lesions_seg.dcm").values())
    assert segments.keys() == of.keys()
    for label, points in segments.items():
        if of[label]["lesion_id"] not in split:
            place = [float(of[label][name]) for name in ("x_mm", "y_mm", "z_mm")]
            assert np.linalg.norm(moved(points, to_subject).mean(axis=0) - place) < 1.5


def report_of(exported, visit):
    return hd.sr.srread(objects(exported, visit) / "measurements_sr.dcm")


def read_back(report, tmp_path):
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    assert faults(tmp_path / "report.dcm") == []
    return hd.sr.srread(tmp_path / "report.dcm").content


def measured(group):
    return {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}


@pytest.mark.parametrize("visit", VISITS)
def test_the_report_has_the_numbers_of_the_tables(exported, visit):
    trial, report = exported[0], report_of(exported, visit)
    (timepoint,) = rows(trial.tables / "lesion_timepoints.csv", visit)
    table = rows(trial.tables / "lesions.csv", visit)
    totals = {g.finding_type.value: measured(g) for g in report.content.get_image_measurement_groups()}
    assert totals == {
        kind.code.value: {
            "Number of lesions": (int(timepoint[kind.counted]), "1"),
            "Volume": (float(timepoint[kind.volume]), "mL"),
        }
        for kind in KINDS.values()
    }
    volumes = {}
    for group in report.content.get_volumetric_roi_measurement_groups():
        volumes[group.tracking_identifier] = measured(group)["Volume"]
        segment = group.referenced_segment
        kind = next(k for k in KINDS.values() if k.code.value == group.finding_type.value)
        seg = pydicom.dcmread(objects(exported, visit) / kind.file)
        assert seg.SOPInstanceUID == segment.referenced_sop_instance_uid
        (described,) = [s for s in seg.SegmentSequence if s.SegmentNumber in segment.referenced_segment_numbers]
        assert (described.TrackingID, described.TrackingUID) == (group.tracking_identifier, group.tracking_uid)
        assert described.SegmentedPropertyTypeCodeSequence[0].CodeValue == kind.code.value
    expected = {}
    for row in table:
        for kind, present in (
            ("T2 lesion", row["t2_lesion"] == "true"),
            ("GEL", row["gel_count"] > "0"),
            ("Black hole", row["bh_count"] > "0"),
        ):
            if present:
                column = {"T2 lesion": "volume_mm3", "GEL": "gel_volume_mm3", "Black hole": "bh_volume_mm3"}[kind]
                name = f"{CODE} lesion_id {row['lesion_id']} {kind}"
                expected[name] = expected.get(name, 0) + float(row[column])
    assert {name: value for name, (value, _) in volumes.items()} == pytest.approx(expected, abs=1e-6)
    assert {unit for _, unit in volumes.values()} == {"mm3"}


def test_a_lesion_has_one_tracking_uid_at_all_visits(exported):
    found = {}
    for path in exported[1].folder.rglob("*_seg.dcm"):
        for segment in pydicom.dcmread(path).SegmentSequence:
            found.setdefault(segment.TrackingID, set()).add(segment.TrackingUID)
    assert {len(uids) for uids in found.values()} == {1}
    assert len(set().union(*found.values())) == len(found)


@pytest.mark.parametrize("series", SERIES)
def test_dciodvfy_finds_no_error(exported, series):
    files = sorted(objects(exported, OF_SERIES[series]).iterdir())
    assert len(files) >= 3
    assert {path.name: faults(path) for path in files if faults(path)} == {}


def test_dciodvfy_finds_the_error_of_a_broken_object(exported, tmp_path):
    broken = pydicom.dcmread(objects(exported, "wk00") / "t2_lesions_seg.dcm")
    del broken.SegmentSequence[0].SegmentLabel
    broken.save_as(tmp_path / "broken.dcm")
    assert faults(tmp_path / "broken.dcm")


def dates(dataset):
    for element in dataset.iterall():
        if element.VR in {"DA", "TM", "DT"} and element.value:
            yield str(element.value)


@pytest.mark.parametrize("series", SERIES)
def test_objects_are_blinded_and_refer_to_the_kept_series(exported, series):
    trial, visit = exported[0], OF_SERIES[series]
    sources = [pydicom.dcmread(p) for p in sorted(trial.sourcedata.series(CODE, visit, Contrast.FLAIR).iterdir())]
    known = {value for source in sources for value in dates(source)} or {NO_DATE, NO_TIME}
    today = datetime.now(UTC).strftime("%Y%m%d").encode()
    for path in objects(exported, visit).iterdir():
        content, dataset = path.read_bytes(), pydicom.dcmread(path)
        content = content.replace(__version__.encode(), b"")  # that of a changed source tree ends with its date
        assert not [word for word in (*IDENTITIES, b"S01", NUMBER.encode() + b"\0", today) if word in content]
        assert set(dates(dataset)) <= known
        assert (str(dataset.PatientName), dataset.PatientID, dataset.PatientBirthDate) == (CODE, CODE, "")
        assert dataset.StudyInstanceUID == sources[0].StudyInstanceUID
        if dataset.Modality == "SEG":
            assert dataset.FrameOfReferenceUID == with_required(sources[0]).FrameOfReferenceUID
            (series_item,) = dataset.ReferencedSeriesSequence
            assert series_item.SeriesInstanceUID == sources[0].SeriesInstanceUID
            referenced = {item.ReferencedSOPInstanceUID for item in series_item.ReferencedInstanceSequence}
            assert referenced <= {source.SOPInstanceUID for source in sources}


def test_the_frames_of_an_enhanced_flair_are_those_at_their_place(exported):
    visit = OF_SERIES["enhanced"]
    (path,) = exported[0].sourcedata.series(CODE, visit, Contrast.FLAIR).iterdir()
    source, made = pydicom.dcmread(path), pydicom.dcmread(objects(exported, visit) / "t2_lesions_seg.dcm")
    for groups in made.PerFrameFunctionalGroupsSequence:
        (image,) = groups.DerivationImageSequence[0].SourceImageSequence
        of_source = source.PerFrameFunctionalGroupsSequence[int(image.ReferencedFrameNumber) - 1]
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert groups.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(
            of_source.PlanePositionSequence[0].ImagePositionPatient
        )


def test_the_change_of_volume_is_listed(exported):
    done = exported[1]
    listed = rows(done.folder / "volumes.csv", "wk00")
    for row in listed:
        file = next(kind.file for kind in KINDS.values() if kind.name == row["kind"])
        label, points = segments_by_pydicom(objects(exported, "wk00") / file)[int(row["segment"])]
        assert label == f"{row['kind']} {row['lesion_id']}"
        assert (len(points), float(row["segment_mm3"])) == (
            int(row["voxels"]),
            pytest.approx(len(points) * 3.3, abs=0.01),
        )
    for table, own in done.visits[0].volumes().values():
        assert abs(float(own / table) - 1) < 0.1
    require_manifest(done.folder)


def test_the_same_state_gives_the_same_bytes_and_replaces_the_earlier_export(trial):
    folder = trial.root / "dicom"
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "left").write_text("of an earlier export")
    export_dicom(trial.root)
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with registry_of(trial) as registry:
        entries = [entry for entry in registry.audit_trail() if entry.action == "DICOM exported"]
        assert registry.differences_from_audit() == []
    assert [entry.details["provisional"] for entry in entries] == [False, False]
    assert entries[0].details["manifest"] == entries[1].details["manifest"]
    assert entries[1].details["visits"] == [f"{CODE} {visit}" for visit in VISITS]


def killed(step: int, trial) -> int:
    """Exit code of a process that kills itself before step number `step` of an export."""

    def run():
        seen = []

        def guarded(function):
            def call(*args, **kwargs):
                seen.append(function)
                if len(seen) > step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        for owner, name in (
            (command, "_write_lists"), (command, "write_manifest"), (command, "sync_tree"),
            (command, "replace_folder"), (Registry, "audit"), (Path, "unlink"),
        ):  # fmt: skip
            setattr(owner, name, guarded(getattr(owner, name)))
        export_dicom(trial.root)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def test_a_killed_export_leaves_a_whole_one_or_none(trial, tmp_path):
    folder, kept = trial.root / "dicom", tmp_path / "kept"
    shutil.copytree(folder, kept)
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for step in range(100):
        earlier = step % 2 == 0
        shutil.rmtree(folder, ignore_errors=True)
        if earlier:
            shutil.copytree(kept, folder)
        code = killed(step, trial)
        assert code in {0, -signal.SIGKILL}
        assert folder.exists() or not earlier
        if folder.exists():
            found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            assert found == before
        if code == 0:
            break
    assert step >= 5
    assert folder.exists()
    assert not list(trial.root.glob(".dicom.*"))  # nothing of the killed commands is left
    with registry_of(trial) as registry:
        assert registry.differences_from_audit() == []


def test_without_the_flag_only_locked_reads_and_with_it_each_object_states_its_source(trial, tmp_path, capsys):
    unlock_read(trial.root, subject=CODE, visit="wk12", reader="R1", reason="to be corrected")
    assert [visit.visit for visit in export_dicom(trial.root).visits] == [v for v in VISITS if v != "wk12"]
    assert (
        cli.invoke(["export-dicom", str(trial.root), "--provisional", "--to", str(tmp_path / "out"), "--json"])
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert [visit["visit"] for visit in said["visits"]] == list(VISITS)
    for visit in VISITS:
        for path in (tmp_path / "out" / f"sub-{CODE}" / f"ses-{visit}").iterdir():
            dataset = pydicom.dcmread(path)
            assert dataset.SeriesDescription.startswith("PROVISIONAL") is (visit == "wk12")
            if dataset.Modality == "SR":
                expected = ("PARTIAL", "PRELIMINARY") if visit == "wk12" else ("COMPLETE", "FINAL")
                assert (dataset.CompletionFlag, dataset.PreliminaryFlag) == expected
            assert faults(path) == []


def refused(trial, match, **more):
    folder = trial.root / "dicom"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=match) as error:
        export_dicom(trial.root, **more)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not list(trial.root.glob(".dicom*"))
    return error.value


def test_a_scan_of_an_earlier_version_has_no_series(trial):
    shutil.rmtree(trial.sourcedata.visit(CODE, "wk48"))  # the last one: the others have been written
    error = refused(trial, f"{CODE}, visit wk48, FLAIR: expected its DICOM series in sourcedata/, found none")
    assert "ingest the same upload again" in error.hint


def test_the_series_of_another_scan_is_refused(trial):
    one, other = (trial.sourcedata.series(CODE, visit, Contrast.FLAIR) for visit in ("wk00", "wk12"))
    shutil.rmtree(one)
    shutil.copytree(other, one)
    found = "found a series that does not match it$"
    expected = "visit wk00, FLAIR: expected the DICOM series from which the scan was converted"
    refused(trial, f"{expected}, {found}")
    next(iter(one.iterdir())).unlink()
    refused(trial, f"{expected}, {found}")


def test_a_volume_of_two_series_is_refused(trial):
    folder = trial.sourcedata.series(CODE, "wk00", Contrast.FLAIR)
    for path in sorted(folder.iterdir())[::2]:
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID += ".2"
        dataset.save_as(path)
    refused(trial, "expected one DICOM series of single slices or one enhanced image, found 2 series of 17 images")


def test_wrong_use_is_refused(trial, tmp_path):
    refused(trial, "expected blinded codes of subjects, found XY12", subjects=["XY12"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    earlier = "expected a new folder or that of an earlier export, found "
    refused(trial, f"{earlier}one without export.json", to=tmp_path / "other")
    refused(trial, f"{earlier}a file", to=tmp_path / "other" / "file")
    refused(trial, "expected a folder outside of the trial", to=trial.rawdata.root)
    refused(trial, "expected a folder outside of the trial", to=trial.root.parent)
    for visit in VISITS:
        unlock_read(trial.root, subject=CODE, visit=visit, reader="R1", reason="all")
    assert "--provisional" in refused(trial, "expected locked reads, found none").hint


def test_masks_that_are_not_those_of_the_tables_are_refused(trial, monkeypatch):
    plain = steps.number

    def other(*args, **kwargs):
        for one in plain(*args, **kwargs):
            one.lesions[MaskLabel.T2_LESION].data[one.lesions[MaskLabel.T2_LESION].data == 1] = 0
            yield one

    monkeypatch.setattr(steps, "number", other)
    refused(trial, "expected masks with the lesions and volumes of the tables")


def test_a_visit_without_lesions_has_a_report_alone(exported, tmp_path):
    (path, *_) = sorted(exported[0].sourcedata.series(CODE, "wk00", Contrast.FLAIR).iterdir())
    source = with_required(pydicom.dcmread(path, stop_before_pixels=True))
    of = ObjectOf(CODE, "wk00", "automatic", "", provisional=True, version="1.0", build="ab")
    assert make_segmentation([source], np.zeros((1, source.Rows, source.Columns), int), MaskLabel.GEL, of) is None
    numbers = {"t2_count": 0, "t2_volume_ml": 0.0} | dict.fromkeys(
        ("gel_count", "gel_volume_ml", "bh_count", "bh_volume_ml")
    )
    content = read_back(make_report([source], {}, numbers, [], of), tmp_path)
    (group,) = content.get_image_measurement_groups()
    assert measured(group) == {"Number of lesions": (0, "1"), "Volume": (0.0, "mL")}
    assert content.get_volumetric_roi_measurement_groups() == []


def test_a_lesion_without_a_voxel_on_the_flair_keeps_its_volume(exported, tmp_path):
    (path, *_) = sorted(exported[0].sourcedata.series(CODE, "wk00", Contrast.FLAIR).iterdir())
    source = with_required(pydicom.dcmread(path, stop_before_pixels=True))
    of = ObjectOf(CODE, "wk00", "locked", "R1", provisional=False, version="1.0", build="ab")
    numbers = {"t2_count": 2, "t2_volume_ml": 0.03} | dict.fromkeys(
        ("gel_count", "gel_volume_ml", "bh_count", "bh_volume_ml")
    )
    frames = np.zeros((1, source.Rows, source.Columns), int)
    frames[0, 5:8, 5] = 9
    made = {MaskLabel.T2_LESION: make_segmentation([source], frames, MaskLabel.T2_LESION, of)}
    assert made[MaskLabel.T2_LESION].segments == {9: 1}
    nothing = {
        "gel_count": None,
        "gel_volume_mm3": None,
        "bh_count": None,
        "bh_volume_mm3": None,
        "t2_lesion": True,
    }
    lesions = [nothing | {"lesion_id": n, "volume_mm3": 15} for n in (4, 9)]
    content = read_back(make_report([source], made, numbers, lesions, of), tmp_path)
    assert [g.tracking_identifier for g in content.get_volumetric_roi_measurement_groups()] == [
        f"{CODE} lesion_id 9 T2 lesion"
    ]
    (_, alone) = content.get_image_measurement_groups()
    assert (alone.tracking_identifier, measured(alone)) == (
        f"{CODE} lesion_id 4 T2 lesion",
        {"Volume": (15.0, "mm3")},
    )


def test_the_moment_is_that_of_the_source():
    source = pydicom.Dataset()
    assert moment(source) == (NO_DATE, NO_TIME)
    source.AcquisitionDateTime = "20150203040506.5"
    assert moment(source) == ("20150203", "040506.5")
    source.SeriesDate, source.SeriesTime = "20140102", "030405"
    assert moment(source) == ("20140102", "030405")
