"""Figures of the subject report: registration before and after, volumes and counts over time."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Sequence

import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.records import SubjectResult
from mri_pipeline.core.robust import percentile
from mri_pipeline.core.spatial import FloatArray, Image

BLUE, ORANGE, PURPLE, GREY = "#0072B2", "#D55E00", "#AA4488", "#666666"
"""Okabe-Ito colours and a purple, distinguishable with colour vision deficiency."""

_TILE = 230  # pixels, longest side of a plane
_PNG_DPI = 110


def plane_points(image: Image) -> list[FloatArray]:
    """World points of three orthogonal planes through the centre of the head.

    Parameters
    ----------
    image : Image
        Any orientation; an image without bright voxels is shown as a whole.

    Returns
    -------
    list of ndarray, shape (rows, columns, 3)
        Axial, coronal and sagittal, as displayed: radiological, superior and anterior up.
    """
    shown = image.reoriented("LAS")
    bright = shown.data > 0.3 * float(percentile(shown.data, 98))
    if not bright.any():
        bright = np.ones(shown.grid.shape, dtype=bool)
    used = [np.flatnonzero(bright.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    low = np.array([float(u[0]) for u in used])
    high = np.array([float(u[-1]) for u in used])
    spacing = np.array(shown.grid.spacing_mm)
    pixel = float(((high - low) * spacing).max()) / _TILE
    ranges = [np.arange(a, b, pixel / s) for a, b, s in zip(low, high, spacing, strict=True)]
    middle = (low + high) / 2
    middle[0] = low[0] + 0.42 * (high[0] - low[0])  # beside the falx, which shows more anatomy
    planes: list[FloatArray] = []
    for across, column, row in ((2, 0, 1), (1, 0, 2), (0, 1, 2)):
        index = np.empty((len(ranges[row]), len(ranges[column]), 3))
        index[..., across] = middle[across]
        index[..., column] = ranges[column][None, :]
        index[..., row] = ranges[row][::-1, None]
        if across == 0:  # sagittal: anterior to the left
            index = index[:, ::-1]
        planes.append(shown.grid.world(index.reshape(-1, 3)).reshape(index.shape))
    return planes


def sample(image: Image, world: NDArray[np.floating]) -> NDArray[np.float32]:
    """Intensities at world points by linear interpolation.

    Parameters
    ----------
    image : Image
    world : ndarray, shape (..., 3)
        World coordinates in mm.

    Returns
    -------
    ndarray of float32, shape (...)
        0 outside the image.
    """
    back = np.linalg.inv(image.grid.affine)
    index = world.reshape(-1, 3) @ back[:3, :3].T + back[:3, 3]
    values = ndimage.map_coordinates(image.data, index.T, order=1, cval=0.0)
    return np.asarray(values, dtype=np.float32).reshape(world.shape[:-1])


def _scaled(plane: NDArray[np.float32], high: float) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = np.clip(plane / max(high, 1e-6), 0, 1)
    return scaled


def overlay(reference: Image, other: Image) -> tuple[str, float]:
    """Overlay of two images in three planes: reference red, other image cyan, agreement grey.

    Each image stays on its own grid; positions come from the headers.

    Parameters
    ----------
    reference, other : Image
        The planes are those of `reference` (`plane_points`).

    Returns
    -------
    str
        PNG as a data URI.
    float
        Correlation of both over the shown planes; NaN if one of them has no foreground.
    """
    points = plane_points(reference)
    pairs = [(sample(reference, p), sample(other, p)) for p in points]
    highs = [float(percentile(np.concatenate([pair[i].ravel() for pair in pairs]), 99.5)) for i in (0, 1)]
    tall = max(p.shape[0] for p in points)
    tiles = []
    for red, cyan in pairs:
        a, b = _scaled(red, highs[0]), _scaled(cyan, highs[1])
        tile = np.stack([a, b, b], axis=2)
        above = (tall - tile.shape[0]) // 2
        tiles.append(np.pad(tile, ((above, tall - tile.shape[0] - above), (4, 4), (0, 0))))
    x, y = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    foreground = (x > 0.1 * highs[0]) | (y > 0.1 * highs[1])
    flat = not foreground.any() or min(float(x[foreground].std()), float(y[foreground].std())) < 1e-6
    correlation = float("nan") if flat else float(np.corrcoef(x[foreground], y[foreground])[0, 1])
    return _png((np.concatenate(tiles, axis=1) * 255).astype(np.uint8)), correlation


def _png(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, (pixels >> 2) << 2, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


Series = tuple[str, str, str, Sequence[float | None]]  # label, colour, marker, values


def over_time(result: SubjectResult, planned: Sequence[tuple[str, int | None]]) -> str:
    """Volumes and counts over the visits, as a PNG data URI.

    Parameters
    ----------
    result : SubjectResult
    planned : sequence of (visit, week)
        All visits, including missing ones. If a week is unknown, visits are drawn at equal distances.

    Returns
    -------
    str
    """
    weeks = [week for _, week in planned]
    by_week = all(week is not None for week in weeks)
    x = [float(week or 0) for week in weeks] if by_week else [float(i) for i in range(len(planned))]
    by_visit = {row.visit: row for row in result.visits}

    def values(name: str) -> list[float | None]:
        return [getattr(by_visit[v], name) if v in by_visit else None for v, _ in planned]

    figure = Figure(figsize=(12.5, 3.7), layout="constrained")
    axes = figure.subplots(1, 3)
    panels: list[tuple[str, str, list[Series]]] = [
        ("T2 lesions and black holes", "volume (mL)", [
            ("T2 lesions", BLUE, "o", values("t2_volume_ml")),
            ("black holes", PURPLE, "s", values("bh_volume_ml")),
        ]),
        ("Enhancing lesions", "volume (mL)", [("GEL", ORANGE, "D", values("gel_volume_ml"))]),
        ("Active lesions", "lesions", [
            ("combined", GREY, "v", values("combined_unique_active_count")),
            ("GEL", ORANGE, "D", values("gel_count")),
            ("new/enlarging T2", BLUE, "o", values("new_or_enlarging_t2_count")),
        ]),
    ]  # fmt: skip
    for ax, (title, unit, series) in zip(axes, panels, strict=True):
        _panel(ax, x, series)
        _shade_missing(ax, x, [visit not in by_visit for visit, _ in planned])
        ax.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=24)
        ax.set_ylabel(unit)
        ax.set_xticks(x, [str(w) if by_week else v for v, w in planned])
        ax.set_xlabel("week" if by_week else "visit")
    return figure_uri(figure)


def figure_uri(figure: Figure) -> str:
    """Convert a figure to a PNG data URI. Equal figures give equal bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Returns
    -------
    str
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _panel(ax: Axes, x: Sequence[float], series: Sequence[Series]) -> None:
    for i, (label, colour, marker, values) in enumerate(series):
        y = [np.nan if value is None else float(value) for value in values]
        # different widths and marker sizes keep coinciding lines visible
        width, size = 4.0 - 1.2 * i, 10.0 - 2.5 * i
        ax.plot(x, y, color=colour, marker=marker, linewidth=width, markersize=size, label=label, clip_on=False)
    ax.set_ylim(bottom=0)
    known = [value for _, _, _, values in series for value in values if value is not None]
    if max(known, default=0) == 0:
        ax.set_ylim(0, 1)
    if known:
        legend = ax.legend(
            frameon=False,
            fontsize=9,
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=len(series),
            columnspacing=1.2,
            handlelength=1.5,
            borderpad=0,
        )
        legend.set_in_layout(False)
    else:
        ax.text(0.5, 0.5, "not known", transform=ax.transAxes, ha="center", color=GREY)
    if all(isinstance(value, int) for value in known):
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=2))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(True)


def _shade_missing(ax: Axes, x: Sequence[float], missing: Sequence[bool]) -> None:
    width = 0.35 * min((b - a for a, b in itertools.pairwise(x)), default=1.0)
    for at, gone in zip(x, missing, strict=True):
        if gone:
            ax.axvspan(at - width, at + width, color="#eeeeee", zorder=0)
            ax.text(at, 0.97, "no scan", transform=ax.get_xaxis_transform(), rotation=90, ha="center", va="top",
                    fontsize=8, color=GREY)  # fmt: skip
