"""Faint and small T2 lesions by their contrast to the white matter around."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import Head

from mri_pipeline.core.io.priors import T2_NODES_FILE, load_model
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.contrast import local_contrast
from mri_pipeline.lesions.t2.nodes import FEATURES, further_lesions, t2_nodes
from mri_pipeline.lesions.t2.segment import segment_t2

FLAIR, T1W, T2W = Contrast.FLAIR, Contrast.T1W, Contrast.T2W
AT = (18, 5, 0)
RULES = LesionRules()
NONE = LogisticModel(-1e3, np.zeros(len(FEATURES)), FEATURES)
"""A model that accepts nothing."""


def faint_lesion(flair=1.15, radius=3.0, spacing=(1.0, 1.0, 1.0)):
    head = Head(spacing)
    spot = head.inside(AT, radius)
    head.paint(spot, FLAIR=flair, T1W=0.93, T2W=1.3)
    return head, spot


def absent(head):
    return np.zeros(head.grid.shape, dtype=bool)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
@pytest.mark.parametrize("contrasts", [(FLAIR, T1W), (FLAIR, T1W, T2W)])
def test_a_lesion_below_the_threshold_of_the_head_is_found(spacing, contrasts):
    head, spot = faint_lesion(spacing=spacing)
    visit, tissue = head.visit(*contrasts), head.tissue()
    (rule,) = segment_t2([visit], tissue, RULES, model=NONE)
    assert not rule.mask.mask[spot].any()
    (found,) = segment_t2([visit], tissue, RULES)
    assert found.mask.mask[spot].mean() > 0.5
    assert found.probability.data[found.mask.mask].min() >= 0.5
    assert not found.mask.mask[~head.inside(AT, 6)].any()


def test_normal_white_matter_cortex_and_ventricle_give_nothing():
    head = Head()
    visit = head.visit(FLAIR, T1W)
    (found,) = further_lesions([visit], head.tissue(), [absent(head)], load_model(T2_NODES_FILE))
    assert not found.any()


def test_known_lesions_are_not_found_again():
    head, _ = faint_lesion(flair=1.4)
    known = head.inside((AT[0] + 4, *AT[1:]), 3)
    (found,) = further_lesions([head.visit(FLAIR, T1W)], head.tissue(), [known], load_model(T2_NODES_FILE))
    assert not found.any()


def test_a_stable_lesion_has_the_same_mask_at_all_visits():
    visits = []
    for flair in (1.15, 1.18):
        head, spot = faint_lesion(flair)
        visits.append(head.visit(FLAIR, T1W))
    found = further_lesions(visits, head.tissue(), [absent(head)] * 2, load_model(T2_NODES_FILE))
    assert found[0][spot].mean() > 0.5
    assert np.array_equal(*found)


def test_a_faint_lesion_of_one_visit_alone_is_not_counted():
    """A lesion that appears or disappears must be definite."""
    with_it, _ = faint_lesion(1.18)
    without = Head()
    visits = [with_it.visit(FLAIR, T1W), without.visit(FLAIR, T1W)]
    assert further_lesions(visits[:1], with_it.tissue(), [absent(with_it)], load_model(T2_NODES_FILE))[0].any()
    found = further_lesions(visits, with_it.tissue(), [absent(with_it)] * 2, load_model(T2_NODES_FILE))
    assert not found[0].any()
    assert not found[1].any()


def test_a_visit_whose_field_of_view_lacks_the_lesion_does_not_decide():
    with_it, spot = faint_lesion(1.18)
    part = Head()
    part.brain = part.brain & (part.at[0] < 8)
    visits = [with_it.visit(FLAIR, T1W), part.visit(FLAIR, T1W)]
    found = further_lesions(visits, with_it.tissue(), [absent(with_it)] * 2, load_model(T2_NODES_FILE))
    assert found[0][spot].mean() > 0.5
    assert not found[1].any()


def test_one_visit_gives_the_same_lesions_as_two_copies_of_it():
    head, _ = faint_lesion()
    visit, model = head.visit(FLAIR, T1W), load_model(T2_NODES_FILE)
    (one,) = further_lesions([visit], head.tissue(), [absent(head)], model)
    two = further_lesions([visit, visit], head.tissue(), [absent(head)] * 2, model)
    assert np.array_equal(one, two[0])
    assert np.array_equal(one, two[1])


def test_features_are_in_the_order_of_the_model():
    head, spot = faint_lesion()
    visit, tissue = head.visit(FLAIR, T1W), head.tissue()
    nodes = t2_nodes(visit, tissue, local_contrast(visit.contrasts[FLAIR], visit, tissue))
    assert load_model(T2_NODES_FILE).names == FEATURES
    own = nodes[0].components.means(spot).argmax()
    value = dict(zip(FEATURES, nodes[0].features[own], strict=True))
    assert METHOD.t2_nodes.levels[0] <= np.expm1(value["lowest"]) < np.expm1(value["peak"])
    assert value["step"] > 1
    assert value["white_matter"] == value["white_matter_around"] == 1
    assert value["csf_around"] == 0
    assert value["t1_contrast"] < -0.5
    assert value["elongation"] == pytest.approx(1, abs=0.3)
    assert all(np.isfinite(at_level.features).all() for at_level in nodes)
