"""The reading room: assignments of the readers, their opened cases, and what they do with them.

One process serves a trial. Opened cases are kept in memory and can be made again from the log at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any, Final

import numpy as np

from mri_pipeline.analysis.read_check import number_counted
from mri_pipeline.analysis.reading_tools import fill_from, split_in_two
from mri_pipeline.analysis.space import keep_space, load_record
from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.reading_settings import Reader, Role
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.canvas import BRAIN_LEVEL, ZERO_DIFFERENCE, Canvas, Shape, common_shape, flat, unflat
from mri_pipeline.reading.items import LesionKind, ReadingItem, item_from_derivatives
from mri_pipeline.reading.marks import Lesion, runs_of
from mri_pipeline.reading.operations import (
    REASONS,
    ChangeOperation,
    DecideOperation,
    RetypeOperation,
    VoxelsOperation,
)
from mri_pipeline.reading.proposal_store import (
    load_previous,
    load_proposal,
    load_proposed,
    save_previous,
    save_proposal,
)
from mri_pipeline.reading.record import Purpose, StoredPrevious, StoredProposal
from mri_pipeline.reading.serial import Previous
from mri_pipeline.reading.signature import MEANING
from mri_pipeline.reading.worklist import numbered_proposals, proposal_of, reading_code
from mri_pipeline.registry import Registry, ScanState
from mri_pipeline.registry.assignments import Assignment, AssignmentState, Edit
from mri_pipeline.registry.audit import utc_now
from reading_centre.use_cases.read import awaits_read, rereads_for
from reading_centre.use_cases.read_serial import previous_lesions, previous_visits
from reading_centre.use_cases.reading_case import TITLES, Case, Json
from reading_centre.use_cases.reading_images import CaseImages, Heads

_LOG = logging.getLogger(__name__)
MOST_CASES: Final = 12
"""Cases in memory."""


class ConflictError(UsageError):
    """The request does not fit the present state of the reading.

    Parameters
    ----------
    message, hint : str
        As for all errors.
    more : dict, optional
        For the browser.
    """

    def __init__(self, message: str, *, hint: str = "", more: Json | None = None) -> None:
        super().__init__(message, hint=hint)
        self.more = more or {}


class RefusedError(UsageError):
    """The request does not fit the marks of the case."""


class NotHeldError(UsageError):
    """Another browser tab edits this case."""


class UnavailableError(UsageError):
    """The case cannot be shown. The reason is in the log of the server, because it may name the subject."""


class ReadingRoom:
    """The reading room of one trial.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    """

    def __init__(self, trial: Trial, protocol: Protocol, registry: Registry) -> None:
        self.trial, self.protocol, self.registry = trial, protocol, registry
        self.heads = Heads(trial)
        self._cases: OrderedDict[str, Case] = OrderedDict()
        self._lock, self._opening = Lock(), Lock()
        self._accounts = (0, protocol.readers)

    @property
    def readers(self) -> tuple[Reader, ...]:
        """The readers with their accounts, as ``trial.toml`` has them now. Its other settings need a restart."""
        changed = self.trial.protocol_file.stat().st_mtime_ns
        if self._accounts[0] != changed:
            self._accounts = changed, load_protocol(self.trial.protocol_file).readers
        return self._accounts[1]

    def reader(self, code: str) -> Reader | None:
        """The reader with a code in upper or lower case, if there is one with a password."""
        found = next((reader for reader in self.readers if reader.code.upper() == code.upper()), None)
        return found if found is not None and found.password_hash else None

    # the worklist

    def worklist(self, reader: str) -> list[Assignment]:
        """The open and signed assignments of a reader, new ones included.

        Parameters
        ----------
        reader : str
            Code of the reader.

        Returns
        -------
        list of Assignment
            In the order of reading: by subject and visit if readers may know the order, else by random code.
        """
        protocol = self.protocol
        if (listed := self.reader(reader)) is None or listed.role is not Role.READER:
            return []
        awaiting: list[tuple[str, str, str]] = []
        unsigned = []
        for subject in self.registry.state().subjects:
            for visit in subject.visits:
                key = (subject.code, visit.visit, Purpose.READ.value)
                if visit.scan is not ScanState.ANALYSED:
                    continue
                own = visit.by(reader)
                if awaits_read(visit, reader, Role.READER, protocol):
                    awaiting.append(key)
                elif own is not None and own.status is not ReadStatus.LOCKED and own.standing in _UNSIGNED:
                    unsigned.append(key)
        again = rereads_for(self.trial, protocol, self.registry, reader)
        awaiting += ((item.subject, item.visit, Purpose.REREAD.value) for item in again)
        return self._ordered(self.registry.assignments.refresh(reader, set(awaiting), set(unsigned)))

    def next_case(self, assignment: Assignment) -> str | None:
        """Code of the next open assignment of the same reader."""
        known = self._ordered(self.registry.assignments.of_reader(assignment.reader))
        codes = [one.code for one in known if one.state is AssignmentState.OPEN or one.code == assignment.code]
        place = codes.index(assignment.code) if assignment.code in codes else -1
        rest = codes[place + 1 :] + codes[: max(place, 0)]
        return rest[0] if rest else None

    def _ordered(self, found: list[Assignment]) -> list[Assignment]:
        if not self.protocol.reading.order_of_visits_known:
            return sorted(found, key=lambda one: one.code)
        order = {visit.label: number for number, visit in enumerate(self.protocol.visits)}
        key = Sealed.open(self.trial).secret("reading")

        def place(one: Assignment) -> tuple[str, int, str]:
            series = hashlib.sha256(key + f"{one.reader}|{one.subject}|{one.purpose}".encode()).hexdigest()
            return series, order.get(one.visit, 0), one.code

        return sorted(found, key=place)

    # a case

    def assignment(self, code: str, reader: str) -> Assignment | None:
        """An assignment of a reader that was not withdrawn; None for every other code."""
        found = self.registry.assignments.find(code, reader)
        return None if found is None or found.state is AssignmentState.WITHDRAWN else found

    def case(self, assignment: Assignment) -> Case:
        """The opened case of an assignment.

        Parameters
        ----------
        assignment : Assignment

        Returns
        -------
        Case

        Raises
        ------
        UnavailableError
            If it cannot be opened.
        ConflictError
            If its proposals have changed. The assignment is withdrawn.
        """
        with self._lock:
            if (case := self._cases.get(assignment.code)) is not None:
                self._cases.move_to_end(assignment.code)
                return case
        with self._opening:
            with self._lock:
                if (case := self._cases.get(assignment.code)) is not None:
                    return case
            try:
                case = self._opened(assignment)
            except ConflictError:
                raise
            except (ReadingCentreError, OSError) as error:
                _LOG.error("assignment %s cannot be opened: %s", assignment.code, error)
                raise UnavailableError(
                    "expected the images of this case, found a fault",
                    hint="tell the reading centre the code of the case",
                ) from error
        with self._lock:
            self._cases[assignment.code] = case
            while len(self._cases) > MOST_CASES:
                self._cases.popitem(last=False)
        return case

    def present_case(self, assignment: Assignment) -> Case:
        """The opened case of an assignment, made again if the read of its previous visit has changed since.

        Parameters
        ----------
        assignment : Assignment

        Returns
        -------
        Case

        Raises
        ------
        UnavailableError, ConflictError
            As `case`.
        """
        case = self.case(assignment)
        if self.protocol.reading.order_of_visits_known and assignment.state is AssignmentState.OPEN:
            item = item_from_derivatives(self.trial.derivatives, assignment.subject, assignment.visit)
            previous = self._previous_visit(item, Purpose(assignment.purpose), assignment.reader)
            shown = case.proposal.shown
            if (None if previous is None else previous.opinion) != (None if shown is None else shown.previous):
                self.forget(assignment.code)
                return self.case(assignment)
        return case

    def forget(self, code: str) -> None:
        """Make the case again from the log at its next use."""
        with self._lock:
            self._cases.pop(code, None)

    def prepare(self, code: str | None, reader: str) -> None:
        """Open a case and make its images before they are asked for. Faults are left to the request."""
        if code and (assignment := self.assignment(code, reader)) is not None:
            with suppress(ReadingCentreError, OSError):
                _ = self.case(assignment).images.panes

    def view(self, assignment: Assignment, case: Case, reader_name: str) -> Json:
        """A case, as the browser shows it."""
        signed = assignment.state is AssignmentState.SIGNED
        with case.lock:
            return {
                "code": assignment.code,
                "state": assignment.state.value,
                "read_only": signed,
                "read_only_reason": "This read is signed." if signed else None,
                "shape": list(case.canvas.shape),
                "spacing_mm": [round(s, 3) for s in case.grid.spacing_mm],
                "slice_axis": case.grid.slice_axis,
                "panes": case.images.panes,
                "kinds": [{"id": kind.value, "title": TITLES[kind]} for kind in case.marks.labels],
                "lesions": case.lesions(),
                "reasons": [{"code": code, "text": text} for code, text in REASONS.items()],
                "changes_asked": bool(case.asked),
                "next_number": len(case.edits) + 1,
                "counts": case.counts(),
                "next_case": self.next_case(assignment),
                "reader": reader_name,
                "signature": dict(assignment.signature) or None,
            }

    def operate(
        self,
        assignment: Assignment,
        number: int,
        operation: VoxelsOperation | DecideOperation | RetypeOperation | ChangeOperation,
        *,
        client: str,
    ) -> Json:
        """Store an operation, carry it out, and describe what it changed.

        Parameters
        ----------
        assignment : Assignment
        number : int
            Number of the operation in the log.
        operation : Operation
        client : str
            Name of the browser tab.

        Returns
        -------
        dict

        Raises
        ------
        ConflictError
            If the log has another operation of this number, the number leaves a gap, or the read is signed.
        NotHeldError
            If another tab edits the case.
        RefusedError
            If the operation does not fit the present marks.
        """
        case = self.case(assignment)
        with case.lock:
            if number <= len(case.edits):
                if case.edits[number - 1].body == operation.body:
                    return case.answer(number)
                raise _other_number(case)
            if assignment.state is not AssignmentState.OPEN:
                raise ConflictError("expected an open read, found a signed one", hint="it is read-only")
            if assignment.lease_holder != client:
                raise _not_held()
            if number > len(case.edits) + 1:
                raise _other_number(case)
            try:
                carry_out = case.marks.checked(operation)
            except UsageError as error:
                raise RefusedError(error.message, hint=error.hint) from error
            edit = Edit(number, utc_now(), operation.op, operation.body, case.head)
            try:
                stored = self.registry.assignments.add(assignment.code, edit, holder=client)
            except PermissionError as error:
                raise _not_held() from error
            if not stored:  # another process has written to the log, or the read was signed
                self.forget(assignment.code)
                raise _other_number(self.case(assignment))
            return case.done(edit, carry_out())

    # tools

    def fill(self, case: Case, kind: LesionKind, voxel: Shape, pane: str) -> list[tuple[int, int, int, int]]:
        """Runs for a new lesion around a voxel, to half of its contrast in a pane. Nothing is stored."""
        with case.lock:
            if kind not in case.marks.labels or not case.images.has(pane):
                raise RefusedError(
                    "expected a type of lesion and a pane of this case, found others", hint="reload the page"
                )
            if any(i < 0 or i >= n for i, n in zip(voxel, case.canvas.shape, strict=True)):
                raise RefusedError("expected a voxel on the canvas, found one outside", hint="click in the image")
            values = case.images.volume(pane).values(case.canvas.shape)
            level = ZERO_DIFFERENCE if pane.endswith("subtraction") else BRAIN_LEVEL
            filled = fill_from(voxel, values, level, case.canvas_grid, dark=kind is LesionKind.BLACK_HOLE)
            where = np.flatnonzero(flat(filled & unflat(case.marks.labels[kind] == 0, case.canvas.shape)))
            number = case.marks.free_number(kind)
            return runs_of(where, np.zeros_like(where), np.full_like(where, number))

    def split(self, case: Case, lesion: Lesion) -> list[tuple[int, int, int, int]]:
        """Runs that give the smaller part of a lesion a number of its own. Nothing is stored."""
        kind, number = lesion
        with case.lock:
            if lesion not in case.marks.voxels:
                raise RefusedError(
                    "expected a lesion of this case, found an unknown number", hint="reload the page"
                )
            mask = unflat(case.marks.labels[kind] == number, case.canvas.shape)
            box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask)) if mask.any() else None
            parts = np.zeros(mask.shape, dtype=np.uint8)
            if box is not None:
                parts[box] = split_in_two(mask[box], case.grid.spacing_mm)
            where = np.flatnonzero(flat(parts == 2))
            if not len(where):
                raise RefusedError(
                    "expected a lesion with a narrow place, found none", hint="split it with the eraser"
                )
            return runs_of(where, np.full_like(where, number), np.full_like(where, case.marks.free_number(kind)))

    def summary(self, case: Case) -> Json:
        """What the reader sees before the signature."""
        with case.lock:
            return case.summary() | {"meaning": f"{MEANING}."}

    # opening

    def _opened(self, assignment: Assignment) -> Case:
        subject, visit = assignment.subject, assignment.visit
        item = item_from_derivatives(self.trial.derivatives, subject, visit)
        purpose = Purpose(assignment.purpose)
        if not assignment.opened_at:
            self._propose(item, purpose, assignment)
            assignment = self.registry.assignments.find(assignment.code, assignment.reader) or assignment
        proposal = load_proposal(self.trial.reads, subject, visit, purpose)
        if proposal is None or proposal_digest(proposal) != assignment.digest:
            self.registry.assignments.withdraw(assignment.code, "the proposals have changed")
            raise ConflictError(
                "expected the proposals that this reading began with, found later ones",
                hint="the worklist has this case again under a new code",
            )
        proposed = load_proposed(self.trial.reads, proposal)
        shown, previous = self._previous(item, purpose, assignment.reader, proposed[LesionKind.T2])
        proposal = StoredProposal(
            proposal.subject, proposal.visit, proposal.reading_code, proposal.digests, proposal.purpose, (), shown
        )
        canvas = Canvas(tuple(assignment.canvas["origin"]), tuple(assignment.canvas["shape"]))
        grid = proposed[LesionKind.T2].reoriented().grid
        deface = self.protocol.reading.deface
        location = nifti.load_labels(self.trial.derivatives.space(subject).location).reoriented()
        return Case(
            assignment, proposal, proposed, canvas, grid,
            CaseImages(self.trial, self.heads, item, previous, canvas, deface=deface),
            flat(canvas.cut(location.data.astype(np.uint8))), _probabilities(item, proposed), self.protocol.lesions,
            previous_lesions(self.trial, self.protocol, self.registry),
            self.registry.assignments.edits(assignment.code),
        )  # fmt: skip

    def _propose(self, item: ReadingItem, purpose: Purpose, assignment: Assignment) -> None:
        """Store the proposals as an export does, and fix the canvas."""
        masks = numbered_proposals(item, partial(number_counted, rules=self.protocol.lesions))
        key = Sealed.open(self.trial).secret("reading")
        code = reading_code(key, item.subject, item.visit, purpose)
        proposal = proposal_of(item, code, masks, purpose)
        known = load_proposal(self.trial.reads, item.subject, item.visit, purpose)
        if known is None or known.digests != proposal.digests:
            save_proposal(self.trial.reads, proposal, masks)
        space = self.trial.derivatives.space(item.subject)
        load_record(space)
        keep_space(space, self.trial.kept_space(item.subject))
        canvas = Canvas.around(self.heads.box(item.subject), self._shape())
        content = {"origin": list(canvas.origin), "shape": list(canvas.shape)}
        self.registry.assignments.opened(assignment.code, digest=proposal_digest(proposal), canvas=content)

    def _shape(self) -> Shape:
        """The canvas of the trial: it holds every analysed head and never becomes smaller."""
        subjects = {
            subject.code
            for subject in self.registry.state().subjects
            if any(visit.scan is ScanState.ANALYSED for visit in subject.visits)
        }
        boxes = [self.heads.box(subject) for subject in sorted(subjects)]
        return common_shape(boxes, self.registry.assignments.largest_canvas())

    def _previous(
        self, item: ReadingItem, purpose: Purpose, reader: str, proposed: LabelImage
    ) -> tuple[StoredPrevious | None, ReadingItem | None]:
        """The previous visit as confirmed, with the proposed changes. A later version of its read replaces it."""
        previous = self._previous_visit(item, purpose, reader)
        if previous is None:
            return None, None
        shown = load_previous(self.trial.reads, item.subject, item.visit, reader)
        if shown is None or shown.previous != previous.opinion:
            shown = StoredPrevious(previous.opinion, previous.changes(proposed))
            save_previous(self.trial.reads, item.subject, item.visit, reader, shown)
        return shown, previous.item

    def _previous_visit(self, item: ReadingItem, purpose: Purpose, reader: str) -> Previous | None:
        find = previous_visits(self.trial, self.protocol, self.registry, reader)
        return find(item) if find is not None and purpose is Purpose.READ else None


_UNSIGNED = frozenset({ReadStanding.COUNTS, ReadStanding.OPEN})


def proposal_digest(proposal: StoredProposal) -> str:
    """Digest of all proposed masks of a visit.

    Parameters
    ----------
    proposal : StoredProposal

    Returns
    -------
    str
        SHA-256.
    """
    content = {kind.value: digest for kind, digest in proposal.digests.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _probabilities(item: ReadingItem, proposed: dict[LesionKind, LabelImage]) -> dict[Lesion, float]:
    found: dict[Lesion, float] = {}
    for kind, mask in proposed.items():
        if kind in item.probabilities:
            likely = nifti.load_map(item.probabilities[kind])
            mask.grid.require_same(likely.grid, "probability")
            labels = mask.data.ravel()
            inside = labels > 0
            sums = np.bincount(labels[inside], weights=likely.data.ravel()[inside])
            sizes = np.bincount(labels[inside])
            found |= {(kind, int(n)): round(float(sums[n] / sizes[n]), 2) for n in np.flatnonzero(sizes)}
    return found


def _other_number(case: Case) -> ConflictError:
    number = len(case.edits) + 1
    more: dict[str, Any] = {"next_number": number}
    return ConflictError(f"expected operation {number}, found another", hint="reload the page", more=more)


def _not_held() -> NotHeldError:
    return NotHeldError("expected the tab that edits this case, found another one", hint="take over the case here")
