"""DICOM headers of the manufacturers: attributes, private blocks and file names."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from pydicom.dataset import Dataset

from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.contrast import T1Technique
from mri_pipeline.phantom.scanner import Dimension, Prescription, ScannerModel, Vendor


def image_type(scanner: ScannerModel, acquisition: Prescription) -> list[str]:
    """ImageType of each manufacturer.

    Parameters
    ----------
    scanner : ScannerModel
    acquisition : Prescription

    Returns
    -------
    list of str
    """
    if scanner.vendor is Vendor.SIEMENS:
        return ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
    if scanner.vendor is Vendor.GE:
        return ["ORIGINAL", "PRIMARY", "OTHER"]
    if acquisition.technique is T1Technique.GRADIENT_ECHO:
        return ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
    kind = "IR" if acquisition.contrast is Contrast.FLAIR else "SE"
    return ["ORIGINAL", "PRIMARY", f"M_{kind}", "M", kind]


def add_sequence(dataset: Dataset, scanner: ScannerModel, acquisition: Prescription) -> None:
    """Attributes of the pulse sequence, in place.

    Parameters
    ----------
    dataset : Dataset
    scanner : ScannerModel
    acquisition : Prescription
        Times in ms.
    """
    dataset.ImageType = image_type(scanner, acquisition)
    dataset.ScanningSequence = acquisition.scanning_sequence.split("\\")
    dataset.SequenceVariant = acquisition.sequence_variant.split("\\")
    dataset.ScanOptions = {Vendor.SIEMENS: "PFP", Vendor.GE: "FAST_GEMS", Vendor.PHILIPS: "OTHER"}[scanner.vendor]
    dataset.MRAcquisitionType = acquisition.dimension.value
    if acquisition.sequence_name:
        dataset.SequenceName = acquisition.sequence_name
    dataset.RepetitionTime = acquisition.repetition_ms
    dataset.EchoTime = acquisition.echo_ms
    if acquisition.inversion_ms is not None:
        dataset.InversionTime = acquisition.inversion_ms
    elif scanner.vendor is Vendor.GE:
        dataset.InversionTime = 0  # GE writes it for every sequence
    dataset.FlipAngle = acquisition.flip_degrees
    dataset.EchoTrainLength = acquisition.echo_train
    dataset.EchoNumbers = 1
    dataset.NumberOfAverages = 1
    dataset.ImagingFrequency = round(42.577 * scanner.field_strength_t, 3)
    dataset.ImagedNucleus = "1H"
    dataset.MagneticFieldStrength = scanner.field_strength_t
    dataset.PixelBandwidth = 180.0
    dataset.PercentSampling = 100.0
    dataset.PercentPhaseFieldOfView = 100.0
    dataset.InPlanePhaseEncodingDirection = "ROW"
    dataset.TransmitCoilName = "Body"
    dataset.ReceiveCoilName = {Vendor.SIEMENS: "Head_32", Vendor.GE: "8HRBRAIN", Vendor.PHILIPS: "SENSE-Head-8"}[
        scanner.vendor
    ]
    dataset.SAR = 0.8
    dataset.PatientPosition = "HFS"


def add_contrast_agent(dataset: Dataset, scanner: ScannerModel, injected_at: datetime) -> None:
    """Attributes of the contrast agent (0.1 mmol/kg of a 0.5 molar agent in a patient of 70 kg), in place.

    Parameters
    ----------
    dataset : Dataset
    scanner : ScannerModel
    injected_at : datetime.datetime
        Start of the injection.
    """
    dataset.ContrastBolusAgent = {Vendor.SIEMENS: "Gd-DOTA", Vendor.GE: "DOTAREM", Vendor.PHILIPS: "Yes"}[
        scanner.vendor
    ]
    if scanner.vendor is Vendor.PHILIPS:
        return  # the operator only ticked a box
    dataset.ContrastBolusRoute = "IV"
    dataset.ContrastBolusVolume = 14.0
    dataset.ContrastBolusTotalDose = 14.0
    dataset.ContrastBolusStartTime = injected_at.strftime("%H%M%S.%f")
    dataset.ContrastBolusIngredient = "GADOLINIUM"
    dataset.ContrastBolusIngredientConcentration = 500.0


def add_private(
    dataset: Dataset, scanner: ScannerModel, acquisition: Prescription, person: str, slope: float
) -> None:
    """Private blocks of the manufacturers, in place.

    Parameters
    ----------
    dataset : Dataset
    scanner : ScannerModel
    acquisition : Prescription
    person : str
        The patient's name, which one element contains, as free text sometimes does.
    slope : float
        Rescale slope.
    """
    field_of_view = f"{acquisition.columns * acquisition.in_plane_mm:.0f}"
    note = f"Planned for {person}"
    if scanner.vendor is Vendor.SIEMENS:
        block = dataset.private_block(0x0051, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "LO", "TA 03:12")
        block.add_new(0x0C, "LO", f"FoV {field_of_view}*{field_of_view}")
        block.add_new(0x0E, "LO", "Tra" if acquisition.dimension is Dimension.TWO_D else "Sag")
        dataset.private_block(0x0029, "SIEMENS MEDCOM OOG", create=True).add_new(0x10, "LT", note)
    elif scanner.vendor is Vendor.GE:
        block = dataset.private_block(0x0009, "GEMS_IDEN_01", create=True)
        block.add_new(0x01, "LO", "GE_GENESIS_FF")
        block.add_new(0x02, "SH", scanner.station[:16])
        block.add_new(0x04, "SH", "SIGNA")
        dataset.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x9C, "LO", acquisition.description)
        dataset.private_block(0x0025, "GEMS_SERS_01", create=True).add_new(0x1A, "SH", note[:16])
    else:
        block = dataset.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0xC8, "LO", note)
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", 1.0 / slope)  # scale slope: floating value = stored value / scale slope


def file_name(
    scanner: ScannerModel, folder: Path, *, series: int, instance: int, uid: str, description: str
) -> Path:
    """Path of an instance in each manufacturer's export.

    Parameters
    ----------
    scanner : ScannerModel
    folder : Path
        Folder of the export.
    series, instance : int
        Numbers of series and instance.
    uid : str
        SOP instance UID.
    description : str
        Of the series.

    Returns
    -------
    Path
    """
    if scanner.vendor is Vendor.SIEMENS:
        name = "".join(c if c.isalnum() else "_" for c in description).upper()
        return folder / f"{name}_{series:04d}" / f"PHANTOM.MR.{series:04d}.{instance:04d}.IMA"
    if scanner.vendor is Vendor.GE:
        return folder / f"s{series}" / f"i{1000 * series + instance}.MRDC.{instance}"
    return folder / "DICOM" / f"IM_{1000 * series + instance:06d}_{uid[-4:]}"


def slice_time(started: datetime, acquisition: Prescription, instance: int) -> datetime:
    """Acquisition time of a slice: interleaved over one repetition in 2D, the slab's start in 3D.

    Parameters
    ----------
    started : datetime.datetime
        Start of the series.
    acquisition : Prescription
    instance : int
        Number of the slice, from 1.

    Returns
    -------
    datetime.datetime
    """
    if acquisition.dimension is Dimension.THREE_D:
        return started
    return started + timedelta(milliseconds=acquisition.repetition_ms * (instance % 2 + instance / 1000.0))
