"""The marks of a reader in the browser: labels, decisions, and how operations change them.

Operations are checked as a whole before they change anything. The same operations in the same order give the same
marks: a reading is replayed from its log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.spatial import BoolArray
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.operations import (
    REASONS,
    ChangeOperation,
    DecideOperation,
    MarkDecision,
    RetypeOperation,
    VoxelsOperation,
)

Lesion = tuple[LesionKind, int]
Runs = list[tuple[int, int, int, int]]
Indices = NDArray[np.int64]
MOST_LABELS = 65_535

_NONE = np.zeros(0, dtype=np.int64)
_RELOAD = "reload the page"


@dataclass
class Effect:
    """What an operation changed.

    Attributes
    ----------
    lesions : set of (kind, number)
        Lesions whose voxels or decisions have changed.
    runs : dict of LesionKind to runs
        Voxels that were changed beyond those of the operation.
    """

    lesions: set[Lesion] = field(default_factory=set)
    runs: dict[LesionKind, Runs] = field(default_factory=dict)


class Marks:
    """Labels and decisions of one reading.

    Parameters
    ----------
    proposed : mapping of LesionKind to ndarray of uint16, shape (n,)
        The proposed lesions in the voxels of the canvas.
    editable : ndarray of bool, shape (n,)
        Voxels that belong to the grid of the images.
    changes : iterable of int
        Proposed T2 lesions on whose change the reader decides.
    settled : iterable of (kind, number)
        Proposed lesions that count without a decision: two reads outline them in the same way.

    Notes
    -----
    `labels` has the present labels of each kind. `voxels` has the present voxels of each lesion, in ascending order; a
    proposed lesion that was erased has none.
    """

    def __init__(
        self,
        proposed: Mapping[LesionKind, NDArray[np.uint16]],
        editable: BoolArray,
        changes: Iterable[int] = (),
        settled: Iterable[Lesion] = (),
    ) -> None:
        self.labels = {kind: labels.copy() for kind, labels in proposed.items()}
        self.voxels: dict[Lesion, Indices] = {}
        for kind, labels in proposed.items():
            self.voxels |= {(kind, number): where for number, where in _voxels_of(labels)}
        self.proposed = frozenset(self.voxels)
        self._editable = editable
        self._decisions: dict[Lesion, MarkDecision] = {}
        self._asked = frozenset(changes)
        self.settled = frozenset(settled)
        self._changes: dict[int, str] = {}

    def decision(self, lesion: Lesion) -> MarkDecision:
        """The present decision on a lesion.

        Parameters
        ----------
        lesion : tuple of (LesionKind, int)

        Returns
        -------
        MarkDecision
        """
        return self._decisions.get(lesion, MarkDecision())

    def change(self, number: int) -> str | None:
        """The present decision on the change of a T2 lesion.

        Parameters
        ----------
        number : int

        Returns
        -------
        str or None
        """
        return self._changes.get(number)

    def kept(self, kind: LesionKind) -> Indices:
        """The voxels of the lesions that are not rejected.

        Parameters
        ----------
        kind : LesionKind

        Returns
        -------
        ndarray of int
        """
        kept = [where for lesion, where in self.voxels.items() if lesion[0] is kind and not self._rejected(lesion)]
        return np.concatenate([_NONE, *kept])

    def returned(self, kind: LesionKind) -> NDArray[np.uint16]:
        """The labels as a reader returns them: without rejected drawn lesions, with rejected proposed ones.

        Parameters
        ----------
        kind : LesionKind

        Returns
        -------
        ndarray of uint16, shape (n,)
        """
        drawn = [lesion for lesion in self.voxels if lesion[0] is kind and lesion not in self.proposed]
        return self._without(kind, [lesion[1] for lesion in drawn if self._rejected(lesion)])

    def undecided(self) -> list[Lesion]:
        """The proposed lesions without a decision, those without a decision on their change included.

        An accepted lesion without voxels is a part of another one. No change is asked of it.

        Returns
        -------
        list of (kind, number)
            In the order of kinds and numbers.
        """
        open_ = {one for one in self.proposed - self.settled if self.decision(one).decision is None}
        open_ |= {
            (LesionKind.T2, number)
            for number in self._asked
            if self._is_there(number)
            and not self._rejected((LesionKind.T2, number))
            and number not in self._changes
        }
        order = list(LesionKind)
        return sorted(open_, key=lambda lesion: (order.index(lesion[0]), lesion[1]))

    def free_number(self, kind: LesionKind) -> int:
        """A number that no lesion of a kind has or had among the proposals.

        Parameters
        ----------
        kind : LesionKind

        Returns
        -------
        int

        Raises
        ------
        UsageError
            If all are taken.
        """
        number = 1 + max((n for k, n in self.voxels if k is kind), default=0)
        if number > MOST_LABELS:
            raise UsageError(f"expected at most {MOST_LABELS} lesions, found no free number", hint=_RELOAD)
        return number

    def apply(self, operation: VoxelsOperation | DecideOperation | RetypeOperation | ChangeOperation) -> Effect:
        """Check an operation and carry it out.

        Parameters
        ----------
        operation : Operation

        Returns
        -------
        Effect

        Raises
        ------
        UsageError
            If it does not fit the present marks. Nothing is changed then.
        """
        return self.checked(operation)()

    def checked(
        self, operation: VoxelsOperation | DecideOperation | RetypeOperation | ChangeOperation
    ) -> Callable[[], Effect]:
        """Check an operation.

        Parameters
        ----------
        operation : Operation

        Returns
        -------
        callable
            Carries it out and returns its `Effect`. It cannot fail.

        Raises
        ------
        UsageError
            If the operation does not fit the present marks.
        """
        match operation:
            case VoxelsOperation():
                where, old, new = self._checked_runs(operation)
                return lambda: Effect(self._set(operation.kind, where, old, new))
            case DecideOperation():
                return self._checked_decision(operation)
            case RetypeOperation():
                return self._checked_retype(operation)
            case _:
                return self._checked_change(operation)

    def _checked_runs(self, operation: VoxelsOperation) -> tuple[Indices, Indices, Indices]:
        labels = self._labels(operation.kind)
        runs = np.array(operation.runs, dtype=np.int64)
        start, length, old, new = runs.T
        if (length < 1).any() or int(length.sum()) > labels.size or (start + length > labels.size).any():
            raise UsageError(
                f"expected voxels on the canvas (1 to {labels.size}), found runs of {length.min()} to {length.max()} "
                f"voxels up to voxel {(start + length).max()}",
                hint=_RELOAD,
            )
        offsets = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        where = np.repeat(start, length) + offsets
        if repeated := len(where) - len(np.unique(where)):
            raise UsageError(f"expected every voxel once, found {repeated} repeated", hint=_RELOAD)
        if beyond := np.count_nonzero(~self._editable[where]):
            raise UsageError(
                f"expected voxels of the images, found {beyond} beyond their edge", hint="draw in the image"
            )
        old, new = np.repeat(old, length), np.repeat(new, length)
        if changed := np.count_nonzero(labels[where] != old):
            raise UsageError(
                f"expected the present labels as old, found {changed} of {len(where)} voxels that differ",
                hint=_RELOAD,
            )
        return where, old, new

    def _checked_decision(self, operation: DecideOperation) -> Callable[[], Effect]:
        lesion = self._open(operation.kind, operation.lesion)
        if operation.reason and (operation.decision != "reject" or operation.reason not in REASONS):
            raise UsageError(
                f"expected a rejection with a reason of the list ({', '.join(REASONS)}), "
                f"found {operation.decision or 'no decision'} with another reason",
                hint=_RELOAD,
            )
        if self.decision(lesion) != operation.old:
            raise UsageError(
                f"expected the present decision ({self.decision(lesion).decision or 'none'}) as old, "
                f"found {operation.old.decision or 'none'}",
                hint=_RELOAD,
            )
        decided = MarkDecision(decision=operation.decision, reason=operation.reason)
        return lambda: self._decide(lesion, decided)

    def _checked_retype(self, operation: RetypeOperation) -> Callable[[], Effect]:
        lesion, labels = self._open(operation.kind, operation.lesion), self._labels(operation.to)
        if operation.to is operation.kind:
            raise UsageError(
                f"expected a type other than {operation.kind.value}, found {operation.to.value}",
                hint="choose another type",
            )
        where = self.voxels[lesion]
        where = where[labels[where] == 0]
        if not len(where):
            raise UsageError(
                f"expected voxels that are no {operation.to.value} lesion yet, found none",
                hint="reject the lesion",
            )
        new = self.free_number(operation.to)

        def retype() -> Effect:
            old, numbers = np.zeros_like(where), np.full_like(where, new)
            effect = self._decide(lesion, MarkDecision(decision="reject", reason="other_type"))
            effect.lesions |= self._set(operation.to, where, old, numbers)
            effect.runs[operation.to] = runs_of(where, old, numbers)
            return effect

        return retype

    def _checked_change(self, operation: ChangeOperation) -> Callable[[], Effect]:
        number = operation.lesion
        if number not in self._asked:
            raise UsageError(
                f"expected a lesion with a proposed change, found lesion {number} without", hint=_RELOAD
            )
        if self.change(number) != operation.old:
            raise UsageError(
                f"expected the present change ({self.change(number) or 'none'}) as old, "
                f"found {operation.old or 'none'}",
                hint=_RELOAD,
            )

        def change() -> Effect:
            if operation.change is None:
                self._changes.pop(number, None)
            else:
                self._changes[number] = operation.change
            return Effect({(LesionKind.T2, number)})

        return change

    def _decide(self, lesion: Lesion, decided: MarkDecision) -> Effect:
        self._decisions[lesion] = decided
        return Effect({lesion})

    def _set(self, kind: LesionKind, where: Indices, old: Indices, new: Indices) -> set[Lesion]:
        """Set the labels of voxels; returns the lesions that have changed."""
        touched: set[Lesion] = set()
        changed = old != new
        where, old, new = where[changed], old[changed], new[changed]
        for number in np.unique(old[old > 0]).tolist():
            lesion = (kind, int(number))
            self.voxels[lesion] = np.setdiff1d(self.voxels[lesion], where[old == number], assume_unique=True)
            touched.add(lesion)
        for number in np.unique(new[new > 0]).tolist():
            lesion = (kind, int(number))
            self.voxels[lesion] = np.union1d(self.voxels.get(lesion, _NONE), where[new == number])
            touched.add(lesion)
        self.labels[kind][where] = new
        for lesion in touched - self.proposed:
            if not len(self.voxels[lesion]):
                del self.voxels[lesion]
                self._decisions.pop(lesion, None)
        return touched

    def _without(self, kind: LesionKind, numbers: Sequence[int]) -> NDArray[np.uint16]:
        labels = self.labels[kind]
        return np.where(np.isin(labels, numbers), np.uint16(0), labels) if numbers else labels

    def _is_there(self, number: int) -> bool:
        return len(self.voxels.get((LesionKind.T2, number), _NONE)) > 0

    def _rejected(self, lesion: Lesion) -> bool:
        return self.decision(lesion).decision == "reject"

    def _known(self, kind: LesionKind, number: int) -> Lesion:
        if (kind, number) not in self.voxels:
            raise UsageError(f"expected a {kind.value} lesion of this case, found number {number}", hint=_RELOAD)
        return kind, number

    def _open(self, kind: LesionKind, number: int) -> Lesion:
        lesion = self._known(kind, number)
        if lesion in self.settled:
            raise UsageError(
                "expected a lesion on which the reads differ, found a lesion that both outline in the same way",
                hint="it counts as it is; change its outline if it is wrong",
            )
        return lesion

    def _labels(self, kind: LesionKind) -> NDArray[np.uint16]:
        if kind not in self.labels:
            raise UsageError(f"expected a type of lesion of this case, found {kind.value}", hint=_RELOAD)
        return self.labels[kind]


def runs_of(where: Indices, old: Indices, new: Indices) -> Runs:
    """Runs of voxels with equal labels.

    Parameters
    ----------
    where : ndarray of int, shape (n,)
        Voxel indices in ascending order.
    old, new : ndarray of int, shape (n,)
        Their labels.

    Returns
    -------
    list of (start, length, old, new)

    Examples
    --------
    >>> runs_of(np.array([3, 4, 5, 9]), np.array([0, 0, 0, 0]), np.array([2, 2, 1, 1]))
    [(3, 2, 0, 2), (5, 1, 0, 1), (9, 1, 0, 1)]
    """
    if not len(where):
        return []
    ends = (np.diff(where) != 1) | (np.diff(old) != 0) | (np.diff(new) != 0)
    first = np.concatenate([[0], np.flatnonzero(ends) + 1])
    length = np.diff(np.append(first, len(where)))
    columns = (where[first], length, old[first], new[first])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _voxels_of(labels: NDArray[np.uint16]) -> list[tuple[int, Indices]]:
    where = np.flatnonzero(labels)
    if not len(where):
        return []
    values = labels[where]
    order = np.argsort(values, kind="stable")
    numbers, first = np.unique(values[order], return_index=True)
    return [(int(n), part) for n, part in zip(numbers, np.split(where[order], first[1:]), strict=True)]
