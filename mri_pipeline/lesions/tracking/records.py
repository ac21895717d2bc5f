"""List of the lesions of a visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.records import (
    BlackHoleState,
    ComparedMasks,
    GelState,
    LesionRecord,
    T2State,
)
from mri_pipeline.core.spatial import BoolArray, FloatArray, LabelImage
from mri_pipeline.lesions.components import lesion_centroids_mm, lesion_volumes_mm3, values_of
from mri_pipeline.lesions.tracking.compare import T2Comparison
from mri_pipeline.lesions.tracking.gel import lesion_gel_states, overlaps
from mri_pipeline.lesions.tracking.labelled import Findings, LabelledVisit
from mri_pipeline.lesions.tracking.location import locate


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
    record = _Counted.of(now, reference, found)
    records = [
        record.completed(
            label,
            _record(
                now,
                (now.numbers[label], volume, centres[label], places[label]),
                enhancing=None if gel is None else label in gel,
                gel_state=None if gel is None else gel.get(label),
                t2_state=t2.get(label, T2State.NONE),
                black_hole=None if holes is None else holes.get(label, BlackHoleState.NONE),
            ),
        )
        for label, volume in volumes.items()
    ]
    if reference is not None and found.t2 is not None:
        records += _vanished(now, reference, found.t2, location)
    return tuple(sorted(records, key=lambda record: (record.lesion_id, record.part)))


def by_kind(now: LabelledVisit, found: Findings) -> dict[MaskLabel, LabelImage]:
    """The lesions of a visit by kind, with the number of the lesion at which each is counted.

    Parameters
    ----------
    now : LabelledVisit
    found : Findings

    Returns
    -------
    dict of MaskLabel to LabelImage
        Without the kinds that are unknown at the visit.
    """
    kinds = {MaskLabel.T2_LESION: _numbered(now.t2, now.numbers)}
    if now.gel is not None:
        at = found.counted_at
        kinds[MaskLabel.GEL] = _numbered(now.gel, {gel: now.numbers[label] for gel, label in at.items()})
    if now.black_holes is not None:
        within = overlaps(now.black_holes, now.t2)  # a black hole lies in one T2 lesion
        kinds[MaskLabel.BLACK_HOLE] = _numbered(now.black_holes, {hole: now.numbers[t2] for hole, t2 in within})
    return kinds


def _numbered(labels: LabelImage, numbers: Mapping[int, int]) -> LabelImage:
    table = np.zeros(int(labels.data.max(initial=0)) + 1, dtype=np.int32)
    for label in range(1, len(table)):
        table[label] = numbers[label]
    return LabelImage(table[labels.data], labels.grid)


@dataclass(frozen=True)
class _Counted:
    """What is counted at each lesion of a visit."""

    now: LabelledVisit
    found: Findings
    compared: ComparedMasks | None
    holes: Mapping[int, Sequence[int]]
    """Black holes by lesion."""
    gel_mm3: Mapping[int, float]
    holes_mm3: Mapping[int, float]

    @classmethod
    def of(cls, now: LabelledVisit, reference: LabelledVisit | None, found: Findings) -> _Counted:
        holes: dict[int, list[int]] = {}
        if now.black_holes is not None:
            for hole, label in overlaps(now.black_holes, now.t2):
                holes.setdefault(label, []).append(hole)
        gel_mm3, holes_mm3 = (
            {} if labels is None else lesion_volumes_mm3(labels) for labels in (now.gel, now.black_holes)
        )
        return cls(now, found, _compared(now, reference), holes, gel_mm3, holes_mm3)

    def completed(self, label: int, record: LesionRecord) -> LesionRecord:
        """The record of a lesion with everything that is counted at it."""
        now, found = self.now, self.found
        same = [other for other, number in now.numbers.items() if number == record.lesion_id]
        is_t2 = record.t2_state is not T2State.NONE
        gel, gel_states = [n for n, at in found.counted_at.items() if at == label], found.gel or {}
        holes = self.holes.get(label, [])
        since = found.new_since_first if is_t2 else None
        return replace(
            record,
            part=1 + sorted(same).index(label),
            t2_lesion=is_t2,
            gel_count=None if now.gel is None else len(gel),
            gel_states=tuple(sorted(gel_states[n] for n in gel)),
            gel_volume_mm3=None if now.gel is None else sum((self.gel_mm3[n] for n in gel), 0.0),
            bh_count=None if now.black_holes is None else len(holes),
            bh_volume_mm3=None if now.black_holes is None else sum((self.holes_mm3[n] for n in holes), 0.0),
            t2_comparison=self.compared if is_t2 else None,
            image_support=None if found.t2 is None else found.t2.support.get(label),
            new_since_first=None if since is None else record.lesion_id in since,
        )


def _compared(now: LabelledVisit, reference: LabelledVisit | None) -> ComparedMasks | None:
    """Origin of the two masks that are compared; None without a reference visit."""
    if reference is None:
        return None
    confirmed = now.masks.confirmed + reference.masks.confirmed
    return (ComparedMasks.AUTOMATIC, ComparedMasks.MIXED, ComparedMasks.CONFIRMED)[confirmed]


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
    """Rows of the vanished lesions of the reference visit, except those that still enhance or have another part."""
    present = set(now.numbers.values())
    centres, places = lesion_centroids_mm(reference.t2), locate(reference.t2, location)
    gone: dict[int, int] = {}  # of a lesion in parts, the largest one
    for label in sorted(comparison.vanished):
        gone.setdefault(reference.numbers[label], label)
    return [
        replace(
            _record(
                now,
                (number, 0.0, centres[label], places[label]),
                enhancing=None if now.gel is None else False,
                gel_state=None,
                t2_state=T2State.VANISHED,
                black_hole=None if now.black_holes is None else BlackHoleState.NONE,
            ),
            t2_lesion=False,
            gel_count=None if now.gel is None else 0,
            gel_volume_mm3=None if now.gel is None else 0.0,
            bh_count=None if now.black_holes is None else 0,
            bh_volume_mm3=None if now.black_holes is None else 0.0,
            t2_comparison=_compared(now, reference),
            image_support=comparison.vanished_support.get(label),
        )
        for number, label in gone.items()
        if number not in present
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
