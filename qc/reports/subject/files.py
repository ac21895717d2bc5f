"""Subject report from the derivative dataset and the original scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mri_pipeline.analysis.calibration import parse_calibration
from mri_pipeline.analysis.derivatives import read_visit
from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.calibration import NOT_CALIBRATED
from mri_pipeline.core.derivative_layout import DerivativeDataset, subject_report
from mri_pipeline.core.io import nifti
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.records import ScanStatus, SubjectResult, VisitCounts
from mri_pipeline.core.visits import Contrast, VisitMasks
from mri_pipeline.lesions.tracking.track import VisitTracking
from qc.reports.read_attribution import AUTOMATIC, ReadAttribution
from qc.reports.subject.contents import SubjectReport, VisitReport
from qc.reports.subject.digest import calibration_text, report_digest, shown_software
from qc.reports.subject.page import write_subject_report


@dataclass(frozen=True)
class CountedVisit:
    """A visit as the tables count it, if a reader has confirmed lesions of the subject.

    Parameters
    ----------
    masks : VisitMasks
        Of the read that counts; automatic without one. With the FLAIR that the counts use.
    tracking : VisitTracking
    attribution : ReadAttribution
    """

    masks: VisitMasks
    tracking: VisitTracking
    attribution: ReadAttribution = AUTOMATIC


@dataclass(frozen=True)
class CountedSubject:
    """A subject as the tables count it, if a reader has confirmed lesions of it.

    Parameters
    ----------
    result : SubjectResult
    visits : mapping of str to CountedVisit
        Every analysed visit, by label.
    reads : str
        All on which the counts depend beside the analysis: the reads that count, with status and reader, and what their
        locks keep.
    """

    result: SubjectResult
    visits: Mapping[str, CountedVisit]
    reads: str


def write_report(job: SubjectJob, automatic: SubjectResult, counted: CountedSubject | None = None) -> Path:
    """Write ``sub-<code>.html`` into the reports folder.

    Parameters
    ----------
    job : SubjectJob
        The analysis job, with the planned visits and the folders of scans, derivatives and reports.
    automatic : SubjectResult
        Counts, lesions and QC records of the analysis.
    counted : CountedSubject, optional
        Its numbers and masks are shown in place of the automatic ones.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    GridMismatchError
        If images and masks of the visits are not on one grid.
    """
    calibrations = {one.visit: one for one in parse_calibration(calibration_text(job))}
    result, visits, reads = (counted.result, counted.visits, counted.reads) if counted else (automatic, {}, "")
    report = SubjectReport(
        result=result,
        visits=[
            replace(
                _visit(job, result, planned, visits.get(planned.label)),
                calibration=calibrations.get(planned.label, NOT_CALIBRATED),
            )
            for planned in job.planned
        ],
        protocol=job.protocol,
        protocol_digest=job.settings_digest,
        order_source=job.order_source,
        ignored=job.ignored,
        digest=report_digest(job, automatic, reads),
        software=shown_software(job),
    )
    return write_subject_report(report, subject_report(job.reports, job.subject))


def _visit(
    job: SubjectJob, result: SubjectResult, planned: PlannedVisit, counted: CountedVisit | None
) -> VisitReport:
    scans = next((v.scans for v in job.visits if v.visit == planned.label), None)
    if scans is None:
        failed = any(quality.failure for quality in result.quality if quality.visit == planned.label)
        without_scan = ScanStatus.REFUSED if planned.label in job.refused else ScanStatus.MISSING
        return VisitReport(planned.label, planned.week, ScanStatus.FAILED if failed else without_scan)
    found = read_visit(DerivativeDataset(job.derivatives), job.subject, planned.label)
    counted = counted or CountedVisit(
        found.masks, VisitTracking(planned.label, found.lesions, found.changes, VisitCounts(planned.label), ())
    )
    masks = counted.masks
    single = {
        MaskLabel.T2_LESION: masks.t2_lesions,
        MaskLabel.GEL: masks.gel,
        MaskLabel.BLACK_HOLE: masks.black_holes,
    }
    return VisitReport(
        planned.label,
        planned.week,
        ScanStatus.ANALYSED,
        attribution=counted.attribution,
        images=found.images if masks.flair is None else {**found.images, Contrast.FLAIR: masks.flair},
        brain=found.brain,
        masks={**counted.tracking.masks, **{label: mask for label, mask in single.items() if mask is not None}},
        lesions=counted.tracking.lesions,
        native_flair=nifti.load_image(scans[Contrast.FLAIR]) if Contrast.FLAIR in scans else None,
    )
