"""Facts of a DICOM header that the intake keeps: acquisition parameters, and keyed digests of identities."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Vector = tuple[float, float, float]
Orientation = tuple[float, float, float, float, float, float]

SAME_ECHO_MS = 0.5
"""Echo times closer than this are one echo: some scanners write rounding errors, or the time of each shot."""

SAME_DIRECTION = 0.01
"""Components of the row and column directions that differ by less are one orientation (0.6 degrees)."""

Hidden = Field(repr=False)
"""Free text or times of a header: used for decisions, never printed."""


class ObjectKind(StrEnum):
    """Kind of a DICOM object."""

    MR = "mr"
    ENHANCED_MR = "enhanced_mr"
    SECONDARY_CAPTURE = "secondary_capture"
    OTHER_IMAGE = "other_image"
    NOT_IMAGE = "not_image"


class InstanceFacts(BaseModel):
    """The facts of one DICOM image object.

    Attributes
    ----------
    path : Path
    study_key, series_key, instance_key, scanner_key, frame_of_reference_key : str
        HMAC-SHA256 digests (16 hexadecimal digits) of identities under the trial's secret. Equal identities have equal
        keys, and a key does not reveal the identity.
    earlier_scanner_key : str
        `scanner_key` as versions up to 0.3.0 computed it, with placeholders of serial number and station name; empty if
        it is the same.
    serial_key, station_key : str
        Digests of the serial number and the station name, each empty if it is not stated or a placeholder. A serial
        number of one repeated character is not stated. Without both, `scanner_key` is that of a model.
    pixels_key : str
        Digest of the pixel data as stored; empty if they are compressed or big-endian.
    person_keys : tuple of 3 str
        Digests of patient number, name and birth date, each empty if it is not stated. Spaces, commas, carets and case
        have no influence; other signs have ("3-20" is not "320"). Digests of the pseudonyms of a site's browser begin
        with another letter (`mri_pipeline.core.person_keys`).
    number_key : str
        Digest of the patient number with the spaces and commas within it. Empty if it is not stated, or a pseudonym.
    pseudonym_keys : tuple of 3 str
        Digests of the pseudonyms that the site's browser would have sent for them. Empty if it sent them, which
        `person_keys` has then, or if the site is not known.
    study_day : int or None
        Day of the study as proleptic ordinal.
    acquired_s, contrast_start_s : float or None
        Start of the acquisition and of the injection, in seconds on a common axis for all objects of an upload.
    field_strength_t : float or None
        In tesla.
    coil : str
        Receive coil; empty if it is not stated, or contains a part of the patient's name or number.
    b_value : float or None
        In s/mm2.
    echo_number : int or None
        Number of the echo within its excitation.
    contrast_agent : bool or None
        True if the header states that contrast agent was given, False if it states that none was, None if it says
        nothing.
    burned_in : bool
        True if the header states that text is burned into the image.
    lossy : bool
        True if the image was compressed with loss at any time.
    inverted : bool
        True if low values are bright (MONOCHROME1).
    rows, columns : int
        Size of the matrix.
    frames_differ : bool
        True if the frames of a multi-frame object differ in orientation or echo time.
    pixel_spacing_mm : tuple of float or None
        Between rows, between columns.
    slice_distance_mm : float or None
        Stated distance of slice centres (Spacing Between Slices).
    phase_direction : str
        In-plane phase encoding as stated: ``ROW``, ``COL``, another word, or empty.
    orientation : tuple of 6 floats or None
        Directions of a row and of a column in DICOM patient coordinates (LPS+).
    positions : tuple of (x, y, z)
        Centre of the first voxel of each frame in mm, LPS+.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    kind: ObjectKind
    study_key: str
    series_key: str
    instance_key: str
    scanner_key: str
    earlier_scanner_key: str = ""
    serial_key: str = ""
    station_key: str = ""
    frame_of_reference_key: str = ""
    pixels_key: str = ""
    person_keys: tuple[str, str, str] = ("", "", "")
    number_key: str = ""
    pseudonym_keys: tuple[str, str, str] = ("", "", "")
    study_day: Annotated[int | None, Hidden] = None
    acquired_s: Annotated[float | None, Hidden] = None
    contrast_start_s: Annotated[float | None, Hidden] = None
    description: Annotated[str, Hidden] = ""
    sequence_name: Annotated[str, Hidden] = ""
    series_number: int | None = None
    instance_number: int | None = None
    images_in_acquisition: int | None = None
    modality: str = ""
    manufacturer: str = ""
    model: str = ""
    software: str = ""
    coil: str = ""
    field_strength_t: float | None = None
    image_type: tuple[str, ...] = ()
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    scan_options: tuple[str, ...] = ()
    acquisition_type: str = ""
    angiography: bool = False
    echo_planar: bool = False
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    b_value: float | None = None
    echo_number: int | None = None
    contrast_agent: bool | None = None
    burned_in: bool = False
    lossy: bool = False
    inverted: bool = False
    rows: int = 0
    columns: int = 0
    frames_differ: bool = False
    pixel_spacing_mm: tuple[float, float] | None = None
    thickness_mm: float | None = None
    slice_distance_mm: float | None = None
    phase_direction: str = ""
    orientation: Orientation | None = None
    positions: tuple[Vector, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> InstanceFacts:
        """The object itself, which never changes. Nipype copies the inputs of each node."""
        return self

    @property
    def phase_axis(self) -> int | None:
        """Main axis of the phase encoding: 0 left-right, 1 front-back, 2 head-feet; None if it is not stated."""
        row, column = self.phase_direction == "ROW", self.phase_direction.startswith("COL")
        if self.orientation is None or not (row or column):
            return None
        along = [abs(part) for part in (self.orientation[:3] if row else self.orientation[3:])]
        return along.index(max(along))

    @property
    def scanner_identified(self) -> bool:
        """False if the header states neither serial number nor station name."""
        return bool(self.serial_key or self.station_key)


class Fault(StrEnum):
    """Why a DICOM file cannot be used."""

    TRUNCATED = "truncated"
    BROKEN = "broken"
    ODD_VALUE = "with an odd value"
    CRASHED = "crashed the reader"


class FileReport(BaseModel):
    """Result of reading one file of the upload: its facts, or the reason why there are none.

    Attributes
    ----------
    index : int
        Position of the file in the upload.
    facts : InstanceFacts or None
        None if the file was skipped, or if its header cannot be read.
    fault : Fault or None
        Why a DICOM file cannot be used.
    detail : str
        Of the fault, without patient data.
    skipped : str
        Why the file was skipped: "dicomdir", "not_dicom", "not_image", "other_object". Empty if it was not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int
    facts: InstanceFacts | None = None
    fault: Fault | None = None
    detail: str = ""
    skipped: str = ""

    @property
    def where(self) -> str:
        """The series of a file with a fault, and the detail of the fault, for messages."""
        number = self.facts.series_number if self.facts is not None else None
        return self.detail if number is None else f"series {number}: {self.detail}"
