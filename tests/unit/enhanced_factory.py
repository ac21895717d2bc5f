"""Enhanced multi-frame MR objects for tests: frames in any order, a rescale slope for each, several stacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from tests.unit import dicom_factory as factory

ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"


@dataclass(frozen=True)
class EnhancedSpec:
    """How the frames of a volume are stored.

    Parameters
    ----------
    order : sequence of int
        Slice of each frame, in the order of storage.
    slopes, intercepts : mapping of int to float
        Rescale parameters by slice; 1 and 0 for others.
    stacks : tuple of tuple of int
        Slices of each stack.
    vendor : str
    shared_rescale : bool
        True: one rescale item in the shared functional group.
    """

    order: Sequence[int]
    slopes: dict[int, float] = field(default_factory=dict)
    intercepts: dict[int, float] = field(default_factory=dict)
    stacks: tuple[tuple[int, ...], ...] = ()
    vendor: str = "SIEMENS"
    shared_rescale: bool = False


def texture(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """The object of `factory.object_volume` with noise, so that no two slices are equal; (slices, rows, columns)."""
    volume = factory.object_volume(shape).astype(int)
    noise = np.random.default_rng(seed).integers(0, 60, volume.shape)
    return (volume + noise).astype(np.uint16)


def write_enhanced(path: Path, spec: factory.SeriesSpec, stored: np.ndarray, how: EnhancedSpec) -> Path:
    """Write one object that contains the whole volume `stored` (slices, rows, columns)."""
    patient = factory.Patient()
    uid = f"{patient.study_uid}.{spec.number}"
    d = factory.slice_dataset(spec, patient, uid, 0, stored[0])
    position0 = np.array([float(v) for v in d.ImagePositionPatient])
    normal = np.cross(spec.orientation[:3], spec.orientation[3:])
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = ENHANCED_MR_IMAGE
    for keyword in (
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
        "RepetitionTime", "EchoTime", "FlipAngle", "InversionTime",
    ):  # fmt: skip
        if keyword in d:
            delattr(d, keyword)
    d.Manufacturer = how.vendor
    d.NumberOfFrames = len(how.order)
    d.SharedFunctionalGroupsSequence = DicomSequence([_shared(spec, shared_rescale=how.shared_rescale)])
    d.PerFrameFunctionalGroupsSequence = DicomSequence([
        _per_frame(k, position0 + k * spec.spacing * normal, frame, how) for frame, k in enumerate(how.order, start=1)
    ])  # fmt: skip
    d.PixelData = np.stack([stored[k] for k in how.order]).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    d.save_as(path, enforce_file_format=True)
    return path


def _item(**values: object) -> DicomSequence:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return DicomSequence([item])


def _shared(spec: factory.SeriesSpec, *, shared_rescale: bool) -> Dataset:
    shared = Dataset()
    shared.PixelMeasuresSequence = _item(
        PixelSpacing=list(spec.pixel), SliceThickness=spec.thickness, SpacingBetweenSlices=spec.spacing
    )
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=[f"{v:.8g}" for v in spec.orientation])
    shared.MRTimingAndRelatedParametersSequence = _item(RepetitionTime=spec.tr, FlipAngle=90.0, EchoTrainLength=9)
    shared.MREchoSequence = _item(EffectiveEchoTime=spec.te)
    if spec.ti is not None:
        shared.MRModifierSequence = _item(InversionTimes=[spec.ti])
    if shared_rescale:
        shared.PixelValueTransformationSequence = _item(
            RescaleSlope="2.5", RescaleIntercept="-3", RescaleType="US"
        )
    return shared


def _per_frame(k: int, position: np.ndarray, frame: int, how: EnhancedSpec) -> Dataset:
    stack = next((n for n, slices in enumerate(how.stacks, start=1) if k in slices), 1)
    within = sorted(how.stacks[stack - 1]).index(k) + 1 if how.stacks else k + 1
    item = Dataset()
    item.PlanePositionSequence = _item(ImagePositionPatient=[f"{v:.8g}" for v in position])
    item.FrameContentSequence = _item(
        StackID=str(stack), InStackPositionNumber=within, DimensionIndexValues=[stack, within],
        FrameAcquisitionNumber=frame, TemporalPositionIndex=1,
    )  # fmt: skip
    if not how.shared_rescale:
        item.PixelValueTransformationSequence = _item(
            RescaleSlope=f"{how.slopes.get(k, 1.0):.8g}",
            RescaleIntercept=f"{how.intercepts.get(k, 0.0):.8g}", RescaleType="US",
        )  # fmt: skip
    return item
