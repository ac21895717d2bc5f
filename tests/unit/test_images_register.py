"""Registration: known motions are recovered in every orientation, and failures are recognised."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.registration.heads import distance_mm
from benchmarks.registration.labels import resample_labels
from mri_pipeline.core.errors import GridMismatchError, UsageError
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.nifti import load_image, load_labels
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.images.agreement import agreement
from mri_pipeline.images.joint_density import refine_rigid, same_voxel_lattice, widened
from mri_pipeline.images.midway import mean_affine, midway
from mri_pipeline.images.register import RegisterSettings, RegistrationMethod, register_rigid
from mri_pipeline.images.resample import resample
from mri_pipeline.images.sampling import downsample, level_of, samples_of, smoothed_box, values_and_gradients
from mri_pipeline.images.subject_grid import subject_grid

TOLERANCE_MM = RegisterSettings().sharp_tolerance_mm


def rigid(shift=(0.0, 0.0, 0.0), degrees=(0.0, 0.0, 0.0)) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return Affine(matrix)


@pytest.fixture(scope="module")
def head() -> dict[str, Image]:
    """The template as two contrasts at 2 mm: a T1 and a FLAIR-like image, with some texture of their own."""
    template = load_template()
    grid = Grid((90, 110, 90), np.array([[2.0, 0, 0, -89], [0, 2, 0, -125], [0, 0, 2, -70], [0, 0, 0, 1]]))
    brain = resample(Image(template.brain.mask.astype(np.float32), template.brain.grid), grid, order=1).data
    grey = resample(template.grey_matter, grid, order=1).data
    white = resample(template.white_matter, grid, order=1).data
    noise = np.random.default_rng(3).standard_normal((2, *grid.shape)).astype(np.float32)
    return {
        "t1": Image(300 * white + 200 * grey + 60 * brain + 8 * noise[0], grid),
        "flair": Image(200 * white + 260 * grey + 30 * brain + 8 * noise[1], grid),
        "mask": Image(brain, grid),
    }


def scan(
    image: Image, move: Affine, *, spacing=(1.0, 1.0, 3.0), orientation="RAS", seed=0
) -> tuple[Image, Affine]:
    """The head after a motion, as slices of another grid; returns image and the way from the head to it."""
    extent = np.array((190.0, 226.0, 186.0))
    shape = tuple(int(n) for n in extent / spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = move.points(np.array([[0.0, -18, 8]]))[0] - (np.array(shape) - 1) / 2 * spacing
    moved = resample(image, Grid(shape, affine), move, order=1)
    noise = np.random.default_rng(seed).standard_normal(shape) * 6
    return Image(moved.data + noise, moved.grid).reoriented(orientation), move


def brain_of(head, grid: Grid, move: Affine) -> LabelImage:
    return LabelImage(resample(head["mask"], grid, move, order=1).data > 0.5, grid)


@pytest.mark.parametrize(
    ("orientation", "same", "limit"),
    [("RAS", True, 0.1), ("LPS", False, 0.15), ("LAS", True, 0.1), ("PSR", False, 0.15)],
)
@pytest.mark.requirement("IMAGE-01")
def test_known_motion_is_found(head, orientation, same, limit):
    fixed, to_fixed = scan(head["flair"], rigid((3, -5, 2), (2, 0, -3)), orientation="RAS", seed=1)
    moving, to_moving = scan(
        head["flair" if same else "t1"],
        rigid((-6, 8, -4), (-6, 5, 8)),
        orientation=orientation,
        spacing=(1.2, 1.2, 2.5),
    )
    mask = brain_of(head, fixed.grid, to_fixed)
    found = register_rigid(fixed, moving, intra_modal=same, fixed_mask=mask)
    truth = to_moving @ to_fixed.inverse()
    assert not found.failed
    assert found.quality > 0.4
    assert distance_mm(found.moving_to_fixed.inverse(), truth, mask) < limit


def test_a_position_far_off_is_found(head):
    fixed, to_fixed = scan(head["flair"], rigid(), seed=1)
    moving, to_moving = scan(head["flair"], rigid((50, -55, 60), (25, -20, 28)), seed=2)
    mask = brain_of(head, fixed.grid, to_fixed)
    found = register_rigid(fixed, moving, intra_modal=True, fixed_mask=mask)
    assert not found.failed
    assert distance_mm(found.moving_to_fixed.inverse(), to_moving @ to_fixed.inverse(), mask) < 0.3


@pytest.mark.parametrize("mm", [4.0, 13.0])
def test_a_displaced_start_is_refined_to_the_end(head, mm):
    fixed, to_fixed = scan(head["flair"], rigid(), seed=1)
    moving, to_moving = scan(head["t1"], rigid((2, 3, -2), (3, -2, 4)), seed=2)
    mask = brain_of(head, fixed.grid, to_fixed)
    truth = to_moving @ to_fixed.inverse()
    start = truth @ rigid((0, mm, 0))
    found = refine_rigid(
        fixed, moving, widened(mask, 3.0), start, spacing_mm=2.0, max_points=25_000, tolerance_mm=TOLERANCE_MM
    )
    assert distance_mm(found, truth, mask) < 0.2


@pytest.mark.parametrize("orientation", ["LAS", "LIA", "PSR"])
def test_the_way_of_storage_changes_nothing(head, orientation):
    fixed, to_fixed = scan(head["flair"], rigid((0, 2, 3), (3, 0, 0)), seed=1)
    moving, _ = scan(head["t1"], rigid((4, -3, 1), (0, 5, -4)), spacing=(1.2, 1.2, 2.5), seed=2)
    mask = brain_of(head, fixed.grid, to_fixed)
    found = register_rigid(fixed, moving, intra_modal=False, fixed_mask=mask).moving_to_fixed.inverse()
    pairs = [
        (fixed, moving.reoriented(orientation), mask),
        (fixed.reoriented(orientation), moving, mask.reoriented(orientation)),
    ]
    for one, other, where in pairs:
        again = register_rigid(one, other, intra_modal=False, fixed_mask=where)
        assert distance_mm(again.moving_to_fixed.inverse(), found, mask) < 0.05


def test_there_and_back_agree(head):
    one, to_one = scan(head["flair"], rigid((0, 2, 3), (3, 0, 0)), seed=1)
    other, to_other = scan(head["flair"], rigid((4, -3, 1), (0, 5, -4)), seed=2)
    masks = [brain_of(head, image.grid, way) for image, way in ((one, to_one), (other, to_other))]
    there = register_rigid(one, other, intra_modal=True, fixed_mask=masks[0])
    back = register_rigid(other, one, intra_modal=True, fixed_mask=masks[1])
    assert distance_mm(there.moving_to_fixed.inverse(), back.moving_to_fixed, masks[0]) < 0.05


def test_with_both_masks_the_backward_registration_is_the_inverse(head):
    """Masks that differ as those of two visits do: one misses what the other holds."""
    one, to_one = scan(head["flair"], rigid((0, 2, 3), (3, 0, 0)), seed=1)
    other, to_other = scan(head["flair"], rigid((4, -3, 1), (0, 5, -4)), seed=2)
    masks = [brain_of(head, image.grid, way) for image, way in ((one, to_one), (other, to_other))]
    masks[0].data[:, :, :20] = 0
    masks[1] = LabelImage(ndimage.binary_dilation(masks[1].mask, iterations=3), other.grid)
    there = register_rigid(one, other, intra_modal=True, fixed_mask=masks[0], moving_mask=masks[1])
    back = register_rigid(other, one, intra_modal=True, fixed_mask=masks[1], moving_mask=masks[0])
    assert distance_mm(there.moving_to_fixed.inverse(), back.moving_to_fixed, masks[0]) < 0.005


def test_the_inverse_registration_uses_the_same_points(head):
    """With few points of many: drawn anew for each way, they would differ by 0.06 mm."""
    one, to_one = scan(head["flair"], rigid((0, 2, 3), (3, 0, 0)), spacing=(0.5, 0.5, 3.0), seed=1)
    other, to_other = scan(head["t1"], rigid((4, -3, 1), (0, 5, -4)), seed=2)
    masks = [brain_of(head, image.grid, way) for image, way in ((one, to_one), (other, to_other))]
    truth = to_other @ to_one.inverse()
    there, back = (
        refine_rigid(
            fixed, moving, widened(mask, 3.0), start, spacing_mm=1.0, max_points=2_000, tolerance_mm=TOLERANCE_MM
        )
        for fixed, moving, mask, start in ((one, other, masks[0], truth), (other, one, masks[1], truth.inverse()))
    )
    assert distance_mm(there, back.inverse(), masks[0]) < 0.03


@pytest.mark.parametrize("corner", [(-20.0, -13.0, 4.0), (-19.4, -12.1, 6.0)])
def test_a_box_has_the_voxels_of_the_whole(head, corner):
    image, _ = scan(head["t1"], rigid(), spacing=(0.5, 0.5, 3.0))
    whole = downsample(image, 1.0)
    box = smoothed_box(image, 1.0, np.array([corner, (30.0, 20.0, 40.0)]))
    index = np.linalg.solve(whole.grid.affine, box.grid.affine @ [0, 0, 0, 1])
    assert np.allclose(box.grid.spacing_mm, whole.grid.spacing_mm)
    assert np.allclose(index, np.rint(index), atol=1e-6)


@pytest.mark.parametrize(("shift_mm", "told"), [(0.0, False), (0.004, False), (0.2, True)])
def test_only_a_motion_that_can_be_told_is_a_motion(head, shift_mm, told):
    fixed, move = scan(head["flair"], rigid((0, 2, 3), (3, 0, 0)), seed=1)
    way = rigid((shift_mm, 0, 0))
    moving = Image(fixed.data, Grid(fixed.grid.shape, way.matrix @ fixed.grid.affine))
    mask = brain_of(head, fixed.grid, move)
    found = register_rigid(fixed, moving, intra_modal=True, fixed_mask=mask).moving_to_fixed.inverse()
    assert np.array_equal(found.matrix, np.eye(4)) != told
    assert distance_mm(found, way, mask) < 0.03


def test_three_visits_agree(head):
    moves = [rigid((0, 2, 3), (3, 0, 0)), rigid((4, -3, 1), (0, 5, -4)), rigid((-3, 0, 6), (-4, -2, 5))]
    scans = [scan(head["flair"], move, seed=k)[0] for k, move in enumerate(moves)]
    masks = [brain_of(head, image.grid, move) for image, move in zip(scans, moves, strict=True)]

    def way(fixed, moving):
        found = register_rigid(scans[fixed], scans[moving], intra_modal=True, fixed_mask=masks[fixed])
        return found.moving_to_fixed.inverse()

    assert distance_mm(way(1, 2) @ way(0, 1), way(0, 2), masks[0]) < 0.05


def test_quality_falls_as_a_match_is_left(head):
    fixed, to_fixed = scan(head["flair"], rigid(), seed=1)
    moving, to_moving = scan(head["t1"], rigid((2, 3, -2), (3, -2, 4)), seed=2)
    samples = samples_of(fixed, 2.0, mask=brain_of(head, fixed.grid, to_fixed), max_points=60_000)
    truth = to_moving @ to_fixed.inverse()
    quality = [agreement(samples, level_of(moving, 2.0), truth @ rigid((mm, 0, 0))) for mm in (0, 3, 8)]
    assert quality[0] > 0.7
    assert max(quality[1:]) < 0.2


def test_gradient_is_that_of_the_interpolation():
    affine = np.array([[0, -1, 0.1, 3], [2, 0, 0, 1], [0, 0.2, 3, 0], [0, 0, 0, 1.0]])
    image = Image(np.random.default_rng(0).random((7, 8, 9)).astype(np.float32), Grid((7, 8, 9), affine))
    index = np.random.default_rng(1).integers(0, 6, (50, 3)) + np.random.default_rng(2).uniform(0.1, 0.9, (50, 3))
    points = image.grid.world(index)
    values, gradients, inside = values_and_gradients(image, points)
    assert inside.all()
    assert np.allclose(values, ndimage.map_coordinates(image.data, index.T, order=1), atol=1e-6)
    for axis in range(3):
        step = np.eye(3)[axis] * 0.01
        ahead, behind = (values_and_gradients(image, points + s * step)[0] for s in (1, -1))
        assert np.allclose((ahead - behind) / 0.02, gradients[axis], atol=1e-3)


def test_new_lesions_do_not_pull(head):
    fixed, to_fixed = scan(head["flair"], rigid(), seed=1)
    lesions = np.zeros(head["flair"].grid.shape, dtype=np.float32)
    for place in [(30, 50, 50), (33, 60, 52), (60, 45, 48), (28, 40, 45)]:
        lesions[place] = 1
    lesions = ndimage.binary_dilation(lesions, iterations=4)
    bright = Image(np.where(lesions, 420, head["flair"].data), head["flair"].grid)
    moving, to_moving = scan(bright, rigid((2, 3, -2), (3, -2, 4)), seed=2)
    mask = brain_of(head, fixed.grid, to_fixed)
    found = register_rigid(fixed, moving, intra_modal=True, fixed_mask=mask)
    assert distance_mm(found.moving_to_fixed.inverse(), to_moving @ to_fixed.inverse(), mask) < 0.15


@pytest.mark.requirement("IMAGE-01")
def test_what_does_not_match_is_marked_failed(head):
    fixed, to_fixed = scan(head["flair"], rigid(), spacing=(2.0, 2.0, 3.0))
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(fixed.grid.shape), 3) * 500 + 200
    ball = np.linalg.norm(np.indices(fixed.grid.shape).T - np.array(fixed.grid.shape) / 2, axis=-1).T < 30
    other = Image(np.where(ball, noise, 0), fixed.grid)
    mask = brain_of(head, fixed.grid, to_fixed)
    few = RegisterSettings(kept_starts=(1, 2), max_points=(8000,) * 4)
    found = register_rigid(fixed, other, intra_modal=False, fixed_mask=mask, settings=few)
    assert found.failed
    assert found.method in RegistrationMethod
    assert found.quality < 0.2


@pytest.mark.parametrize("same", [True, False])
def test_noise_does_not_agree_with_a_head(head, same):
    """Noise is fitted at whatever place it is: a part must not be judged by a density of its own points."""
    fixed, to_fixed = scan(head["flair"], rigid(), spacing=(2.0, 2.0, 3.0))
    noise = np.random.default_rng(4).gamma(2.0, 100.0, fixed.grid.shape).astype(np.float32)
    mask = brain_of(head, fixed.grid, to_fixed)
    found = register_rigid(fixed, Image(noise, fixed.grid), intra_modal=same, fixed_mask=mask)
    assert found.failed
    assert found.quality < 0.35


def test_a_mask_of_another_grid_is_refused(head):
    mask = LabelImage(np.ones((3, 3, 3), dtype=np.uint8), Grid((3, 3, 3), np.eye(4)))
    with pytest.raises(GridMismatchError, match="mask of the fixed image"):
        register_rigid(head["t1"], head["flair"], intra_modal=False, fixed_mask=mask)
    with pytest.raises(GridMismatchError, match="mask of the moving image"):
        register_rigid(head["t1"], head["flair"], intra_modal=False, moving_mask=mask)


TRANSFORMS = [
    rigid(),
    rigid((10, -4, 3), (5, -8, 12)),
    rigid((-3, 6, 8), (-10, 2, 4)),
    rigid((1, 2, -7), (3, 9, -15)),
]


@pytest.mark.requirement("IMAGE-02")
def test_midway_does_not_depend_on_order_or_reference():
    way = midway(TRANSFORMS)
    order = [2, 0, 3, 1]
    shuffled = midway([TRANSFORMS[k] for k in order])
    for place, k in enumerate(order):
        assert np.allclose(shuffled[place].matrix, way[k].matrix, atol=1e-9)
    # another visit as the reference of the star
    elsewhere = midway([TRANSFORMS[2].inverse() @ t for t in TRANSFORMS])
    for one, other in zip(elsewhere, way, strict=True):
        assert np.allclose(one.matrix, other.matrix, atol=1e-9)


@pytest.mark.requirement("IMAGE-02")
def test_midway_of_two_moves_both_alike_and_of_one_not_at_all():
    a, b = midway([rigid(), rigid((8, 0, 0), (0, 0, 10))])
    assert np.allclose((a @ b).matrix, np.eye(4), atol=1e-9)
    assert np.allclose(midway([rigid((5, 5, 5))])[0].matrix, np.eye(4), atol=1e-12)
    assert np.allclose(np.linalg.det(mean_affine(TRANSFORMS).matrix[:3, :3]), 1)
    with pytest.raises(UsageError, match="at least one"):
        midway([])


def _flair(spacing, shape=(200, 210, 40), orientation="LPS"):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    image = Image(np.zeros(shape, dtype=np.float32), Grid(shape, affine)).reoriented(orientation)
    index = np.indices(image.grid.shape).reshape(3, -1).T.astype(float)
    inside = np.linalg.norm(image.grid.world(index) / (35, 40, 30), axis=1) < 1
    return image.grid, LabelImage(inside.reshape(image.grid.shape), image.grid)


def test_grid_of_2d_visits_is_that_of_their_slices():
    visits = [_flair((0.72, 0.72, 4.0), (120, 130, 22)), _flair((0.6, 0.6, 3.0), (150, 160, 28), "RAS")]
    ways = midway([rigid(), rigid((2, 3, 4), (6, 0, 0))])
    grids, brains = zip(*visits, strict=True)
    grid = subject_grid(grids, ways, brains)
    assert grid.spacing_mm == pytest.approx((0.72, 0.72, 3.0))
    assert grid.orientation == "RAS"
    again = subject_grid(grids[::-1], ways[::-1], brains[::-1])
    assert again.same_as(grid)
    # the brain is inside, with its margin, and not much more
    for brain, way in zip(brains, ways, strict=True):
        assert resample_labels(brain, grid, way).volume_mm3 == pytest.approx(brain.volume_mm3, rel=0.01)
    assert grid.shape[0] * 0.72 < 70 + 2 * 8 + 12


def test_grid_rules_for_3d_and_mixtures():
    flat, three_d = _flair((0.72, 0.72, 3.0), (120, 130, 28)), _flair((0.9, 0.9, 0.9), (90, 100, 80))
    still = Affine.identity()
    alone = subject_grid([flat[0]], [still], [flat[1]])
    assert np.array_equal(alone.spacing_mm, flat[0].spacing_mm)
    offsets = np.linalg.inv(flat[0].affine) @ alone.affine @ [0, 0, 0, 1]
    assert np.allclose(offsets, np.rint(offsets), atol=1e-6)  # voxels coincide: nothing is interpolated
    mostly_3d = subject_grid([three_d[0], three_d[0], flat[0]], [still] * 3, [three_d[1], three_d[1], flat[1]])
    assert mostly_3d.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
    mostly_2d = subject_grid([three_d[0], flat[0], flat[0]], [still] * 3, [three_d[1], flat[1], flat[1]])
    assert mostly_2d.spacing_mm == pytest.approx((0.72, 0.72, 3.0))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("study", "contrast", "limit"), [(1, "T1W", 0.45), (1, "T2W", 0.45), (2, "T2W", 0.45), (0, "FLAIR", 0.25)]
)
@pytest.mark.requirement("IMAGE-01")
def test_real_scans_against_the_authors_transforms(real_data, study, contrast, limit):
    folder = real_data / "ljubljana" / "longitudinal" / "patient01"
    to_common = {s: load_transform(folder / f"study{s}_FLAIR_to_common_space.txt") for s in (1, 2)}
    fixed_study = study or 1
    fixed = load_image(folder / f"study{fixed_study}_FLAIR.nii.gz")
    if study:
        moving = load_image(folder / f"study{study}_{contrast}.nii.gz")
        truth = load_transform(folder / f"study{study}_{contrast}_intrastudy_to_FLAIR.txt")
    else:
        moving = load_image(folder / "study2_FLAIR.nii.gz")
        truth = to_common[1].inverse() @ to_common[2]
    common = load_labels(folder / "brainmask.nii.gz")
    mask = resample_labels(common, fixed.grid, to_common[fixed_study].inverse())
    found = register_rigid(fixed, moving, intra_modal=not study, fixed_mask=mask)
    assert not found.failed
    assert distance_mm(found.moving_to_fixed.inverse(), truth.inverse(), mask) < limit


def textured(shift_voxels, seed, contrast):
    """A volume whose texture was made three times as fine, moved along all axes, averaged, and given noise."""
    fine = ndimage.gaussian_filter(np.random.default_rng(7).normal(size=(150,) * 3), 3.0)
    moved = ndimage.shift(fine / fine.std(), [3 * shift_voxels] * 3, mode="wrap")
    data = contrast(moved.reshape(50, 3, 50, 3, 50, 3).mean(axis=(1, 3, 5)))
    noise = np.random.default_rng(seed).normal(0, 0.3 * data.std(), data.shape)
    return Image((data + noise).astype(np.float32), Grid(data.shape, np.eye(4)))


@pytest.mark.parametrize("shift_voxels", [0.0, 0.1, 0.5])
def test_voxels_that_lie_parallel_draw_a_match_nowhere(shift_voxels):
    """Interpolation between voxels is a blur, and scans on one grid seemed to match best a fifth of a voxel beside."""
    fixed = textured(0.0, 1, lambda x: x)
    moving = textured(shift_voxels, 2, lambda x: -np.abs(x + 1))
    region = LabelImage(np.pad(np.ones((36,) * 3, np.uint8), 7), fixed.grid)
    way = refine_rigid(
        fixed, moving, region, Affine.identity(), spacing_mm=0.5, max_points=30_000, tolerance_mm=TOLERANCE_MM
    )
    assert np.linalg.norm(way.matrix[:3, 3] - shift_voxels) < 0.07


@pytest.mark.parametrize(
    ("spacing", "shape", "degrees", "meet"),
    [
        ((1.0, 1.0, 3.0), (182, 218, 60), 0.15, True),
        ((1.0, 1.0, 1.0), (182, 218, 182), 0.15, True),
        ((1.0, 1.0, 1.0), (182, 218, 182), 0.6, False),
        ((1.0, 1.0, 3.0), (182, 218, 60), 0.6, False),
    ],
)
def test_voxels_meet_by_how_far_they_part_over_the_image(spacing, shape, degrees, meet):
    """Not by the angle in voxels, which on thick slices is three times that on cubes."""
    grid = Grid(shape, np.diag([*spacing, 1.0]))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    assert same_voxel_lattice(grid, grid, Affine(turn)) == meet
