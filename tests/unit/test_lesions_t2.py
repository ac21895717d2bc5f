import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import RULE_ALONE, Head

from mri_pipeline.core.errors import GridMismatchError
from mri_pipeline.core.io.priors import load_lesion_prior, read_lesion_prior, save_lesion_prior
from mri_pipeline.core.method.t2.segmentation import T2Settings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.t2 import segment as t2
from mri_pipeline.lesions.t2.features import standardised

FLAIR, T1W, T2W = Contrast.FLAIR, Contrast.T1W, Contrast.T2W
RULES = LesionRules()
PLACES = [(15, 5, 0), (-15, 5, 3), (0, 22, 6)]


def segment_t2(visit, tissue, rules):
    (only,) = t2.segment_t2([visit], tissue, rules, model=RULE_ALONE)
    return only


def head_with_lesions(radius=4.0, spacing=(1.0, 1.0, 1.0)):
    head = Head(spacing)
    truth = np.zeros(head.grid.shape, bool)
    for place in PLACES:
        truth |= head.inside(place, radius)
    head.paint(truth, FLAIR=1.45, T1W=0.8, T2W=1.8)
    return head, truth


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("contrasts", [(FLAIR,), (FLAIR, T1W), (FLAIR, T2W), (FLAIR, T1W, T2W)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
@pytest.mark.requirement("LESION-02")
def test_lesions_are_found_and_counted(contrasts, spacing):
    head, truth = head_with_lesions(spacing=spacing)
    found = segment_t2(head.visit(*contrasts), head.tissue(), RULES)
    assert found.mask.data.max() == 3
    assert dice(found.mask.mask, truth) > 0.85


def test_probability_is_a_half_at_the_threshold():
    head, truth = head_with_lesions()
    found = segment_t2(head.visit(FLAIR), head.tissue(), RULES)
    assert np.median(found.probability.data[truth]) > 0.9
    assert np.median(found.probability.data[head.white & ~truth]) < 0.1
    assert found.probability.data.min() >= 0
    assert found.probability.data.max() <= 1


def test_no_lesion_gives_an_empty_mask():
    head = Head()
    found = segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES)
    assert found.mask.volume_mm3 == 0


@pytest.mark.requirement("LESION-02")
def test_below_the_minimum_volume_is_no_lesion():
    head = Head()
    head.paint(head.inside((15, 5, 0), 1.1), FLAIR=1.6)  # 7 mm3
    assert segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES).mask.volume_mm3 == 0
    loose = RULES.model_copy(update={"t2_min_volume_mm3": 3.0})
    assert segment_t2(head.visit(FLAIR, T1W), head.tissue(), loose).mask.data.max() == 1


@pytest.mark.parametrize(("radius", "gain", "blur"), [(1.9, 0.55, 0.9), (2.3, 0.45, 1.1)])
def test_a_small_blurred_lesion_has_most_of_its_volume(radius, gain, blur):
    """A scanner's blur lowers the peak of what is small; the border that suits large lesions cuts it short."""
    head = Head(noise=0.04)
    truth = head.inside((15, 5, 0), radius)
    head.data[FLAIR] += gain * ndimage.gaussian_filter(truth.astype(float), blur)
    found = segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES)
    assert found.mask.data.max() == 1
    assert found.mask.volume_mm3 == pytest.approx(truth.sum(), rel=0.4)


def test_bright_cortex_is_no_lesion():
    head = Head()
    head.paint(head.grey, FLAIR=1.3)
    assert segment_t2(head.visit(FLAIR), head.tissue(), RULES).mask.volume_mm3 == 0


def test_thin_rim_of_the_ventricle_is_no_lesion_but_a_thick_one_is():
    thin, thick = Head(), Head()
    for head, width in ((thin, 2.0), (thick, 6.0)):
        cap = head.inside((0, 0, 0), 7 + width) & ~head.csf & (head.at[1] > 4) & (abs(head.at[0]) < 4)
        head.paint(cap, FLAIR=1.4)
    assert segment_t2(thin.visit(FLAIR), thin.tissue(), RULES).mask.volume_mm3 == 0
    assert segment_t2(thick.visit(FLAIR), thick.tissue(), RULES).mask.data.max() == 1


def test_grey_matter_on_t1_is_no_lesion():
    head = Head()
    nucleus = head.inside((15, 5, 0), 4)
    head.paint(nucleus, FLAIR=1.26, T1W=0.7)
    only_flair = segment_t2(head.visit(FLAIR), head.tissue(), RULES)
    with_t1 = segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES)
    assert with_t1.mask.volume_mm3 <= only_flair.mask.volume_mm3
    assert with_t1.mask.volume_mm3 == 0


@pytest.mark.parametrize(
    ("contrasts", "t1", "lesions"), [((FLAIR,), 1.0, 0), ((FLAIR, T1W), 1.0, 1), ((FLAIR, T1W), 0.85, 0)]
)
def test_what_t1_shows_to_be_white_matter_may_be_fainter(contrasts, t1, lesions):
    """The threshold is as high as it is for the sake of grey matter."""
    head = Head()
    faint = head.inside((15, 5, 0), 3)
    head.paint(faint, FLAIR=1.21, T1W=t1)
    found = segment_t2(head.visit(*contrasts), head.tissue(), RULES)
    assert found.mask.data.max() == lesions
    if lesions:
        assert dice(found.mask.mask, faint) > 0.7
        assert found.probability.data[found.mask.mask].min() >= 0.5


def test_a_lesion_grows_as_it_grows_brighter():
    """A faint lesion whose brightest part becomes sure was once that part alone: 202 mm³, then 93."""
    volumes = []
    for flair in (1.21, 1.24, 1.27, 1.3, 1.34, 1.4, 1.5):
        head = Head()
        lesion = head.inside((15, 5, 0), 4)
        head.paint(lesion, FLAIR=flair, T1W=0.95)
        head.data[FLAIR] = ndimage.gaussian_filter(head.data[FLAIR], 0.7)
        volumes.append(segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES).mask.volume_mm3)
    assert volumes[0] > 0.3 * lesion.sum()
    assert volumes == sorted(volumes)


def test_a_faint_place_around_several_lesions_does_not_join_them():
    """It is what blurs them into one, and no part of any."""
    head = Head(noise=0.03)
    lesions = [head.inside((15, y, 0), 3) for y in (-10, 0, 10)]
    head.paint(head.inside((15, 0, 0), 14), FLAIR=1.17, T1W=0.97)
    for lesion in lesions:
        head.paint(lesion, FLAIR=1.3)
    found = segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES)
    assert found.mask.data.max() == 3
    assert dice(found.mask.mask, np.any(lesions, axis=0)) > 0.8


@pytest.mark.parametrize(("place", "flair"), [((29, 0, 0), 1.21), ((0, 9, 0), 1.24)])
def test_a_faint_place_in_grey_matter_or_beside_fluid_is_no_lesion(place, flair):
    head = Head()
    head.paint(head.inside(place, 2.5) & ~head.csf, FLAIR=flair, T1W=1.0)
    assert segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES).mask.volume_mm3 == 0


@pytest.mark.parametrize(("flair", "lesions"), [(1.3, 0), (1.4, 1)])
def test_what_may_be_grey_matter_must_be_bright_throughout(flair, lesions):
    """Grey matter passes the threshold by its noise; a lesion as dark on T1 lies above it as a whole."""
    head = Head()
    head.paint(head.inside((15, 5, 0), 4), FLAIR=flair)
    assert segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES).mask.data.max() == 1
    assert segment_t2(head.visit(FLAIR), head.tissue(), RULES).mask.data.max() == lesions
    head.paint(head.inside((15, 5, 0), 4), T1W=0.7)
    assert segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES).mask.data.max() == lesions


@pytest.mark.parametrize(("flair", "lesions"), [(1.3, 0), (1.4, 1)])
def test_beyond_the_field_of_view_of_t1_there_is_no_t1(flair, lesions):
    head = Head()
    head.paint(head.inside((15, 5, 0), 4), FLAIR=flair)
    head.data[T1W][head.at[2] > -8] = 0.0
    found = segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES)
    assert found.mask.data.max() == lesions
    assert found.threshold == pytest.approx(segment_t2(head.visit(FLAIR), head.tissue(), RULES).threshold)


def test_threshold_follows_the_lesions_brightness():
    """The border stays half-way whatever the scanner's contrast: volume must not."""
    volumes = []
    for bright in (1.4, 1.8):
        head, truth = head_with_lesions()
        head.paint(truth, FLAIR=bright)
        head.paint(head.grey, FLAIR=0.85)  # else grey matter sets the threshold
        head.data[FLAIR] = ndimage.gaussian_filter(head.data[FLAIR], 0.8)
        volumes.append(segment_t2(head.visit(FLAIR), head.tissue(), RULES).mask.volume_mm3 / truth.sum())
    assert volumes[1] == pytest.approx(volumes[0], rel=0.35)


def test_without_lesions_dark_grey_matter_sets_no_low_threshold():
    """Normal white matter would reach it. Evident lesions show their border themselves."""
    head, truth = head_with_lesions()
    head.paint(head.grey, FLAIR=0.85)
    thresholds = []
    for bright in (1.0, 1.2, 1.3):
        head.paint(truth, FLAIR=bright)
        thresholds.append(segment_t2(head.visit(FLAIR), head.tissue(), RULES).threshold)
    least = T2Settings().least_threshold
    assert thresholds[:2] == [least, least]
    assert thresholds[2] < least


def test_a_heavy_load_does_not_move_the_scale():
    head = Head((1.0, 1.0, 1.0))
    maps = head.tissue()
    clean = standardised(head.visit(FLAIR).contrasts[FLAIR], head.visit(FLAIR), maps)
    burden = (maps.white_matter.data > 0.8) & (np.random.default_rng(5).random(head.grid.shape) < 0.25)
    head.paint(burden, FLAIR=1.3)
    heavy = standardised(head.visit(FLAIR).contrasts[FLAIR], head.visit(FLAIR), maps)
    np.testing.assert_allclose(heavy[~burden], clean[~burden], atol=0.25)


def test_place_matters():
    head = Head()
    weak = head.inside((15, 5, 0), 4)
    head.paint(weak, FLAIR=1.19)
    likely = segment_t2(head.visit(FLAIR), head.tissue(0.1), RULES).probability.data[weak].mean()
    unlikely = segment_t2(head.visit(FLAIR), head.tissue(0.001), RULES).probability.data[weak].mean()
    assert likely > unlikely + 0.1


@pytest.mark.parametrize("orientation", ["LPS", "PIR"])
def test_orientation_does_not_matter(orientation):
    head, _ = head_with_lesions()
    visit, tissue = head.visit(FLAIR, T1W), head.tissue()
    turned = VisitImages(
        {c: i.reoriented(orientation) for c, i in visit.contrasts.items()}, visit.brain.reoriented(orientation)
    )
    maps = {
        f.name: getattr(tissue, f.name).reoriented(orientation)
        for f in dataclasses.fields(tissue)
        if f.name != "template_to_subject"
    }
    here = segment_t2(visit, tissue, RULES).mask
    there = segment_t2(turned, dataclasses.replace(tissue, **maps), RULES).mask.reoriented("RAS")
    assert np.array_equal(here.data, there.data)


def test_another_grid_is_refused():
    head = Head()
    other = dataclasses.replace(
        head.tissue(), lesion_prior=Image(np.zeros((4, 4, 4), np.float32), Grid((4, 4, 4), np.eye(4)))
    )
    with pytest.raises(GridMismatchError, match="tissue map"):
        segment_t2(head.visit(FLAIR), other, RULES)


def test_prior_survives_its_file(tmp_path):
    prior = load_lesion_prior()
    again = read_lesion_prior(save_lesion_prior(prior, tmp_path / "p.npz"))
    assert np.allclose(again.data, prior.data, rtol=0.06)
    assert np.array_equal(prior.data, prior.data[::-1])  # no side is preferred
    assert isinstance(again, Image)
    assert not isinstance(again, LabelImage)


@pytest.mark.parametrize(("half_width_mm", "lesions"), [(4, 0), (30, 1)], ids=["cap", "confluent"])
def test_a_confluent_lesion_beside_the_ventricle_is_kept_and_a_cap_as_faint_is_not(half_width_mm, lesions):
    """Caps and rims of normal ventricles are small; what is large and as bright is periventricular disease."""
    head = Head()
    band = head.inside((0, 0, 0), 11) & ~head.csf & (head.at[1] > 4) & (abs(head.at[0]) < half_width_mm)
    head.paint(band, FLAIR=1.35, T1W=0.9)
    found = segment_t2(head.visit(FLAIR, T1W), head.tissue(), RULES)
    assert found.mask.data.max() == lesions
    if lesions:
        assert found.mask.mask[band].mean() > 0.6
        assert not found.mask.mask[head.csf].any()
