"""The fast filters against those of scipy."""

import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.spatial import Grid, Image
from qc.planes import eroded, gradient, mean_at, second_difference, slices_first, smoothed

PLANE = np.random.default_rng(0).normal(500, 100, (37, 50)).astype(np.float32)
VOLUME = np.random.default_rng(1).normal(500, 100, (25, 31, 20)).astype(np.float32)


def test_the_gradient_is_that_of_sobel():
    expected = np.hypot(ndimage.sobel(PLANE, axis=0), ndimage.sobel(PLANE, axis=1))
    np.testing.assert_allclose(gradient(PLANE), expected, atol=1e-3)


def test_the_second_difference_is_that_of_both_axes():
    expected = ndimage.correlate1d(ndimage.correlate1d(PLANE, [1, -2, 1], axis=0), [1, -2, 1], axis=1)
    np.testing.assert_allclose(second_difference(PLANE), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(20, 30, 12), (1, 9, 9), (40, 50)])
def test_erosion(shape):
    mask = ndimage.binary_dilation(np.random.default_rng(2).random(shape) > 0.97, iterations=2)
    assert np.array_equal(eroded(mask), ndimage.binary_erosion(mask))
    assert np.array_equal(eroded(eroded(mask)), ndimage.binary_erosion(mask, iterations=2))


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 2, 7), (7, 10, 5)])
@pytest.mark.parametrize("step", [(1, 1, 1), (3, 2, 4)])
def test_the_mean_is_that_of_a_uniform_filter(size, step):
    expected = ndimage.uniform_filter(VOLUME, size)[:: step[0], :: step[1], :: step[2]]
    np.testing.assert_allclose(mean_at(VOLUME, size, step), expected, rtol=1e-5)


@pytest.mark.parametrize("sigma", [(0.7, 3.0, 20.0), (12.0, 0.4, 9.0)])
def test_smoothing_is_that_of_a_gaussian_filter(sigma):
    np.testing.assert_allclose(smoothed(VOLUME, sigma), ndimage.gaussian_filter(VOLUME, sigma), rtol=1e-5)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIL", "SAL"])
@pytest.mark.parametrize(("axis", "codes"), [(0, "RAS"), (1, "ARS"), (2, "SRA")])
def test_the_slices_come_first(orientation, axis, codes):
    spacing = np.ones(3)
    spacing[axis] = 3.0
    image = Image(VOLUME, Grid(VOLUME.shape, np.diag([*spacing, 1.0])))
    found = slices_first(image.reoriented(orientation))
    assert found.grid.orientation == codes
    assert found.data.flags.c_contiguous
    assert np.array_equal(found.data, np.moveaxis(VOLUME, axis, 0))
