"""Statistics of agreement against published worked examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri_pipeline.core.agreement import bland_altman, cohens_kappa, dice_coefficient, icc_2_1

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
"""Six targets and four judges: Shrout & Fleiss 1979, Table 2."""
PEAK_FLOW = {
    "large": [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427],
    "mini": [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451],
}
"""Peak expiratory flow of 17 subjects by two meters: Bland & Altman 1986, Table 1, first measurements."""
FLEISS_COHEN_EVERITT = [[106, 10, 4], [22, 28, 10], [2, 12, 6]]
"""Two raters and 200 targets: Fleiss, Cohen & Everitt 1969, Table 1 (proportions .53, .05, .02, ...)."""


def ratings_of(table):
    pairs = [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    return zip(*pairs, strict=True)


@pytest.mark.requirement("READ-06")
def test_icc_of_shrout_and_fleiss():
    found = icc_2_1(SHROUT_FLEISS)
    assert found.value == pytest.approx(0.29, abs=0.005)
    # the interval of the R packages psych and irr for these data
    assert (found.low, found.high) == (pytest.approx(0.019, abs=0.001), pytest.approx(0.761, abs=0.001))


def test_kappa_of_fleiss_cohen_and_everitt():
    first, second = ratings_of(FLEISS_COHEN_EVERITT)
    found = cohens_kappa(first, second)
    assert found.value == pytest.approx(0.4286, abs=5e-5)  # (0.70 - 0.475) / (1 - 0.475)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(0.0537, abs=1e-4)


def test_kappa_and_its_interval_agree_with_statsmodels():
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    for table in (FLEISS_COHEN_EVERITT, [[20, 5], [10, 15]], [[3, 1, 0], [0, 4, 2], [1, 0, 9]]):
        found, theirs = cohens_kappa(*ratings_of(table)), inter_rater.cohens_kappa(np.array(table))
        assert found.value == pytest.approx(theirs.kappa)
        assert found.high - found.value == pytest.approx(1.96 * theirs.std_kappa)


def test_limits_of_bland_and_altman():
    found = bland_altman(PEAK_FLOW["large"], PEAK_FLOW["mini"])
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    # printed with 2 SD of 38.8: -79.7 and 75.5
    assert [(limit - found.bias) / 1.96 for limit in found.limits] == pytest.approx([-38.8, 38.8], abs=0.05)


@pytest.mark.parametrize(
    "ratings", [[], [[1, 2]], [[1], [2]], [[3, 3], [3, 3]]], ids=["none", "one target", "one rater", "all equal"]
)
def test_icc_is_not_invented(ratings):
    assert icc_2_1(ratings).value is None


def test_what_is_not_defined_is_none():
    assert cohens_kappa([], []).value is None
    assert cohens_kappa([1, 1], [1, 1]).value is None
    assert bland_altman([], []) is None
    assert bland_altman([3], [1]).limits is None
    assert bland_altman([3], [1]).bias == 2
    empty = np.zeros((2, 2), bool)
    assert dice_coefficient(empty, empty) is None
    assert dice_coefficient(~empty, empty) == 0
    assert dice_coefficient(~empty, np.array([[1, 1], [0, 0]], bool)) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="shorter"):
        cohens_kappa([1, 2], [1])


def test_raters_who_differ_by_a_constant_lose_absolute_agreement():
    same, moved = [[n, n] for n in range(10)], [[n, n + 5] for n in range(10)]
    assert icc_2_1(same).value == pytest.approx(1)
    assert icc_2_1(moved).value < 0.5


numbers = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=12)


@given(numbers)
def test_the_order_of_raters_and_targets_changes_nothing(pairs):
    swapped = [(b, a) for a, b in reversed(pairs)]
    one, two = icc_2_1(pairs), icc_2_1(swapped)
    assert (one.value is None) == (two.value is None)
    if one.value is not None:
        assert two.value == pytest.approx(one.value)
        assert one.value <= 1 + 1e-9
    kappas = [cohens_kappa(*zip(*p, strict=True)).value for p in (pairs, swapped)]
    assert (kappas[0] is None and kappas[1] is None) or kappas[0] == pytest.approx(kappas[1])
    a, b = (bland_altman(*zip(*p, strict=True)).bias for p in (pairs, swapped))
    assert a == pytest.approx(-b)
