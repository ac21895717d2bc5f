"""Analysis of a trial: all subjects with scans, by the rules of the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mri_pipeline.analysis.description import write_dataset_description
from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import ScanStatus
from mri_pipeline.registry import Registry, SubjectState, Use
from reading_centre.use_cases.overview import Listed, latest_result, save_outcome, write_overview
from reading_centre.use_cases.staging import settle_all
from reading_centre.use_cases.subject_jobs import ACCEPTED, make_job
from workflows.batch import only_run, run_batch
from workflows.outcome import BatchOutcome, Outcome
from workflows.plugin import Plugin, Progress


def run_trial(
    folder: Path,
    *,
    subjects: Sequence[str] = (),
    nprocs: int = 1,
    plugin: Plugin = Plugin.MULTIPROC,
    progress: Progress | None = None,
) -> BatchOutcome:
    """Analyse subjects and record the status of each scan.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    subjects : sequence of str
        Blinded codes; all subjects if empty.
    nprocs : int
        Number of processes.
    plugin : Plugin
    progress : Progress, optional
        Called with the name and the status of each node.

    Returns
    -------
    BatchOutcome
        In the order of site and code. A failed subject is not raised.

    Raises
    ------
    UsageError
        If the audit trail is broken, a code is unknown, or there is no accepted scan yet.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry:
        settle_all(trial, protocol, registry)
        jobs = [
            make_job(trial, protocol, subject)
            for subject in registry.state().subjects
            if any(visit.scan in ACCEPTED for visit in subject.visits)
            and (not subjects or subject.code in subjects)
        ]
        unknown = sorted(set(subjects) - {job.subject for job in jobs})
        if unknown:
            raise UsageError(
                f"expected blinded codes of subjects with accepted scans, found {', '.join(unknown)}",
                hint="'mri-pipeline status TRIAL' lists them",
            )
        if not jobs:
            raise UsageError(
                "expected accepted scans, found none", hint="take uploads in with 'mri-pipeline ingest'"
            )
        write_dataset_description(
            trial.derivatives.root,
            settings_digest=settings_digest(protocol),
            rules=protocol.lesions,
            raw=trial.rawdata.root,
        )
        receipts = {
            (job.subject, visit.visit): registry.receipt(job.subject, visit.visit)
            for job in jobs
            for visit in job.visits
        }
        with only_run(trial.work):
            outcome = run_batch(jobs, work=trial.work, plugin=plugin, nprocs=nprocs, progress=progress)
        for job, result in zip(jobs, outcome.outcomes, strict=True):
            _record(trial, registry, job, result, receipts)
            save_outcome(trial.derivatives, result)
        _write_overview(trial, protocol, registry.state().subjects)
    return outcome


def _write_overview(trial: Trial, protocol: Protocol, subjects: Sequence[SubjectState]) -> None:
    """Write the pages over all subjects. They show blinded codes, as the subjects' reports do, and no sites."""
    rules_digest = settings_digest(protocol.lesions)
    listed = [
        Listed(
            subject.code,
            {visit.visit: visit.scan for visit in subject.visits},
            *latest_result(trial.derivatives, subject.code, rules_digest),
        )
        for subject in subjects
    ]
    write_overview(
        trial.reports,
        listed,
        settings_digest=settings_digest(protocol),
        rules=protocol.lesions,
        from_dicom=True,
    )


def _record(
    trial: Trial,
    registry: Registry,
    job: SubjectJob,
    result: Outcome,
    receipts: Mapping[tuple[str, str], str],
) -> None:
    """Record the status of each scan of a subject.

    A failed run removes nothing. Earlier results and locked reads remain. A scan that was accepted since then has no
    results, even if the scan that it replaced had. The status of a scan that was replaced during the run is unchanged.
    """
    numbers = trial.derivatives.result(job.subject)
    known = {counts.visit for counts in load_result(numbers).visits} if numbers.is_file() else set()
    for visit in job.visits:
        label = visit.visit
        analysed = label not in result.failed_visits if result.done else label in known and label in job.settled
        status = ScanStatus.ANALYSED if analysed else ScanStatus.FAILED
        reason = result.failed_visits.get(label, result.reason)
        receipt = receipts[job.subject, label]
        registry.record_analysis(job.subject, label, status, reason=reason, receipt=receipt)
