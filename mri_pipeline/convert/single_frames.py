"""Rewrite the frames of a series as one classic single-frame MR series in spatial order.

dcm2niix converts such a series without the conventions of vendors: slices by position, one rescale per file. The
module is used if the conversion of the original objects contradicts their headers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from mri_pipeline.convert.frames import (
    DicomFrame,
    damage_is_a_refusal,
    frames_of,
    in_spatial_order,
    value_of_frame,
)

CARRIED: Final = (
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "MagneticFieldStrength", "ImagingFrequency",
    "MRAcquisitionType", "ScanningSequence", "SequenceVariant", "ScanOptions", "RepetitionTime", "FlipAngle",
    "EchoTrainLength", "PixelBandwidth", "NumberOfAverages", "SliceThickness", "SpacingBetweenSlices", "PixelSpacing",
    "ImageOrientationPatient", "ImagePositionPatient", "RescaleSlope", "RescaleIntercept",
)  # fmt: skip
"""Attributes that a single frame keeps, from the object or its functional groups."""

ENHANCED_NAMES: Final = (("EchoTime", "EffectiveEchoTime"), ("InversionTime", "InversionTimes"))
"""Attributes with another name in enhanced objects."""

PIXEL_DESCRIPTION: Final = (
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation",
)  # fmt: skip


def write_single_frames(files: Iterable[Path], folder: Path) -> tuple[Path, ...]:
    """Write each frame as a classic MR image.

    Parameters
    ----------
    files : iterable of Path
        Uncompressed files of one volume, classic or enhanced, also of more than one DICOM series.
    folder : Path
        New folder.

    Returns
    -------
    tuple of Path
        In the order of the slices.

    Raises
    ------
    UnreadableUploadError
        If a frame cannot be read or written.
    """
    folder.mkdir(parents=True)
    study_uid, series_uid, frame_uid = (generate_uid() for _ in range(3))
    written = []
    for number, frame in enumerate(in_spatial_order(frames_of(files)), start=1):
        with damage_is_a_refusal():
            dataset = _classic(frame)
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
            dataset.FrameOfReferenceUID = frame_uid
            dataset.InstanceNumber, dataset.SeriesNumber, dataset.AcquisitionNumber = number, 1, 1
            path = folder / f"{number:06d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
        written.append(path)
    return tuple(written)


def _classic(frame: DicomFrame) -> Dataset:
    source = frame.source
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M"]
    for keyword in CARRIED:
        value = value_of_frame(source, frame.number, keyword)
        if value is not None:
            setattr(dataset, keyword, value)
    for classic, enhanced in ENHANCED_NAMES:
        value = value_of_frame(source, frame.number, classic, value_of_frame(source, frame.number, enhanced))
        if value is not None:
            setattr(dataset, classic, value[0] if isinstance(value, MultiValue) else value)
    for keyword in PIXEL_DESCRIPTION:
        setattr(dataset, keyword, source[keyword].value)
    dataset.PixelData = frame.stored.astype(frame.stored.dtype.newbyteorder("<")).tobytes()
    return dataset
