"""Signature of a read in the browser: the read is stored, entered and locked as by import and lock."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mri_pipeline.analysis.reads.check import check_read
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.confirmed import confirm_item, stage_item, take_over
from mri_pipeline.reading.proposal_store import kept_proposal
from mri_pipeline.reading.record import ReadPurpose, ReadRecord
from mri_pipeline.reading.signature import MEANING
from mri_pipeline.reading.store import load_record, staging
from mri_pipeline.registry import Registry, ScanState, VisitState
from mri_pipeline.registry.assignment_records import Assignment, AssignmentState
from mri_pipeline.registry.audit import AuditAction, utc_now
from reading_centre.use_cases.reading.case import WHAT, Case, Json
from reading_centre.use_cases.reading.comparison import compare_open_reads
from reading_centre.use_cases.reading.faults import ConflictError, UnavailableError
from reading_centre.use_cases.reading.import_reads import enter_reads
from reading_centre.use_cases.reading.known_reads import known_reads, stored_read
from reading_centre.use_cases.reading.lock import lock_visits, present_inputs, statement_of
from reading_centre.use_cases.reading.room import ReadingRoom, not_held
from reading_centre.use_cases.trial.staging import only_writer

_LOG = logging.getLogger(__name__)
WAIT_S = 20.0
"""How long a signature waits for an upload or an analysis of the same subject."""


def summary_to_sign(room: ReadingRoom, assignment: Assignment) -> Json:
    """What the reader sees before the signature.

    Parameters
    ----------
    room : ReadingRoom
    assignment : Assignment

    Returns
    -------
    dict
        As `ReadingRoom.summary`, with ``seen``: digest of the log, the proposals and what the counts depend on. The
        signature is for this state alone.
    """
    with room.held(assignment) as case:
        return room.summary(case) | {"seen": _seen(room, case)}


def sign_read(
    room: ReadingRoom, assignment: Assignment, *, account: str, name: str, client: str, seen: str
) -> Json:
    """Store, enter and sign the read of an assignment. It may be repeated after an interruption.

    Parameters
    ----------
    room : ReadingRoom
    assignment : Assignment
    account : str
        Fingerprint of the account, whose password was checked.
    name : str
        Printed name of the reader.
    client : str
        Name of the browser tab.
    seen : str
        From `summary_to_sign`.

    Returns
    -------
    dict
        ``name``, ``utc``, ``meaning`` and ``version``.

    Raises
    ------
    ConflictError
        If the read is signed, has undecided lesions or contradictions, its proposals are not there, its scans have
        changed, or it is not what the reader has seen.
    NotHeldError
        If the tab does not hold the case.
    """
    with room.held(assignment) as case, _only_writer(room, assignment.subject):
        present = room.assignment(assignment.code, assignment.reader)
        if present is None or present.state is not AssignmentState.OPEN:
            raise ConflictError(
                "expected an open read, found a signed or withdrawn one", hint="go to the worklist"
            )
        if present.lease_holder != client:
            raise not_held()
        room.opener.require_analysed(present)
        _require_complete(case)
        _require_kept_proposal(room, case)
        _require_whole_log(room, case)
        if seen != _seen(room, case):
            raise ConflictError(
                "expected the state of the summary, found a later one", hint="look at the summary and sign again"
            )
        record = _stored(room, case)
        at = utc_now()
        statement = statement_of(room.trial, room.protocol, record, account=account, at=at)
        signature = {"name": name, "utc": at, "meaning": f"{MEANING}.", "version": record.version}
        try:
            room.registry.assignments.sign(
                assignment.code, signature=signature, edits=case.edits, digest=record.digest, statement=statement
            )
        except UsageError as error:  # another process has withdrawn it or written to its log
            room.forget(assignment.code)
            raise ConflictError(error.message, hint=error.hint) from error
        if not record.reread:
            _finish(room, record.subject)
    return signature


def finish_signed(room: ReadingRoom) -> None:
    """Compare and lock the signed reads whose signature was interrupted. Faults go to the log of the server.

    Parameters
    ----------
    room : ReadingRoom
    """
    signed = _statements(room.registry)
    for subject in room.registry.state().subjects:
        if any(read.digest in signed for visit in subject.visits for read in visit.reads if not _locked(visit)):
            try:
                with _only_writer(room, subject.code):
                    _finish(room, subject.code)
            except UnavailableError as error:
                _LOG.error("subject %s: its signed reads are not locked yet: %s", subject.code, error)


def _finish(room: ReadingRoom, subject: str) -> None:
    """Compare and lock the signed reads of a subject. They are signed even if this fails."""
    try:
        compare_open_reads(room.trial, room.protocol, room.registry, (subject,))
        _lock_what_counts(room, subject)
    except (ReadingCentreError, OSError) as error:
        _LOG.error("subject %s: its signed reads are not locked yet: %s", subject, error)


@contextmanager
def _only_writer(room: ReadingRoom, subject: str) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(only_writer(room.trial, subject, wait_s=WAIT_S))
        except UsageError as error:
            raise UnavailableError(
                "an upload, import or analysis of this case is in progress", hint="sign again in a minute"
            ) from error
        yield


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


def _seen(room: ReadingRoom, case: Case) -> str:
    """Digest of what the reader signs, before the read is stored."""
    proposal = case.proposal
    try:
        inputs = present_inputs(room.trial, room.protocol, proposal.subject, proposal.visit)
    except (ReadingCentreError, OSError) as error:
        _LOG.error("assignment %s: %s", case.assignment.code, error)
        raise UnavailableError(
            "the images of this case cannot be used", hint="tell the reading centre the code of the case"
        ) from error
    previous = proposal.shown.previous.digest if proposal.shown else ""
    content = [case.head, case.assignment.digest, previous, inputs]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _require_whole_log(room: ReadingRoom, case: Case) -> None:
    stored = room.registry.assignments.edits(case.assignment.code)
    if (stored[-1].hash if stored else "") != case.head:
        room.forget(case.assignment.code)
        raise ConflictError(
            "the log of this reading was changed during the signature", hint="look at the summary and sign again"
        )


def _require_kept_proposal(room: ReadingRoom, case: Case) -> None:
    own = case.proposal
    kept = kept_proposal(room.trial.reads, own.subject, own.visit, own.purpose, case.assignment.digest)
    if kept is None or not room.opener.stands(own, case.assignment):
        room.forget(case.assignment.code)
        raise room.opener.replaced(case.assignment)


def _stored(room: ReadingRoom, case: Case) -> ReadRecord:
    """The read of a case, stored and entered unless it was before."""
    protocol, registry, reads, reader = room.protocol, room.registry, room.trial.reads, case.assignment.reader
    status = ReadStatus.CONFIRMED if case.dispute is None else ReadStatus.ADJUDICATED
    item = confirm_item(
        case.proposal, case.proposed, case.returned(), what=WHAT,
        check=lambda masks, what: check_read(masks, protocol.lesions, what=what), previous_t2=case.previous_t2,
        dispute=case.dispute,
    )  # fmt: skip
    known = known_reads(registry, reader, status, wanted=protocol.reading.readers)
    earlier = known(case.proposal)
    with staging(reads) as stage:
        staged = stage_item(stage, item, reader=reader, read_at=utc_now(), earlier=earlier)
        try:
            records, _ = take_over(
                stage, reads, [(staged, earlier)], lambda records: enter_reads(registry, reader, records, status)
            )
        except UsageError as error:
            room.forget(case.assignment.code)
            registry.assignments.withdraw(case.assignment.code, "the visit accepts no other read")
            raise ConflictError(
                "the reads of this case are complete or locked: it accepts no other",
                hint="go to the worklist",
            ) from error
    if item.notes and records:
        registry.audit(AuditAction.READ_NOTES, reader=reader, details={"notes": list(item.notes)})
    if records:
        return records[0]
    old = load_record(
        reads,
        staged.subject,
        staged.visit,
        reader,
        earlier.version,
        reread=case.proposal.purpose is ReadPurpose.REREAD,
    )
    return old or staged


def _statements(registry: Registry) -> dict[str, dict[str, str]]:
    """The latest signature of each signed read, by the digest of the read."""
    entries = registry.audit_entries(AuditAction.READ_SIGNED)
    return {entry.details["digest"]: entry.details["signature"] for entry in entries}


def _locked(visit: VisitState) -> bool:
    return any(read.status is ReadStatus.LOCKED for read in visit.reads)


def _lock_what_counts(room: ReadingRoom, subject: str) -> None:
    """Lock the signed reads of a subject that count. With two readers, the other signature decides which one counts.

    A read that was signed before and whose images or rules have changed since is left open.
    """
    trial, protocol, registry = room.trial, room.protocol, room.registry
    statements = _statements(registry)
    for visit in registry.subject(subject).visits:
        read = visit.counting
        complete = visit.scan is ScanState.ANALYSED and len(visit.reads) >= protocol.reading.readers
        if read is None or _locked(visit) or not complete:
            continue
        own = statements.get(read.digest)
        if own is None:
            continue
        record = stored_read(trial, subject, visit.visit, read).record
        if own == statement_of(trial, protocol, record, account=own["account"], at=own["at"]):
            key = (subject, visit.visit)
            lock_visits(trial, protocol, registry, read.reader, {key: read}, statements={key: own})
