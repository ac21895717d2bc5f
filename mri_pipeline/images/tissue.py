"""Tissue and location maps of one patient, from template priors and the patient's intensities."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.io.template import Template
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.method.tissue import TissueSettings
from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, Grid, Image, LabelImage
from mri_pipeline.images.regions import (
    below_foramen_magnum,
    beside_medulla,
    depth_mm,
    infratentorial,
    location_labels,
    template_regions,
)
from mri_pipeline.images.resample import resample
from mri_pipeline.images.sampling import downsample
from mri_pipeline.images.tissue_classes import CSF, GREY, WHITE, classify
from mri_pipeline.images.warp import inverse_warp, pull, warp_to_image

_VENTRICLE_DEPTH_MM = METHOD.tissue_extent.ventricle_depth_mm
_SULCUS_DEPTH_MM = METHOD.tissue_extent.sulcus_depth_mm
_LEAST_SCANNED = METHOD.tissue_extent.least_scanned


def map_tissue(
    *,
    flairs: Sequence[Image],
    t1ws: Sequence[Image] = (),
    brain: LabelImage,
    template: Template,
    template_to_subject: Affine,
    lesion_prior: Image | None = None,
    settings: TissueSettings | None = None,
) -> TissueMaps:
    """Maps of white matter, grey matter, CSF, location and lesion prior in subject space.

    Parameters
    ----------
    flairs : sequence of Image
        Bias-corrected FLAIR of every visit on the grid of `brain`; at least one.
    t1ws : sequence of Image
        Bias-corrected T1 (pre-contrast if available) of the visits that have one; may be empty.
    brain : LabelImage
        Brain mask of the subject.
    template : Template
    template_to_subject : Affine
    lesion_prior : Image, optional
        Lesion prior in template world coordinates, on any grid. Default: zero everywhere.
    settings : TissueSettings, optional

    Returns
    -------
    TissueMaps
        On the grid of `brain`. Independent of the order of the visits and of the intensity scales of the images.

    Raises
    ------
    GridMismatchError
        If an image is on a different grid.
    """
    settings = settings or TissueSettings()
    flair = _mean_image(flairs, brain)
    features = _features(flair, t1ws, brain)
    displacement, coarse = _warp(flair, brain, template, template_to_subject, settings)
    points = inverse_warp(brain.grid, brain.mask, template_to_subject, displacement, coarse)
    *tissue_priors, ventricles, deep = _template_maps(template, points, brain)
    below_foramen, cistern = _lower_end(brain, template, template_to_subject)
    priors = _priors(tissue_priors, brain, settings)
    posterior = classify(features, brain, priors, settings, flow=cistern[brain.mask])
    white_matter, grey_matter, csf = (Image(posterior[k], brain.grid) for k in (WHITE, GREY, CSF))
    # by position, not by the template's cerebellum: voxels adjacent to it are cerebellum too
    below = np.zeros(brain.grid.shape, dtype=bool)
    below[brain.mask] = infratentorial(points)
    depth = depth_mm(brain)
    # fluid at the surface is a sulcus: adjacent voxels abut cortex
    sulci = (csf.data > settings.tissue) & (depth < _SULCUS_DEPTH_MM)
    cortex = (grey_matter.data > settings.tissue) & (deep < settings.deep_grey_matter) | sulci
    location = location_labels(
        brain=brain.mask,
        ventricles=patient_ventricles(csf, ventricles, (depth > _VENTRICLE_DEPTH_MM) & ~below, settings),
        cortex=cortex,
        below_tentorium=below,
        below_foramen=below_foramen,
        grid=brain.grid,
    )
    return TissueMaps(
        white_matter=white_matter,
        grey_matter=grey_matter,
        csf=csf,
        location=location,
        lesion_prior=_warped_prior(lesion_prior, brain, points),
        template_to_subject=template_to_subject,
    )


def _features(flair: Image, t1ws: Sequence[Image], brain: LabelImage) -> FloatArray:
    """Intensities in the brain, shape (1 or 2, n): FLAIR, and T1 if one covers the brain; NaN outside the T1."""
    features = [flair.data[brain.mask]]
    if whole := [t1 for t1 in t1ws if _share_scanned(t1, brain) >= _LEAST_SCANNED]:
        t1 = _mean_image(whole, brain).data[brain.mask]
        features.append(np.where(t1 > 0, t1, np.nan))
    return np.stack(features)


def _template_maps(template: Template, points_mm: FloatArray, brain: LabelImage) -> list[FloatArray]:
    """White matter, grey matter, fluid, ventricles and deep grey matter of the template in subject space.

    `points_mm` are the template coordinates of the voxels of the brain.
    """
    _, ventricles, deep = template_regions(template)
    tissue = [template.white_matter.data, template.grey_matter.data, _template_fluid(template)]
    return pull([*tissue, ventricles, deep], template.t1.grid, points_mm, brain.mask)


def _lower_end(brain: LabelImage, template: Template, template_to_subject: Affine) -> tuple[BoolArray, BoolArray]:
    """Masks of the region below the foramen magnum and of the fluid beside medulla and cord.

    The affine is used, not the warp. The outline of the brain mask drives the warp, and the lower end of the mask
    contains the cistern and some of the spinal canal, unlike the template.
    """
    to_template = template_to_subject.inverse()
    points = to_template.points(brain.grid.world(np.argwhere(brain.mask).astype(float)))
    half_mm = _half_height_mm(brain.grid, to_template)
    tissue = template.white_matter.data + template.grey_matter.data
    # the smallest share of tissue over the height of each voxel
    pulled = np.min(
        [
            pull([tissue], template.t1.grid, points + np.array([0.0, 0.0, shift_mm]), brain.mask)[0][brain.mask]
            for shift_mm in (-half_mm, 0.0, half_mm)
        ],
        axis=0,
    )
    below, cistern = (np.zeros(brain.grid.shape, dtype=bool) for _ in range(2))
    below[brain.mask] = below_foramen_magnum(points, reach_mm=half_mm)
    cistern[brain.mask] = beside_medulla(points, pulled, reach_mm=half_mm)
    return below, cistern


def _half_height_mm(grid: Grid, to_template: Affine) -> float:
    """Half the extent of a voxel along the z axis of the template, in mm."""
    edges = (to_template.matrix @ grid.affine)[2, :3]
    return float(np.abs(edges).sum() / 2)


def _mean_image(images: Sequence[Image], brain: LabelImage) -> Image:
    """Mean of the images, each scaled to a brain median of 1, over those with signal at a voxel; 0 if none has."""
    total, number = (np.zeros(brain.grid.shape, dtype=np.float32) for _ in range(2))
    for image in images:
        brain.grid.require_same(image.grid, "image for the tissue maps")
        in_fov = image.data > 0
        total += image.data / np.float32(median(image.data[brain.mask & in_fov]))
        number += in_fov
    return Image(np.asarray(total / np.maximum(number, 1.0), dtype=np.float32), brain.grid)


def _share_scanned(image: Image, brain: LabelImage) -> float:
    brain.grid.require_same(image.grid, "image for the tissue maps")
    return float(np.mean(image.data[brain.mask] > 0))


@cache
def _template_fluid(template: Template) -> FloatArray:
    tissue = template.white_matter.data + template.grey_matter.data
    return np.where(template.brain.mask, np.clip(1.0 - tissue, 0.0, 1.0), 0.0).astype(np.float32)


def _warp(
    flair: Image,
    brain: LabelImage,
    template: Template,
    template_to_subject: Affine,
    settings: TissueSettings,
) -> tuple[FloatArray, Grid]:
    """Displacement on a coarse grid, driven by the ventricles (dark on FLAIR, deep inside) and the brain outline.

    Fluid near the surface is excluded: sulci vary between subjects and would displace the cortex.
    """
    small = downsample(flair, settings.warp_grid_mm)
    theirs, deep_fluid = _template_channels(template, settings)
    inside = downsample(Image(brain.data.astype(np.float32), brain.grid), settings.warp_grid_mm).data
    middle = float(median(flair.data[brain.mask]))
    dark = np.clip((settings.dark_level - small.data / middle) / settings.dark_width, 0.0, 1.0)
    dark = dark * _deep_inside(inside > 0.5, small.grid, settings)
    return warp_to_image(
        small, [deep_fluid.data, theirs.data], theirs.grid, template_to_subject, [dark, inside], settings=settings
    )


@cache
def _template_channels(template: Template, settings: TissueSettings) -> tuple[Image, Image]:
    """Fraction of brain, and of fluid deep inside the brain, in each block of the template."""
    grid, spacing_mm = template.brain.grid, settings.warp_grid_mm / 2
    brain = downsample(Image(template.brain.mask.astype(np.float32), grid), spacing_mm)
    fluid = downsample(Image(_template_fluid(template), grid), spacing_mm)
    deep = _deep_inside(brain.data > 0.5, brain.grid, settings)
    return brain, Image((fluid.data * deep).astype(np.float32), brain.grid)


def _deep_inside(mask: BoolArray, grid: Grid, settings: TissueSettings) -> FloatArray:
    """Weight by depth below the surface: 0 up to `deep_from_mm`, rising to 1 over `deep_width_mm`."""
    depth = ndimage.distance_transform_edt(mask, sampling=grid.spacing_mm)
    return np.clip((depth - settings.deep_from_mm) / settings.deep_width_mm, 0.0, 1.0)


def _priors(warped: list[FloatArray], brain: LabelImage, settings: TissueSettings) -> FloatArray:
    """Priors in the brain, shape (3, n): blurred, with a minimum, normalised to a sum of 1."""
    sigma = [settings.prior_sigma_mm / s for s in brain.grid.spacing_mm]
    priors = np.stack([ndimage.gaussian_filter(w, sigma)[brain.mask] for w in warped])
    priors = np.maximum(priors, settings.prior_floor)
    return np.asarray(priors / priors.sum(axis=0))


def patient_ventricles(
    csf: Image, ventricle_prior: FloatArray, allowed: BoolArray, settings: TissueSettings
) -> BoolArray:
    """Lateral ventricles of the patient: fluid connected to the template's ventricles and within reach of them.

    Parameters
    ----------
    csf : Image
        Probability of fluid.
    ventricle_prior : ndarray, shape (x, y, z)
        Lateral ventricles of the template on the grid of `csf`, 0 to 1.
    allowed : ndarray of bool, shape (x, y, z)
        Possible voxels: inside the brain, above the tentorium.
    settings : TissueSettings

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        Empty if the template's ventricles lie outside the grid or contain no fluid.
    """
    seeds = ventricle_prior > settings.ventricle_seed
    near = _distance_mm(seeds, csf.grid, settings) <= settings.ventricle_reach_mm
    fluid = (csf.data > settings.tissue) & near & allowed
    parts = ConnectedComponents.of(fluid, connectivity=1)
    return parts.chosen(parts.sums(seeds) > 0)


def _distance_mm(mask: BoolArray, grid: Grid, settings: TissueSettings) -> FloatArray:
    """Distance in mm to a mask, computed from coarse blocks of which the mask fills at least `distance_share`."""
    small = downsample(Image(mask.astype(np.float32), grid), settings.distance_grid_mm)
    near = small.data >= settings.distance_share
    if not near.any():
        return np.full(grid.shape, np.inf, dtype=np.float32)
    distance = ndimage.distance_transform_edt(~near, sampling=small.grid.spacing_mm)
    return resample(Image(distance.astype(np.float32), small.grid), grid, order=1).data


def _warped_prior(prior: Image | None, brain: LabelImage, points_mm: FloatArray) -> Image:
    if prior is None:
        return Image(np.zeros(brain.grid.shape, dtype=np.float32), brain.grid)
    return Image(pull([prior.data], prior.grid, points_mm, brain.mask)[0], brain.grid)
