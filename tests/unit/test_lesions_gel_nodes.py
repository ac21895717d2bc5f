"""Enhancing components at several levels, evaluated by all their evidence together."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import Head

from mri_pipeline.core.anatomy import BELOW_FORAMEN_MAGNUM
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.io.priors import GEL_NODES_FILE, load_model, read_model, save_model
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.contrast import local_contrast
from mri_pipeline.lesions.gel.candidates import GelDetection
from mri_pipeline.lesions.gel.detect import detect_gel, with_enhancing
from mri_pipeline.lesions.gel.evidence import gel_evidence
from mri_pipeline.lesions.gel.levels import Nodes, accepted_nodes, components_at_levels
from mri_pipeline.lesions.gel.nodes import FEATURES, gel_nodes

FLAIR, T1W, GD, T2W = Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD, Contrast.T2W
RULES, SETTINGS = LesionRules(), GelSettings()
AT = (15, 5, 0)
ALWAYS = LogisticModel(10.0, np.zeros(len(FEATURES)), FEATURES)


def nothing(head):
    return head.labels(np.zeros(head.grid.shape, bool))


def enhancing(flair, enhancement, radius=2.5, spacing=(1.0, 1.0, 1.0)):
    head = Head(spacing)
    spot = head.inside(AT, radius)
    head.paint(spot, FLAIR=flair, T1W=0.95, T1W_GD=enhancement, T2W=1.3)
    return head, spot


@pytest.mark.parametrize("contrasts", [(FLAIR, T1W, GD), (FLAIR, GD), (FLAIR, T1W, GD, T2W)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
def test_a_faint_t2_correlate_suffices_for_strong_compact_enhancement(contrasts, spacing):
    """FLAIR is hardly as bright as grey matter: neither the T2 rule nor the GEL rule accepts it."""
    head, spot = enhancing(1.1, 1.45, spacing=spacing)
    found = detect_gel(head.visit(*contrasts), head.tissue(), nothing(head), RULES)
    assert found.mask.data.max() == 1
    first = found.candidates[0]
    assert first.accepted
    assert first.probability >= METHOD.gel_nodes.least_probability
    assert found.mask.mask[spot].mean() > 0.5
    assert not found.mask.mask[~head.inside(AT, 4.5)].any()


def test_without_a_t2_correlate_strong_enhancement_is_no_lesion():
    head, _ = enhancing(1.0, 1.45)
    assert not detect_gel(head.visit(FLAIR, T1W, GD), head.tissue(), nothing(head), RULES).mask.mask.any()


def test_what_contains_fluid_is_choroid_plexus_and_no_lesion():
    """Of three balls the model would accept each; a dark core on FLAIR, 2 SD or more, is fluid."""
    found = {}
    for core in (1.2, 1.1, 0.3):
        head, _ = enhancing(1.2, 1.45, radius=3)
        head.paint(head.inside(AT, 1.2), FLAIR=core)
        visit, tissue = head.visit(FLAIR, T1W, GD), head.tissue()
        evidence = gel_evidence(visit, tissue, nothing(head), SETTINGS)
        found[core] = any(at_level.allowed.any() for at_level in gel_nodes(visit, tissue, evidence, SETTINGS))
    assert found == {1.2: True, 1.1: True, 0.3: False}


def test_a_ring_around_a_cavity_contains_no_fluid():
    """The cavity does not enhance, and is no part of the component."""
    head, spot = enhancing(1.3, 1.45, radius=7)
    cavity = head.inside(AT, 4)
    head.paint(cavity, FLAIR=0.4, T1W=0.5, T1W_GD=0.5)
    visit, tissue = head.visit(FLAIR, T1W, GD), head.tissue()
    evidence = gel_evidence(visit, tissue, nothing(head), SETTINGS)
    covered = np.zeros(spot.shape, bool)
    for at_level in gel_nodes(visit, tissue, evidence, SETTINGS):
        covered |= at_level.components.chosen(at_level.allowed)
    assert covered[spot & ~cavity].mean() > 0.3


def test_a_known_lesion_is_not_found_again():
    head, spot = enhancing(1.5, 1.45)
    visit, tissue = head.visit(FLAIR, T1W, GD), head.tissue()
    evidence = gel_evidence(visit, tissue, nothing(head), SETTINGS)
    nodes, model = gel_nodes(visit, tissue, evidence, SETTINGS), load_model(GEL_NODES_FILE)

    def accepted(taken):
        found = [model.probability(at_level.features) for at_level in nodes]
        return accepted_nodes(
            nodes, found, evidence.enhancement, head.grid, within=head.brain, taken=taken, settings=SETTINGS
        )

    free = accepted(np.zeros(spot.shape, bool))
    assert len(free.probabilities) == 1
    assert free.labels[spot].mean() > 0.5
    beside = head.inside((AT[0] + 4, *AT[1:]), 2.5)
    taken = accepted(beside)
    assert taken.probabilities == ()
    assert not taken.labels.any()


def test_of_two_lesions_joined_at_a_low_level_each_is_found():
    head = Head()
    for x in (12, 20):
        head.paint(head.inside((x, 5, 0), 2.5), FLAIR=1.35, T1W=0.95, T1W_GD=1.5)
    bridge = (np.abs(head.at[1] - 5) < 1) & (np.abs(head.at[2]) < 1) & (np.abs(head.at[0] - 16) < 3)
    head.paint(bridge, T1W_GD=1.18)
    found = detect_gel(head.visit(FLAIR, T1W, GD), head.tissue(), nothing(head), RULES)
    assert found.mask.data.max() == 2


def test_a_lesion_ends_at_the_foramen_magnum():
    head, _ = enhancing(1.15, 1.45, radius=4)
    tissue = head.tissue()
    below = head.brain & (head.at[2] < 0)
    places = LabelImage(np.where(below, BELOW_FORAMEN_MAGNUM, tissue.location.data), head.grid)
    found = detect_gel(
        head.visit(FLAIR, T1W, GD, T2W), replace(tissue, location=places), nothing(head), RULES, model=ALWAYS
    )
    assert found.mask.data.max() == 1
    assert not found.mask.mask[below].any()


def test_the_surroundings_do_not_depend_on_rounding_of_the_voxel_size():
    """A rotated grid of 1 mm voxels has a spacing of 0.9999999999999998 mm."""
    spot = np.zeros((15, 15, 15), np.float32)
    spot[6:9, 6:9, 6:9] = 0.3
    sizes = set()
    for size in (1.0, 1.0 - 2e-16, 1.0 - 1e-7, 1.0 + 1e-7):
        grid = Grid(spot.shape, np.diag([size, size, size, 1.0]))
        sizes |= {int(ring.sizes[0]) for _, ring in components_at_levels(spot, spot < 1, grid)}
    assert sizes == {7**3 - 3**3}


@pytest.mark.parametrize(
    ("flair", "enhancement", "t2w", "posterior_fossa"),
    [
        (1.03, 1.18, 1.3, False),
        (1.035, 1.45, 1.3, True),
        (1.15, 1.18, 1.3, True),
        (1.15, 1.45, 1.02, True),
        (1.15, 1.45, 1.0, False),
    ],
)
def test_in_the_posterior_fossa_faint_enhancement_needs_bright_flair_and_any_needs_brighter_t2w(
    flair, enhancement, t2w, posterior_fossa
):
    """FLAIR just above the surroundings: enough in white matter; in the posterior fossa if enhancement is strong."""
    head, spot = enhancing(flair, enhancement)
    head.paint(spot, T2W=t2w)
    visit, tissue = head.visit(FLAIR, T1W, GD, T2W), head.tissue()
    below = replace(tissue, location=LabelImage(np.where(head.brain, 3, 0), head.grid))
    allowed = {}
    for name, maps in (("above", tissue), ("below", below)):
        evidence = gel_evidence(visit, maps, nothing(head), SETTINGS)
        nodes = gel_nodes(visit, maps, evidence, SETTINGS)
        allowed[name] = any(at_level.allowed.any() for at_level in nodes)
    assert allowed == {"above": True, "below": posterior_fossa}


@pytest.mark.parametrize(("seed", "allowed"), [(0.15, True), (0.3, True), (0.35, True), (0.9, False)])
def test_the_correlate_of_the_posterior_fossa_is_a_step_if_seeds_are_stronger_than_strong_enhancement(
    seed, allowed
):
    """Levels of 0.37 and 0.41 with FLAIR of 1.3 and 1.5 SD."""
    head, _ = enhancing(1.035, 1.45)
    visit, tissue = head.visit(FLAIR, T1W, GD, T2W), head.tissue()
    below = replace(tissue, location=LabelImage(np.where(head.brain, 3, 0), head.grid))
    settings = replace(SETTINGS, seed_enhancement=seed)
    nodes = gel_nodes(visit, below, gel_evidence(visit, below, nothing(head), settings), settings)
    assert any(at_level.allowed.any() for at_level in nodes) == allowed


def test_enhancement_on_both_sides_is_less_probable():
    """Vessels and choroid plexus are symmetrical; `mirrored` is the enhancement of the other side."""
    value = {}
    for sides in ((1,), (1, -1)):
        head = Head()
        for side in sides:
            head.paint(head.inside((side * AT[0], *AT[1:]), 2.5), FLAIR=1.2, T1W=0.95, T1W_GD=1.45)
        visit, tissue = head.visit(FLAIR, T1W, GD), head.tissue()
        nodes = gel_nodes(visit, tissue, gel_evidence(visit, tissue, nothing(head), SETTINGS), SETTINGS)[0]
        own = nodes.components.means(head.inside(AT, 2.5)).argmax()
        value[sides] = nodes.features[own, FEATURES.index("mirrored")]
    assert value[1,] == pytest.approx(0, abs=0.05)
    assert value[1, -1] > 0.3
    model = load_model(GEL_NODES_FILE)
    assert model.coefficients[FEATURES.index("mirrored")] < 0


def test_a_lesion_of_the_midline_is_not_its_own_other_side():
    head = Head()
    spot = head.inside((0, 15, 0), 2.5)
    head.paint(spot, FLAIR=1.2, T1W=0.95, T1W_GD=1.45)
    visit, tissue = head.visit(FLAIR, T1W, GD), head.tissue()
    nodes = gel_nodes(visit, tissue, gel_evidence(visit, tissue, nothing(head), SETTINGS), SETTINGS)[0]
    own = nodes.components.means(spot).argmax()
    assert nodes.components.means(spot)[own] > 0.5
    assert nodes.features[own, FEATURES.index("mirrored")] == pytest.approx(0, abs=0.05)


def test_features_are_in_the_order_of_the_model_and_within_their_limits():
    head, spot = enhancing(1.3, 1.45)
    visit, tissue = head.visit(FLAIR, T1W, GD, T2W), head.tissue()
    evidence = gel_evidence(visit, tissue, nothing(head), SETTINGS)
    nodes = gel_nodes(visit, tissue, evidence, SETTINGS)
    assert load_model(GEL_NODES_FILE).names == FEATURES
    at_level = nodes[0]
    own = at_level.components.means(spot).argmax()
    value = dict(zip(FEATURES, at_level.features[own], strict=True))
    volume = at_level.components.sizes[own] * head.grid.voxel_volume_mm3
    assert value["size"] == pytest.approx(np.log(volume))
    assert 0.2 < np.exp(value["enhancement"]) < 0.5
    assert value["flair_step"] > 1
    assert value["white_matter"] == 1
    assert value["csf_around"] == value["t2_fluid"] == 0
    assert value["elongation"] == pytest.approx(1, abs=0.2)
    assert value["mirrored"] == pytest.approx(0, abs=0.05)
    assert all(np.isfinite(n.features).all() for n in nodes)


@pytest.mark.parametrize(
    ("flair", "limits"),
    [(9.0, {"flair_step": 4.0, "least_flair": 4.0}), (0.02, {"flair_step": -2.0, "least_flair": -6.0})],
)
def test_extreme_intensities_are_limited_to_the_range_of_the_model(flair, limits):
    head, spot = enhancing(flair, 6.0)
    visit, tissue = head.visit(FLAIR, T1W, GD), head.tissue()
    nodes = gel_nodes(visit, tissue, gel_evidence(visit, tissue, nothing(head), SETTINGS), SETTINGS)[-1]
    own = nodes.components.means(spot).argmax()
    value = dict(zip(FEATURES, nodes.features[own].tolist(), strict=True))
    assert {name: value[name] for name in limits} == limits
    assert value["enhancement"] == 0.0  # 100 % of white matter


def test_a_lesion_extends_to_half_of_its_enhancement_by_at_most_2_mm():
    values = np.zeros((15, 15, 15), np.float32)
    node = np.zeros(values.shape, bool)
    node[3:6, 6:9, 6:9] = True
    values[node] = 0.6
    values[6:12, 7, 7] = 0.3  # a tail at half of it
    values[4, 9:12, 7] = 0.29  # a tail below half of it
    components = ConnectedComponents.of(node)
    nodes = [Nodes(components, np.zeros((1, len(FEATURES))), np.ones(1, bool))]
    nowhere = np.zeros(values.shape, bool)
    grid = Grid(values.shape, np.eye(4))

    def found(settings):
        return accepted_nodes(
            nodes, [np.ones(1)], values, grid, within=~nowhere, taken=nowhere, settings=settings
        ).labels

    assert METHOD.gel_nodes.reach_mm == 2.0
    expected = node.copy()
    expected[6:8, 7, 7] = True
    assert np.array_equal(found(SETTINGS) > 0, expected)
    assert np.array_equal(found(replace(SETTINGS, edge_share=0.6)) > 0, node)


def test_fluid_on_t2_is_marked():
    head, spot = enhancing(1.3, 1.45)
    head.paint(spot, T2W=3.0)
    visit, tissue = head.visit(FLAIR, T1W, GD, T2W), head.tissue()
    evidence = gel_evidence(visit, tissue, nothing(head), SETTINGS)
    nodes = gel_nodes(visit, tissue, evidence, SETTINGS)[0]
    own = nodes.components.means(spot).argmax()
    assert nodes.features[own, FEATURES.index("t2_fluid")] == 1


def test_an_enhancing_lesion_not_found_on_t2_becomes_a_t2_lesion():
    head, spot = enhancing(1.1, 1.45)
    known = head.inside((-15, 5, 0), 4)
    visit, tissue = head.visit(FLAIR, T1W, GD), head.tissue()
    t2 = LabelImage(known.astype(np.int32), head.grid)
    found = detect_gel(visit, tissue, t2, RULES)
    probability = Image(known.astype(np.float32), head.grid)
    mask, made = with_enhancing(t2, probability, found, RULES)
    assert mask.data.max() == 2
    assert mask.mask[spot].mean() > 0.5
    assert (mask.mask[known]).all()
    assert made.data[mask.mask].min() >= 0.5


def test_an_enhancing_lesion_in_a_t2_lesion_leaves_the_t2_lesions_unchanged():
    head, spot = enhancing(1.5, 1.45)
    t2 = LabelImage(head.inside(AT, 4).astype(np.int32), head.grid)
    found = detect_gel(head.visit(FLAIR, T1W, GD), head.tissue(), t2, RULES)
    assert found.mask.mask[spot].any()
    probability = Image(t2.mask.astype(np.float32), head.grid)
    mask, made = with_enhancing(t2, probability, found, RULES)
    assert mask is t2
    assert made is probability


def test_local_contrast_is_relative_to_the_white_matter_around():
    """A slope of the intensity over the head has no effect."""
    head = Head()
    spots = [head.inside((x, 5, 0), 3) for x in (-22, 22)]
    for spot in spots:
        head.paint(spot, FLAIR=1.3)
    head.data[FLAIR] *= 1 + 0.002 * head.at[0]
    visit = head.visit(FLAIR)
    contrast = local_contrast(visit.contrasts[FLAIR], visit, head.tissue()).contrast
    left, right = (float(np.median(contrast[spot])) for spot in spots)
    assert left > 5
    assert right == pytest.approx(left, rel=0.3)
    inner = np.sqrt(sum((a / n) ** 2 for a, n in zip(head.at, (36, 42, 33), strict=True))) < 0.65
    plain = inner & ~head.inside((0, 0, 0), 11) & ~head.inside((-22, 5, 0), 7) & ~head.inside((22, 5, 0), 7)
    assert np.median(contrast[plain]) == pytest.approx(0, abs=0.2)
    assert np.std(contrast[plain]) == pytest.approx(1, abs=0.3)


def test_local_contrast_without_white_matter_is_zero():
    head = Head()
    nowhere = replace(head.tissue(), white_matter=Image(np.zeros(head.grid.shape, np.float32), head.grid))
    visit = head.visit(FLAIR)
    assert not local_contrast(visit.contrasts[FLAIR], visit, nowhere).contrast.any()


def test_a_model_is_read_as_it_was_saved(tmp_path):
    model = LogisticModel(-1.2345, np.array([0.5, -2.0]), ("a", "b"))
    read = read_model(save_model(model, tmp_path / "model.json"))
    assert (read.intercept, read.names, read.coefficients.tolist()) == (-1.234, ("a", "b"), [0.5, -2.0])


@pytest.mark.parametrize(("contrasts", "most"), [((FLAIR, T1W, GD), 0), ((FLAIR, GD), 1)])
def test_noise_in_large_voxels_is_not_enhancement(contrasts, most):
    """Noise of 6 % of white matter in voxels of 8 mm³: single bright voxels are frequent."""
    head = Head((2.0, 2.0, 2.0), noise=0.06)
    found = detect_gel(head.visit(*contrasts), head.tissue(), nothing(head), RULES)
    assert found.mask.data.max() <= most


@pytest.mark.parametrize("orientation", ["RAS", "SRA"])
def test_the_centre_of_a_ring_in_thick_slices_is_part_of_the_t2_lesion(orientation):
    """The ring is open above and below: its centre is enclosed within the slice only."""
    head = Head((1.0, 1.0, 3.0))
    middle = np.abs(head.at[2] - head.at[2][0, 0, 10]) < 0.1
    ring = head.inside((15, 5, 0), 40) & middle
    apart = np.hypot(head.at[0] - 15, head.at[1] - 5)
    ring, centre = ring & (apart <= 5) & (apart > 3), middle & (apart <= 3)
    found = GelDetection(head.labels(ring), (), head.labels(np.zeros_like(ring)))
    turned = replace(found, mask=found.mask.reoriented(orientation), places=found.places.reoriented(orientation))
    empty = nothing(head).reoriented(orientation)
    probability = Image(np.zeros(empty.grid.shape, np.float32), empty.grid)
    lesions, _ = with_enhancing(empty, probability, turned, RULES)
    assert lesions.reoriented("RAS").mask[ring | centre].all()
