"""Places that are hardly brighter than the white matter around them."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import RULE_ALONE, Head

from mri_pipeline.core.method.t2.segmentation import T2Settings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.t2.segment import diffusely_bright, segment_t2

FLAIR, T1W = Contrast.FLAIR, Contrast.T1W
SETTINGS = T2Settings()
PLACE = (18, 5, 0)
LARGE, SMALL = 4.0, 2.0  # balls of 260 and 33 mm³ on voxels of 1 mm


def excluded(*levels, radius=LARGE):
    """The excluded places, and the ball, if it has these contrasts at the visits."""
    head = Head()
    spot = head.inside(PLACE, radius)
    contrasts = [np.where(spot, level, 0.5).astype(np.float32) for level in levels]
    return diffusely_bright([spot] * len(levels), contrasts, head.grid, SETTINGS), spot


@pytest.mark.parametrize(
    ("above", "diffuse"),
    [(-0.1, True), (0.1, False), (-5.0, True)],
)
def test_a_place_without_contrast_is_no_lesion(above, diffuse):
    places, spot = excluded(SETTINGS.least_contrast + above)
    assert (places == (spot & diffuse)).all()


def test_a_small_lesion_is_exempt():
    assert not excluded(1.0, radius=SMALL)[0].any()


def test_one_visit_with_contrast_is_enough():
    assert not excluded(1.0, 5.0)[0].any()
    assert not excluded(5.0, 1.0)[0].any()
    assert excluded(1.0, 1.5)[0].any()


def test_a_visit_without_white_matter_around_does_not_decide():
    assert not excluded(0.0)[0].any()
    assert excluded(0.0, 1.0)[0].any()
    assert not excluded(0.0, 5.0)[0].any()


def test_a_lesion_within_diffuse_change_is_kept():
    head = Head()
    halo, core = head.inside(PLACE, 8.0), head.inside(PLACE, SMALL)
    for highest, kept in ((SETTINGS.core_contrast + 0.1, True), (SETTINGS.core_contrast - 0.1, False)):
        contrast = np.where(core, highest, 1.5).astype(np.float32)
        assert diffusely_bright([halo], [contrast], head.grid, SETTINGS).any() != kept


def test_a_visit_decides_by_the_voxels_that_it_has_found():
    head = Head()
    halo, core = head.inside(PLACE, 8.0), head.inside(PLACE, LARGE)
    bright = np.where(core, 3.0, 0.5).astype(np.float32)
    diffuse = np.full(head.grid.shape, 1.6, dtype=np.float32)
    assert not diffusely_bright([core, halo], [bright, diffuse], head.grid, SETTINGS).any()
    assert diffusely_bright([halo, halo], [diffuse, diffuse], head.grid, SETTINGS).any()


def test_a_visit_without_contrast_for_half_of_a_lesion_does_not_decide():
    head = Head()
    spot, some = head.inside(PLACE, LARGE), head.inside(PLACE, SMALL)
    known = np.where(some, 1.0, 0.0).astype(np.float32)
    assert not diffusely_bright([spot], [known], head.grid, SETTINGS).any()
    nothing, low = np.zeros_like(spot), np.full(head.grid.shape, -8.0, dtype=np.float32)
    assert not diffusely_bright([spot, nothing], [known, low], head.grid, SETTINGS).any()


def test_nothing_found_excludes_nothing():
    head = Head()
    nothing = np.zeros(head.grid.shape, dtype=bool)
    contrast = np.zeros(head.grid.shape, dtype=np.float32)
    assert not diffusely_bright([nothing], [contrast], head.grid, SETTINGS).any()


def bump(radius_mm, height):
    """White matter with texture, whose FLAIR rises smoothly towards a place."""
    head = Head(noise=0.04)
    texture = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=head.grid.shape), 2.5)
    squared = sum((a - c) ** 2 for a, c in zip(head.at, PLACE, strict=True))
    rise = height * np.exp(-0.5 * squared / radius_mm**2) + 0.08 * texture / texture.std()
    head.data[FLAIR] += rise * head.white
    return head


def lesions_of(head, settings):
    (found,) = segment_t2(
        [head.visit(FLAIR, T1W)], head.tissue(), LesionRules(), settings=settings, model=RULE_ALONE
    )
    return int(found.mask.data.max())


def test_white_matter_that_brightens_over_centimetres_is_no_lesion_and_a_spot_is_one():
    wide, spot = bump(12.0, 0.25), bump(3.0, 0.30)
    assert lesions_of(wide, replace(SETTINGS, least_contrast=-np.inf)) > 0
    assert lesions_of(wide, SETTINGS) == 0
    assert lesions_of(spot, SETTINGS) == 1
