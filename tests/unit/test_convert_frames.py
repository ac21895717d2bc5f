"""Every slice of a converted series has the rescaled pixels of the frame at its position."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from mri_pipeline.convert import dcm2niix
from mri_pipeline.convert.compare import require_equal_values
from mri_pipeline.convert.dcm2niix import Converted, ExpectedGeometry, convert_series
from mri_pipeline.convert.decompress import decompressed
from mri_pipeline.convert.frames import frames_of
from mri_pipeline.core.errors import UnreadableUploadError
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.intake.deidentify import Blinding, deidentify
from mri_pipeline.intake.read import read_headers
from mri_pipeline.intake.series import group_series
from tests.unit import dicom_factory as factory
from tests.unit.enhanced_factory import EnhancedSpec, texture, write_enhanced

SPEC = replace(factory.FLAIR, shape=(20, 16, 12), pixel=(1.1, 0.9))
LARGER = replace(SPEC, shape=(40, 36, 12))  # JPEG 2000 with 6 resolutions needs 32 pixels
OBLIQUE = (0.98480775, 0.17364818, 0.0, -0.16317591, 0.92541658, 0.34202014)
N = SPEC.shape[2]
STRAIGHT = tuple(range(N))
PERMUTED = tuple(np.random.default_rng(0).permutation(N).tolist())
SLOPES = {k: 1 + 0.1 * k for k in range(N)}
INTERCEPTS = {k: 2.0 * k for k in range(N)}
HALVES = (tuple(range(N // 2)), tuple(range(N // 2, N)))
ODD_EVEN = (tuple(range(0, N, 2)), tuple(range(1, N, 2)))
VENDORS = ("SIEMENS", "GE MEDICAL SYSTEMS", "CANON_MEC", "UIH", "Philips Medical Systems")
STORAGE = {
    "in order": EnhancedSpec(STRAIGHT),
    "permuted": EnhancedSpec(PERMUTED),
    "slopes": EnhancedSpec(STRAIGHT, SLOPES, INTERCEPTS),
    "permuted with slopes": EnhancedSpec(PERMUTED, SLOPES, INTERCEPTS),
    "shared slope": EnhancedSpec(PERMUTED, shared_rescale=True),
    "two stacks": EnhancedSpec(STRAIGHT, SLOPES, stacks=HALVES),
    "interleaved stacks": EnhancedSpec(ODD_EVEN[0] + ODD_EVEN[1], stacks=ODD_EVEN),
}

HARD = ("permuted with slopes", "two stacks")
"""Storage that dcm2niix misreads for some vendors, by slope or by position."""


def converted(folder: Path, files: list[Path]) -> Converted:
    """De-identified and converted as at ingest."""
    (series,) = group_series(read_headers(files).instances)
    found = series.geometry
    assert found is not None
    assert found.complete
    deidentify(series.files, folder, Blinding("AB12", b"0123456789abcdef"))
    expected = ExpectedGeometry(found.columns, found.rows, found.slices, found.spacing_mm, found.corners_ras_mm)
    return convert_series(folder, expected, what="FLAIR")


def require_true_values(image: Image, truth: np.ndarray, spec: factory.SeriesSpec = SPEC) -> None:
    """Witness: each pixel is placed by the equation of the DICOM standard (PS3.3 C.7.6.2.1.1)."""
    row, column = np.array(spec.orientation[:3]), np.array(spec.orientation[3:])
    normal = np.cross(row, column)
    k, r, c = np.indices(truth.shape).reshape(3, -1)
    lps = (
        np.array([-20.0, -30.0, -40.0])
        + k[:, None] * spec.spacing * normal
        + c[:, None] * spec.pixel[1] * row
        + r[:, None] * spec.pixel[0] * column
    )
    inverse = np.linalg.inv(image.grid.affine)
    index = (lps * [-1, -1, 1]) @ inverse[:3, :3].T + inverse[:3, 3]
    assert np.abs(index - np.rint(index)).max() < 0.01
    np.testing.assert_allclose(image.data[tuple(np.rint(index).astype(int).T)], truth[k, r, c], rtol=1e-5)


@pytest.mark.parametrize(
    ("storage", "vendor"),
    [*((storage, "SIEMENS") for storage in STORAGE), *((s, v) for s in HARD for v in VENDORS[1:])],
)
def test_frames_of_enhanced_objects_are_at_their_positions_with_their_slopes(tmp_path, storage, vendor):
    how = replace(STORAGE[storage], vendor=vendor)
    stored = texture(SPEC.shape)
    path = write_enhanced(tmp_path / "in.dcm", SPEC, stored, how)
    found = converted(tmp_path / "clean", [path])
    slopes = np.array([2.5 if how.shared_rescale else how.slopes.get(k, 1.0) for k in range(N)])
    intercepts = np.array([-3.0 if how.shared_rescale else how.intercepts.get(k, 0.0) for k in range(N)])
    require_true_values(found.image, stored * slopes[:, None, None] + intercepts[:, None, None])
    stated = [found.sidecar[key] for key in ("RepetitionTime", "EchoTime", "InversionTime")]
    assert stated == pytest.approx([9.0, 0.11, 2.5])


@pytest.mark.parametrize("orientation", [factory.AXIAL, factory.SAGITTAL, OBLIQUE])
def test_single_frames_of_rebuilt_objects_keep_their_orientation(tmp_path, orientation):
    spec = replace(SPEC, orientation=orientation)
    stored = texture(spec.shape)
    path = write_enhanced(tmp_path / "in.dcm", spec, stored, EnhancedSpec(PERMUTED, SLOPES))
    slopes = np.array([SLOPES[k] for k in range(N)])
    require_true_values(converted(tmp_path / "clean", [path]).image, stored * slopes[:, None, None], spec)


def test_classic_slices_may_have_different_slopes(tmp_path):
    """Philips scanners write a slope for each slice."""
    stored = texture(SPEC.shape)
    for k in range(N):
        d = factory.slice_dataset(SPEC, factory.Patient(), "1.2.3.4", k, stored[k])
        d.RescaleSlope, d.RescaleIntercept = f"{SLOPES[k]:.8g}", f"{INTERCEPTS[k]:.8g}"
        d.save_as(tmp_path / f"{k}.dcm", enforce_file_format=True)
    found = converted(tmp_path / "clean", sorted(tmp_path.glob("*.dcm")))
    scale, offset = np.array(list(SLOPES.values())), np.array(list(INTERCEPTS.values()))
    require_true_values(found.image, stored * scale[:, None, None] + offset[:, None, None])


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_frames_are_decoded_and_compared(tmp_path, syntax):
    stored = texture(LARGER.shape)
    path = write_enhanced(tmp_path / "in.dcm", LARGER, stored, EnhancedSpec(PERMUTED, SLOPES))
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    slopes = np.array([SLOPES[k] for k in range(N)])
    require_true_values(converted(tmp_path / "clean", [path]).image, stored * slopes[:, None, None], LARGER)


def test_a_damaged_compressed_frame_is_refused(tmp_path):
    stored = texture(LARGER.shape)
    (tmp_path / "in").mkdir()
    path = write_enhanced(tmp_path / "in" / "in.dcm", LARGER, stored, EnhancedSpec(STRAIGHT))
    dataset = pydicom.dcmread(path)
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    data = bytearray(dataset.PixelData)
    for begin in range(150, len(data) - 100, 400):
        data[begin : begin + 60] = b"\xff" * 60
    dataset.PixelData = bytes(data)
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(UnreadableUploadError, match="expected 1 compressed images that can be decoded"):
        decompressed(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_files_without_a_stated_transfer_syntax_keep_their_values(tmp_path, implicit, little):
    stored = texture(SPEC.shape)
    for k in range(N):
        d = factory.slice_dataset(SPEC, factory.Patient(), "1.2.3.4", k, stored[k])
        if not little:
            d.PixelData = stored[k].byteswap().tobytes()
        d.preamble = bytes(128)
        del d.file_meta.TransferSyntaxUID
        pydicom.dcmwrite(tmp_path / f"{k}.dcm", d, implicit_vr=implicit, little_endian=little)
    found = converted(tmp_path / "clean", sorted(tmp_path.glob("*.dcm")))
    require_true_values(found.image, stored)


def test_a_slope_of_zero_is_a_refusal(tmp_path):
    files = factory.write_series(tmp_path / "up", SPEC)
    dataset = pydicom.dcmread(files[3])
    dataset.RescaleSlope = "0"
    dataset.save_as(files[3])
    with pytest.raises(UnreadableUploadError, match="expected a RescaleSlope other than 0 of each frame"):
        converted(tmp_path / "clean", files)


@pytest.mark.parametrize("enhanced", [True, False])
def test_a_slope_of_some_frames_only_is_a_refusal(tmp_path, enhanced):
    """A frame whose slope is lost would have other intensities than its neighbours."""
    if enhanced:
        files = [write_enhanced(tmp_path / "up" / "0.dcm", SPEC, texture(SPEC.shape), STORAGE["slopes"])]
        dataset = pydicom.dcmread(files[0])
        del dataset.PerFrameFunctionalGroupsSequence[3].PixelValueTransformationSequence[0].RescaleSlope
        dataset.save_as(files[0])
    else:
        files = factory.write_series(tmp_path / "up", SPEC)
        for path in files[:-1]:
            dataset = pydicom.dcmread(path)
            dataset.RescaleSlope, dataset.RescaleIntercept = "2", "0"
            dataset.save_as(path)
    with pytest.raises(UnreadableUploadError, match="expected a RescaleSlope of every frame or of none"):
        converted(tmp_path / "clean", files)


def test_other_values_are_refused_if_single_frames_do_not_help(tmp_path, monkeypatch):
    """A converter that changes one voxel in every result."""
    files = factory.write_series(tmp_path / "in", SPEC)
    run = dcm2niix._run

    def wrong(folder: Path, out: Path, timeout_s: float) -> int:
        code = run(folder, out, timeout_s)
        (path,) = out.glob("*.nii")
        image = nib.load(path)
        data = np.asanyarray(image.dataobj).copy()
        data[3, 4, 5] += 1
        nib.save(nib.Nifti1Image(data, image.affine, image.header), path)
        return code

    monkeypatch.setattr(dcm2niix, "_run", wrong)
    with pytest.raises(
        UnreadableUploadError, match=r"FLAIR: expected the rescaled pixel values .* in 1 of 12 slices"
    ):
        converted(tmp_path / "clean", files)


def test_each_slice_needs_exactly_one_frame(tmp_path):
    files = factory.write_series(tmp_path, SPEC)
    image = converted(tmp_path / "clean", files).image
    with pytest.raises(UnreadableUploadError, match="one frame for each of 12 slices, found 11 slices"):
        require_equal_values(image, frames_of(files[1:]), "FLAIR")
    with pytest.raises(UnreadableUploadError, match="found 12 slices with a frame among 13 frames"):
        require_equal_values(image, frames_of([*files, files[0]]), "FLAIR")
    shifted = np.array(image.grid.affine)
    shifted[0, 3] += 0.4
    elsewhere = Image(image.data, Grid(image.grid.shape, shifted))
    with pytest.raises(
        UnreadableUploadError, match="expected a slice of the volume at the position of each frame"
    ):
        require_equal_values(elsewhere, frames_of(files), "FLAIR")


@pytest.mark.real_data
@pytest.mark.requirement("INTAKE-10")
def test_a_real_enhanced_object_is_equal_slice_by_slice(real_data, tmp_path):
    """A Siemens XA10 object of 6 frames."""
    files = [real_data / "dicom" / "siemens_enhanced" / "6_1.dcm"]
    found = converted(tmp_path / "clean", files)
    assert found.image.grid.shape == (64, 64, 6)
    pixels = pydicom.dcmread(files[0]).pixel_array
    assert sorted(float(s.sum()) for s in np.moveaxis(found.image.data, 2, 0)) == sorted(
        float(s.sum()) for s in pixels
    )


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["siemens_jpeg", "siemens_jpeg2000"])
def test_both_decoders_agree_on_real_compressed_images(real_data, tmp_path, name):
    """Witness: the decoder of dcm2niix. The images are mosaics, so that only the sum of all pixels is compared."""
    decoded = decompressed(real_data / "dicom" / name, tmp_path / "decoded")
    sums = sorted(float(frame.stored.sum()) for frame in frames_of(decoded))
    (tmp_path / "out").mkdir()
    dcm2niix._run(real_data / "dicom" / name, tmp_path / "out", 60)
    volumes = np.concatenate([
        np.asarray(nib.load(p).dataobj, float).reshape(-1, 1)
        if nib.load(p).ndim == 3
        else np.asarray(nib.load(p).dataobj, float).reshape(-1, nib.load(p).shape[3])
        for p in (tmp_path / "out").glob("*.nii")
    ], axis=1)  # fmt: skip
    assert sorted(volumes.sum(axis=0).tolist()) == sums


@pytest.mark.parametrize("position", [None, ["0", "0"], ["nan", "0", "0"]])
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_a_frame_without_a_position_is_a_refusal(tmp_path, position):
    path = write_enhanced(tmp_path / "0.dcm", SPEC, texture(SPEC.shape), EnhancedSpec(STRAIGHT))
    dataset = pydicom.dcmread(path)
    (item,) = dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    del item.ImagePositionPatient
    if position is not None:
        with pydicom.config.disable_value_validation():
            item.ImagePositionPatient = position
    dataset.save_as(path)
    with pytest.raises(
        UnreadableUploadError, match="expected 3 numbers in ImagePositionPatient of each frame, found"
    ):
        list(frames_of([path]))
