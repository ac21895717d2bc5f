"""Regions that lesions are assigned to: landmarks of the template in MNI millimetres, distances in the patient.

The template (ICBM 2009a) has no labels for ventricles or the posterior fossa, so both are made here from its
tissue maps and a few planes in MNI coordinates, checked by eye on the template in all three directions.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage

from mri_pipeline.model import BoolArray, FloatArray, Grid, LabelImage
from mri_pipeline.template import Template

PERIVENTRICULAR_MM = 3.0
"""A voxel this near to a lateral ventricle touches it at clinical resolution (McDonald 2017: abutting)."""
JUXTACORTICAL_MM = 2.0
"""A white-matter voxel this near to cortex abuts it; cortex itself belongs to the same region."""


def infratentorial(points_mm: FloatArray) -> BoolArray:
    """Whether MNI points, shape (..., 3) in mm, lie below the tentorium: cerebellum and brainstem.

    The tentorium is a roof that falls from the midline to the sides and to the back; in front the region ends at
    the petrous ridges; the brainstem is an upright elliptic column up to the midbrain.

    Examples
    --------
    >>> pons, cerebellum = [0, -25, -30], [20, -65, -40]
    >>> white_matter, temporal_pole = [30, -20, 40], [45, -10, -25.0]
    >>> infratentorial(np.array([pons, cerebellum, white_matter, temporal_pole])).tolist()
    [True, True, False, False]
    """
    x, y, z = np.abs(points_mm[..., 0]), points_mm[..., 1], points_mm[..., 2]
    roof = np.maximum(4.0 - 0.75 * x - 0.35 * np.maximum(0.0, -(y + 60.0)), -32.0)
    below_roof = (z < roof) & (y < -20.0 - (x - 15.0)) & ((y < -36.0) | (z < -20.0))
    brainstem = ((x / 17.0) ** 2 + ((y + 25.0) / 16.0) ** 2 < 1.0) & (z < -12.0)
    floor = (z < -42.0) & (y < -18.0)
    return np.asarray(below_roof | brainstem | floor)


def _world(grid: Grid) -> FloatArray:
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in grid.shape], indexing="ij"), axis=-1)
    return np.asarray(index @ grid.affine[:3, :3].T.astype(np.float32) + grid.affine[:3, 3].astype(np.float32))


@cache
def template_regions(template: Template) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Infratentorial region, lateral ventricles and deep grey matter on the template's grid.

    Ventricles are the fluid more than 15 mm inside the brain that holds the frontal horns; deep grey matter is
    grey matter more than 20 mm inside, near the midline and above the tentorium.
    """
    grid = template.t1.grid
    points = _world(grid)
    below = infratentorial(points) & template.brain.mask
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    depth = ndimage.distance_transform_edt(template.brain.mask)
    fluid = template.brain.mask & (template.grey_matter.data + template.white_matter.data < 0.5) & (depth > 15)
    labels, _ = ndimage.label(fluid)
    horns = (x < 20) & (y > -5) & (y < 25) & (z > 5) & (z < 20)
    counts = np.bincount(labels[horns], minlength=2)
    counts[0] = 0
    third = (x < 4) & (z < 6) | (y > -45) & (y < -22) & (x < 9) & (z < 14) & (z > -12)
    ventricles = (labels == int(counts.argmax())) & ~third & ~below
    deep = (template.grey_matter.data > 0.4) & (x < 36) & (y > -36) & (y < 24) & (z > -12) & (z < 22) & ~below
    deep &= depth > 20
    return below, ventricles, deep


def location_labels(
    *, brain: BoolArray, ventricles: BoolArray, cortex: BoolArray, below_tentorium: BoolArray, grid: Grid
) -> LabelImage:
    """Label every brain voxel by `mri_pipeline.model.LOCATION_LABELS`.

    Infratentorial goes before periventricular, that before juxtacortical; what is left is deep white matter.
    """
    labels = np.where(brain, 4, 0).astype(np.uint8)
    labels[brain & within(cortex, grid, JUXTACORTICAL_MM)] = 2
    labels[brain & within(ventricles, grid, PERIVENTRICULAR_MM)] = 1
    labels[brain & below_tentorium] = 3
    return LabelImage(labels, grid)


def within(mask: BoolArray, grid: Grid, distance_mm: float) -> BoolArray:
    """Voxels of the mask and those whose centre is at most `distance_mm` from the surface of its voxels."""
    result = np.zeros(grid.shape, dtype=bool)
    found = ndimage.find_objects(mask.astype(np.uint8), max_label=1)[0]
    if found is None:
        return result
    reach = distance_mm + 0.5 * min(grid.spacing_mm)
    margin = [int(np.ceil(reach / s)) + 1 for s in grid.spacing_mm]
    box = tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(found, margin, strict=True))
    result[box] = ndimage.distance_transform_edt(~mask[box], sampling=grid.spacing_mm) <= reach
    return result
