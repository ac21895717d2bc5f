"""Scans are stored as 16-bit integers where that is exact, and compressed without another conversion."""

import nibabel as nib
import numpy as np
import pytest

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
