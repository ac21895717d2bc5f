"""Analysis of a trial: all subjects with scans, by the rules of the protocol."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.analysis.description import write_dataset_description
from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import ScanStatus
from mri_pipeline.registry import Registry, ScanState, SubjectState, Use
from reading_centre.use_cases.analysis.checked import Checked
from reading_centre.use_cases.analysis.overview import last_failure, latest_result, save_outcome
from reading_centre.use_cases.analysis.subject_jobs import ACCEPTED, locked_inputs, make_job
from reading_centre.use_cases.trial.staging import settle_all
from workflows.batch import only_run, run_batch, unchanged_outcome
from workflows.executors import Execution
from workflows.logs import run_log
from workflows.outcome import BatchOutcome, Outcome
from workflows.progress import BatchProgress

_LOGGER = logging.getLogger(__name__)


def _selected(
    trial: Trial, states: Iterable[SubjectState], subjects: Sequence[str], *, only_failed: bool
) -> list[SubjectState]:
    """Subjects with accepted scans, or those of them that were named or failed.

    Raises
    ------
    UsageError
        If a code is unknown, or if no subject is left.
    """
    with_scans = [s for s in states if any(visit.scan in ACCEPTED for visit in s.visits)]
    unknown = sorted(set(subjects) - {subject.code for subject in with_scans})
    if unknown:
        raise UsageError(
            f"expected blinded codes of subjects with accepted scans, found {', '.join(unknown)}",
            hint="'mri-pipeline status TRIAL' lists them",
        )
    if not with_scans:
        raise UsageError("expected accepted scans, found none", hint="take uploads in with 'mri-pipeline ingest'")
    chosen = [subject for subject in with_scans if not subjects or subject.code in subjects]
    if only_failed:
        chosen = [subject for subject in chosen if _has_failed(trial, subject)]
        if not chosen:
            raise UsageError("expected subjects that failed, found none", hint="leave out --rerun-failed")
    return chosen


def _has_failed(trial: Trial, subject: SubjectState) -> bool:
    failed = any(visit.scan is ScanState.FAILED for visit in subject.visits)
    return failed or bool(last_failure(trial.derivatives, subject.code))


def plan_run(folder: Path, *, subjects: Sequence[str] = (), only_failed: bool = False) -> dict[str, str]:
    """The subjects that `run_trial` would analyse, and why. Nothing is changed.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    subjects : sequence of str
        Blinded codes; all subjects if empty.
    only_failed : bool
        True: subjects that failed, or have visits that failed.

    Returns
    -------
    dict of str to str
        Reasons by blinded code, in the order of site and code.

    Raises
    ------
    UsageError
        As `run_trial`.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    digest = settings_digest(protocol.lesions)
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        chosen = _selected(trial, registry.state().subjects, subjects, only_failed=only_failed)
    return {subject.code: _reason(trial, subject, digest) for subject in chosen}


def _reason(trial: Trial, subject: SubjectState, digest: str) -> str:
    of_state = {
        state: ", ".join(visit.visit for visit in subject.visits if visit.scan is state)
        for state in (ScanState.RECEIVED, ScanState.FAILED)
    }
    _, last = latest_result(trial.derivatives, subject.code, digest)
    reasons = (
        of_state[ScanState.RECEIVED] and f"new scans: {of_state[ScanState.RECEIVED]}",
        of_state[ScanState.FAILED] and f"failed scans: {of_state[ScanState.FAILED]}",
        last,
    )
    return "; ".join(filter(None, reasons)) or "nothing new; current results are not computed again"


def run_trial(
    folder: Path,
    *,
    subjects: Sequence[str] = (),
    only_failed: bool = False,
    execution: Execution = Execution(),
    calibrate: bool = False,
    progress: BatchProgress | None = None,
) -> BatchOutcome:
    """Analyse subjects and record the status of each scan.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    subjects : sequence of str
        Blinded codes; all subjects if empty.
    only_failed : bool
        True: subjects that failed, or have visits that failed.
    execution : Execution
    calibrate : bool
        True: measure the detection rates of simulated lesions, for the reports. A subject whose results are current is
        analysed again if it has none.
    progress : callable, optional
        Called several times a second with the state of the run.

    Returns
    -------
    BatchOutcome
        In the order of site and code. A failed subject is not raised.

    Raises
    ------
    UsageError
        If the audit trail is broken, a code is unknown, there is no accepted scan yet, no subject has failed
        (`only_failed`), or another run is in progress.
    SettingsError
        If an external segmenter is to be calibrated.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    if calibrate:
        from mri_pipeline.analysis.calibration import require_built_in  # noqa: PLC0415 - scipy takes a second

        require_built_in(protocol.lesions, calibrate=calibrate)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry, only_run(trial.work):
        settle_all(trial, protocol, registry)
        states = registry.state().subjects
        chosen = _selected(trial, states, subjects, only_failed=only_failed)
        write_dataset_description(
            trial.derivatives.root,
            settings_digest=settings_digest(protocol),
            rules=protocol.lesions,
            raw=trial.rawdata.root,
        )
        checked = Checked(trial, protocol)
        known = checked.states(states, locked_inputs(registry))
        current = {
            subject.code: unchanged_outcome(trial.derivatives, subject.code)
            for subject in chosen
            if checked.current(subject.code, known[subject.code], calibrate=calibrate)
        }
        recorder = _Recorder(trial, registry, _analysed(chosen), checked, known, calibrate=calibrate)
        try:
            with run_log(trial.work) as log:
                found = run_batch(
                    [
                        make_job(trial, protocol, subject).model_copy(update={"calibrate": calibrate})
                        for subject in chosen
                        if subject.code not in current
                    ],
                    execution,
                    progress=progress,
                    finished=recorder.record,
                    unchanged=tuple(current.values()),
                )
        finally:  # an interrupted run has checked subjects, too
            checked.save()
        outcomes = current | {outcome.subject: outcome for outcome in found.outcomes}
        shown = not found.outcomes and checked.reports_current(known, methods=True)
        if not shown:
            _write_index(trial, protocol, registry)
    return BatchOutcome(tuple(outcomes[subject.code] for subject in chosen), log=str(log), reports_current=shown)


def _write_index(trial: Trial, protocol: Protocol, registry: Registry) -> None:
    """Write the pages over all subjects. A fault is left to the log: the analyses are done all the same."""
    from reading_centre.use_cases.analysis.subject_reports import write_trial_index  # noqa: PLC0415 - matplotlib

    try:
        write_trial_index(trial, protocol, registry, methods=True)
    except (ReadingCentreError, OSError) as error:
        _LOGGER.warning("the index of the reports could not be written: %s", error)


def _analysed(subjects: Sequence[SubjectState]) -> frozenset[str]:
    """Codes of the subjects of which every accepted scan is analysed."""
    return frozenset(
        subject.code
        for subject in subjects
        if not any(visit.scan in ACCEPTED and visit.scan is not ScanState.ANALYSED for visit in subject.visits)
    )


@dataclass(frozen=True)
class _Recorder:
    """Records how the analysis of each subject ended.

    `analysed` has the subjects of which every accepted scan is analysed, `known` the `Checked.state` of each subject
    before the run.
    """

    trial: Trial
    registry: Registry
    analysed: frozenset[str]
    checked: Checked
    known: Mapping[str, str]
    calibrate: bool

    def record(self, job: SubjectJob, result: Outcome) -> None:
        """Record the outcome and the status of each scan of a subject.

        A failed run removes nothing. Earlier results and locked reads remain. A scan that was accepted since then has
        no results, even if the scan that it replaced had. If a scan was replaced or withdrawn during the run, the
        status of no scan of the subject is changed.
        """
        if result.untouched:
            return
        if result.unchanged and job.subject in self.analysed:
            self.checked.set_current(job.subject, self.known[job.subject], calibrate=self.calibrate)
            return
        if not result.done:
            save_outcome(self.trial.derivatives, result)
        numbers = self.trial.derivatives.result(job.subject)
        has = {counts.visit for counts in load_result(numbers).visits} if numbers.is_file() else set()
        keys = {visit.visit: visit.scan_key for visit in job.visits}
        statuses = {}
        for label in keys:
            has_numbers = (
                label not in result.failed_visits if result.done else label in has and label in job.settled
            )
            status = ScanStatus.ANALYSED if has_numbers else ScanStatus.FAILED
            statuses[label] = (status, result.failed_visits.get(label, result.reason))
        self.registry.record_analyses(job.subject, statuses, scan_keys=keys)
