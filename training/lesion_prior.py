"""Make ``mri_pipeline/data/lesion_prior.npz``: frequency of T2 lesions in patients with MS at each location.

The input are the expert masks of 29 patients (Lesjak et al., Neuroinformatics 2018, CC-BY). Their images are registered
to MNI space with rigid transforms only, and their brains are about a seventh smaller than the template. Every mask is
therefore scaled to the template with one mean scaling. It is estimated from the two patients whose T1 is available
(log-Euclidean mean of two mutual-information fits). The masks are then mirrored (no left-right difference is assumed),
smoothed and averaged.

Usage::

    python training/lesion_prior.py SHARED_DATA [--leave-out 07 --leave-out 19] [--out FILE]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.linalg import expm, logm

from mri_pipeline.core.io.itk import to_sitk
from mri_pipeline.core.io.nifti import load_image, load_labels
from mri_pipeline.core.io.priors import LESION_PRIOR_FILE, save_lesion_prior
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage

SMOOTHING_MM = 5.0
"""Gaussian width: anatomies differ by about this much after an affine fit."""
SPACING_MM = 4.0
BRAIN_CENTRE_MM = (0.0, -20.0, 10.0)
WITH_IMAGES = ("07", "19")


def coarse_grid() -> Grid:
    """Grid over the field of view of the template with voxels of 4 mm, symmetric about the midline x = 0."""
    template = load_template().t1.grid
    low, high = template.world(np.array([[0, 0, 0], np.array(template.shape) - 1]))
    half = int(np.ceil(max(-low[0], high[0]) / SPACING_MM))
    shape = (2 * half + 1, *(int(np.ceil((high[i] - low[i]) / SPACING_MM)) + 1 for i in (1, 2)))
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = [-half * SPACING_MM, low[1], low[2]]
    return Grid(shape, affine)  # type: ignore[arg-type]


def fit_affine(image: Image) -> Affine:
    """Affine transform (12 parameters) from image to template world, by mutual information with the T1 template."""
    fixed, moving = (to_sitk(i.reoriented("RAS")) for i in (load_template().t1, image))
    fixed, moving = sitk.Cast(fixed, sitk.sitkFloat32), sitk.Cast(moving, sitk.sitkFloat32)
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2, 7)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescentLineSearch(1.0, 200, convergenceMinimumValue=1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0])
    method.SetInitialTransform(start, inPlace=False)
    template_to_image = method.Execute(fixed, moving)
    corners = np.vstack([np.zeros(3), np.eye(3)])
    flip = np.array([-1.0, -1.0, 1.0])
    mapped = np.array([template_to_image.TransformPoint(tuple(map(float, c * flip))) for c in corners]) * flip
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (mapped[1:] - mapped[0]).T, mapped[0]
    return Affine(matrix).inverse()


def mean_scaling(images: Sequence[Image]) -> Affine:
    """Mean scaling to the template along the world axes, from fits of several images.

    Rotations and shears of single patients (up to 15 degrees of head pitch) do not apply to the others.
    """
    matrix = np.real(expm(np.mean([logm(fit_affine(image).matrix) for image in images], axis=0)))
    scaling = np.diag(np.diag(matrix))
    scaling[:3, 3] = (matrix @ [*BRAIN_CENTRE_MM, 1.0] - scaling @ [*BRAIN_CENTRE_MM, 0.0])[:3]
    return Affine(scaling)


def prior_from_masks(masks: Sequence[LabelImage], to_template: Affine) -> Image:
    """Mean over patients of the smoothed, mirrored lesion masks on `coarse_grid`.

    Parameters
    ----------
    masks : sequence of LabelImage
        One per patient, each on its own grid.
    to_template : Affine
        World of the masks to the world of the template.
    """
    grid = coarse_grid()
    total = np.zeros(grid.shape)
    for mask in masks:
        width = SMOOTHING_MM / np.array(mask.grid.spacing_mm)
        smooth = ndimage.gaussian_filter(mask.mask.astype(np.float32), width, truncate=3)
        back = np.linalg.inv(mask.grid.affine) @ to_template.inverse().matrix @ grid.affine
        total += ndimage.affine_transform(smooth, back[:3, :3], back[:3, 3], output_shape=grid.shape, order=1)
    total /= max(len(masks), 1)
    return Image((0.5 * (total + total[::-1])).astype(np.float32), grid)


def make_prior(data: Path, leave_out: Sequence[str] = ()) -> Image:
    """Make the prior without the named patients (``"07"``); `data` is the folder of public data sets."""
    folder = data / "ljubljana"
    images = [load_image(folder / "cross_sectional_mni" / f"patient{n}" / "T1.nii.gz") for n in WITH_IMAGES]
    paths = sorted((folder / "lesion_masks_mni").glob("patient*.nii.gz"))
    kept = [p for p in paths if p.name.removeprefix("patient").removesuffix(".nii.gz") not in leave_out]
    return prior_from_masks([load_labels(p) for p in kept], mean_scaling(images))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--leave-out", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("mri_pipeline/data") / LESION_PRIOR_FILE)
    arguments = parser.parse_args()
    save_lesion_prior(make_prior(arguments.data, arguments.leave_out), arguments.out)
