"""The template that comes with the package: its voxels are pinned, and no other package is needed for it."""

import hashlib
import sys

import numpy as np
import pytest

from mri_pipeline.core.io.template import COARSE_MAPS, load_template
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.images.sampling import downsample

DIGESTS = {
    "t1": "fe11ea9bc76455122e3f2dbceee281843f5cec9cc0fef4f59c0168244de13c02",
    "grey_matter": "7eb7046d8650d35528486fe90c50bc1d5e081920062e00781aa2db84bd5ef952",
    "white_matter": "05de34bd753ad1f4db7573244b690edc895a2843c99baecdd0d67e67c6dc2beb",
    "brain": "ad92af6a053901c38c40b04b490c651cbfbc42a1d13a653ff8c7b4d84de53b75",
}
"""SHA-256 of each array in C order, as made from nilearn 0.14.1: another voxel would move every result."""


@pytest.mark.parametrize("part", DIGESTS)
def test_every_voxel_of_the_template_is_pinned(part):
    image = getattr(load_template(), part)
    assert hashlib.sha256(np.ascontiguousarray(image.data).tobytes()).hexdigest() == DIGESTS[part]
    assert image.grid.affine.tolist() == [[1, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]]


def test_the_template_needs_no_other_package(monkeypatch):
    for package in ("nilearn", "sklearn"):
        monkeypatch.setitem(sys.modules, package, None)  # an import of it now fails
    fresh = load_template.__wrapped__()
    assert fresh is not load_template()
    assert fresh.t1.grid.same_as(load_template().t1.grid)


@pytest.mark.parametrize(("name", "block_mm"), COARSE_MAPS)
def test_coarse_maps_are_block_means_of_the_template(name, block_mm):
    full = getattr(load_template(), name)
    if isinstance(full, LabelImage):
        full = Image(full.mask.astype(np.float32), full.grid)
    expected, found = downsample(full, block_mm), load_template().coarse(name, block_mm)
    assert np.array_equal(found.data, expected.data)
    assert found.grid.shape == expected.grid.shape
    assert np.array_equal(found.grid.affine, expected.grid.affine)


def test_coarse_maps_do_not_read_the_template_at_1_mm():
    fresh = load_template.__wrapped__()
    fresh.coarse("t1", 8)
    assert not vars(fresh)
    with pytest.raises(KeyError):
        fresh.coarse("t1", 5)
