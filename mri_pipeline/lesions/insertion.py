"""Simulated lesions in the scans of a visit: ellipsoids in its white matter, with the noise of its own scans.

The intensity of a voxel increases by the share of the acquired voxel that the lesion covers. Noise and texture of the
scan remain as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.calibration import CalibrationSettings, SimulatedKind
from mri_pipeline.core.distances import within_reach
from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.symmetry import mirrored_points

Voxel = FloatArray
"""Edges of an acquired voxel in mm as columns, shape (3, 3), in the space of the images."""


@dataclass(frozen=True)
class PlannedLesion:
    """Kind, size and contrast of a lesion without a place.

    Parameters
    ----------
    kind : SimulatedKind
    diameter_mm : float
        Of the sphere of equal volume.
    contrast : float
        Increase over the white matter around, as a share of it: of a T2 lesion on FLAIR, of an enhancing lesion on T1
        after contrast.
    """

    kind: SimulatedKind
    diameter_mm: float
    contrast: float


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid in world coordinates.

    Parameters
    ----------
    centre_mm : ndarray, shape (3,)
    semi_axes_mm : ndarray, shape (3,)
    directions : ndarray, shape (3, 3)
        Unit vectors of the axes as rows.
    """

    centre_mm: FloatArray
    semi_axes_mm: FloatArray
    directions: FloatArray

    @property
    def reach_mm(self) -> float:
        """Longest semi-axis."""
        return float(self.semi_axes_mm.max())

    def widened(self, by_mm: float) -> Ellipsoid:
        """The ellipsoid with longer semi-axes.

        Parameters
        ----------
        by_mm : float

        Returns
        -------
        Ellipsoid
        """
        return Ellipsoid(self.centre_mm, self.semi_axes_mm + by_mm, self.directions)

    def contains(self, points_mm: FloatArray) -> BoolArray:
        """True for points inside.

        Parameters
        ----------
        points_mm : ndarray, shape (..., 3)

        Returns
        -------
        ndarray of bool, shape (...)
        """
        inside = (points_mm - self.centre_mm) @ (self.directions.T / self.semi_axes_mm)
        return np.asarray((inside**2).sum(axis=-1) <= 1.0)


@dataclass(frozen=True, eq=False)
class SimulatedLesion:
    """A lesion with its place.

    Parameters
    ----------
    planned : PlannedLesion
    shape : Ellipsoid
    """

    planned: PlannedLesion
    shape: Ellipsoid


def places_of(white: BoolArray, own: BoolArray, tissue: TissueMaps, settings: CalibrationSettings) -> FloatArray:
    """Distance to the nearest voxel where no lesion may be placed: outside white matter, or near one of the patient.

    Parameters
    ----------
    white : ndarray of bool
        White matter that all contrasts show.
    own : ndarray of bool
        Lesions of the patient.
    tissue : TissueMaps
    settings : CalibrationSettings

    Returns
    -------
    ndarray, shape (x, y, z)
        In mm; 0 where a lesion has no place.
    """
    spacing = tissue.location.grid.spacing_mm
    free = white & tissue.above_foramen_magnum
    if own.any():
        free &= ~within_reach(own, settings.from_own_mm, spacing)
    return np.asarray(ndimage.distance_transform_edt(free, sampling=spacing))


def place(
    planned: Sequence[PlannedLesion],
    depth_mm: FloatArray,
    tissue: TissueMaps,
    rng: np.random.Generator,
    settings: CalibrationSettings,
) -> tuple[list[SimulatedLesion], list[PlannedLesion]]:
    """Place lesions at random, apart from each other and whole in white matter; the largest first.

    No lesion lies at the mirrored position of another one: what is as bright on the other side may be normal.

    Parameters
    ----------
    planned : sequence of PlannedLesion
    depth_mm : ndarray
        Of `places_of`.
    tissue : TissueMaps
    rng : Generator
    settings : CalibrationSettings

    Returns
    -------
    list of SimulatedLesion
    list of PlannedLesion
        Those without a place.
    """
    grid = tissue.location.grid
    index = rng.permutation(np.argwhere(depth_mm > 0))
    centres = grid.world(index + rng.uniform(-0.5, 0.5, index.shape))  # anywhere in a voxel
    depth = depth_mm[tuple(index.T)] - np.linalg.norm(centres - grid.world(index.astype(float)), axis=1)
    clear = np.full(len(index), np.inf)  # distance to the next surface
    placed, left = [], []
    for one in sorted(planned, key=lambda lesion: -lesion.diameter_mm):
        shape = _shape(one.diameter_mm, rng, settings)
        fits = np.flatnonzero((depth >= shape.reach_mm) & (clear >= settings.apart_mm + shape.reach_mm))
        if not fits.size:
            left.append(one)
            continue
        at = centres[fits[0]]
        placed.append(SimulatedLesion(one, Ellipsoid(at, shape.semi_axes_mm, shape.directions)))
        (opposite,) = mirrored_points(at[np.newaxis], tissue)
        nearer = settings.apart_mm - settings.apart_mirrored_mm
        for other, extra in ((at, 0.0), (opposite, nearer)):
            clear = np.minimum(clear, np.linalg.norm(centres - other, axis=1) - shape.reach_mm + extra)
    return placed, left


def _shape(diameter_mm: float, rng: np.random.Generator, settings: CalibrationSettings) -> Ellipsoid:
    """An ellipsoid of random proportions and direction at the origin, with the volume of the sphere."""
    ratios = np.exp(rng.uniform(-1.0, 1.0, 3) * np.log(settings.axis_ratio))
    directions, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return Ellipsoid(np.zeros(3), diameter_mm / 2 * ratios / ratios.prod() ** (1 / 3), directions)


def insert(
    images: Mapping[Contrast, Image],
    lesions: Sequence[SimulatedLesion],
    *,
    white: BoolArray,
    voxels: Mapping[Contrast, Voxel],
    settings: CalibrationSettings,
) -> dict[Contrast, Image]:
    """Insert lesions into the images of a visit.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Prepared images on one grid. They are not changed.
    lesions : sequence of SimulatedLesion
    white : ndarray of bool
        White matter without lesions of the patient: the reference of the contrast.
    voxels : mapping of Contrast to Voxel
        Acquired voxel of each contrast. The partial volume of a lesion is that of the acquired voxel.
    settings : CalibrationSettings

    Returns
    -------
    dict of Contrast to Image
        PDw, which no lesion step uses, is unchanged.
    """
    data = {contrast: image.data.astype(np.float32, copy=True) for contrast, image in images.items()}
    for lesion in lesions:
        for contrast, shape, increase in _increases(lesion, settings):
            if contrast not in images:
                continue
            grid = images[contrast].grid
            level = _level(images[contrast], lesion.shape, white, settings)
            box, share = coverage(shape, grid, voxels[contrast])
            data[contrast][box] += (share * increase * level).astype(np.float32)
    return {contrast: Image(values, images[contrast].grid) for contrast, values in data.items()}


def _increases(
    lesion: SimulatedLesion, settings: CalibrationSettings
) -> Iterator[tuple[Contrast, Ellipsoid, float]]:
    """The shape of a lesion on each contrast, and its increase over white matter."""
    core, contrast = lesion.shape, lesion.planned.contrast
    enhances = lesion.planned.kind is SimulatedKind.GEL
    whole = core.widened(settings.gel_rim_mm) if enhances else core
    flair = settings.gel_flair_contrast if enhances else contrast
    yield Contrast.FLAIR, whole, flair
    yield Contrast.T2W, whole, flair * settings.t2w_per_flair
    yield Contrast.T1W, whole, -settings.t1_decrease
    yield Contrast.T1W_GD, core if enhances else whole, contrast if enhances else -settings.t1_decrease


def _level(image: Image, shape: Ellipsoid, white: BoolArray, settings: CalibrationSettings) -> float:
    """Median of the white matter around a lesion; of all white matter if there is none."""
    nearest, farthest = settings.around_mm
    box, points = _box(image.grid, shape.centre_mm, shape.reach_mm + farthest)
    distance = np.linalg.norm(points - shape.centre_mm, axis=-1) - shape.reach_mm
    around = white[box] & (distance > nearest) & (distance <= farthest) & (image.data[box] > 0)
    return float(median(image.data[box][around] if around.any() else image.data[white]))


def coverage(shape: Ellipsoid, grid: Grid, voxel: Voxel) -> tuple[tuple[slice, slice, slice], FloatArray]:
    """Share of an acquired voxel, centred at each voxel of a grid, that an ellipsoid covers.

    Parameters
    ----------
    shape : Ellipsoid
    grid : Grid
    voxel : Voxel

    Returns
    -------
    tuple of slice
        Box of the grid that contains all voxels with a share.
    ndarray
        Shares in this box, 0 to 1.
    """
    per_axis = 4
    steps = (np.arange(per_axis) + 0.5) / per_axis - 0.5
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3) @ voxel.T
    box, points = _box(grid, shape.centre_mm, shape.reach_mm + float(np.linalg.norm(offsets, axis=1).max()))
    return box, shape.contains(points[..., None, :] + offsets).mean(axis=-1)


def _box(grid: Grid, centre_mm: FloatArray, reach_mm: float) -> tuple[tuple[slice, slice, slice], FloatArray]:
    """Box of voxels within a distance of a point, and their world coordinates."""
    inverse = np.linalg.inv(grid.affine)
    middle = inverse[:3, :3] @ centre_mm + inverse[:3, 3]
    reach = np.linalg.norm(inverse[:3, :3], axis=1) * reach_mm
    low = np.maximum(np.floor(middle - reach), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach) + 1, grid.shape).astype(int)
    x, y, z = (slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))
    index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in (x, y, z)), indexing="ij"), axis=-1)
    return (x, y, z), grid.world(index.astype(float).reshape(-1, 3)).reshape(*index.shape)
