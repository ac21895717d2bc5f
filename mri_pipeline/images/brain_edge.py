"""Edge of the brain on one scan: the template's surface, displaced along its normals to the edge of tissue.

The method is a one-step active surface (Cootes et al., Comput Vis Image Underst 1995;61:38, search along normals). At
every point of the template's brain surface, a profile of the scan is sampled from inside to outside. The displacement
that best separates tissue from CSF and bone is selected. Costs are averaged over neighbouring points. The surface
therefore spans sulci, avoids eyes and scalp, and keeps the shape of the template where the scan has no information.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

from mri_pipeline.core.boxes import box_around
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.crop import Crop
from mri_pipeline.core.holes import filled
from mri_pipeline.core.io.template import Template
from mri_pipeline.core.method.brain import EdgeSettings
from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, Grid, Image, LabelImage
from mri_pipeline.images.resample import resample
from mri_pipeline.images.sampling import downsample


@dataclass(frozen=True)
class Surface:
    """The brain surface of the template.

    Parameters
    ----------
    depth : Image
        Signed distance in mm, positive inside.
    points_mm, normals : ndarray, shape (n, 3)
        In template world coordinates; normals point outwards and have length 1.
    neighbours : csr_array, shape (n, n)
        Averaging weights of neighbouring points; rows sum to 1.
    band : ndarray of bool, shape (x, y, z)
        Voxels of `depth` within reach of the surface.
    nearest : ndarray of int, shape (m,)
        Index of the nearest surface point of each voxel of `band`.
    """

    depth: Image
    points_mm: FloatArray
    normals: FloatArray
    neighbours: sparse.csr_array
    band: BoolArray
    nearest: NDArray[np.integer[Any]]


def signed_distance(mask: BoolArray, grid: Grid) -> FloatArray:
    """Signed distance to the surface of a mask in mm, positive inside.

    Parameters
    ----------
    mask : ndarray of bool, shape `grid.shape`
    grid : Grid
        Its voxel size gives the distances in mm.

    Returns
    -------
    ndarray of float32, shape `grid.shape`
        Measured between voxel centres.
    """
    inside = ndimage.distance_transform_edt(mask, sampling=grid.spacing_mm)
    outside = ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm)
    return np.asarray(inside - outside, dtype=np.float32)


@cache
def template_surface(template: Template, settings: EdgeSettings) -> Surface:
    """Surface of the template's brain with all precomputed data; independent of the scan.

    Parameters
    ----------
    template : Template
    settings : EdgeSettings
        Voxel size of the surface, search range and smoothing in mm.

    Returns
    -------
    Surface
        Cached: the same template and settings give the same object.
    """
    small = downsample(Image(template.brain.mask.astype(np.float32), template.brain.grid), settings.surface_mm)
    pad = int(np.ceil(settings.padding_mm / min(small.grid.spacing_mm)))
    affine = small.grid.affine.copy()
    affine[:3, 3] = small.grid.world(np.full((1, 3), -float(pad)))[0]
    brain = np.pad(small.data, pad)
    grid = Grid((brain.shape[0], brain.shape[1], brain.shape[2]), affine)
    mask = ndimage.gaussian_filter(brain, settings.mask_smoothing) > 0.5
    depth = ndimage.gaussian_filter(signed_distance(mask, grid), settings.depth_smoothing)
    index = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    at = tuple(index.T)
    slope = np.stack([-np.gradient(depth, axis=a)[at] for a in range(3)], axis=1)
    normals = slope @ np.linalg.inv(affine[:3, :3])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    points = grid.world(index.astype(float)) + normals * depth[at][:, None]
    band = np.abs(depth) < settings.reach_mm + 2 * settings.surface_mm
    _, nearest = cKDTree(points).query(grid.world(np.argwhere(band).astype(float)))
    neighbours = _neighbours(points, normals, settings.smoothing_mm, settings.same_side)
    return Surface(Image(depth, grid), points, normals, neighbours, band, np.asarray(nearest))


def _neighbours(points: FloatArray, normals: FloatArray, sigma_mm: float, same_side: float) -> sparse.csr_array:
    tree = cKDTree(points)
    pairs = tree.sparse_distance_matrix(tree, 2 * sigma_mm, output_type="coo_matrix")
    weight = np.exp(-0.5 * (pairs.data / sigma_mm) ** 2)
    weight *= (normals[pairs.row] * normals[pairs.col]).sum(axis=1) > same_side
    total = np.bincount(pairs.row, weight, len(points)) + 1.0
    own = np.arange(len(points))
    return sparse.csr_array(
        (
            np.concatenate([weight / total[pairs.row], 1.0 / total]),
            (np.concatenate([pairs.row, own]), np.concatenate([pairs.col, own])),
        ),
        shape=(len(points), len(points)),
    )


def find_edge(
    image: Image, template: Template, template_to_image: Affine, *, settings: EdgeSettings | None = None
) -> LabelImage:
    """Segment the brain on a scan with bright tissue and dark surroundings (FLAIR).

    Parameters
    ----------
    image : Image
        Any grid.
    template : Template
    template_to_image : Affine
        Transform that places the template's surface within `reach_mm` of that of the scan.
    settings : EdgeSettings, optional

    Returns
    -------
    LabelImage
        1 in the brain including sulci and ventricles, on the grid of the scan. The edge is that of the template
        outside the field of view and where the scan has no information.
    """
    settings = settings or EdgeSettings()
    surface = template_surface(template, settings)
    small = downsample(image, settings.denoised_mm)
    brightness = _local_brightness(image, surface.depth, template_to_image, settings)
    evidence = _evidence(small, brightness, surface, template_to_image, settings)
    moved = _moved(surface, _best_shift(evidence, surface, settings), settings)
    crop = _around(moved, image.grid, template_to_image, settings.around_mm)
    depth = resample(moved, crop.inner, template_to_image, order=1, outside=-settings.padding_mm)
    brain = (depth.data > 0) | _crowns(depth, small, brightness, settings)
    brain &= ~_fat(crop.image(image), brightness, brain, settings)
    parts = ConnectedComponents.of(brain, connectivity=1)
    return crop.restored(LabelImage(filled(parts.highest(parts.sizes)), crop.inner))


def _moved(surface: Surface, shift: FloatArray, settings: EdgeSettings) -> Image:
    """Signed distance to the displaced surface, in template space."""
    field: FloatArray = np.zeros(surface.band.shape, dtype=np.float32)
    field[surface.band] = shift[surface.nearest]
    weight = ndimage.gaussian_filter(surface.band.astype(np.float32), settings.field_smoothing)
    field = ndimage.gaussian_filter(field, settings.field_smoothing) / np.maximum(weight, 1e-3)
    return Image((surface.depth.data + field + settings.margin_mm).astype(np.float32), surface.depth.grid)


def _evidence(
    image: Image, brightness: Image, surface: Surface, template_to_image: Affine, settings: EdgeSettings
) -> FloatArray:
    """Evidence of tissue (1) or no tissue (-1) along every profile, shape (points, steps); 0 is unknown."""
    before = settings.reach_mm + settings.inside_mm
    steps = np.arange(-before, settings.reach_mm + settings.outside_mm, settings.step_mm) + 0.5 * settings.step_mm
    profile = surface.points_mm[:, None] + surface.normals[:, None] * steps[:, None]
    points = template_to_image.points(profile.reshape(-1, 3))
    data, in_fov = _read(image, points)
    nearby, _ = _read(brightness, points)
    share = data / np.maximum(nearby, 1e-6)
    sure = np.clip((share - settings.tissue_share) / settings.softness, -1.0, 1.0)
    return np.where(in_fov, sure, 0.0).reshape(len(profile), len(steps))


def _read(image: Image, points_mm: FloatArray) -> tuple[FloatArray, BoolArray]:
    matrix = np.linalg.inv(image.grid.affine)
    index = matrix[:3, :3] @ points_mm.T + matrix[:3, 3:]
    size = np.array(image.grid.shape)[:, None]
    inside: BoolArray = np.asarray(((index >= -0.5) & (index <= size - 0.5)).all(axis=0))
    return ndimage.map_coordinates(image.data, index, order=1, mode="nearest"), inside


def _local_brightness(image: Image, depth: Image, template_to_image: Affine, settings: EdgeSettings) -> Image:
    """Local brightness of brain tissue: Gaussian mean over plausible tissue well inside the brain."""
    small = downsample(image, settings.brightness_grid_mm)
    inside = resample(depth, small.grid, template_to_image, order=1, outside=-1.0).data
    sure = inside > settings.brightness_depth_mm
    if not sure.any():
        return Image(np.ones_like(small.data), small.grid)
    middle = float(median(small.data[sure]))
    low, high = (share * middle for share in settings.plausible)
    weight = (sure & (small.data > low) & (small.data < high)).astype(np.float32)
    sigma = [settings.brightness_sigma_mm / s for s in small.grid.spacing_mm]
    total = ndimage.gaussian_filter(weight, sigma)
    mean = ndimage.gaussian_filter(weight * small.data, sigma)
    data = np.where(total > 1e-3, mean / np.maximum(total, 1e-3), middle)
    return Image(data.astype(np.float32), small.grid)


def _best_shift(evidence: FloatArray, surface: Surface, settings: EdgeSettings) -> FloatArray:
    """Outward shift in mm of every point with the lowest cost (tissue outside, none inside), averaged over neighbours.

    The shift is refined to less than one step by a parabola.
    """
    step_mm = settings.step_mm
    shifts = np.arange(-settings.reach_mm, settings.reach_mm + 0.5 * step_mm, step_mm)
    inside, outside = round(settings.inside_mm / step_mm), round(settings.outside_mm / step_mm)
    # total[:, j] - total[:, i]: integral of the evidence over steps i to j - 1 of each profile
    total = np.pad(np.cumsum(evidence, axis=1), ((0, 0), (1, 0))) * step_mm
    # step of the surface at each shift; the profile starts `inside` steps before it
    at = inside + np.arange(len(shifts))
    # tissue outside the surface minus tissue inside it
    cost = (
        total[:, at - inside]
        + total[:, at + outside]
        - 2 * total[:, at]
        + settings.displacement_penalty * np.abs(shifts)
    )
    cost = surface.neighbours @ cost
    best = cost.argmin(axis=1)
    return np.asarray(surface.neighbours @ (shifts[best] + step_mm * _vertex(cost, best)))


def _vertex(cost: FloatArray, best: NDArray[np.intp]) -> FloatArray:
    """Vertex of the parabola through the lowest cost and its neighbours, in steps from it, -0.5 to 0.5.

    0 where the lowest cost is at an end of the range or the costs do not bend upwards.
    """
    rows = np.arange(len(cost))
    middle = np.clip(best, 1, cost.shape[1] - 2)
    low, at_best, high = (cost[rows, middle + k] for k in (-1, 0, 1))
    bend = low - 2 * at_best + high
    part = np.where((middle == best) & (bend > 1e-6), 0.5 * (low - high) / np.maximum(bend, 1e-6), 0.0)
    return np.asarray(np.clip(part, -0.5, 0.5))


def _crowns(depth: Image, image: Image, brightness: Image, settings: EdgeSettings) -> BoolArray:
    """Voxels just outside the surface that are as bright as tissue: crowns of gyri that the smooth surface cuts off.

    `depth` is the signed distance to the surface on the grid of the result.
    """
    near = np.argwhere((depth.data <= 0) & (depth.data > -settings.crown_mm))
    points = depth.grid.world(near.astype(float))
    crowns = np.zeros(depth.grid.shape, dtype=bool)
    crowns[tuple(near.T)] = _read(image, points)[0] > settings.tissue_share * _read(brightness, points)[0]
    return crowns


def _fat(image: Image, brightness: Image, brain: BoolArray, settings: EdgeSettings) -> BoolArray:
    """Components far brighter than brain and mostly outside it: orbital fat, not lesions."""
    middle = float(median(brightness.data))
    nearby = resample(brightness, image.grid, Affine.identity(), order=1, outside=middle).data
    parts = ConnectedComponents.of(image.data > settings.fat_share * nearby, connectivity=1)
    return parts.chosen(parts.means(~brain) > settings.fat_outside)


def _around(depth: Image, grid: Grid, template_to_image: Affine, margin_mm: float) -> Crop:
    """Box of a grid that contains the brain and a margin; at least one voxel."""
    brain = np.argwhere(depth.data > -margin_mm).astype(float)
    corners = np.array(list(product(*zip(brain.min(axis=0) - 1, brain.max(axis=0) + 1, strict=True))))
    world = template_to_image.points(depth.grid.world(corners))
    voxels = Affine(np.linalg.inv(grid.affine)).points(world)
    x, y, z = box_around(voxels, grid.shape)
    return Crop(grid, (x, y, z))
