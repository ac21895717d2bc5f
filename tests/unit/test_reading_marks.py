"""The canvas and the marks of the reading view, on arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mri_pipeline.analysis.reading_tools import fill_from, split_in_two
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.reading.canvas import (
    BRAIN_LEVEL,
    ZERO_DIFFERENCE,
    Canvas,
    common_shape,
    display_difference,
    display_values,
    flat,
    head_box,
    unflat,
)
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.marks import Marks
from mri_pipeline.reading.operations import OPERATION

T2, GEL = LesionKind.T2, LesionKind.GEL
SHAPE = (6, 5, 4)
sizes = st.tuples(*[st.integers(1, 9)] * 3)


@given(st.tuples(*[st.integers(-6, 6)] * 3), sizes, sizes)
@settings(deadline=None, max_examples=60)
def test_what_is_pasted_is_what_was_cut(origin, shape, size):
    canvas = Canvas(origin, shape)
    data = np.arange(1, 1 + np.prod(size), dtype=np.uint16).reshape(size)
    cut = canvas.cut(data)
    assert cut.shape == shape
    assert np.array_equal(canvas.pasted(cut, data), data)
    inside = np.zeros(shape, dtype=bool)
    inside[canvas.inside(size)] = True
    assert np.array_equal(inside, cut > 0)
    for voxel in np.argwhere(inside):
        assert cut[tuple(voxel)] == data[tuple(voxel + np.array(origin))]
    assert np.array_equal(unflat(flat(cut), shape), cut)
    x, y, z = (n - 1 for n in shape)
    assert flat(cut)[x + shape[0] * (y + shape[1] * z)] == cut[x, y, z]


def test_the_canvas_holds_the_largest_head_in_its_centre():
    brain = np.zeros((100, 100, 20), dtype=np.uint8)
    brain[40:60, 30:80, 5:15] = 1
    box = head_box(LabelImage(brain, Grid(brain.shape, np.diag([1, 1, 3, 1]))))
    assert box == ((15, 5, 0), (85, 100, 20))
    shape = common_shape([box, ((0, 0, 0), (10, 10, 41))])
    assert shape == (72, 96, 48)
    assert Canvas.around(box, shape) == Canvas((14, 4, -14), shape)


def test_the_grey_scale_is_set_by_the_brain():
    grid = Grid((4, 1, 1), np.eye(4))
    brain = LabelImage(np.array([1, 1, 1, 0]).reshape(4, 1, 1), grid)
    one, other = (
        Image(np.array(v, dtype=np.float32).reshape(4, 1, 1), grid) for v in ([2, 4, 8, -1], [1, 2, 4, 99])
    )
    assert display_values(one, brain).ravel().tolist() == [5000, BRAIN_LEVEL, 20000, 0]
    assert display_values(one, brain)[:3].tolist() == display_values(other, brain)[:3].tolist()
    assert display_difference(one, other, brain).ravel()[:3].tolist() == [ZERO_DIFFERENCE] * 3
    empty = Image(np.zeros(grid.shape, dtype=np.float32), grid)
    assert not display_values(empty, brain).any()


def marks():
    labels = np.zeros(SHAPE, dtype=np.uint16)
    labels[1:3, 1:3, 1], labels[4, 4, 2:4] = 1, 2
    return Marks({T2: flat(labels), GEL: np.zeros(labels.size, np.uint16)}, np.ones(labels.size, dtype=bool))


def runs_operation(kind, where, old, new):
    runs = [[int(i), 1, int(o), int(n)] for i, o, n in zip(where, old, new, strict=True)]
    return OPERATION.validate_python({"op": "voxels", "kind": kind.value, "runs": runs})


def state(found):
    return {kind: labels.tolist() for kind, labels in found.labels.items()}, {
        lesion: where.tolist() for lesion, where in found.voxels.items()
    }


voxels = st.lists(
    st.tuples(st.integers(0, 119), st.integers(0, 4)), min_size=1, max_size=30, unique_by=lambda x: x[0]
)


@given(st.lists(voxels, max_size=6))
@settings(deadline=None, max_examples=60)
def test_undone_operations_leave_the_proposals_and_the_log_gives_the_same_marks(strokes):
    found, start, log = marks(), state(marks()), []
    for stroke in strokes:
        where, new = np.array(stroke).T
        old = found.labels[T2][where].copy()
        log.append((where, old, new))
        found.apply(runs_operation(T2, where, old, new))
        for lesion, own in found.voxels.items():
            assert np.array_equal(own, np.flatnonzero(found.labels[lesion[0]] == lesion[1]))
    again = marks()
    for where, old, new in log:
        again.apply(runs_operation(T2, where, old, new))
    assert state(again) == state(found)
    for where, old, new in reversed(log):
        found.apply(runs_operation(T2, where, new, old))
    assert state(found) == start


def test_an_operation_that_does_not_fit_changes_nothing():
    found, start = marks(), state(marks())
    with pytest.raises(UsageError, match="expected the present labels as old, found 1 of 2 voxels that differ"):
        found.apply(runs_operation(T2, [0, 1], [0, 7], [3, 3]))
    assert state(found) == start


def test_an_erased_proposal_stays_and_awaits_a_decision():
    found = marks()
    where = found.voxels[T2, 1]
    found.apply(runs_operation(T2, where, np.ones(4), np.zeros(4)))
    assert found.undecided() == [(T2, 1), (T2, 2)]
    assert len(found.voxels[T2, 1]) == 0


def test_no_change_is_asked_of_a_lesion_that_became_a_part_of_another_one():
    labels = marks().labels
    found = Marks(labels, np.ones(labels[T2].size, dtype=bool), changes=(1, 2))
    for number in (1, 2):
        decided = {"op": "decide", "kind": "T2", "lesion": number, "decision": "accept", "reason": ""}
        found.apply(OPERATION.validate_python(decided | {"old": {"decision": None, "reason": ""}}))
    assert found.undecided() == [(T2, 1), (T2, 2)]
    where = found.voxels[T2, 2]
    found.apply(runs_operation(T2, where, np.full_like(where, 2), np.full_like(where, 1)))
    assert found.undecided() == [(T2, 1)]
    found.apply(runs_operation(T2, where, np.full_like(where, 1), np.full_like(where, 2)))
    assert found.undecided() == [(T2, 1), (T2, 2)]


def test_rejected_lesions_are_not_kept_and_rejected_drawings_are_not_returned():
    found = marks()
    found.apply(runs_operation(T2, [0, 1], [0, 0], [9, 9]))
    for lesion in (1, 9):
        content = {"op": "decide", "kind": "T2", "lesion": lesion, "decision": "reject", "old": {}}
        found.apply(OPERATION.validate_python(content))
    assert found.kept(T2).tolist() == found.voxels[T2, 2].tolist()
    assert np.unique(found.returned(T2)).tolist() == [0, 1, 2]
    assert found.undecided() == [(T2, 2)]


def test_fill_ends_at_half_height_and_split_at_the_narrowest_place():
    x, y, z = np.meshgrid(*[np.arange(-15.0, 16.0)] * 3, indexing="ij")
    bump = np.exp(-(x**2 + y**2 + z**2) / (2 * 4.0**2))
    grid = Grid(bump.shape, np.eye(4))
    for sign in (1, -1):
        values = (10_000 + sign * 4000 * bump).astype(np.uint16)
        filled = fill_from((14, 15, 16), values, 10_000, grid, dark=sign < 0)
        assert np.array_equal(filled, bump > 0.5)
        assert not fill_from((14, 15, 16), values, 10_000, grid, dark=sign > 0).any()
    pair = ((x + 5) ** 2 + y**2 + z**2 < 36) | ((x - 5) ** 2 + y**2 + z**2 < 25)
    parts = split_in_two(pair, (1, 1, 1))
    assert np.array_equal(parts > 0, pair)
    assert (parts[x < -1][pair[x < -1]] == 1).all()
    assert (parts[x > 3][pair[x > 3]] == 2).all()
    assert set(np.unique(split_in_two(np.ones((1, 1, 1), dtype=bool), (1, 1, 1)))) == {1}
