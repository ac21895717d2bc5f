"""A mirrored scan beside a FLAIR is a query, a symmetric head is none."""

import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from qc.acceptance import judge_image
from qc.laterality import flair_points, mirror_ratio
from qc.measures import measure_visit
from qc.placement import place_brain
from tests.unit.test_qc_measures import changed
from tests.unit.test_qc_placement import scan

PROTOCOL = parse_protocol(protocol_text())


def one_sided(image: Image) -> Image:
    """The left hemisphere is brighter in places, as lesions are on FLAIR and T2w."""
    draw = np.random.default_rng(8)
    texture = ndimage.gaussian_filter(draw.normal(size=image.data.shape), (3, 3, 1.5))
    left = np.arange(image.data.shape[0])[:, None, None] < image.data.shape[0] // 2
    return changed(image, np.where(left & (texture > texture.std()), 1.6 * image.data, image.data))


def mirrored(image: Image) -> Image:
    return changed(image, np.ascontiguousarray(image.data[::-1]))


@pytest.fixture(scope="module")
def visit():
    return {contrast: one_sided(scan(contrast)) for contrast in (Contrast.FLAIR, Contrast.T2W)}


def ratios(flair, others):
    template = load_template()
    placement = place_brain(flair, template)
    points = flair_points(flair, placement, template)
    return [mirror_ratio(points, other, placement, template) for other in others]


def test_the_ratio_is_below_one_for_the_scan_and_above_one_for_its_mirror_image(visit):
    t2w = visit[Contrast.T2W]
    moved = changed(
        t2w, ndimage.shift(t2w.data, (4, -1, 0.5), order=1)
    )  # the patient, or the field of view, by 8 mm
    scanned, turned, moved_ratio, turned_and_moved = ratios(
        visit[Contrast.FLAIR], [t2w, mirrored(t2w), moved, mirrored(moved)]
    )
    limit = PROTOCOL.image_quality.max_mirror_ratio.value
    assert scanned < 1 / limit
    assert turned > limit
    assert moved_ratio < 1 < turned_and_moved


def test_a_symmetric_head_and_an_empty_image_decide_nothing():
    flair = scan()
    same, empty = ratios(flair, [scan(Contrast.T2W), changed(flair, np.zeros_like(flair.data))])
    assert same == pytest.approx(1, abs=0.04)
    assert empty is None


@pytest.mark.requirement("INTAKE-07")
def test_a_mirrored_scan_of_a_visit_is_a_query(visit):
    images = {Contrast.FLAIR: visit[Contrast.FLAIR], Contrast.T2W: mirrored(visit[Contrast.T2W])}
    found = measure_visit(images, {contrast: contrast for contrast in images})
    assert found[Contrast.FLAIR].mirror_ratio is None
    assert "left_right" not in {f.rule for f in judge_image(Contrast.FLAIR, found[Contrast.FLAIR], PROTOCOL)}
    (query,) = (f for f in judge_image(Contrast.T2W, found[Contrast.T2W], PROTOCOL) if f.rule == "left_right")
    assert query.action == "query"
    assert query.message.startswith(
        "T2w: expected a relative similarity of its mirror image to the FLAIR of at most 1.05, found "
    )
