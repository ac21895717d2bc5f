"""Export of worklists: the face of a subject is located once, and a subject without one does not stop the others."""

import json

import numpy as np
import pytest

from benchmarks.tables import write_trial
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.registry import Registry
from reading_centre import cli
from reading_centre.use_cases.reading import faces
from reading_centre.use_cases.reading.export_reads import export_reads
from tests.unit.reading_trial import copy_of, write_kept_space

CODES = ("BENCH000", "BENCH001")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Two analysed subjects with seven visits each, without locked reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "lock_reads", lambda self, reads, **kwargs: None)
        trial = write_trial(tmp_path_factory.mktemp("bench") / "trial", subjects=2, shape=(40, 44, 14))
    for code in CODES:
        write_kept_space(trial, code)
    return trial


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path)


@pytest.fixture
def located(monkeypatch):
    """Numbers of calls; a brain mask that is empty in its first slice alone cannot be located."""
    calls = []

    def region(brain, template, to_subject):
        calls.append(brain)
        if not brain.mask.any():
            raise AnalysisError("expected the template to match the brain", hint="check the brain mask")
        face = np.zeros(brain.grid.shape, dtype=np.uint8)
        face[:, -5:, :3] = 1
        return LabelImage(face, brain.grid)

    monkeypatch.setattr(faces, "face_region", region)
    return calls


def without_brain(trial, code):
    path = trial.derivatives.space(code).brain
    mask = nifti.load_labels(path)
    nifti.save(LabelImage(np.zeros_like(mask.data), mask.grid), path)


def exported_images(folder):
    return {path.parent.name: nifti.load_image(path).data for path in folder.glob("items/*/FLAIR.nii.gz")}


def test_the_face_of_a_subject_is_located_once_and_blanked_at_all_its_visits(trial, tmp_path, located):
    summary = export_reads(trial.root, tmp_path / "worklist")
    assert len(located) == 2
    assert (summary["exported"], summary["defaced"], summary["failed"]) == (14, 0, [])  # nothing there to blank
    for code in CODES:
        for path in trial.derivatives.root.rglob(f"sub-{code}_*FLAIR.nii.gz"):
            image = nifti.load_image(path)
            image.data[...] = 1.0
            nifti.save(image, path)
    summary = export_reads(trial.root, tmp_path / "again")
    assert (summary["exported"], summary["defaced"]) == (14, 14)
    images = exported_images(tmp_path / "again")
    assert len(images) == 14
    for data in images.values():
        assert not data[:, -5:, :3].any()
        assert data.sum() == data.size - 40 * 5 * 3
    for code in CODES:  # the analysis uses the whole images
        for path in trial.derivatives.root.rglob(f"sub-{code}_*FLAIR.nii.gz"):
            assert nifti.load_image(path).data.all()


def test_a_subject_whose_face_is_not_found_is_left_out_and_named(trial, tmp_path, located, capsys):
    without_brain(trial, CODES[0])
    assert cli.invoke(["read", str(trial.root), "--export", str(tmp_path / "worklist")]) == 4
    out, err = capsys.readouterr()
    assert "exported: 7" in out
    message = "expected the template to match the brain"
    assert (
        err
        == f"sub-{CODES[0]} FAILED, its visits are not in the worklist: {message}\nHint:  check the brain mask\n"
    )
    assert len(exported_images(tmp_path / "worklist")) == 7
    assert CODES[0] not in (tmp_path / "worklist" / "worklist.json").read_text()
    assert not trial.kept_space(CODES[0]).folder.exists()
    assert trial.kept_space(CODES[1]).record.is_file()
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        (entry,) = registry.audit_entries("worklist exported")
    assert (entry.details["items"], entry.details["left out"]) == (7, [CODES[0]])


def test_nothing_is_written_if_no_face_is_found(trial, tmp_path, located):
    for code in CODES:
        without_brain(trial, code)
    with pytest.raises(AnalysisError, match="expected the template to match the brain"):
        export_reads(trial.root, tmp_path / "worklist")
    assert not (tmp_path / "worklist").exists()


def test_a_subject_without_open_reads_needs_no_face(trial, tmp_path, located):
    without_brain(trial, CODES[0])
    visits = [(CODES[0], visit) for visit in trial.derivatives.visits(CODES[0])]
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        registry.lock_reads(visits, reader="R1")
    summary = export_reads(trial.root, tmp_path / "worklist")
    assert (summary["exported"], summary["locked"], summary["failed"]) == (7, 7, [])
    assert len(located) == 1


def test_no_face_is_located_if_the_protocol_keeps_it(trial, tmp_path, located):
    text = trial.protocol_file.read_text()
    trial.protocol_file.write_text(text.replace("deface = true", "deface = false"))
    assert export_reads(trial.root, tmp_path / "worklist")["exported"] == 14
    assert not located
    faces_found = json.loads((tmp_path / "worklist" / "worklist.json").read_text())["faces"]
    assert set(faces_found.values()) == {"not defaced"}


def test_a_mask_survives_its_packing():
    rng = np.random.default_rng(2)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    mask = LabelImage(rng.random((5, 7, 3)) > 0.5, faces.Grid((5, 7, 3), affine))
    back = faces.PackedMask.of(mask).unpacked()
    assert np.array_equal(back.data, mask.data)
    assert back.grid.same_as(mask.grid)
