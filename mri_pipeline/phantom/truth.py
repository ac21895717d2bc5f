"""True counts, volumes and states from the design, by the rules of the protocol.

This module is an independent check of `mri_pipeline.lesions`. A lesion is an object of the design, not a connected
component. Only lesions that are planned as neighbours merge where they touch (`families`); they merge and split by
the rule of docs/definitions.md.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import BlackHoleState, GelState, LesionRecord, ScanStatus, T2State, VisitCounts
from mri_pipeline.core.visits import week_of
from mri_pipeline.phantom.families import Family, Unit, families
from mri_pipeline.phantom.states import gel_state, t2_states
from mri_pipeline.phantom.subject import SimulatedSubject

_NOT_IN_TIMEPOINTS = (
    "new_t2_since_first_count",
    "bh_severe_volume_ml",
    "t1_hypointense_volume_ml",
    "combined_with_persistent_gel_count",
    "combined_without_persistent_gel_count",
)
"""Columns of another table. The design has black holes of one grade, so that it states no volume of each grade."""
_ACTIVITY = (GelState.NEW, GelState.RE_ENHANCING, GelState.PERSISTENT, GelState.UNDETERMINED)


@dataclass(frozen=True)
class TrueLesion:
    """One lesion at one analysed visit.

    Parameters
    ----------
    record : LesionRecord
        True record.
    enhancement : float
        Signal above white matter on post-contrast T1, as a share of it; 0 does not enhance.
    ring : bool
        True if the enhancement spares the centre.
    gel_volume_mm3, black_hole_volume_mm3 : float
        0 if there is none.
    """

    record: LesionRecord
    enhancement: float
    ring: bool
    gel_volume_mm3: float
    black_hole_volume_mm3: float


@dataclass(frozen=True)
class SubjectTruth:
    """The truth of one subject.

    Parameters
    ----------
    subject : str
        Code of the subject in the tables.
    counts : tuple of VisitCounts
        One per planned visit. All values of a missing visit are None.
    status : mapping of str to ScanStatus
        By visit.
    lesions : tuple of TrueLesion
    """

    subject: str
    counts: tuple[VisitCounts, ...]
    status: Mapping[str, ScanStatus]
    lesions: tuple[TrueLesion, ...]


@dataclass(frozen=True)
class _Moment:
    """An analysed visit of a subject, and its reference visit."""

    subject: SimulatedSubject
    visit: int
    analysed: tuple[int, ...]
    rules: LesionRules

    @property
    def reference(self) -> int | None:
        return max((i for i in self.analysed if i < self.visit), default=None)


def _black_hole_state(
    family: Family, hole: NDArray[np.bool_], moment: _Moment
) -> tuple[BlackHoleState, float, float]:
    """The state, the hole's volume and the volume of it that has been lesion for long enough (mm³)."""
    volume = float(hole.sum())
    if volume < moment.rules.black_hole_min_volume_mm3:
        return BlackHoleState.NONE, 0.0, 0.0
    weeks = {i: _week(moment.subject, i) for i in moment.analysed if i <= moment.visit}
    least = moment.rules.black_hole_chronic_weeks
    old = [i for i, week in weeks.items() if weeks[moment.visit] - week >= least]
    chronic = 0.0
    if old:
        always = np.logical_and.reduce([family.t2_mask(i) for i in weeks if i >= old[-1]])
        chronic = float((hole & always).sum())
    return (BlackHoleState.CHRONIC if chronic > 0 else BlackHoleState.BLACK_HOLE), volume, chronic


def _week(subject: SimulatedSubject, visit: int) -> int:
    week = week_of(subject.visits[visit])
    return visit if week is None else week


def _true_lesion(family: Family, unit: Unit, state: T2State, moment: _Moment) -> tuple[TrueLesion, float]:
    """The lesion's record, with its chronic volume."""
    visit, reference, rules = moment.visit, moment.reference, moment.rules
    start = np.array([s.start for s in family.box])
    centre = moment.subject.anatomy.grid.world(np.argwhere(unit.mask).mean(axis=0, keepdims=True) + start)[0]
    gone = state is T2State.VANISHED
    seen = visit if reference is None or not gone else reference
    members = [m for m in family.members if (family.placed(m, m.t2_mask(seen)) & unit.mask).any()]
    here = np.zeros_like(unit.mask) if gone else unit.mask
    enhancing = (
        [] if gone else [(s, m) for m in members if (s := gel_state(m, visit, reference, rules)) is not None]
    )
    # of several enhancing members, the most active one gives the state
    gel, most_active = min(enhancing, key=lambda e: _ACTIVITY.index(e[0]), default=(None, members[0]))
    hole, hole_mm3, chronic_mm3 = _black_hole_state(family, family.black_hole_mask(visit) & here, moment)
    phase = most_active.plan.phases[visit]
    record = LesionRecord(
        visit=moment.subject.visits[visit], lesion_id=unit.lesion_id, volume_mm3=float(here.sum()),
        x_mm=float(centre[0]), y_mm=float(centre[1]), z_mm=float(centre[2]), location=most_active.plan.location,
        enhancing=gel is not None, gel_state=gel, t2_state=state, black_hole=hole,
    )  # fmt: skip
    gel_mm3 = float(sum(m.gel_mask(visit).sum() for _, m in enhancing))
    return TrueLesion(record, phase.enhancement, phase.ring, gel_mm3, hole_mm3), chronic_mm3


def _counts(moment: _Moment, found: list[tuple[TrueLesion, float]], new_since_first: int) -> VisitCounts:
    subject, visit, analysed, rules = moment.subject, moment.visit, moment.analysed, moment.rules
    records = [true.record for true, _ in found if true.record.t2_state is not T2State.VANISHED]
    gel = [r for r in records if r.enhancing]
    holes = [r for r in records if r.black_hole is not BlackHoleState.NONE]
    first = visit == analysed[0]
    followed_weeks = _week(subject, visit) - _week(subject, analysed[0])

    def compared(count: int) -> int | None:
        return None if first else count

    def gel_with(state: GelState) -> int | None:
        return compared(sum(r.gel_state is state for r in gel))

    new = sum(r.t2_state is T2State.NEW for r in records)
    enlarging = sum(r.t2_state is T2State.ENLARGING for r in records)
    active = sum(bool(r.enhancing) or r.t2_state in (T2State.NEW, T2State.ENLARGING) for r in records)
    chronic_ml = sum(chronic for _, chronic in found) / 1000.0
    return VisitCounts(
        visit=subject.visits[visit],
        reference_visit=None if first else subject.visits[max(i for i in analysed if i < visit)],
        gel_count=len(gel),
        gel_new_count=gel_with(GelState.NEW),
        gel_re_enhancing_count=gel_with(GelState.RE_ENHANCING),
        gel_persistent_count=gel_with(GelState.PERSISTENT),
        gel_volume_ml=sum(t.gel_volume_mm3 for t, _ in found) / 1000.0,
        t2_count=len(records),
        t2_volume_ml=sum(r.volume_mm3 for r in records) / 1000.0,
        new_t2_count=compared(new),
        enlarging_t2_count=compared(enlarging),
        new_or_enlarging_t2_count=compared(new + enlarging),
        bh_count=len(holes),
        bh_volume_ml=sum(t.black_hole_volume_mm3 for t, _ in found) / 1000.0,
        bh_chronic_volume_ml=chronic_ml if followed_weeks >= rules.black_hole_chronic_weeks else None,
        combined_unique_active_count=compared(active),
        new_t2_since_first_count=compared(new_since_first),
    )


def subject_truth(subject: SimulatedSubject, name: str, rules: LesionRules | None = None) -> SubjectTruth:
    """Counts and lesions of every planned visit.

    Parameters
    ----------
    subject : SimulatedSubject
    name : str
        Code of the subject in the tables.
    rules : LesionRules, optional
        Thresholds; default: the protocol's defaults.

    Returns
    -------
    SubjectTruth
    """
    rules = rules or LesionRules()
    analysed = [i for i, visit in enumerate(subject.visits) if visit not in subject.missing]
    together = families(subject.lesions)
    counts, lesions = [], []
    for i, visit in enumerate(subject.visits):
        if i not in analysed:
            counts.append(VisitCounts(visit))
            continue
        moment = _Moment(subject, i, tuple(analysed), rules)
        found = [
            _true_lesion(family, unit, state, moment)
            for family in together
            for unit, state in t2_states(family, i, moment.reference, rules)
        ]
        since_first = [state for family in together for _, state in t2_states(family, i, analysed[0], rules)]
        counts.append(_counts(moment, found, since_first.count(T2State.NEW)))
        lesions += [true for true, _ in found]
    status = {v: ScanStatus.MISSING if v in subject.missing else ScanStatus.ANALYSED for v in subject.visits}
    return SubjectTruth(name, tuple(counts), status, tuple(lesions))


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else value


def write_truth_tables(truths: Sequence[SubjectTruth], folder: Path) -> tuple[Path, Path]:
    """Write ``lesion_timepoints.csv`` and ``lesions.csv``; unknown values are empty.

    Parameters
    ----------
    truths : sequence of SubjectTruth
    folder : Path
        Created if it does not exist.

    Returns
    -------
    timepoints, lesions : Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    measured = [f.name for f in fields(VisitCounts) if f.name not in {"visit", *_NOT_IN_TIMEPOINTS}]
    timepoints = folder / "lesion_timepoints.csv"
    with timepoints.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", "visit", "week", "scan_status", "read_status", *measured])
        for truth in truths:
            for counts in truth.counts:
                values = asdict(counts)
                status = truth.status[counts.visit]
                head = [truth.subject, counts.visit, _cell(week_of(counts.visit)), status.value, ""]
                writer.writerow([*head, *(_cell(values[name]) for name in measured)])
    recorded = [f.name for f in fields(LesionRecord) if f.default is MISSING]  # the others are not known by design
    design = [f.name for f in fields(TrueLesion) if f.name != "record"]
    lesions = folder / "lesions.csv"
    with lesions.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", *recorded, *design])
        for truth in truths:
            for true in truth.lesions:
                values = asdict(true.record) | {name: getattr(true, name) for name in design}
                writer.writerow([truth.subject, *(_cell(values[name]) for name in (*recorded, *design))])
    return timepoints, lesions
