"""Longitudinal tracking of the lesions of one subject: counts, lesion records and change masks.

The rules are defined in docs/definitions.md. Each is implemented in a module of its own: `tracking.compare` (new,
enlarging, shrinking, vanished), `tracking.identity` (lesion numbers), `tracking.gel` (enhancing lesions, combined
unique active lesions, chronic black holes) and `change` (change of FLAIR intensity).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import CHANGE_CODES, LesionRecord, SubjectResult, T2State, VisitCounts
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.lesions.black_holes import countable
from mri_pipeline.lesions.change.detect import SmoothFlair, changed_voxels
from mri_pipeline.lesions.components import label_lesions, renumbered
from mri_pipeline.lesions.tracking.compare import T2Comparison, compare_t2
from mri_pipeline.lesions.tracking.counts import count_visit
from mri_pipeline.lesions.tracking.field import Field
from mri_pipeline.lesions.tracking.gel import (
    at_place_of,
    chronic_black_holes,
    counted_at,
    gel_states,
    label_gel,
    overlaps,
)
from mri_pipeline.lesions.tracking.identity import Continuity, LesionExtents
from mri_pipeline.lesions.tracking.labelled import Findings, LabelledVisit, active_lesions
from mri_pipeline.lesions.tracking.records import by_kind, record_lesions


@dataclass(frozen=True)
class VisitTracking:
    """Tracking result of one visit.

    Parameters
    ----------
    visit : str
        Visit label.
    lesions : LabelImage
        Numbered lesions; a lesion has the same number at all visits.
    masks : mapping of MaskLabel to LabelImage
        newT2, enlargingT2 (whole lesions), T2increase, T2decrease (voxels); empty at the first analysed visit.
    counts : VisitCounts
    records : tuple of LesionRecord
        By lesion number; a lesion that vanished since the reference visit has a row of volume 0.
    """

    visit: str
    lesions: LabelImage
    masks: Mapping[MaskLabel, LabelImage]
    counts: VisitCounts
    records: tuple[LesionRecord, ...]


@dataclass(frozen=True)
class Tracking:
    """Tracking results of one subject.

    Parameters
    ----------
    visits : tuple of VisitTracking
        In order of time.
    """

    visits: tuple[VisitTracking, ...]

    def result(self, subject: str) -> SubjectResult:
        """Counts and lesions of all visits.

        Parameters
        ----------
        subject : str
            Blinded code.

        Returns
        -------
        SubjectResult
        """
        return SubjectResult(
            subject=subject,
            visits=tuple(v.counts for v in self.visits),
            lesions=tuple(record for v in self.visits for record in v.records),
        )


def track_subject(
    visits: Sequence[VisitMasks],
    location: LabelImage,
    rules: LesionRules,
    weeks: Mapping[str, int | None],
) -> Tracking:
    """Track the lesions of one subject.

    Parameters
    ----------
    visits : sequence of VisitMasks
        Analysed visits in order of time, on one grid. Missing visits are omitted.
    location : LabelImage
        `anatomy.LOCATION_LABELS` inside the brain, 0 outside.
    rules : LesionRules
    weeks : mapping of str to int or None
        Week of each visit. If a week is unknown, the volume of chronic black holes is empty.

    Returns
    -------
    Tracking
        Empty if there are no visits.

    Raises
    ------
    GridMismatchError
        If a mask or FLAIR is not on the grid of `location`.
    UsageError
        If a visit is given twice.
    """
    field = Field.of(visits, location)
    return Tracking(tuple(_tracked(step, field, rules) for step in _followed(visits, field, rules, weeks)))


def count_subject(
    subject: str,
    visits: Sequence[VisitMasks],
    location: LabelImage,
    rules: LesionRules,
    weeks: Mapping[str, int | None],
) -> SubjectResult:
    """Counts and lesions as from `track_subject`, without the change masks; sufficient for the tables.

    Parameters
    ----------
    subject : str
        Blinded code.
    visits, location, rules, weeks
        As in `track_subject`.

    Returns
    -------
    SubjectResult
        Without counts and lesions if there are no visits.

    Raises
    ------
    GridMismatchError, UsageError
        As in `track_subject`.
    """
    field = Field.of(visits, location)
    counts: list[VisitCounts] = []
    lesions: list[LesionRecord] = []
    for step in _followed(visits, field, rules, weeks):
        counts.append(count_visit(step.now, step.reference, step.found, rules))
        lesions += record_lesions(step.now, step.reference, step.found, field.location)
    return SubjectResult(subject, tuple(counts), tuple(lesions))


@dataclass(frozen=True)
class NumberedVisit:
    """The lesions of one visit by kind, as they are counted.

    Parameters
    ----------
    visit : str
        Visit label.
    lesions : mapping of MaskLabel to LabelImage
        T2 lesions, enhancing lesions and black holes with the number of the lesion at which they are counted. A kind
        that is unknown at the visit is absent.
    """

    visit: str
    lesions: Mapping[MaskLabel, LabelImage]


def number_subject(
    visits: Sequence[VisitMasks],
    location: LabelImage,
    rules: LesionRules,
    weeks: Mapping[str, int | None],
) -> Iterator[NumberedVisit]:
    """Number the lesions of each kind as `count_subject` counts them, one visit after another.

    Parameters
    ----------
    visits, location, rules, weeks
        As in `track_subject`.

    Yields
    ------
    NumberedVisit
        For each kind, the voxels with a given number add up to the volume in the lesion records of that number.

    Raises
    ------
    GridMismatchError, UsageError
        As in `track_subject`.
    """
    field = Field.of(visits, location)
    for step in _followed(visits, field, rules, weeks):
        lesions = {kind: field.restored(labels) for kind, labels in by_kind(step.now, step.found).items()}
        yield NumberedVisit(step.now.masks.visit, lesions)


@dataclass(frozen=True)
class _Step:
    """A visit, its reference visit and their comparison."""

    now: LabelledVisit
    reference: LabelledVisit | None
    evidence: Image | None
    found: Findings


def _followed(
    visits: Sequence[VisitMasks], field: Field, rules: LesionRules, weeks: Mapping[str, int | None]
) -> Iterator[_Step]:
    """Process the visits in order, each compared with the earlier ones."""
    extents = LesionExtents(field.around.inner)
    past: list[LabelledVisit] = []
    history = _SinceFirst()
    for visit in visits:
        now = _labelled(field.masks(visit), field.flair(visit), rules)
        reference = past[-1] if past else None
        evidence = None if reference is None else field.evidence(reference, now)
        found = _findings(now, past, rules, weeks, evidence)
        now = replace(now, numbers=extents.numbered(now.lesions, _continuity(now, found.t2)))
        yield _Step(now, reference, evidence, replace(found, new_since_first=history.of(now, found.t2)))
        # images are compared with the previous visit only; older images are released to save memory
        past = [*(replace(v, flair=None) for v in past), replace(now, black_holes=None)]


def _continuity(now: LabelledVisit, comparison: T2Comparison | None) -> Continuity:
    t2 = frozenset(range(1, int(now.t2.data.max()) + 1))
    if comparison is None:
        return Continuity(t2)
    first_seen = {T2State.NEW, T2State.UNCHANGED_IMAGE}
    return Continuity(
        t2,
        followed=frozenset(n for n, state in comparison.states.items() if state not in first_seen),
        new=frozenset(n for n, state in comparison.states.items() if state is T2State.NEW),
    )


class _SinceFirst:
    """New T2 lesions relative to the first analysed visit: new at a later visit and still present.

    A lesion of the first visit that vanished and reappeared is new relative to the previous visit, not to the first.
    """

    def __init__(self) -> None:
        self._first: LabelImage | None = None
        self._new: set[int] = set()

    def of(self, now: LabelledVisit, comparison: T2Comparison | None) -> frozenset[int] | None:
        """Numbers of these lesions at the next visit; None at the first visit."""
        if self._first is None or comparison is None:
            self._first = now.t2
            return None
        old = at_place_of(now.t2, self._first)
        self._new |= {now.numbers[n] for n, s in comparison.states.items() if s is T2State.NEW and n not in old}
        return frozenset(self._new & {now.numbers[n] for n in comparison.states})


def _labelled(masks: VisitMasks, flair: SmoothFlair | None, rules: LesionRules) -> LabelledVisit:
    """Lesions of a visit, without their numbers over all visits."""
    grid = masks.t2_lesions.grid
    parts = label_lesions(masks.t2_lesions.mask, grid, min_volume_mm3=0, connectivity=rules.connectivity)
    t2 = renumbered(parts, min_volume_mm3=rules.t2_min_volume_mm3)
    gel = None if masks.gel is None else label_gel(masks.gel, rules)
    holes = None
    if masks.black_holes is not None:
        counted = countable(masks.black_holes.mask, t2.mask, None if gel is None else gel.mask)
        holes = label_lesions(
            counted, grid, min_volume_mm3=rules.black_hole_min_volume_mm3, connectivity=rules.connectivity
        )
    numbered = t2 if gel is None else _with_gel_alone(t2, gel)
    masks = replace(masks, t2_lesions=parts)
    return LabelledVisit(masks, t2, gel, holes, numbered, {}, flair)


def _with_gel_alone(t2: LabelImage, gel: LabelImage) -> LabelImage:
    """T2 lesions with their numbers, followed by the enhancing lesions that overlap no T2 lesion."""
    within_t2 = {number for number, _ in overlaps(gel, t2)}
    alone = [number for number in range(1, int(gel.data.max()) + 1) if number not in within_t2]
    table = np.zeros(int(gel.data.max()) + 1, dtype=t2.data.dtype)  # 0: overlaps a T2 lesion
    table[alone] = int(t2.data.max()) + 1 + np.arange(len(alone))
    return LabelImage(np.maximum(t2.data, table[gel.data]), t2.grid)


def _tracked(step: _Step, field: Field, rules: LesionRules) -> VisitTracking:
    now, reference, found = step.now, step.reference, step.found
    table = np.zeros(max(now.numbers, default=0) + 1, dtype=np.int32)
    for label, number in now.numbers.items():
        table[label] = number
    return VisitTracking(
        visit=now.masks.visit,
        lesions=field.restored(LabelImage(table[now.lesions.data], now.lesions.grid)),
        masks={label: field.restored(mask) for label, mask in _change_masks(step, field, rules).items()},
        counts=count_visit(now, reference, found, rules),
        records=record_lesions(now, reference, found, field.location),
    )


def _findings(
    now: LabelledVisit,
    past: Sequence[LabelledVisit],
    rules: LesionRules,
    weeks: Mapping[str, int | None],
    evidence: Image | None,
) -> Findings:
    t2 = gel = chronic = None
    before = next((v for v in reversed(past) if v.gel is not None), None)
    if past:
        t2 = compare_t2(
            past[-1].t2,
            now.t2,
            reference_parts=past[-1].masks.t2_lesions,
            followup_parts=now.masks.t2_lesions,
            rules=rules,
            evidence=evidence,
            masks_decide=past[-1].masks.confirmed and now.masks.confirmed,
            decided=_decided(past[-1], now),
        )
    if now.gel is not None:
        gel = gel_states(now.gel, before.gel if before else None, before.t2 if before else None)
    if now.black_holes is not None:
        known = [(week, v.t2.mask) for v in past if (week := weeks.get(v.masks.visit)) is not None]
        complete = known if len(known) == len(past) else None
        chronic = chronic_black_holes(now.black_holes, now.t2.mask, complete, weeks.get(now.masks.visit), rules)
    counted = {}
    if now.gel is not None and gel is not None:
        counted = counted_at(now.gel, now.lesions, active_lesions(t2), gel)
    return Findings(t2, gel, gel is not None and before is not None, chronic, counted_at=counted)


def _decided(reference: LabelledVisit, now: LabelledVisit) -> dict[int, T2State]:
    """The reader's decision on each lesion, if it refers to the present read of the reference visit."""
    masks = now.masks
    if masks.t2_changes is None or not masks.changes_since or masks.changes_since != reference.masks.read:
        return {}
    state_of = {code: state for state, code in CHANGE_CODES.items()}
    both = np.flatnonzero((now.t2.data > 0) & (masks.t2_changes.data > 0))
    pairs = Counter(zip(now.t2.data.flat[both].tolist(), masks.t2_changes.data.flat[both].tolist(), strict=True))
    decided: dict[int, T2State] = {}
    for (number, code), _ in sorted(pairs.items(), key=lambda item: (item[1], -item[0][1])):
        decided[number] = state_of[code]  # the decision with most voxels comes last
    return decided


def _change_masks(step: _Step, field: Field, rules: LesionRules) -> dict[MaskLabel, LabelImage]:
    now, reference, comparison = step.now, step.reference, step.found.t2
    if reference is None or comparison is None:
        return {}
    before, after = reference.masks, now.masks
    flairs = None
    if reference.flair is not None and now.flair is not None:
        flairs = reference.flair.within(field.around), now.flair.within(field.around)
    increase, decrease = changed_voxels(
        before.t2_lesions,
        after.t2_lesions,
        flairs=flairs,
        evidence=step.evidence,
        min_volume_mm3=rules.enlarging_min_growth_mm3,
        connectivity=rules.connectivity,
    )
    grid = now.t2.grid
    states = comparison.states.items()
    new = np.isin(now.t2.data, [n for n, state in states if state is T2State.NEW])
    enlarging = np.isin(now.t2.data, [n for n, state in states if state is T2State.ENLARGING])
    vanished = np.isin(reference.t2.data, list(comparison.vanished))
    return {
        MaskLabel.NEW_T2: LabelImage(new, grid),
        MaskLabel.ENLARGING_T2: LabelImage(enlarging, grid),
        # new and vanished lesions are included whole
        MaskLabel.T2_INCREASE: LabelImage(increase.mask | (new & ~before.t2_lesions.mask), grid),
        MaskLabel.T2_DECREASE: LabelImage(decrease.mask | (vanished & ~after.t2_lesions.mask), grid),
    }
