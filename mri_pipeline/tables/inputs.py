"""What tables are made from: results, planned visits, and the state of scans and reads."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStatus, ScanStatus, SubjectResult, VisitCounts
from mri_pipeline.core.visits import visit_order, week_of


@dataclass(frozen=True)
class PlannedVisit:
    """A visit that has a row, in the order of the rows; `week` is None where nothing tells it."""

    label: str
    week: int | None


def planned_visits(protocol: Protocol) -> tuple[PlannedVisit, ...]:
    """The visits of a trial, in the order of their weeks."""
    return tuple(PlannedVisit(visit.label, visit.week) for visit in protocol.visits)


def found_visits(labels: Iterable[str]) -> tuple[PlannedVisit, ...]:
    """The sessions of a dataset without protocol, in the order of their labels.

    Examples
    --------
    >>> [visit.week for visit in found_visits(["wk12", "2", "wk04"])]
    [None, 4, 12]
    """
    return tuple(PlannedVisit(label, week_of(label)) for label in sorted(labels, key=visit_order))


@dataclass(frozen=True)
class SubjectInput:
    """One subject.

    Parameters
    ----------
    result : SubjectResult
        Blinded code, counts and lesions of every analysed visit (none, where nothing was analysed).
    scans : mapping of visit label to ScanStatus
        A planned visit that is not named is missing.
    reads : mapping of visit label to ReadStatus
        An analysed visit that is not named is automatic.
    """

    result: SubjectResult
    scans: Mapping[str, ScanStatus] = field(default_factory=dict)
    reads: Mapping[str, ReadStatus] = field(default_factory=dict)

    def scan_status(self, visit: str) -> ScanStatus:
        """What became of a planned visit's scan."""
        return self.scans.get(visit, ScanStatus.MISSING)

    def read_status(self, visit: str) -> ReadStatus:
        """How far the reading of an analysed visit has come."""
        return self.reads.get(visit, ReadStatus.AUTOMATIC)

    def counts(self) -> dict[str, VisitCounts]:
        """The numbers of the analysed visits.

        Raises
        ------
        UsageError
            If an analysed visit has no numbers.
        """
        known = {counts.visit: counts for counts in self.result.visits}
        analysed = [visit for visit, status in self.scans.items() if status is ScanStatus.ANALYSED]
        without = [visit for visit in analysed if visit not in known]
        if without:
            raise UsageError(
                f"subject {self.result.subject}: expected numbers of every analysed visit, found none of "
                f"{', '.join(sorted(without))}",
                hint="run the analysis of this subject again",
            )
        return {visit: known[visit] for visit in analysed}


def new_code(subject: SubjectInput, known: Container[str]) -> str:
    """The code of a subject that must not be among the known ones.

    Raises
    ------
    UsageError
        If it is.
    """
    if subject.result.subject in known:
        raise UsageError("expected every subject once, found a code twice")
    return subject.result.subject


def require_planned(subject: SubjectInput, visits: Iterable[PlannedVisit]) -> None:
    """Refuse a visit that is not planned.

    Raises
    ------
    UsageError
        If the subject has one.
    """
    unknown = {*subject.scans, *subject.reads} - {visit.label for visit in visits}
    if unknown:
        raise UsageError(
            f"subject {subject.result.subject}: expected planned visits alone, found {', '.join(sorted(unknown))}",
            hint="add the visit to trial.toml, or remove its scan",
        )
