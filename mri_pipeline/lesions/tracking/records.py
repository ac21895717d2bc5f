"""Row of counts and list of lesions of a visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import BlackHoleState, GelState, LesionRecord, T2State, VisitCounts
from mri_pipeline.core.spatial import BoolArray, FloatArray, LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.lesions.black_holes import hypointense, severe
from mri_pipeline.lesions.change.detect import SmoothFlair
from mri_pipeline.lesions.components import lesion_centroids_mm, lesion_volumes_mm3, values_of
from mri_pipeline.lesions.tracking.compare import T2Comparison
from mri_pipeline.lesions.tracking.gel import combined_unique_active, lesion_gel_states, overlaps
from mri_pipeline.lesions.tracking.location import locate

ML_PER_MM3 = 1e-3


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
    new_since_first : int or None
        Number of T2 lesions that are new relative to the first analysed visit.
    """

    t2: T2Comparison | None
    gel: Mapping[int, GelState] | None
    gel_compared: bool
    chronic: BoolArray | None
    new_since_first: int | None = None


def count_visit(
    now: LabelledVisit, reference: LabelledVisit | None, found: Findings, rules: LesionRules
) -> VisitCounts:
    """Measured columns of the row of a visit.

    Parameters
    ----------
    now : LabelledVisit
    reference : LabelledVisit or None
        Previous analysed visit.
    found : Findings
    rules : LesionRules

    Returns
    -------
    VisitCounts
        Unknown values are None, never zero.
    """
    gel = None if found.gel is None else list(found.gel.values())
    compared = gel if found.gel_compared else None
    t2 = None if found.t2 is None else list(found.t2.states.values())
    new, enlarging = _count(t2, T2State.NEW), _count(t2, T2State.ENLARGING)
    combined = None
    if found.t2 is not None and now.gel is not None:
        active = {n for n, s in found.t2.states.items() if s in (T2State.NEW, T2State.ENLARGING)}
        combined = combined_unique_active(now.gel, now.t2, active)
    return VisitCounts(
        visit=now.masks.visit,
        reference_visit=None if reference is None else reference.masks.visit,
        gel_count=None if gel is None else len(gel),
        gel_new_count=_count(compared, GelState.NEW),
        gel_re_enhancing_count=_count(compared, GelState.RE_ENHANCING),
        gel_persistent_count=_count(compared, GelState.PERSISTENT),
        gel_volume_ml=_volume_ml(now.gel),
        t2_count=int(now.t2.data.max()),
        t2_volume_ml=_volume_ml(now.t2),
        new_t2_count=new,
        enlarging_t2_count=enlarging,
        new_or_enlarging_t2_count=None if new is None or enlarging is None else new + enlarging,
        bh_count=None if now.black_holes is None else int(now.black_holes.data.max()),
        bh_volume_ml=_volume_ml(now.black_holes),
        bh_chronic_volume_ml=_chronic_volume_ml(now.black_holes, found.chronic),
        new_t2_since_first_count=found.new_since_first,
        bh_severe_volume_ml=_volume_ml(severe(now.masks.t1_hypointensity, now.black_holes)),
        t1_hypointense_volume_ml=_volume_ml(
            hypointense(now.masks.t1_hypointensity, now.t2, now.gel, now.black_holes, rules)
        ),
        combined_unique_active_count=combined,
    )


def _count(states: Sequence[GelState] | Sequence[T2State] | None, state: GelState | T2State) -> int | None:
    return None if states is None else sum(s is state for s in states)


def _volume_ml(lesions: LabelImage | None) -> float | None:
    return None if lesions is None else lesions.volume_mm3 * ML_PER_MM3


def _chronic_volume_ml(black_holes: LabelImage | None, chronic: BoolArray | None) -> float | None:
    if black_holes is None or chronic is None:
        return None
    return LabelImage(chronic, black_holes.grid).volume_mm3 * ML_PER_MM3


def record_lesions(
    now: LabelledVisit, reference: LabelledVisit | None, found: Findings, location: LabelImage
) -> tuple[LesionRecord, ...]:
    """Lesions of a visit by number.

    Parameters
    ----------
    now : LabelledVisit
    reference : LabelledVisit or None
        Previous analysed visit.
    found : Findings
    location : LabelImage
        `anatomy.LOCATION_LABELS` on the grid of the visit.

    Returns
    -------
    tuple of LesionRecord
        The volume is that of the T2 lesion, or of the enhancement if there is no T2 lesion. A lesion that vanished
        since the reference visit has a row of volume 0. Empty if there is no lesion.
    """
    volumes, centres = lesion_volumes_mm3(now.lesions), lesion_centroids_mm(now.lesions)
    places = locate(now.lesions, location)
    gel = None
    if now.gel is not None and found.gel is not None:
        gel = lesion_gel_states(now.gel, now.lesions, found.gel)
    holes = _black_hole_states(now, found.chronic)
    t2 = _t2_states(now, found.t2)
    records = [
        _record(
            now,
            (now.numbers[label], volume, centres[label], places[label]),
            enhancing=None if gel is None else label in gel,
            gel_state=None if gel is None else gel.get(label),
            t2_state=t2.get(label, T2State.NONE),
            black_hole=None if holes is None else holes.get(label, BlackHoleState.NONE),
        )
        for label, volume in volumes.items()
    ]
    if reference is not None and found.t2 is not None:
        records += _vanished(now, reference, found.t2, location)
    return tuple(sorted(records, key=lambda record: record.lesion_id))


def _record(
    now: LabelledVisit,
    lesion: tuple[int, float, FloatArray, Location],
    *,
    enhancing: bool | None,
    gel_state: GelState | None,
    t2_state: T2State,
    black_hole: BlackHoleState | None,
) -> LesionRecord:
    number, volume, centre, place = lesion
    x, y, z = (float(c) for c in centre)
    return LesionRecord(
        visit=now.masks.visit,
        lesion_id=number,
        volume_mm3=volume,
        x_mm=x,
        y_mm=y,
        z_mm=z,
        location=place,
        enhancing=enhancing,
        gel_state=gel_state,
        t2_state=t2_state,
        black_hole=black_hole,
    )


def _t2_states(now: LabelledVisit, comparison: T2Comparison | None) -> Mapping[int, T2State]:
    if comparison is not None:
        return comparison.states
    return dict.fromkeys(range(1, int(now.t2.data.max()) + 1), T2State.BASELINE)


def _vanished(
    now: LabelledVisit, reference: LabelledVisit, comparison: T2Comparison, location: LabelImage
) -> list[LesionRecord]:
    """Rows of the vanished lesions of the reference visit, except those that still enhance."""
    present = set(now.numbers.values())
    centres, places = lesion_centroids_mm(reference.t2), locate(reference.t2, location)
    return [
        _record(
            now,
            (reference.numbers[label], 0.0, centres[label], places[label]),
            enhancing=None if now.gel is None else False,
            gel_state=None,
            t2_state=T2State.VANISHED,
            black_hole=None if now.black_holes is None else BlackHoleState.NONE,
        )
        for label in sorted(comparison.vanished)
        if reference.numbers[label] not in present
    ]


def _black_hole_states(now: LabelledVisit, chronic: BoolArray | None) -> dict[int, BlackHoleState] | None:
    """State of each lesion that contains a black hole; chronic if most of one of its black holes is chronic."""
    if now.black_holes is None:
        return None
    holes = now.black_holes.data
    sizes = np.bincount(values_of(now.black_holes))
    old = np.zeros_like(sizes) if chronic is None else np.bincount(holes[chronic], minlength=len(sizes))
    states: dict[int, BlackHoleState] = {}
    for hole, label in overlaps(now.black_holes, now.lesions):
        if 2 * old[hole] > sizes[hole]:
            states[label] = BlackHoleState.CHRONIC
        else:
            states.setdefault(label, BlackHoleState.BLACK_HOLE)
    return states
