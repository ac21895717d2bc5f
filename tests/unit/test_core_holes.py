"""Holes are those of scipy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from mri_pipeline.core.holes import filled

MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=8))


@given(MASKS, st.integers(0, 2**32 - 1), st.floats(0.3, 0.95))
def test_holes_are_those_of_scipy(mask: np.ndarray, seed: int, share: float) -> None:
    for one in (mask, np.random.default_rng(seed).random(mask.shape) < share):
        before = one.copy()
        assert np.array_equal(filled(one), ndimage.binary_fill_holes(one))
        assert np.array_equal(one, before)


def test_the_hole_of_a_ball_and_the_bay_of_a_cup() -> None:
    ball = np.linalg.norm(np.indices((15, 15, 15)) - 7.0, axis=0) < 6
    ball[7, 7, 7] = False
    cup = ball.copy()
    cup[7, 7, 7:] = False
    assert filled(ball)[7, 7, 7]
    assert np.array_equal(filled(cup), cup)
