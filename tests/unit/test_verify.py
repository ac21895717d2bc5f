"""Results and scans compared with the provenance of the analysis: every change is found, by name."""

import json
import shutil

import pytest

from mri_pipeline.analysis import publication
from mri_pipeline.analysis.description import write_dataset_description
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.results import save_result
from mri_pipeline.core.layout import RawDataset
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import SubjectResult
from mri_pipeline.core.visits import Contrast
from reading_centre import cli
from reading_centre.use_cases.analysis.overview import save_outcome
from reading_centre.use_cases.analysis.verify import verify_results
from tests.unit.subject_jobs import subject_job
from workflows.outcome import Outcome


def analyse(folder, subject, during=lambda: None):
    """Publish results of two visits, of which the second has a scan outside of the dataset."""
    raw, out = RawDataset(folder / "raw"), folder / "out"
    scans = {
        "a": {c: raw.image(subject, "a", c) for c in (Contrast.FLAIR, Contrast.T1W)},
        "b": {Contrast.FLAIR: folder / "elsewhere" / "FLAIR.nii.gz"},
    }
    for number, path in enumerate(path for visit in scans.values() for path in visit.values()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{subject} {number}")
    job = subject_job(
        folder,
        scans,
        subject=subject,
        derivatives=out,
        reports=out / "reports",
        raw=raw.root,
        settings_digest="ab",
    )
    unfinished = publication.staged(job)
    during()
    new = DerivativeDataset(unfinished.derivatives)
    new.anat(subject, "a").mkdir(parents=True)
    (new.anat(subject, "a") / "mask").write_text("mask")
    save_result(SubjectResult(subject), new.result(subject))
    unfinished.reports.mkdir()
    (unfinished.reports / f"sub-{subject}.html").touch()
    publication.publish(job, unfinished)


@pytest.fixture
def out(tmp_path):
    for subject in ("AB12", "CD34"):
        analyse(tmp_path, subject)
    write_dataset_description(tmp_path / "out", settings_digest="ab", rules=LesionRules(), raw=tmp_path / "raw")
    return DerivativeDataset(tmp_path / "out")


@pytest.mark.requirement("RUN-03")
def test_untouched_results_are_as_in_their_provenance(out):
    found = verify_results(out.root)
    assert (found.subjects, found.inputs, found.outputs) == (2, 4, 4)
    assert found.deviations == ()
    assert found.absent == ("sub-AB12 ses-b/FLAIR", "sub-CD34 ses-b/FLAIR")
    assert found.other_software == {}


def test_what_a_later_run_writes_is_no_deviation(out):
    write_atomic(out.outcome("AB12"), "{}")
    write_atomic(out.input_index("AB12"), "{}")
    assert verify_results(out.root).deviations == ()


@pytest.mark.requirement("RUN-03")
def test_every_change_is_named(out, tmp_path):
    t1w = RawDataset(tmp_path / "raw").image("CD34", "a", Contrast.T1W)
    mask = out.anat("AB12", "a") / "mask"
    digests = [f"SHA-256 {file_digest(path)[:12]}" for path in (mask, t1w)]
    mask.write_text("edited")
    (out.anat("AB12", "a") / "more").touch()
    out.result("CD34").unlink()
    t1w.write_text("another scan")
    digests += [f"SHA-256 {file_digest(path)[:12]}" for path in (mask, t1w)]
    assert verify_results(out.root).deviations == (
        f"sub-AB12/ses-a/anat/mask: expected the result of the analysis ({digests[0]}), found {digests[2]}",
        "sub-AB12/ses-a/anat/more: the analysis did not write this file",
        "sub-CD34/sub-CD34_desc-lesions_result.json: expected a result of the analysis, found none",
        f"sub-CD34 ses-a/T1w: expected the scan that was analysed ({digests[1]}), found {digests[3]}",
    )


def test_a_scan_that_changes_during_its_analysis_is_found(out, tmp_path):
    flair = RawDataset(tmp_path / "raw").image("AB12", "a", Contrast.FLAIR)
    analyse(tmp_path, "AB12", during=lambda: flair.write_text("replaced"))
    (deviation,) = verify_results(out.root).deviations
    assert deviation.startswith("sub-AB12 ses-a/FLAIR: ")


@pytest.mark.parametrize("text", ["{}", None])
def test_results_without_a_valid_provenance_are_a_deviation(out, text):
    out.provenance("AB12").unlink()
    if text is not None:
        out.provenance("AB12").write_text(text)
        save_outcome(out, Outcome(subject="AB12", done=False, reason="killed"))
    out.result("AB12").unlink()
    (deviation,) = verify_results(out.root).deviations
    assert deviation == "sub-AB12: expected the provenance of its results, found none that is valid"


def test_a_subject_that_failed_is_no_deviation(out):
    out.result("AB12").unlink()
    out.provenance("AB12").unlink()
    save_outcome(out, Outcome(subject="AB12", done=False, reason="no brain"))
    found = verify_results(out.root)
    assert (found.subjects, found.failed, found.deviations) == (1, ("AB12",), ())


def test_other_software_and_scans_that_are_elsewhere_are_told(out, tmp_path):
    stated = json.loads(out.provenance("AB12").read_text())
    stated["software"]["numpy"] = "0.1"
    out.provenance("AB12").write_text(json.dumps(stated))
    shutil.rmtree(tmp_path / "raw")
    found = verify_results(out.root)
    assert found.other_software["numpy"].startswith("analysed by 0.1, present ")
    assert (found.inputs, len(found.absent), found.deviations) == (0, 6, ())


def test_the_command_ends_with_2_on_a_deviation(out, tmp_path, capsys):
    assert cli.invoke(["verify", str(out.root)]) == 0
    assert "2 subjects: 4 results and 4 scans as in the provenance" in capsys.readouterr().out
    (out.anat("AB12", "a") / "mask").write_text("edited")
    assert cli.invoke(["verify", str(out.root), "--json"]) == 2
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)["deviations"]) == 1
    assert "found 1 deviation" in shown.err
    (tmp_path / "empty").mkdir()
    for path in ("empty", "none"):
        assert cli.invoke(["verify", str(tmp_path / path)]) == 2
        assert "give OUT_DIR" in capsys.readouterr().err


def test_a_trial_is_verified_like_its_derivatives(locked_trial):
    expected = "expected the provenance of its results, found none that is valid"
    (deviation,) = verify_results(locked_trial.root).deviations  # the benchmark writes results without an analysis
    assert deviation.endswith(expected)
    shutil.rmtree(locked_trial.derivatives.root)
    (deviation,) = verify_results(locked_trial.root).deviations  # the registry has an analysed scan
    assert deviation.endswith(expected)
    with pytest.raises(UsageError, match="expected results of subjects"):
        verify_results(locked_trial.reads)
