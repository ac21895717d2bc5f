"""The bias field against ITK's N4 and against fields that were put in."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.io.itk import from_sitk, to_sitk
from mri_pipeline.core.method.intensities import BiasSettings
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.images.bias import correct_bias, log_bias
from mri_pipeline.images.sampling import downsample

GRID = Grid((96, 110, 40), np.array([[-1.5, 0, 0, 70], [0, 1.5, 0, -80], [0, 0, 3.5, -70], [0, 0, 0, 1]]))


@pytest.fixture(scope="module")
def scan():
    """Two tissues in patches of some millimetres within an ellipsoid, a slow field, and noise."""
    rng = np.random.default_rng(3)
    at = (np.indices(GRID.shape) / np.array(GRID.shape).reshape(3, 1, 1, 1)) * 2 - 1
    brain = (at**2).sum(axis=0) < 0.8
    patches = ndimage.gaussian_filter(rng.standard_normal(GRID.shape), (4, 4, 2)) > 0
    field = 0.25 * at[0] - 0.2 * at[1] ** 2 + 0.15 * at[2] * at[0]
    data = np.where(patches, 200.0, 250.0) * np.exp(field) + rng.normal(0, 5, GRID.shape)
    return Image(np.where(brain, data, 12.0), GRID), LabelImage(brain, GRID), field.astype(np.float32)


def itk_log_bias(image: Image, brain: LabelImage) -> np.ndarray:
    """The same estimate with ITK's filter, run on the same coarse blocks."""
    middle = np.median(image.data[brain.mask])
    usable = brain.mask & (image.data > 0.5 * middle) & (image.data < 1.5 * middle)
    weight = downsample(Image(usable.astype(np.float32), GRID), 8.0)
    total = downsample(Image(np.where(usable, image.data, 0.0), GRID), 8.0)
    mask = weight.data > 0.25
    mean = np.where(mask, total.data / np.maximum(weight.data, 1e-6), middle) / middle
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([20, 20])
    n4.SetConvergenceThreshold(1e-4)
    source = to_sitk(Image(mean.astype(np.float32), total.grid))
    n4.Execute(source, sitk.Cast(to_sitk(LabelImage(mask, total.grid)), sitk.sitkUInt8))
    coarse = from_sitk(n4.GetLogBiasFieldAsImage(source), total.grid)
    matrix = np.linalg.inv(total.grid.affine) @ GRID.affine
    field = ndimage.affine_transform(
        coarse.data, matrix[:3, :3], matrix[:3, 3], output_shape=GRID.shape, order=3, mode="nearest"
    )
    return field - field[usable].mean()


def test_same_as_itk(scan):
    image, brain, _ = scan
    difference = (log_bias(image, brain) - itk_log_bias(image, brain))[brain.mask]
    assert difference.std() < 0.002
    assert np.abs(difference).max() < 0.02


def test_the_field_that_was_put_in_is_found(scan):
    image, brain, field = scan
    rest = (field - log_bias(image, brain))[brain.mask]
    assert field[brain.mask].std() > 0.1
    assert rest.std() < 0.02


def test_scale_and_storage_do_not_matter(scan):
    image, brain, _ = scan
    found = correct_bias(image, brain)
    scaled = correct_bias(Image(image.data * 31.0, GRID), brain)
    assert np.allclose(scaled.data, 31 * found.data, rtol=1e-3)
    assert np.exp(np.log(found.data / image.data)[brain.mask].mean()) == pytest.approx(1.0, abs=0.01)


def test_a_flat_scan_stays_as_it_is(scan):
    _, brain, _ = scan
    flat = Image(np.full(GRID.shape, 80.0), GRID)
    assert np.allclose(correct_bias(flat, brain).data, 80.0, rtol=1e-4)


def test_nothing_in_the_brain_is_refused(scan):
    _, brain, _ = scan
    with pytest.raises(AnalysisError, match="expected positive intensities in the brain mask, found none"):
        log_bias(Image(np.zeros(GRID.shape), GRID), brain)


@pytest.mark.parametrize(
    "change",
    [
        {"grid_mm": 12.0}, {"iterations": (2,)}, {"usable_range": (0.9, 1.1)}, {"least_share": 0.9}, {"bins": 20},
        {"blur_width": 0.5}, {"wiener_noise": 1.0}, {"converged": 0.1},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_setting_has_an_effect(scan, change):
    image, brain, _ = scan
    assert not np.array_equal(log_bias(image, brain, settings=BiasSettings(**change)), log_bias(image, brain))


def test_a_brain_with_fewer_voxels_than_the_setting_is_refused(scan):
    image, brain, _ = scan
    with pytest.raises(AnalysisError, match="expected positive intensities in the brain mask, found none"):
        log_bias(image, brain, settings=BiasSettings(least_voxels=10**9))


def test_a_few_slices_are_enough():
    grid = Grid((80, 90, 3), np.diag([2.0, 2.0, 6.0, 1.0]))
    x = np.indices(grid.shape)[0] / 80 - 0.5
    brain = LabelImage(np.ones(grid.shape, dtype=bool), grid)
    corrected = correct_bias(Image(100 * np.exp(0.4 * x), grid), brain)
    assert corrected.data.std() / corrected.data.mean() < 0.02
