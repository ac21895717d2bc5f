"""Brain extraction on FLAIR: affine registration of the template, then deformation of its surface to the edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.holes import filled
from mri_pipeline.core.io.template import Template
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.method.brain import BrainSettings
from mri_pipeline.core.robust import median, percentile
from mri_pipeline.core.spatial import Affine, Image, LabelImage
from mri_pipeline.images.brain_edge import find_edge
from mri_pipeline.images.matching import Match, best_of, evaluate, refine
from mri_pipeline.images.resample import resample
from mri_pipeline.images.sampling import PyramidLevel, Samples, binned, downsample, foreground, level_of

_FIT = METHOD.template_fit
_STRIPPED = METHOD.skull_stripped


@dataclass(frozen=True)
class BrainExtraction:
    """Result of brain extraction on a FLAIR.

    Parameters
    ----------
    mask : LabelImage
        1 in the brain (parenchyma, ventricles, sulci), on the grid of the FLAIR.
    template_to_image : Affine
        From template world to FLAIR world coordinates.
    skull_stripped : bool
        True if the FLAIR was skull-stripped; the mask is then its non-zero part.
    quality : float
        Similarity: how much of the variation of the FLAIR within the template's brain and rim is explained by the
        template (0 to 1).
    """

    mask: LabelImage
    template_to_image: Affine
    skull_stripped: bool
    quality: float


def extract_brain(flair: Image, template: Template, *, settings: BrainSettings | None = None) -> BrainExtraction:
    """Extract the brain on a FLAIR, with or without skull.

    Parameters
    ----------
    flair : Image
        Any orientation, 2D or 3D.
    template : Template
    settings : BrainSettings, optional

    Returns
    -------
    BrainExtraction

    Raises
    ------
    AnalysisError
        If no brain is found: the template similarity is too low or the volume of the mask is implausible.
    """
    settings = settings or BrainSettings()
    match = fit_template(flair, template, settings)
    template_to_image = match.fixed_to_moving
    if match.similarity == 0:  # a uniform image, or nothing in common: there is no edge to find
        raise _no_brain(0.0, match, settings)
    stripped = is_skull_stripped(flair, template, template_to_image)
    mask = (
        _nonzero_brain(flair)
        if stripped
        else find_edge(flair, template, template_to_image, settings=settings.edge)
    )
    least, most = settings.litres
    litres = mask.volume_mm3 / 1e6
    if not least < litres < most or match.similarity < settings.least_similarity:
        raise _no_brain(litres, match, settings)
    return BrainExtraction(mask, template_to_image, stripped, match.similarity)


def _no_brain(litres: float, match: Match, settings: BrainSettings) -> AnalysisError:
    least, most = settings.litres
    unlike = match.similarity < settings.least_similarity or litres <= least
    found = "no brain in the FLAIR" if unlike else "a larger object in the FLAIR"
    return AnalysisError(
        f"expected a brain of {least} to {most} litres, found {found} ({litres:.2f} litres, template similarity "
        f"{match.similarity:.2f})",
        hint="check that the FLAIR shows a whole head or brain and that its orientation is correct",
    )


def fit_template(flair: Image, template: Template, settings: BrainSettings) -> Match:
    """Affine registration of the template to the FLAIR: several initial transforms at 8 mm, then 4 mm.

    Parameters
    ----------
    flair : Image
    template : Template
    settings : BrainSettings

    Returns
    -------
    Match
        `fixed_to_moving` is template to FLAIR.
    """
    coarse = _template_samples(template, _FIT.coarse_mm, settings.rim_mm, max_points=_FIT.coarse_points)
    level = level_of(flair, float(_FIT.coarse_mm))
    starts: list[Match] = []
    for size in settings.start_sizes:
        ranked = (evaluate(coarse, level, start, linear=False) for start in _starts(flair, coarse, size))
        best = sorted(ranked, key=lambda m: -m.similarity * min(1.0, m.overlap / _FIT.full_overlap))
        starts += best[: _FIT.kept_starts]
    fitted = _of_each_size([_staged(coarse, level, m, _FIT.coarse_stages) for m in starts], settings.same_size)
    fine = _template_samples(template, _FIT.fine_mm, settings.rim_mm, max_points=_FIT.fine_points)
    level = level_of(flair, float(_FIT.fine_mm))
    fits = [_staged(fine, level, match, _FIT.fine_stages) for match in fitted]
    return best_of(fits, _FIT.fitted_overlap)


def _of_each_size(matches: Sequence[Match], ratio: float) -> list[Match]:
    """The best match of each size of the fitted template; volumes within `ratio` of each other are one size."""
    best: list[Match] = []
    left = list(matches)
    while left:
        best.append(best_of(left, _FIT.fitted_overlap))
        left = [m for m in left if not 1 / ratio < _volume(m) / _volume(best[-1]) < ratio]
    return best


def _volume(match: Match) -> float:
    """Volume of the fitted template as a multiple of its own."""
    return float(np.linalg.det(match.fixed_to_moving.matrix[:3, :3]))


def _staged(samples: Samples, level: PyramidLevel, match: Match, stages: Sequence[int]) -> Match:
    for freedom in stages:
        match = refine(
            samples,
            level,
            match.fixed_to_moving,
            linear=False,
            degrees_of_freedom=freedom,
            iterations=_FIT.iterations,
            tolerance_mm=_FIT.tolerance_mm,
            scale_floor=_FIT.scale_floor,
            full_overlap=_FIT.fitted_overlap,
        )
    return match


def _template_samples(template: Template, spacing_mm: int, rim_mm: float, *, max_points: int) -> Samples:
    """Points of the template's brain and rim; the rim has bins of its own."""
    small = template.coarse("t1", spacing_mm)
    brain = template.coarse("brain", spacing_mm).data
    distance = ndimage.distance_transform_edt(brain < 0.5, sampling=small.grid.spacing_mm)
    index = np.argwhere(distance <= rim_mm)
    if len(index) > max_points:
        index = index[np.sort(np.random.default_rng(0).choice(len(index), max_points, replace=False))]
    where = tuple(index.T)
    values = small.data[where].astype(float)
    bins, n_bins = binned(values, _FIT.bins)
    # the template is empty outside the brain: bins by distance, for the layers of CSF, bone and scalp
    outside = brain[where] < 0.5
    ring = np.clip((distance[where] / rim_mm * _FIT.rings).astype(int), 0, _FIT.rings - 1)
    bins = np.where(outside, n_bins + ring, bins)
    return Samples(small.grid.world(index.astype(float)), values, bins, n_bins + _FIT.rings)


def _starts(flair: Image, coarse: Samples, size: float) -> list[Affine]:
    """Initial transforms: template, scaled by `size`, in the upper part of the foreground, shifted and pitched."""
    small = downsample(flair, float(_FIT.coarse_mm))
    points = small.grid.world(np.argwhere(foreground(small.data)).astype(float))
    top = percentile(points[:, 2], _FIT.top_percentile)
    upper = points[points[:, 2] > top - _FIT.upper_head_mm]
    centre = np.array([*np.median(upper[:, :2], axis=0), top - _FIT.centre_depth_mm])
    template_centre = coarse.points_mm.mean(axis=0)
    starts = []
    for up, forward, nod in product(_FIT.shifts_up_mm, _FIT.shifts_forward_mm, _FIT.nods):
        turn = np.array([[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]]) * size
        matrix = np.eye(4)
        matrix[:3, :3] = turn
        matrix[:3, 3] = centre + np.array([0.0, forward, up]) - turn @ template_centre
        starts.append(Affine(matrix))
    return starts


def is_skull_stripped(flair: Image, template: Template, template_to_image: Affine) -> bool:
    """True if the band 8 to 20 mm outside the template's brain is empty.

    A head has scalp and marrow there; a skull-stripped image is zero or nearly zero.

    Parameters
    ----------
    flair : Image
    template : Template
    template_to_image : Affine

    Returns
    -------
    bool
        False if too little of the band or of the brain lies in the field of view.
    """
    small = template.coarse("brain", _STRIPPED.spacing_mm)
    distance = ndimage.distance_transform_edt(small.data < 0.5, sampling=small.grid.spacing_mm)
    image = downsample(flair, float(_STRIPPED.spacing_mm))
    on_template = resample(image, small.grid, template_to_image.inverse(), order=1, outside=np.nan).data
    inner, outer = _STRIPPED.band_mm
    band = on_template[(distance > inner) & (distance < outer) & np.isfinite(on_template)]
    inside = on_template[(small.data > 0.5) & np.isfinite(on_template)]
    if min(band.size, inside.size) < _STRIPPED.least_voxels:
        return False
    return float(np.mean(band > _STRIPPED.empty_level * median(inside))) < _STRIPPED.most_signal


def _nonzero_brain(flair: Image) -> LabelImage:
    """Non-zero part of a skull-stripped image, with holes filled."""
    data = flair.data
    bright = data[data > 0]
    background = _STRIPPED.background_level * percentile(bright, _STRIPPED.background_percentile)
    bright = bright[bright > background]  # excludes a background slightly above 0
    level = _STRIPPED.brain_level * float(median(bright))
    parts = ConnectedComponents.of(ndimage.binary_opening(data > level), connectivity=1)
    large = parts.chosen(parts.sizes >= _STRIPPED.least_part * parts.sizes.max(initial=0))
    mask = ndimage.binary_dilation(large) & (data > level)
    return LabelImage(filled(mask), flair.grid)


def combine(
    masks: Sequence[LabelImage], share: float = 0.5, *, fields_of_view: Sequence[LabelImage] = ()
) -> LabelImage:
    """Combine the brain masks of all visits into one mask of the subject by majority.

    Parameters
    ----------
    masks : sequence of LabelImage
        At least one, on one grid.
    share : float
        A voxel is brain if at least this fraction of the masks contain it. With the default and two visits, this is
        the union.
    fields_of_view : sequence of LabelImage
        Fields of view of the visits (see `mri_pipeline.images.resample.covered`). The mask is restricted to their
        intersection: a lesion outside it would seem to appear or vanish.

    Returns
    -------
    LabelImage
        1 in the brain.

    Raises
    ------
    GridMismatchError
        If the masks are on different grids.
    """
    for mask in [*masks[1:], *fields_of_view]:
        masks[0].grid.require_same(mask.grid, "brain mask")
    votes = np.sum([mask.mask for mask in masks], axis=0)
    brain = filled(votes >= share * len(masks))
    for in_fov in fields_of_view:
        brain = brain & in_fov.mask
    return LabelImage(brain, masks[0].grid)
