"""Image quality over time: outliers, drift, the page over sites and scanners, and its command."""

import datetime as dt
import json
from dataclasses import replace

import pytest

from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import ScannerFacts, StoredMeasures
from qc.quality_history import LEAST_FOR_DRIFT, latest_of_each, measure_series
from reading_centre import cli
from tests.unit.html_page import Page
from tests.unit.ingest_trial import new_trial, opened

PROTOCOL = parse_protocol(protocol_text())
LIMITS = PROTOCOL.image_change
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ONE = ScannerFacts("Maker", "Model <b>", "v1", 3.0, "ab" * 8)
CODE = "BCDF2345"


def uploads(values, name="snr", contrast="FLAIR"):
    days = [(START + n * dt.timedelta(days=7)).isoformat() for n in range(len(values))]
    return [
        StoredMeasures(
            "S01", 1, CODE, "wk04", upload_digest=day, accepted=True, at=day, values={contrast: {name: value}}
        )
        for day, value in zip(days, values, strict=True)
    ]


def only(found):
    (series,) = found
    return series


def test_a_value_beyond_the_limit_is_an_outlier():
    series = only(measure_series(uploads([30.0, 9.9, 10.1]), PROTOCOL))
    assert (series.contrast, series.rule, series.limit) == (Contrast.FLAIR, "snr", 10.0)
    assert [point.outlier for point in series.points] == [False, True, False]
    series = only(measure_series(uploads([0.01, 0.06], "edge_share"), PROTOCOL))
    assert [round(point.value, 6) for point in series.points] == [1.0, 6.0]  # in percent
    assert [point.outlier for point in series.points] == [False, True]


def test_a_value_far_from_those_before_is_an_outlier():
    worst = 100.0 * (1 - LIMITS.dummy_run_factor * LIMITS.max_fall_snr_percent.value / 100)
    assert worst < 0  # the limit of signal to noise is met by every fall of it between persons
    factor = LIMITS.dummy_run_factor * LIMITS.max_rise_bias_percent.value
    name = "brain.bias_percent"
    for change, found in ((0.98 * factor, False), (1.02 * factor, True)):
        series = only(measure_series(uploads([3.0, 4.0, 5.0, 4.0 + change], name), PROTOCOL))
        assert [point.outlier for point in series.points] == [False] * 3 + [found]
    few = only(measure_series(uploads([3.0, 4.0, 4.0 + 1.02 * factor], name), PROTOCOL))
    assert few.outliers == 0


def test_refused_uploads_are_shown_and_not_compared_with():
    found = uploads([4.0, 24.0, 24.0, 24.0, 22.0], "brain.bias_percent")
    found[1:4] = [replace(one, accepted=False) for one in found[1:4]]
    series = only(measure_series(found, PROTOCOL))
    assert [point.accepted for point in series.points] == [True, False, False, False, True]
    assert not series.points[-1].outlier
    assert series.drift is None


@pytest.mark.parametrize(
    ("values", "drift"),
    [
        ([-1.3 - 0.04 * n for n in range(LEAST_FOR_DRIFT)], -0.28),
        ([-1.3 - 0.04 * n for n in range(LEAST_FOR_DRIFT - 1)], None),
        ([-1.6 + 0.04 * n for n in range(LEAST_FOR_DRIFT)], None),  # for the better
        (
            [-1.3 - 0.02 * n for n in range(LEAST_FOR_DRIFT)],
            None,
        ),  # significant, and smaller than half of the limit
        ([-1.3, -1.7, -1.3, -1.7, -1.3, -1.7, -1.3, -1.7], None),  # no trend
        ([-1.3] * LEAST_FOR_DRIFT, None),
    ],
)
def test_a_drift_is_a_relevant_trend_for_the_worse(values, drift):
    series = only(measure_series(uploads(values, "spectrum.sharpness"), PROTOCOL))
    assert series.drift == (None if drift is None else pytest.approx(drift))


def test_uploads_of_one_moment_have_no_drift():
    found = [
        replace(one, at=START.isoformat()) for one in uploads([-1.0 - n for n in range(9)], "spectrum.sharpness")
    ]
    assert only(measure_series(found, PROTOCOL)).drift is None


def test_an_upload_that_is_tried_again_counts_once():
    first, second = uploads([20.0, 30.0])
    again = replace(first, at=second.at, values={"FLAIR": {"snr": 25.0}}, accepted=False)
    assert latest_of_each([first, again, replace(second, visit="wk12")]) == [again, replace(second, visit="wk12")]


def test_an_upload_of_two_scanners_counts_for_both():
    """Measured again by a version that tells the scanners of its series apart."""
    (whole,) = uploads([20.0])
    flair, t1w = (
        replace(whole, at="2026-06-01T08:00:00+00:00", scanner=number, values={name: {"snr": 20.0}})
        for number, name in ((1, "FLAIR"), (2, "T1w"))
    )
    assert latest_of_each([whole, flair, t1w]) == [flair, t1w]


def test_the_same_dummy_run_of_two_sites_counts_for_both():
    (one,) = uploads([20.0])
    one = replace(one, subject="", visit="")
    other = replace(one, site="S02", values={"FLAIR": {"snr": 25.0}})
    assert latest_of_each([one, other]) == [one, other]


@pytest.fixture
def trial(tmp_path):
    trial = new_trial(tmp_path / "trial")
    with opened(trial) as registry:
        registry.record_dummy_run(
            "S01", accepted=True, upload_digest="d1", scanner=ONE, coil="Head & neck", findings=["thick"],
            measures={"FLAIR": {"snr": 30.0, "brain.bias_percent": 9.0}},
        )  # fmt: skip
        for number, (visit, snr) in enumerate((("wk00", 29.0), ("wk04", 9.0))):
            registry.record_scan(
                CODE, visit, site="S01", upload_digest=f"u{number}", scanner=ONE, measures={"FLAIR": {"snr": snr}}
            )
        registry.measures.enter_refused(
            {"FLAIR": {"snr": 28.0}}, site="S01", scanner=None, upload_digest="u9", subject=CODE, visit="wk12"
        )
        registry.record_dummy_run("S02", accepted=False, upload_digest="d2")
    return trial


def test_the_page_stands_alone_and_shows_no_subject(trial, capsys):
    assert cli.invoke(["qc", str(trial.root), "--json"]) == 0
    overview = json.loads(capsys.readouterr().out)
    html = (trial.reports / "qc.html").read_text()
    page = Page(html)
    assert overview["page"] == str(trial.reports / "qc.html")
    assert "script" not in page.tags
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "default-src 'none'" in html
    assert not any(text in html for text in (CODE, "wk00", "wk04", "wk12", "ab" * 8, "Model <b>"))
    assert "Model &lt;b&gt;" in html
    assert "Head &amp; neck" in html
    assert page.tags.count("svg") == 3
    assert page.tags.count("rect") == 2  # the dummy run, in two plots


def test_the_numbers_of_the_command(trial, capsys):
    assert cli.invoke(["qc", str(trial.root), "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["scanners"]
    names = ("site", "gate", "uploads", "refused", "outliers", "drifts", "open_queries")
    assert [tuple(line[name] for name in names) for line in lines] == [
        ("S01", "accepted", 3, 0, 1, 0, 1),
        ("S01", "no dummy run", 1, 1, 0, 0, 1),
        ("S02", "refused", 0, 0, 0, 0, 0),
    ]
    assert [line["scanner"] for line in lines] == ["Maker Model <b>, 3 T, v1", "not stated", ""]
    page = Page((trial.reports / "qc.html").read_text())
    assert ["S01", "Maker Model <b>, 3 T, v1", "FLAIR", "Signal to noise", "1 of 3 uploads"] in page.rows
    assert cli.invoke(["qc", str(trial.root)]) == 0
    assert "qc.html" in capsys.readouterr().out
    with opened(trial) as registry:
        assert registry.differences_from_audit() == []


def test_a_trial_without_uploads_has_a_page(tmp_path, capsys):
    trial = new_trial(tmp_path / "trial")
    before = trial.registry_file.read_bytes()
    assert cli.invoke(["qc", str(trial.root), "--json"]) == 0
    assert {line["uploads"] for line in json.loads(capsys.readouterr().out)["scanners"]} == {0}
    assert trial.registry_file.read_bytes() == before
    assert cli.invoke(["qc", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize(
    ("phase_axis", "rules"),
    [({}, {"motion_left_right", "motion_front_back"}), ({"phase_axis": 0.0}, {"motion_left_right"})],
)
def test_motion_within_slices_is_shown_along_the_stated_phase_encoding(phase_axis, rules):
    (upload,) = uploads([3.5], "slices.coherence_ratio")
    upload = replace(upload, values={"FLAIR": upload.values["FLAIR"] | phase_axis})
    assert {series.rule for series in measure_series([upload], PROTOCOL)} == rules
