"""Which visits await a read by a reader or adjudicator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.accounts import Role
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.reading.items import ReadingItem, item_from_derivatives
from mri_pipeline.reading.worklist import is_drawn
from mri_pipeline.registry import Registry, ScanState, SubjectState, VisitState
from mri_pipeline.registry.assignment_records import AssignmentState
from mri_pipeline.registry.reads import refusal_of
from reading_centre.use_cases.reading.known_reads import rereads_of


def rereads_for(trial: Trial, protocol: Protocol, registry: Registry, reader: str) -> list[ReadingItem]:
    """The visits that a reader is to read a second time: a share of all, drawn by a keyed hash.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    reader : str
        Code of the reader.

    Returns
    -------
    list of ReadingItem
    """
    return [
        item_from_derivatives(trial.derivatives, subject, visit)
        for subject, visit in drawn_for(trial, protocol, registry, reader, registry.state().subjects)
    ]


def drawn_for(
    trial: Trial, protocol: Protocol, registry: Registry, reader: str, subjects: Iterable[SubjectState]
) -> list[tuple[str, str]]:
    """As `rereads_for`, without looking at the files.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    reader : str
        Code of the reader.
    subjects : iterable of SubjectState

    Returns
    -------
    list of (subject, visit)
    """
    percent = protocol.reading.rereads_percent
    if not reader or not percent or protocol.reader(reader).role is not Role.READER:
        return []
    key, again = Sealed.open(trial).secret("reading"), rereads_of(registry, reader)
    return [
        (subject.code, visit.visit)
        for subject in subjects
        for visit in subject.visits
        if visit.scan is ScanState.ANALYSED
        and (own := visit.by(reader)) is not None
        and own.standing is not ReadStanding.REOPENED
        and (subject.code, visit.visit) not in again
        and is_drawn(key, subject.code, visit.visit, reader, percent=percent)
    ]


def awaits_read(visit: VisitState, reader: str, role: Role, protocol: Protocol) -> bool:
    """True if a visit awaits a read by a reader or adjudicator.

    Parameters
    ----------
    visit : VisitState
        With an analysed scan.
    reader : str
        Code of the reader.
    role : Role
    protocol : Protocol

    Returns
    -------
    bool
    """
    own = visit.by(reader)
    if own is not None:
        return own.standing is ReadStanding.REOPENED
    if role is Role.ADJUDICATOR:
        return visit.disputed
    return refusal_of(visit.reads, reader, ReadStatus.CONFIRMED, wanted=protocol.reading.readers) is None


def visits_to_show(
    trial: Trial, protocol: Protocol, registry: Registry, subjects: Sequence[SubjectState]
) -> set[tuple[str, str]]:
    """The analysed visits that somebody has still to read, and those that are shown beside them.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    subjects : sequence of SubjectState
        Of the trial.

    Returns
    -------
    set of (subject, visit)
        Without a locked read, in an open case, or to be read a second time. If readers may know the order of the
        visits, the previous visit of each as well.
    """
    cases = {
        (one.subject, one.visit)
        for reader in protocol.readers
        for one in registry.assignments.of_reader(reader.code)
        if one.state is AssignmentState.OPEN
    }
    for reader in protocol.readers:
        cases |= set(drawn_for(trial, protocol, registry, reader.code, subjects))
    shown = set()
    for subject in subjects:
        analysed = [visit for visit in subject.visits if visit.scan is ScanState.ANALYSED]
        for number, visit in enumerate(analysed):
            if (subject.code, visit.visit) in cases or not any(r.status is ReadStatus.LOCKED for r in visit.reads):
                beside = analysed[max(number - 1, 0) : number] if protocol.reading.order_of_visits_known else []
                shown |= {(subject.code, one.visit) for one in (visit, *beside)}
    return shown
