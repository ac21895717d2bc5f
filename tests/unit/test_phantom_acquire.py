import itertools

import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.spatial import Affine, Grid, Image
from mri_pipeline.phantom.acquire import Quality, acquire, coil_sensitivity, excite, rigid


def _ball(centre, radius, shape=(60, 64, 56)):
    affine = np.eye(4)
    affine[:3, 3] = -30, -32, -28
    grid = Grid(shape, affine)
    distance = np.linalg.norm(grid.world(np.argwhere(np.ones(shape))) - centre, axis=1).reshape(shape)
    return Image(np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32), grid)


def _scan_grid(rotation, spacing, shape, signs=(-1, -1, 1)):
    base = np.diag([*(s * d for s, d in zip(signs, spacing, strict=True)), 1.0])
    base[:3, 3] = -base[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, rigid(rotation, (1.0, -2.0, 0.5)).matrix @ base)


@pytest.mark.parametrize(
    ("rotation", "signs"), [((0, 0, 0), (-1, -1, 1)), ((8, -5, 12), (1, 1, 1)), ((3, 20, 0), (-1, 1, -1))]
)
@pytest.mark.parametrize("pose", [Affine.identity(), rigid((4, -6, 9), (5, -3, 2))])
def test_what_lies_somewhere_in_the_head_is_seen_where_the_pose_puts_it(rotation, signs, pose):
    centre = np.array([6.0, -4.0, 3.0])
    grid = _scan_grid(rotation, (0.9, 0.9, 3.0), (64, 60, 22), signs)
    image = excite(_ball(centre, 6.0), grid, pose, slice_thickness_mm=3.0)
    seen = grid.world(np.array([ndimage.center_of_mass(image.data)]))[0]
    np.testing.assert_allclose(seen, pose.points(centre[None])[0], atol=0.1)


def test_signal_is_kept_where_slices_touch_and_lost_in_gaps():
    head = _ball(np.zeros(3), 10.0)
    volume = float(head.data.sum())
    touching = _scan_grid((5, 5, 5), (1.0, 1.0, 3.0), (60, 60, 20))
    full = excite(head, touching, Affine.identity(), slice_thickness_mm=3.0)
    assert float(full.data.sum()) * 3.0 == pytest.approx(volume, rel=0.02)
    # a thin sheet between two slices of a scan with gaps is not seen
    sheet = np.zeros(head.grid.shape, dtype=np.float32)
    sheet[:, :, 30] = 1.0  # z = 2
    gap = Grid((40, 40, 5), np.array([[1, 0, 0, -20], [0, 1, 0, -20], [0, 0, 4, -8], [0, 0, 0, 1.0]]))
    image = excite(Image(sheet, head.grid), gap, Affine.identity(), slice_thickness_mm=2.0)
    assert image.data[20, 20].max() < 0.05
    assert excite(Image(sheet, head.grid), gap, Affine.identity(), slice_thickness_mm=4.0).data[20, 20].max() > 0.1


def test_noise_is_rician():
    empty = Image(np.zeros((40, 40, 40), dtype=np.float32), Grid((40, 40, 40), np.eye(4)))
    grid = Grid((40, 40, 20), np.diag([1.0, 1.0, 2.0, 1.0]))
    rng = np.random.default_rng(1)
    noise = acquire(
        empty, grid, Affine.identity(), slice_thickness_mm=2.0, quality=Quality(snr=20), scale=500, rng=rng
    )
    sigma = 500 / 20
    assert noise.data.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.02)
    assert noise.data.std() == pytest.approx(sigma * np.sqrt(2 - np.pi / 2), rel=0.02)
    full = Image(np.ones((40, 40, 40), dtype=np.float32), empty.grid)
    quality = Quality(snr=20, bias=0.0)
    seen = acquire(full, grid, Affine.identity(), slice_thickness_mm=2.0, quality=quality, scale=500, rng=rng)
    inner = seen.data[5:-5, 5:-5, 5:-5]
    assert inner.mean() / inner.std() == pytest.approx(20, rel=0.05)


def test_the_coil_changes_brightness_smoothly_and_not_more_than_asked():
    grid = Grid((64, 64, 30), np.diag([3.0, 3.0, 5.0, 1.0]))
    field = coil_sensitivity(grid, 0.2, np.random.default_rng(2))
    assert field.max() <= 1.2 + 1e-6
    assert field.min() >= 1 / 1.2 - 1e-6
    assert max(field.max() - 1, 1 - field.min()) > 0.1
    assert np.abs(np.diff(field, axis=0)).max() < 0.03


def test_motion_leaves_ghosts():
    head, grid = _ball(np.zeros(3), 12.0), _scan_grid((0, 0, 0), (1.0, 1.0, 3.0), (60, 64, 10))
    images = [
        acquire(
            head,
            grid,
            Affine.identity(),
            slice_thickness_mm=3.0,
            quality=Quality(snr=1e6, motion_mm=motion),
            scale=1.0,
            rng=np.random.default_rng(3),
        )
        for motion in (0.0, 6.0)
    ]
    outside = [float(np.square(image.data[:, :12]).mean()) for image in images]
    assert outside[1] > 100 * max(outside[0], 1e-9)


def test_rotations_follow_the_right_hand_rule():
    for axis, (x, y) in enumerate([(1, 2), (2, 0), (0, 1)]):
        angles = tuple(90.0 if i == axis else 0.0 for i in range(3))
        start, end = np.eye(3)[x], np.eye(3)[y]
        np.testing.assert_allclose(rigid(angles, (0, 0, 0)).points(start[None])[0], end, atol=1e-12)
    for turn in itertools.product((-10, 20), repeat=3):
        matrix = rigid(turn, (1, 2, 3)).matrix[:3, :3]
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1.0)
