"""The activity of a visit in the report: a row for each active lesion, with centred crops."""

import base64
import io
import re
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import T2State
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitMasks
from mri_pipeline.lesions.tracking.track import track_subject
from qc.reports.activity import activity_rows, totals
from qc.reports.activity_crops import CROP_MM, CROP_WIDTH, ShownVisit

SHAPE, STEP_MM = (80, 90, 30), np.array([1.5, 1.5, 3.0])
GRID = Grid(SHAPE, np.diag([*STEP_MM, 1.0]) + np.pad([[-60.0], [-70], [-40]], ((0, 1), (3, 0))))
WINDOWS = {Contrast.FLAIR: (0.0, 2.0), Contrast.T1W: (0.0, 2.0), Contrast.T1W_GD: (0.0, 2.0)}
BRAIN = (slice(5, 75), slice(6, 84))
RULES = LesionRules()


def ball(centre, radius_mm):
    distance = [(np.arange(n) - c) * s for n, c, s in zip(SHAPE, centre, STEP_MM, strict=True)]
    x, y, z = np.meshgrid(*distance, indexing="ij")
    return x**2 + y**2 + z**2 <= radius_mm**2


def image(mask, value):
    return Image(np.where(mask, value, 1.0).astype(np.float32), GRID)


def labels(mask):
    return LabelImage(mask.astype(np.uint8), GRID)


STABLE, GROWING, NEW, VEIN = (20, 30, 10), (55, 40, 14), (30, 60, 20), (60, 70, 8)
EMPTY = np.zeros(SHAPE, dtype=bool)


@pytest.fixture(scope="module")
def shown():
    """Two visits: one stable, one growing and one new lesion, which enhances; enhancement without a T2 lesion."""
    t2 = [ball(STABLE, 6) | ball(GROWING, 4), ball(STABLE, 6) | ball(GROWING, 9) | ball(NEW, 6)]
    gel = [EMPTY, ball(NEW, 5) | ball(VEIN, 5)]
    masks = [
        VisitMasks(f"wk0{4 * i}", labels(t2[i]), labels(gel[i]), labels(EMPTY), flair=image(t2[i], 1.8))
        for i in range(2)
    ]
    location = LabelImage(np.full(SHAPE, 3, dtype=np.uint8), GRID)
    tracking = track_subject(masks, location, RULES, {"wk00": 0, "wk04": 4})
    visits = []
    for own, tracked in zip(masks, tracking.visits, strict=True):
        images = {Contrast.FLAIR: own.flair, Contrast.T1W_GD: image(own.gel.mask, 1.9)}
        present = {MaskLabel.T2_LESION: own.t2_lesions, MaskLabel.GEL: own.gel, **tracked.masks}
        visits.append((ShownVisit.of(own.visit, images, present, tracked.lesions), tracked))
    return visits


@pytest.fixture(scope="module")
def rows(shown):
    (first, before), (second, tracked) = shown
    return activity_rows(
        second, first, tracked.records, earlier=before.records, counts=tracked.counts, windows=WINDOWS, brain=BRAIN
    )


def pixels(crop):
    data = re.search(r'href="data:image/jpeg;base64,([^"]+)"', crop["svg"]).group(1)
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="jpg")[..., 0].astype(float)


def centre_of_bright(crop, limit=200):
    """Row and column of the bright area that is nearest to the middle, as a part of the crop."""
    sheet = pixels(crop)
    areas, n = ndimage.label(sheet > limit)
    assert n, crop["title"]
    found = np.array(ndimage.center_of_mass(sheet > limit, areas, range(1, n + 1))) + 0.5
    middle = found / sheet.shape
    return middle[np.argmin(np.abs(middle - 0.5).sum(axis=1))]


def by_state(rows):
    return {(row["record"].t2_state.value, bool(row["record"].enhancing)): row for row in rows}


def test_each_new_enlarging_or_enhancing_lesion_has_a_row_and_no_other(rows):
    assert set(by_state(rows)) == {("enlarging", False), ("new", True), ("none", True)}
    growing = by_state(rows)["enlarging", False]
    assert growing["before_mm3"] == pytest.approx(ball(GROWING, 4).sum() * np.prod(STEP_MM))
    assert growing["counted"] == {"gel": 0, "new": 0, "enlarging": 1, "combined": 1}
    assert by_state(rows)["new", True]["counted"] == {"gel": 1, "new": 1, "enlarging": 0, "combined": 1}
    assert by_state(rows)["new", True]["before_mm3"] == 0


def test_the_crops_show_the_lesion_in_the_middle_and_what_has_changed(rows):
    titles = ["slice", "FLAIR wk00", "FLAIR wk04", "change of FLAIR", "T1 before contrast", "T1 after contrast"]
    for row in rows:
        assert [crop["title"] for crop in row["crops"]] == titles
    new = dict(zip(titles, by_state(rows)["new", True]["crops"], strict=True))
    for title in ("FLAIR wk04", "change of FLAIR", "T1 after contrast"):
        assert centre_of_bright(new[title]) == pytest.approx([0.5, 0.5], abs=0.04)
    assert pixels(new["FLAIR wk00"]).max() < 200
    assert np.median(pixels(new["change of FLAIR"])) == pytest.approx(127, abs=2)
    for title, kind in (("FLAIR wk04", "new"), ("change of FLAIR", "new"), ("T1 after contrast", "gel")):
        assert f'class="o o-{kind}"' in new[title]["svg"]
    assert 'class="o' not in new["FLAIR wk00"]["svg"]
    assert (new["T1 before contrast"]["svg"], new["T1 before contrast"]["missing"]) == (None, "no scan")
    growing = dict(zip(titles, by_state(rows)["enlarging", False]["crops"], strict=True))
    assert (pixels(growing["FLAIR wk04"]) > 200).sum() > 2 * (pixels(growing["FLAIR wk00"]) > 200).sum() > 0


def test_the_slice_shows_the_brain_with_the_square_of_the_crops(rows):
    """Radiological: the new lesion is on the patient's left, in front."""
    crop = by_state(rows)["new", True]["crops"][0]
    sheet = pixels(crop)
    assert sheet.shape == (78, 70)
    # LAS: the first voxel is the patient's right
    centre = (SHAPE[0] - 1 - NEW[0] - 5 + 0.5) / 70, 1 - (NEW[1] - 6 + 0.5) / 78
    y, x = np.array(ndimage.center_of_mass(sheet > 200)) + 0.5
    assert (x / 70, y / 78) == pytest.approx(centre, abs=0.02)
    left, top, width, height = (
        float(v)
        for v in re.search(r'class="box" x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"', crop["svg"]).groups()
    )
    assert ((left + width / 2) / 150, (top + height / 2) / (150 * 78 / 70)) == pytest.approx(centre, abs=0.02)
    assert width == pytest.approx(150 * CROP_MM / (70 * 1.5), rel=0.03)


def test_the_outline_lies_around_the_lesion(rows):
    crop = by_state(rows)["new", True]["crops"][2]
    path = re.search(r'class="o o-new" d="M([^"z]+)z"', crop["svg"]).group(1)
    points = np.array([[float(v) for v in pair.split(",")] for pair in path.split(" ")])
    np.testing.assert_allclose(points.mean(axis=0), CROP_WIDTH / 2, atol=0.03 * CROP_WIDTH)
    np.testing.assert_allclose(np.ptp(points, axis=0), 13.5 / CROP_MM * CROP_WIDTH, rtol=0.15)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR"])
def test_crops_do_not_depend_on_the_order_of_the_axes(shown, rows, orientation):
    turned = []
    for visit, _ in shown:
        grid = Grid(SHAPE, visit.affine)
        images = {c: Image(data, grid).reoriented(orientation) for c, data in visit.images.items()}
        masks = {k: LabelImage(m.astype(np.uint8), grid).reoriented(orientation) for k, m in visit.masks.items()}
        turned.append(
            ShownVisit.of(visit.visit, images, masks, LabelImage(visit.numbers, grid).reoriented(orientation))
        )
    (_, before), (_, tracked) = shown
    again = activity_rows(
        turned[1],
        turned[0],
        tracked.records,
        earlier=before.records,
        counts=tracked.counts,
        windows=WINDOWS,
        brain=BRAIN,
    )
    assert [[crop["svg"] for crop in row["crops"]] for row in again] == [
        [crop["svg"] for crop in row["crops"]] for row in rows
    ]


def test_each_part_of_a_split_lesion_is_in_the_middle_of_its_own_row(shown):
    (_, _), (_, tracked) = shown
    at = [(25, 30, 12), (55, 62, 12)]
    both = ball(at[0], 6) | ball(at[1], 5)
    flair = {Contrast.FLAIR: image(both, 1.8)}
    visit = ShownVisit.of("wk04", flair, {}, LabelImage(both.astype(np.uint8), GRID))
    records = []
    for part, centre in enumerate(at, start=1):
        x, y, z = (float(v) for v in GRID.world(np.array([centre]))[0])
        records.append(
            replace(tracked.records[0], lesion_id=1, part=part, x_mm=x, y_mm=y, z_mm=z, t2_state=T2State.NEW)
        )
    rows = activity_rows(visit, None, records, earlier=(), counts=tracked.counts, windows=WINDOWS, brain=BRAIN)
    boxes = set()
    for row in rows:
        assert centre_of_bright(row["crops"][2]) == pytest.approx([0.5, 0.5], abs=0.04)
        boxes.add(re.search(r'class="box" (.*?)/>', row["crops"][0]["svg"]).group(1))
    assert len(boxes) == 2


def test_the_first_visit_has_enhancing_lesions_alone(shown):
    (_, _), (second, tracked) = shown
    first = activity_rows(
        second, None, tracked.records, earlier=(), counts=tracked.counts, windows=WINDOWS, brain=BRAIN
    )
    missing = {crop["title"]: crop["missing"] for crop in first[0]["crops"] if crop["svg"] is None}
    assert missing == {
        "FLAIR before": "first visit",
        "change of FLAIR": "first visit",
        "T1 before contrast": "no scan",
    }
    assert first[0]["before_mm3"] is None


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_rows_add_up_to_the_counts(seed, persistent):
    """For any masks: what the rows add is what the tables count."""
    rng, small = np.random.default_rng(seed), (24, 24, 10)
    grid = Grid(small, np.diag([*STEP_MM, 1.0]))

    def random_mask(share):
        return LabelImage((ndimage.gaussian_filter(rng.random(small), 1) > share).astype(np.uint8), grid)

    masks = [
        VisitMasks(f"wk{4 * i:02d}", random_mask(0.54), random_mask(0.58), None, confirmed=True) for i in range(3)
    ]
    rules = RULES.model_copy(update={"combined_counts_persistent_gel": persistent})
    location = LabelImage(np.full(small, 3, dtype=np.uint8), grid)
    tracking = track_subject(masks, location, rules, {v.visit: 4 * i for i, v in enumerate(masks)})
    flair = {Contrast.FLAIR: Image(np.ones(small, dtype=np.float32), grid)}
    visits = [ShownVisit.of(v.visit, flair, v.masks, v.lesions) for v in tracking.visits]
    counted = 0
    for i, tracked in enumerate(tracking.visits[1:], start=1):
        earlier = tracking.visits[i - 1]
        rows = activity_rows(
            visits[i],
            visits[i - 1],
            tracked.records,
            earlier=earlier.records,
            counts=tracked.counts,
            windows=WINDOWS,
            brain=BRAIN,
        )
        counts = tracked.counts
        expected = (
            counts.gel_count,
            counts.new_t2_count,
            counts.enlarging_t2_count,
            counts.combined_unique_active_count,
        )
        assert tuple(totals(rows, counts).values()) == tuple((value, value) for value in expected)
        counted += counts.combined_unique_active_count
    assert counted > 5
