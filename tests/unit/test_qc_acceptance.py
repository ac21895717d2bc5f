"""The verdict on dummy runs, and the report a site gets."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from mri_pipeline.core.errors import SettingsError, UnreadableUploadError
from mri_pipeline.core.protocol import Action, parse_protocol, protocol_text
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from qc.acceptance import DummyRun, Verdict, judge_image, judge_images, verdict
from qc.content import ContentMeasures
from qc.findings import Finding
from qc.measures import ImageMeasures
from qc.reports.acceptance import acceptance_html, mosaic_png
from reading_centre.use_cases.dummy_run import accept_dummy_run
from tests.unit import dicom_factory as factory

SECRET = b"0123456789abcdef"
PROTOCOL = parse_protocol(protocol_text())
GOOD = ImageMeasures(
    5.0, 40.0, 6.0, 1.0, (150.0, 190.0, 160.0), False, 0.0, 5.0, 0, ("a", "b"), ContentMeasures(2.0, 9.0, 0.6)
)


def run(upload: Path, work: Path) -> DummyRun:
    return accept_dummy_run(upload, protocol=PROTOCOL, site="S01", work_dir=work, secret=SECRET)[0]


def test_one_refusal_refuses_and_one_query_asks():
    met, note, query, refuse = (Finding("x", a, "x") for a in (None, Action.NOTE, Action.QUERY, Action.REFUSE))
    assert verdict([met, note]) is Verdict.ACCEPTED
    assert verdict([met, query, note]) is Verdict.QUERIES
    assert verdict([query, refuse, met]) is Verdict.REFUSED
    assert [v.opens_gate for v in Verdict] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"snr": 9.0}, "snr"),
        ({"cnr": 1.5}, "cnr"),
        ({"snr": None}, "snr"),
        ({"ghosting_percent": 8.0}, "ghosting"),
        ({"cut_at_top": True}, "vertex"),
        ({"edge_share": 0.2}, "edge"),
        ({"slice_step_percent": 40.0}, "slice_step"),
    ],
)
def test_each_measure_has_its_query(change, rule):
    assert [f.rule for f in judge_image(Contrast.FLAIR, GOOD, PROTOCOL) if f.action] == []
    broken = [f for f in judge_image(Contrast.FLAIR, replace(GOOD, **change), PROTOCOL) if f.action]
    assert [f.rule for f in broken] == [rule]
    assert broken[0].action is Action.QUERY


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"blank_slices": 1}, "blank_slices"),
        ({"slice_digests": ("a", "b", "", "", "a")}, "repeated_slices"),
        ({"content": ContentMeasures(0.0, 9.0, 0.6)}, "head_volume"),
        ({"content": ContentMeasures(2.0, 2.6, 0.6)}, "head_detail"),
        ({"content": ContentMeasures(2.0, 9.0, 0.0)}, "slice_coherence"),
    ],
)
def test_an_image_that_cannot_be_analysed_is_a_refusal(change, rule):
    broken = [f for f in judge_image(Contrast.FLAIR, replace(GOOD, **change), PROTOCOL) if f.action]
    assert [(f.rule, f.action) for f in broken] == [(rule, Action.REFUSE)]


def test_pixels_of_another_contrast_are_a_refusal():
    other = replace(GOOD, slice_digests=("c", "b", ""))
    broken = [f for f in judge_images({Contrast.FLAIR: GOOD, Contrast.T2W: other}, PROTOCOL) if f.action]
    assert [(f.rule, f.action) for f in broken] == [("copied_scan", Action.REFUSE)]
    assert broken[0].message == "FLAIR and T2w: expected two scans, found 1 slices with the same pixels in both"


def test_the_protocol_can_make_noise_a_refusal():
    text = protocol_text() + "\n"
    strict = parse_protocol(
        text.replace("[lesions]", '[image_quality]\nmin_snr = { value = 30, action = "refuse" }\n\n[lesions]')
    )
    broken = [f for f in judge_image(Contrast.T1W, replace(GOOD, snr=20.0), strict) if f.action]
    assert [(f.rule, f.action) for f in broken] == [("snr", Action.REFUSE)]


def test_a_refused_dummy_run_lists_every_reason_and_still_shows_the_images(tmp_path):
    series = [replace(s, field_t=1.0) for s in (factory.T1, factory.T2, factory.T1_GD)]
    result = run(factory.write_visit(tmp_path / "up", series), tmp_path / "work")
    assert result.verdict is Verdict.REFUSED
    # the object of the factory is no head either
    assert {f.rule for f in result.of(Action.REFUSE)} >= {"field_strength", "sequence", "head_volume"}
    assert set(result.images) == {Contrast.T1W, Contrast.T2W, Contrast.T1W_GD}
    assert not (tmp_path / "work").exists()


def test_a_series_that_cannot_be_deidentified_refuses_the_dummy_run(tmp_path):
    series = [replace(s, extra={"SoftwareVersions": "B17 Mustermann"}) for s in factory.VISIT]
    result = run(factory.write_visit(tmp_path / "up", series), tmp_path / "work")
    assert result.verdict is Verdict.REFUSED
    (finding,) = [f for f in result.of(Action.REFUSE) if f.rule == "conversion"]
    assert "expected no identity" in finding.message
    assert "Mustermann" not in acceptance_html(result, trial="mesems", settings_digest="abc123")
    assert not (tmp_path / "work").exists()


def test_an_upload_that_is_none_raises_and_leaves_nothing(tmp_path):
    (tmp_path / "up").mkdir()
    with pytest.raises(UnreadableUploadError, match="empty upload"):
        run(tmp_path / "up", tmp_path / "work")
    with pytest.raises(SettingsError, match="expected a site"):
        accept_dummy_run(tmp_path / "up", protocol=PROTOCOL, site="S99", work_dir=tmp_path / "work", secret=SECRET)
    assert not (tmp_path / "work").exists()


def test_the_report_stands_alone_and_holds_no_patient_data(tmp_path):
    result = run(factory.write_visit(tmp_path / "up", (*factory.VISIT, factory.EPI)), tmp_path / "work")
    html = acceptance_html(result, trial="<mesems>", settings_digest="abc123")
    assert "&lt;mesems&gt;" in html
    assert html.count("data:image/png;base64,") == 4
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    text = re.sub(r"base64,[^\"]+", "", html)
    for identity in (
        "Mustermann",
        "Erika",
        "4711",
        "19640812",
        "20210314",
        "2021",
        "Musterstadt",
        "t1_se_tra",
        "SN-55512",
    ):
        assert identity not in text
    for message in ("Dummy run of site S01", result.verdict.value, "series 9 is echo-planar", "abc123", "1.5 T"):
        assert message in text


def test_a_report_without_any_image_is_still_a_report(tmp_path):
    result = run(factory.write_visit(tmp_path / "up", [factory.EPI]), tmp_path / "work")
    assert result.verdict is Verdict.REFUSED
    html = acceptance_html(result, trial="mesems", settings_digest="abc123")
    assert "The site cannot enrol yet" in html
    assert "<figure>" not in html


def test_mosaics_are_radiological():
    """The patient's left (bright) is on the right of the picture, whatever the image's own axes are."""
    data = np.full((40, 50, 24), 10, np.float32)
    data[:20] = 100  # RAS: low indices are left
    for orientation in ("RAS", "LPS", "PIL"):
        image = Image(data, Grid(data.shape, np.diag([4.0, 4.0, 4.0, 1.0]))).reoriented(orientation)
        picture = imread(io.BytesIO(base64.b64decode(mosaic_png(image))))[..., 0]
        tile = picture[: picture.shape[0] // 2, : picture.shape[1] // 6]
        half = tile.shape[1] // 2
        assert tile[:, half + 5 :].mean() > tile[:, : half - 5].mean() + 0.2
