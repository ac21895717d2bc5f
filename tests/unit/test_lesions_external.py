"""Output of external segmenters: masks, probability maps and numbered lesions; other images are refused."""

import numpy as np
import pytest

from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.lesions.t2.external import check_map, lesions_of_map

GRID = Grid((12, 12, 12), np.eye(4))
SEGMENTER = Segmenter(name="other", version="1", command=("other", "{flair}", "{mask}"), threshold=0.4)
RULES = LesionRules(t2_min_volume_mm3=4.0)


def brain():
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[1:11, 1:11, 1:11] = True  # 1000 mm3
    return LabelImage(mask, GRID)


def probability(*boxes, grid=GRID):
    """A map of boxes given as (value, x0, x1, y0, y1, z0, z1)."""
    data = np.zeros(grid.shape, dtype=np.float32)
    for value, x0, x1, y0, y1, z0, z1 in boxes:
        data[x0:x1, y0:y1, z0:z1] = value
    return Image(data, grid)


def test_lesions_reach_the_threshold_inside_the_brain_and_have_the_least_volume():
    found = probability(
        (0.4, 2, 4, 2, 4, 2, 4),  # at the threshold: 8 mm3
        (0.39, 6, 9, 6, 9, 6, 9),  # below it
        (1.0, 0, 2, 9, 11, 9, 10),  # half outside the brain: 2 mm3 inside, too small
    )
    segmented = lesions_of_map(found, brain(), SEGMENTER, RULES)
    assert segmented.mask.data.max() == 1
    assert segmented.mask.volume_mm3 == 8
    assert segmented.mask.mask[2:4, 2:4, 2:4].all()
    assert segmented.threshold == 0.4
    assert segmented.probability.data[7, 7, 7] == pytest.approx(0.39)
    assert not segmented.probability.data[~brain().mask].any()


@pytest.mark.parametrize(("connectivity", "lesions"), [(1, 2), (3, 1)])
def test_what_is_connected_is_the_trials_rule(connectivity, lesions):
    """Two boxes that share a corner."""
    found = probability((1.0, 2, 4, 2, 4, 2, 4), (1.0, 4, 6, 4, 6, 4, 6))
    rules = RULES.model_copy(update={"connectivity": connectivity})
    assert lesions_of_map(found, brain(), SEGMENTER, rules).mask.data.max() == lesions


def test_nothing_found_is_an_empty_mask():
    found = probability()
    check_map(found, brain(), SEGMENTER, "other, wk00")
    assert not lesions_of_map(found, brain(), SEGMENTER, RULES).mask.mask.any()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (probability(grid=Grid((12, 12, 12), np.diag([1.0, 1.0, 2.0, 1.0]))), "output on the grid of its FLAIR"),
        (probability((2.0, 2, 4, 2, 4, 2, 4)), "from 0 to 1, found values from 0 to 2"),
        (probability((-0.5, 2, 4, 2, 4, 2, 4)), "from 0 to 1, found values from -0.5 to 0"),
        (probability((1.0, 1, 11, 1, 11, 1, 9)), "expected lesions, found 80 % of the brain"),
        (
            probability((1.0, 0, 1, 0, 12, 0, 1), (1.0, 5, 6, 5, 6, 5, 6)),
            "in the brain, found 92 % of them outside",
        ),
    ],
)
def test_what_cannot_be_a_lesion_map_is_refused(found, message):
    with pytest.raises(AnalysisError, match=f"^other, wk00: .*{message}"):
        check_map(found, brain(), SEGMENTER, "other, wk00")
