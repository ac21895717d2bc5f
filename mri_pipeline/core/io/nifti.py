"""NIfTI in and out. The only module that opens an image file of the analysis."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.spatial import Grid, Image, LabelImage

_UNREADABLE = (
    ImageFileError, HeaderDataError, WrapStructError, OverflowError, OSError, EOFError, ValueError, zlib.error,
)  # fmt: skip
_WHOLE = 1e-3  # a label is a whole number but for this: masks saved with a scaling
_SAME_DIRECTION = 0.7  # cosine between the axes of qform and sform: below, they are flipped or swapped
_NOISE_SHARE = 0.02  # of the largest intensity: what interpolation makes negative stays above
_MOST_NEGATIVE = 0.01  # share of the voxels
_STRIP = 8  # voxels: what is copied at once has to fit into a processor's cache


def _read(path: Path) -> tuple[NDArray[Any], nib.Nifti1Header]:
    """Voxels and header of NIfTI and nothing else: nibabel would also open formats without orientation."""
    if path.suffix == ".gz":  # at once, which takes two thirds of the time that pieces take
        image = nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
    else:
        image = nib.Nifti1Image.from_filename(path)
    return np.asanyarray(image.dataobj), image.header


def _c_ordered(data: NDArray[Any]) -> NDArray[Any]:
    """A volume of a file, which lies there with its first axis together, as arrays lie in memory."""
    copied = np.empty(data.shape, dtype=data.dtype)
    for start in range(0, data.shape[1], _STRIP):
        copied[:, start : start + _STRIP] = data[:, start : start + _STRIP]
    return copied


def _load(path: Path) -> tuple[NDArray[Any], Grid]:
    name = path.name
    try:
        if not path.is_file():
            raise ImageError(f"expected an image file, found none named {name}", hint="check the path")
        data, header = _read(path)
    except _UNREADABLE as error:
        raise ImageError(
            f"expected a NIfTI image, found {name} that cannot be read ({type(error).__name__})",
            hint="export the image again",
        ) from error
    if int(header["qform_code"]) == 0 and int(header["sform_code"]) == 0:
        raise ImageError(
            f"{name}: expected a qform or sform, found neither, so left and right are unknown",
            hint="convert it again from DICOM, for example with dcm2niix; save a mask with its image's header",
        )
    if data.dtype.kind not in "biuf":
        raise ImageError(
            f"{name}: expected one real number per voxel, found {data.dtype}",
            hint="export magnitude images, not complex or colour ones",
        )
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ImageError(f"{name}: expected a 3D image, found {data.ndim} dimensions")
    _require_agreeing_forms(header, name)
    return _c_ordered(data), Grid(data.shape, header.get_best_affine())


def _both_forms(header: nib.Nifti1Header) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The affines of qform and sform; None unless both are set."""
    if int(header["qform_code"]) == 0 or int(header["sform_code"]) == 0:
        return None
    return np.asarray(header.get_qform(), dtype=float), np.asarray(header.get_sform(), dtype=float)


def _require_agreeing_forms(header: nib.Nifti1Header, name: str) -> None:
    """Refuse a file whose qform and sform point an axis into different directions: a flip, or swapped axes."""
    try:
        forms = _both_forms(header)
    except (ValueError, HeaderDataError) as error:
        raise ImageError(
            f"{name}: expected a qform with a valid quaternion, found a broken one", hint="export the image again"
        ) from error
    if forms is None:
        return
    axes = [form[:3, :3] / np.maximum(np.linalg.norm(form[:3, :3], axis=0), 1e-12) for form in forms]
    if (axes[0] * axes[1]).sum(axis=0).min() < _SAME_DIRECTION:
        names = ["".join(nib.aff2axcodes(form)) for form in forms]
        raise ImageError(
            f"{name}: expected a qform and an sform with the same axes, found {names[0]} and {names[1]}, so left and "
            "right are unknown",
            hint="find out which form is right and save the image with this one alone, or convert it again from DICOM",
        )


def form_difference_mm(path: Path | str) -> float:
    """The largest distance in mm between a voxel's positions by qform and by sform; 0 unless both are set.

    The sform is the one that is used, as in nibabel.

    Raises
    ------
    ImageError
        If the file is missing or broken.
    """
    path = Path(path)
    try:
        image = nib.load(path)
        forms, shape = _both_forms(image.header), image.shape[:3]
    except (*_UNREADABLE, AttributeError) as error:
        raise ImageError(f"expected a NIfTI image, found {path.name} that cannot be read") from error
    if forms is None:
        return 0.0
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in shape])).reshape(3, -1)
    difference = (forms[0] - forms[1]) @ np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm(difference[:3], axis=0).max())


def load_image(path: Path | str) -> Image:
    """Read intensities.

    Raises
    ------
    ImageError
        If the file is missing, broken, not three-dimensional, empty, or has neither qform nor sform.
    """
    image = load_map(path)
    if not image.data.any():
        raise ImageError(f"{Path(path).name}: expected an image, found only zeros", hint="export the image again")
    return image


def load_scan(path: Path | str) -> Image:
    """Read a scan as it was acquired.

    Raises
    ------
    ImageError
        As `load_image`, and if the image is constant or its intensities are not those of a magnitude image: shifted or
        z-scored intensities do not say where the air is.
    """
    image = load_image(path)
    name, data = Path(path).name, image.data
    if data.min() == data.max():
        raise ImageError(f"{name}: expected an image, found one value everywhere", hint="export the image again")
    negative = float(np.mean(data < -_NOISE_SHARE * np.abs(data).max()))
    if negative > _MOST_NEGATIVE:
        raise ImageError(
            f"{name}: expected intensities of 0 or more, found {100 * negative:.0f} % of the voxels below 0",
            hint="give the scan before z-scoring or subtraction of its mean, or add a constant that makes air 0",
        )
    return image


def load_map(path: Path | str) -> Image:
    """Read a map such as a probability, which may be zero everywhere; errors otherwise as `load_image`."""
    data, grid = _load(Path(path))
    values = np.asarray(data, dtype=np.float32)
    return Image(values if np.isfinite(values).all() else np.nan_to_num(values, posinf=0.0, neginf=0.0), grid)


def load_labels(path: Path | str) -> LabelImage:
    """Read a mask or label image; an empty one is allowed.

    Raises
    ------
    ImageError
        As `load_image`, and if a value is not a whole number of 0 or more.
    """
    path = Path(path)
    data, grid = _load(path)
    rounded: NDArray[Any] = data if np.issubdtype(data.dtype, np.integer) else np.rint(data)
    with np.errstate(invalid="ignore"):  # not finite: no label
        unfit = ~(np.abs(data - rounded) <= _WHOLE) | (rounded < 0) | (rounded > np.iinfo(np.int32).max)
    if unfit.any():
        raise ImageError(
            f"{path.name}: expected whole labels of 0 or more, found {data[unfit].flat[0]:g}",
            hint="save the segmentation as a label image; cut probabilities at a threshold",
        )
    kind: type[np.integer[Any]] = np.uint8 if rounded.max() <= 255 else np.int32
    return LabelImage(rounded.astype(kind), grid)


def save(image: Image | LabelImage, path: Path | str, *, forms_of: Path | str | None = None) -> Path:
    """Write an image compressed, with qform and sform set and no text from anywhere in its header.

    The bytes depend on the voxels and the grid alone (no time stamp), so equal images are equal files.

    Parameters
    ----------
    image : Image or LabelImage
    path : Path or str
    forms_of : Path or str, optional
        A NIfTI file on the same grid whose qform, sform and their codes are taken over.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti = nib.Nifti1Image(image.data, image.grid.affine)
    nifti.header.set_data_dtype(image.data.dtype)
    nifti.set_sform(image.grid.affine, code=2)
    nifti.set_qform(image.grid.affine, code=2, strip_shears=True)
    if forms_of is not None:
        header = nib.load(forms_of).header
        nifti.set_sform(header.get_sform(), code=int(header["sform_code"]))
        nifti.set_qform(header.get_qform(), code=int(header["qform_code"]), strip_shears=True)
    nifti.header.set_xyzt_units("mm", "sec")
    nib.save(nifti, path)
    return path
