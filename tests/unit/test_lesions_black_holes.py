import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))

from lesion_phantom import Head

from mri_pipeline.core.errors import GridMismatchError
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitMasks
from mri_pipeline.lesions.black_holes import T1Hypointensity, hypointense, segment_black_holes, severe
from mri_pipeline.lesions.tracking.track import track_subject

FLAIR, T1W, GD = Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD
RULES = LesionRules()


def segment(head, lesions, gel=None, contrasts=(FLAIR, T1W)):
    return segment_black_holes(
        head.visit(*contrasts),
        head.tissue(),
        head.labels(lesions),
        None if gel is None else head.labels(gel),
        RULES,
    )


def find(head, lesions, gel=None, contrasts=(FLAIR, T1W)):
    return segment(head, lesions, gel, contrasts).black_holes


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


def test_grey_matter_that_a_lesion_holds_is_no_black_hole():
    head = Head(noise=0.03)
    lesion = head.inside((25, 5, 0), 8) & head.brain
    cortex = lesion & head.grey  # as dark as cortex
    head.paint(lesion & ~cortex, FLAIR=1.4, T1W=0.9)
    hole = head.inside((26, 5, 0), 3.5) & ~cortex
    head.paint(hole, T1W=0.5)
    found = find(head, lesion)
    assert found.mask[hole].all()
    assert found.mask[cortex].mean() < 0.02
    head.paint(cortex, T1W=0.5)
    assert find(head, lesion).mask[cortex].mean() > 0.98


def test_what_t1_has_not_scanned_is_no_black_hole():
    head, lesion, _ = dark_lesion(t1=0.9)
    head.data[T1W][head.at[2] > 2] = 0.0
    found = segment(head, lesion)
    assert found.black_holes.volume_mm3 == 0
    assert not found.t1_hypointensity.data[head.at[2] > 2].any()


def test_fluid_that_t1_has_not_scanned_does_not_tell_how_dark_fluid_is():
    head, lesion, hole = dark_lesion(t1=0.42)  # grey matter 0.7, CSF 0.3
    whole = segment(head, lesion).t1_hypointensity.data[hole]
    head.data[T1W][head.csf & (head.at[2] > -4)] = 0.0
    assert (whole == T1Hypointensity.SEVERE).mean() > 0.9
    assert (segment(head, lesion).t1_hypointensity.data[hole] == whole).all()


@pytest.mark.requirement("LESION-08")
def test_hypointensity_outside_t2_lesions_does_not_count():
    head, lesion, _ = dark_lesion()
    assert find(head, head.inside((-15, 5, 0), 6)).volume_mm3 == 0
    assert find(head, lesion).volume_mm3 > 0


@pytest.mark.requirement("LESION-08")
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


def shaded_lesion():
    """A lesion of three shells: T1-hypointense, as dark as grey matter (0.7), and nearer to CSF (0.3) than to it."""
    head, at = Head(noise=0.0), (15, 5, 0)
    shells = [head.inside(at, radius) for radius in (7, 5.5, 3.5)]
    for shell, t1 in zip(shells, (0.8, 0.6, 0.4), strict=True):
        head.paint(shell, FLAIR=1.4, T1W=t1)
    return head, shells


def test_three_nested_grades_of_t1_hypointensity():
    head, (lesion, hole, core) = shaded_lesion()
    found = segment(head, lesion)
    t2 = head.labels(lesion)
    assert np.array_equal(found.black_holes.mask, hole)
    assert np.array_equal(hypointense(found.t1_hypointensity, t2, None, found.black_holes, RULES).mask, lesion)
    assert np.array_equal(severe(found.t1_hypointensity, found.black_holes).mask, core)
    assert (found.t1_hypointensity.data[head.white & ~lesion] == T1Hypointensity.NORMAL).all()


def test_gain_and_offset_of_grey_matter_do_not_move_the_grades():
    """Every limit lies between medians of the scan itself: white matter stays 1, the rest may be of any contrast."""
    head, (lesion, *_) = shaded_lesion()
    expected = segment(head, lesion)
    head.data[T1W] = np.where(head.brain, 1.0 + 0.5 * (head.data[T1W] - 1.0), 0.0)  # half the contrast
    found = segment(head, lesion)
    assert np.array_equal(found.t1_hypointensity.data[lesion], expected.t1_hypointensity.data[lesion])
    assert np.array_equal(found.black_holes.data, expected.black_holes.data)


def test_the_grades_follow_what_the_reader_confirmed():
    head, (lesion, hole, core) = shaded_lesion()
    found = segment(head, lesion)
    location = LabelImage(np.where(head.brain, 4, 0), head.grid)

    def counted(t2, gel, holes):
        masks = VisitMasks(
            "wk00", *(head.labels(m) for m in (t2, gel, holes)), t1_hypointensity=found.t1_hypointensity
        )
        (visit,) = track_subject([masks], location, RULES, {"wk00": 0}).visits
        return [getattr(visit.counts, f"{name}_volume_ml") for name in ("t1_hypointense", "bh", "bh_severe")]

    nothing = np.zeros_like(lesion)
    assert counted(lesion, nothing, hole) == pytest.approx([m.sum() / 1000 for m in (lesion, hole, core)])
    right = head.at[0] > 15  # the reader cut the lesion
    assert counted(lesion & right, nothing, hole & right) == pytest.approx(
        [(m & right).sum() / 1000 for m in (lesion, hole, core)]
    )
    assert counted(lesion, core, nothing) == pytest.approx([(lesion & ~core).sum() / 1000, 0, 0])
    assert counted(nothing, nothing, nothing) == [0, 0, 0]


def test_unknown_hypointensity_is_not_zero():
    head, (lesion, *_) = shaded_lesion()
    location = LabelImage(np.where(head.brain, 4, 0), head.grid)
    (visit,) = track_subject([VisitMasks("wk00", head.labels(lesion))], location, RULES, {"wk00": 0}).visits
    assert visit.counts.t1_hypointense_volume_ml is visit.counts.bh_severe_volume_ml is None


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


def test_partial_volume_of_the_ventricle_does_not_set_the_level_of_csf():
    """Severe is what is nearer to CSF (0.3) than to grey matter (0.7): 0.5, whatever the rim of the ventricle has."""
    head = Head(noise=0.0)
    hole = head.inside((20, 5, 0), 4)
    head.paint(head.inside((20, 5, 0), 7), FLAIR=1.4, T1W=0.9)
    head.paint(hole, T1W=0.55)
    tissue = head.tissue()
    rim = head.inside((0, 0, 0), 11) & ~head.csf
    assert rim.sum() > 2 * head.csf.sum()
    head.paint(rim, FLAIR=0.5, T1W=0.65)
    half = Image(np.where(rim, 0.5, tissue.csf.data).astype(np.float32), head.grid)
    lesions = head.labels(head.inside((20, 5, 0), 7))
    found = segment_black_holes(head.visit(FLAIR, T1W), replace(tissue, csf=half), lesions, None, RULES)
    assert np.array_equal(found.black_holes.mask, hole)
    assert not (found.t1_hypointensity.data[hole] == T1Hypointensity.SEVERE).any()


@pytest.mark.parametrize(("flair", "holes"), [(0.8, 0), (1.4, 1)], ids=["mixed with CSF", "lesion"])
def test_partial_volume_beside_the_ventricle_is_no_black_hole_but_a_lesion_there_is(flair, holes):
    head = Head(noise=0.03)
    lesion = head.inside((8, 0, 0), 8) & ~head.csf
    beside = lesion & ndimage.binary_dilation(head.csf)  # one voxel from the ventricle
    head.paint(lesion, FLAIR=1.4, T1W=0.9)
    head.paint(beside, FLAIR=flair, T1W=0.5)
    found = find(head, lesion)
    assert found.data.max() == holes
    assert found.mask[beside].mean() == pytest.approx(holes)
