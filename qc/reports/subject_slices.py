"""Axial slices with lesion outlines, as SVG: a greyscale image with the outlines as paths on top.

Radiological convention: the patient's right is on the left of the image, anterior is up.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.image
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from skimage import measure

from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.spatial import Image, LabelImage

RADIOLOGICAL = "LAS"
"""Axes of a displayed volume. The first axis points to the patient's left and is drawn from left to right."""

COLUMNS = 5
MAX_SLICES = 5 * COLUMNS
MIN_SLICES = 2 * COLUMNS
TILE_WIDTH = 280.0
_JPEG_QUALITY = 85

OUTLINES: Mapping[str, tuple[MaskLabel, ...]] = {
    "t2": (MaskLabel.T2_LESION,),
    "new": (MaskLabel.NEW_T2, MaskLabel.ENLARGING_T2),
    "gel": (MaskLabel.GEL,),
    "bh": (MaskLabel.BLACK_HOLE,),
}
"""Outlined masks from bottom to top layer; the key is the CSS class."""


@dataclass(frozen=True)
class View:
    """Shown part of a volume: axial slices of the grid in `RADIOLOGICAL` order and an in-plane box.

    Parameters
    ----------
    slices : tuple of int
        Indices of the slices.
    box : (slice, slice)
        Voxels along the first and second axis.
    spacing_mm : (float, float)
        In-plane voxel size.
    z_mm : tuple of float
        World z of the centre of each slice.
    n_lesions, n_shown : int
        Number of lesions of all visits, and of those in the slices.
    """

    slices: tuple[int, ...]
    box: tuple[slice, slice]
    spacing_mm: tuple[float, float]
    z_mm: tuple[float, ...]
    n_lesions: int
    n_shown: int


def choose_view(
    brain: Sequence[LabelImage], lesions: Sequence[LabelImage], *, max_slices: int = MAX_SLICES
) -> View:
    """Choose axial slices that show all lesions of all visits; the slices are the same for all visits.

    Slices are added one by one. Each added slice shows the largest number of lesions not yet shown, preferably at
    their largest section. Slices in between are then added until the rows are full, at least `MIN_SLICES`. If
    `max_slices` slices can't show all lesions, `n_shown` is less than `n_lesions`.

    Parameters
    ----------
    brain, lesions : sequence of LabelImage
        Brain mask and numbered lesions of every visit, all on one grid, shape (x, y, z).
    max_slices : int
        Maximum number of slices.

    Returns
    -------
    View
    """
    shown = [image.reoriented(RADIOLOGICAL) for image in brain]
    grid = shown[0].grid
    inside = np.any([image.mask for image in shown], axis=0)
    if not inside.any():
        inside[:] = True
    box = tuple(_extent(inside.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    depth = _extent(inside.any(axis=(0, 1)))
    areas = [_areas(image.reoriented(RADIOLOGICAL)) for image in lesions]
    area = np.concatenate([a for a in areas if len(a)] or [np.zeros((0, grid.shape[2]), dtype=np.int64)])
    chosen = _cover(area, max_slices)
    slices = _filled(chosen, depth)
    return View(
        slices=slices,
        box=(box[0], box[1]),
        spacing_mm=(grid.spacing_mm[0], grid.spacing_mm[1]),
        z_mm=tuple(_height(grid.affine, k, box) for k in slices),
        n_lesions=len(area),
        n_shown=int(np.count_nonzero(area[:, list(slices)].sum(axis=1))) if len(area) else 0,
    )


def _filled(chosen: Sequence[int], depth: slice) -> tuple[int, ...]:
    """Add slices until the rows are full, each in the middle of the widest gap."""
    margin = (depth.stop - depth.start) // 8
    low, high = depth.start + margin, depth.stop - 1 - margin
    wanted = max(MIN_SLICES, -(-len(chosen) // COLUMNS) * COLUMNS)
    slices = sorted(set(chosen))
    while len(slices) < min(wanted, depth.stop - depth.start):
        ends = [min(low, *slices) - 1, *slices, max(high, *slices) + 1] if slices else [low, high]
        gap = int(np.argmax(np.diff(ends)))
        middle = (ends[gap] + ends[gap + 1]) // 2
        if middle in slices or middle < 0:
            break
        slices = sorted([*slices, middle])
    return tuple(slices)


def _height(affine: NDArray[np.floating], k: int, box: Sequence[slice]) -> float:
    """World z of the centre of a slice."""
    middle = [(s.start + s.stop - 1) / 2 for s in box]
    return float((affine @ [*middle, k, 1.0])[2])


def _extent(used: NDArray[np.bool_], margin: int = 3) -> slice:
    found = np.flatnonzero(used)
    return slice(max(int(found[0]) - margin, 0), min(int(found[-1]) + margin + 1, len(used)))


def _areas(lesions: LabelImage) -> NDArray[np.int64]:
    """Voxels of every lesion in every axial slice, shape (lesions, slices)."""
    where = np.nonzero(lesions.data)
    values, index = np.unique(lesions.data[where], return_inverse=True)
    depth = lesions.grid.shape[2]
    return np.bincount(index * depth + where[2], minlength=len(values) * depth).reshape(len(values), depth)


def _cover(area: NDArray[np.int64], max_slices: int) -> list[int]:
    """Few slices that show as many lesions as possible, preferably at large cross-sections."""
    if not len(area):
        return []
    share = area / np.maximum(area.max(axis=1, keepdims=True), 1)
    open_lesions = np.ones(len(area), dtype=bool)
    chosen: list[int] = []
    while open_lesions.any() and len(chosen) < max_slices:
        # a slice through at least half of the largest section shows a lesion well
        gain = np.where(share[open_lesions] >= 0.5, share[open_lesions], 0).sum(axis=0)
        chosen.append(int(np.argmax(gain)))
        open_lesions &= share[:, chosen[-1]] < 0.5
    return chosen


def picture(data: NDArray[np.floating], window: tuple[float, float]) -> str:
    """Encode a greyscale image as a JPEG data URI.

    Parameters
    ----------
    data : ndarray, shape (rows, columns)
        Intensities; rows from top to bottom.
    window : (float, float)
        Intensities displayed as black and as white.

    Returns
    -------
    str
    """
    scaled = np.clip((data - window[0]) / (window[1] - window[0]), 0, 1)
    buffer = io.BytesIO()
    grey = np.repeat((scaled * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    matplotlib.image.imsave(buffer, grey, format="jpg", pil_kwargs={"quality": _JPEG_QUALITY})
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def mosaic(
    image: Image,
    masks: Mapping[MaskLabel, LabelImage],
    lesions: LabelImage,
    view: View,
    *,
    window: tuple[float, float],
    title: str,
) -> Markup:
    """Draw the chosen slices side by side as one SVG.

    Parameters
    ----------
    image : Image
        Displayed image, on the grid of the view.
    masks : mapping of MaskLabel to LabelImage
        Masks to outline (`OUTLINES`).
    lesions : LabelImage
        Numbered lesions. Each number is written once, at the largest shown section.
    view : View
    window : (float, float)
        Intensities displayed as black and as white.
    title : str
        Text alternative of the image.

    Returns
    -------
    Markup
        An ``svg`` element.
    """
    shown = _cut(image.reoriented(RADIOLOGICAL).data, view)
    frame = Frame.of(shown.shape, view.spacing_mm, TILE_WIDTH)
    columns = min(COLUMNS, len(view.slices))
    rows = -(-len(view.slices) // columns)
    width, height = columns * TILE_WIDTH, rows * frame.height
    planes = _planes(masks, view)
    places = _label_places(_cut(lesions.reoriented(RADIOLOGICAL).data, view))
    lines = [
        f'<svg class="mosaic" role="img" viewBox="0 0 {width:.0f} {height:.0f}"><title>{escape(title)}</title>',
        f'<image width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" href="',
        picture(_sheet(shown, rows, columns), window),
        '"/>',
    ]
    for i, z_mm in enumerate(view.z_mm):
        row, column = divmod(i, columns)
        outlines = {name: plane[:, :, i] for name, plane in planes.items()}
        lines.append(f'<g transform="translate({column * TILE_WIDTH:.1f} {row * frame.height:.1f})">')
        lines.extend(_tile(outlines, places.get(i, {}), frame, z_mm))
        lines.append("</g>")
    return Markup("".join([*lines, "</svg>"]))  # noqa: S704 - made of numbers; the title is escaped


@dataclass(frozen=True)
class Frame:
    """Conversion from voxels of a slice (left, anterior) to SVG units.

    Parameters
    ----------
    step : (float, float)
        Units for each voxel.
    height : float
    """

    step: tuple[float, float]
    height: float

    @classmethod
    def of(cls, shape: tuple[int, ...], spacing_mm: tuple[float, float], width: float) -> Frame:
        """The frame of a slice that is drawn with a width.

        Parameters
        ----------
        shape : tuple of int
            Voxels along the first and second axis.
        spacing_mm : (float, float)
            In-plane voxel size.
        width : float
            In SVG units.

        Returns
        -------
        Frame
        """
        scale = width / (shape[0] * spacing_mm[0])
        step = (spacing_mm[0] * scale, spacing_mm[1] * scale)
        return cls(step, shape[1] * step[1])


def _cut(data: NDArray[Any], view: View) -> NDArray[Any]:
    return data[view.box][:, :, list(view.slices)]


def _sheet(shown: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """All tiles as one image, rows from anterior to posterior."""
    across, down = shown.shape[:2]
    sheet = np.zeros((rows * down, columns * across), dtype=np.float32)
    for i in range(shown.shape[2]):
        row, column = divmod(i, columns)
        sheet[row * down : (row + 1) * down, column * across : (column + 1) * across] = shown[:, ::-1, i].T
    return sheet


def _tile(
    outlines: Mapping[str, NDArray[np.bool_]],
    places: Mapping[int, tuple[float, float]],
    frame: Frame,
    z_mm: float,
) -> Iterator[str]:
    """Outlines, lesion numbers, side labels and z position of one slice."""
    for name, plane in outlines.items():
        path = outline(plane, frame)
        if path:
            yield f'<path class="o o-{name}" d="{path}"/>'
    for number, (x, y) in places.items():
        across, down = (x + 1) * frame.step[0], frame.height - (y + 1) * frame.step[1]
        yield f'<text class="n" x="{across:.0f}" y="{down:.0f}">{number}</text>'
    middle = frame.height / 2
    yield f'<text class="s" x="5" y="{middle:.0f}">R</text>'
    yield f'<text class="s" x="{TILE_WIDTH - 13:.0f}" y="{middle:.0f}">L</text>'
    yield f'<text class="z" x="5" y="{frame.height - 6:.0f}">z {z_mm:+.0f}</text>'


def _planes(masks: Mapping[MaskLabel, LabelImage], view: View) -> dict[str, NDArray[np.bool_]]:
    """Outlines of the shown slices; a new or enlarging lesion has one outline."""
    found = {}
    for name, labels in OUTLINES.items():
        present = [_cut(masks[label].reoriented(RADIOLOGICAL).mask, view) for label in labels if label in masks]
        if present:
            found[name] = np.any(present, axis=0)
    if "t2" in found and "new" in found:
        found["t2"] = found["t2"] & ~found["new"]
    return found


def outline(plane: NDArray[np.bool_], frame: Frame) -> str:
    """SVG path around a mask of one slice.

    Parameters
    ----------
    plane : ndarray of bool, shape (left, anterior)
    frame : Frame

    Returns
    -------
    str
        Value of the attribute ``d``; empty for an empty mask.
    """
    if not plane.any():
        return ""
    parts = []
    for line in measure.find_contours(np.pad(plane, 1).astype(np.float32), 0.5):
        # the centre of voxel 0 lies half a voxel inside the tile; padding moved it by one
        points = np.round((line - 0.5) * frame.step, 1)
        points[:, 1] = np.round(frame.height - points[:, 1], 1)
        parts.append("M" + " ".join(f"{x:g},{y:g}" for x, y in points[:-1]) + "z")
    return "".join(parts)


def _label_places(numbers: NDArray[np.integer]) -> dict[int, dict[int, tuple[float, float]]]:
    """For every slice, the lesions labelled there and the voxel position of each label."""
    best: dict[int, tuple[int, int]] = {}
    for i in range(numbers.shape[2]):
        values, counts = np.unique(numbers[:, :, i], return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if value and count > best.get(value, (0, 0))[0]:
                best[value] = (count, i)
    places: dict[int, dict[int, tuple[float, float]]] = {}
    for value, (_, i) in sorted(best.items()):
        x, y = np.nonzero(numbers[:, :, i] == value)
        places.setdefault(i, {})[value] = (float(x.max()), float(y.max()))
    return places
