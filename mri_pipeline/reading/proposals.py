"""Proposed lesions, numbered by position: a number reveals neither size nor visit nor order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.spatial import Image, LabelImage


@dataclass(frozen=True)
class Proposal:
    """One proposed lesion.

    Parameters
    ----------
    number : int
        Its label in the exported mask.
    volume_mm3 : float
    voxel : tuple of int
        Index (from 0) of the voxel of the lesion nearest to its centroid.
    position_mm : tuple of float
        RAS+ position of that voxel.
    probability : float or None
        Mean lesion probability of its voxels, shown to the reader. It decides nothing.
    """

    number: int
    volume_mm3: float
    voxel: tuple[int, int, int]
    position_mm: tuple[float, float, float]
    probability: float | None = None


def numbered_by_place(labels: LabelImage) -> LabelImage:
    """The same lesions, numbered by centroid: from low to high, then back to front, then left to right.

    Parameters
    ----------
    labels : LabelImage
        One label for each lesion. An empty image stays empty.

    Returns
    -------
    LabelImage
        uint8, or uint16 from 256 lesions on. All viewers open these types as labels.

    Examples
    --------
    >>> from mri_pipeline.core.spatial import Grid
    >>> data = np.zeros((4, 4, 4), dtype=int)
    >>> data[0, 0, 3], data[0, 0, 0] = 1, 7
    >>> numbered_by_place(LabelImage(data, Grid(data.shape, np.eye(4)))).data[0, 0, [0, 3]].tolist()
    [1, 2]
    """
    inside = np.nonzero(labels.data)
    values, index = np.unique(labels.data[inside], return_inverse=True)
    counts = np.maximum(np.bincount(index, minlength=len(values)), 1)
    centres = [np.bincount(index, weights=axis, minlength=len(values)) / counts for axis in inside]
    world = np.round(labels.grid.world(np.stack(centres, axis=1)), 3)
    order = np.lexsort((world[:, 0], world[:, 1], world[:, 2]))
    numbers = np.empty(len(values), dtype=np.uint8 if len(values) < 256 else np.uint16)
    numbers[order] = np.arange(1, len(values) + 1)
    data = np.zeros(labels.data.shape, dtype=numbers.dtype)
    data[inside] = numbers[index]
    return LabelImage(data, labels.grid)


def describe_proposals(labels: LabelImage, probability: Image | None = None) -> list[Proposal]:
    """Describe every lesion of a numbered mask.

    Parameters
    ----------
    labels : LabelImage
        One number for each lesion (`numbered_by_place`).
    probability : Image, optional
        Lesion probability (0 to 1) on the same grid.

    Returns
    -------
    list of Proposal
        In the order of the numbers. Empty if the mask is empty.
    """
    voxels = np.argwhere(labels.data)
    if not len(voxels):
        return []
    values = labels.data[tuple(voxels.T)]
    proposals = []
    for number in np.unique(values):
        own = voxels[values == number]
        distance = np.linalg.norm((own - own.mean(axis=0)) * labels.grid.spacing_mm, axis=1)
        i, j, k = (int(n) for n in own[int(np.argmin(np.round(distance, 6)))])
        x, y, z = (float(c) for c in labels.grid.world(np.array([[i, j, k]], dtype=float))[0])
        volume = len(own) * labels.grid.voxel_volume_mm3
        likely = None if probability is None else float(probability.data[tuple(own.T)].mean())
        proposals.append(Proposal(int(number), volume, (i, j, k), (x, y, z), likely))
    return proposals


def labels_digest(labels: LabelImage) -> str:
    """SHA-256 of the voxels and their grid. It does not depend on file name or format.

    Parameters
    ----------
    labels : LabelImage

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    grid = np.round(labels.grid.affine, 3) + 0.0  # + 0.0 removes negative zeros
    content = f"{labels.grid.shape}{grid.tolist()}".encode() + labels.data.astype("<u4").tobytes()
    return hashlib.sha256(content).hexdigest()
