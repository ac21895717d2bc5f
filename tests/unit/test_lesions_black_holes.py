import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import Head

from mri_pipeline.errors import GridMismatchError
from mri_pipeline.lesions.black_holes import segment_black_holes
from mri_pipeline.model import Contrast, Grid, LabelImage
from mri_pipeline.protocol import LesionRules

FLAIR, T1W, GD = Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD
RULES = LesionRules()


def find(head, lesions, gel=None, contrasts=(FLAIR, T1W)):
    return segment_black_holes(
        head.visit(*contrasts),
        head.tissue(),
        head.labels(lesions),
        None if gel is None else head.labels(gel),
        RULES,
    )


def dark_lesion(t1=0.5, centre=(15, 5, 0)):
    head = Head(noise=0.03)
    lesion, hole = head.inside(centre, 6), head.inside(centre, 3.5)
    head.paint(lesion, FLAIR=1.4, T1W=0.9, T1W_GD=0.9)
    head.paint(hole, T1W=t1, T1W_GD=t1)
    return head, lesion, hole


@pytest.mark.parametrize("contrast", [T1W, GD])
def test_the_dark_part_of_a_lesion_is_found(contrast):
    head, lesion, hole = dark_lesion()
    found = find(head, lesion, contrasts=(FLAIR, contrast))
    assert found.data.max() == 1
    assert np.array_equal(found.mask, hole)


def test_brighter_than_grey_matter_is_no_black_hole():
    head, lesion, _ = dark_lesion(t1=0.82)  # grey matter is 0.7
    assert find(head, lesion).volume_mm3 == 0


def test_as_dark_as_cortex_is_not_unequivocal():
    head, lesion, _ = dark_lesion(t1=0.67)  # grey matter is 0.7, a third of the contrast below it 0.6
    assert find(head, lesion).volume_mm3 == 0
    head.paint(head.inside((15, 5, 0), 2), T1W=0.5)
    assert find(head, lesion).data.max() == 1


def test_darkness_outside_t2_lesions_does_not_count():
    head, lesion, _ = dark_lesion()
    assert find(head, head.inside((-15, 5, 0), 6)).volume_mm3 == 0
    assert find(head, lesion).volume_mm3 > 0


def test_enhancing_is_no_black_hole_but_its_neighbour_is():
    head, lesion, hole = dark_lesion()
    other = head.inside((-15, 5, 0), 4)
    head.paint(other, FLAIR=1.4, T1W=0.5)
    gel = head.inside((15, 5, 0), 2)
    found = find(head, lesion | other, gel)
    assert not (found.mask & hole).any()
    assert np.array_equal(found.mask, other)


def test_csf_in_the_mask_is_no_black_hole_but_a_cavity_is():
    head, lesion, hole = dark_lesion(t1=0.3)
    head.paint(hole, FLAIR=0.35)  # a cavity: dark as CSF, within the lesion
    beside = head.inside((0, 8, 0), 4)  # reaches into the ventricle
    found = find(head, lesion | beside)
    assert np.array_equal(found.mask, hole)


def test_minimum_volume():
    head = Head(noise=0.03)
    lesion = head.inside((15, 5, 0), 5)
    head.paint(lesion, FLAIR=1.4, T1W=0.9)
    head.paint(head.inside((15, 5, 0), 1.1), T1W=0.4)  # 7 mm3
    assert find(head, lesion).volume_mm3 == 0


def test_misuse():
    head, lesion, _ = dark_lesion()
    other = LabelImage(np.zeros((4, 4, 4), int), Grid((4, 4, 4), np.eye(4)))
    visit = head.visit(FLAIR, T1W)
    with pytest.raises(GridMismatchError, match="T2 mask"):
        segment_black_holes(visit, head.tissue(), other, None, RULES)
    with pytest.raises(GridMismatchError, match="GEL mask"):
        segment_black_holes(visit, head.tissue(), head.labels(lesion), other, RULES)
    with pytest.raises(KeyError):
        segment_black_holes(head.visit(FLAIR), head.tissue(), head.labels(lesion), None, RULES)
