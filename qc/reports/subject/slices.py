"""Axial slices with lesion outlines, as SVG: a greyscale image with the outlines as paths on top.

Radiological convention: the patient's right is on the left of the image, anterior is up.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.image
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from skimage import measure

from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.spatial import Image, LabelImage
from qc.reports.slice_choice import COLUMNS, RADIOLOGICAL, View

TILE_WIDTH = 280.0
_JPEG_QUALITY = 85

OUTLINES: Mapping[str, tuple[MaskLabel, ...]] = {
    "t2": (MaskLabel.T2_LESION,),
    "new": (MaskLabel.NEW_T2, MaskLabel.ENLARGING_T2),
    "gel": (MaskLabel.GEL,),
    "bh": (MaskLabel.BLACK_HOLE,),
}
"""Outlined masks from bottom to top layer; the key is the CSS class."""


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
    scale = SvgScale.of(shown.shape, view.spacing_mm, TILE_WIDTH)
    columns = min(COLUMNS, len(view.slices))
    rows = -(-len(view.slices) // columns)
    width, height = columns * TILE_WIDTH, rows * scale.height
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
        lines.append(f'<g transform="translate({column * TILE_WIDTH:.1f} {row * scale.height:.1f})">')
        lines.extend(_tile(outlines, places.get(i, {}), scale, z_mm))
        lines.append("</g>")
    return Markup("".join([*lines, "</svg>"]))  # noqa: S704 - made of numbers; the title is escaped


@dataclass(frozen=True)
class SvgScale:
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
    def of(cls, shape: tuple[int, ...], spacing_mm: tuple[float, float], width: float) -> SvgScale:
        """The scale of a slice that is drawn with a width.

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
        SvgScale
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
    scale: SvgScale,
    z_mm: float,
) -> Iterator[str]:
    """Outlines, lesion numbers, side labels and z position of one slice."""
    for name, plane in outlines.items():
        path = outline(plane, scale)
        if path:
            yield f'<path class="o o-{name}" d="{path}"/>'
    for number, (x, y) in places.items():
        across, down = (x + 1) * scale.step[0], scale.height - (y + 1) * scale.step[1]
        yield f'<text class="n" x="{across:.0f}" y="{down:.0f}">{number}</text>'
    middle = scale.height / 2
    yield f'<text class="s" x="5" y="{middle:.0f}">R</text>'
    yield f'<text class="s" x="{TILE_WIDTH - 13:.0f}" y="{middle:.0f}">L</text>'
    yield f'<text class="z" x="5" y="{scale.height - 6:.0f}">z {z_mm:+.0f}</text>'


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


def outline(plane: NDArray[np.bool_], scale: SvgScale) -> str:
    """SVG path around a mask of one slice.

    Parameters
    ----------
    plane : ndarray of bool, shape (left, anterior)
    scale : SvgScale

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
        points = np.round((line - 0.5) * scale.step, 1)
        points[:, 1] = np.round(scale.height - points[:, 1], 1)
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
