"""Scores of masks against hand-made numbers and a second way to count."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from mri_pipeline.core.errors import GridMismatchError
from mri_pipeline.core.spatial import Grid, LabelImage
from mri_pipeline.lesions.scoring.scores import Detection, Rule, score_masks
from mri_pipeline.lesions.scoring.summary import SIZES_MM3, by_size, pooled, spread, volume_agreement

UNIT = Grid((20, 12, 8), np.eye(4))


def mask(*blocks, grid=UNIT):
    data = np.zeros(grid.shape, dtype=np.uint8)
    for block in blocks:
        data[block] = 1
    return LabelImage(data, grid)


def block(x, y, z):
    return tuple(slice(*ends) for ends in (x, y, z))


BIG = block((0, 10), (0, 4), (0, 3))  # 120 mm3
SMALL = block((14, 17), (8, 10), (5, 6))  # 6 mm3
DUST = block((0, 2), (11, 12), (7, 8))  # 2 mm3


def found(lesions, rule):
    return [rule in lesion.found for lesion in lesions]


def test_numbers_of_a_case_counted_by_hand():
    predicted = mask(block((0, 5), (0, 4), (0, 3)), block((18, 20), (0, 3), (0, 1)), DUST)
    scores = score_masks(predicted, mask(BIG, SMALL))
    assert scores.dice == 2 * 60 / (126 + 68)
    assert (scores.reference_ml, scores.predicted_ml) == (0.126, 0.068)
    assert scores.difference_ml == pytest.approx(-0.058)
    assert scores.difference_percent == pytest.approx(-100 * 58 / 126)
    assert [(x.number, x.volume_mm3, x.covered) for x in scores.references] == [(1, 120, 0.5), (2, 6, 0)]
    assert [(x.number, x.volume_mm3, x.covered) for x in scores.predictions] == [(1, 60, 1), (2, 6, 0)]
    assert scores.references[0].centre_mm == (4.5, 1.5, 1.0)
    assert (scores.references_below, scores.predictions_below) == (0, 1)
    for rule in Rule:
        assert scores.detection(rule) == Detection(2, 1, 2, 1)
        assert (scores.detection(rule).recall, scores.detection(rule).precision) == (0.5, 0.5)
        assert scores.detection(rule).f1 == 0.5


def test_a_mask_against_itself_is_perfect():
    scores = score_masks(mask(BIG, SMALL, DUST), mask(BIG, SMALL, DUST))
    assert (scores.dice, scores.difference_ml, scores.difference_percent) == (1, 0, 0)
    assert all(scores.detection(rule).f1 == 1 for rule in Rule)
    assert (scores.references_below, scores.predictions_below) == (1, 1)


def test_two_empty_masks_have_no_score_and_one_empty_mask_scores_zero():
    both = score_masks(mask(), mask())
    assert (both.dice, both.difference_ml, both.difference_percent) == (None, 0, None)
    assert [both.detection(rule).f1 for rule in Rule] == [None, None]
    missed = score_masks(mask(), mask(BIG))
    assert (missed.dice, missed.difference_percent) == (0, -100)
    invented = score_masks(mask(BIG), mask())
    assert (invented.dice, invented.difference_percent) == (0, None)
    for rule in Rule:
        one, other = missed.detection(rule), invented.detection(rule)
        assert (one.recall, one.precision, one.f1) == (0, None, 0)
        assert (other.recall, other.precision, other.f1) == (None, 0, 0)


@pytest.mark.parametrize(("voxels", "tenth", "anima"), [(11, False, False), (12, True, False), (13, True, True)])
def test_a_tenth_is_found_and_anima_wants_more_than_that(voxels, tenth, anima):
    shared = np.argwhere(mask(BIG).mask)[:voxels]  # along z, y, x in order: one component
    predicted = np.zeros(UNIT.shape, dtype=np.uint8)
    predicted[tuple(shared.T)] = 1
    (lesion,) = score_masks(LabelImage(predicted, UNIT), mask(BIG)).references
    assert (Rule.TENTH in lesion.found, Rule.ANIMA in lesion.found) == (tenth, anima)


@pytest.mark.parametrize(("depth", "anima"), [(7, True), (8, False)])
def test_anima_does_not_take_a_lesion_that_lies_mostly_outside(depth, anima):
    # 12 voxels inside; outside 28 of 40 (70 %, not more than beta), then 32 of 44
    reference = mask(block((0, 3), (0, 4), (0, 3)))
    predicted = mask(block((2, 3), (0, 4), (0, 3)), block((3, 3 + depth), (0, 4), (0, 1)))
    (lesion,) = score_masks(predicted, reference).references
    assert lesion.covered == pytest.approx(1 / 3)
    assert (Rule.TENTH in lesion.found, Rule.ANIMA in lesion.found) == (True, anima)


def test_anima_looks_at_the_largest_shares_until_gamma_alone():
    # 66 of 96 covered voxels (69 %) belong to a lesion inside: the one that sticks out is not looked at ...
    reference = mask(block((0, 12), (0, 8), (0, 1)))
    inside, sticks_out = block((0, 11), (0, 6), (0, 1)), block((0, 10), (7, 8), (0, 8))
    scores = score_masks(mask(inside, sticks_out), reference)
    assert found(scores.references, Rule.ANIMA) == [True]
    # ... but with half of that it is
    scores = score_masks(mask(block((0, 4), (0, 4), (0, 1)), sticks_out), reference)
    assert found(scores.references, Rule.ANIMA) == [False]
    assert found(scores.references, Rule.TENTH) == [True]


def test_a_mask_of_everything_finds_every_lesion_which_is_why_f1_is_not_alone():
    everything = LabelImage(np.ones(UNIT.shape, dtype=np.uint8), UNIT)
    scores = score_masks(everything, mask(BIG, SMALL))
    assert scores.detection(Rule.TENTH).recall == 1
    assert scores.detection(Rule.ANIMA).recall == 0
    assert scores.dice == pytest.approx(2 * 126 / (1920 + 126))


def test_volumes_count_in_mm3():
    grid = Grid(UNIT.shape, np.diag([0.5, 0.5, 3.0, 1.0]))
    scores = score_masks(mask(SMALL, grid=grid), mask(DUST, SMALL, grid=grid))
    assert scores.reference_ml == pytest.approx(8 * 0.75 / 1000)
    assert [lesion.volume_mm3 for lesion in scores.references] == [4.5]  # 2 voxels are 1.5 mm3
    assert scores.references_below == 1


def test_masks_on_different_grids_are_refused():
    moved = Grid(UNIT.shape, np.array([[1, 0, 0, 1.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    with pytest.raises(GridMismatchError, match="predicted mask: expected the grid"):
        score_masks(mask(BIG, grid=moved), mask(BIG))


MASKS = hnp.arrays(np.bool_, (7, 6, 5), elements=st.integers(0, 2).map(lambda v: v == 0))


def second_count(reference, predicted):
    """Anima's rule and the 10 % rule written down once more, lesion by lesion, as sets of voxels."""

    def lesions(data):
        labels, n = ndimage.label(data, np.ones((3, 3, 3)))
        sets = [set(map(tuple, np.argwhere(labels == i))) for i in range(1, n + 1)]
        return [voxels for voxels in sets if len(voxels) >= 3]

    truths, claims = lesions(reference), lesions(predicted)
    everywhere = set().union(*truths) if truths else set()
    tenth = anima = 0
    for truth in truths:
        tenth += 10 * len(truth & set(map(tuple, np.argwhere(predicted)))) >= len(truth)
        shares = [(len(truth & claim), len(claim - everywhere) / len(claim)) for claim in claims if truth & claim]
        total = sum(share for share, _ in shares)
        if total / len(truth) <= 0.1:
            continue
        # among lesions of one share the order is open: count only where it does not matter
        answers = set()
        for order in itertools.permutations(shares) if len(shares) < 6 else [shares]:
            if [s for s, _ in order] != sorted((s for s, _ in order), reverse=True):
                continue
            done, good = 0.0, True
            for share, outside in order:
                if done >= 0.65:
                    break
                good &= outside <= 0.7
                done += share / total
            answers.add(good)
        anima = None if anima is None or len(answers) != 1 else anima + answers.pop()
    return len(truths), tenth, anima


@given(MASKS, MASKS)
def test_both_rules_count_as_a_second_implementation_does(reference, predicted):
    grid = Grid(reference.shape, np.eye(4))
    scores = score_masks(LabelImage(predicted, grid), LabelImage(reference, grid))
    for (n, tenth, anima), lesions in (
        (second_count(reference, predicted), scores.references),
        (second_count(predicted, reference), scores.predictions),
    ):
        assert (n, tenth) == (len(lesions), sum(found(lesions, Rule.TENTH)))
        assert anima in (None, sum(found(lesions, Rule.ANIMA)))


@given(MASKS, MASKS, st.permutations(range(1, 200)))
def test_numbers_of_the_labels_and_the_direction_of_the_axes_change_nothing(reference, predicted, numbers):
    grid = Grid(reference.shape, np.eye(4))
    labels, _ = ndimage.label(predicted)
    shuffled = np.concatenate([[0], numbers])[labels]
    first = score_masks(LabelImage(predicted, grid), LabelImage(reference, grid))
    assert score_masks(LabelImage(shuffled, grid), LabelImage(reference, grid)) == first
    turned = score_masks(
        LabelImage(shuffled, grid).reoriented("PIR"), LabelImage(reference, grid).reoriented("PIR")
    )
    assert [x.found for x in turned.references] == [x.found for x in first.references]
    assert (turned.dice, turned.detection(Rule.ANIMA)) == (first.dice, first.detection(Rule.ANIMA))


@given(MASKS, MASKS)
def test_swapping_the_masks_swaps_recall_and_precision(one, other):
    grid = Grid(one.shape, np.eye(4))
    there = score_masks(LabelImage(one, grid), LabelImage(other, grid))
    back = score_masks(LabelImage(other, grid), LabelImage(one, grid))
    assert there.dice == back.dice
    for rule in Rule:
        assert there.detection(rule).recall == back.detection(rule).precision
        assert there.detection(rule).f1 == back.detection(rule).f1


def test_classes_of_size_hold_every_lesion_once_and_borders_belong_to_the_larger_class():
    lesion_14 = block((0, 7), (0, 2), (0, 1))
    scores = [score_masks(mask(lesion_14), mask(lesion_14, SMALL)), score_masks(mask(BIG), mask(BIG, SMALL))]
    classes = by_size(scores)
    assert [c.name for c in classes] == ["3 to 14", "14 to 30", "30 to 100", "100 to 500", "from 500"]
    assert SIZES_MM3[1] == 14
    tenth = [c.detections[Rule.TENTH] for c in classes]
    none, one = Detection(0, 0, 0, 0), Detection(1, 1, 1, 1)
    assert tenth == [Detection(2, 0, 0, 0), one, none, one, none]
    assert pooled(scores, Rule.TENTH) == Detection(4, 2, 2, 2)


def test_agreement_of_volumes():
    agreement = volume_agreement([1.0, 2.0, 3.0, 10.0], [1.5, 2.0, 2.5, 12.0])
    assert agreement.bias_ml == pytest.approx(0.5)
    sd = np.sqrt((0 + 0.25 + 1 + 2.25) / 3)
    assert agreement.limits_ml == pytest.approx((0.5 - 1.96 * sd, 0.5 + 1.96 * sd))
    assert agreement.correlation == pytest.approx(np.corrcoef([1, 2, 3, 10], [1.5, 2, 2.5, 12])[0, 1])


def test_what_few_cases_cannot_tell_is_not_told():
    one = volume_agreement([1.0], [2.0])
    assert (one.bias_ml, one.limits_ml, one.correlation) == (1, None, None)
    assert volume_agreement([1.0, 2.0], [2.0, 3.0]).correlation is None
    assert volume_agreement([1.0, 1.0, 1.0], [2.0, 3.0, 4.0]).correlation is None


def test_a_measure_over_cases_leaves_out_where_it_is_not_defined():
    scores = [score_masks(mask(), mask()), score_masks(mask(BIG), mask(BIG)), score_masks(mask(), mask(BIG))]
    found_dice = spread(scores, lambda s: s.dice)
    assert (found_dice.cases, found_dice.mean, found_dice.median) == (2, 0.5, 0.5)
    assert (found_dice.least, found_dice.most) == (0, 1)
    assert spread(scores[:1], lambda s: s.dice) is None
