"""Group the images of an upload into series with one geometry each, and detect missing slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.intake.facts import InstanceFacts

SAME_PLACE_MM = 0.02
"""Slices closer than this have the same position."""

IRREGULAR_SPACING = 0.1
"""Slice distances are irregular if they differ from the median by more than this fraction. Rounding is far below."""

_COMPONENTS = {"M", "P", "R", "I", "PHASE", "REAL", "IMAGINARY", "MAGNITUDE", "WATER", "FAT", "W", "F", "IP", "OP",
               "IN_PHASE", "OPP_PHASE", "OUT_PHASE"}  # fmt: skip


@dataclass(frozen=True)
class Geometry:
    """Slice geometry of one series, from the headers.

    Parameters
    ----------
    slices : int
        Number of different slice positions.
    volumes : int
        Images per position (1 for anatomical scans).
    columns, rows : int
        Size of the matrix.
    spacing_mm : tuple of float
        Between rows, between columns, between slices.
    thickness_mm : float
        From the header, or else the slice distance.
    coverage_mm : float
        From the outer face of the first to the outer face of the last slice.
    missing_slices : int
        Slices missing between the first and the last, or by the number of images in the header.
    regular : bool
        True if all slice distances are integer multiples of the median distance.
    slice_direction : tuple of float
        Unit normal of the slices in DICOM patient coordinates (LPS).
    corners_ras_mm : tuple
        Centres of the eight corner voxels in RAS world coordinates, in the order (column, row, slice).
    """

    slices: int
    volumes: int
    columns: int
    rows: int
    spacing_mm: tuple[float, float, float]
    thickness_mm: float
    coverage_mm: float
    missing_slices: int
    regular: bool
    slice_direction: tuple[float, float, float]
    corners_ras_mm: tuple[tuple[float, float, float], ...]

    @property
    def gap_mm(self) -> float:
        """Gap between slices. 0 if slices are contiguous or overlap."""
        return max(0.0, self.spacing_mm[2] - self.thickness_mm)

    @property
    def complete(self) -> bool:
        """True for a single volume without missing slices."""
        return self.missing_slices == 0 and self.regular and self.volumes == 1

    @property
    def plane(self) -> str:
        """The nearest anatomical plane: axial, coronal or sagittal."""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.slice_direction)))]


@dataclass(frozen=True)
class Series:
    """Images of one series that form one volume.

    Parameters
    ----------
    first : InstanceFacts
        Represents the common facts.
    files : tuple of Path
        In the order of the instance numbers.
    geometry : Geometry or None
        None if the headers have none, as for a screenshot.
    acquired_s : float or None
        Start of the earliest image in seconds, on the axis of `InstanceFacts`.
    """

    first: InstanceFacts
    files: tuple[Path, ...]
    geometry: Geometry | None
    acquired_s: float | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """Name of the series in messages: its number, never its description."""
        return f"series {self.first.series_number}" if self.first.series_number is not None else "a series"

    @property
    def is_3d(self) -> bool:
        """True for a 3D acquisition."""
        return self.first.acquisition_type == "3D"


@dataclass(frozen=True)
class OneVisit:
    """The patient and the study of an upload.

    Parameters
    ----------
    patient_key, study_key : str
        Of the image that states most about the patient, and of the first image.
    notes : tuple of str
        Differences between the images that a restart of the console explains. The site confirms them.
    """

    patient_key: str
    study_key: str
    notes: tuple[str, ...] = ()


def require_one_visit(instances: Sequence[InstanceFacts]) -> OneVisit:
    """Refuse an upload that mixes patients or days.

    One patient may have incomplete data in a part of the images, and two studies on one day: a restart of the console
    starts a new study.

    Parameters
    ----------
    instances : sequence of InstanceFacts
        All images of the upload; at least one.

    Returns
    -------
    OneVisit

    Raises
    ------
    UploadRefusedError
        If patient number, name or birth date has two values, or if there are two studies of two days, of an unknown
        day, or without a common number or name. With the number of patients or studies, never their identities.
    """
    persons = sorted({i.person_keys for i in instances}, key=lambda person: -sum(map(bool, person)))
    studies, days = {i.study_key for i in instances}, {i.study_day for i in instances}
    patients = max(len({person[part] for person in persons} - {""}) for part in range(3))
    if patients > 1:
        raise UploadRefusedError(
            f"expected one patient in an upload, found {patients} patients", hint="upload each patient separately"
        )
    # the patient number, or name with birth date, must be stated in every image
    same_patient = all(number for number, _, _ in persons) or all(name and birth for _, name, birth in persons)
    if len(studies) > 1 and (len(days) > 1 or None in days or not same_patient):
        raise UploadRefusedError(
            f"expected one study in an upload, found {len(studies)} studies", hint="upload each visit separately"
        )
    notes = []
    if len(studies) > 1:
        notes.append(f"expected one study in an upload, found {len(studies)} studies of one patient and one day")
    if len(persons) > 1:
        notes.append("expected the same patient data in all series, found a series with incomplete patient data")
    stated = next(i for i in instances if i.person_keys == persons[0])
    return OneVisit(stated.patient_key, instances[0].study_key, tuple(notes))


def group_series(instances: Iterable[InstanceFacts]) -> tuple[Series, ...]:
    """Group images into series, in the order of acquisition.

    A DICOM series is split by orientation, echo time, matrix and image component (magnitude, phase, water, fat). A
    localizer with three planes thus gives three series, and a dual echo gives a PD and a T2 series. Duplicates of an
    object are ignored.

    Parameters
    ----------
    instances : iterable of InstanceFacts

    Returns
    -------
    tuple of Series
        Series without a time come last.
    """
    groups: dict[tuple[object, ...], list[InstanceFacts]] = defaultdict(list)
    seen: set[str] = set()
    for instance in instances:
        if instance.instance_key in seen:
            continue
        seen.add(instance.instance_key)
        groups[_group_key(instance)].append(instance)
    parts: dict[str, int] = defaultdict(int)
    for group in groups.values():
        parts[group[0].series_key] += 1
    series = [_series(group, alone=parts[group[0].series_key] == 1) for group in groups.values()]
    return tuple(
        sorted(series, key=lambda s: (s.acquired_s is None, s.acquired_s or 0.0, s.first.series_number or 0))
    )


def _group_key(instance: InstanceFacts) -> tuple[object, ...]:
    orientation = None if instance.orientation is None else tuple(round(v, 1) + 0.0 for v in instance.orientation)
    echo = None if instance.echo_time_ms is None else round(instance.echo_time_ms, 0)
    components = tuple(part for part in instance.image_type[2:] if part in _COMPONENTS)
    return (
        instance.series_key, instance.kind, orientation, echo, instance.rows, instance.columns,
        instance.image_type[:2], components,
    )  # fmt: skip


def _series(group: list[InstanceFacts], *, alone: bool) -> Series:
    times = [i.acquired_s for i in group if i.acquired_s is not None]
    group = sorted(group, key=lambda i: (i.instance_number or 0, i.path))
    return Series(
        first=group[0],
        files=tuple(i.path for i in group),
        geometry=_geometry(group, alone=alone),
        acquired_s=min(times) if times else None,
    )


def _geometry(group: Sequence[InstanceFacts], *, alone: bool) -> Geometry | None:
    first = group[0]
    if first.orientation is None or first.pixel_spacing_mm is None or any(i.orientation is None for i in group):
        return None
    along_row, along_column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(along_row, along_column)
    length = float(np.linalg.norm(normal))
    positions = np.array([p for i in group for p in i.positions])
    if not 0.99 < length < 1.01 or len(positions) == 0:
        return None
    normal /= length
    depth = positions @ normal
    order = np.argsort(depth, kind="stable")
    places = _places(depth[order])
    spacing, missing, regular = _slice_distances(places, first.thickness_mm)
    if alone and first.images_in_acquisition is not None and len(group) < first.images_in_acquisition:
        missing = max(missing, first.images_in_acquisition - len(group))
    if len(depth) % len(places):
        regular = False  # some positions have more images than others: a volume is incomplete
    thickness = first.thickness_mm or spacing
    # Pixel Spacing is (between rows, between columns): steps along the column and along the row
    row_step, column_step = first.pixel_spacing_mm
    low, high = positions[order[0]], positions[order[-1]]
    across = along_row * column_step * (first.columns - 1)
    down = along_column * row_step * (first.rows - 1)
    corners = [start + a * across + b * down for start in (low, high) for b in (0, 1) for a in (0, 1)]
    return Geometry(
        slices=len(places),
        volumes=max(1, round(len(depth) / len(places))),
        columns=first.columns,
        rows=first.rows,
        spacing_mm=(row_step, column_step, spacing),
        thickness_mm=thickness,
        coverage_mm=float(places[-1] - places[0]) + thickness,
        missing_slices=missing,
        regular=regular,
        slice_direction=(float(normal[0]), float(normal[1]), float(normal[2])),
        corners_ras_mm=tuple((-float(c[0]), -float(c[1]), float(c[2])) for c in corners),
    )


def _places(sorted_depth: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    places: list[float] = []
    for depth in sorted_depth.tolist():
        if not places or depth - places[-1] > SAME_PLACE_MM:
            places.append(depth)
    return places


def _slice_distances(places: Sequence[float], thickness_mm: float | None) -> tuple[float, int, bool]:
    """Median distance, number of missing slices, and whether all distances are multiples of the median."""
    if len(places) < 2:
        return thickness_mm or 1.0, 0, True
    distances = np.diff(places)
    spacing = float(np.median(distances))
    steps = np.maximum(np.rint(distances / spacing), 1)
    regular = bool((np.abs(distances - steps * spacing) <= IRREGULAR_SPACING * spacing * steps).all())
    return spacing, int((steps - 1).sum()), regular
