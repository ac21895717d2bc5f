"""New lesions and lesion numbers: every T2 lesion begins once, and readers are not overruled by the images."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from mri_pipeline.core.records import ComparedMasks, GelState, T2State
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.lesions.tracking.gel import combined_unique_active, counted_at, label_gel, overlaps
from mri_pipeline.lesions.tracking.track import _with_gel_alone
from tests.unit.test_lesions_tracking import GRID, NOTHING, RULES, SHAPE, VISITS, A, B, blobs, boxes, track, visit

NO_LESION = {T2State.VANISHED, T2State.NONE}
BEGINS = {T2State.BASELINE, T2State.NEW, T2State.UNCHANGED_IMAGE}
FLAIR = 1 + 0.03 * np.random.default_rng(4).standard_normal(SHAPE).astype(np.float32)


def confirmed(label, t2, **images):
    return replace(visit(label, t2, **images), confirmed=True)


def first_rows(tracking):
    """State of the first row of every T2 lesion, by number."""
    found = {}
    for v in tracking.visits:
        for record in v.records:
            if record.t2_state not in NO_LESION:
                found.setdefault(record.lesion_id, record.t2_state)
    return found


@settings(max_examples=150, deadline=None)
@given(masks=st.lists(blobs(), min_size=1, max_size=6), gels=st.lists(blobs(), min_size=6, max_size=6))
@pytest.mark.requirement("LESION-09")
def test_new_and_baseline_lesions_are_all_lesions_that_ever_were(masks, gels):
    visits = [visit(v, t2, gel=gel) for v, t2, gel in zip(VISITS, masks, gels, strict=False)]
    tracking = track(*visits)
    counts = [v.counts for v in tracking.visits]
    identities = {
        r.lesion_id
        for v in tracking.visits
        for r in v.records
        if r.t2_state not in (T2State.VANISHED, T2State.NONE)
    }
    assert counts[0].t2_count + sum(c.new_t2_count for c in counts[1:]) == len(identities)
    assert set(first_rows(tracking).values()) <= {T2State.BASELINE, T2State.NEW}


@settings(max_examples=100, deadline=None)
@given(masks=st.lists(blobs(), min_size=2, max_size=5), read=st.lists(st.booleans(), min_size=5, max_size=5))
def test_with_images_and_any_readers_every_lesion_begins_once(masks, read):
    make = {True: confirmed, False: visit}
    tracking = track(*(make[r](v, m, flair=FLAIR) for v, m, r in zip(VISITS, masks, read, strict=False)))
    assert set(first_rows(tracking).values()) <= BEGINS
    new = sum(v.counts.new_t2_count for v in tracking.visits[1:])
    assert new == sum(state is T2State.NEW for state in first_rows(tracking).values())
    for i, v in enumerate(tracking.visits[1:], start=1):
        said = {r.t2_comparison for r in v.records if r.t2_state is not T2State.NONE}
        expected = [ComparedMasks.AUTOMATIC, ComparedMasks.MIXED, ComparedMasks.CONFIRMED][read[i - 1] + read[i]]
        assert said <= {expected}


@settings(max_examples=60, deadline=None)
@given(masks=st.lists(blobs(), min_size=2, max_size=4))
@pytest.mark.requirement("LESION-09")
def test_between_confirmed_visits_the_images_change_nothing(masks):
    with_images, without = (
        track(*(confirmed(v, m, flair=flair) for v, m in zip(VISITS, masks, strict=False)))
        for flair in (FLAIR, None)
    )
    assert [v.counts for v in with_images.visits] == [v.counts for v in without.visits]
    assert [[(r.lesion_id, r.t2_state) for r in v.records] for v in with_images.visits] == [
        [(r.lesion_id, r.t2_state) for r in v.records] for v in without.visits
    ]


@pytest.mark.parametrize(
    ("before", "after", "new", "state", "support"),
    [
        (visit, visit, 0, T2State.UNCHANGED_IMAGE, False),
        (visit, confirmed, 0, T2State.UNCHANGED_IMAGE, False),
        (confirmed, visit, 0, T2State.UNCHANGED_IMAGE, False),
        (confirmed, confirmed, 1, T2State.NEW, False),
    ],
)
def test_a_lesion_rejected_at_one_visit_and_accepted_at_the_next(before, after, new, state, support):
    """The FLAIR is the same at both visits."""
    tracking = track(before("wk00", boxes(A), flair=FLAIR), after("wk04", boxes(A, B), flair=FLAIR))
    assert tracking.visits[1].counts.new_t2_count == new
    stable, drawn = tracking.visits[1].records
    assert (stable.t2_state, stable.image_support) == (T2State.STABLE, None)
    assert (drawn.t2_state, drawn.image_support) == (state, support)


def test_a_vanished_lesion_on_an_unchanged_image_is_a_question():
    tracking = track(confirmed("wk00", boxes(A, B), flair=FLAIR), confirmed("wk04", boxes(A), flair=FLAIR))
    gone = tracking.visits[1].records[1]
    assert (gone.t2_state, gone.image_support, gone.t2_lesion) == (T2State.VANISHED, False, False)


def test_a_change_that_the_image_shows_is_supported():
    bright = FLAIR.copy()
    bright[boxes(B)] += 0.8
    tracking = track(confirmed("wk00", boxes(A), flair=FLAIR), confirmed("wk04", boxes(A, B), flair=bright))
    assert [r.image_support for r in tracking.visits[1].records] == [None, True]


def test_the_parts_of_a_lesion_that_has_split_keep_its_number():
    whole, parts = (2, 12, 2, 6, 2, 4), ((2, 6, 2, 6, 2, 4), (7, 12, 2, 6, 2, 4))
    tracking = track(*(visit(v, boxes(*m)) for v, m in zip(VISITS, ([whole], parts, [whole], []), strict=False)))
    rows = [[(r.lesion_id, r.part, r.volume_mm3, r.t2_state) for r in v.records] for v in tracking.visits]
    assert rows[1] == [(1, 1, 80.0, T2State.STABLE), (1, 2, 64.0, T2State.STABLE)]
    assert rows[2] == [(1, 1, 160.0, T2State.STABLE)]
    assert rows[3] == [(1, 1, 0.0, T2State.VANISHED)]
    assert sorted(np.unique(tracking.visits[1].lesions.data)) == [0, 1]


def test_a_lesion_that_vanishes_and_returns_is_new_but_not_since_the_first_visit():
    tracking = track(*(visit(v, m) for v, m in zip(VISITS, (boxes(A), NOTHING, boxes(A, B)), strict=False)))
    last = tracking.visits[2]
    assert (last.counts.new_t2_count, last.counts.new_t2_since_first_count) == (2, 1)
    assert [(r.lesion_id, r.new_since_first) for r in last.records] == [(2, False), (3, True)]


# --- combined unique active lesions


@settings(max_examples=150, deadline=None)
@given(gel=blobs(), t2=blobs(), seed=st.integers(0, 999))
@pytest.mark.requirement("LESION-07")
def test_pairs_are_as_many_as_possible_with_and_without_persistent_gel(gel, t2, seed):
    tracking = track(visit("wk00", NOTHING), visit("wk04", t2, gel=gel))
    lesions = label_lesions(t2, GRID, min_volume_mm3=RULES.t2_min_volume_mm3)
    gels = label_gel(LabelImage(gel, GRID), RULES)
    rng = np.random.default_rng(seed)
    active = {n for n in range(1, int(lesions.data.max()) + 1) if rng.random() < 0.7}
    kinds = [GelState.NEW, GelState.PERSISTENT]
    states = {n: kinds[rng.integers(2)] for n in range(1, int(gels.data.max()) + 1)}
    counted = counted_at(gels, _with_gel_alone(lesions, gels), active, states)
    assert set(counted) == set(states)
    for chosen in (set(states), {n for n, s in states.items() if s is GelState.NEW}):
        edges = [(i, j) for i, j in overlaps(gels, lesions) if j in active and i in chosen]
        matrix = np.zeros((len(states) + 1, int(lesions.data.max()) + 1))
        for i, j in edges:
            matrix[i, j] = 1
        matched = np.count_nonzero(maximum_bipartite_matching(sparse.csr_array(matrix), perm_type="column") >= 0)
        expected = len(chosen) + len(active) - matched
        assert combined_unique_active([counted[n] for n in chosen], active) == expected
    assert tracking.visits[1].counts.gel_count == len(states)


@pytest.mark.parametrize(("setting", "combined"), [(True, 2), (False, 1)])
@pytest.mark.requirement("LESION-07")
def test_a_persistent_gel_counts_by_the_setting_and_both_counts_are_given(setting, combined):
    rules = RULES.model_copy(update={"combined_counts_persistent_gel": setting})
    tracking = track(
        visit("wk00", boxes(A, B), gel=boxes(A)), visit("wk04", boxes(A, B), gel=boxes(A, B)), rules=rules
    )
    counts = tracking.visits[1].counts
    assert (counts.gel_persistent_count, counts.gel_re_enhancing_count) == (1, 1)
    assert counts.combined_unique_active_count == combined
    assert counts.combined_with_persistent_gel_count == 2
    assert counts.combined_without_persistent_gel_count == 1


def test_a_persistent_gel_in_an_enlarging_lesion_leaves_the_lesion_active():
    counts = (
        track(visit("wk00", boxes(A), gel=boxes(A)), visit("wk04", boxes((2, 8, 2, 6, 2, 4)), gel=boxes(A)))
        .visits[1]
        .counts
    )
    assert (counts.enlarging_t2_count, counts.gel_persistent_count) == (1, 1)
    assert counts.combined_without_persistent_gel_count == counts.combined_with_persistent_gel_count == 1


def test_without_earlier_contrast_it_is_unknown_which_gel_persist():
    counts = track(visit("wk00", boxes(A)), visit("wk04", boxes(A), gel=boxes(A))).visits[1].counts
    assert counts.combined_with_persistent_gel_count == 1
    assert counts.combined_without_persistent_gel_count is None


# --- black holes


def test_black_holes_outside_t2_are_cut_and_enhancing_ones_are_none():
    hole, enhancing = (3, 6, 3, 6, 2, 4), (13, 15, 3, 5, 2, 4)
    (only,) = track(
        visit("wk00", boxes(A, B), gel=boxes(enhancing), black_holes=boxes((3, 9, 3, 6, 2, 4), B))
    ).visits
    assert only.counts.bh_count == 1
    assert only.counts.bh_volume_ml == pytest.approx(np.count_nonzero(boxes(hole)) * 2 / 1000)
    assert [r.bh_count for r in only.records] == [1, 0]


def test_a_pair_is_sought_for_new_gel_before_persistent_ones():
    """Both enhance in an old lesion and in one new lesion. The new GEL is paired, whatever its number."""
    t2, gel = np.zeros(SHAPE, dtype=np.int32), np.zeros(SHAPE, dtype=np.int32)
    t2[2:6, 2:12], t2[8:12, 2:12] = 1, 2
    gel[4:10, 2:5, 2:4], gel[4:9, 8:10, 2:4] = 1, 2
    images = LabelImage(gel, GRID), LabelImage(t2, GRID)
    for persistent, new in ((1, 2), (2, 1)):
        counted = counted_at(*images, {2}, {persistent: GelState.PERSISTENT, new: GelState.NEW})
        assert counted == {persistent: 1, new: 2}
        assert combined_unique_active([counted[new]], {2}) == 1
