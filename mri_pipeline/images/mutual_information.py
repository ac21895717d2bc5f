"""Second, independent registration method: mutual information of SimpleITK.

SimpleITK is imported when the method is used: it takes 95 MB, and an intake needs it only if the first method fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import percentile
from mri_pipeline.core.spatial import Affine, FloatArray, Image, LabelImage
from mri_pipeline.images.sampling import downsample, foreground

if TYPE_CHECKING:
    import SimpleITK as sitk

_METHOD = METHOD.mutual_information


def head_centre(image: Image) -> FloatArray:
    """Centre of the top 150 mm of the foreground; excludes the neck.

    Parameters
    ----------
    image : Image

    Returns
    -------
    ndarray, shape (3,)
        World coordinates in mm.
    """
    small = downsample(image, _METHOD.head_spacing_mm)
    points = small.grid.world(np.argwhere(foreground(small.data)).astype(float))
    top = percentile(points[:, 2], _METHOD.top_percentile)
    return np.asarray(points[points[:, 2] > top - _METHOD.head_mm].mean(axis=0))


def mutual_information(fixed: Image, moving: Image, fixed_mask: LabelImage | None) -> Affine:
    """Rigid registration by Mattes mutual information (SimpleITK) from two initial transforms.

    Parameters
    ----------
    fixed, moving : Image
    fixed_mask : LabelImage or None
        Region of the fixed image to match, on its grid.

    Returns
    -------
    Affine
        Fixed to moving; the identity transform if the images do not overlap.
    """
    import SimpleITK as sitk  # noqa: PLC0415 - see above

    from mri_pipeline.core.io.itk import to_sitk  # noqa: PLC0415

    small_fixed, small_moving = (downsample(image, _METHOD.spacing_mm) for image in (fixed, moving))
    region = None
    if fixed_mask is not None:
        region = downsample(Image(fixed_mask.mask.astype(np.float32), fixed.grid), _METHOD.spacing_mm)
    target, source = to_sitk(small_fixed), to_sitk(small_moving)
    found = []
    for offset in (np.zeros(3), head_centre(moving) - head_centre(fixed)):
        method = _itk_method()
        if region is not None:
            method.SetMetricFixedMask(sitk.Cast(to_sitk(region) > 0.5, sitk.sitkUInt8))
        centre = small_fixed.grid.world((np.array(small_fixed.grid.shape)[None] - 1) / 2)[0] * (-1, -1, 1)
        start = sitk.Euler3DTransform()
        start.SetCenter([float(x) for x in centre])
        start.SetTranslation([float(x) for x in offset * (-1, -1, 1)])
        method.SetInitialTransform(start, inPlace=False)
        try:
            transform = method.Execute(target, source)
        except RuntimeError:  # ITK raises if the images do not overlap
            continue
        found.append((method.GetMetricValue(), _as_affine(transform)))
    return min(found, key=lambda pair: pair[0])[1] if found else Affine.identity()


def _itk_method() -> sitk.ImageRegistrationMethod:
    import SimpleITK as sitk  # noqa: PLC0415 - see above

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_METHOD.bins)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(_METHOD.sampled_share, _METHOD.seed)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        _METHOD.longest_step_mm, _METHOD.shortest_step_mm, _METHOD.iterations
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(_METHOD.levels))
    method.SetSmoothingSigmasPerLevel(list(_METHOD.levels))
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _as_affine(transform: sitk.Transform) -> Affine:
    """RAS matrix of an ITK point transform (LPS)."""
    flip = np.array([-1.0, -1.0, 1.0])
    origin = flip * transform.TransformPoint((0.0, 0.0, 0.0))
    matrix = np.eye(4)
    for axis in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[axis] = float(flip[axis])
        matrix[:3, axis] = flip * transform.TransformPoint(unit) - origin
    matrix[:3, 3] = origin
    return Affine(matrix)
