"""The truth's rules on a toy subject: lesions on a small grid, counted by hand in the comments."""

import csv

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.simulated import merging, splitting
from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import BlackHoleState, GelState, ScanStatus, T2State
from mri_pipeline.core.spatial import Grid
from mri_pipeline.phantom.anatomy import Anatomy, AnatomyTraits
from mri_pipeline.phantom.histories import (
    Activity,
    appearing,
    growing,
    random_histories,
    re_enhancing,
    shrinking,
    stable,
    vanishing,
)
from mri_pipeline.phantom.lesions import Lesion
from mri_pipeline.phantom.states import has_enlarged
from mri_pipeline.phantom.subject import SimulatedSubject, truth_masks
from mri_pipeline.phantom.truth import subject_truth, write_truth_tables

PLACE = Location.DEEP_WHITE_MATTER
SIDE = 24


def _ball(lesion_id, plan):
    """A perfect ball in its own box of the grid."""
    box = tuple(slice(start, start + SIDE) for start in (SIDE * (lesion_id - 1), 0, 0))
    index = (
        np.indices((SIDE, SIDE, SIDE)) - (SIDE - 1) / 2 + np.array([0.1137, 0.0301, -0.0713]).reshape(3, 1, 1, 1)
    )
    return Lesion(lesion_id, plan, box, np.sqrt((index**2).sum(axis=0)).astype(np.float32))


def _subject(plans, visits=("wk00", "wk04", "wk12"), missing=()):
    shape = (SIDE * max(1, len(plans)), SIDE, SIDE)
    empty = np.zeros(shape, dtype=np.float32)
    anatomy = Anatomy(Grid(shape, np.eye(4)), {}, empty, empty, empty > 0, 0, AnatomyTraits())
    lesions = tuple(_ball(i + 1, plan) for i, plan in enumerate(plans))
    return SimulatedSubject(0, anatomy, lesions, tuple(visits), frozenset(missing))


def test_counts_of_every_kind_of_course():
    subject = _subject([
        stable(PLACE, 100, 3, black_hole=True),
        growing(PLACE, 100, 3, at=1),
        appearing(PLACE, 300, 3, at=1, enhancing=(1, 2), ring=True),
        appearing(PLACE, 200, 3, at=2, enhancing=(2,)),
        appearing(PLACE, 150, 3, at=2),
        re_enhancing(PLACE, 250, 3, at=(0, 2)),
        shrinking(PLACE, 300, 3, at=2),
        vanishing(PLACE, 90, 3, at=2),
        stable(PLACE, 10, 3),  # below 14 mm³: no lesion
    ])  # fmt: skip
    first, second, third = subject_truth(subject, "A").counts
    assert (first.gel_count, first.t2_count, first.bh_count) == (1, 5, 1)
    assert first.reference_visit is None
    empty = (
        "gel_new_count", "gel_re_enhancing_count", "gel_persistent_count", "new_t2_count", "enlarging_t2_count",
        "new_or_enlarging_t2_count", "combined_unique_active_count", "bh_chronic_volume_ml",
    )  # fmt: skip
    assert all(getattr(first, name) is None for name in empty)
    assert second.reference_visit == "wk00"
    assert (
        second.gel_count,
        second.gel_new_count,
        second.gel_persistent_count,
        second.gel_re_enhancing_count,
    ) == (1, 1, 0, 0)
    # new and enhancing is one active lesion, the growing one another
    assert (second.new_t2_count, second.enlarging_t2_count, second.combined_unique_active_count) == (1, 1, 2)
    assert second.t2_count == 6
    assert third.reference_visit == "wk04"
    assert (third.gel_count, third.gel_new_count, third.gel_persistent_count, third.gel_re_enhancing_count) == (
        3,
        1,
        1,
        1,
    )
    assert (third.new_t2_count, third.enlarging_t2_count, third.new_or_enlarging_t2_count) == (2, 0, 2)
    # persistent, new enhancing, new without enhancement, re-enhancing
    assert third.combined_unique_active_count == 4
    assert third.t2_count == 7


def test_a_missing_visit_is_empty_and_is_no_reference():
    plans = [
        appearing(PLACE, 200, 3, at=1, enhancing=(1,)),
        re_enhancing(PLACE, 200, 3, at=(1, 2)),
        stable(PLACE, 50, 3),
    ]
    truth = subject_truth(_subject(plans, missing=("wk04",)), "B")
    assert truth.status["wk04"] is ScanStatus.MISSING
    missing, last = truth.counts[1], truth.counts[2]
    assert all(value is None for name, value in vars(missing).items() if name != "visit")
    assert last.reference_visit == "wk00"
    assert last.new_t2_count == 1  # it appeared at the missing visit
    # enhancement of the missing visit is unknown: seen at week 12 it is re-enhancing, not persistent
    assert (last.gel_count, last.gel_re_enhancing_count, last.gel_persistent_count) == (1, 1, 0)


def test_volumes_and_counts_agree_with_the_masks():
    subject = _subject(
        [stable(PLACE, 321, 3), appearing(PLACE, 400, 3, at=1, enhancing=(1,), ring=True), stable(PLACE, 77, 3)]
    )
    counts = subject_truth(subject, "C").counts[1]
    masks = truth_masks(subject, "wk04")
    assert masks["t2"].volume_mm3 == 321 + 400 + 77
    assert counts.t2_volume_ml == pytest.approx(masks["t2"].volume_mm3 / 1000)
    assert counts.gel_volume_ml == pytest.approx(masks["gel"].volume_mm3 / 1000)
    assert 0 < masks["gel"].volume_mm3 < 0.75 * 400
    assert ndimage.label(masks["t2"].mask, np.ones((3, 3, 3)))[1] == counts.t2_count
    assert set(np.unique(masks["t2"].data[masks["gel"].mask])) == {2}


def test_black_holes_become_chronic_after_twenty_four_weeks_and_never_enhance():
    visits = ("wk00", "wk12", "wk24", "wk36")
    plans = [
        stable(PLACE, 200, 4, black_hole=True),
        appearing(PLACE, 300, 4, at=1, enhancing=(1,), black_hole_from=1),
        appearing(PLACE, 300, 4, at=2, black_hole_from=2),
    ]
    truth = subject_truth(_subject(plans, visits), "D")
    assert [c.bh_count for c in truth.counts] == [1, 1, 3, 3]  # the second enhances at week 12: no black hole yet
    chronic = [c.bh_chronic_volume_ml for c in truth.counts]
    assert chronic[:2] == [None, None]
    assert chronic[2] == pytest.approx(0.120)  # 60 % of 200 mm³
    assert chronic[3] == pytest.approx(0.120 + 0.135)  # and 60 % of 75 % of 300 mm³; the third is 12 weeks old
    states = {(t.record.lesion_id, t.record.visit): t.record.black_hole for t in truth.lesions}
    assert states[1, "wk24"] is BlackHoleState.CHRONIC
    assert states[3, "wk24"] is BlackHoleState.BLACK_HOLE
    assert states[2, "wk12"] is BlackHoleState.NONE


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((4, 4, 1), (6, 4, 1), False),  # area by 50 %, volume by 8 mm³ only
        ((4, 4, 4), (6, 4, 4), True),  # 16 to 24 mm²: 50 % above 45.2 %
        ((5, 4, 4), (7, 4, 4), False),  # 20 to 28 mm²: 40 %
        ((10, 10, 4), (13, 10, 4), True),  # 1 to 1.3 cm²: 30 % above 24.2 %
        ((10, 10, 4), (12, 10, 4), False),  # 20 %
        ((6, 6, 4), (6, 6, 9), False),  # taller, not wider
    ],
)
@pytest.mark.requirement("LESION-06")
def test_the_rule_of_enlargement(before, after, expected):
    masks = [np.zeros((20, 20, 20), dtype=bool) for _ in range(2)]
    for mask, (x, y, z) in zip(masks, (before, after), strict=True):
        mask[:x, :y, :z] = True
    assert has_enlarged(*masks, LesionRules()) is expected


def test_growing_lesions_are_enlarging_and_no_other_old_lesion_is():
    kinds = {T2State.ENLARGING: growing, T2State.SHRINKING: shrinking, T2State.VANISHED: vanishing}
    for size in (40.0, 90.0, 400.0, 1500.0):
        for state, kind in kinds.items():
            truth = subject_truth(_subject([kind(PLACE, size, 3, at=1)]), "E")
            assert [t.record.t2_state for t in truth.lesions[:2]] == [T2State.BASELINE, state]
        settling = subject_truth(_subject([appearing(PLACE, size, 3, at=1)]), "F")
        assert [t.record.t2_state for t in settling.lesions] == [T2State.NEW, T2State.STABLE]


def test_the_growth_floor_belongs_to_enlargement_alone():
    """A focus of 10 mm³ is no lesion. At 20 mm³ it is a new one, although it grew by less than 12 mm³."""
    truth = subject_truth(_subject([growing(PLACE, 10, 3, at=1, factor=2.0)]), "E")
    assert [c.new_t2_count for c in truth.counts] == [None, 1, 0]
    assert [t.record.t2_state for t in truth.lesions] == [T2State.NEW, T2State.STABLE]
    shrunk = subject_truth(_subject([shrinking(PLACE, 20, 3, at=1, factor=0.5)]), "E")
    assert [t.record.t2_state for t in shrunk.lesions] == [T2State.BASELINE, T2State.VANISHED]


def _neighbours(plans):
    """Two balls whose centres are 16 mm apart, in one box."""
    first, second = plans
    index = np.indices((40, SIDE, SIDE)) - np.array([0.1137, 11.5301, 11.4287]).reshape(3, 1, 1, 1)
    lesions = []
    for lesion_id, (plan, x) in enumerate(((first, 10), (second, 26)), start=1):
        level = np.sqrt((index[0] - x) ** 2 + index[1] ** 2 + index[2] ** 2)
        lesions.append(Lesion(lesion_id, plan, tuple(slice(0, n) for n in level.shape), level.astype(np.float32)))
    empty = np.zeros((40, SIDE, SIDE), dtype=np.float32)
    anatomy = Anatomy(Grid(empty.shape, np.eye(4)), {}, empty, empty, empty > 0, 0, AnatomyTraits())
    return SimulatedSubject(0, anatomy, tuple(lesions), ("wk00", "wk04", "wk12"))


def test_neighbours_that_grow_together_are_one_lesion_that_enlarged():
    # radii 6.2 and 4.9 mm leave 5 mm between them; 6.2 and 10.2 mm overlap
    subject = _neighbours(merging(PLACE, 500, 3, at=1, factor=9.0, enhancement=0.5))
    truth = subject_truth(subject, "G")
    assert [c.t2_count for c in truth.counts] == [2, 1, 1]
    second = truth.counts[1]
    assert (second.new_t2_count, second.enlarging_t2_count, second.combined_unique_active_count) == (0, 1, 1)
    assert (second.gel_count, second.gel_re_enhancing_count) == (1, 1)
    assert [t.record.t2_state for t in truth.lesions] == [
        T2State.BASELINE, T2State.BASELINE, T2State.ENLARGING, T2State.STABLE,
    ]  # fmt: skip
    assert {t.record.lesion_id for t in truth.lesions[2:]} == {1}
    masks = truth_masks(subject, "wk04")["t2"]
    assert set(np.unique(masks.data)) == {0, 1}
    assert second.t2_volume_ml == pytest.approx(masks.volume_mm3 / 1000)
    assert second.t2_volume_ml < 1.0 + 4.5  # what they have in common counts once


def test_a_lesion_that_falls_apart_gives_no_new_one():
    truth = subject_truth(_neighbours(splitting(PLACE, 500, 3, at=2, factor=9.0)), "H")
    assert [c.t2_count for c in truth.counts] == [1, 1, 2]
    assert (truth.counts[2].new_t2_count, truth.counts[2].enlarging_t2_count) == (0, 0)
    states = {t.record.lesion_id: t.record.t2_state for t in truth.lesions if t.record.visit == "wk12"}
    assert states[2] is T2State.SHRINKING  # its share of what they were is what lay nearest to it


def test_first_enhancement_has_nothing_to_compare_with():
    truth = subject_truth(_subject([re_enhancing(PLACE, 200, 3, at=(0,))]), "G")
    assert truth.lesions[0].record.gel_state is GelState.UNDETERMINED


def test_tables_leave_unknown_values_empty(tmp_path):
    truth = subject_truth(_subject([stable(PLACE, 100, 3)], missing=("wk04",)), "S01-001")
    timepoints, lesions = write_truth_tables([truth], tmp_path)
    with timepoints.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == (
        "subject,visit,week,scan_status,read_status,reference_visit,gel_count,gel_new_count,gel_re_enhancing_count,"
        "gel_persistent_count,gel_volume_ml,t2_count,t2_volume_ml,new_t2_count,enlarging_t2_count,"
        "new_or_enlarging_t2_count,bh_count,bh_volume_ml,bh_chronic_volume_ml,combined_unique_active_count"
    )
    assert [row["scan_status"] for row in rows] == ["analysed", "missing", "analysed"]
    assert [row["week"] for row in rows] == ["0", "4", "12"]
    assert rows[0]["new_t2_count"] == ""
    assert rows[2]["new_t2_count"] == "0"
    assert all(rows[1][name] == "" for name in rows[1] if name not in ("subject", "visit", "week", "scan_status"))
    with lesions.open(encoding="utf-8") as file:
        assert [row["t2_state"] for row in csv.DictReader(file)] == ["baseline", "stable"]


def test_random_histories_depend_on_the_seed_alone_and_follow_the_activity():
    assert random_histories(5, 7) == random_histories(5, 7)
    assert random_histories(5, 7) != random_histories(6, 7)
    quiet = Activity(baseline_lesions=10, new_per_visit=0.0, changing_share=0.0)
    for plan in random_histories(3, 7, quiet):
        assert len({phase.volume_mm3 for phase in plan.phases}) == 1
    new = [
        sum(p.phases[0].volume_mm3 == 0 for p in random_histories(s, 7, Activity(new_per_visit=1.0)))
        for s in range(200)
    ]
    assert np.mean(new) == pytest.approx(6.0, rel=0.15)
    assert np.var(new) > np.mean(new)  # overdispersed, as counts of patients are
