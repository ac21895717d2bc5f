"""Serial reading: the previous visit of an item, for export and import."""

from __future__ import annotations

from functools import partial

from mri_pipeline.analysis.reads.check import number_counted
from mri_pipeline.analysis.serial_changes import proposed_changes
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStanding
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.confirmed import PreviousT2
from mri_pipeline.reading.items import LesionKind, ReadingItem, item_from_derivatives
from mri_pipeline.reading.record import Opinion, StoredProposal
from mri_pipeline.reading.serial import Previous
from mri_pipeline.reading.worklist import PreviousOf
from mri_pipeline.registry import ReadState, Registry, ScanState, VisitState
from reading_centre.use_cases.reading.known_reads import masks_by_kind, stored_read


def previous_visits(trial: Trial, protocol: Protocol, registry: Registry, reader: str) -> PreviousOf | None:
    """The previous visit of each item, if readers may know the order of the visits.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    reader : str
        Code of the reader, who sees the own read of the previous visit. Empty: that which counts.

    Returns
    -------
    callable or None
        It returns None for a first visit, and if the previous visit is not confirmed.
    """
    if not protocol.reading.order_of_visits_known:
        return None

    def previous_of(item: ReadingItem) -> Previous | None:
        before = _before(registry, item.subject, item.visit)
        known = None if before is None else _confirmed(before, reader, protocol.reading.readers)
        if before is None or known is None:
            return None
        masks = stored_read(trial, item.subject, before.visit, known).masks
        return Previous(
            item_from_derivatives(trial.derivatives, item.subject, before.visit),
            Opinion(known.reader, known.version, known.digest),
            masks_by_kind(masks),
            partial(proposed_changes, masks.t2_lesions, rules=protocol.lesions),
        )

    return previous_of


def previous_lesions(trial: Trial, protocol: Protocol, registry: Registry) -> PreviousT2:
    """The counted T2 lesions of the previous visit that was exported beside a visit.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry

    Returns
    -------
    callable
        It raises `UsageError` if that read is no longer the present one.
    """

    def previous_t2(proposal: StoredProposal) -> LabelImage:
        before, shown = _before(registry, proposal.subject, proposal.visit), proposal.shown
        known = before.by(shown.previous.reader) if before and shown else None
        if before is None or known is None or shown is None or known.digest != shown.previous.digest:
            raise UsageError(
                f"item {proposal.reading_code}: expected the present read of the previous visit "
                f"({_version(known)}), found {_version(shown.previous if shown else None)} in the item",
                hint="export the worklist again and read this item again",
            )
        masks = stored_read(trial, proposal.subject, before.visit, known).masks
        return number_counted(LesionKind.T2, masks.t2_lesions, protocol.lesions)

    return previous_t2


def _before(registry: Registry, subject: str, visit: str) -> VisitState | None:
    """The previous analysed visit."""
    before = None
    for state in registry.subject(subject).visits:
        if state.visit == visit:
            return before
        if state.scan is ScanState.ANALYSED:
            before = state
    return None


def _confirmed(before: VisitState, reader: str, wanted: int) -> ReadState | None:
    known = before.by(reader) or (before.counting if wanted == 1 or not reader else None)
    return known if known is not None and known.standing is not ReadStanding.REOPENED else None


def _version(read: ReadState | Opinion | None) -> str:
    return f"version {read.version}" if read else "no read"
