"""One scan gives one answer, by every command and with any order of axes."""

from pathlib import Path

import numpy as np
import pytest

from mri_pipeline.core.io import nifti
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.visits import Contrast
from reading_centre.use_cases.segment import segment_images

pytestmark = pytest.mark.slow
IMAGES = Path(__file__).parents[2] / "test_images"
NAMES = {
    Contrast.FLAIR: "FLAIR",
    Contrast.T1W: "T1w",
    Contrast.T1W_GD: "ce-gadolinium_T1w",
    Contrast.T2W: "T2w",
}


def path_of(contrast):
    return IMAGES / f"sub-phantom_ses-wk04_{NAMES[contrast]}.nii.gz"


@pytest.fixture(scope="module")
def segmented():
    """The visit of the test images, segmented as stored."""
    images = {contrast: nifti.load_scan(path_of(contrast)) for contrast in NAMES}
    return images, segment_images(images, rules=LesionRules())


@pytest.mark.parametrize("axes", ["LPS", "PIR", "SAL"])
def test_turned_axes_change_no_voxel(segmented, axes):
    images, expected = segmented
    turned = {contrast: image.reoriented(axes) for contrast, image in images.items()}
    found = segment_images(turned, rules=LesionRules())
    for got, wanted in (
        (found.t2.mask, expected.t2.mask),
        (found.found.gel.mask, expected.found.gel.mask),
        (found.found.dark.black_holes, expected.found.dark.black_holes),
        (found.lesions, expected.lesions),
    ):
        assert got.grid.orientation == axes
        assert wanted.mask.any()
        assert np.array_equal(got.reoriented(wanted.grid.orientation).data, wanted.data)
