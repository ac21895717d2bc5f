"""Median and quantiles have the values of NumPy's functions, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mri_pipeline.core.robust import median, percentile, quantile

FLOATS = st.sampled_from([np.float32, np.float64])
TYPES = st.sampled_from([np.float32, np.float64, np.uint8, np.int16, np.bool_])
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9)
SHARES = st.floats(0, 1)


def values_of(dtype: type[np.generic], *, nan: bool = False) -> st.SearchStrategy[np.ndarray]:
    if np.issubdtype(dtype, np.floating):
        elements = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0, 2.0] + [np.nan] * nan)
        return arrays.arrays(dtype, SHAPES, elements=elements)
    return arrays.arrays(dtype, SHAPES)


def same(found: object, expected: object) -> None:
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(found, expected)


@given(TYPES.flatmap(values_of))
def test_median_is_that_of_numpy(values: np.ndarray) -> None:
    same(median(values), np.median(values))


@given(FLOATS.flatmap(values_of), SHARES)
def test_quantile_is_that_of_numpy(values: np.ndarray, share: float) -> None:
    same(quantile(values, share), np.quantile(values, share))
    same(percentile(values, 100 * share), np.percentile(values, 100 * share))


@given(FLOATS.flatmap(values_of), st.lists(SHARES, min_size=1, max_size=3))
def test_quantiles_are_those_of_numpy(values: np.ndarray, shares: list[float]) -> None:
    same(quantile(values, shares), np.quantile(values, shares))
    percent = tuple(100 * share for share in shares)
    same(percentile(values, percent), np.percentile(values, percent))


@given(FLOATS.flatmap(lambda dtype: values_of(dtype, nan=True)), SHARES)
def test_one_nan_gives_nan(values: np.ndarray, share: float) -> None:
    same(median(values), np.median(values))
    same(quantile(values, share), np.quantile(values, share))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [999, 1000, 100_001])
@pytest.mark.parametrize("levels", [3, 500, 10**7])
def test_large_images(dtype: type[np.floating], size: int, levels: int) -> None:
    values = np.random.default_rng(size).integers(0, levels, size).astype(dtype)
    before = values.copy()
    same(median(values), np.median(values))
    for percent in (0, 0.5, 5, 33, 99.95, 100):
        same(percentile(values, percent), np.percentile(values, percent))
    same(values, before)  # the image is not reordered
    same(median(values, reorder=True), np.median(before))
    same(np.sort(values), np.sort(before))


@pytest.mark.parametrize("shape", [(6, 5, 4), (1, 1), (2,)])
def test_any_order_of_axes(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).normal(size=shape)
    for order in (values, np.asfortranarray(values), values[::-1], values.T):
        same(median(order), np.median(values))
        same(quantile(order, 0.3), np.quantile(values, 0.3))


def test_no_values() -> None:
    with pytest.warns(RuntimeWarning):
        assert np.isnan(median(np.zeros(0)))
    with pytest.raises(IndexError):
        quantile(np.zeros(0), 0.5)


def test_the_middle_of_two_values_is_rounded_as_by_numpy() -> None:
    for low, high in np.random.default_rng(2).lognormal(0, 5, (300, 2)).astype(np.float32):
        same(quantile(np.array([low, high]), 0.5), np.quantile(np.array([low, high]), 0.5))
