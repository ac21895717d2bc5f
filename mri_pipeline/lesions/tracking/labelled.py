"""Numbered lesions of a visit, and their comparison with earlier visits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mri_pipeline.core.records import GelState, T2State
from mri_pipeline.core.spatial import BoolArray, LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.lesions.change.detect import SmoothFlair
from mri_pipeline.lesions.tracking.compare import T2Comparison


@dataclass(frozen=True)
class LabelledVisit:
    """Lesions of one visit; all label images are numbered 1 to n at this visit.

    Parameters
    ----------
    masks : VisitMasks
        Masks of the visit. All components of T2 lesions are numbered, including those below the minimum volume.
    t2 : LabelImage
        Numbered T2 lesions.
    gel, black_holes : LabelImage or None
        Numbered enhancing lesions and black holes; None if unknown.
    lesions : LabelImage
        T2 lesions with the numbers of `t2`, followed by the enhancing lesions that do not overlap them.
    numbers : mapping of int to int
        Number over all visits of each label of `lesions`.
    flair : SmoothFlair or None
        None if missing or no longer needed.
    """

    masks: VisitMasks
    t2: LabelImage
    gel: LabelImage | None
    black_holes: LabelImage | None
    lesions: LabelImage
    numbers: Mapping[int, int]
    flair: SmoothFlair | None


@dataclass(frozen=True)
class Findings:
    """Comparison of one visit with earlier visits.

    None means "unknown": there is no reference visit, no contrast, no T1, or a week is missing.

    Parameters
    ----------
    t2 : T2Comparison or None
    gel : mapping of int to GelState, or None
        State by the number of the enhancing lesion.
    gel_compared : bool
        True if there is an earlier visit with contrast.
    chronic : ndarray of bool or None, shape (x, y, z)
        Chronic part of the black holes.
    new_since_first : frozenset of int or None
        Numbers over all visits of the T2 lesions that are new relative to the first analysed visit.
    counted_at : mapping of int to int
        Label of the lesion at which each enhancing lesion is counted. Empty without contrast.
    """

    t2: T2Comparison | None
    gel: Mapping[int, GelState] | None
    gel_compared: bool
    chronic: BoolArray | None
    new_since_first: frozenset[int] | None = None
    counted_at: Mapping[int, int] = field(default_factory=dict)

    @property
    def active_t2(self) -> set[int]:
        """Labels of the new or enlarging T2 lesions; empty at the first visit."""
        return active_lesions(self.t2)


def active_lesions(comparison: T2Comparison | None) -> set[int]:
    """Labels of the new or enlarging T2 lesions.

    Parameters
    ----------
    comparison : T2Comparison or None

    Returns
    -------
    set of int
        Empty for None.
    """
    states = {} if comparison is None else comparison.states
    return {n for n, state in states.items() if state in (T2State.NEW, T2State.ENLARGING)}
