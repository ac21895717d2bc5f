"""Crops of one lesion: slice, FLAIR of the reference visit and now, their difference, T1 before and after contrast.

All crops of a lesion are in one axial slice and around one point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.records import LesionRecord, T2State
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from qc.reports.slice_choice import RADIOLOGICAL
from qc.reports.subject.slices import SvgScale, outline, picture

CROP_MM = 64.0
"""Side of a crop: a lesion with its surroundings."""

CROP_WIDTH = 190.0
SLICE_WIDTH = 150.0

DIFFERENCE = (-0.6, 0.6)
"""Differences of FLAIR displayed as black and as white; white matter is 1, so that 0 is grey."""

Window = tuple[float, float]
Box = tuple[slice, slice]

_T1: Mapping[Contrast, str] = {Contrast.T1W: "T1 before contrast", Contrast.T1W_GD: "T1 after contrast"}


@dataclass(frozen=True)
class ShownVisit:
    """Images and outlines of a visit in `RADIOLOGICAL` order.

    Parameters
    ----------
    visit : str
    images : mapping of Contrast to ndarray, shape (x, y, z)
    masks : mapping of MaskLabel to ndarray of bool, shape (x, y, z)
    numbers : ndarray of int, shape (x, y, z)
        Numbered lesions.
    spacing_mm : tuple of float
    affine : ndarray, shape (4, 4)
    """

    visit: str
    images: Mapping[Contrast, FloatArray]
    masks: Mapping[MaskLabel, BoolArray]
    numbers: NDArray[np.integer]
    spacing_mm: tuple[float, float, float]
    affine: FloatArray

    @classmethod
    def of(
        cls,
        visit: str,
        images: Mapping[Contrast, Image],
        masks: Mapping[MaskLabel, LabelImage],
        numbers: LabelImage,
    ) -> ShownVisit:
        """From images and masks on one grid.

        Parameters
        ----------
        visit : str
        images : mapping of Contrast to Image
        masks : mapping of MaskLabel to LabelImage
        numbers : LabelImage

        Returns
        -------
        ShownVisit
        """
        turned = numbers.reoriented(RADIOLOGICAL)
        return cls(
            visit,
            {contrast: image.reoriented(RADIOLOGICAL).data for contrast, image in images.items()},
            {label: mask.reoriented(RADIOLOGICAL).mask for label, mask in masks.items()},
            turned.data.astype(np.int64),
            turned.grid.spacing_mm,
            turned.grid.affine,
        )

    def outlines(self, **labels: MaskLabel) -> dict[str, BoolArray]:
        """Masks of the visit by CSS class; masks that it does not have are absent.

        Parameters
        ----------
        **labels : MaskLabel
            By CSS class.

        Returns
        -------
        dict of str to ndarray of bool, shape (x, y, z)
        """
        return {name: self.masks[label] for name, label in labels.items() if label in self.masks}


def crops_of(
    now: ShownVisit,
    reference: ShownVisit | None,
    record: LesionRecord,
    *,
    windows: Mapping[Contrast, Window],
    brain: Box,
) -> list[dict[str, Any]]:
    """The crops of a lesion.

    Parameters
    ----------
    now : ShownVisit
    reference : ShownVisit or None
        The visit that T2 lesions are compared with; None for the first one.
    record : LesionRecord
        Of the visit `now`.
    windows : mapping of Contrast to (float, float)
        Intensities displayed as black and as white.
    brain : (slice, slice)
        In-plane box of the brain: the shown part of the whole slice.

    Returns
    -------
    list of dict
        ``title``; ``svg``, or None with the reason in ``missing``.
    """
    flair = now.images[Contrast.FLAIR]
    cut = _Cut.around(_place(now, record), flair.shape, now.spacing_mm)
    name = f"lesion {record.lesion_id} at {now.visit}"
    t2_now = now.outlines(t2=MaskLabel.T2_LESION)
    changed = _either(now, MaskLabel.NEW_T2, MaskLabel.ENLARGING_T2)
    if changed is not None and "t2" in t2_now:
        t2_now = {"t2": t2_now["t2"] & ~changed, "new": changed}
    plane, corner = flair[brain][:, :, cut.z], (brain[0].start, brain[1].start)
    crops = [_slice(plane, corner, cut, windows[Contrast.FLAIR], title=f"axial slice of FLAIR, {name}")]
    shown = partial(_shown, cut=cut, name=name)
    this = shown(f"FLAIR {now.visit}", flair, t2_now, window=windows[Contrast.FLAIR])
    if reference is None:
        crops += [_absent("FLAIR before", "first visit"), this, _absent("change of FLAIR", "first visit")]
    else:
        before, old = reference.images[Contrast.FLAIR], reference.outlines(t2=MaskLabel.T2_LESION)
        more = {} if (increase := now.masks.get(MaskLabel.T2_INCREASE)) is None else {"new": increase}
        crops += [
            shown(f"FLAIR {reference.visit}", before, old, window=windows[Contrast.FLAIR]),
            this,
            shown("change of FLAIR", flair - before, more, window=DIFFERENCE),
        ]
    enhancing = now.outlines(gel=MaskLabel.GEL)
    for contrast, title in _T1.items():
        if contrast in now.images:
            outlines = enhancing if contrast is Contrast.T1W_GD else {}
            crops.append(shown(title, now.images[contrast], outlines, window=windows[contrast]))
        else:
            crops.append(_absent(title, "no scan"))
    return crops


def _place(now: ShownVisit, record: LesionRecord) -> tuple[int, int, int]:
    """Voxel in the middle of the crops: of an enlarging lesion where it has grown most, else its largest section."""
    centre = (np.linalg.inv(now.affine) @ [record.x_mm, record.y_mm, record.z_mm, 1.0])[:3]
    own = _part(now.numbers == record.lesion_id, centre)
    if not own.any():
        x, y, z = np.clip(np.rint(centre).astype(int), 0, np.array(own.shape) - 1)
        return int(x), int(y), int(z)
    grown = now.masks.get(MaskLabel.T2_INCREASE)
    if record.t2_state is T2State.ENLARGING and grown is not None and (own & grown).any():
        own &= grown
    elif record.enhancing and (gel := now.masks.get(MaskLabel.GEL)) is not None and (own & gel).any():
        own &= gel
    z = int(np.argmax(own.sum(axis=(0, 1))))
    x, y = np.nonzero(own[:, :, z])
    return round(float(x.mean())), round(float(y.mean())), z


def _part(lesion: BoolArray, centre: FloatArray) -> BoolArray:
    """The part of a split lesion that is nearest to a point, in voxels."""
    parts = ConnectedComponents.of(lesion)
    return parts.highest(-((parts.centres() - centre) ** 2).sum(axis=1))


def _either(visit: ShownVisit, *labels: MaskLabel) -> BoolArray | None:
    found = [visit.masks[label] for label in labels if label in visit.masks]
    return np.any(found, axis=0) if found else None


@dataclass(frozen=True)
class _Cut:
    """A square around a point in one axial slice."""

    box: Box
    z: int
    at: tuple[int, int]
    spacing_mm: tuple[float, float]

    @classmethod
    def around(
        cls, at: tuple[int, int, int], shape: tuple[int, ...], spacing_mm: tuple[float, float, float]
    ) -> _Cut:
        def side(middle: int, length: int, step: float) -> slice:
            half = min(round(CROP_MM / step / 2), length // 2)
            start = min(max(middle - half, 0), length - 2 * half)
            return slice(start, start + 2 * half)

        x, y, z = at
        box = (side(x, shape[0], spacing_mm[0]), side(y, shape[1], spacing_mm[1]))
        return cls(box, z, (x, y), (spacing_mm[0], spacing_mm[1]))

    @property
    def scale(self) -> SvgScale:
        across, down = (box.stop - box.start for box in self.box)
        return SvgScale.of((across, down), self.spacing_mm, CROP_WIDTH)

    def of(self, data: NDArray[Any]) -> NDArray[Any]:
        """The square from a volume (axes: left, anterior)."""
        cut: NDArray[Any] = data[self.box][:, :, self.z]
        return cut


def _shown(
    title: str,
    data: FloatArray,
    outlines: Mapping[str, BoolArray],
    *,
    window: Window,
    cut: _Cut,
    name: str,
) -> dict[str, Any]:
    scale = cut.scale
    x, y = (at - box.start + 0.5 for at, box in zip(cut.at, cut.box, strict=True))
    across, down = x * scale.step[0], scale.height - y * scale.step[1]
    lines = [_picture(cut.of(data), window, CROP_WIDTH, scale.height, f"{title}, {name}")]
    lines += [
        f'<path class="o o-{kind}" d="{path}"/>'
        for kind, mask in outlines.items()
        if (path := outline(cut.of(mask), scale))
    ]
    # ticks at the edges point to the lesion and hide nothing of it
    ticks = f"M{across:.1f},0v9M{across:.1f},{scale.height:.1f}v-9M0,{down:.1f}h9M{CROP_WIDTH:.1f},{down:.1f}h-9"
    lines.append(f'<path class="tick" d="{ticks}"/><text class="s" x="4" y="15">R</text></svg>')
    return {"title": title, "svg": Markup("".join(lines)), "missing": ""}  # noqa: S704 - numbers; text is escaped


def _absent(title: str, why: str) -> dict[str, Any]:
    return {"title": title, "svg": None, "missing": why}


def _slice(plane: FloatArray, corner: tuple[int, int], cut: _Cut, window: Window, *, title: str) -> dict[str, Any]:
    """The slice of the brain, whose first voxel is `corner`, with the square of the crops."""
    scale = SvgScale.of(plane.shape, cut.spacing_mm, SLICE_WIDTH)
    (left, right), (back, front) = (
        (box.start - first, box.stop - first) for box, first in zip(cut.box, corner, strict=True)
    )
    width, height = (right - left) * scale.step[0], (front - back) * scale.step[1]
    corner_px = left * scale.step[0], scale.height - front * scale.step[1]
    svg = Markup(  # noqa: S704 - made of numbers; the title is escaped
        _picture(plane, window, SLICE_WIDTH, scale.height, title)
        + f'<rect class="box" x="{corner_px[0]:.1f}" y="{corner_px[1]:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        + '<text class="s" x="4" y="15">R</text></svg>'
    )
    return {"title": "slice", "svg": svg, "missing": ""}


def _picture(plane: NDArray[np.floating], window: Window, width: float, height: float, title: str) -> str:
    return (
        f'<svg class="crop outlined" role="img" viewBox="0 0 {width:.0f} {height:.1f}" width="{width:.0f}">'
        f"<title>{escape(title)}</title>"
        f'<image width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
        f'href="{picture(plane[:, ::-1].T, window)}"/>'
    )
