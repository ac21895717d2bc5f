"""Enhancing components in their bounding boxes: border, ring, extent, form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.graph import MCP_Geometric

from mri_pipeline.core.boxes import Box, widened_box
from mri_pipeline.core.components import connected_parts, structure
from mri_pipeline.core.distances import within_reach
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.robust import quantile
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid
from mri_pipeline.lesions.gel.evidence import GelEvidence


@dataclass(frozen=True)
class Piece:
    """A component in its bounding box.

    Parameters
    ----------
    number : int
        Label of the component.
    where : tuple of slice
        The box in the image, with a margin for the surroundings.
    voxels : ndarray of bool, shape of the box
    """

    number: int
    where: tuple[slice, ...]
    voxels: BoolArray


def pieces_of(
    labels: NDArray[np.integer[Any]], start: tuple[int, ...], grid: Grid, settings: GelSettings
) -> list[Piece]:
    """Components of a label array, each in its bounding box with a margin for its surroundings.

    Parameters
    ----------
    labels : ndarray of int, shape (x, y, z)
        The image or a box of it.
    start : tuple of int
        Voxel of the image at the origin of `labels`.
    grid : Grid
        Of the image.
    settings : GelSettings

    Returns
    -------
    list of Piece
        By ascending label.
    """
    margin = np.ceil(np.divide(settings.surround_mm, grid.spacing_mm)).astype(int).tolist()
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        own = _moved(box, start)
        where = widened_box(own, margin, grid.shape)
        voxels = np.zeros([side.stop - side.start for side in where], dtype=bool)
        voxels[_moved(own, [-side.start for side in where])] = labels[box] == number
        found.append(Piece(number, where, voxels))
    return found


def _moved(box: Box, by: Sequence[int]) -> Box:
    return tuple(slice(side.start + k, side.stop + k) for side, k in zip(box, by, strict=True))


def to_border(piece: Piece, enhancement: FloatArray, settings: GelSettings) -> Piece:
    """Voxels above a fraction (`edge_share`) of the upper decile of the component: its half-maximum border.

    Parameters
    ----------
    piece : Piece
    enhancement : ndarray of float, shape (x, y, z)
    settings : GelSettings

    Returns
    -------
    Piece
    """
    values = enhancement[piece.where]
    top = float(quantile(values[piece.voxels], settings.upper_quantile))
    return replace(
        piece, voxels=piece.voxels & (values >= max(settings.edge_share * top, settings.least_enhancement))
    )


def joined(part: Piece, lesion: Piece, evidence: GelEvidence, rules: LesionRules) -> Piece:
    """Join the parts of a ring that its border interrupts, along the path of highest enhancement.

    Parameters
    ----------
    part : Piece
        The component before `to_border`.
    lesion : Piece
        The same after it.
    evidence : GelEvidence
    rules : LesionRules
        Parts below the minimum volume of a GEL are not joined.

    Returns
    -------
    Piece
    """
    labels, count = connected_parts(lesion.voxels)
    if count < 2:
        return lesion
    values = evidence.enhancement[part.where]
    volume = np.bincount(labels.ravel())[1:] * evidence.grid.voxel_volume_mm3
    brightest = ndimage.maximum_position(values, labels, np.arange(1, count + 1))
    paths = MCP_Geometric(np.where(part.voxels, 1.0 / np.maximum(values, 1e-3), -1.0))  # negative: impassable
    paths.find_costs([brightest[int(volume.argmax())]])
    voxels = lesion.voxels.copy()
    for size, end in zip(volume, brightest, strict=True):
        if size >= rules.gel_min_volume_mm3:
            voxels[tuple(np.transpose(paths.traceback(end)))] = True
    return replace(lesion, voxels=voxels)


def own_share_of(piece: Piece, evidence: GelEvidence, settings: GelSettings) -> float:
    """Fraction that the piece makes up of all connected, equally enhancing voxels within `vessel_reach_mm`.

    Parameters
    ----------
    piece : Piece
    evidence : GelEvidence
    settings : GelSettings

    Returns
    -------
    float
        0 to 1.
    """
    values = evidence.enhancement[piece.where]
    alike = values >= values[piece.voxels].min()
    near = within_reach(piece.voxels, settings.vessel_reach_mm, evidence.grid.spacing_mm)
    connected = ndimage.binary_propagation(piece.voxels, structure(3), mask=alike & near | piece.voxels)
    return float(np.count_nonzero(piece.voxels) / np.count_nonzero(connected))


def points_mm_of(piece: Piece, grid: Grid) -> FloatArray:
    """World positions of the voxels of a piece.

    Parameters
    ----------
    piece : Piece
    grid : Grid

    Returns
    -------
    ndarray of float, shape (n, 3)
        In mm.
    """
    return grid.world((np.argwhere(piece.voxels) + [s.start for s in piece.where]).astype(float))


def is_tube(points_mm: FloatArray, volume_mm3: float, settings: GelSettings) -> bool:
    """True if long and thin: a cylinder of the same volume and length is narrower than a lesion.

    Parameters
    ----------
    points_mm : ndarray of float, shape (n, 3)
    volume_mm3 : float
    settings : GelSettings

    Returns
    -------
    bool
    """
    if len(points_mm) < 4:
        return False
    centred = points_mm - points_mm.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    length = float(np.ptp(centred @ axis)) + (volume_mm3 / len(points_mm)) ** (1 / 3)
    width = 2.0 * float(np.sqrt(volume_mm3 / (np.pi * length)))
    return length > settings.vessel_elongation * width and width < settings.vessel_width_mm
