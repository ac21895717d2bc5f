"""One subject's job: planned visits without a scan are refused, missing or failed, and the report says which."""

from mri_pipeline.analysis.subject_job import SubjectJob, VisitScans, load_job
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import SubjectResult, VisitQuality
from mri_pipeline.core.visits import Contrast
from qc.reports import subject_files


def test_the_report_says_why_a_planned_visit_has_no_numbers(tmp_path, monkeypatch):
    scans = {Contrast.FLAIR: tmp_path / "flair.nii.gz"}
    job = SubjectJob(
        subject="AB12",
        visits=(VisitScans(visit="wk00", week=0, scans=scans),),
        planned=tuple(PlannedVisit(f"wk{week:02d}", week) for week in (4, 12, 24)),
        refused=("wk04",),
        protocol="test",
        rules=LesionRules(),
        derivatives=tmp_path / "out",
        reports=tmp_path / "reports",
        work=tmp_path / "work",
    )
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
