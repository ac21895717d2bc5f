"""Conversion between RAS arrays and SimpleITK (LPS), and ITK transform files."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_sitk(image: Image | LabelImage) -> sitk.Image:
    """Copy an image to SimpleITK.

    Parameters
    ----------
    image : Image or LabelImage

    Returns
    -------
    SimpleITK.Image
        In LPS. A shear of the affine is removed: ITK requires an orthonormal direction.
    """
    result = sitk.GetImageFromArray(np.ascontiguousarray(image.data.transpose(2, 1, 0)))
    affine = _RAS_TO_LPS @ image.grid.affine
    spacing = np.array(image.grid.spacing_mm)
    direction = affine[:3, :3] / spacing
    # ITK wants an orthonormal direction; NIfTI's single precision (or a shear) leaves it slightly off
    u, _, vt = np.linalg.svd(direction)
    result.SetSpacing([float(s) for s in spacing])
    result.SetOrigin([float(x) for x in affine[:3, 3]])
    result.SetDirection([float(x) for x in (u @ vt).ravel()])
    return result


def from_sitk(image: sitk.Image, grid: Grid) -> Image:
    """Copy an intensity image back from SimpleITK.

    Parameters
    ----------
    image : SimpleITK.Image
    grid : Grid
        Grid of the image.

    Returns
    -------
    Image
    """
    # a copy, not a view: a view of a temporary SimpleITK image outlives its memory
    return Image(sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32), grid)


def save_transform(source_to_target: Affine, path: Path | str) -> Path:
    """Write ``from-<source>_to-<target>_mode-image_xfm.txt`` as ITK text.

    BIDS and ITK resample by pulling: the file holds the map of points from the target to the source, so that
    ``sitk.Resample(source_image, target_grid, transform)`` brings the source image to the target.

    Parameters
    ----------
    source_to_target : Affine
    path : Path or str
        Parent folders are created.

    Returns
    -------
    Path
        `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    matrix = _RAS_TO_LPS @ source_to_target.inverse().matrix @ _RAS_TO_LPS
    numbers = [*matrix[:3, :3].ravel(), *matrix[:3, 3]]
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {' '.join(f'{x:.12g}' for x in numbers)}\nFixedParameters: 0 0 0\n",
        encoding="ascii",
    )
    return path


def load_transform(path: Path | str) -> Affine:
    """Read an ITK linear transform.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    Affine
        Source to target: the inverse of the stored map of points (`save_transform`).

    Raises
    ------
    ImageError
        If the file is missing or is not a linear ITK transform.
    """
    path = Path(path)
    try:
        transform = sitk.ReadTransform(str(path))
        if not transform.IsLinear():
            raise ImageError(f"{path.name}: expected a linear ITK transform, found {transform.GetName()}")
    except RuntimeError as error:
        raise ImageError(f"expected an ITK transform file, found {path.name} that cannot be read") from error
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis, unit in enumerate(np.eye(3)):
        matrix[:3, axis] = np.array(transform.TransformPoint(tuple(float(x) for x in unit))) - origin
    matrix[:3, 3] = origin
    return Affine(_RAS_TO_LPS @ matrix @ _RAS_TO_LPS).inverse()
