"""Write an image as classic MR Image Storage DICOM, as exported by a scanner.

Pixels and geometry round-trip: a converter gets the same voxel centres and, within quantisation, the same
intensities. Names, dates and numbers are fictitious. They are in the same elements as in real
exports, so that de-identification can be tested.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.headers import add_contrast_agent, add_private, add_sequence, file_name, slice_time
from mri_pipeline.phantom.scanner import Dimension, Plane, Prescription, ScannerModel, Vendor, acquisitions

_STORED_MAX = 4095  # 12 bits, as scanners store
_COARSE_MAX = 255.0  # below this maximum, whole numbers would lose contrast: store with a slope
_SHEAR_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Patient:
    """A simulated patient.

    Parameters
    ----------
    name : str
        As a DICOM person name.
    patient_id : str
    birth_date : datetime.date
    sex : str
        DICOM code: F, M or O.
    weight_kg : float
    address : str

    Examples
    --------
    >>> Patient("Doe^Jane", "H-0042").sex
    'F'
    """

    name: str
    patient_id: str
    birth_date: date = date(1984, 3, 9)
    sex: str = "F"
    weight_kg: float = 70.0
    address: str = "12 Example Street, Sampletown"


@dataclass(frozen=True)
class Examination:
    """One examination.

    Parameters
    ----------
    started : datetime
        When the first series began.
    description, accession, study_id, physician, operator : str
        Made up; de-identification must remove them.
    injected_after : timedelta
        Time from `started` to the injection of contrast agent.
    """

    started: datetime
    description: str = "MR Brain MS"
    accession: str = "ACC0001"
    study_id: str = "1"
    physician: str = "Referrer^Rita"
    operator: str = "Radiographer^Olaf"
    injected_after: timedelta = field(default=timedelta(minutes=12))

    @property
    def injected_at(self) -> datetime:
        """Time of contrast injection."""
        return self.started + self.injected_after


def _orient(image: Image, plane: Plane | None) -> Image:
    """Rows and columns in radiological orientation, by the plane of the slices."""
    if plane is not None:
        return image.reoriented(plane.value)
    across = image.grid.orientation[image.grid.slice_axis]
    order = {"S": "LPS", "I": "LPS", "L": "PIL", "R": "PIL", "A": "LIP", "P": "LIP"}[across]
    return image.reoriented(order)


def _stored(data: NDArray[np.float32], vendor: Vendor) -> tuple[NDArray[np.uint16], float | None]:
    """Integer pixel values, and the rescale slope if it is needed."""
    top = float(data.max())
    if float(data.min()) < 0:
        raise ImageError("expected magnitude intensities of 0 or more, found negative ones")
    if vendor is Vendor.PHILIPS or 0 < top < _COARSE_MAX:
        slope = float(f"{max(top, 1e-6) / _STORED_MAX:.9g}")  # a decimal string has 16 characters
        return np.rint(data / slope).astype(np.uint16), slope
    if top > np.iinfo(np.uint16).max:
        raise ImageError(f"expected intensities of at most 65535, found {top:.0f}")
    return np.rint(data).astype(np.uint16), None


def _check_orthogonal(grid: Grid) -> None:
    axes = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    if np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR_TOLERANCE:
        raise ImageError("expected a grid without shear, which DICOM cannot express")


def _common(
    scanner: ScannerModel, acquisition: Prescription, patient: Patient, study: Examination, series_number: int
) -> Dataset:
    """Attributes common to all slices of a series, without geometry and pixels."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = MRImageStorage
    dataset.Modality = "MR"
    dataset.Manufacturer = scanner.vendor.value
    dataset.ManufacturerModelName = scanner.model
    dataset.InstitutionName = scanner.institution
    dataset.InstitutionAddress = "1 Hospital Road"
    dataset.StationName = scanner.station
    dataset.DeviceSerialNumber = scanner.serial_number
    dataset.SoftwareVersions = scanner.software.split("\\")
    dataset.PatientName = patient.name
    dataset.PatientID = patient.patient_id
    dataset.PatientBirthDate = patient.birth_date.strftime("%Y%m%d")
    dataset.PatientSex = patient.sex
    years = study.started.year - patient.birth_date.year
    dataset.PatientAge = f"{years:03d}Y"
    dataset.PatientWeight = patient.weight_kg
    dataset.PatientAddress = patient.address
    dataset.ReferringPhysicianName = study.physician
    dataset.OperatorsName = study.operator
    dataset.StudyDescription = study.description
    dataset.StudyID = study.study_id
    dataset.AccessionNumber = study.accession
    dataset.BodyPartExamined = "HEAD"
    key = [patient.patient_id, study.started.isoformat(), scanner.serial_number]
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[*key, "study"])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[*key, "frame"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*key, "series", str(series_number)])
    dataset.PositionReferenceIndicator = ""
    dataset.SeriesNumber = series_number
    dataset.AcquisitionNumber = 1
    dataset.SeriesDescription = acquisition.description
    dataset.ProtocolName = acquisition.description
    add_sequence(dataset, scanner, acquisition)
    return dataset


def _set_times(dataset: Dataset, study: Examination, series_started: datetime) -> None:
    dataset.StudyDate = study.started.strftime("%Y%m%d")
    dataset.StudyTime = study.started.strftime("%H%M%S.%f")
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = series_started.strftime("%Y%m%d")
    dataset.SeriesTime = series_started.strftime("%H%M%S.%f")


def _set_geometry(dataset: Dataset, grid: Grid, thickness_mm: float) -> None:
    columns, rows, _ = grid.shape
    lps = np.diag([-1.0, -1.0, 1.0]) @ grid.affine[:3, :3] / np.array(grid.spacing_mm)
    dataset.Rows, dataset.Columns = rows, columns
    dataset.PixelSpacing = [_decimal(grid.spacing_mm[1]), _decimal(grid.spacing_mm[0])]
    dataset.ImageOrientationPatient = [_decimal(x) for x in (*lps[:, 0], *lps[:, 1])]
    dataset.SliceThickness = _decimal(thickness_mm)
    dataset.SpacingBetweenSlices = _decimal(grid.spacing_mm[2])
    dataset.AcquisitionMatrix = [0, columns, rows, 0]
    if dataset.Manufacturer == Vendor.GE:
        dataset.ImagesInAcquisition = grid.shape[2]


def _decimal(value: float) -> float:
    """A number that fits a decimal string of 16 characters."""
    return float(f"{value:.9g}") if abs(value) >= 1e-4 else float(f"{value:.9f}")


def _set_pixel_format(dataset: Dataset, pixels: NDArray[np.uint16], slope: float | None) -> None:
    bits = 12 if int(pixels.max()) <= _STORED_MAX else 16
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    top = float(np.percentile(pixels[::2, ::2, ::2], 99.5)) * (slope or 1.0)
    dataset.WindowCenter, dataset.WindowWidth = _decimal(max(top, 1.0) / 2.0), _decimal(max(top, 1.0))
    if slope is not None:
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0.0, slope, "normalized"


def write_series(
    image: Image,
    *,
    contrast: Contrast,
    scanner: ScannerModel,
    patient: Patient,
    study: Examination,
    out_dir: Path,
    series_number: int = 1,
    started: datetime | None = None,
    acquisition: Prescription | None = None,
    contrast_agent: bool | None = None,
) -> list[Path]:
    """Write one image as one series, one file per slice.

    Parameters
    ----------
    image : Image
        Any grid without shear, simulated or read from NIfTI; intensities of 0 to 65535. Slices are cut along the
        axis of the thickest voxels, or that of `acquisition`.
    contrast : Contrast
        Sets names, timing and, for post-contrast T1, the contrast agent.
    scanner : ScannerModel
    patient : Patient
    study : Examination
    out_dir : Path
        Folder of the export.
    series_number : int
    started : datetime, optional
        When the series began; default: the study's start, or 6 minutes after injection for post-contrast T1.
    acquisition : Prescription, optional
        The prescription; default: what `scanner` runs in 2D for this contrast, with the image's geometry.
    contrast_agent : bool, optional
        True if the header names a contrast agent. Default: for post-contrast T1 only.

    Returns
    -------
    list of Path
        The files, in the order of their instance numbers.

    Raises
    ------
    ImageError
        If intensities are negative or too large, or the grid is sheared.
    """
    _check_orthogonal(image.grid)
    plane = acquisition.plane if acquisition is not None else None
    image = _orient(image, plane)
    spacing = image.grid.spacing_mm
    if acquisition is None:
        dimension = Dimension.THREE_D if spacing[2] < 1.6 and plane is None else Dimension.TWO_D
        acquisition = replace(
            acquisitions(scanner, dimension)[contrast], thickness_mm=spacing[2], spacing_mm=spacing[2],
            columns=image.grid.shape[0], rows=image.grid.shape[1], in_plane_mm=spacing[0],
        )  # fmt: skip
    enhanced = contrast is Contrast.T1W_GD if contrast_agent is None else contrast_agent
    if started is None:
        started = study.injected_at + timedelta(minutes=6) if enhanced else study.started
    pixels, slope = _stored(image.data, scanner.vendor)
    dataset = _common(scanner, acquisition, patient, study, series_number)
    _set_times(dataset, study, started)
    _set_geometry(dataset, image.grid, acquisition.thickness_mm)
    _set_pixel_format(dataset, pixels, slope)
    if enhanced:
        add_contrast_agent(dataset, scanner, study.injected_at)
    add_private(dataset, scanner, acquisition, patient.name, slope or 1.0)
    return _write_slices(
        dataset, pixels, image.grid, scanner=scanner, acquisition=acquisition, started=started, out_dir=out_dir
    )


def _write_slices(
    dataset: Dataset,
    pixels: NDArray[np.uint16],
    grid: Grid,
    *,
    scanner: ScannerModel,
    acquisition: Prescription,
    started: datetime,
    out_dir: Path,
) -> list[Path]:
    count = grid.shape[2]
    lps = np.diag([-1.0, -1.0, 1.0])
    normal = np.cross(lps @ grid.affine[:3, 0], lps @ grid.affine[:3, 1])
    normal /= np.linalg.norm(normal)
    # GE numbers axial slices from above
    order = range(count - 1, -1, -1) if scanner.vendor is Vendor.GE else range(count)
    paths = []
    for instance, k in enumerate(order, start=1):
        position = lps @ grid.world(np.array([[0.0, 0.0, float(k)]]))[0]
        uid = generate_uid(entropy_srcs=[dataset.SeriesInstanceUID, str(instance)])
        dataset.SOPInstanceUID = uid
        dataset.InstanceNumber = instance
        dataset.ImagePositionPatient = [_decimal(x) for x in position]
        dataset.SliceLocation = _decimal(float(normal @ position))
        acquired = slice_time(started, acquisition, instance).strftime("%H%M%S.%f")
        dataset.AcquisitionTime = dataset.ContentTime = acquired
        dataset.PixelData = np.ascontiguousarray(pixels[:, :, k].T).tobytes()
        path = file_name(
            scanner, out_dir, series=int(dataset.SeriesNumber), instance=instance, uid=uid,
            description=acquisition.description,
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(dataset, path, uid, scanner)
        paths.append(path)
    return paths


def _save(dataset: Dataset, path: Path, uid: str, scanner: ScannerModel) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # a preamble may hold anything; some exports leave text there
    note = f"{scanner.station} {dataset.PatientName}" if scanner.vendor is Vendor.GE else ""
    preamble = note.encode("latin-1", errors="replace")[:128].ljust(128, b"\0")
    file = FileDataset(str(path), dataset, file_meta=meta, preamble=preamble)
    file.save_as(path, enforce_file_format=True)
