import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.phantom.fields import generator, paint_tube, polyline, smooth_field, upsample


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_upsampling_is_linear_interpolation(factor):
    coarse = np.random.default_rng(0).random((5, 4, 6)).astype(np.float32)
    shape = (13, 9, 17)
    index = np.indices(shape) / factor
    expected = ndimage.map_coordinates(coarse, index, order=1, mode="nearest")
    np.testing.assert_allclose(upsample(coarse, shape, factor), expected, atol=1e-5)


def test_a_smooth_field_has_unit_variance_and_the_smoothness_asked_for():
    field = smooth_field(generator(3), (80, 80, 60), sigma=6.0, spacing=2.0)
    assert field.shape == (80, 80, 60)
    assert 0.7 < field.std() < 1.2
    # white noise smoothed with sigma has correlation exp(-d²/(4 sigma²)) at distance d
    step = 4  # 8 mm
    correlation = np.corrcoef(field[:-step].ravel(), field[step:].ravel())[0, 1]
    assert correlation == pytest.approx(np.exp(-(8.0**2) / (4 * 6.0**2)), abs=0.12)


def test_equal_keys_give_equal_numbers_and_other_keys_others():
    assert np.array_equal(generator(1, 2).random(5), generator(1, 2).random(5))
    assert not np.array_equal(generator(1, 2).random(5), generator(2, 1).random(5))


@pytest.mark.parametrize("radius", [1.0, 2.0, 3.5])
def test_a_painted_ball_has_the_volume_of_a_ball(radius):
    fraction = np.zeros((20, 20, 20), dtype=np.float32)
    paint_tube(fraction, np.array([5.0, 5.0, 5.0]), np.array([[14.3, 14.1, 14.7]]), np.array([radius]))
    assert fraction.max() <= 1
    # half a voxel of soft edge rounds the volume up a little: exactly by pi r / 3
    assert fraction.sum() == pytest.approx(4 / 3 * np.pi * radius**3 + np.pi * radius / 3, rel=0.1)


def test_a_thin_vessel_fills_its_voxels_in_part_only():
    fraction = np.zeros((20, 20, 20), dtype=np.float32)
    line = np.stack([np.arange(2, 18, 0.5), np.full(32, 10.0), np.full(32, 10.0)], axis=1)
    paint_tube(fraction, np.zeros(3), line, np.full(32, 0.3))
    assert 0.1 < fraction.max() < 0.5


def test_a_ball_outside_the_grid_paints_nothing():
    fraction = np.zeros((5, 5, 5), dtype=np.float32)
    paint_tube(fraction, np.zeros(3), np.array([[40.0, 0, 0], [-20, -20, -20]]), np.array([2.0, 2.0]))
    assert not fraction.any()


def test_a_polyline_keeps_its_ends_and_carries_the_radius():
    curve = polyline(np.array([[0, 0, 0, 1.0], [10, 0, 0, 2.0], [10, 10, 0, 3.0]]))
    assert curve[0].tolist() == [0, 0, 0, 1]
    assert curve[-1].tolist() == [10, 10, 0, 3]
    assert np.linalg.norm(np.diff(curve[:, :3], axis=0), axis=1).max() < 1.0
