"""Resampling: exact copies, known intensities, preserved volumes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.registration.labels import label_fraction, resample_labels
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.images.resample import (
    covered,
    resample,
    resample_nearest,
)


def rigid(shift=(0.0, 0.0, 0.0), degrees=(0.0, 0.0, 0.0)) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return Affine(matrix)


def wave(points: np.ndarray) -> np.ndarray:
    """A smooth function of the world: what every grid should show at its own places."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 100 + 20 * np.sin(x / 9) + 15 * np.cos(y / 11 + 0.3) + 10 * np.sin(z / 13 - 0.5)


def world(grid: Grid) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return grid.world(index.reshape(-1, 3).astype(float)).reshape(*grid.shape, 3)


def centred(shape, spacing, orientation="RAS", degrees=(0, 0, 0)) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Image(np.zeros(shape, dtype=np.float32), Grid(shape, affine)).reoriented(orientation).grid


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "LPS", "ASR"])
def test_the_same_world_whatever_the_storage(orientation):
    source = centred((40, 44, 20), (1.5, 1.5, 3.0), orientation)
    image = Image(wave(world(source)), source)
    target = centred((24, 25, 26), (1.2, 1.1, 1.3), degrees=(10, -20, 15))
    moved = rigid((3, -2, 4), (4, 6, -8))
    expected = wave(moved.inverse().points(world(target).reshape(-1, 3)).reshape(*target.shape, 3))
    assert np.abs(resample(image, target, moved).data - expected).max() < 0.6
    assert np.abs(resample(image, target, moved).data - expected).mean() < 0.05


def test_identity_copies_every_voxel():
    grid = centred((12, 13, 14), (0.7, 0.7, 3))
    image = Image(np.random.default_rng(0).random(grid.shape), grid)
    assert np.array_equal(resample(image, grid).data, image.data)
    turned = image.reoriented("LPS")
    assert np.array_equal(resample(turned, grid).data, image.data)


def test_cubic_is_nearer_to_the_truth_than_linear():
    source = centred((48, 48, 24), (2.0, 2.0, 3.0))
    fine = centred((40, 40, 40), (1.0, 1.0, 1.0))

    def detail(p):
        return wave(p * 3)

    image = Image(detail(world(source)), source)
    error = {
        order: np.abs(resample(image, fine, order=order).data - detail(world(fine))).mean() for order in (1, 3)
    }
    assert error[3] < 0.5 * error[1]


def test_a_larger_voxel_averages_detail():
    source = centred((64, 64, 8), (1, 1, 3))
    checks = (np.indices(source.shape).sum(axis=0) % 2).astype(np.float32)
    coarse = centred((14, 14, 6), (4, 4, 3))
    inner = resample(Image(checks, source), coarse).data[2:-2, 2:-2, 1:-1]
    assert np.abs(inner - 0.5).max() < 0.05


def test_outside_the_source_is_outside():
    grid = centred((10, 10, 10), (1, 1, 1))
    image = Image(np.full(grid.shape, 5.0), grid)
    shifted = resample(image, grid, rigid((4, 0, 0)), outside=-1)
    assert np.all(shifted.data[:4] == -1)
    assert np.allclose(shifted.data[4:], 5)
    assert covered(image, grid, rigid((4, 0, 0))).data.sum() == 600


@given(
    shift=st.tuples(*[st.floats(-3, 3)] * 3),
    degrees=st.tuples(*[st.floats(-12, 12)] * 3),
    spacing=st.sampled_from([(1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (1.0, 1.0, 4.0), (2.0, 2.0, 2.0)]),
)
@settings(max_examples=20)
def test_volume_is_kept(shift, degrees, spacing):
    source = centred((40, 40, 14), (0.9, 0.9, 3.0))
    centre = np.linalg.norm(world(source) - (2, -3, 1), axis=-1)
    labels = LabelImage((centre < 9).astype(np.uint8), source)
    extent = [int(48 / s) for s in spacing]
    target = centred(tuple(extent), spacing)
    shares = label_fraction(labels, target, rigid(shift, degrees))
    assert 0 <= shares.data.min() <= shares.data.max() <= 1 + 1e-6
    volume = float(shares.data.sum()) * target.voxel_volume_mm3
    assert volume == pytest.approx(labels.volume_mm3, rel=0.03)
    kept = resample_labels(labels, target, rigid(shift, degrees))
    assert kept.volume_mm3 == pytest.approx(volume, abs=0.51 * target.voxel_volume_mm3)


def test_several_labels_keep_their_names_and_do_not_overlap():
    source = centred((30, 30, 12), (1, 1, 3))
    data = np.zeros(source.shape, dtype=np.int32)
    data[5:12, 5:12, 3:6], data[12:20, 5:12, 3:6] = 7, 300
    there = resample_labels(
        LabelImage(data, source), centred((40, 40, 30), (0.8, 0.8, 1.2)), rigid((0.3, 0.2, 0.1))
    )
    assert set(np.unique(there.data)) == {0, 7, 300}
    for label in (7, 300):
        expected = np.count_nonzero(data == label) * source.voxel_volume_mm3
        assert np.count_nonzero(there.data == label) * there.grid.voxel_volume_mm3 == pytest.approx(
            expected, rel=0.06
        )


def test_an_empty_label_image_stays_empty():
    grid = centred((9, 9, 9), (1, 1, 1))
    empty = LabelImage(np.zeros(grid.shape, dtype=np.uint8), grid)
    assert not resample_labels(empty, grid).mask.any()
    assert not resample_nearest(empty, grid).mask.any()


def test_there_and_back_by_the_inverse():
    grid = centred((40, 40, 40), (1, 1, 1))
    image = Image(wave(world(grid)), grid)
    move = rigid((2.5, -1.5, 0.7), (5, -3, 8))
    back = resample(resample(image, grid, move), grid, move.inverse()).data[10:-10, 10:-10, 10:-10]
    assert np.abs(back - image.data[10:-10, 10:-10, 10:-10]).max() < 0.05


def test_detail_is_cubic_where_asked_for_and_linear_elsewhere():
    rng = np.random.default_rng(8)
    source = Image(
        ndimage.gaussian_filter(rng.random((40, 44, 20)), 1.0), Grid((40, 44, 20), np.diag([1, 1, 3, 1.0]))
    )
    turned, detail = rigid(degrees=(3, -2, 4)), np.zeros(source.grid.shape, dtype=bool)
    detail[10:30, 12:30, 4:15] = True
    mixed, cubic, linear = (
        resample(source, source.grid, turned, **options).data for options in ({"detail": detail}, {}, {"order": 1})
    )
    assert np.allclose(mixed[detail], cubic[detail], atol=1e-6)
    assert np.array_equal(mixed[~detail], linear[~detail])
    assert np.abs(cubic - linear)[detail].max() > 0.01
