"""Brain regions outside of the field of view of a visit trigger a QC flag; they are neither normal nor lesion."""

import numpy as np
import pytest

from mri_pipeline.analysis import preparation
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from qc.registration import brain_qc_flag, contrast_qc_flag

GRID = Grid((30, 30, 20), np.diag([2.0, 2.0, 3.0, 1.0]))


def brain(slices=20):
    data = np.zeros(GRID.shape, np.uint8)
    data[5:25, 5:25, :slices] = 1
    return LabelImage(data, GRID)


def flair(slices=20):
    return Image(np.ones((30, 30, slices), np.float32), Grid((30, 30, slices), GRID.affine))


def test_the_share_is_that_of_the_whole_brain():
    mask, share = preparation.brain_of_visit(brain(15), flair(15), Affine.identity(), whole_brain=brain())
    assert np.array_equal(mask.mask, brain(15).mask)
    assert share == pytest.approx(0.75)


def test_in_a_kept_space_a_visit_has_what_it_scanned_of_the_brain():
    mask, share = preparation.brain_of_visit(brain(), flair(15), Affine.identity())
    assert np.array_equal(mask.mask, brain(15).mask)
    assert share == pytest.approx(0.75)


def test_less_than_half_of_the_brain_is_no_visit():
    with pytest.raises(AnalysisError, match="found 40 % of the subject's brain"):
        preparation.brain_of_visit(brain(8), flair(8), Affine.identity(), whole_brain=brain())


def test_a_truncated_flair_takes_its_part_from_all_visits_and_is_known_to():
    space = preparation.subject_space(
        flairs=[flair(), flair(14)],
        brains=[brain(), LabelImage(brain().data[..., :14], flair(14).grid)],
        templates_to_flair=[Affine.identity()] * 2,
        later_to_first=[Affine.identity()],
    )
    shares = [
        preparation.brain_of_visit(space.brain, f, way, whole_brain=space.whole_brain)[1]
        for f, way in zip([flair(), flair(14)], space.flairs_to_subject, strict=True)
    ]
    assert shares == pytest.approx([1.0, 0.7], abs=0.01)
    assert space.brain.volume_mm3 == pytest.approx(0.7 * space.whole_brain.volume_mm3, rel=0.01)


def test_scans_that_end_before_the_brain_are_named():
    short = np.ones(GRID.shape, np.float32)
    short[:, :, 16:] = 0
    images = {
        Contrast.FLAIR: Image(short, GRID),  # what it has not scanned is known by other means
        Contrast.T1W: Image(np.ones(GRID.shape, np.float32), GRID),
        Contrast.T1W_GD: Image(short, GRID),
    }
    message = preparation.partly_scanned(images, brain())
    assert message.startswith("ce-gadolinium_T1w: covers 80 % of the brain")
    assert message.count("covers") == 1
    assert preparation.partly_scanned({Contrast.FLAIR: images[Contrast.FLAIR]}, brain()) == ""


@pytest.mark.parametrize(
    ("bright", "message"),
    [
        (Contrast.T1W_GD, ""),
        (None, "no enhancement, not even of vessels; check that contrast was given"),
        (Contrast.T1W, "T1w enhances against it; check whether the two T1 are swapped"),
    ],
)
def test_a_post_contrast_t1_without_enhancement_is_flagged(bright, message):
    """By the same comparison as at the gate (`images.enhancement.check_enhancement`)."""
    noise = np.random.default_rng(0).normal(100, 3, (2, *GRID.shape)).astype(np.float32)
    contrasts = {c: Image(data, GRID) for c, data in zip((Contrast.T1W, Contrast.T1W_GD), noise, strict=True)}
    if bright is not None:
        contrasts[bright].data[5:7, 5:25] += 100  # a tenth of the brain
    flag = contrast_qc_flag(contrasts, brain(), t1_enhanced=False)
    assert flag == (f"T1 after contrast: {message}" if message else "")
    del contrasts[Contrast.T1W]
    assert contrast_qc_flag(contrasts, brain(), t1_enhanced=False) == ""
    assert "black holes are not counted" in contrast_qc_flag(contrasts, brain(), t1_enhanced=True)


@pytest.mark.parametrize(("quality", "told"), [(0.86, False), (0.64, True)])
def test_a_poor_match_to_the_template_triggers_a_qc_flag(quality, told):
    assert bool(brain_qc_flag(quality)) == told
