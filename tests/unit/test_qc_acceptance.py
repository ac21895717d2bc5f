"""The verdict on dummy runs, and the report a site gets."""

import base64
import datetime as dt
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from pydantic import ValidationError

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import SettingsError, UnreadableUploadError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.quality_limits import Action, ImageLimits, QualityLimit
from mri_pipeline.core.spatial import Affine, Grid, Image
from mri_pipeline.core.visits import Contrast
from qc.acceptance import JudgedDummyRun, Verdict, judge_image, judge_images, verdict
from qc.content import ContentMeasures
from qc.field_scan import BLANKED, FieldMeasures
from qc.findings import Finding
from qc.frequencies import SpectrumMeasures
from qc.measures import ImageMeasures
from qc.placement import BrainMeasures, Placement
from qc.reports.acceptance import Context, acceptance_html, acceptance_json
from qc.reports.mosaics import mosaics
from qc.slices.measures import SliceMeasures
from reading_centre.use_cases.uploads.dummy_run.judgement import accept_dummy_run
from tests.unit import dicom_factory as factory

PROTOCOL = parse_protocol(protocol_text())
GOOD = ImageMeasures(
    noise=5.0,
    snr=40.0,
    cnr=6.0,
    ghosting_percent=1.0,
    head_mm=(150.0, 190.0, 160.0),
    edge_share=0.0,
    blank_slices=0,
    slice_digests=("a", "b"),
    content=ContentMeasures(2.0, 9.0, 0.6),
    spectrum=SpectrumMeasures((0.8, 0.9), 0.5, 20.0, 1.3, -1.5),
    slices=SliceMeasures(0.8, 0.2, 4.0, 1.0, 0.8, 1.6),
    brain=BrainMeasures(3.0, 0.0, 5.0, 0.5, 1.1, 12.0, 3.0),
    placement=Placement(Affine.identity(), 0.85, 0.0),
    mirror_ratio=0.7,
    tilt_deg=5.0,
)
CONTEXT = Context(PROTOCOL, "ab12" * 16, dt.date(2026, 11, 30), "QC 1")
GREY_T1 = replace(GOOD.brain, grey_ratio=0.9)


def run(upload: Path, work: Path) -> JudgedDummyRun:
    trial = Trial(work.parent / "trial")
    Sealed.create(trial)
    return accept_dummy_run(upload, protocol=PROTOCOL, site="S01", trial=trial.root, work_dir=work)[0]


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
        ({"ghosting_percent": 8.0}, "ghosting"),
        ({"edge_share": 0.2}, "edge"),
        ({"saturated_percent": 2.0}, "saturation"),
        ({"placement": replace(GOOD.placement, upside_down_gain=0.2)}, "upside_down"),
        ({"brain": replace(GOOD.brain, cut_top_mm=20.0)}, "vertex"),
        ({"brain": replace(GOOD.brain, cut_bottom_mm=40.0)}, "foramen_magnum"),
        ({"brain": replace(GOOD.brain, fluid_ratio=2.8)}, "fluid_signal"),
        ({"brain": replace(GOOD.brain, grey_ratio=0.8)}, "grey_signal"),
        ({"brain": replace(GOOD.brain, bias_percent=40.0)}, "bias"),
        ({"brain": replace(GOOD.brain, void_mm=20.0)}, "void"),
        ({"spectrum": replace(GOOD.spectrum, ghost_percent=15.0)}, "ghost_in_head"),
        ({"spectrum": replace(GOOD.spectrum, spike_ratio=500.0)}, "spike"),
        ({"spectrum": replace(GOOD.spectrum, line_ratio=5.0)}, "line"),
        ({"spectrum": replace(GOOD.spectrum, sharpness=-3.0)}, "sharpness"),
        ({"slices": replace(GOOD.slices, displacement_mm=6.0)}, "slice_displacement"),
        ({"slices": replace(GOOD.slices, interleave_mm=1.0)}, "interleave"),
        ({"slices": replace(GOOD.slices, coherence_ratio=0.9)}, "motion_left_right"),
        ({"slices": replace(GOOD.slices, coherence_ratio=3.5)}, "motion_front_back"),
        ({"tilt_deg": 22.0}, "tilt"),
        ({"slices": replace(GOOD.slices, step_percent=40.0)}, "slice_step"),
        ({"slices": replace(GOOD.slices, alternation_percent=15.0)}, "alternation"),
        ({"slices": replace(GOOD.slices, neighbour_difference=0.1)}, "doubled_slice"),
    ],
)
def test_each_measure_has_its_query(change, rule):
    assert [f.rule for f in judge_image(Contrast.FLAIR, GOOD, PROTOCOL) if f.action] == []
    broken = [f for f in judge_image(Contrast.FLAIR, replace(GOOD, **change), PROTOCOL) if f.action]
    assert [f.rule for f in broken] == [rule]
    assert broken[0].action is Action.QUERY
    assert len(broken[0].to_do.split()) >= 4


@pytest.mark.parametrize("phase_axis", [None, 0, 1, 2])
def test_motion_within_slices_is_searched_along_the_stated_phase_encoding(phase_axis):
    for ratio, rule, axis in ((0.9, "motion_left_right", 0), (3.5, "motion_front_back", 1)):
        values = replace(GOOD, slices=replace(GOOD.slices, coherence_ratio=ratio), phase_axis=phase_axis)
        judged = judge_image(Contrast.FLAIR, values, PROTOCOL)
        assert [f.rule for f in judged if f.action] == ([rule] if phase_axis in (None, axis) else [])
        assert (rule in {f.rule for f in judged}) is (phase_axis in (None, axis))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"snr": None}, "snr"),
        ({"ghosting_percent": None}, "ghosting"),
        ({"brain": replace(GOOD.brain, bias_percent=None)}, "bias"),
        ({"spectrum": None}, "spike"),
        ({"slices": None}, "not_measured"),
        ({"brain": None}, "not_measured"),
        ({"placement": None}, "not_measured"),
    ],
)
def test_what_cannot_be_measured_is_a_note_and_no_pass(change, rule):
    found = [f for f in judge_image(Contrast.FLAIR, replace(GOOD, **change), PROTOCOL) if f.rule == rule]
    assert {f.action for f in found} == {Action.NOTE}
    assert all("measured" in f.message or "compared" in f.message or "located" in f.message for f in found)


@pytest.mark.parametrize("name", ImageLimits.model_fields)
@pytest.mark.requirement("INTAKE-12")
def test_every_limit_of_the_protocol_decides(name):
    """A value of the limit on the other side of the measure makes its finding, with its action and its text."""
    assert f"\n{name} = " in protocol_text()
    least = name.startswith("min_")
    assert least or name.startswith("max_")
    strict = QualityLimit(value=1e6 if least else -1e6, action=Action.REFUSE, ask="call the reading centre now")
    protocol = PROTOCOL.model_copy(update={"image_quality": ImageLimits(**{name: strict})})
    found = []
    for contrast, brain in ((Contrast.FLAIR, GOOD.brain), (Contrast.T1W, GREY_T1), (Contrast.T2W, GREY_T1)):
        values = replace(GOOD, brain=replace(brain, fluid_ratio=2.5) if contrast is Contrast.T2W else brain)
        assert [f.rule for f in judge_image(contrast, values, PROTOCOL) if f.action] == []
        found += [f for f in judge_image(contrast, values, protocol) if f.action is Action.REFUSE]
    assert found
    assert {f.to_do for f in found} == {"call the reading centre now"}
    assert {f.limit for f in found} == {strict.value}


def test_a_limit_without_a_request_has_the_default_one():
    limits = ImageLimits.model_validate({"min_snr": {"value": 30.0}})
    assert (limits.min_snr.value, limits.min_snr.ask) == (30.0, ImageLimits().min_snr.ask)
    for wrong in ({"min_snr": {"value": 30.0, "ask": ""}}, {"min_noise": {"value": 30.0}}, {"min_snr": 30.0}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            ImageLimits.model_validate(wrong)


def test_the_limits_are_part_of_the_digest_of_the_settings():
    other = ImageLimits(max_void_mm=QualityLimit(value=11.0, ask="call the centre"))
    assert settings_digest(PROTOCOL) != settings_digest(PROTOCOL.model_copy(update={"image_quality": other}))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"blank_slices": 1}, "blank_slices"),
        ({"slice_digests": ("a", "b", "", "", "a")}, "repeated_slices"),
        ({"content": ContentMeasures(0.0, 9.0, 0.6)}, "head_volume"),
        ({"content": ContentMeasures(2.0, 2.6, 0.6)}, "head_detail"),
        ({"content": ContentMeasures(2.0, 9.0, 0.0)}, "slice_coherence"),
        ({"placement": Placement(Affine.identity(), 0.1, 0.0)}, "no_brain"),
        ({"brain": replace(GOOD.brain, missing_percent=60.0)}, "brain_missing"),
    ],
)
def test_an_image_that_cannot_be_analysed_is_a_refusal(change, rule):
    broken = [f for f in judge_image(Contrast.FLAIR, replace(GOOD, **change), PROTOCOL) if f.action]
    assert [(f.rule, f.action) for f in broken] == [(rule, Action.REFUSE)]


def test_pixels_of_another_contrast_are_a_refusal():
    other = replace(GOOD, slice_digests=("c", "b", ""), brain=replace(GOOD.brain, fluid_ratio=2.5))
    broken = [f for f in judge_images({Contrast.FLAIR: GOOD, Contrast.T2W: other}, PROTOCOL) if f.action]
    assert [(f.rule, f.action) for f in broken] == [("copied_scan", Action.REFUSE)]
    assert broken[0].message == "FLAIR and T2w: expected two scans, found 1 slices with the same pixels in both"


def test_the_protocol_can_make_noise_a_refusal():
    strict = parse_protocol(protocol_text().replace(
        'min_snr = { value = 10.0, action = "query"', 'min_snr = { value = 30, action = "refuse"'
    ))  # fmt: skip
    values = replace(GOOD, snr=20.0, brain=GREY_T1)
    broken = [f for f in judge_image(Contrast.T1W, values, strict) if f.action]
    assert [(f.rule, f.action) for f in broken] == [("snr", Action.REFUSE)]


def test_a_refused_dummy_run_lists_every_reason_and_still_shows_the_images(tmp_path):
    series = [replace(s, field_t=1.0) for s in (factory.T1, factory.T2, factory.T1_GD)]
    result = run(factory.write_visit(tmp_path / "up", series), tmp_path / "work")
    assert result.verdict is Verdict.REFUSED
    # the object of the factory is no head either
    assert {f.rule for f in result.of(Action.REFUSE)} >= {"field_strength", "sequence", "head_volume"}
    assert all(f.to_do for f in result.of(Action.REFUSE))  # the report says what to do about each
    assert set(result.images) == {Contrast.T1W, Contrast.T2W, Contrast.T1W_GD}


def test_a_series_that_cannot_be_deidentified_refuses_the_dummy_run(tmp_path):
    series = [replace(s, extra={"SoftwareVersions": "B17 Mustermann"}) for s in factory.VISIT]
    result = run(factory.write_visit(tmp_path / "up", series), tmp_path / "work")
    assert result.verdict is Verdict.REFUSED
    (finding,) = [f for f in result.of(Action.REFUSE) if f.rule == "conversion"]
    assert "expected no identity" in finding.message
    assert "Mustermann" not in acceptance_html(result, CONTEXT)


def test_an_upload_that_is_none_raises(tmp_path):
    (tmp_path / "up").mkdir()
    with pytest.raises(UnreadableUploadError, match="empty upload"):
        run(tmp_path / "up", tmp_path / "work")
    with pytest.raises(SettingsError, match="expected a site"):
        accept_dummy_run(
            tmp_path / "up", protocol=PROTOCOL, site="S99", trial=tmp_path, work_dir=tmp_path / "work"
        )


def test_the_values_are_written_for_machines():
    note, refusal = (
        Finding("gap", Action.NOTE, "a note"),
        Finding("snr", Action.REFUSE, "x", Contrast.T1W, 5.0, 10.0),
    )
    field = FieldMeasures(0.4, 0.5, None, 0.6, None, None, None, 0.2, 1.0, (2.0, 2.0, None), {"fber": BLANKED})
    values = replace(GOOD, snr=None, field=field)
    result = JudgedDummyRun("S01", Verdict.REFUSED, (note, refusal), (), None, {}, {Contrast.T1W: values})
    found = json.loads(acceptance_json(result, CONTEXT))
    assert (found["verdict"], found["site"], found["settings"]) == ("refused", "S01", settings_digest(PROTOCOL))
    assert (found["upload"], found["judged_on"], found["answer_by"]) == ("ab12" * 16, "2026-11-30", "2026-12-14")
    assert (found["reviewer"], found["decisions"]) == ("QC 1", [])
    assert [(f["rule"], f["action"], f["measured"], f["limit"]) for f in found["findings"]] == [
        ("gap", "note", None, None), ("snr", "refuse", 5.0, 10.0)
    ]  # fmt: skip
    assert found["measures"]["T1w"]["snr"] is None
    assert found["measures"]["T1w"]["slices"]["displacement_mm"] == 0.8
    assert "slice_digests" not in found["measures"]["T1w"]
    assert found["measures"]["T1w"]["field"]["cjv"] == 0.4
    assert found["measures"]["T1w"]["field"]["fber"] is None
    assert found["measures"]["T1w"]["field"]["misleading"] == {"fber": BLANKED}


def test_the_report_stands_alone_and_holds_no_patient_data(tmp_path):
    result = run(factory.write_visit(tmp_path / "up", (*factory.VISIT, factory.EPI)), tmp_path / "work")
    html = acceptance_html(result, replace(CONTEXT, protocol=PROTOCOL.model_copy(update={"name": "<mesems>"})))
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
    for message in (
        "Dummy run of site S01",
        result.verdict.value,
        "series 9 is echo-planar",
        "ab12ab12ab12ab12",
        "1.5 T",
        "QC 1",
    ):
        assert message in text


def test_a_report_without_any_image_is_still_a_report(tmp_path):
    result = run(factory.write_visit(tmp_path / "up", [factory.EPI]), tmp_path / "work")
    assert result.verdict is Verdict.REFUSED
    html = acceptance_html(result, CONTEXT)
    assert "The site cannot enrol yet" in html
    assert "<figure>" not in html


def test_mosaics_are_radiological():
    """The patient's left (bright) is on the right of the picture, whatever the image's own axes are."""
    data = np.full((40, 50, 24), 10, np.float32)
    data[:20] = 100  # RAS: low indices are left
    for orientation in ("RAS", "LPS", "PIL"):
        image = Image(data, Grid(data.shape, np.diag([4.0, 4.0, 4.0, 1.0]))).reoriented(orientation)
        (mosaic,) = mosaics(image, {}, None)
        picture = imread(io.BytesIO(base64.b64decode(mosaic.png)))[..., 0]
        tile = picture[: picture.shape[0] // 2, : picture.shape[1] // 6]
        half = tile.shape[1] // 2
        assert tile[:, half + 5 :].mean() > tile[:, : half - 5].mean() + 0.2
