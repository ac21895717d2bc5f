"""Which visits await a read by a reader or adjudicator."""

from __future__ import annotations

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.accounts import Role
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.reading.items import ReadingItem, item_from_derivatives
from mri_pipeline.reading.worklist import is_drawn
from mri_pipeline.registry import Registry, ScanState, VisitState
from mri_pipeline.registry.reads import refusal_of
from reading_centre.use_cases.reading.known_reads import (
    rereads_of,
)


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
    percent = protocol.reading.rereads_percent
    if not reader or not percent or protocol.reader(reader).role is not Role.READER:
        return []
    key, again = Sealed.open(trial).secret("reading"), rereads_of(registry, reader)
    return [
        item_from_derivatives(trial.derivatives, subject.code, visit.visit)
        for subject in registry.state().subjects
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
