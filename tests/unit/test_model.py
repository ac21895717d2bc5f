"""Grids, images, transforms: orientation, identity, and what is refused."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri_pipeline.core.errors import GridMismatchError, ImageError
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages, week_of

ORIENTATIONS = ["RAS", "LAS", "LPS", "ASL", "SPR"]


def oblique_grid(shape=(7, 8, 5)):
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.9, 0.9, 3.0])
    affine[:3, 3] = [-20, 11, 5]
    return Grid(shape, affine)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_reorienting_moves_no_voxel_in_the_world(orientation):
    grid = oblique_grid()
    data = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)
    turned = Image(data, grid).reoriented(orientation)
    assert turned.grid.orientation == orientation
    for index in [(0, 0, 0), (3, 2, 1), (6, 7, 4)]:
        world = grid.world(np.array([index]))
        back = np.linalg.inv(turned.grid.affine) @ np.append(world[0], 1)
        assert turned.data[tuple(np.rint(back[:3]).astype(int))] == data[index]
    again = turned.reoriented(grid.orientation)
    assert np.array_equal(again.data, data)
    assert again.grid.same_as(grid)


def test_same_grid_allows_single_precision_and_nothing_more():
    grid = oblique_grid()
    single = Grid(grid.shape, grid.affine.astype(np.float32))
    moved = grid.affine.copy()
    moved[0, 3] += 0.5
    assert grid.same_as(single)
    assert not grid.same_as(Grid(grid.shape, moved))
    with pytest.raises(GridMismatchError, match=r"mask: expected the grid 7 x 8 x 5 voxels of .* found 7 x 8 x 6"):
        grid.require_same(oblique_grid((7, 8, 6)), "mask")
    with pytest.raises(GridMismatchError, match=r", up to 0\.5 mm elsewhere"):
        grid.require_same(Grid(grid.shape, moved), "mask")


def test_spacing_volume_and_slice_axis():
    grid = oblique_grid()
    assert grid.spacing_mm == pytest.approx((0.9, 0.9, 3.0))
    assert grid.voxel_volume_mm3 == pytest.approx(0.9 * 0.9 * 3.0)
    assert grid.slice_axis == 2
    assert Grid((4, 4, 4), np.diag([3.0, 1, 1, 1])).slice_axis == 0
    assert Grid((4, 4, 4), np.eye(4)).slice_axis == 2


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)])
def test_an_affine_that_cannot_be_is_refused(affine):
    with pytest.raises(ImageError, match="invertible 4 x 4 affine"):
        Grid((2, 2, 2), affine)


def test_labels_are_whole_numbers_and_fit_their_grid():
    grid = oblique_grid()
    with pytest.raises(ImageError, match="integer labels"):
        LabelImage(np.zeros(grid.shape), grid)
    with pytest.raises(GridMismatchError, match="array of shape"):
        Image(np.zeros((2, 2, 2), np.float32), grid)
    assert LabelImage(np.ones(grid.shape, bool), grid).volume_mm3 == pytest.approx(280 * 0.81 * 3)


@given(st.lists(st.floats(-50, 50), min_size=6, max_size=6))
def test_a_transform_and_its_inverse_are_the_identity(parameters):
    rotation = nib.eulerangles.euler2mat(*np.deg2rad(parameters[:3]))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, parameters[3:]
    transform = Affine(matrix)
    points = np.array([[1.0, 2, 3], [-60, 40, 10]])
    assert np.allclose((transform.inverse() @ transform).points(points), points, atol=1e-9)
    assert np.allclose((transform @ transform).points(points), transform.points(transform.points(points)))


def test_a_visit_needs_flair_on_the_grid_of_its_brain():
    grid = oblique_grid()
    image, brain = Image(np.ones(grid.shape, np.float32), grid), LabelImage(np.ones(grid.shape, np.uint8), grid)
    with pytest.raises(ImageError, match="expected a FLAIR image, found none"):
        VisitImages({Contrast.T1W: image}, brain)
    other = Image(np.ones((3, 3, 3), np.float32), Grid((3, 3, 3), np.eye(4)))
    with pytest.raises(GridMismatchError, match="T1w: expected the grid"):
        VisitImages({Contrast.FLAIR: image, Contrast.T1W: other}, brain)


def test_week_of_a_label():
    assert [week_of(v) for v in ("wk00", "wk48", "week4", "1", "wk")] == [0, 48, None, None, None]
