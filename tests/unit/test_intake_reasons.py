"""Odd series have a reason of their own: rounded times, jitter, aborted runs, copies, echoes of equal time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit, RLELossless

from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.aborted import leave_out_aborted
from mri_pipeline.intake.choose import choose
from mri_pipeline.intake.contrast import Recognised, recognise
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.facts import InstanceFacts
from mri_pipeline.intake.gadolinium import split_gadolinium
from mri_pipeline.intake.header_values import header_values
from mri_pipeline.intake.header_worker import read_one
from mri_pipeline.intake.series import Series, group_series
from mri_pipeline.intake.unwanted import Unwanted
from qc.compliance import UploadPurpose, check_compliance
from qc.coverage import odd_slices
from qc.findings import SEND_AGAIN, ComplianceReport, Finding
from tests.unit import dicom_factory as factory
from tests.unit.gate_steps import check_upload, convert_checked
from tests.unit.series_facts import AXIAL, IR, instances, t1, timed

OTHERWISE = "check the limits in trial.toml, or repeat the scan according to the protocol"
FLAIR = instances(name="flair", **timed(9000, 110, 2500, IR, acquired_s=0, series_number=1))


def t2(name: str, start: float = 60.0, **changes: Any) -> list[InstanceFacts]:
    return instances(name=name, **timed(4500, 95, acquired_s=start), **changes)


def changed(facts: list[InstanceFacts], **values: Any) -> list[InstanceFacts]:
    """The images with other values; a value may be a function of the number of the image."""
    return [
        f.model_copy(update={k: v(n) if callable(v) else v for k, v in values.items()})
        for n, f in enumerate(facts)
    ]


def visit(*series: list[InstanceFacts]) -> tuple[Recognised, ...]:
    found = group_series([i for facts in series for i in facts])
    return split_gadolinium(leave_out_aborted([recognise(s) for s in found]))


def report(*series: list[InstanceFacts]) -> ComplianceReport:
    items = visit(*series)
    return check_compliance(choose(items), items, parse_protocol(protocol_text()), purpose=UploadPurpose.VISIT)


def one(facts: list[InstanceFacts]) -> Series:
    (series,) = group_series(facts)
    assert series.geometry is not None
    return series


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_type": ("DERIVED", "SECONDARY", "MPR")}, "derived or reformatted, not an original acquisition"),
        ({"burned_in": True}, "an image with text burned into it"),
        ({"description": "flair orbita orbit"}, "not of the head"),
    ],
)
def test_a_series_that_would_be_the_missing_one_is_named_with_its_reason(changes, reason):
    other = changed(t2("mpr", start=90.0), image_type=("DERIVED", "SECONDARY", "MPR"))  # has another timing
    for facts in (FLAIR, changed(FLAIR, **changes)):
        findings = report(facts, t2("t2"), other).findings
        messages = [f.message for f in findings if f.rule == "sequence" and f.contrast is Contrast.FLAIR]
        if facts is FLAIR:
            assert messages == ["FLAIR: series 1 is FLAIR by TR 9000, TE 110, TI 2500 ms"]
        else:
            assert messages == [f"expected FLAIR, found T2w (series 1 is {reason})"]
    (missing,) = [f for f in findings if f.rule == "sequence" and f.contrast is Contrast.T1W_GD]
    assert missing.message == "expected ce-gadolinium_T1w, found T2w"


def test_a_localizer_is_no_reason_for_a_missing_t1():
    scout = t1("scout", start=1.0, scanning_sequence=("GR",), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    (missing,) = [f for f in report(FLAIR, scout).findings if f.rule == "sequence" and f.contrast is Contrast.T1W]
    assert missing.message == "expected T1w, found FLAIR"


def test_a_refusal_says_what_to_do_for_each_reason():
    cut = changed(FLAIR, field_strength_t=1.0)[:5] + changed(FLAIR, field_strength_t=1.0)[6:]
    with pytest.raises(ComplianceError) as caught:
        report(cut, t2("t2")).require()
    assert caught.value.hint == "use a scanner of at least 1.5 T, and send its scans; " + SEND_AGAIN
    without = Finding("same_scanner", Action.REFUSE, "expected this scanner, found that one")
    with pytest.raises(ComplianceError) as caught:
        report(cut, t2("t2")).adding(without).require()
    assert caught.value.hint.endswith(f"{SEND_AGAIN}; {OTHERWISE}")


def copied(facts: list[InstanceFacts], start: str = "q", **values: Any) -> list[InstanceFacts]:
    """The images sent again under new UIDs."""
    uids = {"series_key": "again", "instance_key": lambda n: f"again{n}", "path": lambda n: Path(f"again{n}")}
    return changed(facts, **(uids | {"pixels_key": lambda n: f"{start}{n}"} | values))


@pytest.mark.parametrize(
    ("again", "differ"),
    [
        (lambda facts: copied(facts, "p"), False),
        (copied, True),
        (lambda facts: copied(facts)[:3], True),
        (lambda facts: copied(facts, series_key=facts[0].series_key), True),
        (lambda facts: changed(facts[4:5], pixels_key="other"), True),
        (lambda facts: changed(facts[4:5], pixels_key=""), False),  # compressed
        (lambda facts: copied(facts, image_type=("ORIGINAL", "PRIMARY", "M", "NORM")), False),
        (lambda facts: copied(facts, acquired_s=900.0), False),
    ],
)
def test_copies_with_other_pixels_are_a_query(again, differ):
    first = changed(t2("a"), pixels_key=lambda n: f"p{n}")
    found = report(FLAIR, first, again(first)).of(Action.QUERY)
    expected = (
        "T2w: expected equal pixels of images that were sent several times, found different ones in series 1; the "
        "first ones are used"
    )
    assert [f.message for f in found if f.rule == "copies_differ"] == [expected] * differ


def test_pixels_are_compared_without_padding_and_not_in_big_endian(tmp_path):
    path = factory.write_series(tmp_path / "in", replace(factory.FLAIR, shape=(15, 11, 12)))[0]
    image = pydicom.dcmread(path)
    key = read_one(0, path, b"k" * 32).facts.pixels_key
    assert key
    pixels = image.pixel_array
    image.PixelData += b"xy"
    image.save_as(tmp_path / "padded.dcm")
    assert read_one(0, tmp_path / "padded.dcm", b"k" * 32).facts.pixels_key == key
    spec = replace(factory.FLAIR, shape=(15, 11, 12))
    big = factory.slice_dataset(spec, factory.Patient(), "1.2.3", 0, pixels.byteswap())
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    big.save_as(tmp_path / "big.dcm", enforce_file_format=True)
    assert read_one(0, tmp_path / "big.dcm", b"k" * 32).facts.pixels_key == ""
    compressed = pydicom.dcmread(path)
    compressed.compress(RLELossless)
    compressed.save_as(tmp_path / "rle.dcm")
    assert read_one(0, tmp_path / "rle.dcm", b"k" * 32).facts.pixels_key == ""


def test_the_pixels_of_two_files_are_compared(tmp_path):
    spec = replace(factory.FLAIR, shape=(16, 12, 12))
    folder = factory.write_visit(tmp_path / "up", (spec,))
    path = min(folder.iterdir())
    image = pydicom.dcmread(path)
    for name, pixels in (("equal", image.pixel_array), ("other", image.pixel_array + 1)):
        image.PixelData = pixels.tobytes()
        image.save_as(folder / f"z_{name}.dcm")
        checked = check_upload(
            folder,
            protocol=parse_protocol(protocol_text()),
            work_dir=tmp_path / name,
            secret=b"0" * 16,
            purpose=UploadPurpose.VISIT,
        )
        assert checked.chosen[Contrast.FLAIR].recognised.series.copies_differ is (name == "other")


@pytest.mark.parametrize("which", [0, 5, 11])
def test_one_image_that_was_compressed_with_loss_or_inverted_is_enough(which):
    lossy = changed(t2("a"), lossy=lambda n: n == which)
    (query,) = [f for f in report(FLAIR, lossy).of(Action.QUERY) if f.rule == "lossy_compression"]
    assert query.contrast is Contrast.T2W
    inverted = changed(t2("a"), inverted=lambda n: n == which)
    (refusal,) = report(FLAIR, inverted).of(Action.REFUSE)
    assert (refusal.rule, refusal.contrast) == ("inverted", Contrast.T2W)
    assert refusal.to_do == "send the series again, as the scanner wrote it"
    assert report(FLAIR, inverted).overruled().of(Action.REFUSE) == (refusal,)
    assert refusal.message == "T2w: expected grey levels as acquired, found inverted ones (MONOCHROME1)"


def test_a_series_that_is_not_needed_may_be_inverted():
    unused = changed(t2("a"), inverted=True, image_type=("DERIVED", "SECONDARY", "MPR"))
    unknown = changed(t2("u", start=90.0), inverted=True, echo_time_ms=60.0, repetition_time_ms=900.0)
    assert not report(FLAIR, unused, unknown).of(Action.REFUSE)


def test_what_the_header_says_of_loss_and_grey_levels(tmp_path):
    dataset = pydicom.dcmread(factory.write_series(tmp_path, factory.FLAIR)[0])
    found = header_values(dataset)
    assert (found["lossy"], found["inverted"]) == (False, False)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    found = header_values(dataset)
    assert (found["lossy"], found["inverted"]) == (True, True)


def test_lossy_compression_is_a_query(tmp_path):
    lossy = replace(factory.T2, extra={"LossyImageCompression": "01"})
    checked = check_upload(
        factory.write_visit(tmp_path / "up", (factory.FLAIR, lossy)),
        protocol=parse_protocol(protocol_text()),
        work_dir=tmp_path / "work",
        secret=b"0" * 16,
        purpose=UploadPurpose.VISIT,
    )
    (query,) = [f for f in checked.compliance.of(Action.QUERY) if f.rule == "lossy_compression"]
    assert query.message == "T2w: expected an image without lossy compression, found one compressed with loss"


@pytest.mark.parametrize("echoes", [(94.4999, 94.5001), (93.9, 94.1), (94.49, 94.51)])
def test_echo_times_that_differ_by_fractions_are_one_echo(echoes):
    facts = changed(t2("a"), echo_time_ms=lambda n: echoes[n % 2])
    assert one(facts).geometry.complete
    two = changed(t2("a"), echo_time_ms=lambda n: (94.0, 97.0)[n % 2])
    assert len(group_series(two)) == 2


@given(st.floats(-3e-4, 3e-4), st.sampled_from([0.0, 0.05, 0.15, 0.35]))
def test_jitter_of_the_orientation_does_not_split_a_series(jitter, tilt):
    """Whatever the angle: rounding to one decimal would split it near 0.05 and 0.15."""
    tilted = (1.0, 0.0, 0.0, 0.0, float(np.sqrt(1 - tilt**2)), tilt)
    facts = changed(
        t2("a", orientation=tilted),
        orientation=lambda n: (*tilted[:5], tilted[5] + (jitter if n % 2 else -jitter)),
    )
    assert one(facts).geometry.complete


def test_an_aborted_run_is_left_out_in_favour_of_the_whole_one():
    part = t1("part", 0, series_number=2)[:12]
    whole = t1("whole", 400, series_number=3)
    found = {r.series.first.series_key: r for r in visit(FLAIR, part, whole)}
    assert found["part"].unwanted is Unwanted.ABORTED
    assert found["part"].evidence == (
        "series 2 is an aborted run beside a whole one of the same protocol (12 slices; series 3 has 44)"
    )
    # seven minutes apart: by order alone, the whole run would be post-contrast
    assert found["whole"].contrast is Contrast.T1W


@pytest.mark.parametrize("start", [0, 900])
def test_a_run_of_a_few_slices_beside_a_whole_one_is_an_aborted_run(start):
    part = t1("part", start, series_number=2)[:5]
    found = {r.series.first.series_key: r for r in visit(FLAIR, part, t1("whole", 400, series_number=3))}
    assert found["part"].unwanted is Unwanted.ABORTED
    assert found["part"].evidence == (
        "series 2 is an aborted run beside a whole one of the same protocol (5 slices; series 3 has 44)"
    )
    assert found["whole"].contrast is Contrast.T1W


@pytest.mark.parametrize(
    "other",
    [
        t1("few", 0, rows=128)[:5],  # a test scan of another matrix
        t1("few", 0, repetition_time_ms=700)[:5],
        t1("few", 0, contrast_agent=True)[:5],
        instances(name="few", **timed(550, 12, acquired_s=0, orientation=(0, 1, 0, 0, 0, -1)))[:5],
        instances(name="few", **timed(2200, 300, acquired_s=0, scanning_sequence=("GR",)))[:5],
    ],
)
def test_a_few_slices_of_another_kind_are_no_aborted_run(other):
    found = {r.series.first.series_key: r for r in visit(FLAIR, other, t1("whole", 400))}
    assert found["few"].unwanted is Unwanted.FEW_SLICES
    assert found["few"].evidence == "series 1 is of too few slices for a brain"


def test_a_few_slices_without_a_whole_series_are_no_aborted_run():
    found = {r.series.first.series_key: r for r in visit(FLAIR, t2("few")[:5], t2("part", 90)[:20])}
    assert found["few"].unwanted is Unwanted.FEW_SLICES


def test_an_aborted_run_of_a_few_slices_under_the_same_uid_is_no_query():
    whole = t2("a", 500)
    part = changed(
        whole[:5], instance_key=lambda n: f"p{n}", path=lambda n: Path(f"p{n}"), acquired_s=100.0,
        instance_number=lambda n: n + 1,
    )  # fmt: skip
    assert [r.unwanted for r in visit(FLAIR, [*part, *whole]) if r.unwanted] == [Unwanted.ABORTED]
    assert not [f for f in report(FLAIR, [*part, *whole]).of(Action.QUERY) if f.contrast is Contrast.T2W]


def test_end_slices_that_differ_from_their_series_are_no_aborted_run():
    """They lie beyond the other slices; their echo time differs by more than rounding."""
    facts = changed(t2("a"), echo_time_ms=lambda n: 95.0 if n < 40 else 97.0)
    found = visit(FLAIR, facts)
    assert [r.unwanted for r in found if r.unwanted] == [Unwanted.FEW_SLICES]


@pytest.mark.parametrize("frame", ["f", "other"])
def test_end_slices_of_another_series_are_no_aborted_run_but_a_query(frame):
    whole = t2("a", 500)
    part = changed(
        whole[38:], series_key="zz", frame_of_reference_key=frame, series_number=9, instance_key=lambda n: f"q{n}"
    )
    items = visit(FLAIR, whole[:38], part)
    assert Unwanted.ABORTED not in {r.unwanted for r in items}
    if frame == "other":  # else the parts are merged before, or do not fit
        assert {r.series.first.series_key: r.unwanted for r in items}["zz"] is Unwanted.FEW_SLICES
    (found,) = odd_slices(choose(items), items)
    assert found.action is Action.QUERY
    assert found.message == (
        "T2w: expected all slices in series 1, found 6 images of its protocol in another series beyond its first or "
        "last slice; they are left out"
    )


def test_a_few_slices_within_a_series_or_of_another_matrix_are_no_end_slices():
    whole = t2("a", 500)
    for other in (
        t2("few", 90)[3:9],
        changed(whole[38:], series_key="few", rows=128, instance_key=lambda n: f"q{n}"),
    ):
        items = visit(FLAIR, whole[:38], other)
        assert odd_slices(choose(items), items) == []


def test_a_part_of_a_run_is_not_aborted_where_no_whole_one_follows():
    part = t1("part", 900, series_number=3, contrast_agent=True)[:12]
    found = {r.series.first.series_key: r for r in visit(FLAIR, t1("whole", 0), part)}
    assert found["part"].contrast is Contrast.T1W_GD
    untagged = {r.series.first.series_key: r for r in visit(FLAIR, t1("whole", 0), t1("part", 900)[:12])}
    assert untagged["part"].contrast is Contrast.T1W_GD
    agent = {
        r.series.first.series_key: r for r in visit(FLAIR, t1("a", 0)[:12], t1("b", 900, contrast_agent=True))
    }
    assert agent["a"].contrast is Contrast.T1W


@pytest.mark.parametrize("part_first", [True, False])
def test_an_aborted_run_under_the_same_uid_is_left_out(part_first):
    whole = t2("a", 500)
    part = changed(
        whole[:12],
        instance_key=lambda n: f"part{n}",
        path=lambda n: Path(f"part{n}"),
        acquired_s=100.0 if part_first else 900.0,
        instance_number=lambda n: n + (1 if part_first else 45),
    )
    found = visit(FLAIR, [*part, *whole])
    chosen = choose(found)[Contrast.T2W].recognised.series
    assert sorted(chosen.files) == sorted(image.path for image in whole)
    assert chosen.acquired_s == 500.0
    assert chosen.geometry is not None
    assert chosen.geometry.complete
    assert not [f for f in report(FLAIR, [*part, *whole]).of(Action.QUERY) if f.contrast is Contrast.T2W]


def test_a_required_series_of_too_few_slices_is_named():
    findings = report(FLAIR[:8], t2("a", 500)).of(Action.REFUSE)
    assert [f.message for f in findings if f.rule == "sequence"] == [
        "expected FLAIR, found T2w (series 1 is of too few slices for a brain)"
    ]


def test_several_images_at_some_positions_have_their_own_message():
    whole = t2("a", 500)
    odd = [
        *changed(whole[:12], instance_key=lambda n: f"p{n}", instance_number=lambda n: n + 45),
        *changed(whole[:5], instance_key=lambda n: f"q{n}", instance_number=lambda n: n + 90),
    ]
    messages = [f.message for f in report(FLAIR, [*whole, *odd]).findings if f.rule == "whole_series"]
    assert "T2w: expected one image at each position, found two or more at some positions" in messages


@pytest.mark.parametrize("uid", ["a", "b"])
def test_the_same_images_under_new_uids_are_used_once(uid):
    facts = t2("a")
    copies = changed(facts, instance_key=lambda n: f"copy{n}", series_key=uid)
    series = one([*facts, *copies])
    assert len(series.files) == 44
    assert series.geometry.complete
    assert recognise(series).evidence == "series 1 is T2w by TR 4500, TE 95 ms; sent 2 times, used once"
    assert {f.series_key for f in facts} == {series.first.series_key}


def test_two_acquisitions_are_no_copies():
    assert len(group_series([*t2("a", 60), *t2("b", 61)])) == 2
    without_time = [*t2("a"), *changed(t2("a"), instance_key=lambda n: f"b{n}", series_key="b")]
    assert len(group_series(changed(without_time, acquired_s=None))) == 2


@pytest.mark.parametrize("numbered_on", [45, 0])
def test_echoes_of_equal_time_are_named(numbered_on):
    first = changed(t2("a"), echo_number=1)
    second = changed(t2("a"), echo_number=2, instance_key=lambda n: f"e{n}")
    second = [i.model_copy(update={"instance_number": (i.instance_number or 0) + numbered_on}) for i in second]
    found = [r for r in visit(FLAIR, [*first, *second]) if r.unwanted]
    assert {r.unwanted for r in found} == {Unwanted.EQUAL_ECHOES}
    (finding,) = [f for f in report(FLAIR, [*first, *second]).findings if f.contrast is Contrast.T2W]
    assert (
        "expected T2w, found FLAIR (series 1 is of several echoes that have the same echo time" in finding.message
    )
    # a scanner that numbers slices as echoes writes one echo
    assert one(changed(t2("a"), echo_number=lambda n: n % 2)).geometry.complete


def test_two_orientations_stay_two_series():
    other = (1.0, 0.0, 0.0, 0.0, 0.98, 0.199)
    two = changed(t2("a"), orientation=lambda n: AXIAL if n % 2 else other)
    assert len(group_series(two)) == 2


def test_deflated_files_are_converted(tmp_path):
    """dcm2niix does not inflate them, and a byte scan for identities would not see into them."""
    upload = factory.write_visit(tmp_path / "up", (factory.FLAIR,))
    for path in upload.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path, enforce_file_format=True)
    checked = check_upload(
        upload, protocol=parse_protocol(protocol_text()), work_dir=tmp_path / "work", secret=b"0" * 16,
        purpose=UploadPurpose.VISIT,
    )  # fmt: skip
    converted = convert_checked(checked, Blinding("AB12", b"0" * 16))
    assert converted[Contrast.FLAIR].image.grid.shape == (24, 32, 24)
