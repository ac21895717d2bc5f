"""The subject's report: self-contained, without personal data, empty where unknown, in radiological orientation."""

import base64
import io
import re
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.calibration import CalibrationSettings, DetectionRate, SimulatedKind, VisitCalibration
from mri_pipeline.core.errors import GridMismatchError
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import ReadStatus, ScanStatus, SubjectResult
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitMasks
from mri_pipeline.lesions.tracking.track import track_subject
from qc.reports import calibration as calibration_report
from qc.reports.read_attribution import AUTOMATIC, ReadAttribution
from qc.reports.slice_choice import COLUMNS, MIN_SLICES, choose_view
from qc.reports.subject.contents import SubjectReport, VisitReport
from qc.reports.subject.figures import overlay, sample
from qc.reports.subject.page import subject_report_html, write_subject_report
from qc.reports.subject.slices import TILE_WIDTH, mosaic
from tests.unit.html_page import Page

SHAPE = (40, 48, 24)
RATES = tuple(
    DetectionRate("wk00", kind, contrast, diameter, 8, found, 0.4, 1.0)
    for kind, contrast, counts in (
        (SimulatedKind.T2, None, (3, 4)), (SimulatedKind.T2, 0.25, (0, 2)), (SimulatedKind.T2, 0.4, (3, 7)),
        (SimulatedKind.T2, 0.55, (8, 8)), (SimulatedKind.GEL, None, (6, 6)), (SimulatedKind.GEL, 0.4, (6, 6)),
    )
    for diameter, found in zip((3.0, 5.0), counts, strict=True)
)  # fmt: skip
GRID = Grid(SHAPE, np.array([[2.0, 0, 0, -40], [0, 2.0, 0, -48], [0, 0, 4.0, -48], [0, 0, 0, 1]]))
INDEX = np.indices(SHAPE)
BRAIN = sum(((INDEX[a] - (SHAPE[a] - 1) / 2) / (0.42 * SHAPE[a])) ** 2 for a in range(3)) < 1
RIGHT = (slice(26, 30), slice(20, 24), slice(10, 12))  # world x > 0: the patient's right
LEFT = (slice(10, 13), slice(30, 33), slice(16, 18))


def mask(*boxes):
    data = np.zeros(SHAPE, dtype=np.uint8)
    for box in boxes:
        data[box] = 1
    return LabelImage(data, GRID)


def flair(*boxes, seed=0):
    data = np.where(BRAIN, 1 + 0.05 * np.random.default_rng(seed).normal(size=SHAPE), 0.02).astype(np.float32)
    for box in boxes:
        data[box] = 1.8
    return Image(data, GRID)


@pytest.fixture(scope="module")
def report():
    visits = [
        VisitMasks("wk00", mask(RIGHT), mask(), mask(RIGHT)),
        VisitMasks("wk04", mask(RIGHT, LEFT), mask(LEFT), None),
    ]
    tracking = track_subject(visits, LabelImage(BRAIN, GRID), LesionRules(), {"wk00": 0, "wk04": 4})
    pages = []
    for i, (v, m) in enumerate(zip(tracking.visits, visits, strict=True)):
        present = {MaskLabel.T2_LESION: m.t2_lesions, MaskLabel.GEL: m.gel, MaskLabel.BLACK_HOLE: m.black_holes}
        native = flair(RIGHT, seed=i)
        shifted = Grid(SHAPE, GRID.affine + np.array([[0, 0, 0, 6.0 * i], *[[0.0] * 4] * 3]))
        pages.append(
            VisitReport(
                v.visit,
                4 * i,
                attribution=ReadAttribution(ReadStatus.CONFIRMED, "R1", 1) if i else AUTOMATIC,
                images={
                    Contrast.FLAIR: flair(RIGHT, seed=i),
                    Contrast.T1W_GD if i else Contrast.T1W: flair(seed=5),
                },
                brain=LabelImage(BRAIN, GRID),
                masks={k: x for k, x in present.items() if x is not None} | dict(v.masks),
                lesions=v.lesions,
                native_flair=Image(native.data, shifted),
            )
        )
    pages.append(VisitReport("wk12", 12, status=ScanStatus.MISSING))
    software = {"mri-pipeline": "0.1.0", "python": "3"}
    return SubjectReport(tracking.result("K7QX2"), pages, "mesems", "0123456789ab", software)


@pytest.fixture(scope="module")
def html(report):
    return subject_report_html(report)


def counts_of(html):
    rows = [row for row in Page(html).rows if len(row) == 19]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}


def pixels(uri):
    kind, data = re.match(r"data:image/(\w+);base64,(.*)", uri).groups()
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format=kind)


def test_everything_is_in_the_file(html):
    reader = Page(html)
    assert all(link.startswith(("data:image/", "#")) for link in reader.links)
    assert not {"script", "link", "iframe", "object", "form"} & set(reader.tags)
    assert "http://" not in html.replace("http-equiv", "")
    assert "https://" not in html
    assert "default-src 'none'" in html


def test_header_names_code_settings_software_and_read_status(html):
    for text in ("Subject K7QX2", "mesems", "0123456789ab", "mri-pipeline", "Automatic result"):
        assert text in html


def test_unknown_is_empty_and_zero_is_zero(html):
    counts = counts_of(html)
    first, second, missing = counts["wk00"], counts["wk04"], counts["wk12"]
    assert (first["GEL"], first["new GEL"], first["new T2"], first["T2"], first["T2 mL"]) == (
        "0",
        "",
        "",
        "1",
        "0.51",
    )
    assert (second["GEL"], second["new GEL"], second["re-enhancing"], second["new T2"]) == ("1", "1", "0", "1")
    assert (second["BH"], second["chronic BH mL"], second["combined unique active"]) == ("", "", "1")
    assert (second["compared with"], second["read"]) == ("wk00", "confirmed by R1")
    assert (missing["scan"], missing["week"]) == ("missing", "12")
    assert set(list(missing.values())[3:]) == {""}
    assert "None" not in html
    assert "nan" not in re.sub(r"base64,[^\"]*", "", html).lower()


def test_lists_have_the_lesions_with_coordinates(html):
    rows = [row for row in Page(html).rows if len(row) == 9]
    # T2 state, enhancing, black hole, location, volume, world position of the box's middle
    found = [row for row in rows if row[0] != "lesion"]
    assert ["1", "baseline", "no", "black hole", "periventricular", "512", "15.0", "-5.0", "-6.0"] in found
    # the second visit has no T1 before contrast, so black holes are not known
    assert ["2", "new", "new", "not known", "periventricular", "288", "-18.0", "14.0", "18.0"] in found


@pytest.fixture
def two_sizes(monkeypatch):
    monkeypatch.setattr(calibration_report, "_SETTINGS", CalibrationSettings(diameters_mm=(3.0, 5.0)))


@pytest.mark.usefixtures("two_sizes")
def test_detection_rates_are_beside_automatic_counts_and_in_a_table(report, html):
    assert "Smallest lesion" not in html
    assert 'class="shown"' not in html
    visits = [replace(v, calibration=VisitCalibration(v.visit, RATES)) for v in report.visits]
    page = Page(subject_report_html(replace(report, visits=visits)))
    counts = {row[0]: row for row in page.rows if len(row) == 19}
    assert [cell for cell in counts["wk00"] if "from" in cell or "none" in cell] == [
        "0none up to 5 mm",
        "1from 5 mm",
    ]
    assert not [cell for cell in counts["wk04"] if "from" in cell or "none" in cell]  # a reader has confirmed it
    start = next(n for n, row in enumerate(page.rows) if "simulated lesion" in row)
    rows = page.rows[start : start + 9]
    assert rows[0] == ["visit", "simulated lesion", "contrast to white matter", "3 mm", "5 mm", "shown from"]
    assert [row[2:3] + row[-1:] for row in rows[1:5]] == [
        ["+25 %", "none up to 5 mm"], ["+40 %", "5 mm"], ["+55 %", "3 mm"], ["+40 %", "none up to 5 mm"],
    ]  # fmt: skip
    assert rows[2][3] == "3/840 to 100 %"  # found of inserted, and the interval
    assert {row[0] for row in rows[1:]} == {"wk00", "wk04"}


@pytest.mark.usefixtures("two_sizes")
def test_counts_of_new_lesions_have_no_smallest_lesion(report):
    """They depend on two scans."""
    visits = [
        replace(v, attribution=AUTOMATIC, calibration=VisitCalibration(v.visit, RATES)) if v.shown else v
        for v in report.visits
    ]
    second = counts_of(subject_report_html(replace(report, visits=visits)))["wk04"]
    assert (second["GEL"], second["T2"]) == ("1none up to 5 mm", "2from 5 mm")
    assert (second["new GEL"], second["new T2"]) == ("1", "1")


@pytest.mark.usefixtures("two_sizes")
def test_a_visit_without_rates_says_why(report):
    few = tuple(replace(rate, inserted=5, found=5) for rate in RATES)
    calibrations = [VisitCalibration("wk00", few), VisitCalibration("wk04", note="the self-calibration failed")]
    visits = [
        replace(v, calibration=c) for v, c in zip(report.visits, [*calibrations, VisitCalibration()], strict=True)
    ]
    html = subject_report_html(replace(report, visits=visits))
    assert "Visit wk04: the self-calibration failed; it is not known which size of lesion its scans show." in html
    assert 'href="#calibration">Calibration' in html
    assert "A size with fewer than 6 lesions is not shown; “not known” if it is the largest one." in html
    rows = [row for row in Page(html).rows if row[1:2] == ["T2 lesion, on FLAIR"]]
    assert {row[-1] for row in rows} == {"not known"}
    assert 'class="shown"' not in html
    assert 'class="well"' not in html
    alone = subject_report_html(replace(report, visits=[report.visits[0], visits[1], report.visits[2]]))
    assert "Visit wk04: the self-calibration failed" in alone
    assert '<table class="calibration">' not in alone


def test_no_confirmation_is_claimed_unless_all_visits_are_confirmed(report):
    done = [
        v
        if not v.shown
        else VisitReport(v.visit, v.week, attribution=ReadAttribution(ReadStatus.LOCKED, "R1", 1), images=v.images)
        for v in report.visits
    ]
    html = subject_report_html(SubjectReport(report.result, done, "p", "d", {}))
    assert "Readers have confirmed" in html
    assert "Automatic result" not in html


def test_equal_input_gives_equal_bytes(report, tmp_path):
    a, b = (write_subject_report(report, tmp_path / name / "r.html").read_bytes() for name in "ab")
    assert a == b
    assert len(a) < 1_000_000


def test_text_is_escaped(report):
    html = subject_report_html(SubjectReport(report.result, report.visits, "<b>&", "d", {}))
    assert "&lt;b&gt;&amp;" in html


def test_files_not_used_are_listed(report):
    html = subject_report_html(
        SubjectReport(report.result, report.visits, "p", "d", {}, ignored=["<a>.nii.gz: why"])
    )
    assert "1 anatomical file not used" in html
    assert "&lt;a&gt;.nii.gz: why" in html
    assert "not used" not in subject_report_html(report)


def test_a_subject_without_any_analysed_visit():
    visits = [VisitReport("1", status=ScanStatus.REFUSED), VisitReport("2", status=ScanStatus.MISSING)]
    html = subject_report_html(SubjectReport(SubjectResult("AB12"), visits, "bids", "d", {}))
    assert set(list(counts_of(html)["1"].values())[4:]) == {""}
    assert "<svg class" not in html


def test_masks_on_another_grid_are_refused(report):
    other = Grid(SHAPE, np.eye(4))
    bad = VisitReport("wk00", images={Contrast.FLAIR: flair()}, masks={MaskLabel.GEL: LabelImage(BRAIN, other)})
    with pytest.raises(GridMismatchError, match="visit wk00: expected the grid"):
        subject_report_html(SubjectReport(report.result, [bad], "p", "d", {}))


def _shown(image, masks, lesions):
    view = choose_view([LabelImage(image.data > 0.5, image.grid)], [lesions])
    return view, str(mosaic(image, masks, lesions, view, window=(0, 2), title="t"))


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "LPS", "PSR", "SAL"])
def test_the_patients_right_is_on_the_left_and_front_is_up(orientation):
    data = np.where(BRAIN, 0.8, 0).astype(np.float32)
    front_right = (slice(24, 30), slice(32, 38), slice(10, 13))
    data[front_right] = 2.0
    image = Image(data, GRID).reoriented(orientation)
    lesions = mask(front_right).reoriented(orientation)
    view, svg = _shown(image, {MaskLabel.T2_LESION: lesions}, lesions)
    sheet = pixels(re.search(r'href="(data:[^"]+)"', svg).group(1))[..., 0].astype(float)
    rows = -(-len(view.slices) // COLUMNS)
    height, width = sheet.shape[0] // rows, sheet.shape[1] // COLUMNS
    at = view.slices.index(next(k for k in view.slices if 10 <= k <= 12))
    row, column = divmod(at, COLUMNS)
    tile = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
    y, x = ndimage.center_of_mass(tile > 200)
    assert x < 0.4 * width
    assert y < 0.4 * height
    # the outline lies around it
    group = svg.split("<g transform")[at + 1]
    path = re.search(r'class="o o-t2" d="M([^"]+)z"', group).group(1)
    points = np.array([[float(v) for v in pair.split(",")] for pair in path.split(" ")])
    scale = TILE_WIDTH / width
    np.testing.assert_allclose(points.mean(axis=0), [(x + 0.5) * scale, (y + 0.5) * scale], atol=0.8 * scale)
    np.testing.assert_allclose(np.ptp(points, axis=0), [6 * scale, 6 * scale], rtol=0.05)


def test_the_slices_show_every_lesion():
    rng = np.random.default_rng(3)
    labels = np.zeros(SHAPE, dtype=np.int32)
    for number in range(1, 9):
        x, y, z = rng.integers([10, 12, 4], [30, 36, 20])
        labels[x : x + 2, y : y + 2, z] = number
    lesions = LabelImage(labels, GRID)
    view = choose_view([LabelImage(BRAIN, GRID)], [lesions])
    present = set(np.unique(labels)) - {0}
    assert (view.n_lesions, view.n_shown) == (len(present), len(present))
    assert present <= set(np.unique(labels[:, :, list(view.slices)]))
    assert len(view.slices) >= MIN_SLICES
    assert len(view.slices) % COLUMNS == 0


def test_a_new_lesion_has_one_outline():
    svg = _shown(flair(LEFT), {MaskLabel.T2_LESION: mask(LEFT), MaskLabel.NEW_T2: mask(LEFT)}, mask(LEFT))[1]
    assert "o-new" in svg
    assert "o-t2" not in svg


def test_registration_is_seen_in_the_correlation(report):
    _, before = overlay(report.visits[0].native_flair, report.visits[1].native_flair)
    picture, after = overlay(report.visits[0].images[Contrast.FLAIR], report.visits[1].images[Contrast.FLAIR])
    assert before < after - 0.1
    colours = pixels(picture)[..., :3].astype(float)
    assert np.abs(colours[..., 0] - colours[..., 1]).mean() < 0.1 * colours.max()


def test_sampling_follows_the_affine():
    image = Image(INDEX[0].astype(np.float32), GRID)
    points = GRID.world(np.array([[3.0, 5, 6], [3.5, 5, 6], [-9, 5, 6]]))
    assert sample(image, points).tolist() == pytest.approx([3.0, 3.5, 0.0])
