"""Reads at a glance for data managers and auditors: progress of the readers, adjudication, agreement."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.reading_settings import Reader
from mri_pipeline.registry import Registry, ScanState, SubjectState, TrialState, VisitState
from mri_pipeline.registry.assignment_records import Assignment, AssignmentState
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.reading.agreement import TABLE


@dataclass(frozen=True)
class ReaderProgress:
    """The work of a reader in the reading room.

    Parameters
    ----------
    code, name, role : str
    open, started, signed : int
        Number of cases.
    median_minutes : float or None
        Time spent on a signed case.
    """

    code: str
    name: str
    role: str
    open: int
    started: int
    signed: int
    median_minutes: float | None


def reader_progress(readers: Sequence[Reader], registry: Registry) -> list[ReaderProgress]:
    """The work of every reader.

    Parameters
    ----------
    readers : sequence of Reader
    registry : Registry

    Returns
    -------
    list of ReaderProgress
    """
    return [_progress(reader, registry.assignments.of_reader(reader.code)) for reader in readers]


def _progress(reader: Reader, cases: Sequence[Assignment]) -> ReaderProgress:
    seconds = [case.seconds for case in cases if case.state is AssignmentState.SIGNED]
    waiting = [case for case in cases if case.state is AssignmentState.OPEN]
    started = sum(bool(case.opened_at) for case in waiting)
    return ReaderProgress(
        reader.code, reader.name, reader.role.value, len(waiting) - started, started, len(seconds),
        round(median(seconds) / 60, 1) if seconds else None,
    )  # fmt: skip


def visits_with_reads(state: TrialState) -> list[tuple[SubjectState, VisitState]]:
    """The analysed visits and all visits with reads, by subject and visit.

    Parameters
    ----------
    state : TrialState

    Returns
    -------
    list of (SubjectState, VisitState)
    """
    return [
        (subject, visit)
        for subject in state.subjects
        for visit in subject.visits
        if visit.reads or visit.scan is ScanState.ANALYSED
    ]


@dataclass(frozen=True)
class AdjudicationRate:
    """How often two readers disagree.

    Parameters
    ----------
    readers : str
        Codes of both readers with a hyphen.
    compared, disagreed : int
        Number of visits, at their first comparison.
    reasons : mapping of str to int
        Number of visits by the limit that was exceeded (`mri_pipeline.core.reading_settings.Comparison`).
    """

    readers: str
    compared: int
    disagreed: int
    reasons: Mapping[str, int]

    @property
    def percent(self) -> float:
        """Share of the compared visits."""
        return 100.0 * self.disagreed / self.compared


def adjudication_rates(registry: Registry) -> list[AdjudicationRate]:
    """The rate of adjudication of each pair of readers.

    Parameters
    ----------
    registry : Registry

    Returns
    -------
    list of AdjudicationRate
        In the order of the pairs. Visits whose scan was withdrawn are left out.
    """
    first: dict[str, Mapping[str, object]] = {}
    for entry in registry.entries_on_scans(AuditAction.READS_COMPARED):
        first.setdefault(entry.target, entry.details)
    compared, disagreed = Counter[str](), Counter[str]()
    reasons: dict[str, Counter[str]] = {}
    for details in first.values():
        reads, found = details["reads"], details["disagreements"]
        assert isinstance(reads, Mapping)
        assert isinstance(found, list)
        pair = "-".join(sorted(reads))
        compared[pair] += 1
        disagreed[pair] += not details["counts"]
        reasons.setdefault(pair, Counter()).update({str(one["limit"]) for one in found})
    return [AdjudicationRate(pair, compared[pair], disagreed[pair], reasons[pair]) for pair in sorted(compared)]


def agreement_table(trial: Trial) -> list[dict[str, str]]:
    """The table of the latest agreement report (`reading_centre.use_cases.reading.agreement.write_agreement`).

    Parameters
    ----------
    trial : Trial

    Returns
    -------
    list of dict
        Empty if no report was written.
    """
    try:
        with (trial.reports / TABLE).open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        return []
