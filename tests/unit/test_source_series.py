"""The DICOM series of accepted scans: kept at ingest, or later for a scan of an earlier version; backed up."""

import shutil

import numpy as np
import pydicom
import pytest

from mri_pipeline.core.io import nifti
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from reading_centre.use_cases.trial.backup import back_up
from reading_centre.use_cases.trial.restore import restore_trial
from tests.unit import ingest_trial
from tests.unit.ingest_trial import agree, confirmed_read, identified, ingest, opened, upload

pytestmark = pytest.mark.usefixtures("no_image_checks")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A trial with a visit that was read, and its upload."""
    folder = tmp_path_factory.mktemp("series")
    trial = ingest_trial.new_trial(folder / "trial")
    code = ingest(trial, upload(folder / "sent")).subject
    shutil.copytree(trial.root, folder / "unread")
    confirmed_read(trial, code)
    return folder


@pytest.fixture
def trial(prepared, tmp_path):
    shutil.copytree(prepared / "trial", tmp_path / "trial")
    return Trial.existing(tmp_path / "trial")


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_series_are_those_that_were_converted_with_the_code_as_patient(trial):
    (held,) = agree(trial)  # slice by slice
    series = trial.sourcedata.series(held.subject, "wk00", Contrast.FLAIR)
    assert {path.parent.name for path in trial.sourcedata.root.rglob("*.dcm")} == {
        contrast.value for contrast in trial.rawdata.scans(held.subject, "wk00")
    }
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        assert (dataset.PatientID, dataset.PatientIdentityRemoved) == (held.subject, "YES")
    assert identified(trial) == []


def test_a_scan_without_series_gets_them_from_the_same_upload(trial, prepared):
    before = files(trial.root)
    shutil.rmtree(trial.sourcedata.root)
    tried = ingest(trial, prepared / "sent", dry_run=True)
    assert (tried.known, tried.notes, trial.sourcedata.root.exists()) == (True, (), False)
    done = ingest(trial, prepared / "sent")
    assert (done.known, done.notes) == (
        True,
        ("its DICOM series, which an earlier version had not kept, is kept now",),
    )
    after = files(trial.root)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name for name in changed if not name.startswith("registry.sqlite")} == set()
    assert [held.readers for held in agree(trial)] == [("R1",)]
    with opened(trial) as registry:
        (entry,) = [entry for entry in registry.audit_trail() if entry.action == "series kept"]
    assert entry.target == f"{done.subject} wk00"
    assert ingest(trial, prepared / "sent").notes == ()


def test_series_of_other_scans_than_the_stored_ones_are_not_kept(trial, prepared):
    (held,) = agree(trial)
    shutil.rmtree(trial.sourcedata.root)
    path = trial.rawdata.image(held.subject, "wk00", Contrast.FLAIR)
    image = nifti.load_image(path)
    nifti.save_scan(Image(np.where(image.data == image.data.max(), 0, image.data), image.grid), path)
    done = ingest(trial, prepared / "sent")
    (note,) = done.notes
    assert done.known
    assert note.startswith("its DICOM series is not kept: the upload gives another FLAIR than the stored scan")
    assert not trial.sourcedata.root.exists()
    assert not list(trial.quarantine.glob("*/*"))


def test_an_upload_of_other_contrasts_loads_no_stored_scan(trial, prepared):
    (held,) = agree(trial)
    shutil.rmtree(trial.sourcedata.root)
    trial.rawdata.image(held.subject, "wk00", Contrast.T2W).unlink()
    trial.rawdata.image(held.subject, "wk00", Contrast.FLAIR).write_bytes(b"no image")
    (note,) = ingest(trial, prepared / "sent").notes
    assert note.startswith("its DICOM series is not kept: the upload gives another T2w than the stored scan")


def replace(path):
    path.write_bytes(b"no image")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("damage", [replace, truncate])
def test_a_stored_scan_that_cannot_be_read_is_named_without_its_code(trial, prepared, damage):
    (held,) = agree(trial)
    shutil.rmtree(trial.sourcedata.root)
    damage(trial.rawdata.image(held.subject, "wk00", Contrast.FLAIR))
    done = ingest(trial, prepared / "sent")
    assert done.known
    (note,) = done.notes
    assert note == (
        "its DICOM series is not kept: the stored FLAIR cannot be read, so that the upload cannot be compared with it; "
        "restore the trial from a backup"
    )
    assert not trial.sourcedata.root.exists()
    assert not list(trial.quarantine.glob("*/*"))


def test_a_backup_has_the_series(prepared, tmp_path):
    trial = Trial.existing(prepared / "unread")
    places = {"to": tmp_path / "backup", "sealed_to": tmp_path / "sealed"}
    back_up(trial.root, **places)
    restored = restore_trial(tmp_path / "new", backup=places["to"], sealed=places["sealed_to"])
    assert files(restored.trial / "sourcedata") == files(trial.sourcedata.root) != {}
