"""``--calibrate`` adds detection rates to the report and changes no other byte."""

import re
import shutil
from pathlib import Path

import pytest

from mri_pipeline.analysis import calibration
from mri_pipeline.analysis.publication import is_current
from mri_pipeline.core.calibration import CalibrationSettings
from mri_pipeline.core.derivative_layout import DerivativeDataset, calibration_file, subject_report
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.visits import Contrast
from qc.reports import calibration as report_calibration
from reading_centre import cli
from tests.unit.subject_jobs import subject_job
from workflows.job import analyse

pytestmark = pytest.mark.slow
IMAGES = Path(__file__).parents[2] / "test_images"
NAMES = {
    Contrast.FLAIR: "FLAIR",
    Contrast.T1W: "T1w",
    Contrast.T1W_GD: "ce-gadolinium_T1w",
    Contrast.T2W: "T2w",
}
SCANS = {contrast: IMAGES / f"sub-phantom_ses-wk04_{name}.nii.gz" for contrast, name in NAMES.items()}


@pytest.fixture(autouse=True, scope="module")
def few_lesions():
    with pytest.MonkeyPatch.context() as patch:
        few = CalibrationSettings(repeats=1, most_runs=2, least_lesions=1)
        patch.setattr(calibration, "CalibrationSettings", lambda: few)
        patch.setattr(report_calibration, "_SETTINGS", few)
        yield


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """The visit, analysed with and without calibration."""
    jobs = {}
    for calibrate in (False, True):
        job = subject_job(tmp_path_factory.mktemp("run"), {"wk04": SCANS}, calibrate=calibrate)
        analyse(job, nprocs=1)
        jobs[calibrate] = job
    return jobs


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def test_masks_tables_and_derivatives_are_the_same_bytes(analysed):
    plain, calibrated = (digests(analysed[calibrate].derivatives) for calibrate in (False, True))
    assert plain == calibrated
    assert any(name.endswith("label-GEL_mask.nii.gz") for name in plain)
    provenance = DerivativeDataset(analysed[True].derivatives).provenance(analysed[True].subject)
    assert provenance.relative_to(analysed[True].derivatives).as_posix() in plain


def test_the_report_has_the_rates_and_is_otherwise_the_same(analysed):
    job = analysed[True]
    assert not calibration_file(analysed[False].reports, job.subject).exists()
    assert "visit,kind,contrast" in calibration_file(job.reports, job.subject).read_text()
    plain, calibrated = (subject_report(analysed[c].reports, job.subject).read_text() for c in (False, True))
    assert "Smallest lesion that each scan shows" not in plain
    assert re.search(
        r'<td>\d+<br><a class="shown" href="#calibration">(from \d+ mm|none up to 10 mm)</a></td>', calibrated
    )
    without = re.sub(r'<section id="calibration">.*?</section>\s*', "", calibrated, flags=re.DOTALL)
    for added in (
        r'<br><a class="shown".*?</a>', r'<a href="#calibration">Calibration</a>', r" Below a count:[^<]*",
    ):  # fmt: skip
        without = re.sub(added, "", without)
    shown = re.compile(r'name="shown" content="\w+"')
    assert shown.sub("", without).split() == shown.sub("", plain).split()


def test_a_calibration_is_made_once_and_ends_with_its_analysis(analysed):
    job = analysed[True]
    assert is_current(job)
    assert not is_current(analysed[False].model_copy(update={"calibrate": True}))
    assert is_current(job.model_copy(update={"calibrate": False}))
    kept = calibration_file(job.reports, job.subject).read_text()
    calibration_file(job.reports, job.subject).unlink()
    assert not is_current(job)
    shutil.rmtree(job.subject_work)
    analyse(job, nprocs=1)
    assert calibration_file(job.reports, job.subject).read_text() == kept  # the same lesions again
    analyse(job.model_copy(update={"calibrate": False}), nprocs=1)
    assert not calibration_file(job.reports, job.subject).exists()


def test_a_calibration_that_fails_does_not_fail_the_subject(analysed, tmp_path, monkeypatch):
    def fail(*_):
        raise AnalysisError("expected simulated lesions, found none")

    monkeypatch.setattr(calibration, "_masks", fail)
    job = subject_job(tmp_path, {"wk04": SCANS}, calibrate=True)
    analyse(job, nprocs=1)
    assert digests(job.derivatives) == digests(analysed[False].derivatives)
    assert calibration_file(job.reports, job.subject).read_text().splitlines()[1:] == [
        "wk04" + 10 * "," + "the self-calibration failed (AnalysisError)"
    ]
    assert (
        "Visit wk04: the self-calibration failed (AnalysisError)"
        in subject_report(job.reports, job.subject).read_text()
    )
    # the next run repeats it, also with the cache of this one
    assert not is_current(job)
    monkeypatch.undo()
    analyse(job, nprocs=1)
    assert "failed" not in calibration_file(job.reports, job.subject).read_text()
    assert is_current(job)


def test_segment_writes_a_table_beside_the_same_files(tmp_path, capsys):
    options = ["--flair", str(SCANS[Contrast.FLAIR]), "--t1-gd", str(SCANS[Contrast.T1W_GD])]
    assert cli.invoke(["segment", *options, "--out", str(tmp_path / "plain")]) == 0
    assert "smallest_shown" not in capsys.readouterr().out
    assert cli.invoke(["segment", *options, "--out", str(tmp_path / "out"), "--calibrate"]) == 0
    assert re.search(r"t2_smallest_shown_mm: [\d.-]+, gel_smallest_shown_mm: [\d.-]+", capsys.readouterr().out)
    found = digests(tmp_path / "out")
    assert found.pop("calibration.csv")
    assert found == digests(tmp_path / "plain")
    assert cli.invoke(["segment", *options, "--out", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "calibration.csv").exists()
