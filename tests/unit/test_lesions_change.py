"""Change between two FLAIRs: blind to contrast, bias and noise; not to lesions; and no visit is preferred."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mri_pipeline.core.errors import GridMismatchError
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import T2State
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.lesions.change.blocks import Blocks
from mri_pipeline.lesions.change.detect import SEED_Z, change_evidence, changed_voxels
from mri_pipeline.lesions.change.model import binned_medians, gradient_magnitude, noise_by_gradient
from mri_pipeline.lesions.tracking.track import count_subject, track_subject

SHAPE = (70, 84, 22)
GRID = Grid(SHAPE, np.array([[1.5, 0, 0, -52], [0, 1.5, 0, -63], [0, 0, 4.0, -44], [0, 0, 0, 1]]))
X, Y, Z = (np.indices(SHAPE)[a] - (SHAPE[a] - 1) / 2 for a in range(3))
RADIUS = np.sqrt((X / 30) ** 2 + (Y / 37) ** 2 + (Z / 10) ** 2)
BRAIN = RADIUS < 1
NOISE = 0.05


def anatomy(grey=1.2):
    """White matter 1, grey matter, ventricles."""
    data = np.where(RADIUS < 0.85, 1.0, grey)
    data[RADIUS < 0.25] = 0.25
    return ndimage.gaussian_filter(np.where(BRAIN, data, 0.1), (0.8, 0.8, 0.4))


def ball(x, y, z, radius_mm):
    return ((X - x) * 1.5) ** 2 + ((Y - y) * 1.5) ** 2 + ((Z - z) * 4) ** 2 < radius_mm**2


LESION = ball(14, 6, 2, 5)
OTHER = ball(-15, -10, -2, 5)


def scan(*lesions, seed, gain=0.45, grey=1.2, bias=0.0):
    data = anatomy(grey) + gain * np.any([*lesions, np.zeros(SHAPE, bool)], axis=0)
    data = data * (1 + bias * np.sin(X / 25) * np.cos(Y / 30))
    return Image(data + NOISE * np.random.default_rng(seed).normal(size=SHAPE), GRID)


def labels(*lesions):
    return LabelImage(np.any([*lesions, np.zeros(SHAPE, bool)], axis=0), GRID)


def test_identical_images_do_not_change():
    image = scan(LESION, seed=1)
    assert not change_evidence(image, image, BRAIN).data.any()


def test_exchanging_the_visits_changes_the_sign():
    a, b = scan(LESION, seed=1), scan(OTHER, seed=2, bias=0.1, grey=1.3)
    np.testing.assert_allclose(change_evidence(a, b, BRAIN).data, -change_evidence(b, a, BRAIN).data, atol=2e-3)


def test_at_the_end_of_one_visits_scan_nothing_has_changed():
    grid = Grid((70, 84, 44), GRID.affine @ np.diag([1.0, 1.0, 0.25, 1.0]))  # slices of 1 mm: smoothed across
    middle = [scan(LESION, seed=seed).data[:, :, 8:19].repeat(4, axis=2) for seed in (1, 2)]
    short = middle[1].copy()
    short[:, :, 30:] = 0.0
    brain = BRAIN[:, :, 8:19].repeat(4, axis=2) & (np.arange(44) < 30)
    whole, ends = (
        change_evidence(Image(middle[0], grid), Image(other, grid), brain).data for other in (middle[1], short)
    )
    assert np.abs(ends[:, :, 29]).max() < np.abs(whole[:, :, 29]).max() + 1


def test_noise_alone_has_a_standard_deviation_of_one():
    z = change_evidence(scan(seed=1), scan(seed=2), BRAIN).data[BRAIN]
    assert 0.85 < z.std() < 1.15
    assert abs(z.mean()) < 0.05
    assert (np.abs(z) > 4).mean() < 1e-3


def test_bias_and_contrast_leave_no_trace_in_a_whole_region():
    grey, inner = (RADIUS > 0.9) & (RADIUS < 0.96), (RADIUS > 0.35) & (RADIUS < 0.7)
    contrast = change_evidence(scan(seed=1, grey=1.12), scan(seed=2), BRAIN).data
    assert abs(contrast[grey].mean()) < 0.5
    assert abs(contrast[inner].mean()) < 0.2
    bias = change_evidence(scan(seed=1), scan(seed=2, bias=0.15), BRAIN).data
    for side in (X > 12, X < -12, Y > 15, Y < -15):
        assert abs(bias[inner & side].mean()) < 0.3


@pytest.mark.parametrize(("bias", "grey"), [(0.15, 1.2), (0.0, 1.32), (0.15, 1.32)])
def test_bias_and_contrast_of_the_scan_are_no_change(bias, grey):
    z = change_evidence(scan(seed=1), scan(seed=2, bias=bias, grey=grey), BRAIN).data[BRAIN]
    assert (np.abs(z) > 4).mean() < 5e-3
    raw = (scan(seed=2, bias=bias, grey=grey).data - scan(seed=1).data)[BRAIN] / (NOISE * np.sqrt(2))
    assert (np.abs(z) > 2.5).mean() < 0.5 * (np.abs(raw) > 2.5).mean()


def test_true_change_is_kept_under_bias_and_contrast():
    z = change_evidence(scan(OTHER, seed=1), scan(LESION, seed=2, bias=0.15, grey=1.32), BRAIN).data
    assert z[LESION].mean() > SEED_Z
    assert z[OTHER].mean() < -SEED_Z


def test_a_noisy_region_needs_more():
    rng, noisy_region = np.random.default_rng(4), Y > 15
    a, b = scan(seed=1), scan(LESION, seed=2)
    noisy = Image(b.data + np.where(noisy_region, 0.2, 0) * rng.normal(size=SHAPE), GRID)
    z = change_evidence(a, noisy, BRAIN, lesions=LESION).data
    assert z[BRAIN & (Y > 20)].std() < 1.5
    assert z[LESION].mean() > SEED_Z


def test_no_change_outside_the_brain_and_in_an_empty_brain():
    a, b = scan(seed=1), scan(LESION, seed=2)
    assert not change_evidence(a, b, BRAIN).data[~BRAIN].any()
    assert not change_evidence(a, b, np.zeros(SHAPE, dtype=bool)).data.any()


def test_images_on_different_grids_are_refused():
    other = Image(scan(seed=1).data, Grid(SHAPE, np.eye(4)))
    with pytest.raises(GridMismatchError, match="follow-up FLAIR"):
        change_evidence(scan(seed=1), other, BRAIN)


@pytest.mark.parametrize("turn", ["LPS", "PIR", "SAL"])
def test_results_do_not_depend_on_the_orientation(turn):
    a, b = scan(OTHER, seed=1), scan(LESION, seed=2)
    here = change_evidence(a, b, BRAIN)
    brain = LabelImage(BRAIN, GRID).reoriented(turn)
    there = change_evidence(a.reoriented(turn), b.reoriented(turn), brain.mask)
    np.testing.assert_array_equal(there.reoriented("RAS").data, here.data)


def test_changed_voxels_are_the_true_ones_and_exchange_with_the_visits():
    a, b = scan(OTHER, seed=1), scan(LESION, seed=2)
    z = change_evidence(a, b, BRAIN, lesions=LESION | OTHER)
    increase, decrease = changed_voxels(labels(OTHER), labels(LESION), flairs=(a, b), evidence=z)
    for found, truth in ((increase.mask, LESION), (decrease.mask, OTHER)):
        assert 2 * np.count_nonzero(found & truth) / (found.sum() + truth.sum()) > 0.85
    back = change_evidence(b, a, BRAIN, lesions=LESION | OTHER)
    swapped = changed_voxels(labels(LESION), labels(OTHER), flairs=(b, a), evidence=back)
    assert np.mean(swapped[0].mask != decrease.mask) < 1e-4
    assert np.mean(swapped[1].mask != increase.mask) < 1e-4


def test_a_change_reaches_a_little_beyond_a_mask_drawn_too_small_and_no_further():
    small, far = ball(14, 6, 2, 3.5), ball(-15, 20, 0, 5)
    a, b = scan(seed=1), scan(LESION, far, seed=2)
    z = change_evidence(a, b, BRAIN)
    increase, decrease = changed_voxels(labels(), labels(small), flairs=(a, b), evidence=z)
    assert increase.mask[LESION].mean() > 0.8
    assert not increase.mask[far].any()
    assert not decrease.mask.any()


def test_a_streak_of_change_ends_where_the_lesion_is_out_of_reach():
    streak = (np.abs(Y - 6) < 2.5) & (np.abs(Z - 2) < 1) & (X > -16) & (X < 16)
    a, b = scan(seed=1), scan(streak, seed=2)
    increase, _ = changed_voxels(
        labels(), labels(streak & (X > 8)), flairs=(a, b), evidence=change_evidence(a, b, BRAIN)
    )
    assert increase.mask[streak & (X > 8)].mean() > 0.8
    assert increase.mask[streak & (X > 6.5) & (X < 8)].mean() > 0.8
    assert not increase.mask[streak & (X < 5)].any()


def test_without_images_the_masks_decide():
    increase, decrease = changed_voxels(labels(OTHER), labels(LESION))
    assert np.array_equal(increase.mask, LESION)
    assert np.array_equal(decrease.mask, OTHER)


def events(before, after, flair_before, flair_after):
    visits = [
        VisitMasks(v, labels(m), flair=f)
        for v, m, f in (("wk00", before, flair_before), ("wk04", after, flair_after))
    ]
    tracking = track_subject(visits, labels(BRAIN), LesionRules(), {}).visits[1]
    return [record.t2_state for record in tracking.records], tracking


def test_a_border_drawn_differently_on_the_same_brain_is_no_event():
    wide = ball(14, 6, 2, 8)
    seen = (scan(LESION, seed=1), scan(LESION, seed=2))
    assert events(LESION, wide, None, None)[0] == [T2State.ENLARGING]
    states, tracking = events(LESION, wide, *seen)
    assert states == [T2State.STABLE]
    assert not any(m.mask.any() for m in tracking.masks.values())
    assert events(wide, LESION, *seen)[0] == [T2State.STABLE]
    # a lesion overlooked at one visit, in the image at both: not new, and without predecessor never stable
    assert events(labels().mask, LESION, *seen)[0] == [T2State.UNCHANGED_IMAGE]
    assert events(LESION, labels().mask, *seen)[0] == []


def test_true_events_are_seen_with_images():
    wide = ball(14, 6, 2, 8)
    assert events(LESION, wide, scan(LESION, seed=1), scan(wide, seed=2))[0] == [T2State.ENLARGING]
    assert events(wide, LESION, scan(wide, seed=1), scan(LESION, seed=2))[0] == [T2State.SHRINKING]
    assert events(labels().mask, LESION, scan(seed=1), scan(LESION, seed=2))[0] == [T2State.NEW]
    assert events(LESION, labels().mask, scan(LESION, seed=1), scan(seed=2))[0] == [T2State.VANISHED]


def test_the_boxes_that_are_worked_on_change_nothing():
    before, after = OTHER | LESION, ball(14, 6, 2, 8)
    seen = scan(before, seed=1), scan(after, seed=2, bias=0.1)
    _, tracking = events(before, after, *seen)
    z = change_evidence(*seen, BRAIN, lesions=before | after)
    rules = LesionRules()
    increase, decrease = changed_voxels(
        labels(before), labels(after), flairs=seen, evidence=z, min_volume_mm3=rules.enlarging_min_growth_mm3
    )
    np.testing.assert_array_equal(tracking.masks[MaskLabel.T2_INCREASE].mask, increase.mask)
    np.testing.assert_array_equal(tracking.masks[MaskLabel.T2_DECREASE].mask, decrease.mask | (OTHER & ~after))


def test_what_is_counted_without_masks_of_change_is_the_same():
    visits = [
        VisitMasks("wk00", labels(OTHER), gel=labels(OTHER), flair=scan(OTHER, seed=1)),
        VisitMasks("wk04", labels(OTHER, LESION), gel=labels(LESION), flair=scan(OTHER, LESION, seed=2)),
        VisitMasks("wk12", labels(LESION), black_holes=labels(LESION), flair=scan(LESION, seed=3)),
    ]
    arguments = visits, labels(BRAIN), LesionRules(), {"wk00": 0, "wk04": 4, "wk12": 12}
    counted = count_subject("X1", *arguments)
    assert counted == track_subject(*arguments).result("X1")
    assert [v.new_t2_count for v in counted.visits] == [None, 1, 0]


@pytest.mark.parametrize("radius_mm", [2.5, 3.0, 4.0])
def test_small_new_lesions_are_seen(radius_mm):
    spot = ball(14, 6, 2, radius_mm)
    found = [events(labels().mask, spot, scan(seed=s), scan(spot, seed=s + 50))[0] for s in range(5)]
    assert found == [[T2State.NEW]] * 5


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_binned_medians_are_numpys(seed, n_bins):
    rng = np.random.default_rng(seed)
    values, bins = rng.normal(scale=0.2, size=900).clip(-1, 1).astype(np.float32), rng.integers(0, n_bins, 900)
    found = binned_medians(values, bins, n_bins)
    for i in range(n_bins):
        if np.isfinite(found[i]):
            assert found[i] == pytest.approx(np.median(values[bins == i]), abs=1.1e-3)
        else:
            assert np.count_nonzero(bins == i) < 50


def test_noise_rises_with_the_gradient():
    rng = np.random.default_rng(0)
    gradient = np.broadcast_to(np.linspace(0, 0.5, SHAPE[0])[:, None, None], SHAPE).astype(np.float32)
    truth = 0.03 + 0.2 * gradient
    found = noise_by_gradient(
        (truth * rng.normal(size=SHAPE)).astype(np.float32), gradient, np.ones(SHAPE, dtype=bool)
    )
    np.testing.assert_allclose(found[5:-5], truth[5:-5], rtol=0.12)


@pytest.mark.parametrize("shape", [(9, 7, 5), (2, 1, 6)])
def test_the_gradient_is_that_of_numpy(shape):
    data = np.random.default_rng(3).random(shape, dtype=np.float32)
    spacing = np.array([0.9, 1.1, 3.0])
    slopes = [np.gradient(data, spacing[axis], axis=axis) for axis in range(3) if shape[axis] > 1]
    assert np.allclose(gradient_magnitude(data, spacing), np.linalg.norm(slopes, axis=0), rtol=1e-5)


def test_blocks_are_smoothed_as_scipy_does_and_read_between_their_centres():
    spacing = np.array([1.5, 1.5, 4.0])  # blocks of 4 x 4 x 2 voxels
    blocks = Blocks.of(BRAIN, spacing)
    row = np.random.default_rng(4).random(len(blocks.voxels), dtype=np.float32)
    image = blocks.image(row)
    whole = np.pad(image, [(0, -n % s) for n, s in zip(SHAPE, (4, 4, 2), strict=True)])
    sums = whole.reshape(18, 4, 21, 4, 11, 2).sum(axis=(1, 3, 5))
    expected = ndimage.gaussian_filter(sums, 18 / (spacing * (4, 4, 2)), mode="constant")
    found = blocks.smoothed(blocks.sums(blocks.block, row), 18)
    assert np.allclose(found, expected, rtol=1e-4)
    at = [(np.indices(SHAPE)[axis] + 0.5) / s - 0.5 for axis, s in enumerate((4, 4, 2))]
    between = ndimage.map_coordinates(expected, at, order=1, mode="nearest")
    assert np.allclose(blocks.at_voxels(found), between[BRAIN], rtol=1e-4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_small_new_lesion_is_seen_between_scans_that_do_not_align_exactly(seed):
    """Edges of the anatomy differ after registration. The border of a new lesion is in one scan only: no noise."""
    spot, gyri = ball(14, 6, 2, 2.5), 0.2 * (BRAIN & (Y < 0)) * np.sin(X / 1.5)

    def brain(shift, lesion, noise_seed):
        data = ndimage.shift(anatomy() + gyri, (shift, 0, 0), order=1, mode="nearest") + 0.45 * lesion
        return Image(data + NOISE * np.random.default_rng(noise_seed).normal(size=SHAPE), GRID)

    before, after = brain(0.0, labels().mask, seed), brain(1.0, spot, seed + 50)  # a voxel of 1.5 mm
    assert events(labels().mask, spot, before, after)[0] == [T2State.NEW]
    assert events(spot, labels().mask, after, before)[0] == [T2State.VANISHED]


def test_a_change_belongs_to_a_lesion_within_three_millimetres():
    """The diameter of the smallest lesion, whatever the spacing of the voxels."""
    grid = Grid((40, 5, 5), np.diag([0.4, 1.0, 1.0, 1.0]))
    mask, changed = np.zeros(grid.shape, dtype=bool), np.zeros(grid.shape, dtype=bool)
    mask[:10, 2, 2] = changed[:, 2, 2] = True  # the mask ends at voxel 9, the change goes on
    z = Image(np.where(changed, 5.0, 0.0).astype(np.float32), grid)
    flairs = tuple(Image(np.full(grid.shape, level, dtype=np.float32), grid) for level in (1.0, 1.4))
    increase, decrease = changed_voxels(
        LabelImage(np.zeros_like(mask), grid), LabelImage(mask, grid), flairs=flairs, evidence=z
    )
    assert np.flatnonzero(increase.mask[:, 2, 2]).tolist() == list(range(9 + 7 + 1))  # 2.8 mm
    assert not decrease.mask.any()
