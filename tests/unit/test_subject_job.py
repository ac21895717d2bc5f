"""One subject's job: planned visits without a scan are refused, missing or failed, and the report says which."""

from mri_pipeline.analysis.subject_job import load_job
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.records import SubjectResult, VisitQuality
from mri_pipeline.core.visits import Contrast
from qc.reports.subject import files as subject_files
from tests.unit.subject_jobs import subject_job


def test_the_report_says_why_a_planned_visit_has_no_numbers(tmp_path, monkeypatch):
    scans = {Contrast.FLAIR: tmp_path / "flair.nii.gz"}
    planned = tuple(PlannedVisit(f"wk{week:02d}", week) for week in (4, 12, 24))
    job = subject_job(tmp_path, {"wk00": scans}, planned=planned, refused=("wk04",))
    assert load_job(job.save()) == job
    reported = []
    monkeypatch.setattr(
        subject_files, "write_subject_report", lambda report, path: reported.append((report, path))
    )
    failed = VisitQuality("wk24", "no brain", None, None, ())
    subject_files.write_report(job, SubjectResult("AB12", quality=(failed,)))
    report, path = reported[0]
    assert [(v.visit, v.week, v.status.value) for v in report.visits] == [
        ("wk04", 4, "refused"),
        ("wk12", 12, "missing"),
        ("wk24", 24, "failed"),
    ]
    assert path == tmp_path / "reports" / "sub-AB12.html"
