"""Digest of everything that a subject report shows."""

from __future__ import annotations

import hashlib
import json

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core import provenance
from mri_pipeline.core.derivative_layout import calibration_file
from mri_pipeline.core.io.results import result_text
from mri_pipeline.core.records import SubjectResult


def report_digest(job: SubjectJob, automatic: SubjectResult, reads: str = "") -> str:
    """Digest of everything that a report shows, except the pixels of the scans.

    Parameters
    ----------
    job : SubjectJob
        With the analysed visits alone.
    automatic : SubjectResult
        Of the analysis.
    reads : str
        As in `qc.reports.subject.files.CountedSubject`; empty without reads.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    shown = {"subject", "planned", "refused", "protocol", "order_source", "ignored", "settings_digest"}
    visits = [visit.visit for visit in job.visits]
    content = [job.model_dump_json(include=shown), visits, result_text(automatic), shown_software(job), reads]
    if calibration := calibration_text(job):
        content.append(calibration)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def calibration_text(job: SubjectJob) -> str:
    """Table of the detection rates of a subject.

    Parameters
    ----------
    job : SubjectJob

    Returns
    -------
    str
        CSV; empty if they were not measured.
    """
    file = calibration_file(job.reports, job.subject)
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def shown_software(job: SubjectJob) -> dict[str, str]:
    """Software that a report names.

    Parameters
    ----------
    job : SubjectJob

    Returns
    -------
    dict of str to str
        As `mri_pipeline.core.provenance.software`, and the T2 segmenter if it is another one.
    """
    other = job.rules.segmenter
    return provenance.software() | ({f"T2 lesions: {other.name}": other.version} if other else {})
