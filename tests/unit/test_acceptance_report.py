"""The acceptance report: doubtful slices, mosaics without a face, bars, decisions of persons, PDF."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from mri_pipeline.core.errors import ExternalToolError, UsageError
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.quality_limits import Action, ImageLimits
from mri_pipeline.core.spatial import Affine, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import Gate
from qc.acceptance import JudgedDummyRun, Verdict, judge_image, judge_images
from qc.findings import Finding
from qc.measure_record import measure_record
from qc.measures import measure
from qc.placement import Placement
from qc.reports.acceptance import acceptance_html, acceptance_json, add_decision
from qc.reports.bars import bars, reference_ranges
from qc.reports.mosaics import mosaics
from qc.reports.pdf import write_pdf
from qc.slices.doubtful import SLICE_REASONS, doubtful_slices
from reading_centre import cli
from tests.unit import dicom_factory as factory
from tests.unit.html_page import Page
from tests.unit.ingest_trial import SMALL, new_trial, opened
from tests.unit.test_qc_acceptance import CONTEXT, GOOD, PROTOCOL
from tests.unit.test_qc_artefacts import MIDDLE, clean, slices  # noqa: F401 - a fixture
from tests.unit.test_qc_measures import changed
from tests.unit.test_qc_placement import scan as brain_scan

LIMITS = ImageLimits()
FOUND = Placement(Affine.identity(), 0.9, 0.0)


def shift(data):
    data[:, :, MIDDLE] = np.roll(data[:, :, MIDDLE], 12, axis=0)


def darken(data):
    data[:, :, MIDDLE] *= 0.5


def double(data):
    data[:, :, MIDDLE] = 1.02 * data[:, :, MIDDLE - 1]


def copy(data):
    data[:, :, MIDDLE] = data[:, :, MIDDLE - 1]


def blank(data):
    data[:, :, MIDDLE] = 0


def two(data):
    data[:, :, MIDDLE] *= 0.5
    data[:, :, MIDDLE + 6] *= 0.5


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (shift, {MIDDLE: "displaced"}),
        (darken, {MIDDLE: "intensity"}),
        (double, {MIDDLE - 1: "doubled", MIDDLE: "doubled"}),
        (copy, {MIDDLE - 1: "copied, doubled", MIDDLE: "copied, doubled"}),
        (two, {MIDDLE: "intensity", MIDDLE + 6: "intensity"}),
    ],
)
def test_a_doubtful_slice_is_named_and_its_neighbours_are_not(clean, change, expected):  # noqa: F811
    image = changed(clean, slices(clean.data, change))
    assert doubtful_slices(image, LIMITS, SLICE_REASONS) == expected
    assert (
        doubtful_slices(image.reoriented("LPI"), LIMITS, SLICE_REASONS) == expected
    )  # slices are counted from inferior


def test_a_blank_slice_is_doubtful_and_a_clean_scan_has_none(clean):  # noqa: F811
    assert doubtful_slices(clean, LIMITS, SLICE_REASONS) == {}
    assert "blank" in doubtful_slices(changed(clean, slices(clean.data, blank)), LIMITS, SLICE_REASONS)[MIDDLE]
    empty = changed(clean, np.zeros_like(clean.data))
    assert doubtful_slices(empty, LIMITS, SLICE_REASONS) == {}


@pytest.mark.parametrize("change", [lambda data: None, shift, darken, double, copy, blank])
@pytest.mark.parametrize("orientation", ["RAS", "PIL"])
def test_slices_are_doubtful_by_the_rules_that_the_scan_violates(change, orientation):
    """The measures and the marks see the same slices: no mark without a finding, no finding without a mark."""
    image = brain_scan(field=0.1)
    image = changed(image, slices(image.data, change)).reoriented(orientation)
    findings = judge_image(Contrast.FLAIR, measure(image, Contrast.FLAIR), PROTOCOL)
    violated = {f.rule for f in findings if f.action is not None} & SLICE_REASONS.keys()
    marked = doubtful_slices(image, LIMITS, SLICE_REASONS)
    assert {reason for text in marked.values() for reason in text.split(", ")} == {
        SLICE_REASONS[rule] for rule in violated
    }
    assert doubtful_slices(image, LIMITS, violated) == marked
    assert doubtful_slices(image, LIMITS, set()) == {}


def picture(mosaic):
    return imread(io.BytesIO(base64.b64decode(mosaic.png)))[..., :3]


def orange(rgb):
    return (rgb[..., 0] > 0.8) & (rgb[..., 2] < 0.4)


def test_doubtful_slices_are_marked_and_shown_beside_the_even_ones(clean):  # noqa: F811
    plain, marked = (mosaics(clean, doubt, FOUND)[0] for doubt in ({}, {MIDDLE + 1: "displaced"}))
    assert not orange(picture(plain)).any()
    assert orange(picture(marked)).sum() > 300
    assert picture(marked).shape[0] > picture(plain).shape[0]  # one more row


def test_three_planes_and_the_plane_of_the_acquisition_first(clean):  # noqa: F811
    found = mosaics(clean, {}, FOUND)
    assert [(m.plane, m.acquired) for m in found] == [("axial", True), ("coronal", False), ("sagittal", False)]
    turned = Image(np.swapaxes(clean.data, 0, 2), replace(clean.grid, shape=clean.data.shape[::-1]))
    planes = [mosaic.plane for mosaic in mosaics(turned, {}, FOUND)]
    assert sorted(planes) == ["axial", "coronal", "sagittal"]


def test_without_the_place_of_the_brain_no_profile_is_shown(clean):  # noqa: F811
    for placement in (None, replace(FOUND, similarity=0.49)):
        assert [mosaic.plane for mosaic in mosaics(clean, {}, placement)] == ["axial"]


def test_face_and_ears_are_blanked():
    grid = load_template().brain.grid
    image = Image(np.full(grid.shape, 100.0, np.float32), grid)
    axial, coronal, sagittal = mosaics(image, {}, FOUND)
    assert (axial.plane, coronal.plane, sagittal.plane) == ("axial", "coronal", "sagittal")
    rgb = picture(sagittal)[..., 0]
    tile = rgb[:, 2 * rgb.shape[1] // 6 : 3 * rgb.shape[1] // 6]  # near the midline, anterior at the left
    height, width = tile.shape
    assert tile[int(0.85 * height) : int(0.95 * height), int(0.1 * width) : int(0.3 * width)].max() < 0.1
    assert tile[int(0.3 * height) : int(0.6 * height), int(0.4 * width) : int(0.6 * width)].min() > 0.3


def test_bars_show_value_limit_and_reference_range():
    values = measure_record({Contrast.FLAIR: replace(GOOD, snr=9.0, cnr=None)})["FLAIR"]
    found = {bar.name: bar for bar in bars(Contrast.FLAIR, values, PROTOCOL)}
    snr = found["Signal to noise"]
    assert snr.text == "9 (limit: at least 10)"
    assert snr.violated
    assert 0 < snr.value < snr.limit < snr.low < snr.high < 100
    low, high = reference_ranges()["ranges"]["snr"]["FLAIR"]
    assert (snr.limit - snr.value) / (snr.high - snr.low) == pytest.approx(1.0 / (high - low), rel=0.05)
    assert found["Grey/white contrast to noise"].value is None
    assert found["Grey/white contrast to noise"].text == "not measured (limit: at least 2)"
    assert found["Head at the edge"].text.endswith("(limit: at most 5 %)")
    assert not found["Sharpness"].violated
    of_t2 = {bar.name for bar in bars(Contrast.T2W, values, PROTOCOL)}
    assert "Signal of grey matter" not in of_t2  # there is no limit for it
    t1, after = (bars(contrast, values, PROTOCOL) for contrast in (Contrast.T1W, Contrast.T1W_GD))
    assert t1 == after
    assert all(bar.low is None for bar in bars(Contrast.PDW, values, PROTOCOL))


@pytest.mark.parametrize(
    ("snr", "shown"), [(1e-5, "< 0.001"), (-1e-5, "> -0.001"), (0.001, "0.001"), (0.0, "0"), (0.0234, "0.0234")]
)
def test_bars_show_no_powers_of_ten(snr, shown):
    values = measure_record({Contrast.FLAIR: replace(GOOD, snr=snr)})["FLAIR"]
    (bar,) = [bar for bar in bars(Contrast.FLAIR, values, PROTOCOL) if bar.name == "Signal to noise"]
    assert bar.text == f"{shown} (limit: at least 10)"


@pytest.fixture
def report(clean):  # noqa: F811
    """A report with one refusal, two queries, one met limit and one scan."""
    return with_displacement(clean, 9.0)


def with_displacement(clean, displaced_mm):  # noqa: F811
    image = changed(clean, slices(clean.data, shift))
    low = replace(GOOD, snr=9.0, placement=FOUND, slices=replace(GOOD.slices, displacement_mm=displaced_mm))
    findings = (
        Finding("field_strength", Action.REFUSE, "expected 1.5 T, found 1 T", None, 1.0, 1.5, "T"),
        *judge_images({Contrast.FLAIR: low}, PROTOCOL),
    )
    return JudgedDummyRun(
        "S01", Verdict.REFUSED, findings, (), None, {Contrast.FLAIR: image}, {Contrast.FLAIR: low}
    )


def test_every_finding_has_value_limit_what_to_do_and_until_when(report):
    page = Page(acceptance_html(report, CONTEXT))
    ask = LIMITS.min_snr.ask
    assert [
        "Signal to noise", "FLAIR", "Expected a signal-to-noise ratio of at least 10, found 9.", "9", "10",
        f"{ask[:1].upper()}{ask[1:]}.", "2026-12-14",
    ] in page.rows  # fmt: skip
    refusal = ["Field strength", "all", "Expected 1.5 T, found 1 T.", "1 T", "1.5 T", "", "before enrolment"]
    assert refusal in page.rows
    assert page.tags.count("img") == 3
    assert page.tags.count("svg") == len(bars(Contrast.FLAIR, {}, PROTOCOL))
    assert "script" not in page.tags


def test_the_report_names_doubtful_slices_by_their_number(report):
    assert f"{MIDDLE + 1} (displaced)" in acceptance_html(report, CONTEXT)


def test_a_slice_that_no_finding_concerns_is_not_marked(clean):  # noqa: F811
    page = acceptance_html(with_displacement(clean, 0.5), CONTEXT)
    assert "(displaced)" not in page
    assert "<span>Slices with a finding</span> none" in page


def test_decisions_of_persons_are_added_to_report_and_json(report, tmp_path):
    page = tmp_path / "report.html"
    decided = {"state": "accepted", "day": CONTEXT.judged_on}
    add_decision(page, reason="none yet", by="QC 1", final=True, **decided)
    assert not page.exists()
    page.write_text(acceptance_html(report, CONTEXT))
    page.with_suffix(".json").write_text(acceptance_json(report, CONTEXT))
    add_decision(page, reason="<b>seen</b>", by="QC 2", final=False, **decided)
    add_decision(page, reason="agreed", by="QC 3", final=True, **decided)
    html = page.read_text()
    assert html.count('class="decision"') == 2
    assert "&lt;b&gt;seen&lt;/b&gt;" in html
    assert "to be confirmed by a second person" in html
    decisions = json.loads(page.with_suffix(".json").read_text())["decisions"]
    assert [(d["by"], d["final"], d["on"]) for d in decisions] == [
        ("QC 2", False, "2026-11-30"), ("QC 3", True, "2026-11-30"),
    ]  # fmt: skip


def with_persons(persons):
    gate = PROTOCOL.scanner_gate.model_copy(update={"persons": persons})
    return replace(CONTEXT, protocol=PROTOCOL.model_copy(update={"scanner_gate": gate}))


@pytest.mark.parametrize(
    ("by_limits", "persons", "decisions", "verdict"),
    [
        (Verdict.ACCEPTED, 0, [], "accepted"),
        (Verdict.ACCEPTED, 1, [], "undecided"),
        (Verdict.QUERIES, 1, [], "undecided"),
        (Verdict.REFUSED, 1, [], "refused"),
        (Verdict.ACCEPTED, 0, [("refused", True)], "refused"),
        (Verdict.ACCEPTED, 1, [("accepted", True)], "accepted"),
        (Verdict.QUERIES, 1, [("accepted", True)], "accepted with queries"),
        (Verdict.REFUSED, 1, [("accepted", True)], "accepted"),
        (Verdict.ACCEPTED, 2, [("accepted", False)], "undecided"),
        (Verdict.ACCEPTED, 2, [("accepted", False), ("accepted", True), ("refused", False)], "accepted"),
        (Verdict.QUERIES, 1, [("accepted", True), ("refused", True)], "refused"),
    ],
)
def test_headline_and_verdict_follow_limits_gate_and_decisions(tmp_path, by_limits, persons, decisions, verdict):
    run, context = JudgedDummyRun("S01", by_limits, (), (), None, {}, {}), with_persons(persons)
    page = tmp_path / "report.html"
    page.write_text(acceptance_html(run, context))
    page.with_suffix(".json").write_text(acceptance_json(run, context))
    for state, final in decisions:
        add_decision(page, state=state, reason="seen", by="QC 2", day=CONTEXT.judged_on, final=final)
    html, found = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert (found["verdict"], found["by_limits"]) == (verdict, by_limits.value)
    assert html.count('<div class="verdict') == 1
    assert f"<strong>{verdict}</strong>" in html
    assert ("The site may enrol" in html) is verdict.startswith("accepted")
    assert ("The site cannot enrol" in html) is not verdict.startswith("accepted")
    assert html.count('class="decision"') == len(decisions)


def test_a_pdf_has_everything_unfolded(tmp_path):
    page = tmp_path / "page.html"
    hidden = "<p>" + "</p><p>".join("line" for _ in range(400)) + "</p>"
    page.write_text(f"<!doctype html><body><details><summary>more</summary>{hidden}</details></body>")
    whole = write_pdf(page).read_bytes()
    assert whole.startswith(b"%PDF")
    page.write_text("<!doctype html><body><p>line</p></body>")
    assert len(whole) > 2 * len(write_pdf(page).read_bytes())
    assert "open" not in page.read_text()


def test_without_chromium_a_pdf_is_wrong_use_and_nothing_is_judged(tmp_path, monkeypatch, capsys):
    trial = new_trial(tmp_path / "trial")
    sent = factory.write_visit(tmp_path / "up", SMALL)
    monkeypatch.setattr("qc.reports.pdf.shutil.which", lambda name: None)
    assert cli.invoke(["dummy-run", str(trial.root), str(sent), "--site", "S02", "--pdf"]) == 2
    assert "expected Chromium for a PDF, found none" in capsys.readouterr().err
    assert not any(trial.reports.iterdir())
    with pytest.raises(UsageError, match="expected Chromium"):
        write_pdf(tmp_path / "page.html")


def test_a_chromium_that_fails_is_named(tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>")
    monkeypatch.setattr("qc.reports.pdf.shutil.which", lambda name: "/bin/false")
    with pytest.raises(ExternalToolError, match=r"expected a PDF by Chromium, found none \(exit code 1\)"):
        write_pdf(page)
    assert not page.with_suffix(".pdf").exists()


def test_the_command_writes_report_json_and_pdf_with_the_reviewer(tmp_path, capsys):
    trial = new_trial(tmp_path / "trial")
    sent = factory.write_visit(tmp_path / "up", SMALL)
    command = ["dummy-run", str(trial.root), str(sent), "--site", "S02", "--by", "QC 7", "--pdf"]
    assert cli.invoke(command) == 3
    (values,) = trial.reports.glob("dummy-run_S02_*.json")
    assert json.loads(values.read_text())["reviewer"] == "QC 7"
    assert "QC 7" in values.with_suffix(".html").read_text()
    assert values.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_a_pdf_that_fails_does_not_lose_the_verdict(tmp_path, monkeypatch, capsys):
    found = [Finding("snr", Action.REFUSE, "expected more signal, found noise", Contrast.FLAIR)]
    monkeypatch.setattr("qc.acceptance.judge_images", lambda measures, protocol: found)
    monkeypatch.setattr("qc.reports.pdf.shutil.which", lambda name: "/bin/false")
    trial = new_trial(tmp_path / "trial")
    sent = factory.write_visit(tmp_path / "up", SMALL)
    command = ["dummy-run", str(trial.root), "--site", "S02"]
    assert cli.invoke([*command, str(sent), "--pdf"]) not in {0, 3}
    assert "expected a PDF by Chromium" in capsys.readouterr().err
    with opened(trial) as registry:
        assert registry.site("S02").gate is Gate.REFUSED
        assert len(registry.scanner_gates.all("S02")) == 1
    (page,) = trial.reports.glob("dummy-run_S02_*.html")
    stale = page.with_suffix(".pdf")
    stale.write_bytes(b"refused")
    assert cli.invoke([*command, "--decide", "accept", "--reason", "seen", "--by", "QC 1"]) == 0
    assert not stale.exists()
    monkeypatch.setattr("qc.acceptance.judge_images", lambda measures, protocol: [])
    assert cli.invoke([*command, str(sent), "--pdf"]) not in {0, 3}
    with opened(trial) as registry:
        assert registry.site("S02").gate is Gate.ACCEPTED
