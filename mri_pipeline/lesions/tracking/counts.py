"""Row of counts and volumes of a visit."""

from __future__ import annotations

from collections.abc import Sequence

from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import GelState, T2State, VisitCounts
from mri_pipeline.core.spatial import BoolArray, LabelImage
from mri_pipeline.lesions.black_holes import hypointense, severe
from mri_pipeline.lesions.tracking.gel import combined_unique_active
from mri_pipeline.lesions.tracking.labelled import Findings, LabelledVisit

ML_PER_MM3 = 1e-3


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
    with_persistent, without_persistent = _combined(found)
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
        new_t2_since_first_count=None if found.new_since_first is None else len(found.new_since_first),
        bh_severe_volume_ml=_volume_ml(severe(now.masks.t1_hypointensity, now.black_holes)),
        t1_hypointense_volume_ml=_volume_ml(
            hypointense(now.masks.t1_hypointensity, now.t2, now.gel, now.black_holes, rules)
        ),
        combined_unique_active_count=(
            with_persistent if rules.combined_counts_persistent_gel else without_persistent
        ),
        combined_with_persistent_gel_count=with_persistent,
        combined_without_persistent_gel_count=without_persistent,
    )


def _combined(found: Findings) -> tuple[int | None, int | None]:
    """Combined unique active lesions with and without persistent enhancing lesions."""
    if found.t2 is None or found.gel is None:
        return None, None
    every = combined_unique_active(found.counted_at.values(), found.active_t2)
    if not found.gel_compared:
        return every, None
    others = [at for gel, at in found.counted_at.items() if found.gel[gel] is not GelState.PERSISTENT]
    return every, combined_unique_active(others, found.active_t2)


def _count(states: Sequence[GelState] | Sequence[T2State] | None, state: GelState | T2State) -> int | None:
    return None if states is None else sum(s is state for s in states)


def _volume_ml(lesions: LabelImage | None) -> float | None:
    return None if lesions is None else lesions.volume_mm3 * ML_PER_MM3


def _chronic_volume_ml(black_holes: LabelImage | None, chronic: BoolArray | None) -> float | None:
    if black_holes is None or chronic is None:
        return None
    return LabelImage(chronic, black_holes.grid).volume_mm3 * ML_PER_MM3
