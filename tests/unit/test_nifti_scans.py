"""Scans are stored as 16-bit integers where that is exact, normalised images as integers times a power of two."""

import nibabel as nib
import numpy as np
import pytest

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.spatial import Grid, Image

GRID = Grid((4, 3, 2), np.diag([-1.0, 2.0, 3.0, 1.0]))


def image(*values):
    data = np.zeros(GRID.shape, np.float32)
    data.flat[: len(values)] = values
    return Image(data, GRID)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((1, 32767, -32768), "int16"),
        ((1, 65535), "uint16"),
        ((-1, 65535), "float32"),
        ((65536,), "float32"),
        ((0.5, 7), "float32"),
        ((1e30, -1e30), "float32"),
    ],
)
def test_16_bit_integers_where_they_are_exact(tmp_path, values, kind):
    path = nifti.save_scan(image(*values), tmp_path / "scan.nii")
    assert nib.load(path).get_data_dtype() == np.dtype(kind)
    loaded = nifti.load_image(path)
    assert np.array_equal(loaded.data, image(*values).data)
    loaded.grid.require_same(GRID, "loaded")


def test_a_compressed_file_is_the_one_that_is_saved_compressed(tmp_path):
    source = nifti.save_scan(image(1, 2, 3), tmp_path / "scan.nii")
    compressed = nifti.compress(source, tmp_path / "new" / "a.nii.gz")
    saved = nifti.save_scan(image(1, 2, 3), tmp_path / "b.nii.gz")
    assert compressed.read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    ("largest", "step"), [(0.9, 2**-15), (2.1, 2**-13), (32767 / 2**13, 2**-13), (32767 / 2**10, 2**-10)]
)
def test_normalised_images_are_rounded_to_a_power_of_two(tmp_path, largest, step):
    values = np.linspace(-largest, largest, 24)
    path = nifti.save_rounded(image(*values), tmp_path / "image.nii.gz")
    stored, loaded = nib.load(path), nifti.load_image(path)
    assert stored.get_data_dtype() == np.int16
    assert (stored.dataobj.slope, stored.dataobj.inter) == (step, 0)
    np.testing.assert_allclose(loaded.data, image(*values).data, rtol=0, atol=step / 2)
    again = nifti.save_rounded(loaded, tmp_path / "again.nii.gz")
    assert again.read_bytes() == path.read_bytes()


def test_the_smallest_positive_value_stays_inside_the_field_of_view(tmp_path):
    loaded = nifti.load_image(nifti.save_rounded(image(1e-9, -1e-9, 0, 3), tmp_path / "image.nii.gz"))
    assert loaded.data.flat[:4].tolist() == [2**-13, 0, 0, 3]


@pytest.mark.parametrize("largest", [32.0, -40.0, 1e6])
def test_an_image_with_a_spike_is_not_rounded(tmp_path, largest):
    spike = image(largest, 0.123456)
    path = nifti.save_rounded(spike, tmp_path / "image.nii.gz")
    assert np.array_equal(nifti.load_image(path).data, spike.data)


def test_an_image_of_zeros_is_rounded_to_zeros(tmp_path):
    assert not nifti.load_map(nifti.save_rounded(image(), tmp_path / "image.nii.gz")).data.any()


@pytest.mark.parametrize("value", [1e-42, 1e-12])
def test_the_step_has_a_least_value(tmp_path, value):
    path = nifti.save_rounded(image(value), tmp_path / "image.nii.gz")
    assert nib.load(path).dataobj.slope == 2**-24


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    with pytest.raises(ImageError, match=r"image.nii.gz: expected finite intensities"):
        nifti.save_rounded(image(value, 1), tmp_path / "image.nii.gz")
