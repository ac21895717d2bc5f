"""Slow brightness changes of the coil, removed by N4 on a coarse grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.errors import AnalysisError
from mri_pipeline.images.sampling import downsample
from mri_pipeline.itk import from_sitk, to_sitk
from mri_pipeline.model import Image, LabelImage

_LEAST_VOXELS = 100


@dataclass(frozen=True)
class BiasSettings:
    """How the field is estimated (Tustison et al., IEEE Trans Med Imaging 2010;29:1310).

    Parameters
    ----------
    grid_mm : float
        Voxel size on which N4 runs; finer ones cost more and gain nothing in white matter.
    iterations : tuple of int
        Per level; each level halves the distance of the field's control points. More levels follow tissue.
    usable_range : tuple of float
        Multiples of the brain's median between which a voxel takes part: CSF, lesions, vessels and enhancement
        stay out, so that the field does not follow them.
    """

    grid_mm: float = 8.0
    iterations: tuple[int, ...] = (20, 20)
    usable_range: tuple[float, float] = (0.5, 1.5)


def correct_bias(image: Image, brain: LabelImage, *, settings: BiasSettings | None = None) -> Image:
    """Divide an image by its bias field.

    Parameters
    ----------
    image : Image
    brain : LabelImage
        Brain mask on the image's grid: the field is estimated there and continued smoothly outside.
    settings : BiasSettings, optional

    Returns
    -------
    Image
        Same grid; the field has a geometric mean of 1 in the brain, so the image keeps its scale.

    Raises
    ------
    GridMismatchError
        If the mask lies on another grid.
    AnalysisError
        If there is nothing in the mask.
    """
    log_field = log_bias(image, brain, settings=settings)
    return Image((image.data * np.exp(-log_field)).astype(np.float32), image.grid)


def log_bias(image: Image, brain: LabelImage, *, settings: BiasSettings | None = None) -> NDArray[np.float32]:
    """The natural logarithm of the bias field on the image's grid, with mean 0 in the brain."""
    settings = settings or BiasSettings()
    image.grid.require_same(brain.grid, "brain mask")
    values = image.data[brain.mask]
    if np.count_nonzero(values > 0) < _LEAST_VOXELS:
        raise AnalysisError("bias correction: expected an image within the brain mask, found nothing there")
    middle = float(np.median(values[values > 0]))
    low, high = (share * middle for share in settings.usable_range)
    usable = brain.mask & (image.data > low) & (image.data < high)
    weight = downsample(Image(usable.astype(np.float32), image.grid), settings.grid_mm)
    total = downsample(Image(np.where(usable, image.data, 0.0), image.grid), settings.grid_mm)
    # means over the usable voxels of each block; a block with too few of them says nothing
    mask = weight.data > 0.25
    mean = np.where(mask, total.data / np.maximum(weight.data, 1e-6), middle)
    coarse = _n4(Image((mean / middle).astype(np.float32), total.grid), LabelImage(mask, total.grid), settings)
    field = _refined_to(coarse, image)
    return np.asarray(field - field[usable].mean(), dtype=np.float32)


def _n4(image: Image, mask: LabelImage, settings: BiasSettings) -> Image:
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(settings.iterations))
    n4.SetNumberOfControlPoints([4, 4, 4])
    n4.SetConvergenceThreshold(1e-4)
    source = to_sitk(image)
    n4.Execute(source, sitk.Cast(to_sitk(mask), sitk.sitkUInt8))
    return from_sitk(n4.GetLogBiasFieldAsImage(source), image.grid)


def _refined_to(coarse: Image, image: Image) -> NDArray[Any]:
    """The smooth field between the coarse voxel centres."""
    matrix = np.linalg.inv(coarse.grid.affine) @ image.grid.affine
    return np.asarray(
        ndimage.affine_transform(
            coarse.data, matrix[:3, :3], matrix[:3, 3], output_shape=image.grid.shape, order=2, mode="nearest"
        )
    )
