"""What the rooms share: grids, images, transforms, visits and lesions.

All world coordinates are RAS+ millimetres (as in NIfTI); ITK's LPS appears in `mri_pipeline.itk` alone.
Intensity and label images are different types, and interpolation follows from the type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mri_pipeline.errors import GridMismatchError, ImageError

FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]

GRID_TOLERANCE_MM = 1e-2
"""Grids whose voxel centres differ by less are the same grid (NIfTI stores affines in single precision)."""


class Contrast(StrEnum):
    """An MR contrast of the trial; the value is its BIDS file-name ending."""

    T1W = "T1w"
    T1W_GD = "ce-gadolinium_T1w"
    T2W = "T2w"
    PDW = "PDw"
    FLAIR = "FLAIR"


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid in world space.

    Parameters
    ----------
    shape : tuple of int
        Number of voxels along the three axes.
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ world millimetres.

    Examples
    --------
    >>> grid = Grid((10, 12, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
    >>> grid.voxel_volume_mm3, grid.spacing_mm
    (3.0, (1.0, 1.0, 3.0))
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=float)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ImageError(f"expected a grid of three dimensions, found shape {tuple(self.shape)}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ImageError("expected an invertible 4 x 4 affine, found a singular or malformed one")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each axis, in mm."""
        x, y, z = (float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return round(float(abs(np.linalg.det(self.affine[:3, :3]))), 9)

    @property
    def slice_axis(self) -> int:
        """The axis of the thickest voxels (the last one if all are equal): across the slices of a 2D scan."""
        spacing = np.round(self.spacing_mm, 2)
        return int(2 - np.argmax(spacing[::-1]))

    @property
    def orientation(self) -> str:
        """Axis codes such as 'RAS' or 'LPS'."""
        return "".join(nib.aff2axcodes(self.affine))

    def same_as(self, other: Grid, *, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """Whether both grids have the same shape and the same voxel centres within the tolerance."""
        return self.shape == other.shape and self._apart_mm(other) < tolerance_mm

    def _apart_mm(self, other: Grid) -> float:
        """How far the voxels of a grid of the same shape lie from these, at most and along one axis."""
        corners = np.array(np.meshgrid(*[[0, n - 1] for n in self.shape])).reshape(3, -1)
        difference = (self.affine - other.affine) @ np.vstack([corners, np.ones(8)])
        return float(np.abs(difference).max())

    def require_same(self, other: Grid, what: str) -> None:
        """Refuse another grid.

        Raises
        ------
        GridMismatchError
            If `other` is not the same grid; `what` names the image in the message.
        """
        if not self.same_as(other):
            raise GridMismatchError(
                f"{what}: expected the grid {self.against(other)}",
                hint="resample the image onto the expected grid, or export it again from the images it belongs to",
            )

    def describe(self) -> str:
        """Shape, spacing and orientation in words, for messages."""
        spacing = " x ".join(f"{s:.2f}" for s in self.spacing_mm)
        return f"{' x '.join(map(str, self.shape))} voxels of {spacing} mm, {self.orientation}"

    def against(self, other: Grid) -> str:
        """What was expected (this grid) and found, in words, for messages."""
        words = f"{self.describe()}, found {other.describe()}"
        if self.describe() == other.describe():
            words += f", up to {self._apart_mm(other):.3g} mm elsewhere"
        return words

    def world(self, index: FloatArray) -> FloatArray:
        """World coordinates (mm, shape (n, 3)) of voxel indices (shape (n, 3))."""
        return np.asarray(index) @ self.affine[:3, :3].T + self.affine[:3, 3]


def _checked(data: NDArray[Any], grid: Grid) -> None:
    if data.shape != grid.shape:
        raise GridMismatchError(f"expected an array of shape {grid.shape}, found {data.shape}")


@dataclass(frozen=True, eq=False)
class Image:
    """Intensities on a grid: interpolated linearly or better, never by nearest neighbour.

    Parameters
    ----------
    data : ndarray of float32, shape `grid.shape`
    grid : Grid
    """

    data: NDArray[np.float32]
    grid: Grid

    def __post_init__(self) -> None:
        _checked(self.data, self.grid)
        object.__setattr__(self, "data", np.ascontiguousarray(self.data, dtype=np.float32))

    def reoriented(self, orientation: str = "RAS") -> Self:
        """The same image with its axes permuted and flipped to `orientation`; no voxel is changed."""
        data, grid = _reorient(self.data, self.grid, orientation)
        return type(self)(data, grid)


@dataclass(frozen=True, eq=False)
class LabelImage:
    """Labels on a grid (0 is background): never interpolated by mixing values.

    Parameters
    ----------
    data : ndarray of integers or booleans, shape `grid.shape`
    grid : Grid
    """

    data: NDArray[np.integer[Any]] | BoolArray
    grid: Grid

    def __post_init__(self) -> None:
        _checked(self.data, self.grid)
        data = np.ascontiguousarray(self.data)
        if data.dtype == np.bool_:
            data = data.astype(np.uint8)
        if not np.issubdtype(data.dtype, np.integer):
            raise ImageError(f"expected integer labels, found {data.dtype}")
        object.__setattr__(self, "data", data)

    @property
    def mask(self) -> BoolArray:
        """Where any label is."""
        return self.data > 0

    @property
    def volume_mm3(self) -> float:
        """Volume of all labels: voxel count times voxel volume."""
        return float(np.count_nonzero(self.data)) * self.grid.voxel_volume_mm3

    def reoriented(self, orientation: str = "RAS") -> Self:
        """The same labels with the axes permuted and flipped to `orientation`."""
        data, grid = _reorient(self.data, self.grid, orientation)
        return type(self)(data, grid)


def _reorient(data: NDArray[Any], grid: Grid, orientation: str) -> tuple[NDArray[Any], Grid]:
    start = nib.io_orientation(grid.affine)
    change = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(tuple(orientation)))
    turned = nib.apply_orientation(data, change)
    affine = grid.affine @ nib.orientations.inv_ornt_aff(change, grid.shape)
    return turned, Grid(turned.shape, affine)


@dataclass(frozen=True, eq=False)
class Affine:
    """A linear transform between two world spaces, named from where to where by its variable.

    ``flair_to_subject.matrix`` maps RAS+ points (mm) of the FLAIR's space to the subject's space.

    Examples
    --------
    >>> shift = Affine.identity() @ Affine(np.array([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    >>> shift.inverse().points(np.zeros((1, 3))).round(1).tolist()
    [[-5.0, 0.0, 0.0]]
    """

    matrix: FloatArray

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ImageError("expected a finite 4 x 4 matrix")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Self:
        """The transform that moves nothing."""
        return cls(np.eye(4))

    def inverse(self) -> Affine:
        """The way back."""
        return Affine(np.linalg.inv(self.matrix))

    def __matmul__(self, first: Affine) -> Affine:
        """Apply `first`, then this one: ``b_to_c @ a_to_b`` is a_to_c."""
        return Affine(self.matrix @ first.matrix)

    def points(self, points_mm: FloatArray) -> FloatArray:
        """Map points, shape (n, 3), in mm."""
        return np.asarray(points_mm) @ self.matrix[:3, :3].T + self.matrix[:3, 3]


class Location(StrEnum):
    """Where in the brain a lesion lies (McDonald 2017 regions)."""

    PERIVENTRICULAR = "periventricular"
    JUXTACORTICAL = "juxtacortical"
    INFRATENTORIAL = "infratentorial"
    DEEP_WHITE_MATTER = "deep_white_matter"


LOCATION_LABELS: Mapping[int, Location] = {
    1: Location.PERIVENTRICULAR,
    2: Location.JUXTACORTICAL,
    3: Location.INFRATENTORIAL,
    4: Location.DEEP_WHITE_MATTER,
    5: Location.INFRATENTORIAL,
}
"""Values of `TissueMaps.location`; 0 is outside the brain, 5 (`BELOW_FORAMEN_MAGNUM`) is below the foramen magnum."""

BELOW_FORAMEN_MAGNUM = 5
"""Value of `TissueMaps.location` for the cord and the fluid around it. The program finds no lesion there; what a reader
draws there counts as infratentorial."""


@dataclass(frozen=True)
class TissueMaps:
    """Tissue of one subject, from the template brought to the subject, on one grid.

    Parameters
    ----------
    white_matter, grey_matter, csf : Image
        Probabilities between 0 and 1; they sum to at most 1 inside the brain.
    location : LabelImage
        `LOCATION_LABELS` inside the brain mask, 0 outside.
    lesion_prior : Image
        Probability that a patient with MS has a T2 lesion at this place.
    template_to_subject : Affine
        The affine part of the way from the template's world to this one.
    """

    white_matter: Image
    grey_matter: Image
    csf: Image
    location: LabelImage
    lesion_prior: Image
    template_to_subject: Affine

    @property
    def above_foramen_magnum(self) -> BoolArray:
        """The brain without what lies below the foramen magnum: the only place where lesions are searched for."""
        return np.asarray((self.location.data > 0) & (self.location.data != BELOW_FORAMEN_MAGNUM))

    @property
    def infratentorial(self) -> BoolArray:
        """All voxels whose location is infratentorial, those below the foramen magnum included."""
        return np.isin(self.location.data, [k for k, v in LOCATION_LABELS.items() if v is Location.INFRATENTORIAL])


@dataclass(frozen=True)
class VisitImages:
    """One visit, ready for segmentation: all on one grid, bias-corrected, on one scale.

    Parameters
    ----------
    contrasts : mapping of Contrast to Image
        The median of normal-appearing white matter is 1 in every contrast. FLAIR is always present.
    brain : LabelImage
        Brain mask (parenchyma and ventricles, without skull) on the same grid.
    """

    contrasts: Mapping[Contrast, Image]
    brain: LabelImage

    def __post_init__(self) -> None:
        if Contrast.FLAIR not in self.contrasts:
            raise ImageError("expected a FLAIR image, found none", hint="a visit cannot be analysed without FLAIR")
        for contrast, image in self.contrasts.items():
            self.grid.require_same(image.grid, contrast.value)

    @property
    def grid(self) -> Grid:
        """The grid all images of the visit share."""
        return self.brain.grid

    def scanned(self, contrast: Contrast) -> BoolArray:
        """Where in the brain a contrast has a signal: beyond its field of view it is 0, which says nothing."""
        return np.asarray(self.brain.mask & (self.contrasts[contrast].data > 0))


@dataclass(frozen=True)
class VisitMasks:
    """The lesions of one visit on the subject's grid, automatic or confirmed by a reader.

    `gel` is None where the visit has no post-contrast T1; `black_holes` is None without a T1 before contrast.
    `flair` (white matter = 1) lets the tracking look at the images and not at two masks alone; `darkness`
    (`lesions.black_holes.Darkness` of every voxel) tells how dark a lesion is on T1.
    """

    visit: str
    t2_lesions: LabelImage
    gel: LabelImage | None = None
    black_holes: LabelImage | None = None
    flair: Image | None = None
    darkness: LabelImage | None = None


class ScanStatus(StrEnum):
    """What became of a planned visit's scan."""

    ANALYSED = "analysed"
    MISSING = "missing"
    REFUSED = "refused"
    FAILED = "failed"


class ReadStatus(StrEnum):
    """How far the reading of a visit has come."""

    AUTOMATIC = "automatic"
    CONFIRMED = "confirmed"
    ADJUDICATED = "adjudicated"
    LOCKED = "locked"


class GelState(StrEnum):
    """A gadolinium-enhancing lesion against the previous analysed visit with contrast (Barkhof et al. 1997)."""

    NEW = "new"
    RE_ENHANCING = "re_enhancing"
    PERSISTENT = "persistent"
    UNDETERMINED = "undetermined"  # first visit with contrast: nothing to compare with


class T2State(StrEnum):
    """A T2 lesion against the reference visit."""

    BASELINE = "baseline"  # first analysed visit: nothing to compare with
    NEW = "new"
    ENLARGING = "enlarging"
    STABLE = "stable"
    SHRINKING = "shrinking"
    VANISHED = "vanished"  # was a lesion at the reference visit, is none now
    NONE = "none"  # enhances without a T2 lesion there


class BlackHoleState(StrEnum):
    """Whether a lesion holds a black hole."""

    NONE = "none"
    BLACK_HOLE = "black_hole"
    CHRONIC = "chronic"


@dataclass(frozen=True)
class LesionRecord:
    """One lesion at one visit; a row of ``lesions.csv``. Volumes in mm³, centroid in subject-space RAS mm."""

    visit: str
    lesion_id: int
    volume_mm3: float
    x_mm: float
    y_mm: float
    z_mm: float
    location: Location
    enhancing: bool | None
    gel_state: GelState | None
    t2_state: T2State
    black_hole: BlackHoleState | None


@dataclass(frozen=True)
class VisitCounts:
    """The measured columns of one row of ``lesion_timepoints.csv``; None is "not known", never zero."""

    visit: str
    reference_visit: str | None = None
    gel_count: int | None = None
    gel_new_count: int | None = None
    gel_re_enhancing_count: int | None = None
    gel_persistent_count: int | None = None
    gel_volume_ml: float | None = None
    t2_count: int | None = None
    t2_volume_ml: float | None = None
    new_t2_count: int | None = None
    enlarging_t2_count: int | None = None
    new_or_enlarging_t2_count: int | None = None
    bh_count: int | None = None
    bh_volume_ml: float | None = None
    bh_chronic_volume_ml: float | None = None
    new_t2_since_first_count: int | None = None
    bh_severe_volume_ml: float | None = None
    t1_hypointense_volume_ml: float | None = None
    combined_unique_active_count: int | None = None


@dataclass(frozen=True)
class RegistrationRecord:
    """How one scan was brought to another.

    Parameters
    ----------
    contrast : Contrast
        Of the scan that was moved.
    reference : str
        The visit whose FLAIR it was brought to: its own one, or for a FLAIR that of another visit; empty for the
        FLAIR to which the others were brought.
    quality : float or None
        See `mri_pipeline.images.register.Registration`; None where nothing was registered.
    method : str
        Which method found the transform; empty where nothing was registered.
    failed : bool
        Whether no match was found. The scan is left out then.
    """

    contrast: Contrast
    reference: str
    quality: float | None
    method: str
    failed: bool


@dataclass(frozen=True)
class VisitQuality:
    """What is known of the scans of one visit before its lesions are counted.

    Parameters
    ----------
    visit : str
    failure : str
        Why the visit could not be analysed; empty where it was.
    skull_stripped : bool or None
        Whether its FLAIR came without skull; None where no brain was found.
    brain_covered : float or None
        Share (0 to 1) of the subject's brain that its FLAIR has scanned; None where the visit failed.
    registrations : tuple of RegistrationRecord
        One for each scan, the FLAIR first where it was reached.
    note : str
        What a person has to look at in its lesions; empty where nothing is known.
    """

    visit: str
    failure: str
    skull_stripped: bool | None
    brain_covered: float | None
    registrations: tuple[RegistrationRecord, ...]
    note: str = ""


@dataclass(frozen=True)
class SubjectResult:
    """Everything the tables need of one subject: blinded code, counts by visit, lesions by visit.

    `rules_digest` is `provenance.settings_digest` of the lesion rules that counted. `quality` holds every visit that
    had a FLAIR, also those that could not be analysed, in the order of time.
    """

    subject: str
    visits: tuple[VisitCounts, ...] = ()
    lesions: tuple[LesionRecord, ...] = field(default=())
    rules_digest: str = ""
    quality: tuple[VisitQuality, ...] = ()


_WEEK = re.compile(r"^wk(\d{1,4})$")


def week_of(visit: str) -> int | None:
    """The week in a visit label, or None.

    Examples
    --------
    >>> week_of("wk04"), week_of("1")
    (4, None)
    """
    match = _WEEK.match(visit)
    return int(match.group(1)) if match else None


def visit_order(visit: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts visit labels in the order people read them: numbers by value.

    Examples
    --------
    >>> sorted(["wk12", "10", "2", "wk04"], key=visit_order)
    ['2', '10', 'wk04', 'wk12']
    """
    parts = [part for part in re.split(r"(\d+)", visit) if part]
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
