"""Small and faint T2 lesions: candidates of local contrast, and their acceptance."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import RULE_ALONE, Head, constant_model

from mri_pipeline.core.io.priors import T2_BASINS_FILE, load_trees
from mri_pipeline.core.method.t2.segmentation import T2Settings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Affine, Image
from mri_pipeline.core.trees import BoostedTrees
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.t2.basins import FEATURES, Surroundings, candidates, white_matter_contrast
from mri_pipeline.lesions.t2.evidence import evidence_of_visits
from mri_pipeline.lesions.t2.further import further_lesions
from mri_pipeline.lesions.t2.segment import segment_t2

FLAIR, T1W, T2W = Contrast.FLAIR, Contrast.T1W, Contrast.T2W
AT = (18, 5, 0)
RULES = LesionRules()


ALL, NONE = constant_model(100.0), RULE_ALONE
LARGE = BoostedTrees(
    0.0, np.array([[FEATURES.index("size")]]), np.array([[np.log(40.0)]]), np.array([[-100.0, 100.0]]), FEATURES
)
"""A model that accepts candidates above 40 mm³: not those of noise."""


def faint(flair=1.15, radius=3.0, spacing=(1.0, 1.0, 1.0)):
    head = Head(spacing)
    spot = head.inside(AT, radius)
    head.paint(spot, FLAIR=flair, T1W=0.97, T2W=1.3)
    return head, spot


def found_by(visits, tissue, model, known=None):
    evidences, threshold = evidence_of_visits(visits, tissue, T2Settings())
    known = known or [np.zeros(visits[0].grid.shape, dtype=bool)] * len(visits)
    local = [white_matter_contrast(visit, tissue) for visit in visits]
    return further_lesions(
        visits, tissue, evidences, contrasts=local, threshold=threshold, known=known, model=model
    )


def candidates_of(visit, tissue):
    (evidence,), threshold = evidence_of_visits([visit], tissue, T2Settings())
    flair = white_matter_contrast(visit, tissue)
    return candidates(visit, tissue, evidence, threshold, flair=flair, surroundings=Surroundings.of(tissue))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
def test_a_lesion_below_the_threshold_is_a_candidate_to_half_of_its_height(spacing):
    head, spot = faint(spacing=spacing)
    visit, tissue = head.visit(FLAIR, T1W), head.tissue()
    (rule,) = segment_t2([visit], tissue, RULES, model=NONE)
    assert not rule.mask.mask[spot].any()
    found = candidates_of(visit, tissue)
    own = int(found.components.sums(spot).argmax())
    lesion = found.components.chosen(np.arange(len(found.features)) == own)
    assert 2 * (lesion & spot).sum() / (lesion.sum() + spot.sum()) > 0.7
    value = dict(zip(FEATURES, found.features[own], strict=True))
    assert value["score"] < value["score_peak"] < 0
    assert value["step_near"] > 1
    assert value["white_matter"] == value["white_matter_near"] == value["white_matter_wide"] == 1
    assert value["csf_near"] == value["infratentorial"] == 0
    assert value["t1_contrast"] < -0.5
    assert -1 < value["t1"] < 0
    assert value["elongation"] == pytest.approx(1, abs=0.35)
    assert np.isfinite(found.features).all()


def test_two_lesions_that_adjoin_are_two_candidates():
    head = Head()
    spots = [head.inside((AT[0], AT[1] + y, AT[2]), 3.0) for y in (-3.5, 3.5)]
    for spot in spots:
        head.paint(spot, FLAIR=1.3)
    found = candidates_of(head.visit(FLAIR, T1W), head.tissue())
    own = [int(found.components.sums(spot).argmax()) for spot in spots]
    assert own[0] != own[1]


def test_a_tract_that_is_bright_on_both_sides_has_a_mirrored_contrast():
    both, one = Head(), Head()
    for x in (AT[0], -AT[0]):
        both.paint(both.inside((x, *AT[1:]), 3.0), FLAIR=1.2)
    one.paint(one.inside(AT, 3.0), FLAIR=1.2)
    over = []
    for head in (both, one):
        tissue = dataclasses.replace(head.tissue(), template_to_subject=Affine.identity())
        found = candidates_of(head.visit(FLAIR, T1W), tissue)
        own = int(found.components.sums(head.inside(AT, 3.0)).argmax())
        over.append(found.features[own, FEATURES.index("over_mirrored")])
    assert over[0] < 1 < over[1] - 1


@pytest.mark.parametrize(
    ("radius", "opposite", "grey", "lesion"),
    [
        (2.5, 1.0, False, True),
        (4.0, 1.0, False, True),
        (4.0, 1.35, False, False),  # as bright on the other side
        (2.5, 1.0, True, True),
        (4.0, 1.0, True, False),  # a gyrus
    ],
)
def test_no_model_accepts_a_gyrus_or_tissue_that_is_is_symmetric(radius, opposite, grey, lesion):
    head = Head()
    spot, other = (head.inside((x, *AT[1:]), radius) for x in (AT[0], -AT[0]))
    head.paint(spot, FLAIR=1.35)
    head.paint(other, FLAIR=opposite)
    maps = head.tissue()
    if grey:
        maps = dataclasses.replace(maps, grey_matter=Image((head.grey | spot).astype(np.float32), head.grid))
    (mask,) = found_by([head.visit(FLAIR, T1W)], maps, ALL)
    assert mask[spot].any() == lesion


def test_nothing_in_the_edge_of_the_brain_or_below_the_least_volume_is_a_candidate():
    head = Head()
    head.paint(head.inside(AT, 0.9), FLAIR=1.3)
    found = candidates_of(head.visit(FLAIR, T1W), head.tissue())
    volumes = found.components.sizes * head.grid.voxel_volume_mm3
    assert not len(volumes) or volumes.min() >= 10


def test_accepted_candidates_become_lesions_with_a_probability_of_half_or_more():
    head, spot = faint()
    (found,) = segment_t2([head.visit(FLAIR, T1W)], head.tissue(), RULES, model=ALL)
    assert found.mask.mask[spot].mean() > 0.5
    assert found.probability.data[found.mask.mask].min() >= 0.5


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
@pytest.mark.parametrize("noise", [0.02, 0.06, 0.1])
def test_normal_white_matter_cortex_and_ventricle_give_nothing(spacing, noise):
    head = Head(spacing, noise)
    (found,) = segment_t2([head.visit(FLAIR, T1W)], head.tissue(), RULES)
    assert not found.mask.mask.any()


def test_no_model_accepts_a_candidate_of_little_contrast():
    head, _ = faint(flair=1.10, radius=2.0)
    found = candidates_of(head.visit(FLAIR, T1W), head.tissue())
    contrast = found.features[:, FEATURES.index("contrast")]
    (mask,) = found_by([head.visit(FLAIR, T1W)], head.tissue(), ALL)
    assert contrast.min() < 2.5
    assert not mask[found.components.chosen(contrast < 2.5)].any()


@pytest.mark.parametrize(
    ("name", "sign"), [("peak", 1), ("contrast", 1), ("score_peak", 1), ("csf_near", -1), ("mirrored", -1)]
)
def test_the_model_of_the_package_is_monotonic(name, sign):
    """Trees that are not monotonic accepted noise, which the training data do not hold."""
    rows = np.random.default_rng(3).uniform(-3, 8, (300, len(FEATURES)))
    values = np.linspace(-5, 12, 30)
    model = load_trees(T2_BASINS_FILE)
    curves = []
    for value in values:
        rows[:, FEATURES.index(name)] = value
        curves.append(model.probability(rows))
    assert (sign * np.diff(curves, axis=0) >= 0).all()
    assert np.ptp(curves, axis=0).max() > 0


def test_known_lesions_are_not_found_again():
    head, spot = faint(flair=1.4)
    (found,) = found_by([head.visit(FLAIR, T1W)], head.tissue(), ALL, known=[spot])
    assert not found[head.inside(AT, 5.0)].any()


def test_without_t1_nothing_is_added():
    head, _ = faint()
    (found,) = found_by([head.visit(FLAIR)], head.tissue(), ALL)
    assert not found.any()


def test_a_stable_lesion_has_the_same_mask_at_all_visits():
    visits = []
    for flair in (1.15, 1.18):
        head, spot = faint(flair)
        visits.append(head.visit(FLAIR, T1W))
    found = found_by(visits, head.tissue(), ALL)
    assert found[0][spot].mean() > 0.5
    assert np.array_equal(*found)


def test_a_faint_lesion_of_one_visit_alone_is_not_counted():
    """A lesion that appears or disappears must be definite."""
    with_it, spot = faint(1.18)
    without = Head()
    visits = [with_it.visit(FLAIR, T1W), without.visit(FLAIR, T1W)]
    assert found_by(visits[:1], with_it.tissue(), LARGE)[0][spot].any()
    assert not any(found[spot].any() for found in found_by(visits, with_it.tissue(), LARGE))


def test_a_visit_whose_field_of_view_lacks_the_lesion_does_not_decide():
    with_it, spot = faint(1.18)
    part = Head()
    part.brain = part.brain & (part.at[0] < 8)
    found = found_by([with_it.visit(FLAIR, T1W), part.visit(FLAIR, T1W)], with_it.tissue(), ALL)
    assert found[0][spot].mean() > 0.5
    assert not found[1][spot].any()


def test_one_visit_gives_the_same_lesions_as_two_copies_of_it():
    head, _ = faint()
    visit = head.visit(FLAIR, T1W)
    (one,) = found_by([visit], head.tissue(), ALL)
    assert all(np.array_equal(one, copy) for copy in found_by([visit, visit], head.tissue(), ALL))


def test_a_lesion_beside_the_field_of_view_of_t1_is_judged_by_the_known_part():
    """Voxels without T1 made every lesion that touched them grey matter."""
    head = Head()
    spot = head.inside(AT, 3.0)
    head.paint(spot, FLAIR=1.35)
    visit, tissue = head.visit(FLAIR, T1W), head.tissue()
    (whole,) = segment_t2([visit], tissue, RULES, model=NONE)
    assert whole.mask.mask[spot].mean() > 0.5
    t1 = visit.contrasts[T1W].data.copy()
    t1[spot & (head.at[2] > AT[2] + 1.5)] = 0
    cut = dataclasses.replace(visit, contrasts={**visit.contrasts, T1W: Image(t1, head.grid)})
    (found,) = segment_t2([cut], tissue, RULES, model=NONE)
    assert found.mask.mask[spot].mean() > 0.5
