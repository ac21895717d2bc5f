"""Black holes: the part of T2 lesions that is as dark as grey matter on T1 and does not enhance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mri_pipeline.lesions.components import label_lesions, structure
from mri_pipeline.model import BoolArray, Contrast, FloatArray, LabelImage, TissueMaps, VisitImages
from mri_pipeline.protocol import LesionRules


@dataclass(frozen=True)
class BlackHoleSettings:
    """Thresholds beside those of the protocol.

    Parameters
    ----------
    least_darkening : float
        A black hole is at least this share below white matter, however bright grey matter is.
    core_share : float
        A black hole is unequivocal: the least volume of one lies darker than grey matter by this share of the
        contrast between white and grey matter. Beside cortex a lesion's edge is as dark as grey matter.
    fluid_flair : float
        FLAIR below this multiple of white matter is fluid: CSF, or a cavity if it lies mostly within lesions.
    mixed_flair : float
        FLAIR below this multiple of white matter beside CSF is a mixture with it.
    """

    least_darkening: float = 0.1
    core_share: float = 1 / 3
    fluid_flair: float = 0.6
    mixed_flair: float = 1.0


def segment_black_holes(
    visit: VisitImages,
    tissue: TissueMaps,
    t2_mask: LabelImage,
    gel_mask: LabelImage | None,
    rules: LesionRules,
    *,
    settings: BlackHoleSettings | None = None,
) -> LabelImage:
    """Find the black holes of a visit with a T1.

    The rule: at or below the median of grey matter on T1 with a core that is darker still, inside a T2 lesion, not
    enhancing at this visit and not CSF, at least `rules.black_hole_min_volume_mm3`. The T1 before contrast is used;
    where there is none, the one after it. A dark piece that touches enhancement is no black hole: it is acute
    oedema or the centre of a ring.

    Parameters
    ----------
    visit : VisitImages
    tissue : TissueMaps
    t2_mask : LabelImage
        T2 lesions of this visit.
    gel_mask : LabelImage or None
        Enhancing lesions of this visit; None where that is not known.
    rules : LesionRules
    settings : BlackHoleSettings, optional

    Returns
    -------
    LabelImage
        Black holes, numbered. Empty if there is none.

    Raises
    ------
    GridMismatchError
        If a mask lies on another grid.
    KeyError
        If the visit has no T1 at all (the caller's to know).
    """
    settings = settings or BlackHoleSettings()
    visit.grid.require_same(t2_mask.grid, "T2 mask")
    t1 = visit.contrasts[Contrast.T1W if Contrast.T1W in visit.contrasts else Contrast.T1W_GD]
    lesions = t2_mask.mask & visit.brain.mask
    flair = visit.contrasts[Contrast.FLAIR].data
    threshold = darkness_threshold(t1.data, visit.brain.mask & ~lesions, tissue, settings)
    dark = lesions & (t1.data <= threshold) & ~_csf(flair, visit.brain.mask, lesions, settings)
    if gel_mask is not None:
        visit.grid.require_same(gel_mask.grid, "GEL mask")
        dark &= ~_touching(dark, gel_mask.mask)
    core = dark & (t1.data <= threshold - settings.core_share * (1.0 - threshold))
    dark = _with_core(dark, core, rules.black_hole_min_volume_mm3 / visit.grid.voxel_volume_mm3)
    return label_lesions(
        dark, visit.grid, min_volume_mm3=rules.black_hole_min_volume_mm3, connectivity=rules.connectivity
    )


def darkness_threshold(
    t1: FloatArray, outside_lesions: BoolArray, tissue: TissueMaps, settings: BlackHoleSettings
) -> float:
    """Median of grey matter on T1, at most ``1 - least_darkening``."""
    grey_matter = outside_lesions & (tissue.grey_matter.data > 0.8)
    if not grey_matter.any():
        return 1.0 - settings.least_darkening
    return min(float(np.median(t1[grey_matter])), 1.0 - settings.least_darkening)


def _csf(flair: FloatArray, brain: BoolArray, lesions: BoolArray, settings: BlackHoleSettings) -> BoolArray:
    """CSF and what is mixed with it. Fluid that lies mostly within lesions is a cavity, not CSF."""
    fluid = brain & (flair < settings.fluid_flair)
    labels, count = ndimage.label(fluid)
    if not count:
        return fluid
    size = np.bincount(labels.ravel(), minlength=count + 1)
    within = np.bincount(labels[lesions], minlength=count + 1)
    is_csf = within <= 0.5 * size
    is_csf[0] = False
    csf = is_csf[labels]
    mixed = ndimage.binary_dilation(csf) & (flair < settings.mixed_flair)
    return np.asarray(csf | mixed)


def _with_core(dark: BoolArray, core: BoolArray, least_voxels: float) -> BoolArray:
    """Connected dark pieces with so many voxels of core."""
    labels, count = ndimage.label(dark, structure(3))
    enough = np.bincount(labels[core], minlength=count + 1) >= least_voxels
    enough[0] = False
    return np.asarray(enough[labels])


def _touching(dark: BoolArray, enhancing: BoolArray) -> BoolArray:
    """Connected dark pieces that touch enhancement."""
    labels, count = ndimage.label(dark, structure(3))
    touched = np.zeros(count + 1, dtype=bool)
    touched[np.unique(labels[ndimage.binary_dilation(enhancing, structure(3))])] = True
    touched[0] = False
    return np.asarray(touched[labels])
