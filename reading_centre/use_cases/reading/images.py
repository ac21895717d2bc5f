"""Images of the reading view: defaced, in RAS order, on the canvas, cached in ``work/``."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.derivative_layout import SpaceFiles
from mri_pipeline.core.errors import ReadingCentreError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.spatial import BoolArray, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.reading.canvas import (
    Canvas,
    Shape,
    display_difference,
    display_values,
    display_window,
    flat,
    head_box,
)
from mri_pipeline.reading.items import ReadingItem
from reading_centre.use_cases.reading.faces import PackedMask, locate_faces
from reading_centre.use_cases.reading.faults import UnavailableError

_LOG = logging.getLogger(__name__)

PANES: Mapping[str, tuple[str, Contrast]] = {
    "flair": ("FLAIR", Contrast.FLAIR),
    "t1": ("T1", Contrast.T1W),
    "t1_gd": ("T1 + Gd", Contrast.T1W_GD),
    "t2": ("T2", Contrast.T2W),
    "pd": ("PD", Contrast.PDW),
}
"""Title and contrast of the panes, in their order."""
SUBTRACTION, PREVIOUS = "subtraction", "previous_"
CACHE: Final = "reading_room"
"""Folder of the images within ``work/``."""
_VERSION = 1  # of the cached files


@dataclass(frozen=True)
class Volume:
    """One image on the canvas.

    Parameters
    ----------
    content : bytes
        uint16, little endian, x fastest.
    window : tuple of 2 int
        Black and white.
    """

    content: bytes
    window: tuple[int, int]

    def values(self, shape: Shape) -> NDArray[np.uint16]:
        """The voxels.

        Parameters
        ----------
        shape : tuple of 3 int

        Returns
        -------
        ndarray of uint16, shape of the canvas
        """
        return np.frombuffer(self.content, dtype="<u2").reshape(shape, order="F")


class Heads:
    """Brain, head box and face of the subjects of a trial, each computed once.

    Parameters
    ----------
    trial : Trial
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._boxes: dict[tuple[str, int], tuple[Shape, Shape]] = {}
        self._faces: dict[tuple[str, int], PackedMask] = {}
        self._lock = Lock()

    def brain(self, subject: str) -> LabelImage:
        """The brain of a subject, in RAS order.

        Parameters
        ----------
        subject : str
            Blinded code.

        Returns
        -------
        LabelImage
        """
        return nifti.load_labels(self._space(subject).brain).reoriented()

    def box(self, subject: str) -> tuple[Shape, Shape]:
        """The box of the head of a subject in the RAS grid.

        Parameters
        ----------
        subject : str
            Blinded code.

        Returns
        -------
        low, high : tuple of 3 int
            As `mri_pipeline.reading.canvas.head_box`.
        """
        key = self._key(subject)
        if key not in self._boxes:
            self._boxes[key] = head_box(self.brain(subject))
        return self._boxes[key]

    def face(self, subject: str) -> LabelImage:
        """The voxels of the face of a subject, on the subject's grid.

        Parameters
        ----------
        subject : str
            Blinded code.

        Returns
        -------
        LabelImage

        Raises
        ------
        AnalysisError
            If the face cannot be located.
        """
        key = self._key(subject)
        with self._lock:
            if key not in self._faces:
                found, failed = locate_faces([self._space(subject)])
                if failed:
                    raise failed[subject]
                self._faces[key] = found[subject]
            return self._faces[key].unpacked()

    def _space(self, subject: str) -> SpaceFiles:
        return self._trial.derivatives.space(subject)

    def _key(self, subject: str) -> tuple[str, int]:
        return subject, self._space(subject).brain.stat().st_mtime_ns


class CaseImages:
    """The images of one visit, and of the previous one where the protocol allows it.

    Parameters
    ----------
    trial : Trial
    heads : Heads
    item : ReadingItem
    previous : ReadingItem or None
    canvas : Canvas
    deface : bool
    """

    def __init__(
        self,
        trial: Trial,
        heads: Heads,
        item: ReadingItem,
        previous: ReadingItem | None,
        canvas: Canvas,
        *,
        deface: bool,
    ) -> None:
        self._cache = trial.work / CACHE
        self._heads, self._item, self._previous = heads, item, previous
        self._canvas, self._deface = canvas, deface

    @property
    def panes(self) -> list[dict[str, object]]:
        """Id, title, visit and window of each pane. A window is the same for both visits."""
        panes: list[dict[str, object]] = []
        for visit, item, prefix in (("current", self._item, ""), ("previous", self._previous, PREVIOUS)):
            if item is None:
                continue
            titles = {name: title for name, (title, contrast) in PANES.items() if contrast in item.images}
            if {"t1", "t1_gd"} <= set(titles):
                titles[SUBTRACTION] = "Subtraction"
            for name, title in titles.items():
                own = name if self._has(name) else f"{prefix}{name}"
                window = self._window(own)
                panes.append({"id": f"{prefix}{name}", "title": title, "visit": visit, "window": window})
        return panes

    def has(self, pane: str) -> bool:
        """True if the case has a pane of this id.

        Parameters
        ----------
        pane : str

        Returns
        -------
        bool
        """
        name, item = pane.removeprefix(PREVIOUS), self._previous if pane.startswith(PREVIOUS) else self._item
        return item is not None and self._has(name, item)

    def volume(self, pane: str) -> Volume:
        """One image on the canvas.

        Parameters
        ----------
        pane : str
            As `has`.

        Returns
        -------
        Volume

        Raises
        ------
        KeyError
            If the case has no previous visit.
        UnavailableError
            If an image is missing or damaged, or the face cannot be located.
        """
        item = self._shown(pane)
        path = self._cached(pane, item)
        if (kept := self._kept(path)) is not None:
            return kept
        try:
            volume = self._made(pane.removeprefix(PREVIOUS), item)
        except (ReadingCentreError, OSError) as error:
            _LOG.error("subject %s, visit %s: %s cannot be shown: %s", item.subject, item.visit, pane, error)
            raise UnavailableError(
                f"expected the images of this case, found images that cannot be read ({type(error).__name__})",
                hint="tell the reading centre the code of the case",
            ) from error
        try:
            write_atomic(path, json.dumps(volume.window).encode() + b"\n" + volume.content, mode=0o600)
        except OSError as error:  # a full disk, or a folder of another user: the image is made again next time
            _LOG.warning("a displayed image could not be kept (%s)", type(error).__name__)
        return volume

    def _kept(self, path: Path) -> Volume | None:
        """A cached image. None if there is none, or it is damaged or of another user of the system."""
        try:
            header, _, voxels = path.read_bytes().partition(b"\n")
            low, high = json.loads(header)
        except (OSError, ValueError, TypeError):
            return None
        return Volume(voxels, (low, high)) if len(voxels) == 2 * prod(self._canvas.shape) else None

    def _window(self, pane: str) -> tuple[int, int]:
        try:
            with self._cached(pane, self._shown(pane)).open("rb") as stream:  # without the voxels
                low, high = json.loads(stream.readline())
        except (OSError, ValueError, TypeError):
            return self.volume(pane).window
        return low, high

    def files(self) -> set[Path]:
        """The cached files of the visit, whether they are there or not.

        Returns
        -------
        set of Path
        """
        return {self._cached(name, self._item) for name in (*PANES, SUBTRACTION) if self._has(name)}

    def _shown(self, pane: str) -> ReadingItem:
        item = self._previous if pane.startswith(PREVIOUS) else self._item
        if item is None:
            raise KeyError(pane)
        return item

    @cached_property
    def brain(self) -> BoolArray:
        """The brain on the canvas."""
        return self._canvas.cut(self._heads.brain(self._item.subject).mask)

    def _has(self, name: str, item: ReadingItem | None = None) -> bool:
        images = (item or self._item).images
        if name == SUBTRACTION:
            return {Contrast.T1W, Contrast.T1W_GD} <= set(images)
        return name in PANES and PANES[name][1] in images

    def _made(self, name: str, item: ReadingItem) -> Volume:
        brain = self._heads.brain(item.subject)
        if name == SUBTRACTION:
            values = display_difference(self._image(item, Contrast.T1W_GD), self._image(item, Contrast.T1W), brain)
        else:
            values = display_values(self._image(item, PANES[name][1]), brain)
        cut = self._canvas.cut(values)
        return Volume(flat(cut).astype("<u2").tobytes(), display_window(cut, self.brain))

    def _image(self, item: ReadingItem, contrast: Contrast) -> Image:
        image = nifti.load_image(item.images[contrast])
        if self._deface:
            face = self._heads.face(item.subject)
            image.grid.require_same(face.grid, "face")
            image = Image(np.where(face.mask, np.float32(0), image.data), image.grid)
        return image.reoriented()

    def _cached(self, pane: str, item: ReadingItem) -> Path:
        name = pane.removeprefix(PREVIOUS)
        contrasts = [Contrast.T1W_GD, Contrast.T1W] if name == SUBTRACTION else [PANES[name][1]]
        files = [
            (str(path), path.stat().st_mtime_ns) for path in (item.images[contrast] for contrast in contrasts)
        ]
        content = [_VERSION, name, files, self._canvas.origin, self._canvas.shape, self._deface]
        return self._cache / hashlib.sha256(json.dumps(content).encode()).hexdigest()[:40]
