"""Import of readers' decisions: all or nothing, blinded, and only on the exported grid."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from mri_pipeline.core.errors import UsageError, listed, quoted
from mri_pipeline.core.io import nifti
from mri_pipeline.reading.adjudication import NAMES, Dispute
from mri_pipeline.reading.confirmed import (
    Check,
    ConfirmedItem,
    Enter,
    KnownRead,
    Masks,
    PreviousT2,
    Returned,
    confirm_item,
    stage_item,
    take_over,
)
from mri_pipeline.reading.decide import onto_grid_of
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.proposal_store import load_previous, load_proposed, stored_proposals
from mri_pipeline.reading.record import ReadPurpose, ReadRecord, StoredProposal
from mri_pipeline.reading.returned import done_marks, lesion_decisions, require_no_stray_image
from mri_pipeline.reading.returned_changes import change_decisions
from mri_pipeline.reading.serial import PREVIOUS
from mri_pipeline.reading.store import staging
from mri_pipeline.reading.worklist import FORMAT, ITEMS, WORKLIST_JSON

_READER = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True)
class Imported:
    """Result of an import.

    Parameters
    ----------
    reads : tuple of ReadRecord
        In the order of the reading codes.
    unread : tuple of str
        Reading codes of the items that were not read.
    notes : tuple of str
        For the reader: what was cut off or does not count.
    unchanged : tuple of str
        Reading codes of the items that equal the reader's earlier read.
    """

    reads: tuple[ReadRecord, ...]
    unread: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


DisputeOf = Callable[[StoredProposal], Dispute]
"""The two reads of a visit that was exported for adjudication."""
Known = Callable[[StoredProposal], KnownRead]
"""The earlier read of an exported visit by the importing reader."""
Hold = Callable[[str], AbstractContextManager[None]]
"""Locks a subject against changes by other processes."""


def import_decisions(
    folder: Path,
    *,
    reads: Path,
    reader: str,
    enter: Enter | None = None,
    check: Check | None = None,
    known: Known = lambda _proposal: KnownRead(),
    hold: Hold = lambda _subject: nullcontext(),
    dispute_of: DisputeOf | None = None,
    previous_t2: PreviousT2 | None = None,
) -> Imported:
    """Import a worklist. Reads are stored only if every item is valid and all are entered.

    An item is read if it is marked done, or if all its proposed lesions are decided. An item without mark, decision and
    edited mask is unread. Other items are incomplete and are refused. A read that equals the reader's earlier one is
    left out; a worklist of locked reads alone is refused.

    Parameters
    ----------
    folder : Path
        The returned folder.
    reads : Path
        ``reads/`` of the trial.
    reader : str
        Code of the reader.
    enter : callable, optional
        Called with all records when their files are in place. The reads exist from then on. If it raises, the files
        are removed.
    check : callable, optional
        Checks the confirmed masks of each item.
    known : callable
        The earlier read of a visit.
    hold : callable
        Locks a subject.
    dispute_of : callable, optional
        For an adjudication: the two reads of a visit.
    previous_t2 : callable, optional
        For a serial reading: the counted T2 lesions of the previous visit.

    Returns
    -------
    Imported

    Raises
    ------
    UsageError
        If the folder is not a worklist of this trial, was exported before the current proposals, has undecided lesions
        or contradicting decisions and masks, if a visit accepts no read by this reader, or as `check`.
    GridMismatchError
        If a mask is not on the exported grid.
    ImageError
        If a mask is damaged, or has values that are not whole labels.
    """
    _require_code(reader)
    exported = _exported_items(folder)
    purposes = (ReadPurpose.READ, ReadPurpose.REREAD) if dispute_of is None else (ReadPurpose.ADJUDICATION,)
    proposals = _proposals(reads, purposes, exported)
    marks = done_marks(folder)
    read_at = datetime.now(UTC).isoformat(timespec="seconds")
    unread: list[str] = []
    notes: list[str] = []
    staged: list[tuple[ReadRecord, KnownRead]] = []
    with ExitStack() as stack:
        for subject in sorted({proposal.subject for proposal in proposals.values()}):
            stack.enter_context(hold(subject))
        stage = stack.enter_context(staging(reads))
        for code, digests in exported.items():
            proposal = _as_shown(proposals[code], digests, reads, reader)
            item = _confirmed(
                folder / ITEMS / code, proposal, digests, reads,
                done=marks.get(code, False), check=check, dispute_of=dispute_of, previous_t2=previous_t2,
            )  # fmt: skip
            if item is None:
                unread.append(code)
                continue
            notes += item.notes
            earlier = known(proposal)
            staged.append((stage_item(stage, item, reader=reader, read_at=read_at, earlier=earlier), earlier))
        records, unchanged = take_over(stage, reads, staged, enter)
    return Imported(tuple(records), tuple(unread), tuple(notes), tuple(unchanged))


def _confirmed(
    folder: Path,
    proposal: StoredProposal,
    digests: Mapping[str, str],
    reads: Path,
    *,
    done: bool,
    check: Check | None,
    dispute_of: DisputeOf | None,
    previous_t2: PreviousT2 | None,
) -> ConfirmedItem | None:
    """The confirmed lesions of one item; None if it is unread."""
    dispute = None if dispute_of is None else dispute_of(proposal)
    returned = _read_item(folder, proposal, digests, reads, done=done, dispute=dispute)
    if returned is None:
        return None
    what = f"item {proposal.reading_code}"
    return confirm_item(proposal, *returned, what=what, check=check, previous_t2=previous_t2, dispute=dispute)


def _require_code(reader: str) -> None:
    if not _READER.fullmatch(reader):
        raise UsageError(
            f"expected a reader's code of 1 to 32 letters, digits, '-' or '_', found {quoted(reader)}",
            hint="use the code of the reader, for example --reader R1",
        )


def _proposals(
    reads: Path, purposes: Iterable[ReadPurpose], exported: Collection[str]
) -> dict[str, StoredProposal]:
    """The stored proposals of the exported items, by reading code."""
    stored = {p.reading_code: p for purpose in purposes for p in stored_proposals(reads, purpose)}
    strangers = sorted(set(exported) - set(stored))
    if strangers:
        raise UsageError(
            f"expected reading codes of this trial, found unknown codes {listed(map(quoted, strangers))}",
            hint="import the folder into the trial that exported it",
        )
    return {code: stored[code] for code in exported}


def _as_shown(proposal: StoredProposal, digests: Mapping[str, str], reads: Path, reader: str) -> StoredProposal:
    """The proposal with the previous visit as it was exported in the returned worklist."""
    if PREVIOUS in digests:
        for code in (reader, ""):
            shown = load_previous(reads, proposal.subject, proposal.visit, code)
            if shown is not None and shown.previous.digest == digests[PREVIOUS]:
                return replace(proposal, shown=shown)
    return proposal


def _exported_items(folder: Path) -> dict[str, dict[str, str]]:
    """Digests of the exported proposals of the returned items, by reading code."""
    problem = "expected an exported worklist, found "
    hint = f"send back the whole exported folder with {WORKLIST_JSON}"
    path = folder / WORKLIST_JSON
    if not path.is_file():
        raise UsageError(f"{problem}none", hint=hint)
    try:
        content = json.loads(path.read_bytes())
        items = {str(code): dict(digests) for code, digests in content["items"].items()}
        if content["format"] != FORMAT:
            raise UsageError(
                f"{problem}format {content['format']} instead of {FORMAT}", hint="export the worklist again"
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{problem}a damaged {WORKLIST_JSON}", hint=hint) from error
    present = {path.name for path in (folder / ITEMS).glob("*") if path.is_dir()}
    unlisted = sorted(present - set(items))
    if unlisted:
        raise UsageError(
            f"{problem}folders not listed in {WORKLIST_JSON}: {listed(map(quoted, unlisted))}", hint=hint
        )
    return {code: digests for code, digests in sorted(items.items()) if code in present}


def _read_item(
    folder: Path,
    proposal: StoredProposal,
    digests: Mapping[str, str],
    reads: Path,
    *,
    done: bool,
    dispute: Dispute | None,
) -> tuple[Masks, Returned] | None:
    """The proposed lesions of one item, and what the reader returned; None if it is unread."""
    code = proposal.reading_code
    known = {kind.value: digest for kind, digest in proposal.digests.items()}
    if digests != known | ({PREVIOUS: proposal.shown.previous.digest} if proposal.shown else {}):
        raise UsageError(
            f"item {code}: expected the currently proposed lesions, found those of an earlier export",
            hint="export the worklist again and read this item again",
        )
    require_no_stray_image(folder, code)
    proposed = load_proposed(reads, proposal)
    numbers = {
        kind: dispute.to_decide(kind, mask) if dispute else range(1, int(mask.data.max()) + 1)
        for kind, mask in proposed.items()
    }
    decisions, undecided = lesion_decisions(folder, code, numbers, NAMES if dispute else ())
    returned = {
        kind: onto_grid_of(mask, nifti.load_labels(folder / kind.file), f"item {code}, {kind.file}")
        for kind, mask in proposed.items()
    }
    edited = [kind.file for kind, mask in proposed.items() if (returned[kind].data != mask.data).any()]
    if not done and not decisions and not edited:
        return None
    if undecided:
        found = f"{undecided} of {undecided + len(decisions)} undecided"
        raise UsageError(
            f"item {code}: expected accept or reject for every proposed lesion, found {found}",
            hint="finish the item, or remove its decisions and its mark to read it later",
        )
    rejected = {d.lesion for d in decisions if d.kind is LesionKind.T2 and not d.accepted}
    changes = change_decisions(folder, code, proposal.shown.changes if proposal.shown else {}, rejected)
    return proposed, Returned(tuple(decisions), returned, changes)
