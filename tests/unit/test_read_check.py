"""Drawings of readers follow the definitions; a note reports what was cut off or does not count."""

import numpy as np
import pytest

from mri_pipeline.analysis.reads.check import check_read
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Grid, LabelImage
from mri_pipeline.reading.items import LesionKind

RULES = LesionRules()
SHAPE = (24, 20, 8)
GRID = Grid(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))  # 2 mm3 voxels
A = (2, 6, 2, 6, 2, 4)
B = (12, 16, 2, 6, 2, 4)
WHAT = "item BCDF2345"


def read(t2, gel=None, holes=None):
    drawn = {LesionKind.T2: t2, LesionKind.GEL: gel, LesionKind.BLACK_HOLE: holes}
    masks = {}
    for kind, corners in drawn.items():
        if corners is not None:
            data = np.zeros(SHAPE, dtype=np.uint8)
            for x0, x1, y0, y1, z0, z1 in corners:
                data[x0:x1, y0:y1, z0:z1] = 1
            masks[kind] = LabelImage(data, GRID)
    return masks


def test_a_read_within_the_rules_is_left_alone():
    masks = read([A, B], gel=[B], holes=[A])
    checked, notes = check_read(masks, RULES, what=WHAT)
    assert notes == []
    assert all(np.array_equal(checked[kind].mask, mask.mask) for kind, mask in masks.items())


@pytest.mark.requirement("LESION-08")
def test_a_black_hole_is_cut_to_the_t2_lesion():
    checked, notes = check_read(read([A], holes=[(4, 9, 2, 6, 2, 4)]), RULES, what=WHAT)
    assert notes == ["item BCDF2345: 24 voxels of black holes outside T2 lesions were cut off"]
    assert np.argwhere(checked[LesionKind.BLACK_HOLE].mask)[:, 0].max() == 5


@pytest.mark.parametrize("gel", [B, (14, 16, 2, 6, 2, 4), (16, 19, 2, 6, 2, 4)])
def test_a_black_hole_on_or_beside_an_enhancing_lesion_is_refused(gel):
    masks = read([A, (12, 19, 2, 6, 2, 4)], gel=[gel], holes=[A, (12, 16, 2, 6, 2, 4)])
    with pytest.raises(UsageError, match=r"expected black holes that do not enhance, found 64\.0 mm3 at "):
        check_read(masks, RULES, what=WHAT)


def test_enhancement_that_is_no_lesion_refuses_no_black_hole():
    _, notes = check_read(read([A], gel=[(2, 3, 2, 3, 2, 3)], holes=[A]), RULES, what=WHAT)
    assert notes == ["item BCDF2345: the GEL lesion of 2.0 mm3 at voxel 3, 3, 3 is too small to count"]


def test_drawings_too_small_to_count_are_named():
    tiny = (20, 22, 10, 12, 2, 3)
    _, notes = check_read(read([A, tiny], gel=[(2, 3, 2, 3, 2, 4)], holes=[(5, 6, 5, 6, 2, 4)]), RULES, what=WHAT)
    assert notes == [
        "item BCDF2345: the T2 lesion of 8.0 mm3 at voxel 21, 11, 3 is too small to count",
        "item BCDF2345: the GEL lesion of 4.0 mm3 at voxel 3, 3, 3 is too small to count",
        "item BCDF2345: the BH lesion of 4.0 mm3 at voxel 6, 6, 3 is too small to count",
    ]


def test_a_gel_without_t2_lesion_is_named():
    checked, (note,) = check_read(read([A], gel=[A, B]), RULES, what=WHAT)
    assert note.startswith("item BCDF2345: the GEL of 64.0 mm3 at voxel 14, 4, 3 lies in no confirmed T2 lesion.")
    assert checked[LesionKind.GEL].volume_mm3 == 128  # the reader decides


def test_a_gel_in_a_t2_lesion_too_small_to_count_is_named():
    _, notes = check_read(read([(2, 4, 2, 4, 2, 3)], gel=[A]), RULES, what=WHAT)
    assert len(notes) == 2


def test_a_black_hole_in_a_t2_lesion_too_small_to_count_is_cut():
    checked, notes = check_read(read([(2, 4, 2, 4, 2, 3)], holes=[A]), RULES, what=WHAT)
    assert not checked[LesionKind.BLACK_HOLE].mask.any()
    assert "32 voxels of black holes outside T2 lesions were cut off" in notes[0]
