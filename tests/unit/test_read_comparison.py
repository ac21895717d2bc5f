"""When two reads of a visit disagree: each limit alone, at the limit and beyond it."""

import numpy as np
import pytest

from mri_pipeline.analysis.reads.comparison import ReadSeries, compare_reads
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.reading_settings import Comparison
from mri_pipeline.core.spatial import Grid, LabelImage
from mri_pipeline.core.visits import VisitMasks

GRID = Grid((40, 12, 12), np.eye(4))
RULES = LesionRules()
LOCATION = LabelImage(np.full(GRID.shape, 4, dtype=np.uint8), GRID)
LAX = Comparison(
    max_gel_count_difference=99,
    gel_seen_by_one=False,
    max_new_t2_count_difference=99,
    max_t2_volume_difference_percent=200,
)


def mask(*starts, size=3):
    """Boxes of size x 3 x 3 mm along x."""
    data = np.zeros(GRID.shape, dtype=np.uint8)
    for start in starts:
        data[start : start + size, 2:5, 2:5] = 1
    return LabelImage(data, GRID)


def visit(name, t2, gel=None):
    return VisitMasks(name, t2, gel=gel, confirmed=True)


def series(t2, gel=None, before=None):
    return ReadSeries(visit("wk04", t2, gel), None if before is None else visit("wk00", before))


def found(first, second, **limits):
    results = [
        compare_reads(a, b, LOCATION, RULES, LAX.model_copy(update=limits))
        for a, b in ((first, second), (second, first))
    ]
    assert results[0] == results[1]  # the order of the reads changes nothing
    return {one.limit: one.found for one in results[0]}


def test_equal_reads_agree_under_the_strictest_limits():
    read = series(mask(2, 10), mask(2), before=mask(10))
    strict = Comparison(max_t2_volume_difference_percent=0)
    assert compare_reads(read, read, LOCATION, RULES, strict) == []
    empty = series(mask(), mask(), before=mask())
    assert compare_reads(empty, empty, LOCATION, RULES, strict) == []


@pytest.mark.parametrize(("limit", "disagree"), [(0, True), (1, True), (2, False)])
@pytest.mark.requirement("READ-02")
def test_the_number_of_gel(limit, disagree):
    three, one = series(mask(2, 10, 20), mask(2, 10, 20)), series(mask(2, 10, 20), mask(2))
    expected = {"max_gel_count_difference": 2} if disagree else {}
    assert found(three, one, max_gel_count_difference=limit) == expected


def test_a_gel_seen_by_one_is_found_where_the_numbers_are_equal():
    here, there = series(mask(2, 10), mask(2)), series(mask(2, 10), mask(10))
    assert found(here, there, max_gel_count_difference=0) == {}
    assert found(here, there, gel_seen_by_one=True) == {"gel_seen_by_one": 2}
    small = series(mask(2, 10), mask(2, size=2))  # another outline of the same GEL
    assert found(here, small, gel_seen_by_one=True) == {}


def test_new_lesions_are_counted_from_each_readers_own_earlier_read():
    both_times = series(mask(2, 10), before=mask(2, 10))
    one_is_new = series(mask(2, 10), before=mask(2))
    assert found(both_times, one_is_new, max_new_t2_count_difference=1) == {}
    assert found(both_times, one_is_new, max_new_t2_count_difference=0) == {"max_new_t2_count_difference": 1}
    assert found(series(mask(2, 10)), series(mask(2)), max_new_t2_count_difference=0) == {}  # first visit


def test_the_volume_of_t2_lesions_in_percent_of_the_mean():
    large, small = series(mask(2, size=6)), series(mask(2, size=4))  # 54 and 36 mm3: 18 of 45
    assert found(large, small, max_t2_volume_difference_percent=40) == {}
    assert found(large, small, max_t2_volume_difference_percent=39) == {
        "max_t2_volume_difference_percent": pytest.approx(40)
    }
    assert found(large, series(mask()), max_t2_volume_difference_percent=199) == {
        "max_t2_volume_difference_percent": pytest.approx(200)
    }


def test_a_visit_without_contrast_has_no_gel_to_disagree_on():
    first, second = series(mask(2)), series(mask(2))
    assert found(first, second, max_gel_count_difference=0, gel_seen_by_one=True) == {}
