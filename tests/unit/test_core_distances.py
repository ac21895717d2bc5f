"""Distances to a mask, against the transform of scipy."""

import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.distances import (
    ROUNDING_MM,
    deeper_than,
    depth_within,
    depths_within,
    distance_to,
    within_reach,
)

SPACINGS = [(1.0, 1.0, 1.0), (0.72, 0.9, 3.0)]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("shape", [(23, 17, 9), (12, 30, 1), (1, 1, 8)])
def test_distances_equal_those_of_scipy(shape, share, spacing):
    mask = np.random.default_rng(5).random(shape) < share
    mask.flat[0], mask.flat[-1] = True, False
    expected = ndimage.distance_transform_edt(~mask, sampling=spacing)
    np.testing.assert_allclose(distance_to(mask, spacing), expected, atol=6e-5)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_depth_counts_no_edge_of_the_grid_as_surface(spacing):
    mask = ndimage.binary_dilation(np.random.default_rng(6).random((15, 20, 12)) > 0.99, iterations=4)
    expected = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"), sampling=spacing)[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(depth_within(mask, spacing), expected, atol=6e-5)


def test_each_mask_has_its_own_depth_and_equal_masks_are_measured_once():
    first, second = (ndimage.binary_dilation(np.random.default_rng(n).random((9, 8, 7)) > 0.9) for n in (1, 2))
    depths = depths_within([first, second, first.copy()], SPACINGS[1])
    for mask, depth in zip((first, second, first), depths, strict=True):
        assert np.array_equal(depth, depth_within(mask, SPACINGS[1]))
    assert depths[2] is depths[0]
    with pytest.raises(ValueError, match="read-only"):
        depths[0][:] = 0


@pytest.mark.parametrize("spacing", [(0.4, 0.4, 2.0), (0.72, 0.9, 3.0), (1.0000001,) * 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reach", [1.0, 2.0, 3.6, 4.0, 5.0])
def test_a_voxel_at_a_limit_is_on_one_side_of_it_whatever_the_direction_of_the_axes(spacing, axis, reach):
    mask = np.random.default_rng(7).random((40, 50, 12)) > 0.995
    near = distance_to(mask, spacing) <= reach
    assert np.array_equal(np.flip(distance_to(np.flip(mask, axis), spacing) <= reach, axis), near)


def test_no_axis_is_exchanged():
    mask = np.zeros((3, 4, 5), dtype=bool)
    mask[0, 0, 0] = True
    far = distance_to(mask, (2.0, 3.0, 5.0))
    assert (far[2, 0, 0], far[0, 3, 0], far[0, 0, 4]) == (4.0, 9.0, 20.0)


def test_an_empty_mask_is_infinitely_far():
    nothing = np.zeros((2, 3, 4), dtype=bool)
    assert np.isinf(distance_to(nothing, (1.0, 1.0, 1.0))).all()
    assert np.isinf(depth_within(~nothing, (1.0, 1.0, 1.0))).all()
    assert not depth_within(nothing, (1.0, 1.0, 1.0)).any()


@pytest.mark.parametrize("spacing", [(0.9, 1.0, 3.0), (2.0, 2.0, 2.0), (3.0, 5.0, 0.7), (np.inf, 1.0, 1.0)])
@pytest.mark.parametrize("depth", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("shape", [(20, 31, 18), (4, 1, 3)])
def test_deeper_voxels_are_those_of_scipy(shape, depth, spacing):
    mask = ndimage.binary_dilation(np.random.default_rng(8).random(shape) > 0.98, iterations=4)
    mask[:, 0, 0] = False
    if np.isinf(spacing[0]):
        expected = np.stack([ndimage.distance_transform_edt(m, sampling=spacing[1:]) > depth for m in mask])
    else:
        expected = ndimage.distance_transform_edt(mask, sampling=spacing) > depth
    assert np.array_equal(deeper_than(mask, depth, spacing), expected)


@pytest.mark.parametrize("spacing", [(0.9, 1.0, 3.0), (2.0, 2.0, 2.0), (3.0, 5.0, 0.7), (1.0 + 1e-7, 1.0, 1.0)])
@pytest.mark.parametrize("reach", [0.5, 2.0, 6.0])
def test_voxels_within_reach_are_those_of_scipy_and_of_the_rounded_distance(reach, spacing):
    mask = np.random.default_rng(9).random((20, 31, 18)) > 0.995
    assert np.array_equal(
        within_reach(mask, reach, spacing), ndimage.distance_transform_edt(~mask, sampling=spacing) <= reach
    )
    assert np.array_equal(within_reach(mask, reach + ROUNDING_MM, spacing), distance_to(mask, spacing) <= reach)
    assert np.array_equal(deeper_than(~mask, reach - ROUNDING_MM, spacing), depth_within(~mask, spacing) >= reach)


def test_nothing_is_within_reach_of_an_empty_mask():
    assert not within_reach(np.zeros((4, 5, 6), dtype=bool), 3.0, (1.0, 1.0, 1.0)).any()


@pytest.mark.parametrize("centre", [(7.0, 8.0, 6.0), (0.0, 8.0, 12.0)])
def test_the_depth_is_measured_in_the_box_of_the_mask_as_in_the_whole_grid(centre):
    ball = np.linalg.norm(np.indices((16, 18, 13)) - np.reshape(centre, (3, 1, 1, 1)), axis=0) < 5
    ball[tuple(int(c) for c in centre)] = False
    assert np.array_equal(depth_within(ball, (0.9, 1.0, 3.0)), distance_to(~ball, (0.9, 1.0, 3.0)))
