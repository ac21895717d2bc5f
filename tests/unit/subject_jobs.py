"""The job of a subject for tests of its analysis."""

from mri_pipeline.analysis.subject_job import SubjectJob, VisitScans
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.protocol import LesionRules


def subject_job(folder, scans_of_visit, **more):
    """All folders lie in `folder`; the visits with scans are the planned ones, of unknown week."""
    fields = {
        "subject": "AB12",
        "visits": tuple(
            VisitScans(visit=label, week=None, scans=scans) for label, scans in scans_of_visit.items()
        ),
        "planned": tuple(PlannedVisit(label=label, week=None) for label in scans_of_visit),
        "protocol": "test",
        "rules": LesionRules(),
        "derivatives": folder / "derivatives",
        "reports": folder / "reports",
        "work": folder / "work",
    }
    return SubjectJob(**fields | more)
