"""One case of the reading room: the marks of a reader on the canvas, what they count, and what they contradict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.analysis.reads.check import check_read, number_counted
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Grid, LabelImage
from mri_pipeline.lesions.tracking.location import locate
from mri_pipeline.reading.adjudication import NAMES, Dispute
from mri_pipeline.reading.canvas import Canvas, flat, unflat
from mri_pipeline.reading.confirmed import PreviousT2, Returned, confirm_item
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.marks import Effect, Indices, Lesion, Marks
from mri_pipeline.reading.operations import (
    OPERATION,
    ChangeOperation,
    DecideOperation,
    RetypeOperation,
    VoxelsOperation,
)
from mri_pipeline.reading.record import LesionDecision, StoredProposal
from mri_pipeline.reading.serial import CHANGE_WORDS
from mri_pipeline.registry.assignment_records import Assignment, Edit
from reading_centre.use_cases.reading.images import CaseImages

Json = dict[str, Any]
TITLES = {LesionKind.T2: "T2 lesions", LesionKind.GEL: "Enhancing lesions", LesionKind.BLACK_HOLE: "Black holes"}
WHAT = "this case"
OUTSIDE = "outside_brain"
"""Location of a lesion of which more than half lies outside the brain mask. The tables have no such location."""


@dataclass
class Case:
    """An opened case. Callers hold `lock` while they use it.

    Attributes
    ----------
    assignment : Assignment
        As it was when the case was opened.
    proposal : StoredProposal
    proposed : dict of LesionKind to LabelImage
        The proposed lesions on the subject's grid.
    canvas : Canvas
    grid : Grid
        RAS grid of the subject.
    images : CaseImages
    location : ndarray of uint8, shape (n,)
        Labels of the location in the voxels of the canvas.
    probabilities : dict of (LesionKind, int) to float
        Mean lesion probability of each proposed lesion.
    rules : LesionRules
    previous_t2 : callable
    lock : RLock
        Of the assignment.
    edits : list of Edit
        The log.
    dispute : Dispute or None
        For an adjudication: the two reads.
    confirmed_before : mapping of LesionKind to numpy.ndarray
        Confirmed lesions of the previous visit in the voxels of the canvas; empty if it is not shown.
    """

    assignment: Assignment
    proposal: StoredProposal
    proposed: Mapping[LesionKind, LabelImage]
    canvas: Canvas
    grid: Grid
    images: CaseImages
    location: NDArray[np.integer[Any]]
    probabilities: Mapping[Lesion, float]
    rules: LesionRules
    previous_t2: PreviousT2
    lock: RLock
    edits: list[Edit] = field(default_factory=list)
    dispute: Dispute | None = None
    confirmed_before: Mapping[LesionKind, NDArray[np.uint8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reads = self._outlined()
        self.marks = self._unmarked()
        self._original = dict(self.marks.voxels)
        self._counts: dict[LesionKind, Json] = {}
        for edit in self.edits:
            self._replay(edit)

    def _replay(self, edit: Edit) -> Effect:
        """Carry out an operation of the log. A decision on a change that is not asked any more has no effect."""
        operation = _operation(edit)
        if isinstance(operation, ChangeOperation) and operation.lesion not in self.asked:
            return Effect()
        return self.marks.apply(operation)

    @property
    def canvas_grid(self) -> Grid:
        """The canvas as a grid with the spacing of the images. Its position is not theirs."""
        return Grid(self.canvas.shape, np.diag([*self.grid.spacing_mm, 1.0]))

    @property
    def asked(self) -> Mapping[int, str]:
        """The proposed change of each T2 lesion on whose change the reader decides."""
        return self.proposal.shown.changes if self.proposal.shown else {}

    @property
    def head(self) -> str:
        """Hash of the latest operation; empty without one."""
        return self.edits[-1].hash if self.edits else ""

    @property
    def editable(self) -> list[list[int]]:
        """The half-open box of the voxels that belong to the images. The rest of the canvas is padding."""
        box = self.canvas.inside(self.grid.shape)
        return [[s.start for s in box], [s.stop for s in box]]

    def counts(self) -> dict[str, Json]:
        """Number and volume of the lesions that count and are not rejected.

        Returns
        -------
        dict of str to dict
            ``lesions`` and ``volume_ml``, by kind.
        """
        for kind in self.marks.labels:
            if kind not in self._counts:
                self._counts[kind] = self._counted(kind, self.marks.kept(kind))
        return {kind.value: self._counts[kind] for kind in self.marks.labels}

    def lesions(self) -> list[Json]:
        """All lesions.

        Returns
        -------
        list of dict
            As `lesion`, in the order of kinds and numbers.
        """
        order = list(LesionKind)
        return [
            self.lesion(one) for one in sorted(self.marks.voxels, key=lambda one: (order.index(one[0]), one[1]))
        ]

    def lesion(self, lesion: Lesion) -> Json:
        """One lesion, as the browser shows it.

        Parameters
        ----------
        lesion : tuple of (LesionKind, int)

        Returns
        -------
        dict
        """
        kind, number = lesion
        voxels = self.marks.voxels[lesion]
        shown = voxels if len(voxels) else self._original[lesion]
        centre, box = self._place(shown)
        decided = self.marks.decision(lesion)
        is_asked = kind is LesionKind.T2 and number in self.asked
        return {
            "kind": kind.value,
            "number": number,
            "proposed": lesion in self.marks.proposed,
            "volume_mm3": round(len(voxels) * self.grid.voxel_volume_mm3, 1),
            "voxels": len(voxels),
            "centre": centre,
            "box": box,
            "probability": self.probabilities.get(lesion),
            "location": self._location(shown),
            "decision": decided.decision,
            "reason": decided.reason,
            "proposed_change": self.asked[number] if is_asked else None,
            "change": self.marks.change(number) if is_asked else None,
            "settled": lesion in self.marks.settled,
            "seen_by": [name for name, outline in self._outlines(lesion).items() if len(outline)],
            "choice": self._choice(lesion),
        }

    def answer(self, number: int) -> Json:
        """The answer to an earlier operation, from a replay of the log.

        Parameters
        ----------
        number : int
            Number of the operation.

        Returns
        -------
        dict
            As `done`.
        """
        earlier = Case(
            self.assignment, self.proposal, self.proposed, self.canvas, self.grid, self.images, self.location,
            self.probabilities, self.rules, self.previous_t2, self.lock, self.edits[: number - 1], self.dispute,
        )  # fmt: skip
        return earlier.done(self.edits[number - 1], earlier._replay(self.edits[number - 1]))

    def done(self, edit: Edit, effect: Effect) -> Json:
        """Enter an operation that was carried out, and describe what it changed.

        Parameters
        ----------
        edit : Edit
        effect : Effect

        Returns
        -------
        dict
        """
        self.edits.append(edit)
        for kind, _ in effect.lesions:
            self._counts.pop(kind, None)
        present = [one for one in sorted(effect.lesions) if one in self.marks.voxels]
        return {
            "next_number": edit.number + 1,
            "counts": self.counts(),
            "lesions": [self.lesion(one) for one in present],
            "removed": [[kind.value, number] for kind, number in sorted(effect.lesions - set(present))],
            "runs": {kind.value: runs for kind, runs in effect.runs.items()},
        }

    def summary(self) -> Json:
        """Contradictions, questions and counts before the signature.

        Undecided lesions are taken as accepted.

        Returns
        -------
        dict
            ``contradictions``, ``questions``, ``undecided`` and ``counts``.
        """
        contradictions: list[str] = []
        questions: Sequence[str] = ()
        counts = self.counts()
        try:
            grid = self.canvas_grid
            proposed = {kind: self._on_canvas(labels) for kind, labels in self._unmarked().labels.items()}
            returned = {kind: self._on_canvas(self.marks.returned(kind)) for kind in proposed}
            item = confirm_item(
                self.proposal, proposed, self._returned(returned), what=WHAT,
                check=lambda masks, what: check_read(masks, self.rules, what=what),
                previous_t2=lambda _: LabelImage(self.canvas.cut(self._previous_t2().mask), grid),
                dispute=self._dispute_on_canvas(),
            )  # fmt: skip
            questions = item.notes
            counts = {
                kind.value: self._counted(kind, np.flatnonzero(flat(mask.data)))
                for kind, mask in item.masks.items()
            }
        except UsageError as error:
            contradictions += self._against_decisions() or [error.message]
        plain = [
            text.removeprefix(f"{WHAT}: ").removeprefix(f"{WHAT}, ") for text in (*contradictions, *questions)
        ]
        return {
            "contradictions": plain[: len(contradictions)],
            "questions": plain[len(contradictions) :] + self._outside_brain(),
            "undecided": len(self.marks.undecided()),
            "counts": counts,
        }

    def returned(self) -> Returned:
        """What the reader returns: decisions, and masks on the subject's grid.

        Returns
        -------
        Returned
        """
        labels = {}
        for kind, mask in self.proposed.items():
            ras = mask.reoriented()
            data = self.canvas.pasted(unflat(self.marks.returned(kind), self.canvas.shape), ras.data)
            labels[kind] = LabelImage(data, ras.grid).with_axes_of(mask.grid)
        return self._returned(labels)

    def _returned(self, labels: Mapping[LesionKind, LabelImage]) -> Returned:
        order = list(LesionKind)
        decisions = []
        asked = self.marks.proposed - self.marks.settled
        for lesion in sorted(asked, key=lambda one: (order.index(one[0]), one[1])):
            decided = self.marks.decision(lesion)
            choice = self._choice(lesion)
            taken = choice if choice in NAMES else ""
            accepted = decided.decision != "reject" or self._takes_nothing(lesion, taken)
            decisions.append(LesionDecision(*lesion, accepted, decided.reason, taken if accepted else ""))
        rejected = {d.lesion for d in decisions if d.kind is LesionKind.T2 and not d.accepted}
        shown = (number for number in self.asked if len(self.marks.voxels.get((LesionKind.T2, number), ())))
        words = {number: self.marks.change(number) for number in shown if number not in rejected}
        changes = {number: CHANGE_WORDS[word] for number, word in words.items() if word}
        return Returned(tuple(decisions), labels, changes)

    def _takes_nothing(self, lesion: Lesion, taken: str) -> bool:
        """True if a read without a lesion is taken: its outline counts, and there is none. That is no rejection.

        A lesion that was erased or enlarged is rejected: what was drawn beyond both reads does not count either.
        """
        voxels = self.marks.voxels[lesion]
        return bool(taken and len(voxels)) and bool(np.isin(voxels, self._original[lesion]).all())

    def _outlined(self) -> dict[str, dict[LesionKind, NDArray[np.uint16]]]:
        """The numbered outlines of read A and read B in the voxels of the canvas; empty but for an adjudication."""
        outlined = self.dispute.outlined(self.proposed) if self.dispute else {}
        return {
            name: {
                kind: flat(self.canvas.cut(mask.reoriented().data.astype(np.uint16))) for kind, mask in own.items()
            }
            for name, own in outlined.items()
        }

    def _outlines(self, lesion: Lesion) -> dict[str, Indices]:
        """The voxels of a lesion in each read; none for a lesion that the adjudicator has drawn."""
        if lesion not in self._original:
            return {}
        place = self._original[lesion]
        return {name: place[read[lesion[0]][place] > 0] for name, read in self.reads.items()}

    def _choice(self, lesion: Lesion) -> str | None:
        """What an adjudicator has decided: A, B, both, neither or own; None if nothing is decided or asked."""
        decided, reason = self.marks.decision(lesion).decision, self.marks.decision(lesion).reason
        if not self.reads or lesion not in self.marks.proposed - self.marks.settled or decided is None:
            return None
        if reason:  # of a rejection; a read without the lesion is taken without one
            return "neither"
        present = self.marks.voxels[lesion] if decided == "accept" else np.zeros(0, dtype=np.int64)
        for name, outline in (*self._outlines(lesion).items(), ("both", self._original[lesion])):
            if np.array_equal(present, outline):
                return name
        return "own" if decided == "accept" else "neither"

    def _dispute_on_canvas(self) -> Dispute | None:
        if self.dispute is None:
            return None
        a, b = ({kind: self._on_canvas(values) for kind, values in read.items()} for read in self.reads.values())
        return replace(self.dispute, a=a, b=b)

    def _settled(self) -> list[Lesion]:
        if self.dispute is None:
            return []
        return [
            (kind, number)
            for kind, mask in self.proposed.items()
            for number in set(np.unique(mask.data).tolist()) - {0, *self.dispute.to_decide(kind, mask)}
        ]

    def _previous_t2(self) -> LabelImage:
        try:
            return self.previous_t2(self.proposal).reoriented()
        except UsageError as error:  # its message has a code of another list
            raise UsageError(
                "expected the read of the previous visit as it was shown, found a later one",
                hint="reload the page",
            ) from error

    def _unmarked(self) -> Marks:
        cut = {}
        for kind, mask in self.proposed.items():
            labels = mask.reoriented().data.astype(np.uint16)
            cut[kind] = flat(self.canvas.cut(labels)).copy()
            if outside := np.count_nonzero(labels) - np.count_nonzero(cut[kind]):
                raise UsageError(
                    f"expected all lesions near the brain, found {outside} voxels of {kind.value} elsewhere",
                    hint="check the masks",
                )
        editable = np.zeros(self.canvas.shape, dtype=bool)
        editable[self.canvas.inside(self.grid.shape)] = True
        return Marks(cut, flat(editable), self.asked, self._settled())

    def _on_canvas(self, labels: NDArray[np.uint16]) -> LabelImage:
        return LabelImage(unflat(labels, self.canvas.shape), self.canvas_grid)

    def _counted(self, kind: LesionKind, voxels: Indices) -> Json:
        if not len(voxels):
            return {"lesions": 0, "volume_ml": 0.0}
        xyz = self._xyz(voxels)
        low = xyz.min(axis=0)
        mask = np.zeros(xyz.max(axis=0) + 1 - low, dtype=bool)  # counting is faster in the box
        mask[tuple((xyz - low).T)] = True
        counted = number_counted(kind, LabelImage(mask, Grid(mask.shape, self.canvas_grid.affine)), self.rules)
        return {"lesions": int(counted.data.max()), "volume_ml": round(counted.volume_mm3 / 1000, 3)}

    def _place(self, voxels: Indices) -> tuple[list[int], list[list[int]]]:
        """The voxel nearest to the centroid, and the half-open box."""
        xyz = self._xyz(voxels)
        distance = np.linalg.norm((xyz - xyz.mean(axis=0)) * self.grid.spacing_mm, axis=1)
        centre = xyz[int(np.argmin(np.round(distance, 6)))]
        return centre.tolist(), [xyz.min(axis=0).tolist(), (xyz.max(axis=0) + 1).tolist()]

    def _xyz(self, voxels: Indices) -> NDArray[np.int64]:
        nx, ny, _ = self.canvas.shape
        return np.stack([voxels % nx, voxels // nx % ny, voxels // (nx * ny)], axis=1)

    def _against_decisions(self) -> list[str]:
        """Decisions that do not fit what is drawn in the place of a lesion. An adjudication has its own rules."""
        found = []
        for lesion in sorted(self.marks.proposed if self.dispute is None else ()):
            (kind, number), place = lesion, self._original[lesion]
            labels = self.marks.returned(kind)[place]
            others, decision = set(labels.tolist()) - {0, number}, self.marks.decision(lesion).decision
            x, y, z = (i + 1 for i in self._place(place)[0])
            what = f"the {kind.value} lesion {number} at voxel {x}, {y}, {z}"
            if decision == "reject" and others:
                drawn = ", ".join(map(str, sorted(others)))
                found.append(
                    f"{what} is rejected, but {kind.value} {drawn} has voxels of it. Accept it if they are lesion, or "
                    "erase them"
                )
            elif decision == "accept" and not labels.any():
                found.append(f"{what} is accepted, but all its voxels are erased. Reject it, or undo the erasing")
        return found

    def _outside_brain(self) -> list[str]:
        """A question for each lesion that is not rejected and lies outside the brain."""
        found = []
        for (kind, number), voxels in sorted(self.marks.voxels.items()):
            rejected = self.marks.decision((kind, number)).decision == "reject"
            if len(voxels) and not rejected and self._location(voxels) == OUTSIDE:
                x, y, z = (i + 1 for i in self._place(voxels)[0])
                found.append(
                    f"the {kind.value} lesion {number} at voxel {x}, {y}, {z} lies outside the brain. It counts as it "
                    "is; reject or erase it if it is no lesion of the brain"
                )
        return found

    def _location(self, voxels: Indices) -> str:
        if 2 * np.count_nonzero(self.location[voxels]) < len(voxels):
            return OUTSIDE
        zones = self.location[voxels].reshape(-1, 1, 1)
        line = Grid((len(voxels), 1, 1), np.eye(4))
        place = locate(LabelImage(np.ones((len(voxels), 1, 1), dtype=np.uint8), line), LabelImage(zones, line))
        return place[1].value


def _operation(edit: Edit) -> VoxelsOperation | DecideOperation | RetypeOperation | ChangeOperation:
    return OPERATION.validate_json(edit.body)
