"""The output of dcm2niix is compared with the headers; the BIDS dataset passes the official validator."""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from mri_pipeline.convert import dcm2niix as module
from mri_pipeline.convert.bids import ensure_dataset, write_visit
from mri_pipeline.convert.dcm2niix import ExpectedGeometry, convert_series, verify
from mri_pipeline.core.errors import ExternalToolError, UnreadableUploadError, UsageError
from mri_pipeline.core.layout import RawDataset
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.read import read_headers
from mri_pipeline.intake.series import Geometry, group_series
from tests.unit import dicom_factory as factory

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.98480775, 0.17364818, 0.0, -0.16317591, 0.92541658, 0.34202014)


def geometry(files: list[Path]) -> Geometry:
    (series,) = group_series(read_headers(files).instances)
    assert series.geometry is not None
    return series.geometry


def expected(found: Geometry) -> ExpectedGeometry:
    return ExpectedGeometry(found.columns, found.rows, found.slices, found.spacing_mm, found.corners_ras_mm)


@pytest.mark.parametrize("orientation", [factory.AXIAL, factory.SAGITTAL, CORONAL, OBLIQUE])
@pytest.mark.requirement("INTAKE-10")
def test_every_voxel_keeps_its_place_and_value(tmp_path, orientation):
    """Witness: pixels read by pydicom and placed by the DICOM standard's own equation, voxel by voxel."""
    spec = replace(factory.T1, shape=(20, 14, 12), pixel=(1.1, 0.9), orientation=orientation)
    files = factory.write_series(tmp_path / "in", spec)
    image = convert_series(tmp_path / "in", expected(geometry(files)), what="T1w").image
    volume = factory.object_volume(spec.shape) + spec.number
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    draw = np.random.default_rng(3)
    for _ in range(200):
        k, r, c = (int(draw.integers(n)) for n in volume.shape)
        lps = np.array([-20.0, -30.0, -40.0]) + k * 3.0 * normal + c * 0.9 * row + r * 1.1 * column
        index = np.linalg.inv(image.grid.affine) @ [-lps[0], -lps[1], lps[2], 1]
        assert np.abs(index - np.rint(index)).max() < 0.01
        i, j, h = np.rint(index[:3]).astype(int)
        assert image.data[i, j, h] == volume[k, r, c]


@pytest.mark.parametrize("text", ["syngo MR B\x117", "Büld", 'B "17" \\t\\', "B\t17\n"])
def test_odd_characters_in_a_header_are_no_fault(tmp_path, text):
    """dcm2niix writes header values as they are into its JSON file."""
    spec = replace(
        factory.T1, shape=(20, 14, 12), extra={"SpecificCharacterSet": "ISO_IR 100", "SoftwareVersions": text}
    )
    files = factory.write_series(tmp_path / "in", spec)
    assert convert_series(tmp_path / "in", expected(geometry(files)), what="T1w").image.data.any()


def test_a_sidecar_that_is_no_object_is_a_fault_of_the_tool_in_a_conversion(tmp_path, monkeypatch):
    """The site cannot mend it: no refusal of the upload, and no second conversion from single frames."""
    files = factory.write_series(tmp_path / "in", replace(factory.T1, shape=(20, 14, 12)))
    whole, run, codes = expected(geometry(files)), module._run, []

    def with_empty_sidecar(folder, out, timeout_s):
        codes.append(run(folder, out, timeout_s))
        (sidecar,) = out.glob("*.json")
        sidecar.write_text("")
        return codes[-1]

    monkeypatch.setattr(module, "_run", with_empty_sidecar)
    with pytest.raises(ExternalToolError, match="expected a JSON object") as caught:
        convert_series(tmp_path / "in", whole, what="T1w")
    assert caught.value.exit_code == 1
    assert codes == [0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "[1]",
        '[["EchoTime", 1]]',
        '"text"',
        "7",
        '{"EchoTime": nan}',
        '{"EchoTime": 1',
        "[" * 99999,
    ],
)
def test_a_sidecar_that_is_no_object_is_a_fault_of_the_tool(tmp_path, text):
    (tmp_path / "volume.json").write_text(text, encoding="utf-8")
    with pytest.raises(
        ExternalToolError, match="T1w: expected a JSON object of header values from dcm2niix, found "
    ):
        module._sidecar(tmp_path, "T1w")


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_sidecar_is_read_with_and_without_a_byte_order_mark(tmp_path, start):
    (tmp_path / "volume.json").write_bytes(start + b'{"EchoTime": 0.012, "SoftwareVersions": "B\xff17"}')
    assert module._sidecar(tmp_path, "T1w") == {
        "EchoTime": 0.012,
        "SoftwareVersions": "B\N{REPLACEMENT CHARACTER}17",
    }


def test_a_header_value_that_is_no_finite_number_is_not_stated(tmp_path, monkeypatch):
    whole = expected(geometry(factory.write_series(tmp_path / "in", factory.T1)))
    convert = module._run

    def run(folder, out, timeout_s):
        code = convert(folder, out, timeout_s)
        (sidecar,) = out.glob("*.json")
        lines = (
            '{\n\t"EchoTime": nan,\n\t"FlipAngle": 90,\n\t"PixelBandwidth": -inf,\n\t"SliceThickness": 1e999,\n'
        )
        sidecar.write_text(f'{lines}\t"RepetitionTime": NaN,\n\t"InversionTime": inf\n}}\n')
        return code

    monkeypatch.setattr(module, "_run", run)
    assert convert_series(tmp_path / "in", whole, what="T1w").sidecar == {"FlipAngle": 90}


def test_an_infinite_field_strength_in_the_headers_is_not_in_the_sidecar(tmp_path):
    files = factory.write_series(tmp_path / "in", factory.T1)
    whole = expected(geometry(files))
    for path in files:  # dcm2niix writes inf
        path.write_bytes(
            path.read_bytes().replace(b"\x18\x00\x87\x00DS\x04\x001.5 ", b"\x18\x00\x87\x00DS\x06\x001e999 ")
        )
    sidecar = convert_series(tmp_path / "in", whole, what="T1w").sidecar
    assert "MagneticFieldStrength" not in sidecar
    assert sidecar["EchoTime"] == 0.012


def test_volumes_are_made_beside_the_files_and_removed(tmp_path, monkeypatch):
    whole = expected(geometry(factory.write_series(tmp_path / "in", factory.T1)))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no folder"))
    assert convert_series(tmp_path / "in", whole, what="T1w").image.data.any()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.requirement("INTAKE-10")
def test_missing_slices_are_refused_though_dcm2niix_ends_well(tmp_path):
    files = factory.write_series(tmp_path / "in", factory.T1)
    whole = expected(geometry(files))
    for path in files[20:22]:
        path.unlink()
    with pytest.raises(UnreadableUploadError, match=r"T1w: expected (one volume|24 slices)"):
        convert_series(tmp_path / "in", whole, what="T1w")


def test_a_series_cut_at_its_end_is_refused(tmp_path):
    files = factory.write_series(tmp_path / "in", factory.T1)
    whole = expected(geometry(files))
    for path in files[-2:]:
        path.unlink()
    with pytest.raises(
        UnreadableUploadError, match="expected 24 slices of 32 x 24 from the headers, found a volume of 24"
    ):
        convert_series(tmp_path / "in", whole, what="T1w")


def test_a_black_series_is_refused_by_its_name(tmp_path):
    files = factory.write_series(tmp_path / "in", factory.T1)
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.PixelData = bytes(len(dataset.PixelData))
        dataset.save_as(path)
    with pytest.raises(UnreadableUploadError) as caught:
        convert_series(tmp_path / "in", expected(geometry(files)), what="T1w, series 2")
    assert caught.value.message == "T1w, series 2: expected an image, found only zeros"


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    files = factory.write_series(tmp_path / "other", factory.T1)
    with pytest.raises(UnreadableUploadError, match="expected one volume from dcm2niix, found 0"):
        convert_series(tmp_path / "in", expected(geometry(files)), what="T1w")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (np.diag([1, 1, 1.1, 1]), "expected a spacing of"),
        (np.array([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "found its corners 5.0 mm away"),
        (np.array([[0.9848, -0.1736, 0, 0], [0.1736, 0.9848, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "corners"),
    ],
)
@pytest.mark.requirement("INTAKE-10")
def test_a_volume_in_another_place_is_refused(change, message):
    grid = Grid((10, 12, 8), np.diag([1.0, 1.0, 3.0, 1.0]))
    ends = np.array(np.meshgrid([0, 9], [0, 11], [0, 7])).reshape(3, -1).T
    corners = tuple(tuple(float(v) for v in point) for point in grid.world(ends))
    want = ExpectedGeometry(10, 12, 8, (1.0, 1.0, 3.0), corners)
    verify(grid, want, "T1w")
    with pytest.raises(UnreadableUploadError, match=message):
        verify(Grid(grid.shape, change @ grid.affine), want, "T1w")


@pytest.mark.requirement("INTAKE-04")
def test_the_image_and_sidecar_hold_no_date_name_or_place(tmp_path):
    files = factory.write_series(tmp_path / "in", factory.T1_GD)
    converted = convert_series(tmp_path / "in", expected(geometry(files)), what="T1w")
    assert converted.sidecar["RepetitionTime"] == pytest.approx(0.55)
    assert converted.sidecar["MagneticFieldStrength"] == 1.5
    raw = RawDataset(tmp_path / "raw")
    ensure_dataset(raw, name="trial")
    write_visit(raw, "AB12", "wk00", {Contrast.T1W_GD: (converted.image, converted.sidecar)})
    header = nib.load(raw.image("AB12", "wk00", Contrast.T1W_GD)).header
    assert bytes(header["descrip"].item()).strip(b"\0") == b""
    text = "".join(p.read_text() for p in raw.root.rglob("*") if p.suffix in {".json", ".tsv", ".md"}).upper()
    for word in (
        "MUSTER",
        "MRSTATION",
        "SN-55512",
        "2021",
        "AVANTO GIRL",
        "ACQUISITIONTIME",
        "INSTITUTION",
        "SERIAL",
    ):
        assert word not in text
    sidecar = json.loads(
        raw.image("AB12", "wk00", Contrast.T1W_GD).with_suffix("").with_suffix(".json").read_text()
    )
    assert sidecar["ContrastBolusIngredient"] == "GADOLINIUM"


def image(seed: int = 0) -> Image:
    data = np.random.default_rng(seed).uniform(1, 100, (8, 8, 6))
    return Image(data.astype(np.float32), Grid((8, 8, 6), np.diag([1.0, 1.0, 3.0, 1.0])))


def test_a_visit_is_replaced_only_on_request_and_then_whole(tmp_path):
    raw = RawDataset(tmp_path)
    ensure_dataset(raw, name="trial")
    write_visit(raw, "AB12", "wk00", {Contrast.FLAIR: (image(), {}), Contrast.T1W: (image(1), {})})
    with pytest.raises(UsageError, match="expected no scans of visit wk00"):
        write_visit(raw, "AB12", "wk00", {Contrast.FLAIR: (image(2), {})})
    write_visit(raw, "AB12", "wk00", {Contrast.FLAIR: (image(2), {})}, replace=True)
    assert set(raw.scans("AB12", "wk00")) == {Contrast.FLAIR}
    write_visit(raw, "AA00", "wk04", {Contrast.FLAIR: (image(2), {})})
    assert (raw.root / "participants.tsv").read_text() == "participant_id\nsub-AA00\nsub-AB12\n"


def test_the_data_set_passes_the_official_validator(tmp_path):
    raw = RawDataset(tmp_path / "raw")
    ensure_dataset(raw, name="trial")
    sidecar = {"MagneticFieldStrength": 1.5, "RepetitionTime": 9.0, "EchoTime": 0.11}
    for visit in ("wk00", "wk04"):
        write_visit(raw, "AB12", visit, {contrast: (image(), sidecar) for contrast in Contrast})
    validator = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which(
        "bids-validator-deno"
    )
    assert validator, "the development dependency bids-validator-deno is missing"
    done = subprocess.run([validator, "--json", str(raw.root)], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert done.returncode == 0
    # the witness can see: a file that is no BIDS is an error
    (raw.root / "sub-AB12" / "ses-wk00" / "anat" / "notes.txt").write_text("x")
    again = subprocess.run([validator, "--json", str(raw.root)], capture_output=True, text=True, check=False)
    assert again.returncode != 0
