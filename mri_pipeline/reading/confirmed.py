"""From what a reader returned to a stored read. The import of a worklist and the web application share it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.core import provenance
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.records import ReadStatus, T2State
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.adjudication import Dispute
from mri_pipeline.reading.decide import ConfirmedMask, confirm_mask, require_holes_in_lesions
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.record import LesionDecision, ReadPurpose, ReadRecord, StoredProposal
from mri_pipeline.reading.serial import changes_mask
from mri_pipeline.reading.store import load_record, place_read, stage_read

Enter = Callable[[Sequence[ReadRecord]], None]
"""Enters reads in the registry, all or none."""

Masks = Mapping[LesionKind, LabelImage]
Check = Callable[[Masks, str], tuple[Masks, Sequence[str]]]
"""Applies the definitions of lesions to the confirmed masks of an item (`mri_pipeline.analysis.reads.check`).

Takes the masks and the name of the item; returns the masks and notes for the reader, or raises.
"""
PreviousT2 = Callable[[StoredProposal], LabelImage]
"""The counted T2 lesions of the previous visit that was shown beside a visit."""


@dataclass(frozen=True)
class KnownRead:
    """What is known of the earlier read of a visit by the importing reader.

    Parameters
    ----------
    version : int
        Its latest version; 0 if there is none.
    digest : str
        Digest of its record; empty if there is none.
    refusal : tuple of 3 str, or None
        If the visit accepts no read by this reader: what was expected, what was found, and a hint.
    renewed : bool
        True if a new version is stored even if nothing has changed.
    locked : bool
        True if the read is locked.
    """

    version: int = 0
    digest: str = ""
    refusal: tuple[str, str, str] | None = None
    renewed: bool = False
    locked: bool = False


@dataclass(frozen=True)
class Returned:
    """What a reader returned of one item.

    Parameters
    ----------
    decisions : tuple of LesionDecision
        One for every proposed lesion.
    labels : mapping of LesionKind to LabelImage
        The returned masks, on the grid of the proposed ones.
    changes : mapping of int to T2State
        Decisions on proposed changes, for the accepted lesions.
    """

    decisions: tuple[LesionDecision, ...]
    labels: Masks
    changes: Mapping[int, T2State]


@dataclass(frozen=True)
class ConfirmedItem:
    """The confirmed lesions of one item.

    Parameters
    ----------
    proposal : StoredProposal
    decisions : tuple of LesionDecision
    masks : mapping of LesionKind to LabelImage
        0 and 1.
    voxels_added, voxels_erased : int
        Of all kinds.
    changes : LabelImage or None
        Decisions on changes (`mri_pipeline.reading.serial.changes_mask`).
    changes_since : str
        Digest of the read to which they refer; empty without such decisions.
    notes : tuple of str
        What was cut off or does not count.
    """

    proposal: StoredProposal
    decisions: tuple[LesionDecision, ...]
    masks: Masks
    voxels_added: int
    voxels_erased: int
    changes: LabelImage | None
    changes_since: str
    notes: tuple[str, ...]


def confirm_item(
    proposal: StoredProposal,
    proposed: Masks,
    returned: Returned,
    *,
    what: str,
    check: Check | None = None,
    previous_t2: PreviousT2 | None = None,
    dispute: Dispute | None = None,
) -> ConfirmedItem:
    """The confirmed lesions of one item.

    Parameters
    ----------
    proposal : StoredProposal
    proposed : mapping of LesionKind to LabelImage
        The proposed lesions, one number each.
    returned : Returned
    what : str
        Names the item in messages.
    check : callable, optional
        Checks the confirmed masks.
    previous_t2 : callable, optional
        For a serial reading: the counted T2 lesions of the previous visit.
    dispute : Dispute, optional
        For an adjudication: the two reads.

    Returns
    -------
    ConfirmedItem

    Raises
    ------
    UsageError
        If decisions and masks contradict each other, or as `check`.
    """
    confirmed: dict[LesionKind, ConfirmedMask] = {}
    for kind, mask in proposed.items():
        named, own = f"{what}, {kind.file}", [d for d in returned.decisions if d.kind is kind]
        if dispute:
            confirmed[kind] = dispute.resolved(kind, mask, returned.labels[kind], own, what=named)
        else:
            accepted = {d.lesion: d.accepted for d in own}
            confirmed[kind] = confirm_mask(mask, returned.labels[kind], accepted, what=named)
    require_holes_in_lesions(proposed, confirmed, what=what)
    masks: Masks = {kind: mask.mask for kind, mask in confirmed.items()}
    notes: Sequence[str] = ()
    if check is not None:
        masks, notes = check(masks, what)
    changes, since = None, ""
    if returned.changes and previous_t2 is not None and proposal.shown is not None:
        lesions, previous = returned.labels[LesionKind.T2], previous_t2(proposal)
        changes = changes_mask(returned.changes, lesions, masks[LesionKind.T2], previous, what=what)
        since = proposal.shown.previous.digest
    return ConfirmedItem(
        proposal, returned.decisions, masks, sum(mask.voxels_added for mask in confirmed.values()),
        sum(mask.voxels_erased for mask in confirmed.values()), changes, since, tuple(notes),
    )  # fmt: skip


def stage_item(stage: Path, item: ConfirmedItem, *, reader: str, read_at: str, earlier: KnownRead) -> ReadRecord:
    """Write the read of an item to a staging folder.

    Parameters
    ----------
    stage : Path
        See `mri_pipeline.reading.store.staging`.
    item : ConfirmedItem
    reader : str
        Code of the reader.
    read_at : str
        UTC (ISO 8601).
    earlier : KnownRead
        The earlier read of the visit by this reader.

    Returns
    -------
    ReadRecord
        As stored.
    """
    proposal = item.proposal
    record = ReadRecord(
        subject=proposal.subject,
        visit=proposal.visit,
        reading_code=proposal.reading_code,
        reader=reader,
        read_at=read_at,
        status=ReadStatus.ADJUDICATED if proposal.purpose is ReadPurpose.ADJUDICATION else ReadStatus.CONFIRMED,
        decisions=item.decisions,
        voxels_added=item.voxels_added,
        voxels_erased=item.voxels_erased,
        digests={},
        software=provenance.software(),
        version=earlier.version + 1,
        replaces=earlier.digest,
        adjudicates={opinion.reader: opinion.digest for opinion in proposal.opinions},
        reread=proposal.purpose is ReadPurpose.REREAD,
        changes_since=item.changes_since,
    )
    return stage_read(stage, record, item.masks, item.changes)


def take_over(
    stage: Path, reads: Path, staged: Sequence[tuple[ReadRecord, KnownRead]], enter: Enter | None
) -> tuple[list[ReadRecord], list[str]]:
    """Store and enter all staged reads that differ from the reader's earlier ones, or none.

    Parameters
    ----------
    stage : Path
        The staging folder.
    reads : Path
        ``reads/`` of the trial.
    staged : sequence of (ReadRecord, KnownRead)
        From `stage_item`, with the earlier read of each.
    enter : callable, optional
        Called with the records when their files are in place. If it raises, the files are removed.

    Returns
    -------
    records : list of ReadRecord
        The stored reads.
    unchanged : list of str
        Reading codes of the reads that equal the reader's earlier ones.

    Raises
    ------
    UsageError
        If a visit accepts no read by this reader, or all reads are locked and unchanged.
    """
    records, unchanged = _to_store(reads, staged)
    placed: list[Path] = []
    try:
        placed += (place_read(stage, reads, record) for record in records)
        if enter is not None and records:
            enter(records)
    except Exception:  # after a signal the registry may know them; unknown ones do no harm
        for path in placed:
            shutil.rmtree(path, ignore_errors=True)
        raise
    return records, unchanged


def _to_store(reads: Path, staged: Sequence[tuple[ReadRecord, KnownRead]]) -> tuple[list[ReadRecord], list[str]]:
    """The records that are new, and the codes of the reads that equal the reader's earlier ones."""
    records, unchanged = [], []
    for record, earlier in staged:
        if _unchanged(reads, record, earlier):
            unchanged.append((record.reading_code, earlier))
        elif refused := _refused(record.reading_code, earlier):
            raise refused
        else:
            records.append(record)
    only_locked = unchanged and not records and all(earlier.locked for _, earlier in unchanged)
    if only_locked and (refused := _refused(*unchanged[0])):
        raise refused
    return records, [code for code, _ in unchanged]


def _refused(code: str, earlier: KnownRead) -> UsageError | None:
    if earlier.refusal is None:
        return None
    expected, found, hint = earlier.refusal
    return UsageError(f"item {code}: expected {expected}, found {found}", hint=hint)


def _unchanged(reads: Path, record: ReadRecord, earlier: KnownRead) -> bool:
    """True if the reader's earlier read has the same decisions and masks."""
    if not earlier.digest or earlier.renewed:
        return False
    key = (record.subject, record.visit, record.reader, earlier.version)
    old = load_record(reads, *key, reread=record.reread)
    return old is not None and old.digest == earlier.digest and record.same_read(old)
