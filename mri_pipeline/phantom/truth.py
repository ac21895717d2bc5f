"""What a perfect reader would report: counts, volumes and states from the design, by the rules of the protocol.

Written independently of `mri_pipeline.lesions`: a lesion is an object of the design, never a connected component,
so that the two ways to a number can disagree.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.model import (
    BlackHoleState,
    GelState,
    LesionRecord,
    ScanStatus,
    T2State,
    VisitCounts,
    week_of,
)
from mri_pipeline.phantom.lesions import Lesion
from mri_pipeline.phantom.subject import SimulatedSubject
from mri_pipeline.protocol import LesionRules


@dataclass(frozen=True)
class TrueLesion:
    """One lesion at one analysed visit: the record a reader would make, and how it was made."""

    record: LesionRecord
    uplift: float
    ring: bool
    gel_volume_mm3: float
    black_hole_volume_mm3: float


@dataclass(frozen=True)
class SubjectTruth:
    """The truth of one subject.

    Parameters
    ----------
    counts : tuple of VisitCounts
        One per planned visit; of a missing visit all is None.
    status : mapping of str to ScanStatus
        By visit.
    lesions : tuple of TrueLesion
    """

    subject: str
    counts: tuple[VisitCounts, ...]
    status: Mapping[str, ScanStatus]
    lesions: tuple[TrueLesion, ...]


def largest_axial_area_mm2(mask: NDArray[np.bool_]) -> float:
    """Largest cross-section of a 1 mm mask over its slices (last axis)."""
    return float(mask.sum(axis=(0, 1)).max(initial=0))


def has_enlarged(before: NDArray[np.bool_], after: NDArray[np.bool_], rules: LesionRules) -> bool:
    """The rule of Arch Neurol 1992;49:261 with the growth floor, on two 1 mm masks of one lesion."""
    area_before, area_after = largest_axial_area_mm2(before), largest_axial_area_mm2(after)
    small = area_before / 100.0 < rules.enlarging_area_threshold_cm2
    limit = rules.enlarging_small_growth if small else rules.enlarging_large_growth
    growth_mm3 = float(after.sum()) - float(before.sum())
    return area_after > (1.0 + limit) * area_before and growth_mm3 >= rules.enlarging_min_growth_mm3


def _exists(lesion: Lesion, visit: int, rules: LesionRules) -> bool:
    return bool(lesion.t2_mask(visit).sum() >= rules.t2_min_volume_mm3)


def _enhances(lesion: Lesion, visit: int, rules: LesionRules) -> bool:
    voxels = int(lesion.gel_mask(visit).sum())
    return voxels >= max(rules.gel_min_volume_mm3, rules.gel_min_voxels)


def _t2_state(lesion: Lesion, visit: int, reference: int | None, rules: LesionRules) -> T2State | None:
    """The lesion's state, or None where it neither is nor was one."""
    now = _exists(lesion, visit, rules)
    if reference is None:
        return T2State.BASELINE if now else None
    before = _exists(lesion, reference, rules)
    if not before:
        return T2State.NEW if now else None
    if not now:
        return T2State.VANISHED
    old, new = lesion.t2_mask(reference), lesion.t2_mask(visit)
    if has_enlarged(old, new, rules):
        return T2State.ENLARGING
    return T2State.SHRINKING if has_enlarged(new, old, rules) else T2State.STABLE


def _gel_state(lesion: Lesion, visit: int, reference: int | None, rules: LesionRules) -> GelState | None:
    if not _enhances(lesion, visit, rules):
        return None
    if reference is None:
        return GelState.UNDETERMINED
    if _enhances(lesion, reference, rules):
        return GelState.PERSISTENT
    return GelState.RE_ENHANCING if _exists(lesion, reference, rules) else GelState.NEW


def _black_hole_state(
    subject: SimulatedSubject, lesion: Lesion, visit: int, analysed: Sequence[int], rules: LesionRules
) -> tuple[BlackHoleState, float, float]:
    """The state, the hole's volume and the volume of it that has been lesion for long enough (mm³)."""
    hole = lesion.black_hole_mask(visit)
    volume = float(hole.sum())
    if volume < rules.black_hole_min_volume_mm3:
        return BlackHoleState.NONE, 0.0, 0.0
    week = _week(subject, visit)
    old = [i for i in analysed if week - _week(subject, i) >= rules.black_hole_chronic_weeks]
    chronic = 0.0
    if old:
        always = np.logical_and.reduce([lesion.t2_mask(i) for i in analysed if old[-1] <= i <= visit])
        chronic = float((hole & always).sum())
    return (BlackHoleState.CHRONIC if chronic > 0 else BlackHoleState.BLACK_HOLE), volume, chronic


def _week(subject: SimulatedSubject, visit: int) -> int:
    week = week_of(subject.visits[visit])
    return visit if week is None else week


def _true_lesion(
    subject: SimulatedSubject, lesion: Lesion, visit: int, analysed: Sequence[int], rules: LesionRules
) -> tuple[TrueLesion, float] | None:
    """The lesion's record with its chronic volume, or None where there is nothing to record."""
    earlier = [i for i in analysed if i < visit]
    reference = earlier[-1] if earlier else None
    state = _t2_state(lesion, visit, reference, rules)
    if state is None:
        return None
    here = lesion.t2_mask(visit) if state is not T2State.VANISHED else lesion.t2_mask(reference or 0)
    start = np.array([s.start for s in lesion.box])
    centre = subject.anatomy.grid.world(np.argwhere(here).mean(axis=0, keepdims=True) + start)[0]
    gel_state = _gel_state(lesion, visit, reference, rules)
    hole, hole_mm3, chronic_mm3 = _black_hole_state(subject, lesion, visit, analysed, rules)
    phase = lesion.plan.phases[visit]
    record = LesionRecord(
        visit=subject.visits[visit], lesion_id=lesion.lesion_id, volume_mm3=float(lesion.t2_mask(visit).sum()),
        x_mm=float(centre[0]), y_mm=float(centre[1]), z_mm=float(centre[2]), location=lesion.plan.location,
        enhancing=gel_state is not None, gel_state=gel_state, t2_state=state, black_hole=hole,
    )  # fmt: skip
    gel_mm3 = float(lesion.gel_mask(visit).sum()) if gel_state is not None else 0.0
    return TrueLesion(record, phase.uplift, phase.ring, gel_mm3, hole_mm3), chronic_mm3


def _counts(
    subject: SimulatedSubject,
    visit: int,
    found: list[tuple[TrueLesion, float]],
    analysed: Sequence[int],
    rules: LesionRules,
) -> VisitCounts:
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
    )


def subject_truth(subject: SimulatedSubject, name: str, rules: LesionRules | None = None) -> SubjectTruth:
    """Counts and lesions of every planned visit.

    Parameters
    ----------
    name : str
        What the tables call the subject.
    rules : LesionRules, optional
        Thresholds; default: the protocol's defaults.
    """
    rules = rules or LesionRules()
    analysed = [i for i, visit in enumerate(subject.visits) if visit not in subject.missing]
    counts, lesions = [], []
    for i, visit in enumerate(subject.visits):
        if i not in analysed:
            counts.append(VisitCounts(visit))
            continue
        found = [f for lesion in subject.lesions if (f := _true_lesion(subject, lesion, i, analysed, rules))]
        counts.append(_counts(subject, i, found, analysed, rules))
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
    """Write ``lesion_timepoints.csv`` and ``lesions.csv``; what is not known is an empty cell."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = [f.name for f in fields(VisitCounts) if f.name != "visit"]
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
    recorded = [f.name for f in fields(LesionRecord)]
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
