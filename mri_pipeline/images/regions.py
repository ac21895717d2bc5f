"""Anatomical regions for lesion location: landmarks in MNI coordinates (mm), distances in the patient.

The template (ICBM 2009a) has no labels for ventricles or the posterior fossa. Both are derived here from its tissue
maps and a few planes in MNI coordinates. They were checked visually on the template in all three directions.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from scipy import ndimage

from mri_pipeline.core.anatomy import BELOW_FORAMEN_MAGNUM, LOCATION_LABELS, Location
from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.io.template import Template
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, Image, LabelImage
from mri_pipeline.images.resample import resample
from mri_pipeline.images.sampling import downsample

PERIVENTRICULAR_MM = METHOD.regions.periventricular_mm
JUXTACORTICAL_MM = METHOD.regions.juxtacortical_mm
FORAMEN_MAGNUM_Z_MM = METHOD.regions.foramen_magnum_z_mm
PONTOMEDULLARY_SULCUS_Z_MM = METHOD.regions.pontomedullary_sulcus_z_mm
CISTERN_X_MM = METHOD.regions.cistern_x_mm


def infratentorial(points_mm: FloatArray) -> BoolArray:
    """True for MNI points, shape (..., 3) in mm, below the tentorium: cerebellum and brainstem.

    The tentorium is modelled as a roof that descends laterally from the midline, steeply at first, and posteriorly.
    The petrous ridges are the anterior limit. The brainstem is a vertical elliptic column up to the midbrain.

    Parameters
    ----------
    points_mm : ndarray, shape (..., 3)
        MNI coordinates in mm.

    Returns
    -------
    ndarray of bool, shape (...)

    Examples
    --------
    >>> pons, cerebellum = [0, -25, -30], [20, -65, -40]
    >>> white_matter, temporal_pole = [30, -20, 40], [45, -10, -25.0]
    >>> infratentorial(np.array([pons, cerebellum, white_matter, temporal_pole])).tolist()
    [True, True, False, False]
    """
    x, y, z = np.abs(points_mm[..., 0]), points_mm[..., 1], points_mm[..., 2]
    fossa = METHOD.regions.posterior_fossa
    sides = np.maximum(fossa.medial_z_mm - fossa.medial_slope * x, fossa.lateral_z_mm - fossa.lateral_slope * x)
    behind = np.maximum(0.0, fossa.posterior_y_mm - y)
    roof = np.maximum(sides - fossa.posterior_slope * behind, fossa.lowest_z_mm)
    behind_ridge = y < fossa.petrous_y_mm - fossa.petrous_slope * (x - fossa.petrous_x_mm)
    below_roof = (z < roof) & behind_ridge & ((y < fossa.incisura_y_mm) | (z < fossa.incisura_z_mm))
    across, along = fossa.brainstem_half_axes_mm
    column = (x / across) ** 2 + ((y - fossa.brainstem_y_mm) / along) ** 2 < 1.0
    floor = (z < fossa.floor_z_mm) & (y < fossa.floor_y_mm)
    return np.asarray(below_roof | (column & (z < fossa.brainstem_top_z_mm)) | floor)


def below_foramen_magnum(points_mm: FloatArray, *, reach_mm: float = 0.0) -> BoolArray:
    """True for MNI points below the foramen magnum: the cord and the fluid around it.

    Parameters
    ----------
    points_mm : ndarray, shape (..., 3)
        MNI coordinates in mm.
    reach_mm : float
        Half the height of a voxel. A voxel that reaches below the foramen magnum holds some of the fluid there.

    Returns
    -------
    ndarray of bool, shape (...)

    Examples
    --------
    >>> medulla, cord = [0, -40, -58], [0, -46, -70.0]
    >>> below_foramen_magnum(np.array([medulla, cord])).tolist()
    [False, True]
    """
    return np.asarray(points_mm[..., 2] - reach_mm < FORAMEN_MAGNUM_Z_MM)


def beside_medulla(points_mm: FloatArray, tissue: FloatArray, *, reach_mm: float = 0.0) -> BoolArray:
    """True for MNI points in the fluid beside the medulla and the cord.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        MNI coordinates in mm.
    tissue : ndarray, shape (n,)
        Probability of white or grey matter of the template at these points.
    reach_mm : float
        Half the height of a voxel.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    low = (points_mm[:, 2] - reach_mm < PONTOMEDULLARY_SULCUS_Z_MM) & (np.abs(points_mm[:, 0]) < CISTERN_X_MM)
    return np.asarray(low & (tissue < METHOD.regions.most_tissue))


@cache
def template_regions(template: Template) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Infratentorial region, lateral ventricles and deep grey matter on the template's grid.

    The ventricles are the fluid component deep inside the brain that contains the frontal horns. Deep grey matter is
    grey matter even deeper inside, near the midline and above the tentorium (`core.method.tissue.DeepRegions`).

    Parameters
    ----------
    template : Template

    Returns
    -------
    infratentorial, ventricles, deep_grey_matter : ndarray of bool, shape of the template
    """
    brain = template.brain.mask
    points = template.brain.grid.world(np.argwhere(brain).astype(np.float32))
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    grey, white, depth = (
        image[brain] for image in (template.grey_matter.data, template.white_matter.data, depth_mm(template.brain))
    )
    below = infratentorial(points)
    deep = METHOD.regions.deep
    is_fluid = (grey + white < deep.most_tissue) & (depth > deep.ventricle_depth_mm)
    fluid = ConnectedComponents.of(_volume(is_fluid, brain), connectivity=1)
    horns = (x < deep.horns_x_mm) & _between(y, deep.horns_y_mm) & _between(z, deep.horns_z_mm)
    with_horns = fluid.highest(fluid.sums(_volume(horns, brain)))
    third = (x < deep.third_x_mm) & (z < deep.third_z_mm)
    cistern = (x < deep.cistern_x_mm) & _between(y, deep.cistern_y_mm) & _between(z, deep.cistern_z_mm)
    ventricles = with_horns[brain] & ~third & ~cistern & ~below
    box = (x < deep.grey_x_mm) & _between(y, deep.grey_y_mm) & _between(z, deep.grey_z_mm)
    nuclei = box & (grey > deep.least_grey_matter) & (depth > deep.grey_depth_mm) & ~below
    return _volume(below, brain), _volume(ventricles, brain), _volume(nuclei, brain)


def _between(values: FloatArray, limits: tuple[float, float]) -> BoolArray:
    low, high = limits
    return np.asarray((values > low) & (values < high))


def _volume(values: BoolArray, where: BoolArray) -> BoolArray:
    result = np.zeros(where.shape, dtype=bool)
    result[where] = values
    return result


def location_labels(
    *,
    brain: BoolArray,
    ventricles: BoolArray,
    cortex: BoolArray,
    below_tentorium: BoolArray,
    below_foramen: BoolArray,
    grid: Grid,
) -> LabelImage:
    """Label every brain voxel by `mri_pipeline.core.anatomy.LOCATION_LABELS`.

    The order of precedence is: below the foramen magnum, infratentorial, periventricular, juxtacortical. All other
    brain voxels are deep white matter.

    Parameters
    ----------
    brain, ventricles, cortex, below_tentorium, below_foramen : ndarray of bool, shape `grid.shape`
    grid : Grid

    Returns
    -------
    LabelImage
        0 outside the brain.
    """
    label_of = {place: label for label, place in LOCATION_LABELS.items() if label != BELOW_FORAMEN_MAGNUM}
    labels = np.where(brain, label_of[Location.DEEP_WHITE_MATTER], 0).astype(np.uint8)
    labels[brain & within(cortex, grid, JUXTACORTICAL_MM)] = label_of[Location.JUXTACORTICAL]
    labels[brain & within(ventricles, grid, PERIVENTRICULAR_MM)] = label_of[Location.PERIVENTRICULAR]
    labels[brain & below_tentorium] = label_of[Location.INFRATENTORIAL]
    labels[brain & below_foramen] = BELOW_FORAMEN_MAGNUM
    return LabelImage(labels, grid)


def within(mask: BoolArray, grid: Grid, distance_mm: float) -> BoolArray:
    """Dilate a mask by a distance in mm plus half of the smallest voxel side, measured between voxel centres.

    The method is meant for a few millimetres: it combines the mask with all shifts of up to the distance. A thick
    neighbouring slice is reached only if its centre is within the distance.

    Parameters
    ----------
    mask : ndarray of bool, shape `grid.shape`
    grid : Grid
    distance_mm : float

    Returns
    -------
    ndarray of bool, shape `grid.shape`
        Empty if the mask is empty.
    """
    reach = distance_mm + 0.5 * min(grid.spacing_mm)
    steps = [int(reach / s) for s in grid.spacing_mm]
    padded = np.pad(mask, [(n, n) for n in steps])
    result = np.zeros(grid.shape, dtype=bool)
    for shift in product(*[range(-n, n + 1) for n in steps]):
        if np.linalg.norm(np.array(shift) * grid.spacing_mm) <= reach:
            x, y, z = (slice(n + k, n + k + size) for n, k, size in zip(steps, shift, grid.shape, strict=True))
            result |= padded[x, y, z]
    return result


def depth_mm(mask: LabelImage, spacing_mm: float = METHOD.regions.depth_grid_mm) -> FloatArray:
    """Depth below the surface of a mask in mm; 0 outside.

    The depth is computed on a coarse grid of about `spacing_mm`. The mask is assumed to continue beyond the field of
    view.

    Parameters
    ----------
    mask : LabelImage
    spacing_mm : float
        Voxel size of the coarse grid in mm.

    Returns
    -------
    ndarray, shape `mask.grid.shape`
        In mm.
    """
    small = downsample(Image(mask.mask.astype(np.float32), mask.grid), spacing_mm)
    padded = np.pad(small.data > 0.5, 1, mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=small.grid.spacing_mm)[1:-1, 1:-1, 1:-1]
    return resample(Image(depth.astype(np.float32), small.grid), mask.grid, order=1).data
