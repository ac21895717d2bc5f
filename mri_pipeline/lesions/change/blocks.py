"""Voxels of a mask as one row, and a coarse grid of blocks for smooth fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray

_BLOCK_MM = METHOD.change.block_mm
_Float = NDArray[np.float32]
_Any = TypeVar("_Any", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Voxels of a mask as one row, and a coarse grid of 6 mm blocks for smooth fields.

    Parameters
    ----------
    shape, coarse : tuple of int
        Shape of the image and of the grid of blocks.
    voxels, block : ndarray of int, shape (n,)
        Flat index in the image and flat index of the block, for each voxel of the row.
    hats : tuple of ndarray
        Linear interpolation weights of the blocks at the voxels along each axis, shape (voxels, blocks).
    size_mm : ndarray, shape (3,)
        Sides of a block in mm.
    """

    shape: tuple[int, ...]
    coarse: tuple[int, ...]
    voxels: NDArray[np.intp]
    block: NDArray[np.intp]
    hats: tuple[_Float, ...]
    size_mm: NDArray[np.float64]

    @classmethod
    def of(cls, mask: BoolArray, spacing_mm: NDArray[np.float64]) -> Blocks:
        """Divide the grid of a mask into blocks.

        Parameters
        ----------
        mask : ndarray of bool, shape (x, y, z)
        spacing_mm : ndarray of float, shape (3,)
            Distance between voxel centres along each axis, in mm.

        Returns
        -------
        Blocks
            The sides are a whole number of voxels, at least 1. An empty mask gives an empty row.
        """
        step = np.maximum(1, np.round(_BLOCK_MM / spacing_mm)).astype(int).tolist()
        coarse = tuple(-(-n // s) for n, s in zip(mask.shape, step, strict=True))
        at = [np.arange(n, dtype=np.int32) // s for n, s in zip(mask.shape, step, strict=True)]
        voxels = np.flatnonzero(mask)
        x, y, z = np.ix_(*at)
        block = ((x * coarse[1] + y) * coarse[2] + z).ravel().take(voxels).astype(np.intp)
        hats = (_hats(n, m, s) for n, m, s in zip(mask.shape, coarse, step, strict=True))
        return cls(mask.shape, coarse, voxels, block, tuple(hats), spacing_mm * step)

    def row(self, data: NDArray[_Any]) -> NDArray[_Any]:
        """Values of an image at the voxels of the mask.

        Parameters
        ----------
        data : ndarray, shape `shape`

        Returns
        -------
        ndarray, shape (n,)
            Of the same type, in array order.
        """
        return data.ravel().take(self.voxels)

    def image(self, row: _Float) -> _Float:
        """Image with the values of a row.

        Parameters
        ----------
        row : ndarray of float32, shape (n,)

        Returns
        -------
        ndarray of float32, shape `shape`
            0 outside the mask.
        """
        data = np.zeros(self.shape, dtype=np.float32)
        data.ravel()[self.voxels] = row
        return data

    def sums(self, block: NDArray[np.intp], row: _Float | BoolArray | None = None) -> NDArray[np.float64]:
        """Sum of values over each block.

        Parameters
        ----------
        block : ndarray of int, shape (m,)
            Flat index of the block of each value.
        row : ndarray of float32 or bool, shape (m,), optional
            Values; 1 each by default, which gives the number of voxels.

        Returns
        -------
        ndarray of float64, shape (blocks,)
            By flat index of the block.
        """
        return np.bincount(block, weights=row, minlength=math.prod(self.coarse)).astype(np.float64)

    def smoothed(self, sums: NDArray[np.float64], sigma_mm: float) -> _Float:
        """Block sums smoothed by a Gaussian, with zeros beyond the grid of blocks.

        Parameters
        ----------
        sums : ndarray of float64, shape (blocks,)
            By flat index of the block.
        sigma_mm : float
            Standard deviation of the Gaussian in mm.

        Returns
        -------
        ndarray of float32, shape `coarse`
        """
        field: _Float = sums.reshape(self.coarse).astype(np.float32)
        for n, sigma in zip(self.coarse, sigma_mm / self.size_mm, strict=True):
            kernel = ndimage.gaussian_filter1d(np.eye(n), sigma, axis=0, mode="constant")
            field = np.tensordot(field, kernel, axes=(0, 1)).astype(np.float32)
        return field

    def at_voxels(self, field: _Float) -> _Float:
        """Linear interpolation of a field at every voxel of the row.

        Parameters
        ----------
        field : ndarray of float32, shape `coarse`
            Values at the block centres; constant beyond the outermost centres.

        Returns
        -------
        ndarray of float32, shape (n,)
        """
        along_x, along_y, along_z = self.hats
        part = along_x @ field.reshape(len(field), -1)
        part = along_y @ part.reshape(-1, *field.shape[1:])
        return self.row(part.reshape(-1, field.shape[2]) @ np.ascontiguousarray(along_z.T))


def _hats(n: int, blocks: int, step: int) -> _Float:
    at = np.clip((np.arange(n) + 0.5) / step - 0.5, 0, blocks - 1)
    hats: _Float = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(blocks))).astype(np.float32)
    return hats
