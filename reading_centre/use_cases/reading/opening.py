"""Opening of a case: its proposals are stored permanently, and the marks are made from the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.analysis.reads.check import number_counted, number_parts
from mri_pipeline.analysis.space import keep_space, load_record
from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.exchange import identity
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.adjudication import NAMES, Dispute, blinded_order
from mri_pipeline.reading.canvas import Canvas, Shape, common_shape, flat
from mri_pipeline.reading.items import LesionKind, ReadingItem, item_from_derivatives
from mri_pipeline.reading.marks import Lesion
from mri_pipeline.reading.proposal_store import (
    keep_proposal,
    kept_proposal,
    load_previous,
    proposal_digest,
    save_previous,
)
from mri_pipeline.reading.record import Opinion, ReadPurpose, StoredPrevious, StoredProposal
from mri_pipeline.reading.serial import Previous
from mri_pipeline.reading.worklist import reading_code
from mri_pipeline.reading.worklist_item import numbered_proposals, proposal_of
from mri_pipeline.registry import Registry, ScanState, SubjectState
from mri_pipeline.registry.assignment_records import Assignment, AssignmentState
from mri_pipeline.registry.reads import refusal_of
from reading_centre.use_cases.reading.case import Case
from reading_centre.use_cases.reading.comparison import dispute_from_files, opinions_of, reasons_of
from reading_centre.use_cases.reading.faults import ConflictError, UnavailableError
from reading_centre.use_cases.reading.images import CaseImages, Heads
from reading_centre.use_cases.reading.serial import previous_lesions, previous_visits
from reading_centre.use_cases.tables.counting import require_present_scans
from reading_centre.use_cases.trial.staging import only_writer

_LOG = logging.getLogger(__name__)
WAIT_S = 2.0
"""How long an opening waits for an upload or an analysis of the same subject."""


class Opener:
    """Opens the cases of a trial.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    """

    def __init__(self, trial: Trial, protocol: Protocol, registry: Registry) -> None:
        self.trial, self.protocol, self.registry = trial, protocol, registry
        self.heads = Heads(trial)

    def open(self, assignment: Assignment, lock: RLock) -> Case:
        """Open the case of an assignment: proposals, images, and the marks from the log.

        Parameters
        ----------
        assignment : Assignment
        lock : RLock
            Of the assignment.

        Returns
        -------
        Case

        Raises
        ------
        ConflictError
            If its proposals are not there any more, or its scans have changed. An open assignment without proposals is
            withdrawn.
        UnavailableError
            If an analysis or upload of the subject is in progress.
        UsageError, AnalysisError
            If a file is missing or damaged, or the face cannot be located. The message may name the subject.
        """
        subject, visit = assignment.subject, assignment.visit
        purpose = ReadPurpose(assignment.purpose)
        if not assignment.opened_at:
            with self._only_writer(subject):
                self.require_analysed(assignment)
                self._propose(purpose, assignment)
            assignment = self.registry.assignments.find(assignment.code, assignment.reader) or assignment
        item = item_from_derivatives(self.trial.derivatives, subject, visit)
        kept = kept_proposal(self.trial.reads, subject, visit, purpose, assignment.digest)
        if kept is None or not self.stands(kept[0], assignment):
            raise self.replaced(assignment)
        proposal, proposed = kept
        shown, previous = self._previous(item, purpose, assignment, proposed[LesionKind.T2])
        stands = previous is not None and shown is not None and shown.previous == previous.opinion
        proposal = StoredProposal(
            proposal.subject, proposal.visit, proposal.reading_code, proposal.digests, proposal.purpose,
            proposal.opinions, shown,
        )  # fmt: skip
        canvas = _stored_canvas(assignment)
        grid = proposed[LesionKind.T2].reoriented().grid
        location = nifti.load_labels(self.trial.derivatives.space(subject).location).reoriented()
        return Case(
            assignment, proposal, proposed, canvas, grid,
            self._images(item, None if previous is None else previous.item, canvas),
            flat(canvas.cut(location.data.astype(np.uint8))),
            {} if proposal.opinions else _probabilities(item, proposed), self.protocol.lesions,
            previous_lesions(self.trial, self.protocol, self.registry),
            lock, self.registry.assignments.edits(assignment.code), self._dispute(proposal.opinions, subject, visit),
            _on_canvas(previous.masks, canvas) if previous is not None and stands else {},
        )  # fmt: skip

    def warm(self, assignment: Assignment) -> None:
        """Make the displayed images of a case before it is opened. Nothing is entered in the registry.

        Parameters
        ----------
        assignment : Assignment
        """
        item = item_from_derivatives(self.trial.derivatives, assignment.subject, assignment.visit)
        previous = self.previous_visit(item, ReadPurpose(assignment.purpose), assignment.reader)
        canvas = _stored_canvas(assignment) if assignment.opened_at else self._canvas(item.subject)
        _ = self._images(item, None if previous is None else previous.item, canvas).panes

    def images_of(self, subject: str, visit: str, shape: Shape) -> CaseImages:
        """The displayed images of a visit for all its readers. Those of an opened case have their own canvas.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.
        shape : tuple of 3 int
            As `shape`.

        Returns
        -------
        CaseImages
            None is made yet.
        """
        item = item_from_derivatives(self.trial.derivatives, subject, visit)
        return self._images(item, None, Canvas.around(self.heads.box(subject), shape))

    def files_of(self, assignment: Assignment) -> set[Path]:
        """The files of the displayed images of an opened case, whether they are there or not.

        Parameters
        ----------
        assignment : Assignment

        Returns
        -------
        set of Path
            The images of the previous visit included.
        """
        item = item_from_derivatives(self.trial.derivatives, assignment.subject, assignment.visit)
        canvas = _stored_canvas(assignment)
        previous = self.previous_visit(item, ReadPurpose(assignment.purpose), assignment.reader)
        items = [item] if previous is None else [item, previous.item]
        return {path for one in items for path in self._images(one, None, canvas).files()}

    def _images(self, item: ReadingItem, previous: ReadingItem | None, canvas: Canvas) -> CaseImages:
        deface = self.protocol.reading.deface
        return CaseImages(self.trial, self.heads, item, previous, canvas, deface=deface)

    def _canvas(self, subject: str) -> Canvas:
        return Canvas.around(self.heads.box(subject), self.shape(self.registry.state().subjects))

    def _propose(self, purpose: ReadPurpose, assignment: Assignment) -> None:
        """Store the proposals of one analysis, and fix the canvas."""
        folder = self.trial.derivatives.folder(assignment.subject)
        analysed = identity(folder)
        item = item_from_derivatives(self.trial.derivatives, assignment.subject, assignment.visit)
        key = Sealed.open(self.trial).secret("reading")
        dispute = None
        if purpose is ReadPurpose.ADJUDICATION:
            if len(found := self._compared(assignment)) != len(NAMES):
                raise self.replaced(assignment)
            dispute = self._dispute(blinded_order(key, item.subject, item.visit, found), item.subject, item.visit)
        number = partial(number_parts if dispute else number_counted, rules=self.protocol.lesions)
        masks = dispute.together(number) if dispute else numbered_proposals(item, number)
        code = reading_code(key, item.subject, item.visit, purpose)
        proposal = proposal_of(item, code, masks, purpose, dispute.opinions if dispute else ())
        if identity(folder) != analysed:
            raise _in_progress()
        keep_proposal(self.trial.reads, proposal, masks)
        space = self.trial.derivatives.space(item.subject)
        load_record(space)
        keep_space(space, self.trial.kept_space(item.subject))
        canvas = self._canvas(item.subject)
        content = {"origin": list(canvas.origin), "shape": list(canvas.shape)}
        self.registry.assignments.opened(assignment.code, digest=proposal_digest(proposal), canvas=content)

    def stands(self, proposal: StoredProposal, assignment: Assignment) -> bool:
        """True if the reads that an open adjudication compares are the present ones.

        Parameters
        ----------
        proposal : StoredProposal
        assignment : Assignment

        Returns
        -------
        bool
            True for other assignments.
        """
        if not proposal.opinions or assignment.state is not AssignmentState.OPEN:
            return True
        return set(proposal.opinions) == set(self._compared(assignment))

    def _compared(self, assignment: Assignment) -> tuple[Opinion, ...]:
        """The reads that an adjudicator compares, also after a read of the adjudicator's own; none if it is refused."""
        states = {state.visit: state for state in self.registry.subject(assignment.subject).visits}
        visit, wanted = states[assignment.visit], self.protocol.reading.readers
        refused = refusal_of(visit.reads, assignment.reader, ReadStatus.ADJUDICATED, wanted=wanted)
        return () if refused else opinions_of(visit)

    def _dispute(self, opinions: tuple[Opinion, ...], subject: str, visit: str) -> Dispute | None:
        if not opinions:
            return None
        known = reasons_of(self.registry, order_known=self.protocol.reading.order_of_visits_known)
        first, second = opinions
        return dispute_from_files(self.trial, subject, visit, (first, second), known.get((subject, visit), ()))

    @contextmanager
    def _only_writer(self, subject: str) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(only_writer(self.trial, subject, wait_s=WAIT_S))
            except UsageError as error:
                raise _in_progress() from error
            yield

    def require_analysed(self, assignment: Assignment) -> None:
        """Refuse a case whose analysis is not of the present scans. The caller is the `only_writer`.

        Parameters
        ----------
        assignment : Assignment

        Raises
        ------
        ConflictError
            If a scan of the subject was withdrawn or replaced since, or the analysis has failed.
        """
        state = self.registry.subject(assignment.subject)
        earlier = ConflictError(
            "expected an analysis of the present scans, found an earlier one",
            hint="the worklist has this case again after the next analysis",
        )
        if not any(v.visit == assignment.visit and v.scan is ScanState.ANALYSED for v in state.visits):
            raise earlier
        try:
            require_present_scans(load_result(self.trial.derivatives.result(state.code)), state)
        except UsageError as error:
            raise earlier from error

    def shape(self, subjects: Iterable[SubjectState]) -> Shape:
        """The canvas of the trial: it holds every analysed head and never becomes smaller.

        A head is left out if its brain is damaged.

        Parameters
        ----------
        subjects : iterable of SubjectState
            Of the trial.

        Returns
        -------
        tuple of 3 int
        """
        analysed = {
            subject.code
            for subject in subjects
            if any(visit.scan is ScanState.ANALYSED for visit in subject.visits)
        }
        boxes = []
        for subject in sorted(analysed):
            try:
                boxes.append(self.heads.box(subject))
            except (ReadingCentreError, OSError) as error:
                _LOG.error("subject %s: its head is not on the canvas: %s", subject, error)
        return common_shape(boxes, self.registry.assignments.largest_canvas())

    def _previous(
        self, item: ReadingItem, purpose: ReadPurpose, assignment: Assignment, proposed: LabelImage
    ) -> tuple[StoredPrevious | None, Previous | None]:
        """The previous visit as confirmed, with the proposed changes.

        A later version of its read replaces it, unless the read of this visit is signed.
        """
        reader = assignment.reader
        previous = self.previous_visit(item, purpose, reader)
        shown = load_previous(self.trial.reads, item.subject, item.visit, reader)
        if purpose is ReadPurpose.READ and assignment.state is AssignmentState.SIGNED:
            return shown, previous
        if previous is None:
            return None, None
        if shown is None or shown.previous != previous.opinion:
            shown = StoredPrevious(previous.opinion, previous.changes(proposed))
            save_previous(self.trial.reads, item.subject, item.visit, reader, shown)
        return shown, previous

    def previous_visit(self, item: ReadingItem, purpose: ReadPurpose, reader: str) -> Previous | None:
        """The previous visit of an item, if the protocol shows it.

        Parameters
        ----------
        item : ReadingItem
        purpose : ReadPurpose
            Second reads have none.
        reader : str
            Code of the reader.

        Returns
        -------
        Previous or None
        """
        find = previous_visits(self.trial, self.protocol, self.registry, reader)
        return find(item) if find is not None and purpose is ReadPurpose.READ else None

    def replaced(self, assignment: Assignment) -> ConflictError:
        """The error for a case without its proposals, as after a withdrawn scan. An open assignment is withdrawn.

        Parameters
        ----------
        assignment : Assignment

        Returns
        -------
        ConflictError
            The exception. The caller raises it.
        """
        if assignment.state is not AssignmentState.OPEN:
            return ConflictError("expected the proposals of this read, found none", hint="the read is signed")
        self.registry.assignments.withdraw(assignment.code, "the proposals are not there")
        return ConflictError(
            "expected the proposals that this reading began with, found none",
            hint="the worklist has this case again under a new code",
        )


def _in_progress() -> UnavailableError:
    return UnavailableError("an analysis of this case is in progress", hint="open it again in some minutes")


def _stored_canvas(assignment: Assignment) -> Canvas:
    return Canvas(tuple(assignment.canvas["origin"]), tuple(assignment.canvas["shape"]))


def _on_canvas(masks: Mapping[LesionKind, LabelImage], canvas: Canvas) -> dict[LesionKind, NDArray[np.uint8]]:
    return {kind: flat(canvas.cut(mask.reoriented().mask.astype(np.uint8))) for kind, mask in masks.items()}


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
