"""Lesions that are visible only by comparison of two visits: certain ones are found, and no others."""

import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.lesions.t2.changes import proven_lesions

SHAPE = (70, 84, 22)
GRID = Grid(SHAPE, np.array([[1.5, 0, 0, -52], [0, 1.5, 0, -63], [0, 0, 4.0, -44], [0, 0, 0, 1]]))
X, Y, Z = (np.indices(SHAPE)[a] - (SHAPE[a] - 1) / 2 for a in range(3))
RADIUS = np.sqrt((X / 30) ** 2 + (Y / 37) ** 2 + (Z / 10) ** 2)
BRAIN = LabelImage(RADIUS < 1, GRID)
VENTRICLES = RADIUS < 0.25
WHITE = Image(((RADIUS < 0.85) & ~VENTRICLES).astype(np.float32), GRID)
NONE = np.zeros(SHAPE, dtype=bool)


def ball(x, y, z, radius_mm):
    return ((X - x) * 1.5) ** 2 + ((Y - y) * 1.5) ** 2 + ((Z - z) * 4) ** 2 < radius_mm**2


SPOT = ball(14, 6, 2, 5)


def scan(*lesions, seed, gain=0.4, noise=0.05, fluid=VENTRICLES):
    data = np.where(RADIUS < 0.85, 1.0, 1.2)
    data[fluid] = 0.25
    data = data + gain * np.any([*lesions, NONE], axis=0)
    data = ndimage.gaussian_filter(np.where(BRAIN.mask, data, 0.1), (0.8, 0.8, 0.4))
    return Image(data + noise * np.random.default_rng(seed).normal(size=SHAPE), GRID)


def proven(*flairs, known=None, white=WHITE, brains=None):
    known = known or [NONE] * len(flairs)
    brains = brains or [BRAIN] * len(flairs)
    return proven_lesions(
        flairs,
        brains,
        [LabelImage(mask, GRID) for mask in known],
        contrasts=[Image(np.zeros(SHAPE, dtype=np.float32), GRID)] * len(flairs),
        white_matter=white,
        rules=LesionRules(),
    ).definite


def overlap(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_a_new_lesion_is_found_where_it_is_and_lasts_as_long_as_it_is_bright():
    flairs = scan(seed=1), scan(SPOT, seed=2), scan(SPOT, seed=3, gain=0.35), scan(seed=4)
    found = proven(*flairs)
    assert not found[0].any()
    assert not found[3].any()
    assert overlap(found[1], SPOT) > 0.8
    assert overlap(found[2], SPOT) > 0.75


def test_the_order_of_the_visits_changes_nothing():
    flairs = scan(seed=1), scan(SPOT, seed=2), scan(SPOT, seed=3)
    for here, there in zip(proven(*flairs), reversed(proven(*flairs[::-1])), strict=True):
        assert np.mean(here != there) < 1e-4


@pytest.mark.parametrize("turn", ["LPS", "SAL"])
def test_results_do_not_depend_on_the_orientation(turn):
    flairs = scan(seed=1), scan(SPOT, seed=2)
    turned = proven_lesions(
        [flair.reoriented(turn) for flair in flairs],
        [BRAIN.reoriented(turn)] * 2,
        [LabelImage(NONE, GRID).reoriented(turn)] * 2,
        contrasts=[Image(np.zeros(SHAPE, dtype=np.float32), GRID).reoriented(turn)] * 2,
        white_matter=WHITE.reoriented(turn),
        rules=LesionRules(),
    ).definite
    back = LabelImage(turned[1], flairs[0].reoriented(turn).grid).reoriented("RAS")
    np.testing.assert_array_equal(back.mask, proven(*flairs)[1])


@pytest.mark.parametrize("seed", range(0, 20, 2))
def test_unchanged_tissue_proves_nothing(seed):
    assert not any(mask.any() for mask in proven(scan(SPOT, seed=seed), scan(SPOT, seed=seed + 1)))


def test_a_single_visit_proves_nothing():
    assert not proven(scan(SPOT, seed=1))[0].any()


def test_what_is_known_is_left_as_it_is():
    before, after = scan(seed=1), scan(SPOT, seed=2)
    part = SPOT & (X < 15)
    assert not any(mask.any() for mask in proven(before, after, known=[NONE, part]))
    assert not any(mask.any() for mask in proven(before, after, known=[part, NONE]))


def test_faint_or_small_or_grey_is_not_beyond_doubt():
    before = scan(seed=1)
    assert not any(mask.any() for mask in proven(before, scan(SPOT, seed=2, gain=0.2)))
    spike = scan(seed=2)
    spike.data[49, 47, 12] += 0.8
    assert not any(mask.any() for mask in proven(before, spike))
    grey = Image(np.where(X > 0, 0.3, WHITE.data), GRID)
    assert not any(mask.any() for mask in proven(before, scan(SPOT, seed=2), white=grey))


def test_a_change_that_noise_could_make_is_not_beyond_doubt():
    assert proven(scan(seed=1), scan(SPOT, seed=2))[1].any()
    assert not proven(scan(seed=1, noise=0.14), scan(SPOT, seed=2, noise=0.14))[1].any()


def test_what_was_bright_already_is_no_new_lesion():
    assert not any(mask.any() for mask in proven(scan(SPOT, seed=1, gain=0.3), scan(SPOT, seed=2, gain=0.7)))


def test_fluid_that_moved_is_no_lesion():
    wide = scan(seed=1, fluid=VENTRICLES | SPOT)
    assert not any(mask.any() for mask in proven(wide, scan(SPOT, seed=2)))


def test_a_visit_without_coverage_of_the_position_is_no_evidence():
    half = LabelImage(BRAIN.mask & (X < 8), GRID)
    cut = Image(np.where(half.mask, scan(seed=3).data, 0), GRID)
    found = proven(
        cut, scan(seed=1), scan(SPOT, seed=4, gain=0.14), scan(SPOT, seed=2), brains=[half, BRAIN, BRAIN, BRAIN]
    )
    assert [bool(mask.any()) for mask in found] == [False, False, False, True]
