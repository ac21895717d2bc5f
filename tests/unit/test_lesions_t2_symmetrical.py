"""Structures that are as bright on the other side."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import RULE_ALONE, Head

from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.t2.segment import segment_t2
from mri_pipeline.lesions.t2.symmetrical import is_symmetric, symmetrical_grey_matter

FLAIR = Contrast.FLAIR
LEFT, RIGHT, MIDDLE = (-18, 5, 0), (18, 5, 0), (0, 25, 0)
BRIGHT = 0.5


def contrast_of(head, **spots):
    """A map of contrast, with spots of 4 mm at the named places."""
    contrast = np.random.default_rng(1).normal(0, 0.5, head.grid.shape).astype(np.float32)
    for name, height in spots.items():
        contrast[head.inside({"left": LEFT, "right": RIGHT, "middle": MIDDLE}[name], 4)] += height
    return contrast


def decided(head, spot, contrast):
    (alike,) = is_symmetric(ConnectedComponents.of(spot), contrast, head.visit(FLAIR), head.tissue())
    return bool(alike)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
@pytest.mark.parametrize(("other", "alike"), [(0.0, False), (1.0, False), (4.0, True), (6.0, True), (15.0, False)])
def test_a_spot_is_compared_with_its_mirrored_position(spacing, other, alike):
    head = Head(spacing)
    assert decided(head, head.inside(RIGHT, 4), contrast_of(head, right=5.0, left=other)) is alike


def test_a_spot_of_the_midline_is_not_its_own_other_side():
    head = Head()
    assert not decided(head, head.inside(MIDDLE, 4), contrast_of(head, middle=5.0))


def test_nothing_has_no_other_side():
    head = Head()
    none = ConnectedComponents.of(np.zeros(head.grid.shape, dtype=bool))
    assert not is_symmetric(none, contrast_of(head), head.visit(FLAIR), head.tissue()).size


def with_grey(head, *spots):
    """Tissue maps with grey matter at the spots."""
    maps, grey = head.tissue(), np.any(spots, axis=0)
    return dataclasses.replace(
        maps,
        grey_matter=Image(np.maximum(maps.grey_matter.data, grey).astype(np.float32), head.grid),
        white_matter=Image((maps.white_matter.data * ~grey).astype(np.float32), head.grid),
    )


def test_cortex_opposite_a_lesion_of_white_matter_is_no_evidence():
    head = Head()
    right, left = head.inside(RIGHT, 4), head.inside(LEFT, 4)
    both = contrast_of(head, right=5.0, left=5.0)
    for grey, expected in ((left, False), (right | left, True), (np.zeros_like(left), True)):
        maps = with_grey(head, grey)
        (alike,) = is_symmetric(ConnectedComponents.of(right), both, head.visit(FLAIR), maps)
        assert bool(alike) is expected


def excluded(head, found, contrasts, maps, *, visits=None, score=0.0):
    return symmetrical_grey_matter(
        found,
        visits or [head.visit(FLAIR)] * len(found),
        contrasts,
        np.full(head.grid.shape, score, dtype=np.float32),
        maps,
        bright=BRIGHT,
    )


def test_grey_matter_that_is_bright_on_both_sides_is_excluded_and_white_matter_is_not():
    head = Head()
    right, left = head.inside(RIGHT, 4), head.inside(LEFT, 4)
    both, one = contrast_of(head, right=5.0, left=5.0), contrast_of(head, right=5.0)
    grey = with_grey(head, right, left)
    assert (excluded(head, [right | left], [both], grey) == (right | left)).all()
    assert not excluded(head, [right | left], [both], head.tissue()).any()
    assert not excluded(head, [right], [one], grey).any()
    assert not excluded(head, [right | left], [both], grey, score=1.0).any()  # bright throughout


def test_a_lesion_that_appears_in_grey_matter_is_kept_at_every_visit():
    """At the first visit both sides are alike. At the second, one is brighter."""
    head = Head()
    right, left = head.inside(RIGHT, 4), head.inside(LEFT, 4)
    grey, none = with_grey(head, right, left), np.zeros(head.grid.shape, dtype=bool)
    before, after = contrast_of(head, right=2.0, left=2.0), contrast_of(head, right=8.0, left=2.0)
    assert not excluded(head, [none, right], [before, after], grey).any()
    assert excluded(head, [none, right], [before, before], grey).any()


def test_a_visit_without_the_place_does_not_decide():
    head = Head()
    right, left = head.inside(RIGHT, 4), head.inside(LEFT, 4)
    both, grey = contrast_of(head, right=5.0, left=5.0), with_grey(head, right, left)
    whole = head.visit(FLAIR)
    part = VisitImages(whole.contrasts, LabelImage(head.brain & ~(right | left), head.grid))
    nothing = np.where(right | left, np.float32(0), both)
    found = [right | left, np.zeros_like(right)]
    assert excluded(head, found, [both, nothing], grey, visits=[whole, part]).any()


@pytest.mark.parametrize(
    ("level", "places", "lesion"),
    [
        (1.32, (RIGHT,), True),
        (1.32, (RIGHT, LEFT), False),
        (1.44, (RIGHT, LEFT), True),  # bright throughout
    ],
)
def test_the_segmentation_leaves_out_faint_grey_matter_that_both_sides_show(level, places, lesion):
    head = Head()
    right, left = head.inside(RIGHT, 4), head.inside(LEFT, 4)
    for place in places:
        head.paint(head.inside(place, 4), FLAIR=level, T1W=0.9)
    visit, maps = head.visit(FLAIR, Contrast.T1W), with_grey(head, right, left)
    (found,) = segment_t2([visit], maps, LesionRules(), model=RULE_ALONE)
    assert (found.mask.mask[right].mean() > 0.4) == lesion
    assert found.mask.mask[right].any() == lesion
