"""Connected components of a mask: statistics and choice, against scipy on the whole array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from mri_pipeline.core.boxes import widened
from mri_pipeline.core.components import ConnectedComponents, structure

MASKS = hnp.arrays(np.bool_, (7, 6, 5), elements=st.integers(0, 3).map(lambda v: v == 0))


def test_centres_are_the_centres_of_mass():
    mask = np.zeros((6, 5, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 0, 0] = mask[4, 3, 2] = True
    parts = ConnectedComponents.of(mask)
    assert parts.centres().tolist() == [[0.5, 0, 0], [4, 3, 2]]


@settings(max_examples=30)
@given(MASKS, MASKS, st.sampled_from([1, 2, 3]))
def test_components_are_chosen_by_the_voxels_of_another_mask(mask, other, connectivity):
    parts = ConnectedComponents.of(mask, connectivity)
    labels, count = ndimage.label(mask, structure(connectivity))
    touched = [n for n in range(1, count + 1) if (other & (labels == n)).any()]
    mostly = [n for n in range(1, count + 1) if 2 * (other & (labels == n)).sum() > (labels == n).sum()]
    assert np.array_equal(parts.chosen(parts.sums(other) > 0), np.isin(labels, touched))
    assert np.array_equal(parts.chosen(parts.means(other) > 0.5), np.isin(labels, mostly))


@settings(max_examples=30)
@given(MASKS, st.sampled_from([1, 2, 3]))
def test_the_largest_component_is_the_first_of_equal_size(mask, connectivity):
    parts = ConnectedComponents.of(mask, connectivity)
    labels, count = ndimage.label(mask, structure(connectivity))
    sizes = [(labels == n).sum() for n in range(1, count + 1)]
    expected = labels == 1 + sizes.index(max(sizes)) if count else np.zeros_like(mask)
    assert np.array_equal(parts.highest(parts.sizes), expected)


@pytest.mark.parametrize("values", [[0.0, 2.0, 1.0], [-3.0, -1.0, -2.0]])
def test_the_highest_of_any_values_is_chosen(values):
    mask = np.zeros((5, 1, 1), dtype=bool)
    mask[::2] = True
    found = ConnectedComponents.of(mask).highest(np.array(values))
    assert np.flatnonzero(found).tolist() == [2]


def test_an_empty_mask_has_no_component_to_choose():
    parts = ConnectedComponents.of(np.zeros((4, 3, 2), dtype=bool))
    assert not parts.highest(parts.sizes).any()
    assert parts.highest(parts.sizes).shape == (4, 3, 2)
    assert not parts.chosen(parts.means(np.ones((4, 3, 2), dtype=bool)) > 0).any()


@settings(max_examples=30)
@given(MASKS, st.tuples(*[st.integers(0, 8)] * 3))
def test_a_mask_is_widened_by_a_box(mask, reach):
    assert np.array_equal(widened(mask, reach), ndimage.maximum_filter(mask, [2 * half + 1 for half in reach]))
    assert np.array_equal(widened(mask, (1, 1, 1)), ndimage.binary_dilation(mask, structure(3)))
