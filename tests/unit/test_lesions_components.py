"""THE definition of a lesion: numbering, floor, connectivity, measures, and independence of the array's axes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.spatial import Grid, LabelImage
from mri_pipeline.lesions.components import (
    axial_axis,
    label_lesions,
    largest_axial_areas_cm2,
    lesion_centroids_mm,
    lesion_volumes_mm3,
    renumbered,
)

ANISOTROPIC = np.array([[0.9, 0, 0, -20], [0, 1.1, 0, 5], [0, 0, 3.0, 7], [0, 0, 0, 1.0]])


def grid_of(shape, affine=ANISOTROPIC):
    return Grid(shape, affine)


def masks(shape=(7, 6, 5)):
    return hnp.arrays(np.bool_, shape, elements=st.integers(0, 3).map(lambda v: v == 0))


@pytest.mark.parametrize(
    ("second", "connectivity", "expected"),
    [
        ((2, 1, 1), 1, 1),  # shares a face
        ((2, 2, 1), 1, 2),  # shares an edge
        ((2, 2, 1), 2, 1),
        ((2, 2, 2), 2, 2),  # shares a corner
        ((2, 2, 2), 3, 1),
        ((3, 1, 1), 3, 2),  # one voxel between
    ],
)
@pytest.mark.requirement("LESION-01")
def test_connectivity(second, connectivity, expected):
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[1, 1, 1] = mask[second] = True
    labels = label_lesions(mask, grid_of(mask.shape), min_volume_mm3=0, connectivity=connectivity)
    assert labels.data.max() == expected


@pytest.mark.requirement("LESION-01")
def test_a_volume_equal_to_the_floor_is_kept_and_one_voxel_less_is_not():
    mask = np.zeros((20, 3, 3), dtype=bool)
    mask[1:15, 1, 1] = True  # 14 mm3
    mask[16:19, 1, 1] = True
    unit = grid_of(mask.shape, np.eye(4))
    assert lesion_volumes_mm3(label_lesions(mask, unit, min_volume_mm3=14)) == {1: 14.0}
    mask[14, 1, 1] = False
    mask[1, 1, 1] = False
    assert lesion_volumes_mm3(label_lesions(mask, unit, min_volume_mm3=14)) == {}


def test_the_floor_stands_floating_point():
    mask = np.ones((7, 1, 1), dtype=bool)
    grid = grid_of(mask.shape, np.diag([0.1, 0.1, 0.3, 1.0]))
    assert label_lesions(mask, grid, min_volume_mm3=7 * 0.003).data.max() == 1


def test_numbers_go_by_volume_then_by_world_position():
    mask = np.zeros((12, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[5:8, 1, 1] = mask[10, 3, 3] = True
    assert label_lesions(mask, grid_of(mask.shape), min_volume_mm3=0).data[
        [0, 5, 10], [0, 1, 3], [0, 1, 3]
    ].tolist() == [
        2,
        1,
        3,
    ]
    mirrored = grid_of(mask.shape, np.diag([-1.0, 1, 1, 1]))  # the array's last voxel is now leftmost in the world
    assert label_lesions(mask, mirrored, min_volume_mm3=0).data[[0, 5, 10], [0, 1, 3], [0, 1, 3]].tolist() == [
        3,
        1,
        2,
    ]


def test_a_mask_of_the_whole_grid_is_one_lesion():
    mask = np.ones((3, 3, 3), dtype=bool)
    assert (label_lesions(mask, grid_of(mask.shape), min_volume_mm3=0).data == 1).all()


def test_an_empty_mask_has_no_lesion_and_no_measure():
    labels = label_lesions(np.zeros((4, 4, 4), dtype=bool), grid_of((4, 4, 4)), min_volume_mm3=14)
    assert not labels.mask.any()
    assert lesion_volumes_mm3(labels) == lesion_centroids_mm(labels) == largest_axial_areas_cm2(labels) == {}


@settings(max_examples=60, deadline=None)
@given(mask=masks(), floor=st.sampled_from([0.0, 3.0, 10.0]))
@pytest.mark.requirement("LESION-01")
def test_scipy_finds_the_same_lesions(mask, floor):
    grid = grid_of(mask.shape)
    labels = label_lesions(mask, grid, min_volume_mm3=floor)
    oracle, n = ndimage.label(mask, np.ones((3, 3, 3)))
    volumes = [np.count_nonzero(oracle == i) * 0.9 * 1.1 * 3 for i in range(1, n + 1)]
    expected = sorted((v for v in volumes if v >= floor - 1e-9), reverse=True)
    found = lesion_volumes_mm3(labels)
    assert list(found) == list(range(1, len(expected) + 1))
    np.testing.assert_allclose(list(found.values()), expected)
    centres = lesion_centroids_mm(labels)
    for label in found:
        index = ndimage.center_of_mass(labels.data == label)
        np.testing.assert_allclose(centres[label], grid.world(np.array([index]))[0])


@settings(max_examples=40, deadline=None)
@given(
    mask=masks(),
    turn=st.sampled_from(
        ["".join(c) for p in itertools.permutations(["RL", "AP", "SI"]) for c in itertools.product(*p)]
    ),
)
@pytest.mark.requirement("LESION-01")
def test_orientation_changes_neither_numbers_nor_measures(mask, turn):
    labels = label_lesions(mask, grid_of(mask.shape), min_volume_mm3=4.0)
    turned = LabelImage(mask, grid_of(mask.shape)).reoriented(turn)
    there = label_lesions(turned.mask, turned.grid, min_volume_mm3=4.0)
    assert np.array_equal(there.reoriented("RAS").data, labels.data)
    assert lesion_volumes_mm3(there) == lesion_volumes_mm3(labels)
    assert largest_axial_areas_cm2(there) == pytest.approx(largest_axial_areas_cm2(labels))
    for label, centre in lesion_centroids_mm(labels).items():
        np.testing.assert_allclose(lesion_centroids_mm(there)[label], centre, atol=1e-9)


def test_labels_in_any_order_get_the_same_numbers():
    mask = np.zeros((9, 9, 4), dtype=bool)
    mask[0:3, 0:3, 0] = mask[5:7, 5:7, 1] = mask[8, 0, 3] = True
    labels = label_lesions(mask, grid_of(mask.shape), min_volume_mm3=0)
    shuffled = LabelImage(np.array([0, 30, 10, 20])[labels.data], labels.grid)
    assert np.array_equal(renumbered(shuffled).data, labels.data)


def test_axial_area_lies_across_world_z_in_a_sagittal_scan():
    # axes: P, S, R with 5 mm sagittal slices; a lesion of 4 (P) x 6 (S) x 1 (R) voxels
    affine = np.array([[0, 0, 5.0, 0], [-1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    grid = Grid((8, 8, 3), affine)
    data = np.zeros(grid.shape, dtype=int)
    data[1:5, 1:7, 1] = 1
    assert axial_axis(grid) == 1
    assert largest_axial_areas_cm2(LabelImage(data, grid)) == {1: pytest.approx(4 * 5 / 100)}


def test_axial_area_of_an_oblique_grid():
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 1.0, 4.0])
    data = np.zeros((6, 6, 3), dtype=int)
    data[1:4, 1:5, 1] = 2
    assert largest_axial_areas_cm2(LabelImage(data, Grid(data.shape, affine))) == {2: pytest.approx(0.12)}


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["left", "back", "low"])
def test_of_two_equal_volumes_the_lesion_that_begins_first_has_the_lower_number(axis):
    """The long one begins first and ends last: only its first voxel may decide."""
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[0:6, 0, 0] = True  # 6 voxels in a row
    mask[1:4, 4:6, 0] = True  # 6 voxels in a block
    mask = np.moveaxis(mask, 0, axis)
    labels = label_lesions(mask, grid_of(mask.shape, np.eye(4)), min_volume_mm3=0)
    assert labels.data[0, 0, 0] == 1
    assert lesion_volumes_mm3(labels) == {1: 6.0, 2: 6.0}


def two_parts():
    mask = np.zeros((12, 12, 4), dtype=bool)
    mask[1:3, 1:3, 1] = True  # 4 voxels
    mask[5:11, 6, 1] = True  # 6 voxels in a row
    return ConnectedComponents.of(mask)


def test_selected_components_are_numbered_anew():
    parts = two_parts()
    kept = parts.selected(np.array([False, True]))
    assert kept.sizes.tolist() == [6]
    assert set(kept.number.tolist()) == {0}
    assert np.array_equal(kept.chosen(np.array([True])), parts.chosen(np.array([False, True])))
    assert parts.selected(np.array([False, False])).sizes.tolist() == []


def test_a_ring_surrounds_its_component_and_keeps_its_number():
    parts = two_parts()
    within = np.ones(parts.shape, dtype=bool)
    within[:, :, 3] = False
    ring = parts.ring(within, (1, 1, 1))
    assert ring.sizes.tolist() == [4 * 4 * 3 - 4, 8 * 3 * 3 - 6]
    assert not (ring.chosen(np.array([True, True])) & parts.chosen(np.array([True, True]))).any()
    assert ring.means(within.astype(np.float32)).tolist() == [1.0, 1.0]
    assert parts.ring(np.zeros(parts.shape, dtype=bool), (1, 1, 1)).means(within).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("turned", [False, True])
def test_a_voxel_in_two_rings_belongs_to_the_larger_component(turned):
    mask = np.zeros((7, 3, 3), dtype=bool)
    mask[1, 1, 1] = mask[3:5, 1, 1] = True
    if turned:
        mask = mask[::-1]
    parts = ConnectedComponents.of(mask)
    ring = parts.ring(np.ones(mask.shape, dtype=bool), (1, 1, 1))
    at = ring.number[ring.voxels == np.ravel_multi_index((4 if turned else 2, 1, 1), mask.shape)]
    assert parts.sizes[at].tolist() == [2]


def test_minimum_and_elongation_of_components():
    parts = two_parts()
    image = np.arange(np.prod(parts.shape), dtype=np.float32).reshape(parts.shape)
    assert parts.minima(image).tolist() == [image[1, 1, 1], image[5, 6, 1]]
    square, row = parts.elongations((1.0, 1.0, 1.0))
    assert square == pytest.approx(1)
    assert row == pytest.approx(6)
    assert parts.elongations((0.5, 1.0, 1.0))[1] == pytest.approx(3)
