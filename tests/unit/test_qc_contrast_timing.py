"""The images decide between T1 before and after contrast: what is stored, and which query names both sides."""

import json
from dataclasses import replace

import numpy as np
import pytest

import qc.contrast_timing
from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.layout import UNENHANCED, RawDataset
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.enhancement import Enhancement, EnhancementCheck
from mri_pipeline.intake.choose import choose
from mri_pipeline.intake.contrast import Basis, recognise
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.gadolinium import split_gadolinium
from mri_pipeline.intake.series import group_series
from qc import decision
from qc.compliance import UploadPurpose
from qc.contrast_timing import TimingDecision, decide_timing
from qc.findings import Finding
from qc.headers import HeaderChecks
from tests.unit import dicom_factory as factory
from tests.unit import gate_steps
from tests.unit.gate_steps import check_upload, write_scans
from tests.unit.series_facts import IR, instances, t1, timed

pytestmark = pytest.mark.usefixtures("no_image_checks")

PROTOCOL = parse_protocol(protocol_text())
BEFORE, AFTER = Contrast.T1W, Contrast.T1W_GD
FLAIR = instances(name="f", **timed(9000, 110, 2500, IR, acquired_s=0, series_number=1))
TAILS = {
    Enhancement.PRESENT: (0.65, 0.28),
    Enhancement.ABSENT: (0.24, 0.22),
    Enhancement.REVERSED: (0.3, 0.68),
    Enhancement.UNDECIDED: (0.5, 0.35),
}


@pytest.fixture
def images_say(monkeypatch):
    """A function that sets the result of the comparison of the images."""

    def set_result(enhancement: Enhancement, *, tails: bool = True) -> None:
        values = TAILS[enhancement] if tails else (None, None)
        monkeypatch.setattr(qc.contrast_timing, "compare_t1", lambda *_: EnhancementCheck(enhancement, *values))

    return set_result


def decide(*series, purpose=UploadPurpose.VISIT, **more) -> TimingDecision:
    items = split_gadolinium([recognise(s) for s in group_series([i for facts in series for i in facts])])
    chosen = choose(items)
    image = Image(np.zeros((2, 2, 2), dtype=np.float32), Grid((2, 2, 2), np.eye(4)))
    headers = HeaderChecks(PROTOCOL, purpose, items, {}, frozenset())
    return decide_timing(dict.fromkeys(chosen, image), chosen, headers.judge, purpose=purpose, **more)


NAMED = (
    FLAIR,
    t1("a", 60, series_number=2, description="T1 nativ"),
    t1("b", 900, series_number=4, description="T1 KM"),
)
UNNAMED = (FLAIR, t1("a", 60, series_number=2), t1("b", 900, series_number=4))


def about_contrast(decision: TimingDecision, action: Action) -> list[str]:
    return [f.message for f in decision.compliance.of(action) if f.rule in {"enhancement", "contrast_timing"}]


def keys(decision: TimingDecision) -> dict[Contrast, str]:
    return {c: choice.recognised.series.first.series_key for c, choice in decision.chosen.items()}


def test_enhancement_settles_doubts(images_say):
    images_say(Enhancement.PRESENT)
    decision = decide(*UNNAMED)
    assert decision.source == {c: c for c in (Contrast.FLAIR, BEFORE, AFTER)}
    assert about_contrast(decision, Action.QUERY) == []
    assert len(about_contrast(decision, Action.NOTE)) == 2
    for contrast in (BEFORE, AFTER):
        choice = decision.chosen[contrast]
        assert (choice.basis, choice.timing_query) == (Basis.IMAGES, "")
    assert keys(decision) == {Contrast.FLAIR: "f", BEFORE: "a", AFTER: "b"}


def test_undecided_images_leave_the_doubts(images_say):
    for tails in (True, False):
        images_say(Enhancement.UNDECIDED, tails=tails)
        decision = decide(*UNNAMED)
        assert decision.chosen[AFTER].basis is Basis.ORDER
        assert len(about_contrast(decision, Action.QUERY)) == 2
        assert about_contrast(decide(*NAMED), Action.QUERY) == []


@pytest.mark.requirement("INTAKE-06")
def test_without_enhancement_the_scan_is_not_used(images_say):
    images_say(Enhancement.ABSENT)
    decision = decide(*NAMED)
    assert set(decision.source) == set(decision.chosen) == {Contrast.FLAIR, BEFORE}
    (query,) = about_contrast(decision, Action.QUERY)
    assert query == (
        "ce-gadolinium_T1w: expected enhancement against T1w, found no enhancement (tails of the difference: +0.24, "
        "-0.22 of the median), although series 4 reads as post-contrast: its description says post-contrast. It is not "
        "used, and GEL stay empty. Ask the site whether contrast was given"
    )


def test_a_dummy_run_without_enhancement_is_refused(images_say):
    images_say(Enhancement.ABSENT)
    decision = decide(*NAMED, purpose=UploadPurpose.DUMMY_RUN)
    with pytest.raises(ComplianceError, match="expected enhancement against T1w, found no enhancement"):
        decision.compliance.require()


def test_a_dummy_run_without_enhancement_of_an_optional_scan_is_a_query(images_say):
    images_say(Enhancement.ABSENT)
    decision = decide(*NAMED, purpose=UploadPurpose.DUMMY_RUN, required=False)
    assert len(about_contrast(decision, Action.QUERY)) == 1
    assert about_contrast(decision, Action.REFUSE) == []


def test_findings_of_headers_have_the_names_after_the_exchange(images_say):
    images_say(Enhancement.REVERSED)
    thick = t1("a", 60, series_number=2, description="T1 nativ", thickness_mm=5.0)
    decision = decide(FLAIR, thick, t1("b", 900, series_number=4, description="T1 KM"))
    assert keys(decision)[AFTER] == "a"
    (finding,) = [f for f in decision.compliance.of(Action.QUERY) if f.rule == "thickness_2d"]
    assert (finding.contrast, finding.message.partition(":")[0]) == (AFTER, "ce-gadolinium_T1w")


def test_findings_of_images_have_the_names_after_the_exchange(tmp_path, images_say, monkeypatch):
    images_say(Enhancement.REVERSED)

    def darkest(measures, protocol):
        return [Finding("snr", Action.QUERY, f"{c.value}: dark", c) for c, m in measures.items() if m == 12.0]

    monkeypatch.setattr(gate_steps, "measure", lambda image, contrast: float(image.data.min()))
    monkeypatch.setattr(decision, "judge_images", darkest)
    upload = factory.write_visit(tmp_path / "up")  # the lowest voxel of series 2, named as pre-contrast, is 12
    checked = check_upload(
        upload, protocol=PROTOCOL, work_dir=tmp_path / "work", secret=b"0" * 16, purpose=UploadPurpose.VISIT
    )
    blinding = Blinding("AB12", b"0" * 16)
    written = write_scans(
        checked, raw=RawDataset(tmp_path / "raw"), protocol=PROTOCOL, visit="wk04", blinding=blinding
    )
    assert [f.message for f in written.compliance.of(Action.QUERY) if f.rule == "snr"] == [
        "ce-gadolinium_T1w: dark"
    ]


@pytest.mark.requirement("INTAKE-06")
def test_reversed_scans_are_exchanged_with_a_query_that_names_both_sides(images_say):
    images_say(Enhancement.REVERSED)
    decision = decide(*NAMED)
    assert decision.source == {Contrast.FLAIR: Contrast.FLAIR, BEFORE: AFTER, AFTER: BEFORE}
    assert keys(decision) == {Contrast.FLAIR: "f", BEFORE: "b", AFTER: "a"}
    assert {c: decision.chosen[c].contrast for c in (BEFORE, AFTER)} == {BEFORE: BEFORE, AFTER: AFTER}
    (query,) = about_contrast(decision, Action.QUERY)
    tails = "(tails of the difference: +0.30, -0.68 of the median)"
    assert f"found enhancement of series 2 against series 4 {tails}" in query
    assert "series 2: its description says pre-contrast; series 4: its description says post-contrast" in query
    assert "The two are exchanged" in query


def test_a_single_t1_is_not_compared(monkeypatch):
    monkeypatch.delattr(qc.contrast_timing, "compare_t1")
    decision = decide(FLAIR, t1("b", 900, description="T1 KM"))
    assert set(decision.source) == {Contrast.FLAIR, AFTER}


@pytest.mark.parametrize("enhancement", [Enhancement.PRESENT, Enhancement.REVERSED, Enhancement.ABSENT])
def test_the_scans_that_are_stored(tmp_path, images_say, enhancement):
    images_say(enhancement)
    brighter = replace(factory.T1_GD, number=40)  # the factory adds the number to the voxels
    upload = factory.write_visit(tmp_path / "up", (factory.FLAIR, factory.T1, factory.T2, brighter))
    checked = check_upload(
        upload, protocol=PROTOCOL, work_dir=tmp_path / "work", secret=b"0" * 16, purpose=UploadPurpose.VISIT
    )
    raw = RawDataset(tmp_path / "raw")
    written = write_scans(checked, raw=raw, protocol=PROTOCOL, visit="wk04", blinding=Blinding("AB12", b"0" * 16))
    lowest = {c: float(load_image(path).data.min()) for c, path in written.scans.items() if c in (BEFORE, AFTER)}
    first, second = 10.0 + factory.T1.number, 10.0 + 40
    assert (
        lowest
        == {
            Enhancement.PRESENT: {BEFORE: first, AFTER: second},
            Enhancement.REVERSED: {BEFORE: second, AFTER: first},
            Enhancement.ABSENT: {BEFORE: first},
        }[enhancement]
    )
    absent = enhancement is Enhancement.ABSENT
    kept = raw.unenhanced("AB12", "wk04")
    assert (kept.is_file(), UNENHANCED in written.pixels_keys) == (absent, absent)
    if absent:
        assert float(load_image(kept).data.min()) == second
        assert "ContrastBolusIngredient" not in json.loads(kept.with_name(f"{kept.name[:-7]}.json").read_text())
    queried = [f.rule for f in written.compliance.of(Action.QUERY)]
    assert ("enhancement" in queried) is (enhancement is not Enhancement.PRESENT)


def test_a_t1_without_enhancement_keeps_its_scanner(tmp_path, images_say):
    images_say(Enhancement.ABSENT)
    another = replace(factory.T1_GD, number=40, extra={"DeviceSerialNumber": "SN-2"})
    sent = factory.write_visit(tmp_path / "up", (factory.FLAIR, factory.T1, factory.T2, another))
    checked = check_upload(
        sent, protocol=PROTOCOL, work_dir=tmp_path / "work", secret=b"0" * 16, purpose=UploadPurpose.VISIT
    )
    written = write_scans(
        checked,
        raw=RawDataset(tmp_path / "raw"),
        protocol=PROTOCOL,
        visit="wk04",
        blinding=Blinding("AB12", b"0" * 16),
    )
    (elsewhere,) = written.profile.others.items()
    assert elsewhere[0] is AFTER
    assert elsewhere[1].serial_key not in ("", written.profile.serial_key)
    assert AFTER not in written.profile.acquisitions


def test_acquired_3d_is_what_the_header_states():
    series = [
        [image.model_copy(update={"acquisition_type": kind}) for image in facts]
        for facts, kind in zip(NAMED, ("3D", "2D", ""), strict=True)
    ]
    assert decision.acquired_3d(decide(*series)) == {Contrast.FLAIR: True, Contrast.T1W: False}


def test_acquired_3d_of_a_t1_without_enhancement(images_say):
    images_say(Enhancement.ABSENT)
    series = [
        [image.model_copy(update={"acquisition_type": kind}) for image in facts]
        for facts, kind in zip(NAMED, ("3D", "2D", "3D"), strict=True)
    ]
    assert decision.acquired_3d(decide(*series)) == {Contrast.FLAIR: True, Contrast.T1W: False, AFTER: True}
