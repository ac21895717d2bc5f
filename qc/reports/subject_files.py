"""Subject report from the derivative dataset and the original scans."""

from __future__ import annotations

from pathlib import Path

from mri_pipeline.analysis.derivatives import read_visit
from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core import provenance
from mri_pipeline.core.io import nifti
from mri_pipeline.core.layout import DerivativeDataset, MaskLabel
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.records import ScanStatus, SubjectResult
from mri_pipeline.core.visits import Contrast
from qc.reports.subject import SubjectReport, VisitReport, write_subject_report


def write_report(job: SubjectJob, result: SubjectResult) -> Path:
    """Write ``sub-<code>.html`` into the reports folder.

    Parameters
    ----------
    job : SubjectJob
        The analysis job, with the planned visits and the folders of scans, derivatives and reports.
    result : SubjectResult
        Counts, lesions and QC records of the subject.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    GridMismatchError
        If images and masks of the visits are not on one grid.
    """
    report = SubjectReport(
        result=result,
        visits=[_visit(job, result, planned) for planned in job.planned],
        protocol=job.protocol,
        protocol_digest=job.settings_digest,
        order_source=job.order_source,
        ignored=job.ignored,
        software=provenance.software()
        | ({f"T2 lesions: {other.name}": other.version} if (other := job.rules.segmenter) else {}),
    )
    return write_subject_report(report, job.reports / f"sub-{job.subject}.html")


def _visit(job: SubjectJob, result: SubjectResult, planned: PlannedVisit) -> VisitReport:
    scans = next((v.scans for v in job.visits if v.visit == planned.label), None)
    if scans is None:
        failed = any(quality.failure for quality in result.quality if quality.visit == planned.label)
        without_scan = ScanStatus.REFUSED if planned.label in job.refused else ScanStatus.MISSING
        return VisitReport(planned.label, planned.week, ScanStatus.FAILED if failed else without_scan)
    found = read_visit(DerivativeDataset(job.derivatives), job.subject, planned.label)
    single = {
        MaskLabel.T2_LESION: found.masks.t2_lesions,
        MaskLabel.GEL: found.masks.gel,
        MaskLabel.BLACK_HOLE: found.masks.black_holes,
    }
    return VisitReport(
        planned.label,
        planned.week,
        ScanStatus.ANALYSED,
        images=found.images,
        brain=found.brain,
        masks={**found.changes, **{label: mask for label, mask in single.items() if mask is not None}},
        lesions=found.lesions,
        native_flair=nifti.load_image(scans[Contrast.FLAIR]),
    )
