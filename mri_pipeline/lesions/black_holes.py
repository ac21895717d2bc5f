"""Black holes: the part of T2 lesions that is as dark as grey matter on T1 and does not enhance.

T1 hypointensity is graded in the whole brain. A lesion drawn by a reader can therefore be graded too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.boxes import widened
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.method.black_holes import BlackHoleSettings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import BoolArray, FloatArray, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.components import label_lesions


class T1Hypointensity(IntEnum):
    """Grade of T1 hypointensity of a voxel, by the medians of white matter, grey matter and CSF.

    Each limit is a median or the midpoint of two medians. Gain and offset of a scan therefore do not affect the
    grades, except where grey matter is less than `BlackHoleSettings.least_darkening` below white matter. Fluid
    outside lesions has grade 0.
    """

    NORMAL = 0
    HYPOINTENSE = 1  # closer to grey than to white matter
    AS_GREY_MATTER = 2  # at or below grey matter; in grey matter, below it by `core_share`. Possible black hole
    SEVERE = 3  # closer to CSF than to grey matter


@dataclass(frozen=True)
class DarkTissue:
    """T1-hypointense tissue of a visit.

    Parameters
    ----------
    black_holes : LabelImage
        Numbered black holes; zeros if there is none.
    t1_hypointensity : LabelImage
        The `T1Hypointensity` of every voxel of the brain.
    """

    black_holes: LabelImage
    t1_hypointensity: LabelImage


def segment_black_holes(
    visit: VisitImages,
    tissue: TissueMaps,
    t2_mask: LabelImage,
    gel_mask: LabelImage | None,
    rules: LesionRules,
    *,
    settings: BlackHoleSettings | None = None,
) -> DarkTissue:
    """Segment the black holes of a visit with a T1.

    A black hole is at or below the median of grey matter on T1 and has a darker core. It lies inside a T2 lesion,
    does not enhance at this visit, is neither CSF nor grey matter, and has at least
    `rules.black_hole_min_volume_mm3`. There is none outside the field of view of T1. The pre-contrast T1 is used. If
    it is missing, the post-contrast T1 is used, which has different intensity levels (the pipeline then leaves black
    holes empty). A dark component that touches enhancement is not a black hole: it is acute oedema or the centre of
    an enhancing ring.

    Parameters
    ----------
    visit : VisitImages
    tissue : TissueMaps
    t2_mask : LabelImage
        T2 lesions of this visit. An empty mask gives no black hole.
    gel_mask : LabelImage or None
        Enhancing lesions of this visit; None if enhancement is unknown.
    rules : LesionRules
    settings : BlackHoleSettings, optional

    Returns
    -------
    DarkTissue

    Raises
    ------
    GridMismatchError
        If a mask is on a different grid.
    KeyError
        If the visit has no T1; the caller must check this.
    """
    settings = settings or BlackHoleSettings()
    visit.grid.require_same(t2_mask.grid, "T2 mask")
    used = Contrast.T1W if Contrast.T1W in visit.contrasts else Contrast.T1W_GD
    t1, scanned = visit.contrasts[used].data, visit.scanned(used)
    lesions = t2_mask.mask & visit.brain.mask
    grey = grey_matter_level(t1, scanned & ~lesions, tissue, settings)
    core = grey - settings.core_share * (1.0 - grey)
    graded = scanned & ~_csf(visit.contrasts[Contrast.FLAIR].data, visit.brain.mask, lesions, settings)
    fluid = (
        scanned
        & (visit.contrasts[Contrast.FLAIR].data < settings.fluid_flair)
        & (tissue.csf.data > settings.sure_csf)
    )
    t1_hypointensity = _t1_hypointensity(t1, graded, grey, float(median(t1[fluid])) if fluid.any() else 0.0)
    # grey matter itself is not hypointense: only voxels below the core level keep the grade
    t1_hypointensity[
        (tissue.grey_matter.data > settings.grey_matter)
        & (t1_hypointensity == T1Hypointensity.AS_GREY_MATTER)
        & (t1 > core)
    ] = T1Hypointensity.HYPOINTENSE
    if gel_mask is not None:
        visit.grid.require_same(gel_mask.grid, "GEL mask")
    dark = t1_hypointensity >= T1Hypointensity.AS_GREY_MATTER
    dark = countable(dark, lesions, None if gel_mask is None else gel_mask.mask)
    dark = _with_core(dark, dark & (t1 <= core), rules.black_hole_min_volume_mm3 / visit.grid.voxel_volume_mm3)
    holes = label_lesions(
        dark, visit.grid, min_volume_mm3=rules.black_hole_min_volume_mm3, connectivity=rules.connectivity
    )
    return DarkTissue(holes, LabelImage(t1_hypointensity, visit.grid))


def countable(dark: BoolArray, t2: BoolArray, gel: BoolArray | None) -> BoolArray:
    """Part of a T1-hypointense mask that can be a black hole: inside T2 lesions and not enhancing.

    What lies outside T2 lesions is cut off. A connected component of the rest that touches enhancement is removed. The
    rule is the same for segmented and for drawn black holes.

    Parameters
    ----------
    dark, t2 : ndarray of bool, shape (x, y, z)
    gel : ndarray of bool or None
        None if enhancement is unknown.

    Returns
    -------
    ndarray of bool
        The minimum volume is not applied.
    """
    inside = np.asarray(dark & t2)
    return inside if gel is None else np.asarray(inside & ~_touching(inside, gel))


def grey_matter_level(
    t1: FloatArray, outside_lesions: BoolArray, tissue: TissueMaps, settings: BlackHoleSettings
) -> float:
    """Median of grey matter on T1, at most ``1 - least_darkening``.

    Parameters
    ----------
    t1 : ndarray of float
        T1, white matter 1.
    outside_lesions : ndarray of bool
        Brain voxels within the field of view and outside lesions.
    tissue : TissueMaps
    settings : BlackHoleSettings

    Returns
    -------
    float
        ``1 - least_darkening`` if there is no grey matter.
    """
    grey_matter = outside_lesions & (tissue.grey_matter.data > settings.sure_grey_matter)
    if not grey_matter.any():
        return 1.0 - settings.least_darkening
    return min(float(median(t1[grey_matter])), 1.0 - settings.least_darkening)


def _t1_hypointensity(t1: FloatArray, graded: BoolArray, grey: float, fluid: float) -> NDArray[np.uint8]:
    """Grade of every voxel of `graded`, by the levels of grey matter and CSF; white matter is 1."""
    limits = {
        T1Hypointensity.HYPOINTENSE: (1.0 + grey) / 2,
        T1Hypointensity.AS_GREY_MATTER: grey,
        T1Hypointensity.SEVERE: (grey + min(fluid, grey)) / 2,
    }
    t1_hypointensity = np.zeros(t1.shape, dtype=np.uint8)
    for grade, limit in limits.items():
        t1_hypointensity[graded & (t1 <= limit)] = grade
    return t1_hypointensity


def hypointense(
    t1_hypointensity: LabelImage | None,
    t2: LabelImage,
    gel: LabelImage | None,
    black_holes: LabelImage | None,
    rules: LesionRules,
) -> LabelImage | None:
    """T1-hypointense lesions: the black holes, and the dark parts of T2 lesions that do not enhance.

    Parameters
    ----------
    t1_hypointensity : LabelImage or None
        `T1Hypointensity` of the visit.
    t2, gel, black_holes : LabelImage
        Lesions of the visit, confirmed or not; `gel` is None if enhancement is unknown.
    rules : LesionRules
        The minimum volume is that of a black hole.

    Returns
    -------
    LabelImage or None
        Numbered lesions; None if `t1_hypointensity` or `black_holes` is None.
    """
    if t1_hypointensity is None or black_holes is None:
        return None
    dark = t2.mask & (t1_hypointensity.data >= T1Hypointensity.HYPOINTENSE)
    if gel is not None:
        dark &= ~gel.mask
    return label_lesions(
        dark | black_holes.mask,
        t2.grid,
        min_volume_mm3=rules.black_hole_min_volume_mm3,
        connectivity=rules.connectivity,
    )


def severe(t1_hypointensity: LabelImage | None, black_holes: LabelImage | None) -> LabelImage | None:
    """Part of the black holes that is closer to CSF than to grey matter on T1.

    Parameters
    ----------
    t1_hypointensity : LabelImage or None
        `T1Hypointensity` of the visit.
    black_holes : LabelImage or None
        Black holes of the visit, on the same grid.

    Returns
    -------
    LabelImage or None
        0 and 1, not numbered; None if either input is None.
    """
    if t1_hypointensity is None or black_holes is None:
        return None
    return LabelImage(black_holes.mask & (t1_hypointensity.data == T1Hypointensity.SEVERE), black_holes.grid)


def _csf(flair: FloatArray, brain: BoolArray, lesions: BoolArray, settings: BlackHoleSettings) -> BoolArray:
    """CSF and its partial volume. A fluid component mostly within lesions is a cavity, not CSF."""
    fluid = brain & (flair < settings.fluid_flair)
    parts = ConnectedComponents.of(fluid, connectivity=1)
    csf = parts.chosen(parts.means(lesions) <= 0.5)
    mixed = ndimage.binary_dilation(csf) & (flair < settings.mixed_flair)
    return np.asarray(csf | mixed)


def _with_core(dark: BoolArray, core: BoolArray, least_voxels: float) -> BoolArray:
    """Connected dark components with at least `least_voxels` core voxels."""
    parts = ConnectedComponents.of(dark)
    return parts.chosen(parts.sums(core) >= least_voxels)


def _touching(dark: BoolArray, enhancing: BoolArray) -> BoolArray:
    """Connected dark components that touch enhancement."""
    parts = ConnectedComponents.of(dark)
    return parts.chosen(parts.sums(widened(enhancing, (1, 1, 1))) > 0)
