"""The reading room: the opened cases of the readers, and what they do with them.

One process serves a trial. Opened cases are kept in memory and can be made again from the log at any time.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, RLock
from typing import Any, Final

from mri_pipeline.core.accounts import Role
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.reading.items import item_from_derivatives
from mri_pipeline.reading.operations import (
    REASONS,
    ChangeOperation,
    DecideOperation,
    RetypeOperation,
    VoxelsOperation,
)
from mri_pipeline.reading.record import ReadPurpose
from mri_pipeline.reading.signature import MEANING
from mri_pipeline.registry import Registry
from mri_pipeline.registry.assignment_records import Assignment, AssignmentState, Edit
from mri_pipeline.registry.audit import utc_now
from reading_centre.use_cases.reading.case import TITLES, Case, Json
from reading_centre.use_cases.reading.faults import (
    ConflictError,
    NotHeldError,
    RefusedError,
    UnavailableError,
)
from reading_centre.use_cases.reading.opening import Opener
from reading_centre.use_cases.reading.worklists import Worklists
from reading_centre.use_cases.trial.people import People

_LOG = logging.getLogger(__name__)
MOST_CASES: Final = 24
"""Cases in memory."""


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
        self.opener = Opener(trial, protocol, registry)
        self._cases: OrderedDict[str, Case] = OrderedDict()
        self._locks: dict[str, RLock] = {}
        self._lock = Lock()
        self._openings: dict[str, Lock] = {}
        self.people = People(trial, protocol, registry)
        self.worklists = Worklists(trial, protocol, registry, self.people)

    def assignment(self, code: str, reader: str) -> Assignment | None:
        """An assignment of a reader that was not withdrawn.

        Parameters
        ----------
        code : str
        reader : str
            Code of the reader.

        Returns
        -------
        Assignment or None
            None for every other code, and for an open assignment of an earlier role.
        """
        found = self.registry.assignments.find(code, reader) if code.isalnum() else None
        if found is None or found.state is AssignmentState.WITHDRAWN:
            return None
        person = self.people.account(reader)
        adjudicates = person is not None and person.role is Role.ADJUDICATOR
        of_role = (ReadPurpose(found.purpose) is ReadPurpose.ADJUDICATION) == adjudicates
        return found if of_role or person is None or found.state is not AssignmentState.OPEN else None

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
        BreakError
            As `Worklists.require_sitting`; of two new cases that are opened at once, the second one counts the first.
        UnavailableError
            If it cannot be opened.
        ConflictError
            If its proposals are not there any more. The assignment is withdrawn.
        """
        if (case := self._opened(assignment.code)) is not None:
            return case
        reader, subject = f"reader {assignment.reader}", f"subject {assignment.subject}"
        with self._lock_of(assignment.code), self._opening(reader), self._opening(subject):
            if (case := self._opened(assignment.code)) is not None:
                return case
            self.worklists.require_sitting(self.assignment(assignment.code, assignment.reader) or assignment)
            try:
                case = self.opener.open(assignment, self._lock_of(assignment.code))
            except (ConflictError, UnavailableError):
                raise
            except (ReadingCentreError, OSError) as error:
                _LOG.error("assignment %s cannot be opened: %s", assignment.code, error)
                raise UnavailableError(
                    f"expected the images of this case, found images that cannot be read ({type(error).__name__})",
                    hint="tell the reading centre the code of the case",
                ) from error
            with self._lock:
                self._cases[assignment.code] = case
                while len(self._cases) > MOST_CASES:
                    self._cases.popitem(last=False)
        return case

    @contextmanager
    def held(self, assignment: Assignment) -> Iterator[Case]:
        """The opened case of an assignment, for a change. Nobody else changes or opens it meanwhile.

        Parameters
        ----------
        assignment : Assignment

        Yields
        ------
        Case

        Raises
        ------
        UnavailableError, ConflictError
            As `case`.
        """
        with self._lock_of(assignment.code):
            yield self.case(assignment)

    def _opened(self, code: str) -> Case | None:
        with self._lock:
            if (case := self._cases.get(code)) is not None:
                self._cases.move_to_end(code)
            return case

    def _lock_of(self, code: str) -> RLock:
        """The lock of an assignment. All cases that are opened for it share it."""
        with self._lock:
            return self._locks.setdefault(code, RLock())

    def _opening(self, what: str) -> Lock:
        """The lock of openings: one case of a reader and one of a subject at a time, so that others need not wait."""
        with self._lock:
            return self._openings.setdefault(what, Lock())

    def present_case(self, assignment: Assignment) -> Case:
        """The opened case of an assignment, made again if the read of its previous visit has changed since.

        An adjudication of reads that have changed since is withdrawn.

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
        if not self.opener.stands(case.proposal, assignment):
            self.forget(assignment.code)
            raise self.opener.replaced(assignment)
        if self.protocol.reading.order_of_visits_known and assignment.state is AssignmentState.OPEN:
            item = item_from_derivatives(self.trial.derivatives, assignment.subject, assignment.visit)
            previous = self.opener.previous_visit(item, ReadPurpose(assignment.purpose), assignment.reader)
            shown = case.proposal.shown
            if (None if previous is None else previous.opinion) != (None if shown is None else shown.previous):
                self.forget(assignment.code)
                return self.case(assignment)
        return case

    def forget(self, code: str) -> None:
        """Make the case again from the log at its next use.

        Parameters
        ----------
        code : str
        """
        with self._lock:
            self._cases.pop(code, None)

    def prepare(self, code: str | None, reader: str) -> None:
        """Make the images of a case before they are asked for. Faults are left to the request.

        Parameters
        ----------
        code : str or None
        reader : str
            Code of the reader.
        """
        if code and (assignment := self.assignment(code, reader)) is not None:
            with suppress(ReadingCentreError, OSError):
                self.opener.warm(assignment)

    def view(self, assignment: Assignment, case: Case, reader_name: str) -> Json:
        """A case, as the browser shows it.

        Parameters
        ----------
        assignment : Assignment
        case : Case
        reader_name : str
            Printed name.

        Returns
        -------
        dict
        """
        signed = assignment.state is AssignmentState.SIGNED
        with case.lock:
            return {
                "code": assignment.code,
                "state": assignment.state.value,
                "read_only": signed,
                "read_only_reason": "This read is signed." if signed else None,
                "shape": list(case.canvas.shape),
                "editable": case.editable,
                "spacing_mm": [round(s, 3) for s in case.grid.spacing_mm],
                "slice_axis": case.grid.slice_axis,
                "panes": _panes(case),
                "kinds": [{"id": kind.value, "title": TITLES[kind]} for kind in case.marks.labels],
                "lesions": case.lesions(),
                "reasons": [{"code": code, "text": text} for code, text in REASONS.items()],
                "changes_asked": bool(case.asked),
                "confirmed_before": [kind.value for kind in case.confirmed_before],
                "adjudication": {"differs_in": list(case.dispute.reasons)} if case.dispute else None,
                "next_number": len(case.edits) + 1,
                "counts": case.counts(),
                "next_case": self.worklists.next_case(assignment),
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
            If the tab does not hold the case.
        RefusedError
            If the operation does not fit the present marks.
        """
        with self.held(assignment) as case:
            if number <= len(case.edits):
                if case.edits[number - 1].body == operation.body:
                    return case.answer(number)
                raise _other_number(case, number)
            if assignment.state is not AssignmentState.OPEN:
                raise ConflictError("expected an open read, found a signed one", hint="it is read-only")
            if assignment.lease_holder != client:
                raise not_held()
            if number > len(case.edits) + 1:
                self.forget(assignment.code)
                raise _other_number(self.case(assignment), number)
            try:
                carry_out = case.marks.checked(operation)
            except UsageError as error:
                raise RefusedError(error.message, hint=error.hint) from error
            edit = Edit(number, utc_now(), operation.op, operation.body, case.head)
            try:
                stored = self.registry.assignments.add(assignment.code, edit, holder=client)
            except PermissionError as error:
                raise not_held() from error
            if not stored:  # another process has written to the log, or the read was signed
                self.forget(assignment.code)
                raise _other_number(self.case(assignment), number)
            return case.done(edit, carry_out())

    def summary(self, case: Case) -> Json:
        """What the reader sees before the signature.

        Parameters
        ----------
        case : Case

        Returns
        -------
        dict
            As `Case.summary`, with the meaning of the signature.
        """
        with case.lock:
            return case.summary() | {"meaning": f"{MEANING}."}


def _panes(case: Case) -> list[Json]:
    """The images of a case. An adjudicator sees FLAIR and T1 after contrast three times: result, read A, read B."""
    shown = [{**pane, "volume": pane["id"], "read": None} for pane in case.images.panes]
    if not case.reads:
        return shown
    compared = [pane for pane in shown if pane["id"] in _COMPARED]
    rows = [
        [pane, *(pane | {"id": f"read_{name}_{pane['id']}", "read": name} for name in case.reads)]
        for pane in compared
    ]
    return [*(pane for row in rows for pane in row), *(pane for pane in shown if pane not in compared)]


_COMPARED = frozenset({"flair", "t1_gd"})


def _other_number(case: Case, number: int) -> ConflictError:
    expected = len(case.edits) + 1
    more: dict[str, Any] = {"next_number": expected}
    return ConflictError(f"expected operation {expected}, found {number}", hint="reload the page", more=more)


def not_held() -> NotHeldError:
    """The error for a browser tab that does not edit the case.

    Returns
    -------
    NotHeldError
    """
    return NotHeldError("this browser tab does not hold the case", hint="take over the case here")
