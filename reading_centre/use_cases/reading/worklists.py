"""The worklists of the readers, and the breaks between their sittings."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.accounts import Role
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.reading_settings import Reader
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.reading.record import ReadPurpose
from mri_pipeline.registry import Registry, ScanState
from mri_pipeline.registry.assignment_records import Assignment, AssignmentState
from reading_centre.use_cases.reading.awaiting import awaits_read, rereads_for
from reading_centre.use_cases.reading.faults import BreakError
from reading_centre.use_cases.reading.known_reads import rereads_of
from reading_centre.use_cases.trial.people import People

BREAK: Final = timedelta(minutes=60)
"""A sitting ends after this time without a signature."""
_UNSIGNED = frozenset({ReadStanding.COUNTS, ReadStanding.OPEN, ReadStanding.COMPARED})
"""A read in one of these standings is complete. It can be signed until it is locked."""


class Worklists:
    """The worklists of one trial.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    people : People
    """

    def __init__(self, trial: Trial, protocol: Protocol, registry: Registry, people: People) -> None:
        self._trial, self._protocol, self._registry, self._people = trial, protocol, registry, people

    def of(self, reader: str) -> list[Assignment]:
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
        listed = self._people.account(reader)
        if not isinstance(listed, Reader):
            return []
        protocol = self._protocol.model_copy(update={"readers": self._people.readers})
        purpose = ReadPurpose.ADJUDICATION if listed.role is Role.ADJUDICATOR else ReadPurpose.READ
        awaiting: list[tuple[str, str, str]] = []
        unsigned: list[tuple[str, str, str]] = []
        for subject in self._registry.state().subjects:
            for visit in subject.visits:
                key = (subject.code, visit.visit, purpose.value)
                if visit.scan is not ScanState.ANALYSED:
                    continue
                own = visit.by(reader)
                if awaits_read(visit, reader, listed.role, protocol):
                    awaiting.append(key)
                elif own is not None and own.status is not ReadStatus.LOCKED and own.standing in _UNSIGNED:
                    unsigned.append(key)
        again = rereads_for(self._trial, protocol, self._registry, reader)
        unsigned += ((*key, ReadPurpose.REREAD.value) for key in rereads_of(self._registry, reader))
        awaiting += ((item.subject, item.visit, ReadPurpose.REREAD.value) for item in again)
        return self._ordered(self._registry.assignments.refresh(reader, set(awaiting), set(unsigned)))

    def sitting(self, reader: str) -> int:
        """Cases that a reader has signed since the latest break.

        Parameters
        ----------
        reader : str
            Code of the reader.

        Returns
        -------
        int
        """
        signed = [one.signature["utc"] for one in self._registry.assignments.of_reader(reader) if one.signature]
        later, count = datetime.now(UTC), 0
        for at in sorted(map(datetime.fromisoformat, signed), reverse=True):
            if later - at >= BREAK:
                break
            later, count = at, count + 1
        return count

    def may_begin(self, reader: str) -> bool:
        """True if a reader may open a new case: signed and opened cases of the sitting are fewer than the limit.

        Parameters
        ----------
        reader : str
            Code of the reader.

        Returns
        -------
        bool
        """
        most = self._protocol.reading.cases_per_sitting
        return not most or self.sitting(reader) + self._in_progress(reader) < most

    def _in_progress(self, reader: str) -> int:
        return sum(
            one.state is AssignmentState.OPEN and bool(one.opened_at)
            for one in self._registry.assignments.of_reader(reader)
        )

    def require_sitting(self, assignment: Assignment) -> None:
        """Refuse a new case to a reader who has to take a break. A case that was opened before may be completed.

        Parameters
        ----------
        assignment : Assignment

        Raises
        ------
        BreakError
            If the sitting has as many signed and opened cases as ``cases_per_sitting``.
        """
        is_new = assignment.state is AssignmentState.OPEN and not assignment.opened_at
        if is_new and not self.may_begin(assignment.reader):
            pause = f"take a break of {BREAK // timedelta(minutes=1)} minutes, then go on from the worklist"
            opened = self._in_progress(assignment.reader)
            raise BreakError(
                f"expected a break after {self._protocol.reading.cases_per_sitting} cases, found none",
                hint=f"complete the cases in progress, then {pause}" if opened else pause,
            )

    def next_case(self, assignment: Assignment) -> str | None:
        """Code of the next open assignment of the same reader; at the limit of a sitting, of the next opened one.

        Parameters
        ----------
        assignment : Assignment

        Returns
        -------
        str or None
        """
        known = self._ordered(self._registry.assignments.of_reader(assignment.reader))
        new = self.may_begin(assignment.reader)
        codes = [
            one.code
            for one in known
            if (one.state is AssignmentState.OPEN and (new or one.opened_at)) or one.code == assignment.code
        ]
        place = codes.index(assignment.code) if assignment.code in codes else -1
        rest = codes[place + 1 :] + codes[: max(place, 0)]
        return rest[0] if rest else None

    def _ordered(self, found: list[Assignment]) -> list[Assignment]:
        if not self._protocol.reading.order_of_visits_known:
            return sorted(found, key=lambda one: one.code)
        order = {visit.label: number for number, visit in enumerate(self._protocol.visits)}
        key = Sealed.open(self._trial).secret("reading")

        def place(one: Assignment) -> tuple[str, int, str]:
            series = hashlib.sha256(key + f"{one.reader}|{one.subject}|{one.purpose}".encode()).hexdigest()
            return series, order.get(one.visit, 0), one.code

        return sorted(found, key=place)
