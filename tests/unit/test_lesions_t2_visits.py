import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import RULE_ALONE, Head

from mri_pipeline.core.errors import GridMismatchError
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.t2 import segment as t2
from mri_pipeline.lesions.t2.visits import agree

FLAIR, T1W = Contrast.FLAIR, Contrast.T1W
RULES = LesionRules()


def segment_t2(visits, tissue, rules):
    return t2.segment_t2(visits, tissue, rules, model=RULE_ALONE)


def visit(*lesions, seed=1):
    """A head whose noise is its own, with lesions of a brightness."""
    head = Head(noise=0.0)
    for place, radius, bright in lesions:
        head.paint(head.inside(place, radius), FLAIR=bright)
    rng = np.random.default_rng(seed)
    head.data[FLAIR] = head.data[FLAIR] + rng.normal(0, 0.08, head.grid.shape) * head.brain
    return head


def agreed(heads, scores):
    flairs = [head.visit(FLAIR).contrasts[FLAIR] for head in heads]
    brains = [LabelImage(head.brain, head.grid) for head in heads]
    return [image.data for image in agree([Image(s, heads[0].grid) for s in scores], flairs, brains)]


def score(head):
    return ((head.data[FLAIR] - 1.3) / 0.1).astype(np.float32)


def test_one_visit_has_the_scores_of_two_copies_of_it():
    head = visit(((15, 5, 0), 4, 1.5))
    one, copy = agreed([head], [score(head)])[0], agreed([head, head], [score(head)] * 2)[0]
    assert one == pytest.approx(copy, abs=1e-4)
    assert one[head.brain] == pytest.approx(np.clip(score(head), -3, 3)[head.brain], abs=1e-4)


def test_identical_visits_keep_their_answer():
    head = visit(((15, 5, 0), 4, 1.5))
    own = np.clip(score(head), -3, 3)
    for found in agreed([head, head, head], [score(head)] * 3):
        assert found[head.brain] == pytest.approx(own[head.brain], abs=1e-4)


def test_noise_is_voted_down_and_a_change_stays():
    before, after = visit(seed=1), visit(((15, 5, 0), 4, 1.7), seed=2)
    place = before.inside((15, 5, 0), 3)
    still = before.white & ~before.inside((15, 5, 0), 7)
    first, second = agreed([before, after], [score(before), score(after)])
    assert first[place].max() < 0 < np.median(second[place])
    own = np.clip(score(before), -3, 3)
    assert first[still].std() < 0.85 * own[still].std()


def test_order_changes_nothing():
    heads = [visit(seed=1), visit(((15, 5, 0), 4, 1.6), seed=2), visit(((-15, 5, 0), 4, 1.4), seed=3)]
    forward = agreed(heads, [score(h) for h in heads])
    backward = agreed(heads[::-1], [score(h) for h in heads[::-1]])[::-1]
    for one, other in zip(forward, backward, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_a_visit_that_did_not_scan_a_place_has_no_vote_there():
    one, other = visit(((15, 5, 0), 4, 1.5), seed=1), visit(((15, 5, 0), 4, 1.5), seed=1)
    other.brain &= other.at[0] < 5
    found, _ = agreed([one, other], [score(one), np.full(one.grid.shape, -3, np.float32)])
    place = one.inside((15, 5, 0), 3)
    assert found[place] == pytest.approx(np.clip(score(one), -3, 3)[place], abs=1e-4)


@pytest.mark.parametrize(("t1", "lesions"), [(1.0, 1), (0.7, 0)])
def test_a_visit_without_t1_is_judged_by_that_of_the_others(t1, lesions):
    """Else grey matter, or a lesion, would come and go with the scan that tells them apart."""
    head = Head()
    head.paint(head.inside((15, 5, 0), 4), FLAIR=1.3, T1W=t1)
    for scans in ([head.visit(FLAIR, T1W), head.visit(FLAIR)], [head.visit(FLAIR), head.visit(FLAIR, T1W)]):
        assert [found.mask.data.max() for found in segment_t2(scans, head.tissue(), RULES)] == [lesions] * 2


def test_what_t1_has_not_scanned_at_one_visit_is_judged_by_the_other():
    head, short = Head(), Head()
    for scan in (head, short):
        scan.paint(scan.inside((15, 5, 0), 4), FLAIR=1.3)
    short.data[T1W][short.at[2] > -8] = 0.0
    scans = [head.visit(FLAIR, T1W), short.visit(FLAIR, T1W)]
    assert [found.mask.data.max() for found in segment_t2(scans, head.tissue(), RULES)] == [1, 1]


def test_a_visit_that_did_not_scan_a_place_takes_no_faint_lesion_from_the_others():
    head, short = Head(), Head()
    for scan in (head, short):
        scan.paint(scan.inside((15, 5, 20), 2.5), FLAIR=1.22)
    short.brain = short.brain & (short.at[2] < 10)
    short.data[FLAIR][short.at[2] >= 10] = 0.0
    alone, _ = segment_t2([head.visit(FLAIR, T1W)] * 2, head.tissue(), RULES)
    both, _ = segment_t2([head.visit(FLAIR, T1W), short.visit(FLAIR, T1W)], head.tissue(), RULES)
    assert alone.mask.data.max() == both.mask.data.max() == 1


def test_one_threshold_for_all_visits():
    heads = [visit(((15, 5, 0), 4, 1.5), seed=n) for n in (1, 2)]
    found = segment_t2([h.visit(FLAIR) for h in heads], heads[0].tissue(), RULES)
    assert len({f.threshold for f in found}) == 1
    assert [f.mask.data.max() for f in found] == [1, 1]


def test_another_grid_is_refused():
    head = visit()
    images = [head.visit(FLAIR).contrasts[FLAIR]]
    moved = Grid(head.grid.shape, np.diag([1, 1, 1, 1.0]))
    with pytest.raises(GridMismatchError, match="image of a visit"):
        agree([Image(images[0].data, moved)], images, [LabelImage(head.brain, head.grid)])


@pytest.mark.parametrize(("other", "lesions"), [(1.25, [1, 1]), (1.15, [0, 0]), (1.05, [0, 0]), (1.0, [1, 0])])
def test_what_is_faint_must_be_there_at_every_visit_or_appear_beyond_doubt(other, lesions):
    """Near the threshold a lesion comes and goes with the position of the slices; from normal tissue it appears."""
    place = ((15, 5, 0), 3)
    heads = [visit((*place, bright), seed=n) for n, bright in enumerate((1.25, other), start=1)]
    images = [head.visit(FLAIR, Contrast.T1W) for head in heads]
    found = segment_t2(images, heads[0].tissue(), RULES)
    assert [int(one.mask.data.max()) for one in found] == lesions


def test_a_faint_lesion_that_becomes_sure_was_there_before():
    place = ((15, 5, 0), 3)
    heads = [visit((*place, bright), seed=n) for n, bright in enumerate((1.25, 1.8), start=1)]
    before, after = segment_t2([head.visit(FLAIR, Contrast.T1W) for head in heads], heads[0].tissue(), RULES)
    assert before.mask.data.max() == after.mask.data.max() == 1
    assert segment_t2([heads[0].visit(FLAIR)], heads[0].tissue(), RULES)[0].mask.volume_mm3 == 0


def test_one_visit_of_bright_cortex_hides_no_lesion_of_any_visit():
    """One threshold holds for all visits: that of most visits, not that of the visit with the highest."""

    def scan(grey, seed):
        head = Head(noise=0.0)
        head.paint(head.inside((15, 5, 0), 3), FLAIR=1.4, T1W=0.9)
        head.paint(head.grey, FLAIR=grey)
        head.data[FLAIR] += np.random.default_rng(seed).normal(0, 0.06, head.grid.shape) * head.brain
        return head

    heads = [scan(grey, seed) for seed, grey in enumerate((1.15, 1.4, 1.15), start=1)]
    images = [head.visit(FLAIR, T1W) for head in heads]
    found = segment_t2(images, heads[0].tissue(), RULES)
    alone = [segment_t2([image], heads[0].tissue(), RULES)[0].threshold for image in images]
    assert alone[1] > max(alone[0], alone[2]) + 2
    assert found[0].threshold == pytest.approx(max(alone[0], alone[2]))
    lesion = heads[0].inside((15, 5, 0), 3)
    for visit_found in found:
        assert visit_found.mask.data.max() == 1
        assert visit_found.mask.mask[lesion].mean() > 0.8
