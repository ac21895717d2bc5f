"""Signature of a read in the browser: the read is stored, entered and locked as by import and lock."""

from __future__ import annotations

from mri_pipeline.analysis.read_check import check_read
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.reading.confirmed import confirm_item, stage_item, take_over
from mri_pipeline.reading.proposal_store import load_proposal
from mri_pipeline.reading.record import Purpose, ReadRecord
from mri_pipeline.reading.signature import MEANING
from mri_pipeline.reading.store import load_record, staging
from mri_pipeline.registry.assignments import Assignment, AssignmentState
from mri_pipeline.registry.audit import utc_now
from reading_centre.use_cases.known_reads import known_reads
from reading_centre.use_cases.read import enter_reads
from reading_centre.use_cases.read_compare import compare_open_reads
from reading_centre.use_cases.read_lock import lock_visits
from reading_centre.use_cases.reading_case import WHAT, Case, Json
from reading_centre.use_cases.reading_room import ConflictError, ReadingRoom, proposal_digest
from reading_centre.use_cases.staging import only_writer

WAIT_S = 20.0
"""How long a signature waits for an upload or an analysis of the same subject."""


def sign_read(room: ReadingRoom, assignment: Assignment, *, account: str, name: str) -> Json:
    """Store, enter and sign the read of an assignment. It may be repeated after an interruption.

    Parameters
    ----------
    room : ReadingRoom
    assignment : Assignment
    account : str
        Fingerprint of the account, whose password was checked.
    name : str
        Printed name of the reader.

    Returns
    -------
    dict
        ``name``, ``utc``, ``meaning`` and ``version``.

    Raises
    ------
    ConflictError
        If the read is signed, has undecided lesions or contradictions, or its proposals have changed.
    """
    case = room.case(assignment)
    with case.lock, only_writer(room.trial, assignment.subject, wait_s=WAIT_S):
        present = room.assignment(assignment.code, assignment.reader)
        if present is None or present.state is not AssignmentState.OPEN:
            raise ConflictError(
                "expected an open read, found a signed or withdrawn one", hint="go to the worklist"
            )
        _require_complete(case)
        _require_present_proposal(room, case)
        record = _stored(room, case)
        if not record.reread:
            compare_open_reads(room.trial, room.protocol, room.registry)
            _lock_if_it_counts(room, assignment, account)
        signature = {"name": name, "utc": utc_now(), "meaning": f"{MEANING}.", "version": record.version}
        room.registry.assignments.sign(
            assignment.code, signature=signature, edits=case.edits, digest=record.digest, account=account
        )
    return signature


def _require_complete(case: Case) -> None:
    found = case.summary()
    if found["undecided"]:
        raise ConflictError(
            f"expected a decision on every lesion, found {found['undecided']} undecided",
            hint="decide them, then sign",
            more={"undecided": found["undecided"], "contradictions": []},
        )
    if found["contradictions"]:
        more = {"undecided": 0, "contradictions": found["contradictions"]}
        raise ConflictError("; ".join(found["contradictions"]), hint="correct the marks, then sign", more=more)


def _require_present_proposal(room: ReadingRoom, case: Case) -> None:
    own = case.proposal
    stored = load_proposal(room.trial.reads, own.subject, own.visit, own.purpose)
    if stored is None or proposal_digest(stored) != proposal_digest(own):
        room.registry.assignments.withdraw(case.assignment.code, "the proposals have changed")
        room.forget(case.assignment.code)
        raise ConflictError(
            "expected the proposals that this reading began with, found later ones",
            hint="the worklist has this case again under a new code",
        )


def _stored(room: ReadingRoom, case: Case) -> ReadRecord:
    """The read of a case, stored and entered unless it was before."""
    protocol, registry, reads, reader = room.protocol, room.registry, room.trial.reads, case.assignment.reader
    item = confirm_item(
        case.proposal, case.proposed, case.returned(), what=WHAT,
        check=lambda masks, what: check_read(masks, protocol.lesions, what=what), previous_t2=case.previous_t2,
    )  # fmt: skip
    known = known_reads(registry, reader, ReadStatus.CONFIRMED, wanted=protocol.reading.readers)
    earlier = known(case.proposal)
    with staging(reads) as stage:
        staged = stage_item(stage, item, reader=reader, read_at=utc_now(), earlier=earlier)
        records, _ = take_over(
            stage, reads, [(staged, earlier)], lambda records: enter_reads(registry, reader, records)
        )
    if item.notes and records:
        registry.audit("notes on reads", reader=reader, details={"notes": list(item.notes)})
    if records:
        return records[0]
    old = load_record(
        reads,
        staged.subject,
        staged.visit,
        reader,
        earlier.version,
        reread=case.proposal.purpose is Purpose.REREAD,
    )
    return old or staged


def _lock_if_it_counts(room: ReadingRoom, assignment: Assignment, account: str) -> None:
    """Lock the read, if it counts: with two reads of each visit, the comparison decides."""
    visits = {visit.visit: visit for visit in room.registry.subject(assignment.subject).visits}
    visit = visits[assignment.visit]
    own = visit.by(assignment.reader)
    alone = len(visit.reads) < room.protocol.reading.readers
    if (
        own is not None
        and own.standing is ReadStanding.COUNTS
        and own.status is not ReadStatus.LOCKED
        and not alone
    ):
        key = (assignment.subject, assignment.visit)
        lock_visits(room.trial, room.protocol, room.registry, assignment.reader, {key: own}, account=account)
