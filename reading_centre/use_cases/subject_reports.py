"""Reports of subjects after a read: they show the masks and numbers of the tables, and whose read they are."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from mri_pipeline.analysis import steps
from mri_pipeline.core.derivative_layout import subject_report
from mri_pipeline.core.errors import ReadingCentreError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.registry import Registry, ScanState, SubjectState, Use
from qc.reports.subject_files import CountedVisit, write_report
from reading_centre.use_cases.subject_jobs import ACCEPTED, make_job
from reading_centre.use_cases.tables import LockInputs, counted_masks

_READS = re.compile(r'<meta name="reads" content="([0-9a-f]*)">')
_HEAD = 4096
"""Bytes of a report that contain its digest of the reads."""


def refresh_reports(folder: Path) -> list[str]:
    """Write the reports anew whose reads have changed. A report that does not exist is left to the analysis.

    Parameters
    ----------
    folder : Path
        Folder of the trial.

    Returns
    -------
    list of str
        A message for each report that could not be written. It shows the state before the last reads.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        subjects, locked = registry.state().subjects, registry.locked_inputs()
    failed = []
    for subject in subjects:
        if not any(visit.scan in ACCEPTED for visit in subject.visits):
            continue  # all scans are withdrawn
        digest = reads_digest(subject)
        if _digest_of_report(subject_report(trial.reports, subject.code)) in {None, digest}:
            continue
        depends = {visit: inputs for (code, visit), inputs in locked.items() if code == subject.code}
        try:
            _write(trial, protocol, subject, depends)
        except (ReadingCentreError, OSError) as error:  # the read is stored all the same
            reason = error.message if isinstance(error, ReadingCentreError) else error.strerror
            failed.append(f"sub-{subject.code}: the report could not be renewed: {reason}")
    return failed


def reads_digest(subject: SubjectState) -> str:
    """Digest of the reads that count, with status and reader, 16 hexadecimal digits.

    Parameters
    ----------
    subject : SubjectState

    Returns
    -------
    str
        Empty if no read counts.
    """
    reads = [(v.visit, r.status.value, r.reader, r.version, r.digest) for v in subject.visits if (r := v.counting)]
    return hashlib.sha256(repr(reads).encode()).hexdigest()[:16] if reads else ""


def _digest_of_report(path: Path) -> str | None:
    """The digest in a report; None if there is no report, or one of an earlier version."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        found = _READS.search(stream.read(_HEAD).decode("utf-8", errors="replace"))
    return found.group(1) if found else None


def _write(trial: Trial, protocol: Protocol, subject: SubjectState, depends: LockInputs) -> None:
    analysed = {visit.visit: visit for visit in subject.visits if visit.scan is ScanState.ANALYSED}
    job = make_job(trial, protocol, subject)
    job = job.model_copy(update={"visits": tuple(visit for visit in job.visits if visit.visit in analysed)})
    automatic, counted = counted_masks(trial, protocol, subject, depends)
    if counted is None:
        write_report(job, automatic)
        return
    tracking = steps.track(
        counted.masks, tissue_location=counted.location, rules=protocol.lesions, weeks=counted.weeks
    )
    visits = {}
    for masks, tracked in zip(counted.masks, tracking.visits, strict=True):
        read = analysed[masks.visit].counting
        whose = (read.status, read.reader, read.version) if read else ()
        visits[masks.visit] = CountedVisit(masks, tracked, *whose)
    result = replace(tracking.result(subject.code), quality=automatic.quality)
    write_report(job, result, visits, reads_digest(subject))
