"""Visits at a glance for data managers and auditors: state, due dates and queries of every visit."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.registry import QueryState, Registry, ScanState, SubjectState
from reading_centre.use_cases.office.status import status_text
from reading_centre.use_cases.office.visit_plan import Due, planned_windows
from reading_centre.use_cases.uploads.task import decided_entries

AWAITED = frozenset({ScanState.MISSING, ScanState.REFUSED})
"""States of a visit that awaits a scan."""


@dataclass(frozen=True)
class VisitCell:
    """One visit at a glance.

    Parameters
    ----------
    visit : str
        Label.
    state : str
        State of the scan; for an analysed visit that of its reads.
    due : str
        `Due` of a visit that awaits a scan, else empty.
    open_queries, answered_queries : int
    """

    visit: str
    state: str
    due: str
    open_queries: int
    answered_queries: int


@dataclass(frozen=True)
class SubjectVisits:
    """A subject at a glance.

    Parameters
    ----------
    code : str
        Blinded code.
    cells : tuple of VisitCell
        In the order of the protocol.
    """

    code: str
    cells: tuple[VisitCell, ...]


@dataclass(frozen=True)
class SiteBlock:
    """A site with its subjects.

    Parameters
    ----------
    code, gate : str
        Code, and verdict on its latest dummy run.
    quarantined : int
        Refused uploads that wait for a decision.
    dummy_run_queries : int
        Queries on its dummy run that are not closed.
    subjects : tuple of SubjectVisits
    """

    code: str
    gate: str
    quarantined: int
    dummy_run_queries: int
    subjects: tuple[SubjectVisits, ...]


def site_overview(
    trial: Trial, protocol: Protocol, registry: Registry, *, today: dt.date
) -> tuple[SiteBlock, ...]:
    """Sites, subjects and visits of a trial.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    today : datetime.date
        For what is due.

    Returns
    -------
    tuple of SiteBlock
    """
    state, queries = registry.state(), Counter[tuple[str, str, str, QueryState]]()
    for query in registry.site_queries.all():
        queries[query.site, query.subject, query.visit, query.state] += 1
    waiting = Counter(entry.site for entry in decided_entries(trial, registry) if not entry.outcome)
    due = due_visits(trial, protocol, registry, state.subjects, today=today)

    def row(subject: SubjectState) -> SubjectVisits:
        cells = []
        for visit in subject.visits:
            key = subject.site, subject.code, visit.visit
            cells.append(
                VisitCell(
                    visit.visit, status_text(visit, protocol.reading.readers), due.get(key[1:], ""),
                    queries[*key, QueryState.OPEN], queries[*key, QueryState.ANSWERED],
                )
            )  # fmt: skip
        return SubjectVisits(subject.code, tuple(cells))

    return tuple(
        SiteBlock(
            site.code,
            site.gate.value,
            waiting[site.code],
            queries[site.code, "", "", QueryState.OPEN] + queries[site.code, "", "", QueryState.ANSWERED],
            tuple(row(subject) for subject in state.subjects if subject.site == site.code),
        )
        for site in state.sites
    )


def due_visits(
    trial: Trial, protocol: Protocol, registry: Registry, subjects: Sequence[SubjectState], *, today: dt.date
) -> dict[tuple[str, str], str]:
    """Whether the visits that await a scan are due.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    subjects : sequence of SubjectState
    today : datetime.date

    Returns
    -------
    dict of (subject, visit) to str
        A value of `Due`.
    """
    days, secret = registry.scan_days(), Sealed.open(trial).secret("blinding")
    found = {}
    for subject in subjects:
        windows = planned_windows(protocol, days.get(subject.code, {}), Blinding(subject.code, secret).shift.days)
        for visit in subject.visits:
            if visit.scan in AWAITED:
                window = windows.get(visit.visit)
                found[subject.code, visit.visit] = (window.due(today) if window else Due.UNKNOWN).value
    return found


def totals(sites: Sequence[SiteBlock], registry: Registry) -> dict[str, int]:
    """Sums above the overview.

    Parameters
    ----------
    sites : sequence of SiteBlock
    registry : Registry

    Returns
    -------
    dict of str to int
        By title.
    """
    state, queries = registry.state(), registry.site_queries.count()
    cells = [cell for site in sites for row in site.subjects for cell in row.cells]
    visits = [visit for subject in state.subjects for visit in subject.visits]
    return {
        "subjects": len(state.subjects),
        "scans received": sum(visit.scan not in AWAITED for visit in visits),
        "scans analysed": sum(visit.scan is ScanState.ANALYSED for visit in visits),
        "reads locked": sum(visit.read is ReadStatus.LOCKED for visit in visits),
        "visits overdue": sum(cell.due == Due.OVERDUE for cell in cells),
        "queries open": queries[QueryState.OPEN],
        "queries answered": queries[QueryState.ANSWERED],
        "refused uploads waiting": sum(site.quarantined for site in sites),
    }
