"""Faint lesions that appear or vanish between visits: each visit is decided alone, for two to seven visits."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import RULE_ALONE, Head

from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.t2.appearing import Change, appearing_lesions, changes_between
from mri_pipeline.lesions.t2.segment import segment_t2

FLAIR, T1W = Contrast.FLAIR, Contrast.T1W
SPACING = (1.0, 1.0, 3.0)
AT, BESIDE, FAR = (18.0, 5.0, 0.0), (18.0, 12.0, 0.0), (-18.0, 5.0, 0.0)
RADIUS_MM = 4.0
MAP = (40, 40, 20)
NOISE = 0.03
FAINT = 1.15
"""FLAIR of a lesion that the rule for a single visit does not find."""

Painting = tuple[tuple[float, float, float], float]


def inside(at, radius_mm=RADIUS_MM):
    return Head(SPACING).inside(at, radius_mm)


def head(*paintings: Painting, seed: int, noise: float = NOISE, brain=None) -> Head:
    """A head with lesions of some FLAIR, blurred like a scan."""
    made = Head(SPACING, 0.0, seed)
    flair = made.data[FLAIR]
    for at, level in paintings:
        flair[made.inside(at, RADIUS_MM)] = level
    made.data[FLAIR] = ndimage.gaussian_filter(flair, (0.6, 0.6, 0.2))
    rng = np.random.default_rng([seed, 7])
    made.data = {c: values + rng.normal(0, noise, values.shape) * made.brain for c, values in made.data.items()}
    if brain is not None:
        made.brain = made.brain & brain
    return made


def found_in(heads):
    visits = [made.visit(FLAIR) for made in heads]
    return [
        found.mask.mask for found in segment_t2(visits, Head(SPACING).tissue(), LesionRules(), model=RULE_ALONE)
    ]


def found(*visits: tuple[Painting, ...], noise=NOISE):
    return found_in([head(*paintings, seed=10 + n, noise=noise) for n, paintings in enumerate(visits)])


def at_visits(masks, where):
    """True for each visit at which most of the place is lesion."""
    return [bool(mask[where].mean() > 0.5) for mask in masks]


LESION = ((AT, FAINT),)


def test_a_single_visit_does_not_show_the_faint_lesion():
    assert not found(LESION)[0].any()


@pytest.mark.parametrize(("visits", "first"), [(2, 1), (3, 1), (3, 2), (4, 2), (5, 4), (6, 1), (7, 3)])
def test_a_lesion_is_present_from_the_visit_at_which_it_appears(visits, first):
    masks = found(*[()] * first, *[LESION] * (visits - first))
    assert at_visits(masks, inside(AT)) == [False] * first + [True] * (visits - first)
    assert not any(mask.any() for mask in masks[:first])
    assert not any((mask & ~inside(AT, RADIUS_MM + 2.5)).any() for mask in masks)


def test_a_lesion_that_vanishes_is_absent_from_then_on():
    masks = found(LESION, LESION, (), ())
    assert at_visits(masks, inside(AT)) == [True, True, False, False]
    assert not any(mask.any() for mask in masks[2:])


@pytest.mark.parametrize(("visits", "dark"), [(2, 0), (2, 1), (3, 0), (3, 1), (5, 4), (7, 0)])
def test_a_visit_that_is_locally_dark_makes_no_lesion_at_the_others(visits, dark):
    for places in (((AT, 0.7), (FAR, 0.8)), ((AT, 0.85), (FAR, 0.9))):
        assert not any(mask.any() for mask in found(*(places if visit == dark else () for visit in range(visits))))


@pytest.mark.parametrize("level", [1.04, 1.07])
def test_a_visit_that_is_locally_dark_makes_no_lesion_of_a_tract(level):
    """White matter that is somewhat brighter than its surroundings is normal."""
    tract = ((AT, level),)
    assert not any(mask.any() for mask in found(tract, ((AT, 0.85),), tract, tract))


@pytest.mark.parametrize("faded", [1.12, 1.14])
def test_an_acute_lesion_that_fades_is_kept_while_its_own_change_is_certain(faded):
    masks = found((), ((AT, 1.45),), ((AT, 1.2),), ((AT, faded),), ((AT, faded),), noise=0.02)
    assert at_visits(masks, inside(AT)) == [False, True, True, True, True]


def test_a_further_visit_changes_no_earlier_one():
    series = [(), ((AT, 1.16),), ((AT, 1.17),), ((AT, 1.5),), (), ((AT, 0.8),)]
    for visits in (2, 3, 4, 6):
        masks = found(*series[:visits], noise=0.02)
        expected = [False, True, True, True, False, False][:visits]
        assert at_visits(masks, inside(AT)) == expected


def test_an_acute_lesion_that_is_gone_is_not_kept():
    masks = found((), ((AT, 1.3),), ((AT, 1.01),), ())
    assert at_visits(masks, inside(AT)) == [False, True, False, False]
    assert not masks[2].any()


@pytest.mark.parametrize("second", [((AT, FAINT),), ((AT, FAINT), (BESIDE, FAINT))])
def test_adjoining_lesions_of_different_visits_stay_apart(second):
    both = ((AT, FAINT), (BESIDE, FAINT))
    series = [(), second, both, ((BESIDE, FAINT),)]
    masks = found(*series)
    for where in (AT, BESIDE):
        expected = [any(at == where for at, _ in paintings) for paintings in series]
        assert at_visits(masks, inside(where, 2.5)) == expected
        absent = [
            mask[inside(where, 2.5)].mean() for mask, there in zip(masks, expected, strict=True) if not there
        ]
        assert max(absent) < 0.1


def test_the_extent_of_a_lesion_does_not_increase_with_the_number_of_visits():
    true = inside(AT).sum()
    sizes = [found((), *[LESION] * visits)[1].sum() for visits in (1, 5)]
    assert max(sizes) < 1.4 * true
    assert max(sizes) < 1.3 * min(sizes)


@pytest.mark.parametrize("noise", [0.06, 0.1])
def test_a_noisy_visit_makes_no_lesion(noise):
    heads = [head(seed=20 + n, noise=noise if n == 1 else NOISE) for n in range(4)]
    assert not any(mask.any() for mask in found_in(heads))


@pytest.mark.parametrize("visits", [2, 4, 7])
def test_unchanged_visits_give_nothing(visits):
    heads = [head((AT, FAINT), (FAR, 0.85), seed=100 * visits + n) for n in range(visits)]
    assert not any(mask.any() for mask in found_in(heads))


def test_the_order_of_the_visits_changes_nothing():
    heads = [head(*paintings, seed=30 + n) for n, paintings in enumerate([(), LESION, (), LESION])]
    expected = found_in(heads)
    for order in ((3, 1, 0, 2), (1, 0, 3, 2)):
        masks = found_in([heads[n] for n in order])
        for mask, n in zip(masks, order, strict=True):
            assert (mask != expected[n]).sum() <= 2


@pytest.mark.parametrize(("opposite", "lesions"), [(0.0, 1), (-4.0, 1), (-7.0, 0)])
def test_a_change_beside_an_opposite_one_is_an_edge_that_moved(opposite, lesions):
    made = Head(SPACING)
    z = np.where(inside(AT), 8.0, np.where(inside(AT, RADIUS_MM + 3) & (made.at[0] > AT[0]), opposite, 0.0))
    changes = changes_between(
        z.astype(np.float32),
        (np.zeros(z.shape, dtype=np.float32), np.full(z.shape, 4.0, dtype=np.float32)),
        1,
        searched=made.brain,
        known=np.zeros(z.shape, dtype=bool),
        white_matter=made.tissue().white_matter,
        rules=LesionRules(),
    )
    assert len(changes) == lesions
    for change in changes:
        np.testing.assert_array_equal(np.sort(change.voxels), np.flatnonzero(inside(AT)))


def test_a_lesion_beside_an_older_one_is_part_of_it():
    old = (BESIDE, 1.6)
    masks = found((old,), (old, (AT, FAINT)))
    assert masks[0][inside(BESIDE, 2.5)].all()
    assert not masks[1][inside((16.0, 3.0, 0.0), 1.0)].any()


def test_a_visit_whose_field_of_view_lacks_the_lesion_has_none():
    part = Head(SPACING).at[0] < 8
    heads = [head(seed=50), head(*LESION, seed=51, brain=part), head(*LESION, seed=52)]
    assert at_visits(found_in(heads), inside(AT)) == [False, False, True]


def test_grey_matter_that_changes_is_no_lesion():
    heads = [head(seed=60 + n) for n in range(2)]
    cortex = heads[1].grey & heads[1].inside((31.0, 5.0, 0.0), 6.0)
    heads[1].data[FLAIR][cortex] += 0.15
    assert not any(mask.any() for mask in found_in(heads))


@pytest.mark.parametrize("contrasts", [(), (T1W,)])
def test_a_new_lesion_has_a_probability_of_half_or_more_with_and_without_t1(contrasts):
    visits = [made.visit(FLAIR, *contrasts) for made in (head(seed=10), head(*LESION, seed=11))]
    first, second = segment_t2(visits, Head(SPACING).tissue(), LesionRules(), model=RULE_ALONE)
    assert not first.mask.mask.any()
    assert second.mask.mask[inside(AT)].mean() > 0.5
    assert second.probability.data[second.mask.mask].min() >= 0.5


@pytest.mark.parametrize("present", range(3))
def test_a_lesion_of_one_visit_is_found_at_it_alone(present):
    masks = found(*(LESION if visit == present else () for visit in range(3)))
    assert at_visits(masks, inside(AT)) == [visit == present for visit in range(3)]
    assert not any(mask.any() for visit, mask in enumerate(masks) if visit != present)


def ball(at, radius):
    return sum((axis - middle) ** 2 for axis, middle in zip(np.indices(MAP), at, strict=True)) <= radius**2


def changes_of(z, spacing=(1.0, 1.0, 1.0)):
    grid, everywhere = Grid(MAP, np.diag([*spacing, 1.0])), np.ones(MAP, bool)
    after = np.where(z > 3, 4, 0).astype(np.float32)
    return changes_between(
        z,
        (np.zeros(MAP, np.float32), after),
        1,
        searched=everywhere,
        known=~everywhere,
        white_matter=Image(np.ones(MAP, np.float32), grid),
        rules=LesionRules(),
    )


@pytest.mark.parametrize(
    ("beside", "lesions"), [((-2, -2), 0), ((-3, 1), 0), ((0, 0), 1), ((-1, 2), 1), ((3, 3), 1)]
)
@pytest.mark.parametrize("axis", range(3))
def test_a_change_of_one_slice_is_a_lesion_unless_the_slices_beside_become_darker(axis, beside, lesions):
    """A thin structure lies in one slice at one visit, and is shared by three at the other."""
    z = np.zeros(MAP, np.float32)
    slices = np.moveaxis(z, axis, 0)
    disc = np.moveaxis(ball((10, 12, 10), 2.5), axis, 0).any(axis=0)
    for slice_, change in zip((9, 10, 11), (beside[0], 7, beside[1]), strict=True):
        slices[slice_][disc] = change
    assert len(changes_of(z, tuple(3.0 if a == axis else 1.0 for a in range(3)))) == lesions


@pytest.mark.parametrize("axis", range(3))
def test_isotropic_voxels_have_no_slices_beside(axis):
    z = np.zeros(MAP, np.float32)
    slices = np.moveaxis(z, axis, 0)
    disc = np.moveaxis(ball((10, 12, 10), 2.5), axis, 0).any(axis=0)
    for slice_, change in zip((9, 10, 11), (-2, 7, -2), strict=True):
        slices[slice_][disc] = change
    assert len(changes_of(z)) == 1


@pytest.mark.parametrize("beside", [False, True])
def test_an_opposite_change_counts_for_every_basin_that_it_adjoins(beside):
    z = np.zeros(MAP, np.float32)
    z[ball((10, 20, 10), 2.2)] = 7
    if beside:
        z[ball((14, 26, 10), 3.5)] = 9
    z[ball((15, 20, 10), 1.5)] = -7
    assert changes_of(z) == []


def test_a_change_is_connected():
    """Two maxima of one basin, joined below the border of the lesion."""
    z = np.zeros(MAP, np.float32)
    first, second = ball((12, 20, 10), 3), ball((24, 20, 10), 2.5)
    z[13:24, 20, 10] = 4.2
    z[second] = 5.4
    z[first] = 12
    (change,) = changes_of(z)
    assert set(change.voxels) == set(np.flatnonzero(first))


def test_a_further_visit_removes_no_lesion_that_adjoins():
    """The change from the further visit is larger and reaches into the next lesion."""
    places = [ball((x, 20, 10), 2.5) for x in (12, 18)]
    wide = places[0] | (ball((15, 20, 10), 1.0) & ~places[1])
    wide.ravel()[np.flatnonzero(places[1])[:20]] = True
    before = [Change(np.flatnonzero(place), 1, 7.0, 2.0) for place in places]
    further = [*before, Change(np.flatnonzero(wide), 1, 9.0, 2.0)]
    contrast = np.full(MAP, 4, np.float32)
    every, none = np.ones(MAP, bool), np.zeros(MAP, bool)
    two = appearing_lesions(before, [none * 0.0, contrast], [every] * 2, [none] * 2)
    three = appearing_lesions(further, [none * 0.0, contrast, none * 0.0], [every] * 3, [none] * 3)
    assert not (two[1] & ~three[1]).any()
    assert three[1][places[1]].all()
