"""Small valid MR series for tests of intake and conversion: an asymmetric object in any orientation."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


@dataclass(frozen=True)
class SeriesSpec:
    """One series; times in ms, lengths in mm, `start_s` seconds after the study's begin."""

    number: int = 1
    description: str = "t2_flair_tra"
    tr: float | None = 9000.0
    te: float | None = 110.0
    ti: float | None = 2500.0
    scanning: tuple[str, ...] = ("SE", "IR")
    acquisition: str = "2D"
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "ND")
    shape: tuple[int, int, int] = (32, 24, 24)  # rows, columns, slices
    pixel: tuple[float, float] = (1.0, 1.0)
    thickness: float = 3.0
    spacing: float = 3.0
    orientation: tuple[float, ...] = AXIAL
    field_t: float | None = 1.5
    start_s: float = 0.0
    extra: dict[str, object] = field(default_factory=dict)


FLAIR = SeriesSpec()
T1 = SeriesSpec(number=2, description="t1_se_tra", tr=550, te=12, ti=None, scanning=("SE",), start_s=300)
T1_GD = replace(T1, number=4, description="t1_se_tra_gd", start_s=1200)
T2 = SeriesSpec(number=3, description="t2_tse_tra", tr=4500, te=95, ti=None, scanning=("SE",), start_s=600)
PD = replace(T2, number=5, description="pd_tse_tra", te=15)
EPI = SeriesSpec(
    number=9,
    description="ep2d_bold",
    tr=2000,
    te=30,
    ti=None,
    scanning=("EP", "GR"),
    shape=(16, 16, 12),
    start_s=900,
)
VISIT = (FLAIR, T1, T2, T1_GD)


@dataclass(frozen=True)
class Patient:
    """Identities that must never get through."""

    name: str = "Mustermann^Erika"
    number: str = "HOSP-4711"
    birth: str = "19640812"
    study_uid: str = "1.2.826.0.1.3680043.8.498.1001"
    begin: dt.datetime = dt.datetime(2021, 3, 14, 9, 26, 53, tzinfo=dt.UTC)


def object_volume(shape: tuple[int, int, int]) -> np.ndarray:
    """A head-like ellipse with one bright corner block, shape (slices, rows, columns)."""
    rows, columns, slices = shape
    z, y, x = np.mgrid[0:slices, 0:rows, 0:columns].astype(float)
    inside = ((x / columns - 0.5) / 0.42) ** 2 + ((y / rows - 0.5) / 0.42) ** 2 + (
        (z / slices - 0.5) / 0.46
    ) ** 2 < 1
    data = np.where(inside, 400, 10)
    data[: slices // 4, : rows // 4, : columns // 3] = 900
    return data.astype(np.uint16)


def write_series(folder: Path, spec: SeriesSpec, patient: Patient = Patient()) -> list[Path]:
    """Write one series; the files of one slice each, in slice order."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = object_volume(spec.shape) + np.uint16(spec.number)  # no two series are equal
    uid = f"{patient.study_uid}.{spec.number}"
    paths = []
    for index in range(spec.shape[2]):
        dataset = slice_dataset(spec, patient, uid, index, volume[index])
        path = folder / f"{patient.name.split('^')[0]}_{spec.number}_{index:03d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_visit(folder: Path, specs=VISIT, patient: Patient = Patient()) -> Path:
    """Write several series into one folder."""
    for spec in specs:
        write_series(folder, spec, patient)
    return folder


def slice_dataset(spec: SeriesSpec, patient: Patient, series_uid: str, index: int, pixels: np.ndarray) -> Dataset:
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = MR_IMAGE
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = f"{series_uid}.{index + 1}"
    d.StudyInstanceUID, d.SeriesInstanceUID = patient.study_uid, series_uid
    d.FrameOfReferenceUID = f"{patient.study_uid}.99"
    _identify(d, spec, patient)
    _physics(d, spec)
    normal = np.cross(spec.orientation[:3], spec.orientation[3:])
    d.ImageOrientationPatient = [f"{v:.8g}" for v in spec.orientation]
    d.ImagePositionPatient = [f"{v:.8g}" for v in np.array([-20.0, -30.0, -40.0]) + index * spec.spacing * normal]
    d.PixelSpacing, d.SliceThickness, d.SpacingBetweenSlices = list(spec.pixel), spec.thickness, spec.spacing
    d.InstanceNumber, d.SeriesNumber = index + 1, spec.number
    d.Rows, d.Columns = pixels.shape
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    d.PixelData = pixels.tobytes()
    for keyword, value in spec.extra.items():
        setattr(d, keyword, value)
    return d


def _identify(d: Dataset, spec: SeriesSpec, patient: Patient) -> None:
    moment = patient.begin + dt.timedelta(seconds=spec.start_s)
    d.Modality, d.ImageType = "MR", list(spec.image_type)
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = moment.strftime("%Y%m%d")
    d.StudyTime = patient.begin.strftime("%H%M%S")
    d.SeriesTime = d.AcquisitionTime = d.ContentTime = moment.strftime("%H%M%S")
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = patient.name, patient.number, patient.birth, "F"
    d.InstitutionName, d.StationName = "Klinikum Musterstadt", "MRSTATION7"
    d.ReferringPhysicianName, d.AccessionNumber = "Doktor^Zuweiser", "ACC998877"
    d.DeviceSerialNumber, d.Manufacturer = "SN-55512", "SIEMENS"
    d.ManufacturerModelName, d.SoftwareVersions = "Avanto", "syngo MR B17"
    d.SeriesDescription = spec.description
    d.ProtocolName = f"{spec.description} Mustermann"
    d.PatientComments = "calls himself Erika"
    item = Dataset()
    item.RequestedProcedureDescription = "Mustermann brain"
    d.RequestAttributesSequence = Sequence([item])
    block = d.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", b"PatientName Mustermann^Erika\0")


def _physics(d: Dataset, spec: SeriesSpec) -> None:
    d.ScanningSequence, d.SequenceVariant, d.MRAcquisitionType = list(spec.scanning), "SK", spec.acquisition
    d.ScanOptions, d.FlipAngle, d.SequenceName = "", 90, "*tse2d1_9"
    for keyword, value in (
        ("RepetitionTime", spec.tr), ("EchoTime", spec.te), ("InversionTime", spec.ti),
        ("MagneticFieldStrength", spec.field_t),
    ):  # fmt: skip
        if value is not None:
            setattr(d, keyword, value)


def new_study(patient: Patient) -> Patient:
    """The same patient, another study."""
    return replace(patient, study_uid=f"{patient.study_uid}1")
