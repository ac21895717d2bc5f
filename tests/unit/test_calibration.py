"""Self-calibration: simulated lesions are where and as strong as stated, and rates follow contrast, noise and size."""

import errno
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from mri_pipeline.analysis import calibration
from mri_pipeline.analysis.calibration import acquired_voxel, calibrate_visit, calibration_text, parse_calibration
from mri_pipeline.core.calibration import CalibrationSettings, DetectionRate, SimulatedKind, VisitCalibration
from mri_pipeline.core.errors import AnalysisError, SettingsError
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.spatial import Affine, Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.insertion import (
    Ellipsoid,
    PlannedLesion,
    SimulatedLesion,
    coverage,
    insert,
    place,
    places_of,
)
from mri_pipeline.lesions.scoring.detection import (
    detection_rates,
    enough_simulated,
    smallest_shown,
    usual_contrast,
)
from qc.reports.calibration import calibration_rows, shown_from
from tests.unit.lesion_phantom import Head

ALL = (Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD, Contrast.T2W)
FEW = CalibrationSettings(diameters_mm=(3.0, 4.0, 6.0, 9.0), repeats=2, per_run=12, most_runs=5)
ONE = replace(FEW, most_runs=1)
MM = np.eye(3)


def turned(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


@pytest.mark.parametrize("voxel", [MM, np.diag([0.7, 0.7, 4.0]), turned(0.5) @ np.diag([1.0, 1.0, 3.0])])
@pytest.mark.parametrize("diameter", [4.0, 10.0])
def test_the_shares_of_all_voxels_are_the_volume(voxel, diameter):
    grid = Grid((40, 40, 40), np.eye(4))
    shape = Ellipsoid(np.array([20.3, 19.8, 20.1]), diameter / 2 * np.array([1.2, 1.0, 1 / 1.2]), turned(0.3))
    box, share = coverage(shape, grid, voxel)
    assert share.sum() == pytest.approx(np.pi / 6 * diameter**3, rel=0.03)
    assert share.min() >= 0
    assert share.max() <= 1
    edge = np.ones(share.shape, dtype=bool)
    edge[1:-1, 1:-1, 1:-1] = False
    assert not share[edge].any()  # the box holds the whole lesion
    assert all(0 <= s.start < s.stop <= 40 for s in box)


def test_a_small_lesion_fills_no_thick_slice():
    grid = Grid((40, 40, 40), np.eye(4))
    sphere = Ellipsoid(np.full(3, 20.0), np.full(3, 1.5), np.eye(3))
    assert coverage(sphere, grid, MM)[1].max() == 1.0
    assert coverage(sphere, grid, np.diag([1.0, 1.0, 5.0]))[1].max() == pytest.approx(3 / 5, abs=0.16)


def test_the_acquired_voxel_is_that_of_the_scan_in_the_space_of_the_subject():
    affine = np.diag([0.5, 0.5, 4.0, 1.0])
    to_subject = np.eye(4)
    to_subject[:3, :3] = turned(np.pi / 2)
    voxel = acquired_voxel(Grid((4, 4, 4), affine), Affine(to_subject))
    assert voxel[:, 0] == pytest.approx([0, 0.5, 0])
    assert voxel[:, 2] == pytest.approx([0, 0, 4])


@pytest.mark.parametrize("kind", SimulatedKind)
def test_a_lesion_has_the_contrast_that_is_stated_and_the_noise_of_the_scan(kind):
    head = Head()
    visit = head.visit(*ALL, Contrast.FLAIR)
    shape = Ellipsoid(np.array([0.0, 20.0, 0.0]), np.full(3, 4.0), np.eye(3))
    lesion = SimulatedLesion(PlannedLesion(kind, 8.0, 0.5), shape)
    settings = CalibrationSettings()
    made = insert(visit.contrasts, [lesion], white=head.white, voxels=dict.fromkeys(ALL, MM), settings=settings)
    expected = {
        SimulatedKind.T2: {Contrast.FLAIR: 0.5, Contrast.T2W: 0.7, Contrast.T1W: -0.1, Contrast.T1W_GD: -0.1},
        SimulatedKind.GEL: {Contrast.FLAIR: 0.4, Contrast.T2W: 0.56, Contrast.T1W: -0.1, Contrast.T1W_GD: 0.5},
    }[kind]
    inside, near = head.inside(shape.centre_mm, 3.0), head.inside(shape.centre_mm, 6.0)
    for contrast, increase in expected.items():
        added = made[contrast].data - visit.contrasts[contrast].data
        assert added[inside] == pytest.approx(increase, abs=0.02)  # no noise of its own
        assert np.ptp(added[inside]) < 1e-5
        assert not added[~near].any()
    rim = head.inside(shape.centre_mm, 5.0) & ~head.inside(shape.centre_mm, 4.5)
    flair = (made[Contrast.FLAIR].data - visit.contrasts[Contrast.FLAIR].data)[rim].mean()
    assert flair == pytest.approx(0.3 if kind is SimulatedKind.GEL else 0.0, abs=0.12)  # oedema around enhancement


def test_lesions_lie_in_white_matter_apart_from_each_other_and_from_own_lesions():
    head, settings = Head(), CalibrationSettings()
    own = head.inside((15, 15, 0), 4)
    depth = places_of(head.white, own, head.tissue(), settings)
    planned = [PlannedLesion(SimulatedKind.T2, d, 0.4) for d in (3.0, 5.0, 7.0, 10.0) for _ in range(6)]
    placed, left = place(planned, depth, head.tissue(), np.random.default_rng(3), settings)
    assert len(placed) + len(left) == len(planned)
    assert len(placed) >= 6
    for number, lesion in enumerate(placed):
        inside = lesion.shape.contains(np.stack(head.at, axis=-1))
        assert inside.any()
        assert (head.white & ~own)[inside].all()
        apart = np.linalg.norm(lesion.shape.centre_mm - (15, 15, 0)) - lesion.shape.reach_mm - 4
        assert apart > settings.from_own_mm - 1.5  # half a voxel at both
        for other in placed[:number]:
            distance = np.linalg.norm(lesion.shape.centre_mm - other.shape.centre_mm)
            reaches = lesion.shape.reach_mm + other.shape.reach_mm
            assert distance >= settings.apart_mm + reaches
            mirrored = other.shape.centre_mm * (-1, 1, 1)  # the midline of the head is x = 0
            assert np.linalg.norm(lesion.shape.centre_mm - mirrored) >= settings.apart_mirrored_mm + reaches


def test_a_head_without_white_matter_has_no_rates():
    head = Head()
    tissue = head.tissue()
    empty = replace(tissue, white_matter=Image(np.zeros(head.grid.shape, np.float32), head.grid))
    found = calibrate_visit(
        "a", head.visit(*ALL).contrasts, own=np.zeros(head.grid.shape, bool), brain=head.labels(head.brain),
        tissue=empty, rules=LesionRules(), voxels=dict.fromkeys(ALL, MM),
    )  # fmt: skip
    assert found == []


def test_no_lesion_lies_outside_the_field_of_view_of_a_contrast(monkeypatch):
    head = Head()
    images = dict(head.visit(*ALL).contrasts)
    half = images[Contrast.T1W_GD].data.copy()
    half[:, :, 30:] = 0
    images[Contrast.T1W_GD] = Image(half, head.grid)
    scans = []
    monkeypatch.setattr(
        calibration, "_masks", lambda made, *_: scans.append(made) or dict.fromkeys(SimulatedKind, head.csf)
    )
    assert calibrate_visit(
        "a", images, own=np.zeros(head.grid.shape, bool), brain=head.labels(head.brain), tissue=head.tissue(),
        rules=LesionRules(), voxels=dict.fromkeys(ALL, MM), settings=ONE,
    )  # fmt: skip
    changed = scans[0][Contrast.FLAIR].data != images[Contrast.FLAIR].data
    assert changed[:, :, :30].any()
    assert not changed[:, :, 32:].any()  # the rim around enhancement is 1 mm


def calibrated(noise, *contrasts, settings=FEW):
    head = Head(noise=noise)
    visit = head.visit(*(contrasts or ALL))
    kept = {contrast: image.data.copy() for contrast, image in visit.contrasts.items()}
    rates = calibrate_visit(
        "a", visit.contrasts, own=np.zeros(head.grid.shape, bool), brain=visit.brain, tissue=head.tissue(),
        rules=LesionRules(), voxels=dict.fromkeys(ALL, MM), settings=settings,
    )  # fmt: skip
    for contrast, data in kept.items():
        assert np.array_equal(visit.contrasts[contrast].data, data)  # the scan itself is not changed
    return rates


def share(rates, kind, *, sizes=FEW.diameters_mm, contrast=None):
    of = [r for r in rates if r.kind is kind and r.contrast == contrast and r.diameter_mm in sizes]
    return sum(r.found for r in of) / sum(r.inserted for r in of)


@pytest.fixture(scope="module")
def clear():
    return calibrated(0.04)


@pytest.fixture(scope="module")
def noisy():
    return calibrated(0.16)


def test_a_clear_scan_shows_strong_lesions_and_noise_hides_them(clear, noisy):
    assert share(clear, SimulatedKind.T2, contrast=0.55) >= 0.9
    assert share(clear, SimulatedKind.GEL, contrast=0.6) >= 0.9
    assert share(noisy, SimulatedKind.T2) < share(clear, SimulatedKind.T2) - 0.1
    assert share(noisy, SimulatedKind.GEL) < share(clear, SimulatedKind.GEL)


def test_large_and_strong_lesions_are_found_more_often(noisy):
    small, large = (3.0, 4.0), (6.0, 9.0)
    assert share(noisy, SimulatedKind.T2, sizes=small) < share(noisy, SimulatedKind.T2, sizes=large)
    assert share(noisy, SimulatedKind.GEL, sizes=small) < share(noisy, SimulatedKind.GEL, sizes=large)
    assert share(noisy, SimulatedKind.T2, contrast=0.25) < share(noisy, SimulatedKind.T2, contrast=0.55)
    assert share(noisy, SimulatedKind.GEL, contrast=0.2) < share(noisy, SimulatedKind.GEL, contrast=0.6)


def test_two_runs_are_equal():
    first = calibrated(0.16, settings=ONE)
    np.random.seed(7)  # noqa: NPY002 - the state of others has no effect
    assert calibrated(0.16, settings=ONE) == first


def test_a_visit_without_contrast_has_no_rates_of_enhancing_lesions():
    rates = calibrated(0.04, Contrast.FLAIR, settings=ONE)
    assert {rate.kind for rate in rates} == {SimulatedKind.T2}


def test_every_lesion_is_counted_once_for_its_contrast_and_once_for_all(clear):
    single = [r for r in clear if r.contrast is not None]
    every = [r for r in clear if r.contrast is None]
    for count in ("inserted", "found"):
        assert sum(getattr(r, count) for r in single) == sum(getattr(r, count) for r in every)
    assert sum(r.inserted for r in every) == 2 * 4 * 3 * 2


def rate(diameter, found, inserted=10, contrast=0.4):
    return DetectionRate("a", SimulatedKind.T2, contrast, diameter, inserted, found, 0.0, 1.0)


@pytest.mark.parametrize(
    ("found", "smallest"),
    [
        ((0, 8, 9, 10), 4.0),
        ((9, 7, 9, 10), 5.0),  # a gap: smaller sizes are not shown
        ((10, 10, 10, 7), None),
        ((8, 8, 8, 8), 3.0),
    ],
)
def test_the_smallest_size_that_is_shown_has_no_gap_above(found, smallest):
    rates = [rate(size, n) for size, n in zip((3.0, 4.0, 5.0, 7.0), found, strict=True)]
    result = smallest_shown(rates[::-1], CalibrationSettings(diameters_mm=(3.0, 4.0, 5.0, 7.0)))
    assert (result.diameter_mm if result else None) == smallest


@pytest.mark.parametrize(
    ("counts", "smallest", "known"),
    [
        (((3, 3), (6, 6), (8, 8), (8, 8)), 4.0, True),
        (((8, 8), (5, 0), (8, 8), (8, 8)), 5.0, True),
        (((8, 8), (5, 5), (8, 8), (8, 8)), 5.0, True),  # too few never show a size
        (((8, 8), (0, 0), (8, 8), (8, 8)), 5.0, True),
        (((8, 8), (5, 0), (8, 8), (5, 0)), None, False),
        (((8, 8), (8, 8), (8, 8), (2, 2)), None, False),
        (((8, 8), (8, 8), (8, 8), (0, 0)), None, False),
        (((5, 5), (5, 5), (5, 5), (5, 5)), None, False),
        (((8, 8), (8, 8), (8, 8), (6, 4)), None, True),
    ],
)
def test_a_size_of_too_few_lesions_is_not_shown(counts, smallest, known):
    settings = CalibrationSettings(diameters_mm=(3.0, 4.0, 5.0, 7.0))
    rates = [rate(d, found, n) for d, (n, found) in zip(settings.diameters_mm, counts, strict=True) if n]
    result = smallest_shown(rates, settings)
    assert (result.diameter_mm if result else None) == smallest
    assert enough_simulated(rates, settings) is known


def test_report_and_table_claim_no_size_that_is_not_shown():
    found = zip((3.0, 4.0, 5.0, 7.0, 10.0), ((8, 8), (5, 0), (8, 8), (5, 0), (5, 0)), strict=True)
    rates = tuple(rate(diameter, found, inserted) for diameter, (inserted, found) in found)
    (row,) = calibration_rows(VisitCalibration("a", rates))
    assert row["smallest"] == "not known"
    assert shown_from(rates) == {}
    assert {line.split(",")[9] for line in calibration_text([VisitCalibration("a", rates)]).splitlines()[1:]} == {
        ""
    }


def test_the_least_number_of_lesions_bounds_the_chance_of_a_size_of_half_of_the_lesions():
    settings = CalibrationSettings()

    def chance(n):
        return binom.sf(np.ceil(settings.shown_rate * n) - 1, n, 0.5)

    assert max(chance(n) for n in range(settings.least_lesions, 100)) == pytest.approx(0.109, abs=0.001)
    assert chance(settings.least_lesions - 1) == pytest.approx(0.1875)
    assert settings.repeats >= settings.least_lesions


def test_beside_a_count_is_the_lesion_of_the_middle_contrast_of_the_settings():
    settings = CalibrationSettings()
    rates = [rate(s, n, contrast=c) for c, n in ((0.25, 0), (0.4, 9), (0.55, 10)) for s in (3.0, 4.0)]
    every = [*rates, rate(3.0, 5, contrast=None)]
    assert usual_contrast(every, settings) == {SimulatedKind.T2: rates[2:4]}
    assert usual_contrast([], settings) == {}
    # the weakest one found no place: another contrast does not become the middle one
    assert usual_contrast(rates[2:], settings) == {SimulatedKind.T2: rates[2:4]}
    assert usual_contrast(rates[4:], settings) == {SimulatedKind.T2: []}
    assert [settings.middle_contrast(kind) for kind in SimulatedKind] == [0.4, 0.4]


def calibrate(head, **more):
    visit = head.visit(*ALL)
    arguments = {
        "images": visit.contrasts, "own": np.zeros(head.grid.shape, bool), "brain": visit.brain,
        "tissue": head.tissue(), "rules": LesionRules(), "voxels": dict.fromkeys(ALL, MM), "settings": ONE,
    }  # fmt: skip
    return calibrate_visit("a", **arguments | more)


def test_a_calibration_that_fails_has_a_note_in_place_of_rates(monkeypatch, caplog):
    def fail(*_):
        raise AnalysisError("expected a lesion, found none")

    monkeypatch.setattr(calibration, "_masks", fail)
    found = calibration.calibrated("a", lambda: calibrate(Head()))
    assert found == VisitCalibration("a", note="the self-calibration failed (AnalysisError)")
    assert "expected a lesion, found none" in caplog.text
    text = calibration_text([found])
    assert text.splitlines()[1] == "a" + 10 * "," + "the self-calibration failed (AnalysisError)"
    assert parse_calibration(text) == [found]


def test_a_scan_that_does_not_fit_the_calibration_fails_it_alone():
    """The arguments are read inside of the boundary, too."""
    found = calibration.calibrated(
        "a", lambda: [acquired_voxel(Grid((4, 4, 4), np.zeros((4, 4))), Affine.identity())]
    )
    assert found.note.startswith("the self-calibration failed (")


def test_a_full_disk_is_no_failure_of_the_calibration(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(calibration, "_masks", full)
    with pytest.raises(OSError, match="no space left"):
        calibration.calibrated("a", lambda: calibrate(Head()))


def test_a_visit_without_place_says_so():
    head = Head()
    found = calibration.calibrated("a", lambda: calibrate(head, own=np.ones(head.grid.shape, bool)))
    assert found == VisitCalibration("a", note="no place for a simulated lesion")


def test_the_interval_is_that_of_wilson():
    (found, _) = detection_rates("a", [(PlannedLesion(SimulatedKind.GEL, 3.0, 0.4), n < 7) for n in range(8)])
    # Brown, Cai and DasGupta (2001), eq. 4, with z = 1.96
    z, p, n = 1.959964, 7 / 8, 8
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (found.low, found.high) == pytest.approx(
        ((middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n))
    )


def test_the_table_has_every_rate_and_is_read_back(clear):
    found = VisitCalibration("a", tuple(clear))
    text = calibration_text([found, VisitCalibration("b", note="a note, with a comma")])
    one, two = parse_calibration(text)
    assert [replace(r, low=0, high=0) for r in one.rates] == [replace(r, low=0, high=0) for r in clear]
    assert (two.rates, two.note) == ((), "a note, with a comma")
    assert calibration_text([one, two]) == text
    assert text == calibration.joined([calibration_text([found]), calibration_text([two])])
    assert text.splitlines()[0].endswith("inserted,found,rate,rate_low,rate_high,smallest_shown_mm,note")
    without_notes = "\n".join(line.rpartition(",")[0] for line in text.splitlines()[:-1])
    assert parse_calibration(without_notes) == [one]  # of an earlier version
    assert calibration_text([]).count("\n") == 1


def test_an_external_segmenter_is_not_calibrated():
    other = Segmenter(name="other", version="1", command=("other", "{flair}", "{t1}", "{mask}"))
    with pytest.raises(
        SettingsError, match="--calibrate: expected the built-in T2 segmentation, found the segmenter other"
    ):
        calibration.require_built_in(LesionRules(segmenter=other), calibrate=True)
    calibration.require_built_in(LesionRules(segmenter=other), calibrate=False)
    calibration.require_built_in(LesionRules(), calibrate=True)
