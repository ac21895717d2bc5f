"""Parts of one volume are merged, repetitions are left alone, and half a series is noticed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.facts import InstanceFacts
from mri_pipeline.intake.merge import MergedInstances, merge_parts
from mri_pipeline.intake.read import read_headers
from mri_pipeline.intake.series import group_series
from qc import coverage
from qc.compliance import UploadPurpose
from qc.coverage import split_series
from qc.protocol_change import PreviousScan
from qc.scan_profile import profile_of_record, profile_record
from tests.unit import dicom_factory as factory
from tests.unit.enhanced_factory import texture
from tests.unit.gate_steps import Checked, check_upload, convert_checked

SECRET = b"0123456789abcdef"
PROTOCOL = parse_protocol(protocol_text())
SPEC = replace(factory.FLAIR, shape=(16, 12, 24))
N = SPEC.shape[2]
HALVES = (range(N // 2), range(N // 2, N))
ODD_EVEN = (range(0, N, 2), range(1, N, 2))
THIRDS = (range(8), range(8, 16), range(16, N))


def write_parts(
    folder: Path, parts: Sequence[Sequence[int]], change: Callable[[pydicom.Dataset, int], None] | None = None
) -> list[Path]:
    """A FLAIR whose slices are sent under one series UID for each part."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = texture(SPEC.shape)
    paths = []
    for part, slices in enumerate(parts):
        for number, k in enumerate(slices, start=1):
            d = factory.slice_dataset(SPEC, factory.Patient(), f"1.2.826.0.1.77.{part}", k, volume[k])
            d.SeriesNumber, d.InstanceNumber = 10 + part, number
            if change is not None:
                change(d, part)
            paths.append(folder / f"part{part}_{k:03d}.dcm")
            d.save_as(paths[-1], enforce_file_format=True)
    return paths


def merged(folder: Path, *arguments: object) -> MergedInstances:
    return merge_parts(read_headers(write_parts(folder, *arguments)).instances)


def facts(key: str, depths: Sequence[float], **more: object) -> InstanceFacts:
    """One enhanced object with a frame at each depth."""
    values = {
        "path": Path(key), "kind": "enhanced_mr", "study_key": "s", "series_key": key,
        "instance_key": key, "scanner_key": "m", "serial_key": "m", "frame_of_reference_key": "f",
        "rows": 16, "columns": 12,
        "pixel_spacing_mm": (1.0, 1.0), "orientation": factory.AXIAL, "thickness_mm": 3.0, "acquired_s": 10.0,
        "positions": tuple((0.0, 0.0, float(z)) for z in depths), "repetition_time_ms": 9000.0,
    }  # fmt: skip
    return InstanceFacts.model_validate(values | more)


def keys(*instances: InstanceFacts) -> list[str]:
    return [i.series_key for i in merge_parts(instances).instances]


WHOLE = [3.0 * k for k in range(24)]


def check(upload: Path, work: Path, **more: object) -> Checked:
    return check_upload(
        upload, protocol=PROTOCOL, work_dir=work, secret=SECRET, purpose=UploadPurpose.VISIT, **more
    )


@pytest.mark.parametrize("parts", [HALVES, ODD_EVEN, THIRDS])
def test_parts_of_a_flair_are_converted_as_one_volume(tmp_path, parts):
    factory.write_visit(tmp_path / "up", [replace(s, shape=SPEC.shape) for s in factory.VISIT[1:]])
    write_parts(tmp_path / "up", parts)
    checked = check(tmp_path / "up", tmp_path / "work")
    geometry = checked.chosen[Contrast.FLAIR].recognised.series.geometry
    assert geometry is not None
    assert (geometry.slices, geometry.complete) == (N, True)
    assert f"FLAIR: merged from {len(parts)} series" in " ".join(
        f.message for f in checked.compliance.of(Action.NOTE)
    )
    image = convert_checked(checked, Blinding("AB12", SECRET))[Contrast.FLAIR].image.reoriented("LPS")
    np.testing.assert_array_equal(image.data, texture(SPEC.shape).transpose(2, 1, 0))


def test_the_order_of_files_does_not_change_the_merged_volume(tmp_path):
    instances = read_headers(write_parts(tmp_path, ODD_EVEN)).instances
    for order in (instances, instances[::-1]):
        (series,) = group_series(merge_parts(order).instances)
        assert series.geometry is not None
        assert series.geometry.slices == N


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("FrameOfReferenceUID", "1.2.3"),
        ("EchoTime", 90),
        ("ImageOrientationPatient", [1, 0, 0, 0, 0.9396926, 0.3420201]),
        ("SequenceName", "*other"),
    ],
)
def test_parts_of_another_protocol_or_frame_of_reference_are_not_merged(tmp_path, keyword, value):
    def change(d: pydicom.Dataset, part: int) -> None:
        if part == 1:
            setattr(d, keyword, value)

    found = merged(tmp_path, HALVES, change)
    assert (found.merged, found.unfit) == ({}, frozenset())


def test_repetitions_are_not_merged():
    same = keys(facts("a", WHOLE), facts("b", WHOLE))
    aborted = keys(facts("a", WHOLE), facts("b", WHOLE[:9]))
    half_a_slice = keys(facts("a", WHOLE), facts("b", [z + 1.5 for z in WHOLE]))
    moved = merge_parts([facts("a", WHOLE), facts("b", [z + 4.0 for z in WHOLE])])
    assert same == aborted == half_a_slice == ["a", "b"]
    assert (moved.merged, moved.unfit) == ({}, frozenset())


def test_series_with_several_images_per_position_are_not_merged():
    assert keys(facts("a", WHOLE[:12] * 2), facts("b", WHOLE[12:] * 2)) == ["a", "b"]


def test_a_repeated_half_is_replaced_by_the_last_one():
    one, two, again = facts("a", WHOLE[:12]), facts("b", WHOLE[12:]), facts("c", WHOLE[12:], acquired_s=90.0)
    assert keys(one, two, again) == ["a", "b", "a"]


def test_overlapped_3d_slices_are_merged_by_their_stated_distance():
    odd, even = [float(z) for z in range(0, 24, 2)], [float(z) for z in range(1, 24, 2)]
    thick = {"thickness_mm": 2.0}
    assert keys(facts("a", odd, **thick), facts("b", even, **thick)) == ["a", "b"]
    assert keys(facts("a", odd, **thick, slice_distance_mm=1.0), facts("b", even, **thick, slice_distance_mm=1.0)) == [
        "a", "a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        WHOLE[10:],  # the parts overlap by two slices
        WHOLE[14:],  # two slices lack between them
        [z + 1.0 for z in WHOLE[12:]],  # another distance between the parts
    ],
)
def test_parts_that_form_no_volume_are_unfit(other):
    found = merge_parts([facts("a", WHOLE[:12]), facts("b", other)])
    assert (found.merged, found.unfit) == ({}, {"a", "b"})


def test_every_second_slice_and_a_part_that_does_not_fill_the_gaps_are_unfit():
    found = merge_parts([facts("a", WHOLE[::2]), facts("b", WHOLE[1:12:2])])
    assert found.unfit == {"a", "b"}


def test_parts_that_form_no_volume_refuse_the_visit(tmp_path):
    factory.write_visit(tmp_path / "up", [replace(s, shape=SPEC.shape) for s in factory.VISIT[1:]])
    write_parts(tmp_path / "up", (range(12), range(14, N)))
    checked = check(tmp_path / "up", tmp_path / "work")
    with pytest.raises(
        ComplianceError, match="FLAIR: expected one whole series, found parts that do not form one volume"
    ):
        checked.compliance.require()


def test_a_whole_series_beside_an_aborted_one_is_whole(tmp_path, monkeypatch):
    """The aborted run has every second slice of a stack that was moved before the repetition."""
    factory.write_visit(tmp_path / "up", [replace(s, shape=SPEC.shape) for s in factory.VISIT[1:]])
    write_parts(tmp_path / "up", (range(N), range(0, N, 2)))
    checked = check(tmp_path / "up", tmp_path / "work")
    series = checked.chosen[Contrast.FLAIR].recognised.series
    assert series.geometry.slices == N
    unfit = {series.first.series_key}
    assert [f.action for f in split_series(checked.chosen, merged={}, unfit=unfit)] == [Action.REFUSE]  # 72 mm
    monkeypatch.setattr(coverage, "WHOLE_HEAD_MM", 60.0)
    assert split_series(checked.chosen, merged={}, unfit=unfit) == []


def test_slices_that_were_never_sent_are_a_query_with_millimetres(tmp_path):
    upload = factory.write_visit(tmp_path / "up", [replace(s, shape=SPEC.shape) for s in factory.VISIT])
    for k in range(15, N):
        (upload / f"Mustermann_1_{k:03d}.dcm").unlink()
    messages = [f.message for f in check(upload, tmp_path / "work").compliance.of(Action.QUERY)]
    (message,) = [m for m in messages if m.startswith("FLAIR: expected about the 72 mm of ")]
    assert "found a coverage of 45 mm; ask the site for the missing 27 mm" in message


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("Rows", 8),
        ("EchoTime", 20),
        ("SOPClassUID", "1.2.3"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1]),
        ("ImageType", ["ORIGINAL", "PRIMARY", "P"]),
        ("ImageType", ["DERIVED", "SECONDARY", "MPR"]),
    ],
)
def test_an_end_slice_that_differs_is_a_query(tmp_path, keyword, value):
    upload = factory.write_visit(tmp_path / "up", [replace(s, shape=SPEC.shape) for s in factory.VISIT])
    assert not [f for f in check(upload, tmp_path / "w1").compliance.findings if "left out" in f.message]
    path = max(upload.glob("*_1_*.dcm"))
    dataset = pydicom.dcmread(path)
    setattr(dataset, keyword, value)
    dataset.save_as(path)
    checked = check(upload, tmp_path / "w2")
    (found,) = [f for f in checked.compliance.of(Action.QUERY) if f.rule == "whole_series"]
    assert (found.contrast, found.measured) == (Contrast.FLAIR, 1.0)
    assert "of all images of series 1, found 1 other images; they are left out" in found.message


def test_phase_images_at_the_positions_of_slices_are_companions(tmp_path):
    upload = factory.write_visit(tmp_path / "up", [replace(s, shape=SPEC.shape) for s in factory.VISIT])
    for number, path in enumerate(sorted(upload.glob("*_1_*.dcm"))[-4:]):
        dataset = pydicom.dcmread(path)
        dataset.ImageType, dataset.SOPInstanceUID = (
            ["ORIGINAL", "PRIMARY", "P"],
            f"{dataset.SOPInstanceUID}.{number}",
        )
        dataset.save_as(upload / f"phase_{number}.dcm")
    assert not [f for f in check(upload, tmp_path / "w").compliance.of(Action.QUERY) if f.rule == "whole_series"]


def test_less_coverage_than_at_the_previous_visit_is_a_query(tmp_path):
    small = [replace(s, shape=(16, 12, 15)) for s in factory.VISIT]
    before = check(
        factory.write_visit(tmp_path / "a", [replace(s, shape=SPEC.shape) for s in small]), tmp_path / "w1"
    )
    assert before.profile is not None
    previous = PreviousScan("wk00", profile_of_record(profile_record(before.profile)))
    checked = check(factory.write_visit(tmp_path / "b", small), tmp_path / "w2", previous=previous)
    found = [f for f in checked.compliance.of(Action.QUERY) if f.rule == "coverage_loss"]
    assert {f.contrast for f in found} == {Contrast.FLAIR, Contrast.T1W, Contrast.T2W, Contrast.T1W_GD}
    assert "FLAIR: expected about the 72 mm of visit wk00, found a coverage of 45 mm" in str(found)
    more = check(tmp_path / "a", tmp_path / "w3", previous=PreviousScan("wk04", checked.profile))
    assert not [f for f in more.compliance.findings if f.rule == "coverage_loss"]
    old = profile_record(before.profile)
    for acquisition in old["acquisitions"].values():
        del acquisition["coverage_mm"]
    again = check(tmp_path / "b", tmp_path / "w4", previous=PreviousScan("wk00", profile_of_record(old)))
    assert not [f for f in again.compliance.findings if f.rule == "coverage_loss"]
