"""The measures of the field: equal to MRIQC for the same voxels, and by their definitions."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, stats

from benchmarks.quality.compare_mriqc import ours, synthetic
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from qc import field_measures
from qc.field_scan import BLANKED, DEFACED, measure_field, nearest
from qc.head import head_mask
from qc.measures import measure_visit
from qc.placement import brain_points, place_brain
from tests.unit.test_qc_measures import changed
from tests.unit.test_qc_placement import scan

STORED = json.loads((Path(__file__).parents[2] / "benchmarks/quality/mriqc.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def values():
    return ours(*synthetic())


@pytest.mark.parametrize("measure", STORED["synthetic"])
def test_values_equal_those_of_mriqc_in_a_synthetic_image(values, measure):
    assert values[measure] == pytest.approx(STORED["synthetic"][measure], rel=1e-6)


def test_values_were_equal_in_the_real_scans():
    assert set(STORED["real"]) == set(STORED["synthetic"])
    assert all(found["largest relative difference"] < 1e-6 for found in STORED["real"].values())


def test_entropy_of_ghosts_and_blur_is_higher():
    data, _ = synthetic()
    sharp = field_measures.efc(data)
    assert field_measures.efc(np.hypot(data, 0.3 * np.roll(data, 36, axis=1))) > sharp
    assert field_measures.efc(ndimage.gaussian_filter(data, 2)) > sharp
    one = np.zeros(1000)
    one[3] = 7
    assert field_measures.efc(one) == pytest.approx(0, abs=1e-12)


def test_dietrich_gives_the_true_ratio_for_rayleigh_air_that_varies_as_its_standard_deviation():
    draw = np.random.default_rng(3)
    coarse = np.hypot(*draw.normal(0, 1.2, (2, 200_000)))  # the MAD is below one grey level: by the SD
    assert field_measures.snr_dietrich(np.full(9, 120.0), coarse) == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("fwhm", [2.5, 4.0])
def test_smoothness_of_filtered_noise_is_that_of_the_filter(fwhm):
    sigma = fwhm / np.sqrt(8 * np.log(2))
    noise = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(80, 80, 80)), (sigma, sigma, 0))
    x, y, z = field_measures.fwhm_voxels(noise, np.ones(noise.shape, bool))
    assert (x, y) == pytest.approx((fwhm, fwhm), rel=0.03)
    assert z is None or z < 0.8


def test_smoothness_reads_the_mask_alone():
    noise = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(60, 60, 60)), 1.5)
    mask = np.zeros(noise.shape, bool)
    mask[10:50, 10:50, 10:50] = True
    outside = np.where(mask, noise, 1e6)
    assert field_measures.fwhm_voxels(outside, mask) == field_measures.fwhm_voxels(noise, mask)


def test_nothing_is_none():
    nothing, some, zeros = np.zeros(0), np.ones(5000), np.zeros(5000)
    assert field_measures.cjv(nothing, some) is None
    assert field_measures.cjv(some, some) is None
    assert field_measures.efc(zeros) is None
    assert field_measures.fber(some, zeros) is None
    assert field_measures.fber(nothing, some) is None
    assert field_measures.fber(some, nothing) is None
    assert field_measures.wm2max(zeros, some) is None
    assert field_measures.qi1(3, 0) is None
    assert field_measures.qi2(zeros) is None
    assert field_measures.snr_dietrich(some, zeros) is None
    assert field_measures.inu(nothing) is None
    assert field_measures.fwhm_voxels(some, np.zeros(5000, bool)) == (None,)
    assert field_measures.fwhm_voxels(some, np.ones(5000, bool)) == (None,)


@pytest.fixture(scope="module")
def noisy() -> Image:
    """A head with magnitude noise in the air: the mean of two slices with a sigma of 3."""
    return scan()


@pytest.fixture(scope="module")
def placement(noisy):
    return place_brain(noisy, load_template())


@pytest.fixture(scope="module")
def measured(placement):
    return lambda image: measure_field(image, head_mask(image), placement, load_template())


def test_all_are_measured_with_noise_in_the_air(noisy, placement, measured):
    found = asdict(measured(noisy))
    assert not {name for name, value in found.items() if value is None}
    assert BLANKED not in found["misleading"].values()
    assert found["qi1"] < 0.01
    known = brain_points(load_template())
    index, inside = nearest(noisy.grid, placement.template_to_world.points(known.points_mm[known.white]))
    assert inside.all()
    white = float(np.median(noisy.data[tuple(index.T)]))
    assert found["snr_dietrich"] == pytest.approx(white / (3 / np.sqrt(2)), rel=0.05)


def test_an_artefact_in_the_air_raises_qi1(noisy, measured):
    ghost = noisy.data.copy()
    head = head_mask(noisy)
    ghost[:4, :, noisy.grid.shape[2] // 2 :] = 0.5 * float(np.median(noisy.data[head]))
    assert measured(changed(noisy, ghost)).qi1 > 10 * measured(noisy).qi1 + 0.005


def test_blanked_air_is_stated_and_gives_no_value_of_air(noisy, measured):
    blanked = changed(noisy, np.where(head_mask(noisy), noisy.data, 0))
    found = measured(blanked)
    assert (found.fber, found.qi1, found.qi2, found.snr_dietrich) == (None, None, None, None)
    assert {name for name, why in found.misleading.items() if why == BLANKED} == {
        "efc", "fber", "qi1", "qi2", "snr_dietrich"
    }  # fmt: skip


def test_a_removed_face_is_stated(noisy, placement, measured):
    at = np.argwhere(np.ones(noisy.grid.shape, bool)) @ noisy.grid.affine[:3, :3].T + noisy.grid.affine[:3, 3]
    place = placement.template_to_world.inverse().points(at)
    face = ((place[:, 1] > 40) & (place[:, 2] < -30)).reshape(noisy.grid.shape)
    with_face = changed(noisy, np.where(face, 120, noisy.data).astype(np.float32))
    assert measured(with_face).misleading == {}
    removed = measured(changed(noisy, np.where(face, 0, noisy.data).astype(np.float32)))
    assert set(removed.misleading) == {"efc", "fber", "qi1", "qi2"}
    assert set(removed.misleading.values()) == {DEFACED}


def test_a_visit_measures_them_once_for_each_scan(noisy, measured):
    images = {Contrast.FLAIR: noisy, Contrast.T2W: noisy}
    found = measure_visit(images, {contrast: contrast for contrast in images})
    assert found[Contrast.T2W].field == found[Contrast.FLAIR].field == measured(noisy)


@pytest.mark.parametrize("law", ["rayleigh", "integers", "half normal", "skewed", "zeros", "outlier"])
def test_the_density_of_noise_equals_that_of_scipy(law):
    rng = np.random.default_rng(5)
    values = {
        "rayleigh": rng.rayleigh(3, 1500),
        "integers": rng.integers(0, 30, 1500).astype(float),
        "half normal": np.abs(rng.normal(0, 5, 1500)),
        "skewed": rng.exponential(3, 1500) ** 3,  # the moments are the start
        "zeros": np.where(rng.random(1500) < 0.5, 0, rng.rayleigh(5, 1500)),
        "outlier": np.append(rng.rayleigh(3, 500), 1e6),
    }[law]
    grid = np.linspace(0, 110, 1000)
    values = values * (100 / np.percentile(values, 99))
    expected = stats.chi2.pdf(grid, *stats.chi2.fit(values, 32))
    np.testing.assert_allclose(field_measures.chi_squared_density(values, grid), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("outlier", [1e3, 1e4, 1e5, 1e6, 1e7])
def test_the_density_of_noise_with_one_outlier_has_the_steps_of_scipy(outlier):
    """A difference of one rounding in the likelihood leads to another optimum, and to densities that differ by 3 %."""
    grid = np.linspace(0, 110, 1000)
    for seed in range(4):
        values = np.append(np.random.default_rng(seed).rayleigh(3, 400), outlier)
        expected = stats.chi2.pdf(grid, *stats.chi2.fit(values, 32))
        np.testing.assert_allclose(field_measures.chi_squared_density(values, grid), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_density_of_values_that_are_not_finite_is_refused(value):
    values = np.append(np.random.default_rng(5).rayleigh(3, 500), value)
    with pytest.raises(ValueError, match="finite"):
        field_measures.chi_squared_density(values, np.linspace(0, 110, 1000))


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<i2", "u1"])
def test_the_spread_is_computed_in_double_precision(kind):
    values = np.abs(np.random.default_rng(2).normal(40, 12, 20_001)).astype(kind)
    double = values.astype(float)
    expected = np.median(np.abs(double - np.median(double))) / stats.norm.ppf(0.75)
    assert field_measures.spread(values) == pytest.approx(expected, rel=1e-14)
    assert np.array_equal(values, double)


@pytest.mark.parametrize("size", [0, 1, 2, 70_000, 200_001])
def test_the_entropy_of_an_image_in_parts_is_that_of_the_whole(size):
    data = np.random.default_rng(2).normal(20, 12, size).astype(np.float32)  # some are negative
    found = data[data > 0]
    share = found / np.sqrt(np.square(found, dtype=float).sum())
    whole = -(share * np.log(share)).sum() / (np.sqrt(size) * np.log(np.sqrt(size))) if size > 1 else None
    assert field_measures.efc(data) == (None if whole is None else pytest.approx(whole, rel=1e-12))
