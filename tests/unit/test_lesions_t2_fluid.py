"""The lower end of the brain, and CSF that is bright on FLAIR because it flows."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import Head

from mri_pipeline.analysis.steps import take_t2
from mri_pipeline.core.anatomy import BELOW_FORAMEN_MAGNUM, Location
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.spatial import Affine, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.black_holes import segment_black_holes
from mri_pipeline.lesions.gel.detect import detect_gel
from mri_pipeline.lesions.t2 import segment as t2
from mri_pipeline.lesions.t2.fluid import enclosed_by_csf, without_flow
from mri_pipeline.lesions.tracking.location import locate

FLAIR, T1W, GD, T2W = Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD, Contrast.T2W
RULES = LesionRules()
FORAMEN_Z, TENT_Z = -16, -6  # of the head of blocks, in mm
LOW, STEM = (10, 4, -21), (12, 5, -11)


def lower_end(head):
    """Tissue maps of a head whose lower part is infratentorial and, lower still, below the foramen magnum."""
    maps = head.tissue()
    place = maps.location.data.copy()
    place[head.brain & (head.at[2] < TENT_Z)] = 3
    place[head.brain & (head.at[2] < FORAMEN_Z)] = BELOW_FORAMEN_MAGNUM
    return dataclasses.replace(maps, location=LabelImage(place, head.grid))


def lesions_of(head, maps, *contrasts):
    (found,) = t2.segment_t2([head.visit(*contrasts)], maps, RULES)
    return found.mask


@pytest.mark.parametrize("contrasts", [(FLAIR,), (FLAIR, T1W), (FLAIR, T1W, T2W)])
@pytest.mark.requirement("IMAGE-03")
def test_below_the_foramen_magnum_there_is_no_lesion_and_above_it_there_is(contrasts):
    head = Head()
    low, stem = head.inside(LOW, 3.5), head.inside(STEM, 3.5)
    head.paint(low | stem, FLAIR=1.5, T1W=0.55, T2W=1.8)
    found = lesions_of(head, lower_end(head), *contrasts)
    assert found.mask[stem].mean() > 0.8
    assert not found.mask[head.at[2] < FORAMEN_Z].any()
    assert lesions_of(head, head.tissue(), *contrasts).mask[low].mean() > 0.8  # the place alone decides
    if T1W in contrasts:
        visit, maps = head.visit(*contrasts), lower_end(head)
        holes = segment_black_holes(visit, maps, found, None, RULES).black_holes
        assert holes.mask[stem].mean() > 0.8
        assert not holes.mask[low].any()


@pytest.mark.parametrize(("above", "lesions"), [(2.5, 1), (-2.5, 0)])
def test_what_lies_mostly_above_is_cut_and_what_lies_mostly_below_is_left_out(above, lesions):
    head = Head()
    ball = head.inside((12, 5, FORAMEN_Z + above), 5)
    kept = without_flow(ball, head.visit(FLAIR), lower_end(head))
    assert np.array_equal(kept, ball & (head.at[2] >= FORAMEN_Z) & bool(lesions))


@pytest.mark.requirement("IMAGE-03")
def test_below_the_foramen_magnum_nothing_enhances():
    head = Head()
    low, stem = head.inside(LOW, 3.5), head.inside(STEM, 3.5)
    head.paint(low | stem, FLAIR=1.5, T1W_GD=1.5, T2W=1.8)
    found = detect_gel(head.visit(FLAIR, T1W, GD, T2W), lower_end(head), head.labels(low | stem), RULES).mask
    assert found.mask[stem].mean() > 0.8
    assert not found.mask[low].any()


def test_another_program_finds_no_lesion_below_the_foramen_magnum_either():
    head = Head()
    low, stem = head.inside(LOW, 3.5), head.inside(STEM, 3.5)
    other = Segmenter(name="other", version="1", command=["other", "{flair}", "{mask}"])
    (found,), _ = take_t2(
        [Image((low | stem).astype(np.float32), head.grid)],
        [head.visit(FLAIR).contrasts],
        brains=[head.labels(head.brain)],
        tissue=lower_end(head),
        segmenter=other,
        rules=RULES,
    )
    assert np.array_equal(found.mask.mask, stem)


def test_what_a_reader_draws_below_the_foramen_magnum_is_infratentorial():
    head = Head()
    assert locate(head.labels(head.inside(LOW, 3)), lower_end(head).location) == {1: Location.INFRATENTORIAL}
    both = head.labels(head.inside((12, 5, FORAMEN_Z), 4))
    assert locate(both, lower_end(head).location) == {1: Location.INFRATENTORIAL}


@pytest.mark.parametrize(("share", "kept"), [(0.4, True), (0.6, False)])
def test_what_the_tissue_maps_take_for_csf_is_no_lesion(share, kept):
    head = Head()
    ball, maps = head.inside(STEM, 4), lower_end(head)
    csf = maps.csf.data.copy()
    csf[ball & (head.at[0] < np.quantile(head.at[0][ball], share))] = 1.0
    maps = dataclasses.replace(maps, csf=Image(csf, head.grid))
    found = without_flow(ball, head.visit(FLAIR), maps)
    assert np.array_equal(found, ball & kept)


LESION, FLUID = {"T1W": 0.6, "T1W_GD": 0.6, "T2W": 2.1}, {"T1W": 0.35, "T1W_GD": 0.35, "T2W": 2.7}
"""A dark lesion is nearer to grey matter (0.7, 0.75 and 1.4 of white matter) than to CSF (0.3 and 3.0)."""


@pytest.mark.parametrize(
    ("contrasts", "levels", "kept"),
    [
        ((FLAIR,), FLUID, True),  # nothing tells
        ((FLAIR, T1W), FLUID, False),
        ((FLAIR, GD), FLUID, False),
        ((FLAIR, T2W), FLUID, False),
        ((FLAIR, T1W, T2W), FLUID, False),
        ((FLAIR, T1W, T2W), LESION, True),
        ((FLAIR, T1W, T2W), LESION | {"T1W": 0.35}, True),  # a severe black hole
        ((FLAIR, T1W, T2W), LESION | {"T2W": 2.7}, True),
    ],
)
def test_bright_fluid_beside_the_brainstem_is_recognised_on_t1_and_t2(contrasts, levels, kept):
    head = Head()
    stem, high = head.inside(STEM, 3.5), head.inside((15, 5, 8), 3.5)
    head.paint(stem | high, FLAIR=1.6, **levels)
    found = without_flow(stem | high, head.visit(*contrasts), lower_end(head))
    assert np.array_equal(found, high | (stem & kept))  # above the tentorium no fluid is as bright


@pytest.mark.parametrize(
    ("z_mm", "t2w", "contrasts", "kept"),
    [
        (-55.0, 1.2, (FLAIR, T2W), False),
        (-55.0, 1.2, (FLAIR, T1W, T2W), False),
        (-55.0, 1.2, (FLAIR, T1W), True),  # no T2w
        (-55.0, 1.6, (FLAIR, T2W), True),
        (-45.0, 1.2, (FLAIR, T2W), True),  # the pons
    ],
)
def test_a_lesion_of_the_medulla_needs_a_t2_correlate(z_mm, t2w, contrasts, kept):
    """Grey matter has 1.4 on T2w."""
    head = Head()
    stem, shift = head.inside(STEM, 3.5), np.eye(4)
    shift[2, 3] = STEM[2] - z_mm
    head.paint(stem, FLAIR=1.5, T1W=0.9, T2W=t2w)
    maps = dataclasses.replace(lower_end(head), template_to_subject=Affine(shift))
    assert np.array_equal(without_flow(stem, head.visit(*contrasts), maps), stem & kept)


@pytest.mark.parametrize(("contrast", "levels"), [(T1W, LESION | {"T2W": 2.7}), (T2W, LESION | {"T1W": 0.35})])
def test_a_contrast_without_coverage_of_the_position_is_no_evidence(contrast, levels):
    head = Head()
    stem = head.inside(STEM, 3.5)
    head.paint(stem, FLAIR=1.6, **levels)
    assert without_flow(stem, head.visit(FLAIR, T1W, T2W), lower_end(head)).any()
    head.data[contrast][head.at[2] < TENT_Z] = 0.0
    assert not without_flow(stem, head.visit(FLAIR, T1W, T2W), lower_end(head)).any()


def test_a_t1_without_grey_matter_leaves_the_decision_to_t2w():
    """A T1 of the lower slices only: the levels of grey matter and CSF are unknown there."""
    head = Head()
    stem = head.inside(STEM, 3.5)
    head.paint(stem, FLAIR=1.6, **FLUID)
    head.data[T1W][~head.inside(STEM, 6)] = 0.0
    assert without_flow(stem, head.visit(FLAIR, T1W), lower_end(head)).any()
    assert not without_flow(stem, head.visit(FLAIR, T1W, T2W), lower_end(head)).any()


def test_a_new_flow_between_two_visits_is_no_lesion():
    """The comparison of two visits proves a change, not a lesion."""
    before, after = Head(noise=0.03), Head(noise=0.03)
    low, stem = after.inside(LOW, 3), after.inside(STEM, 3)
    after.paint(low | stem, FLAIR=1.6)
    visits = [before.visit(FLAIR), after.visit(FLAIR)]
    _, found = t2.segment_t2(visits, lower_end(after), RULES)
    assert found.mask.mask[stem].any()
    assert not found.mask.mask[low].any()


def with_septum(head, spot):
    """Tissue maps with a bright spot of white matter within the ventricle, such as the septum or choroid plexus."""
    maps = head.tissue()
    csf, white = (np.where(spot, value, m.data) for m, value in ((maps.csf, 0), (maps.white_matter, 1)))
    return dataclasses.replace(
        maps,
        csf=Image(csf.astype(np.float32), head.grid),
        white_matter=Image(white.astype(np.float32), head.grid),
    )


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
def test_what_csf_surrounds_is_no_lesion_and_what_adjoins_the_ventricle_is(spacing):
    head = Head(spacing)
    spot, beside = head.inside((0, 0, 0), 3.6), head.inside((10, 0, 0), 3.5)
    head.paint(spot | beside, FLAIR=1.8)
    maps = with_septum(head, spot)
    found = lesions_of(head, maps, FLAIR)
    assert found.mask[beside].mean() > 0.6
    assert not found.mask[spot].any()
    maps = dataclasses.replace(maps, csf=Image(np.zeros(head.grid.shape, np.float32), head.grid))
    assert lesions_of(head, maps, FLAIR).mask[spot].mean() > 0.6  # the surroundings alone decide


def surrounded(head, spot, csf_share, white_share):
    """Tissue maps with shares of CSF and white matter around a spot of white matter."""
    maps, around = head.tissue(), np.zeros(head.grid.shape, dtype=np.float32)

    def image(data, share):
        return Image(np.where(spot, data, around + np.float32(share)).astype(np.float32), head.grid)

    return dataclasses.replace(maps, csf=image(around, csf_share), white_matter=image(around + 1, white_share))


@pytest.mark.parametrize(
    ("at", "csf", "white", "enclosed"),
    [
        ((6, 0, 0), 0.5, 0.2, True),  # choroid plexus
        ((6, 0, 0), 0.35, 0.5, False),  # corpus callosum beside the ventricle
        ((0, 0, 0), 0.35, 0.5, True),  # septum
        ((6, 0, 0), 0.25, 0.2, False),
        ((22, 0, 0), 0.5, 0.2, False),  # below the cortex, between sulci
        ((30, 0, 0), 0.5, 0.2, True),  # dura
    ],
)
def test_depth_midline_and_white_matter_tell_septum_and_dura_from_lesions(at, csf, white, enclosed):
    head = Head()
    spot = head.inside(at, 2)
    places = enclosed_by_csf([spot], [head.labels(head.brain)], surrounded(head, spot, csf, white))
    assert places.any() == enclosed


def test_the_same_places_are_enclosed_at_every_visit():
    """A spot that extends to the wall of the ventricle at one visit is decided for both visits together."""
    head = Head()
    small, large = head.inside((0, 0, 0), 3.0), head.inside((0, 0, 0), 3.6)
    maps = with_septum(head, large)
    places = enclosed_by_csf([small, large], [head.labels(head.brain)] * 2, maps)
    assert (places == large).all()
    assert not enclosed_by_csf([np.zeros_like(small)], [head.labels(head.brain)], maps).any()
