import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.acquire import rigid
from mri_pipeline.phantom.dicom import Examination, Patient, write_series
from mri_pipeline.phantom.scanner import GE_MR750, PHILIPS_ACHIEVA, SIEMENS_SKYRA, Dimension, Vendor, acquisitions

SCANNERS = [SIEMENS_SKYRA, GE_MR750, PHILIPS_ACHIEVA]
PATIENT = Patient("Musterfrau^Anna", "HOSP12345")
STUDY = Examination(datetime(2019, 3, 4, 9, 5))  # noqa: DTZ001
CONVERTER = Path(sys.executable).parent / "dcm2niix"

AXIAL = np.array([[-0.9, 0, 0, 20], [0, -0.9, 0, 25], [0, 0, 3, -30], [0, 0, 0, 1.0]])
SAGITTAL = np.array([[0, 0, -1, 20], [-1, 0, 0, 30], [0, -1, 0, 25], [0, 0, 0, 1.0]])
CORONAL = np.array([[-1, 0, 0, 20], [0, 0, 4.0, 30], [0, -1, 0, 25], [0, 0, 0, 1.0]])
GEOMETRIES = {
    "axial": AXIAL,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "oblique": rigid((12, -7, 9), (3, 4, 5)).matrix @ AXIAL,
    "double oblique sagittal": rigid((5, 9, -11), (0, 4, 5)).matrix @ SAGITTAL,
    "RAS": rigid((3, 2, 1), (0, 0, 0)).matrix @ np.diag([1.0, 1.0, 3.0, 1.0]),
}


def _image(affine, shape=(36, 40, 18), top=1200.0):
    ramp = np.stack(np.meshgrid(*[np.linspace(0, 1, n) for n in shape], indexing="ij"))
    data = top * (0.55 * ramp[0] + 0.3 * ramp[1] + 0.13 * ramp[2])  # no symmetry: a flip would show
    data += 0.02 * top * np.random.default_rng(0).random(shape)
    return Image(data.astype(np.float32), Grid(shape, affine))


def _write(image, out, scanner=SIEMENS_SKYRA, contrast=Contrast.FLAIR, **settings):
    return write_series(
        image, contrast=contrast, scanner=scanner, patient=PATIENT, study=STUDY, out_dir=out, **settings
    )


def _converted(folder, out):
    out.mkdir()
    command = [str(CONVERTER), "-z", "n", "-b", "y", "-f", "series%s", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    files = sorted(out.glob("*.nii"))
    assert len(files) == 1, [f.name for f in files]
    return load_image(files[0])


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda s: s.vendor.name)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_converter_gets_the_same_voxels_in_the_same_place(tmp_path, scanner, geometry):
    image = _image(GEOMETRIES[geometry])
    paths = _write(image, tmp_path / "dicom", scanner)
    assert len(paths) == image.grid.shape[image.grid.slice_axis]
    back = _converted(tmp_path / "dicom", tmp_path / "nifti").reoriented()
    original = image.reoriented()
    assert back.grid.same_as(original.grid), f"{back.grid.affine}\n{original.grid.affine}"
    slope = pydicom.dcmread(paths[0]).get("RescaleSlope", 1.0)
    assert np.abs(back.data - original.data).max() <= 0.501 * float(slope)


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda s: s.vendor.name)
def test_small_intensities_keep_their_contrast(tmp_path, scanner):
    image = _image(AXIAL, top=1.0)
    _write(image, tmp_path / "dicom", scanner)
    back = _converted(tmp_path / "dicom", tmp_path / "nifti").reoriented()
    assert np.abs(back.data - image.reoriented().data).max() < 1e-3


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["study1_FLAIR", "study1_T1W", "study2_T2W"])
def test_real_scans_survive_dicom(tmp_path, real_data, name):
    image = load_image(real_data / "ljubljana" / "longitudinal" / "patient01" / f"{name}.nii.gz")
    _write(image, tmp_path / "dicom", PHILIPS_ACHIEVA)
    back = _converted(tmp_path / "dicom", tmp_path / "nifti").reoriented()
    original = image.reoriented()
    assert back.grid.same_as(original.grid)
    assert np.abs(back.data - original.data).max() <= 0.501 * original.data.max() / 4095


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda s: s.vendor.name)
def test_headers_hold_what_a_reader_of_dicom_expects(tmp_path, scanner):
    series = acquisitions(scanner)[Contrast.FLAIR]
    paths = _write(_image(AXIAL), tmp_path, scanner, acquisition=series, series_number=4)
    headers = [pydicom.dcmread(path) for path in paths]
    first = headers[0]
    assert first.SOPClassUID == "1.2.840.10008.5.1.4.1.1.4"
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert len({h.SOPInstanceUID for h in headers}) == len(headers)
    assert len({h.SeriesInstanceUID for h in headers}) == 1
    assert [h.InstanceNumber for h in headers] == list(range(1, len(headers) + 1))
    assert first.Manufacturer == scanner.vendor
    assert first.MagneticFieldStrength == scanner.field_strength_t
    assert first.SeriesDescription == series.description
    assert first.InversionTime == series.inversion_ms
    assert first.SliceThickness == 3
    assert "ContrastBolusAgent" not in first
    # positions are one spacing apart, along the normal of the image plane
    positions = np.array([h.ImagePositionPatient for h in headers], dtype=float)
    row, column = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
    steps = np.diff(positions @ np.cross(row, column))
    np.testing.assert_allclose(np.abs(steps), 3.0, atol=1e-6)
    assert all(np.sign(steps) == np.sign(steps[0]))
    assert first.pixel_array.shape == (40, 36)


def test_makers_differ_in_names_order_and_scaling(tmp_path):
    image = _image(AXIAL)
    first = {s.vendor: _write(image, tmp_path / s.vendor.name, s)[0] for s in SCANNERS}
    headers = {vendor: pydicom.dcmread(path) for vendor, path in first.items()}
    assert {path.suffix[:4] for path in first.values()} == {".IMA", ".1", ""}
    assert headers[Vendor.GE].ImagePositionPatient[2] > headers[Vendor.SIEMENS].ImagePositionPatient[2]
    assert "RescaleSlope" in headers[Vendor.PHILIPS]
    assert "RescaleSlope" not in headers[Vendor.SIEMENS]
    assert len({tuple(h.ImageType) for h in headers.values()}) == 3
    assert len({h.SeriesDescription for h in headers.values()}) == 3


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda s: s.vendor.name)
def test_identity_is_where_de_identification_must_find_it(tmp_path, scanner):
    raw = _write(_image(AXIAL), tmp_path, scanner)[0].read_bytes()
    assert raw.count(PATIENT.name[:8].encode()) >= 2  # the name's element and a private one at least
    for secret in (PATIENT.patient_id, scanner.institution, STUDY.accession, STUDY.operator, "19840309"):
        assert secret.encode() in raw


def test_contrast_agent_and_times_of_a_post_contrast_series(tmp_path):
    before = pydicom.dcmread(_write(_image(AXIAL), tmp_path / "a", contrast=Contrast.T1W)[0])
    after = pydicom.dcmread(_write(_image(AXIAL), tmp_path / "b", contrast=Contrast.T1W_GD, series_number=2)[0])
    assert "ContrastBolusAgent" not in before
    assert after.ContrastBolusAgent
    injected = datetime.strptime(after.ContrastBolusStartTime, "%H%M%S.%f")  # noqa: DTZ007
    acquired = datetime.strptime(after.AcquisitionTime, "%H%M%S.%f")  # noqa: DTZ007
    assert acquired - injected >= timedelta(minutes=5)
    assert before.StudyInstanceUID == after.StudyInstanceUID
    assert before.FrameOfReferenceUID == after.FrameOfReferenceUID
    assert before.SeriesInstanceUID != after.SeriesInstanceUID


def test_three_dimensional_series_are_sagittal(tmp_path):
    series = acquisitions(SIEMENS_SKYRA, Dimension.THREE_D)[Contrast.T1W]
    small = replace(series, columns=24, rows=20, slices=16)
    affine = rigid((0, 0, 0), (0, 0, 0))
    image = _image(small.grid(affine).affine, shape=(24, 20, 16))
    header = pydicom.dcmread(_write(image, tmp_path, acquisition=small, contrast=Contrast.T1W)[0])
    assert header.MRAcquisitionType == "3D"
    assert [round(x) for x in header.ImageOrientationPatient] == [0, 1, 0, 0, 0, -1]


def test_what_dicom_cannot_hold_is_refused(tmp_path):
    image = _image(AXIAL)
    with pytest.raises(ImageError, match="0 or more, found negative"):
        _write(Image(image.data - 500, image.grid), tmp_path)
    with pytest.raises(ImageError, match="at most 65535, found"):
        _write(Image(image.data * 100, image.grid), tmp_path)
    sheared = AXIAL.copy()
    sheared[0, 1] = 0.2
    with pytest.raises(ImageError, match="without shear"):
        _write(Image(image.data, Grid(image.grid.shape, sheared)), tmp_path)
    assert not list(tmp_path.rglob("*.*"))
