"""The inputs of the tables: results, planned visits, and the state of scans and reads."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.records import LesionRecord, ReadStatus, ScanStatus, SubjectResult, VisitCounts


@dataclass(frozen=True)
class Evaluator:
    """Reader or adjudicator whose read gives the numbers of a visit.

    Parameters
    ----------
    code : str
        Code of the reader or adjudicator.
    adjudicator : bool
    """

    code: str
    adjudicator: bool = False


@dataclass(frozen=True)
class SubjectInput:
    """One subject.

    Parameters
    ----------
    result : SubjectResult
        Blinded code, counts and lesions of every analysed visit. Both are empty if no visit was analysed.
    scans : mapping of visit label to ScanStatus
        A planned visit without an entry is missing.
    reads : mapping of visit label to ReadStatus
        An analysed visit without an entry is automatic.
    visits : tuple of PlannedVisit, optional
        The subject's own visits in the order of the rows, for a dataset without a protocol. None: those of the trial.
    evaluators : mapping of visit label to Evaluator
        A visit without an entry is unread.
    versions : mapping of visit label to int
        Version of the read that counts. A visit without an entry is unread.
    """

    result: SubjectResult
    scans: Mapping[str, ScanStatus] = field(default_factory=dict)
    reads: Mapping[str, ReadStatus] = field(default_factory=dict)
    visits: tuple[PlannedVisit, ...] | None = None
    evaluators: Mapping[str, Evaluator] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """Blinded code of the subject."""
        return self.result.subject

    def read_status(self, visit: str) -> ReadStatus:
        """Read status of an analysed visit.

        Parameters
        ----------
        visit : str
            Label of the visit.

        Returns
        -------
        ReadStatus
            Automatic if no read of the visit is given.
        """
        return self.reads.get(visit, ReadStatus.AUTOMATIC)


@dataclass(frozen=True)
class VisitInput:
    """One planned visit of a subject, with everything that its rows need.

    Parameters
    ----------
    plan : PlannedVisit
    scan : ScanStatus
    read : ReadStatus or None
        None if the visit was not analysed.
    counts : VisitCounts or None
        None if the visit was not analysed.
    lesions : tuple of LesionRecord
        In the order of their numbers; empty if the visit was not analysed.
    read_version : int or None
        Version of the read that counts. None without one.
    """

    plan: PlannedVisit
    scan: ScanStatus
    read: ReadStatus | None
    counts: VisitCounts | None
    lesions: tuple[LesionRecord, ...]
    read_version: int | None = None


def visit_inputs(subject: SubjectInput, visits: Sequence[PlannedVisit]) -> list[VisitInput]:
    """Every planned visit of a subject with its numbers, in the order of `visits`.

    Parameters
    ----------
    subject : SubjectInput
    visits : sequence of PlannedVisit

    Returns
    -------
    list of VisitInput
        One for each planned visit; lesions are sorted by number.

    Raises
    ------
    UsageError
        If the subject has a visit that is not planned, or an analysed visit has no numbers.
    """
    unplanned = {*subject.scans, *subject.reads} - {visit.label for visit in visits}
    if unplanned:
        raise UsageError(
            f"subject {subject.code}: expected only planned visits, found {', '.join(sorted(unplanned))}",
            hint="add the visit to trial.toml, or remove its scan",
        )
    counts = {found.visit: found for found in subject.result.visits}
    analysed = {visit for visit, status in subject.scans.items() if status is ScanStatus.ANALYSED}
    without = analysed - set(counts)
    if without:
        raise UsageError(
            f"subject {subject.code}: expected numbers of every analysed visit, found none for "
            f"{', '.join(sorted(without))}",
            hint="run the analysis of this subject again",
        )
    lesions: dict[str, list[LesionRecord]] = {visit: [] for visit in analysed}
    for lesion in sorted(subject.result.lesions, key=lambda lesion: lesion.lesion_id):
        if lesion.visit in lesions:
            lesions[lesion.visit].append(lesion)
    return [
        VisitInput(
            plan=visit,
            scan=subject.scans.get(visit.label, ScanStatus.MISSING),
            read=subject.read_status(visit.label) if visit.label in analysed else None,
            counts=counts[visit.label] if visit.label in analysed else None,
            lesions=tuple(lesions.get(visit.label, ())),
            read_version=subject.versions.get(visit.label),
        )
        for visit in visits
    ]


def new_code(subject: SubjectInput, known: Container[str]) -> str:
    """The code of a subject, which must not be among the known ones.

    Parameters
    ----------
    subject : SubjectInput
    known : container of str
        Codes of the subjects before it.

    Returns
    -------
    str
        Blinded code.

    Raises
    ------
    UsageError
        If the code is known.
    """
    if subject.code in known:
        raise UsageError(
            f"expected every subject once, found {subject.code} twice", hint="give each subject once to the tables"
        )
    return subject.code
