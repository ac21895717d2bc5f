"""Two T1 of a visit: enhancement present, absent, reversed or undecided, by the images."""

import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.errors import GridMismatchError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.images.enhancement import Enhancement, check_enhancement, compare_t1, looks_enhanced, upper_head
from mri_pipeline.images.resample import resample

CUBE = Grid((30, 30, 30), np.eye(4))
ALL = LabelImage(np.ones(CUBE.shape, dtype=np.uint8), CUBE)


def flat(seed: int, noise: float = 4.0, bright: int = 0, gain: float = 1.0) -> Image:
    """A uniform scan with noise; the given number of voxels enhance."""
    data = 100 + np.random.default_rng(seed).normal(0, noise, CUBE.shape)
    data.reshape(-1)[:bright] += 100
    return Image((gain * data).astype(np.float32), CUBE)


@pytest.mark.parametrize("gain", [1.0, 0.02, 40.0])
@pytest.mark.requirement("INTAKE-06")
def test_enhancement_by_the_tails(gain):
    before, after = flat(1), flat(2, bright=400, gain=gain)
    found = check_enhancement(before, after, ALL)
    assert found.enhancement is Enhancement.PRESENT
    assert found.upper == pytest.approx(1.0, abs=0.1)
    assert found.lower == pytest.approx(0.15, abs=0.03)
    reverse = check_enhancement(after, before, ALL)
    assert reverse.enhancement is Enhancement.REVERSED
    assert (reverse.upper, reverse.lower) == (found.lower, found.upper)
    assert check_enhancement(before, flat(2, gain=gain), ALL).enhancement is Enhancement.ABSENT


def test_noise_and_motion_decide_nothing():
    assert check_enhancement(flat(1), flat(2, noise=40), ALL).enhancement is Enhancement.UNDECIDED
    moved = Image(np.roll(flat(1, bright=400).data, 3, axis=0), CUBE)
    assert check_enhancement(flat(1, bright=400), moved, ALL).enhancement is Enhancement.UNDECIDED


def test_the_field_of_view_of_either_scan_limits_the_region():
    after = flat(2).data.copy()
    after[:10] = 0  # outside
    assert check_enhancement(flat(1), Image(after, CUBE), ALL).enhancement is Enhancement.ABSENT
    after[:28] = 0
    assert check_enhancement(flat(1), Image(after, CUBE), ALL).enhancement is Enhancement.UNDECIDED


def test_images_of_two_grids_are_refused():
    other = Image(flat(1).data, Grid(CUBE.shape, np.diag([2.0, 1, 1, 1])))
    with pytest.raises(GridMismatchError, match="the second T1"):
        check_enhancement(flat(1), other, ALL)


@pytest.fixture(scope="module")
def brain() -> dict[str, Image]:
    """The template brain as T1 with noise, and with bright voxels at its surface."""
    template = load_template()
    grid = Grid((90, 110, 90), np.array([[2.0, 0, 0, -89], [0, 2, 0, -125], [0, 0, 2, -70], [0, 0, 0, 1]]))
    mask, grey, white = (
        resample(image, grid, order=1).data
        for image in (
            Image(template.brain.mask.astype(np.float32), template.brain.grid),
            template.grey_matter,
            template.white_matter,
        )
    )
    tissue = 300 * white + 200 * grey + 60 * mask
    surface = (mask > 0.5) & (ndimage.distance_transform_edt(mask > 0.5) < 2)
    vessels = surface & (np.indices(grid.shape)[0] % 9 < 2)
    noise = np.random.default_rng(5).standard_normal((3, *grid.shape)) * 8 * (mask > 0)
    return {
        "pre": Image((tissue + noise[0]).astype(np.float32), grid),
        "pre again": Image((1.7 * (tissue + noise[1])).astype(np.float32), grid),
        "post": Image((1.3 * (tissue + 400 * vessels + noise[2])).astype(np.float32), grid),
        "mask": Image(mask, grid),
    }


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("pre", "post", Enhancement.PRESENT),
        ("post", "pre", Enhancement.REVERSED),
        ("pre", "pre again", Enhancement.ABSENT),
    ],
)
def test_scans_are_registered_before_they_are_compared(brain, first, second, expected):
    region = LabelImage((brain["mask"].data > 0.5).astype(np.uint8), brain["mask"].grid)
    move = np.eye(4)
    move[:3, 3] = (4.0, -3.0, 2.0)
    moved = resample(brain[second], brain[second].grid, Affine(move), order=1)
    assert compare_t1(brain[first], moved, region=region).enhancement is expected
    unregistered = check_enhancement(brain["pre"], moved, region)
    assert unregistered.enhancement is Enhancement.UNDECIDED


def test_scans_that_do_not_match_are_not_judged(brain):
    other = Image(
        np.random.default_rng(0).normal(100, 20, (60, 60, 60)).astype(np.float32), Grid((60,) * 3, np.eye(4))
    )
    found = compare_t1(brain["pre"], other)
    assert (found.enhancement, found.upper, found.lower) == (Enhancement.UNDECIDED, None, None)


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "PIR"])
def test_the_upper_head_leaves_out_scalp_and_neck(orientation):
    """A cylinder of 60 mm radius and 200 mm height; the vertex is at z = 200 mm."""
    grid = Grid((80, 80, 104), np.array([[2.0, 0, 0, -80], [0, 2, 0, -80], [0, 0, 2, 0], [0, 0, 0, 1]]))
    x, y, z = np.moveaxis(
        grid.world(np.argwhere(np.ones(grid.shape)).astype(float)).reshape(*grid.shape, 3), -1, 0
    )
    head = (np.hypot(x, y) < 60) & (z <= 200)
    image = Image(np.where(head, 100.0, 1.0).astype(np.float32), grid)
    region = upper_head(image.reoriented(orientation)).reoriented("RAS").mask
    assert region.any()
    assert z[region].min() == pytest.approx(200 - 110, abs=4)
    assert np.hypot(x, y)[region].max() == pytest.approx(50, abs=2)


def test_uniform_scans_are_not_judged():
    uniform = Image(np.full(CUBE.shape, 5, dtype=np.float32), CUBE)
    assert compare_t1(uniform, flat(1)).enhancement is Enhancement.UNDECIDED
    assert compare_t1(flat(1), uniform).enhancement is Enhancement.UNDECIDED


@pytest.mark.parametrize(
    ("plexus", "central", "enhanced"),
    [
        (1.0, True, True),
        (0.7, True, False),
        (1.0, False, False),  # bright voxels beside the surface are dura and veins
    ],
)
def test_a_single_t1_is_judged_by_the_central_csf(plexus, central, enhanced):
    grid = Grid((40, 40, 40), np.diag([2.0, 2, 2, 1]))
    t1, csf = np.ones(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    csf[14:26, 14:26, 14:26] = csf[1:4] = 0.9
    t1[csf > 0.5] = 0.3
    place = (slice(18, 20), slice(14, 26), slice(18, 20)) if central else (slice(1, 4), slice(5, 35), slice(5, 35))
    t1[place] = plexus
    brain = LabelImage(np.ones(grid.shape, np.uint8), grid)
    assert looks_enhanced(Image(t1, grid), Image(csf, grid), brain) is enhanced


def test_a_single_t1_without_central_csf_is_not_judged():
    bright, none = flat(1, gain=0.02), Image(np.zeros(CUBE.shape, np.float32), CUBE)
    assert looks_enhanced(bright, none, ALL) is False
    few = none.data.copy()
    few[14:16, 14:16, 14:16] = 1
    assert looks_enhanced(bright, Image(few, CUBE), ALL) is False


@pytest.mark.real_data
@pytest.mark.parametrize("patient", ["07", "19"])
def test_real_scans_at_3_t(real_data, patient):
    """Public scans, skull-stripped: before and after gadolinium, exchanged, and the same scan moved and rescaled."""
    folder = real_data / "ljubljana" / "cross_sectional_mni" / f"patient{patient}"
    before, after = (load_image(folder / f"{name}.nii.gz") for name in ("T1", "T1POST"))
    regions = [LabelImage((image.data > 0).astype(np.uint8), image.grid) for image in (before, after)]
    real = compare_t1(before, after, region=regions[0])
    assert real.enhancement is Enhancement.PRESENT
    assert real.upper > 1.0
    assert real.lower < 0.3
    assert compare_t1(after, before, region=regions[1]).enhancement is Enhancement.REVERSED
    move = np.eye(4)
    move[:3, 3] = (1.5, 0.7, 1.1)
    moved = resample(before, before.grid, Affine(move))
    noise = np.random.default_rng(0).normal(0, 0.05 * np.median(before.data[before.data > 0]), before.data.shape)
    again = Image((1.7 * (moved.data + noise * (moved.data > 0))).astype(np.float32), before.grid)
    assert compare_t1(before, again, region=regions[0]).enhancement is Enhancement.ABSENT
