"""Jobs of the analysis: what a trial has of each subject."""

from __future__ import annotations

from typing import Any

from mri_pipeline.analysis.subject_job import SubjectJob, VisitScans, files_state
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.plan import planned_visits
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.registry import Registry, ScanState, SubjectState
from reading_centre.use_cases.analysis.overview import outcome_text
from workflows.outcome import Outcome

ACCEPTED = {ScanState.RECEIVED, ScanState.ANALYSED, ScanState.FAILED}
"""States of an accepted scan."""


def make_job(trial: Trial, protocol: Protocol, subject: SubjectState) -> SubjectJob:
    """Make the job of one subject, with its accepted visits in the order of the protocol.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    subject : SubjectState
        With at least one accepted scan.

    Returns
    -------
    SubjectJob
        With absolute paths.
    """
    states = {visit.visit: visit.scan for visit in subject.visits}
    keys = {visit.visit: visit.scan_key for visit in subject.visits}
    scans = {
        visit.label: {c: path.resolve() for c, path in trial.rawdata.scans(subject.code, visit.label).items()}
        for visit in protocol.visits
        if states[visit.label] in ACCEPTED
    }
    kept = trial.kept_space(subject.code)
    return SubjectJob(
        subject=subject.code,
        visits=tuple(
            VisitScans(
                visit=visit.label,
                week=visit.week,
                scans=scans[visit.label],
                scan_key=keys[visit.label],
                files=files_state(scans[visit.label]),
            )
            for visit in protocol.visits
            if visit.label in scans
        ),
        planned=planned_visits(protocol),
        refused=tuple(label for label, state in states.items() if state is ScanState.REFUSED),
        protocol=protocol.name,
        rules=protocol.lesions,
        raw=trial.rawdata.root.resolve(),
        derivatives=trial.derivatives.root.resolve(),
        reports=trial.reports.resolve(),
        work=trial.work.resolve(),
        settings_digest=settings_digest(protocol),
        kept_space=kept.folder.resolve() if kept.record.is_file() else None,
        settled=tuple(
            label for label in _measured(trial, subject.code) if states.get(label) is ScanState.ANALYSED
        ),
        locks=(trial.subject_lock(subject.code),),
        beside={
            trial.derivatives.outcome(subject.code).name: outcome_text(Outcome(subject=subject.code, done=True))
        },
    )


def locked_inputs(registry: Registry) -> dict[str, dict[str, dict[str, Any]]]:
    """What the counts of each locked visit depend on.

    Parameters
    ----------
    registry : Registry

    Returns
    -------
    dict of str to dict
        `RegistryQueries.locked_inputs` by subject and visit.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (subject, visit), inputs in registry.locked_inputs().items():
        found.setdefault(subject, {})[visit] = inputs
    return found


def _measured(trial: Trial, subject: str) -> list[str]:
    """Visits with results in the derivative dataset. Results of another version do not count."""
    try:
        return [counts.visit for counts in load_result(trial.derivatives.result(subject)).visits]
    except UsageError:
        return []
