"""Smooth non-linear registration of the template to one patient, on a coarse grid, for tissue priors only.

The method is multi-channel demons (Thirion, Med Image Anal 1998;2:243) with Gaussian regularisation of the update and
of the displacement. The channels are the fractions of fluid and brain. Displacements are a few millimetres, and the
run time is one to two seconds. It aligns ventricles and brain edge, but not gyri.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mri_pipeline.core.method.tissue import TissueSettings
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, Grid, Image


def demons(
    fixed: Sequence[FloatArray],
    moving: Sequence[FloatArray],
    grid: Grid,
    settings: TissueSettings,
) -> FloatArray:
    """Displacement that aligns the moving channels with the fixed channels.

    Parameters
    ----------
    fixed, moving : sequence of ndarray, shape `grid.shape`
        Channels of comparable scale (probabilities).
    grid : Grid
    settings : TissueSettings
        Those of the warp.

    Returns
    -------
    ndarray, shape (3, nx, ny, nz)
        In voxels: ``moving[x + displacement(x)]`` resembles ``fixed[x]``.
    """
    spacing = np.array(grid.spacing_mm).reshape(3, 1, 1, 1)
    index: FloatArray = np.indices(grid.shape, dtype=np.float32)
    displacement = np.zeros_like(index)
    for _ in range(settings.warp_iterations):
        at = index + displacement
        force = np.zeros_like(displacement)
        weight = np.full(grid.shape, 1e-3, dtype=np.float32)
        for target, source in zip(fixed, moving, strict=True):
            warped = ndimage.map_coordinates(source, at, order=1, mode="nearest")
            difference = target - warped
            slope = np.stack([np.gradient(warped, axis=a) for a in range(3)])
            force += difference * slope
            weight += (slope**2).sum(axis=0) + settings.warp_difference_weight * difference**2
        step = force / weight
        length = np.sqrt(((step * spacing) ** 2).sum(axis=0))
        step *= np.minimum(1.0, settings.warp_longest_step_mm / np.maximum(length, 1e-6))
        update = _smooth(step, grid, settings.warp_update_sigma_mm)
        displacement = _smooth(displacement + update, grid, settings.warp_field_sigma_mm / 4)
    return displacement


def _smooth(field: FloatArray, grid: Grid, sigma_mm: float) -> FloatArray:
    sigma = [sigma_mm / s for s in grid.spacing_mm]
    return np.stack([np.asarray(ndimage.gaussian_filter(component, sigma)) for component in field])


def inverse_warp(
    target: Grid, wanted: BoolArray, source_to_target: Affine, displacement: FloatArray, coarse: Grid
) -> FloatArray:
    """Source points that correspond to voxels of `target`, by the inverse affine and a displacement.

    Parameters
    ----------
    target : Grid
    wanted : ndarray of bool, shape `target.shape`
        Voxels to transform.
    source_to_target : Affine
    displacement : ndarray, shape (3, nx, ny, nz)
        In voxels of `coarse`.
    coarse : Grid
        Grid of the displacement, in the world of the target.

    Returns
    -------
    ndarray, shape (n, 3)
        Points in source world coordinates in mm, in array order of the voxels.
    """
    to_coarse = np.linalg.inv(coarse.affine) @ target.affine
    at_coarse = to_coarse[:3, :3] @ np.argwhere(wanted).T + to_coarse[:3, 3:]
    moved = at_coarse + np.stack(
        [ndimage.map_coordinates(component, at_coarse, order=1, mode="nearest") for component in displacement]
    )
    to_source = source_to_target.inverse().matrix @ coarse.affine
    return np.asarray((to_source[:3, :3] @ moved + to_source[:3, 3:]).T)


def pull(
    images: Sequence[FloatArray | BoolArray], source: Grid, points_mm: FloatArray, wanted: BoolArray
) -> list[FloatArray]:
    """Sample images at world points and write the values to the wanted voxels.

    Parameters
    ----------
    images : sequence of ndarray, shape `source.shape`
    source : Grid
        Grid of the images.
    points_mm : ndarray, shape (n, 3)
        Source world coordinates in mm, in array order of the wanted voxels (see `inverse_warp`).
    wanted : ndarray of bool, n voxels True
        Voxels of the target grid to fill.

    Returns
    -------
    list of ndarray of float32, shape `wanted.shape`
        Linear interpolation; 0 elsewhere and outside the source.
    """
    to_index = np.linalg.inv(source.affine)
    at = to_index[:3, :3] @ points_mm.T + to_index[:3, 3:]
    result = []
    for image in images:
        pulled: FloatArray = np.zeros(wanted.shape, dtype=np.float32)
        pulled[wanted] = ndimage.map_coordinates(np.asarray(image, dtype=np.float32), at, order=1)
        result.append(pulled)
    return result


def warp_to_image(
    image: Image,
    template_channels: Sequence[FloatArray],
    template_grid: Grid,
    template_to_image: Affine,
    image_channels: Sequence[FloatArray],
    *,
    settings: TissueSettings,
) -> tuple[FloatArray, Grid]:
    """Displacement of the template channels to the image channels on the (coarse) grid of the image; see `demons`.

    Parameters
    ----------
    image : Image
        Its grid is that of the result.
    template_channels : sequence of ndarray, shape `template_grid.shape`
    template_grid : Grid
    template_to_image : Affine
        Affine alignment of the template, world coordinates in mm.
    image_channels : sequence of ndarray, shape `image.grid.shape`
        As many as `template_channels`.
    settings : TissueSettings

    Returns
    -------
    displacement : ndarray, shape (3, nx, ny, nz)
        In voxels of the image.
    grid : Grid
        Grid of the image.

    Raises
    ------
    ValueError
        If the numbers of channels differ.
    """
    matrix = np.linalg.inv(template_grid.affine) @ template_to_image.inverse().matrix @ image.grid.affine
    moved = [
        ndimage.affine_transform(
            np.asarray(channel, dtype=np.float32),
            matrix[:3, :3],
            matrix[:3, 3],
            output_shape=image.grid.shape,
            order=1,
        )
        for channel in template_channels
    ]
    return demons(image_channels, moved, image.grid, settings), image.grid
