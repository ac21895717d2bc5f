"""Grids, images and transforms.

All world coordinates are RAS+ millimetres, as in NIfTI. ITK's LPS is used only in `mri_pipeline.core.io.itk`.
Intensity and label images are different types, and the type determines the interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.errors import GridMismatchError, ImageError

FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]

GRID_TOLERANCE_MM = 1e-2
"""Two grids are the same if their voxel centres differ by less. NIfTI stores affines in single precision."""


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
        """The axis with the largest spacing, the last one if all are equal: the slice axis of a 2D scan."""
        spacing = np.round(self.spacing_mm, 2)
        return int(2 - np.argmax(spacing[::-1]))

    @property
    def orientation(self) -> str:
        """Axis codes such as 'RAS' or 'LPS'."""
        import nibabel as nib  # noqa: PLC0415 - 0.4 s, for commands without images

        return "".join(nib.aff2axcodes(self.affine))

    def same_as(self, other: Grid, *, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """True if both grids have the same shape and the same voxel centres.

        Parameters
        ----------
        other : Grid
        tolerance_mm : float
            Voxel centres must differ by less along each world axis.

        Returns
        -------
        bool
        """
        return self.shape == other.shape and self._apart_mm(other) < tolerance_mm

    def _apart_mm(self, other: Grid) -> float:
        """Largest distance along one axis between the voxel centres of this grid and one of the same shape."""
        corners = np.array(np.meshgrid(*[[0, n - 1] for n in self.shape])).reshape(3, -1)
        difference = (self.affine - other.affine) @ np.vstack([corners, np.ones(8)])
        return float(np.abs(difference).max())

    def require_same(self, other: Grid, what: str) -> None:
        """Refuse a different grid.

        Parameters
        ----------
        other : Grid
        what : str
            Names the image in the message.

        Raises
        ------
        GridMismatchError
            If `other` is a different grid (`same_as`).
        """
        if not self.same_as(other):
            raise GridMismatchError(
                f"{what}: expected the grid {self.against(other)}",
                hint="resample the image onto the expected grid, or export it again from the images it belongs to",
            )

    def describe(self) -> str:
        """Shape, spacing and orientation as text for messages.

        Returns
        -------
        str
        """
        spacing = " x ".join(f"{s:.2f}" for s in self.spacing_mm)
        return f"{' x '.join(map(str, self.shape))} voxels of {spacing} mm, {self.orientation}"

    def against(self, other: Grid) -> str:
        """The expected grid (this one) and the one found, as text for messages.

        Parameters
        ----------
        other : Grid
            The grid found, of any shape.

        Returns
        -------
        str
        """
        message = f"{self.describe()}, found {other.describe()}"
        if self.describe() == other.describe():
            message += f", up to {self._apart_mm(other):.3g} mm elsewhere"
        return message

    def world(self, index: FloatArray) -> FloatArray:
        """World coordinates of voxel indices.

        Parameters
        ----------
        index : ndarray of float, shape (n, 3)
            Voxel indices; fractions are allowed.

        Returns
        -------
        ndarray of float, shape (n, 3)
            RAS+ mm.
        """
        return np.asarray(index) @ self.affine[:3, :3].T + self.affine[:3, 3]


def _checked(data: NDArray[Any], grid: Grid) -> None:
    if data.shape != grid.shape:
        raise GridMismatchError(f"expected an array of shape {grid.shape}, found {data.shape}")


@dataclass(frozen=True, eq=False)
class Image:
    """Intensities on a grid. Interpolation is linear or of higher order, never nearest neighbour.

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
        """The same image with its axes permuted and flipped. No voxel value changes.

        Parameters
        ----------
        orientation : str
            Axis codes, such as ``RAS``.

        Returns
        -------
        Image
        """
        data, grid = _reorient(self.data, self.grid, orientation)
        return type(self)(data, grid)


@dataclass(frozen=True, eq=False)
class LabelImage:
    """Labels on a grid, 0 is background. Values are never mixed by interpolation.

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
        """Voxels with any label."""
        return self.data > 0

    @property
    def volume_mm3(self) -> float:
        """Volume of all labels: voxel count times voxel volume."""
        return float(np.count_nonzero(self.data)) * self.grid.voxel_volume_mm3

    def with_axes_of(self, grid: Grid) -> Self:
        """The same labels with the axes ordered and directed as those of a grid; no voxel is changed.

        Viewers store the voxels of a mask with other axes than the image has.

        Parameters
        ----------
        grid : Grid

        Returns
        -------
        LabelImage
            Position and spacing may differ from those of `grid`; the caller compares them.
        """
        return self if self.grid.same_as(grid) else self.reoriented(grid.orientation)

    def reoriented(self, orientation: str = "RAS") -> Self:
        """The same labels with the axes permuted and flipped. No label changes.

        Parameters
        ----------
        orientation : str
            Axis codes, such as ``RAS``.

        Returns
        -------
        LabelImage
        """
        data, grid = _reorient(self.data, self.grid, orientation)
        return type(self)(data, grid)


def _reorient(data: NDArray[Any], grid: Grid, orientation: str) -> tuple[NDArray[Any], Grid]:
    import nibabel as nib  # noqa: PLC0415 - as in Grid.orientation

    start = nib.io_orientation(grid.affine)
    change = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(tuple(orientation)))
    turned = nib.apply_orientation(data, change)
    affine = grid.affine @ nib.orientations.inv_ornt_aff(change, grid.shape)
    return turned, Grid(turned.shape, affine)


@dataclass(frozen=True, eq=False)
class Affine:
    """A linear transform between two world spaces. The variable name states its direction.

    ``flair_to_subject.matrix`` maps RAS+ points (mm) of the FLAIR's space to the subject's space.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        Acts on column vectors (x, y, z, 1) in mm.

    Raises
    ------
    ImageError
        If the matrix has another shape or values that are not finite.

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
            found = f"shape {matrix.shape}" if matrix.shape != (4, 4) else "values that are not finite"
            raise ImageError(f"expected a finite 4 x 4 matrix, found {found}")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Self:
        """The identity transform.

        Returns
        -------
        Affine
        """
        return cls(np.eye(4))

    def inverse(self) -> Affine:
        """The inverse transform.

        Returns
        -------
        Affine
        """
        return Affine(np.linalg.inv(self.matrix))

    def __matmul__(self, first: Affine) -> Affine:
        """Apply `first`, then this one: ``b_to_c @ a_to_b`` is a_to_c."""
        return Affine(self.matrix @ first.matrix)

    def points(self, points_mm: FloatArray) -> FloatArray:
        """Map points.

        Parameters
        ----------
        points_mm : ndarray of float, shape (n, 3)
            RAS+ mm, in the space that the transform starts from.

        Returns
        -------
        ndarray of float, shape (n, 3)
            RAS+ mm.
        """
        return np.asarray(points_mm) @ self.matrix[:3, :3].T + self.matrix[:3, 3]
