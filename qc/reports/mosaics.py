"""Mosaics of a scan in three planes for the acceptance report. The face is not shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.robust import percentile
from mri_pipeline.core.spatial import BoolArray, Image
from mri_pipeline.images.face import face_region
from mri_pipeline.images.resample import resample_nearest
from mri_pipeline.images.sampling import downsample
from qc.placement import Placement

_COLUMNS: Final = 6
_ACQUIRED: Final = 12
"""Slices in the plane of the acquisition, with the first and the last; doubtful ones come in addition."""
_MOST_DOUBTFUL: Final = 12
"""Largest number of doubtful slices that are shown."""
_ACROSS: Final = 6
"""Slices of each of the other planes."""
_FACE_MM: Final = 3.0
"""Spacing of the grid on which the face is located."""
_LEAST_SIMILARITY: Final = 0.5
"""Similarity of the template from which its face is at the right place (`ImageLimits.min_template_similarity`)."""
_DOUBTFUL: Final = "#ff9d3c"
"""Colour of doubtful slices."""
_SIGNAL: Final = 0.15
"""Intensity relative to the upper end of the window from which a voxel is signal."""
_LEAST_SHARE: Final = 0.02
"""Share of signal in a plane, relative to the plane with most, from which it is in the box of the head."""
_WINDOW: Final = (99, 1.2)
"""Percentile of the middle of the image, and its multiple that is white."""
_TILE_IN: Final = 2.0
"""Width of a tile in inches, as of matplotlib."""
_TILE_RATIO: Final = (0.5, 1.4)
"""Smallest and largest height of a tile relative to its width."""
_PLANES: Final = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Mosaic:
    """One plane of a scan.

    Parameters
    ----------
    plane : str
        ``sagittal``, ``coronal`` or ``axial``.
    acquired : bool
        True for the plane of the acquisition.
    png : str
        Base64-encoded, without the prefix of a data URI.
    """

    plane: str
    acquired: bool
    png: str


def mosaics(image: Image, doubtful: Mapping[int, str], placement: Placement | None) -> list[Mosaic]:
    """Mosaics in radiological convention (patient's right on the left), the plane of the acquisition first.

    Parameters
    ----------
    image : Image
        Any orientation.
    doubtful : mapping of int to str
        Doubtful slices with the reason (`qc.slices.doubtful.doubtful_slices`). They are marked.
    placement : Placement or None
        Of the brain of the upload. It locates face and ears, which are blanked. Without it, only axial slices are
        shown, from which a face cannot be recognised.

    Returns
    -------
    list of Mosaic
        Of an axial scan the first and the last slice are shown. Of another scan whose face cannot be located, none in
        the plane of the acquisition.
    """
    image = image.reoriented("RAS")
    axis = image.grid.slice_axis
    face = _face(image, placement)
    low, high = 0.0, _brightest(image)
    data = image.data if face is None else np.where(face, 0, image.data)
    box = _head_box(data, high)
    planes = [axis, *(plane for plane in (2, 1, 0) if plane != axis)] if face is not None else [2]
    found = []
    for plane in planes:
        if plane == axis:
            indices = _picked(data.shape[plane], doubtful)
            labels = {i: f"{i + 1} {doubtful.get(i, '')}".strip() for i in indices}
            shown = data
        else:
            inner = box[plane]
            margin = (inner.stop - inner.start) / 8
            ends = inner.start + margin, inner.stop - 1 - margin
            indices = np.unique(np.linspace(*ends, _ACROSS).round().astype(int)).tolist()
            labels = {}
            shown = data[tuple(slice(None) if d == plane else part for d, part in enumerate(box))]
        tiles = [_tile(shown, plane, i) for i in indices]
        aspect = _aspect(image, plane)
        marked = [plane == axis and i in doubtful for i in indices]
        png = _png(tiles, [labels.get(i, "") for i in indices], marked, aspect=aspect, window=(low, high))
        found.append(Mosaic(_PLANES[plane], plane == axis, png))
    return found


def _head_box(data: NDArray[np.float32], high: float) -> list[slice]:
    """The box that holds nearly all of the signal."""
    signal = data > _SIGNAL * high
    box = []
    for axis, size in enumerate(data.shape):
        share = signal.mean(axis=tuple(d for d in range(3) if d != axis))
        used = np.flatnonzero(share > _LEAST_SHARE * share.max(initial=0))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, size))
    return box


def _picked(count: int, doubtful: Mapping[int, str]) -> list[int]:
    """Evenly spaced slices with the first and the last, and the doubtful ones."""
    even = np.linspace(0, count - 1, min(count, _ACQUIRED)).round().astype(int).tolist()
    return sorted({*even, *list(doubtful)[:_MOST_DOUBTFUL]})


def _tile(data: NDArray[np.float32], plane: int, index: int) -> NDArray[np.float32]:
    """A slice with rows from superior (or anterior) and columns from the patient's right (or from anterior)."""
    return np.asarray(np.take(data, index, axis=plane).T[::-1, ::-1])


def _aspect(image: Image, plane: int) -> float:
    across, up = (s for axis, s in enumerate(image.grid.spacing_mm) if axis != plane)
    return up / across


def _brightest(image: Image) -> float:
    """The upper end of the intensity window: that of the brain. Scalp fat would make the brain too dark."""
    margins = [n // 4 for n in image.data.shape]
    middle = image.data[tuple(slice(n, -n or None) for n in margins)]
    percent, factor = _WINDOW
    return factor * float(percentile(middle, percent)) or 1.0


def _face(image: Image, placement: Placement | None) -> BoolArray | None:
    """Face and ears on the grid of the image; None if they cannot be located."""
    if placement is None or placement.similarity < _LEAST_SIMILARITY:
        return None
    template = load_template()
    coarse = downsample(image, _FACE_MM).grid
    brain = resample_nearest(template.brain, coarse, placement.template_to_world)
    try:
        region = face_region(brain, template, placement.template_to_world)
    except AnalysisError:
        return None
    return np.asarray(resample_nearest(region, image.grid).mask)


def _png(
    tiles: Sequence[NDArray[np.float32]],
    labels: Sequence[str],
    marked: Sequence[bool],
    *,
    aspect: float,
    window: tuple[float, float],
) -> str:
    rows = -(-len(tiles) // _COLUMNS)
    height, width = tiles[0].shape
    low, high = _TILE_RATIO
    tile_in = _TILE_IN * min(high, max(low, aspect * height / width))
    figure = Figure(figsize=(_TILE_IN * _COLUMNS, tile_in * rows), facecolor="black")
    for number, (tile, label, doubt) in enumerate(zip(tiles, labels, marked, strict=True), start=1):
        axes = figure.add_subplot(rows, _COLUMNS, number)
        axes.imshow(tile, cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(doubt)
            spine.set_color(_DOUBTFUL)
            spine.set_linewidth(3)
        colour = _DOUBTFUL if doubt else "#c8d0d8"
        axes.text(0.03, 0.97, label, color=colour, fontsize=8, transform=axes.transAxes, va="top")
    figure.subplots_adjust(0.003, 0.003, 0.997, 0.997, 0.02, 0.02)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")
