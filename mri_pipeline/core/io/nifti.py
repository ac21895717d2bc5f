"""Read and write NIfTI images. No other module opens an image file of the analysis."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import deflate
import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.io.nifti_header import (
    HEADER_BYTES,
    grid_of,
    headers_of,
    image_class,
    require_placed,
    require_readable,
    set_forms,
)
from mri_pipeline.core.spatial import Grid, Image, LabelImage

_UNREADABLE = (
    ImageFileError, HeaderDataError, WrapStructError, OverflowError, OSError, EOFError, ValueError, zlib.error,
    MemoryError,
)  # fmt: skip
_WHOLE = 1e-3  # a label is a whole number but for this: masks saved with a scaling
_NOISE_SHARE = 0.02  # of the largest intensity: what interpolation makes negative stays above
_MOST_NEGATIVE = 0.01  # share of the voxels
_MOST_INT16 = np.iinfo(np.int16).max
_LEAST_STEP = 2.0**-24  # of single precision below 1
_MOST_STEP = 2.0**-10  # relative to white matter: less than the noise of a scan
_COMPRESSION = 1  # of 1 to 12; level 3 takes a third more time for files that are 1.5 % smaller
_GZIP_MEMBER = b"\x1f\x8b\x08"  # begins a member; within one member it is a rare coincidence
_MOST_EXPANSION = 1032  # of deflate (zlib's technical details); a stated size above it is wrong
_STRIP = 8  # voxels: what is copied at once has to fit into a processor's cache
_MOST_SPACING_MM = 10.0  # thicker slices are no scan of a trial
_FIELD_OF_VIEW_MM = (50.0, 1000.0)  # of the two longest axes: a slab may be thin; outside, the voxel size is wrong
_MOST_SHEAR = 0.05  # cosine between two axes (3 degrees): a scanner's axes are perpendicular


def _open(path: Path) -> tuple[nib.Nifti1Image, Grid]:
    """An image whose voxels are not yet read, and its grid: NIfTI-1 or NIfTI-2 in one file, nothing else.

    nibabel would also open formats without orientation.
    """
    if path.suffix.lower() == ".gz":  # at once, which takes two thirds of the time that pieces take
        content = _decompressed(path.read_bytes())
        start, size = content[:HEADER_BYTES], len(content)
    else:
        content, size = None, path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(HEADER_BYTES)
    stored, header = headers_of(start)
    require_readable(header, path.name, file_bytes=size)
    require_placed(stored, path.name)
    grid = grid_of(header, path.name)
    kind = image_class(start)
    return kind.from_filename(path) if content is None else kind.from_bytes(content), grid


def _decompressed(packed: bytes) -> bytes:
    """Content of a gzip file.

    libdeflate takes a third of the time of zlib. It needs the size of the content, which the last bytes of a file
    state, and reads one member only. What it cannot read is read by zlib, which also finds the reason of a failure.
    """
    size = int.from_bytes(packed[-4:], "little")
    if 0 < size <= _MOST_EXPANSION * len(packed) and packed.find(_GZIP_MEMBER, 1) < 0:
        try:
            return bytes(deflate.gzip_decompress(packed, size))
        except (deflate.DeflateError, ValueError):
            pass
    return gzip.decompress(packed)


def same_content(one: Path, other: Path) -> bool:
    """True if two files have equal bytes, compressed or not. Versions of the compression write other bytes.

    Parameters
    ----------
    one, other : Path

    Returns
    -------
    bool
        False if a file is missing, or a compressed one cannot be read.
    """
    try:
        contents = [path.read_bytes() for path in (one, other)]
        if contents[0] != contents[1] and one.suffix == other.suffix == ".gz":
            contents = [_decompressed(content) for content in contents]
    except _UNREADABLE:
        return False
    return contents[0] == contents[1]


def _c_ordered(data: NDArray[Any]) -> NDArray[Any]:
    """Copy of a volume in C order; files have Fortran order."""
    copied = np.empty(data.shape, dtype=data.dtype)
    for start in range(0, data.shape[1], _STRIP):
        copied[:, start : start + _STRIP] = data[:, start : start + _STRIP]
    return copied


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    if path.is_dir():
        raise ImageError(f"expected an image file, found a folder named {path.name}", hint="name a file in it")
    if path.is_symlink():
        raise ImageError(
            f"expected an image file, found {path.name}, a link without its target",
            hint="fetch the file first, for example with datalad get",
        )
    raise ImageError(f"expected an image file, found none named {path.name}", hint="check the path")


def _unreadable(path: Path, error: Exception) -> ImageError:
    """The error of a file that cannot be read. Only what nibabel says of a header is added: it holds no path."""
    reason = type(error).__name__
    if isinstance(error, HeaderDataError):
        reason += f": {' '.join(str(error).split())}"
    hint = "export the image again as NIfTI (.nii or .nii.gz)"
    if isinstance(error, PermissionError):
        hint = "check the permissions of the file"
    return ImageError(f"expected a NIfTI image, found {path.name} that cannot be read ({reason})", hint=hint)


def _load(path: Path) -> tuple[NDArray[Any], Grid]:
    try:
        _require_file(path)
        image, grid = _open(path)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # what is not finite after scaling is judged by the callers
            data = np.asanyarray(image.dataobj)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    return _c_ordered(data.reshape(grid.shape, order="F")), grid


def form_difference_mm(path: Path | str) -> float:
    """Largest distance between the positions of a voxel by qform and by sform.

    The sform is the one that is used, as in nibabel.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    float
        In mm; 0 unless both forms are set.

    Raises
    ------
    ImageError
        If the file is missing or broken.
    """
    path = Path(path)
    try:
        image = nib.load(path)
        forms, shape = set_forms(image.header, path.name), image.shape[:3]
    except (*_UNREADABLE, AttributeError) as error:
        raise ImageError(f"expected a NIfTI image, found {path.name} that cannot be read") from error
    if len(forms) < 2:
        return 0.0
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in shape])).reshape(3, -1)
    difference = (forms["qform"] - forms["sform"]) @ np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm(difference[:3], axis=0).max())


def load_image(path: Path | str) -> Image:
    """Read intensities.

    Parameters
    ----------
    path : Path or str
        NIfTI file.

    Returns
    -------
    Image
        In the axis order of the file.

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

    Parameters
    ----------
    path : Path or str
        NIfTI file.

    Returns
    -------
    Image
        In the axis order of the file.

    Raises
    ------
    ImageError
        As `load_image`, and if the image is constant or a mask, if its intensities are not those of a magnitude image
        (shifted or z-scored intensities do not say where the air is), or if its grid is not one of a head scan.
    """
    image = load_image(path)
    name, data = Path(path).name, image.data
    _require_scan_grid(image.grid, name)
    low, high = data.min(), data.max()
    if low == high:
        raise ImageError(f"{name}: expected an image, found one value everywhere", hint="export the image again")
    if ((data == low) | (data == high)).all():
        raise ImageError(f"{name}: expected an image, found a mask of two values", hint="give the scan itself")
    negative = float(np.mean(data < -_NOISE_SHARE * np.abs(data).max()))
    if negative > _MOST_NEGATIVE:
        raise ImageError(
            f"{name}: expected intensities of 0 or more, found {100 * negative:.0f} % of the voxels below 0",
            hint="give the scan before z-scoring or subtraction of its mean, or add a constant that makes air 0",
        )
    return image


def _require_scan_grid(grid: Grid, name: str) -> None:
    """Refuse a grid that no scanner makes of a head: a wrong voxel size makes every volume wrong."""
    extents = np.sort(np.multiply(grid.shape, grid.spacing_mm))
    least, most = _FIELD_OF_VIEW_MM
    hint = "check the voxel size in the header, and that the scan shows a whole head or a thick slab of it"
    if min(grid.shape) < 2:
        raise ImageError(f"{name}: expected a volume of several slices, found {grid.describe()}", hint=hint)
    if max(grid.spacing_mm) > _MOST_SPACING_MM:
        raise ImageError(
            f"{name}: expected voxels of at most {_MOST_SPACING_MM:g} mm, found {grid.describe()}", hint=hint
        )
    if extents[1] < least or extents[2] > most:
        found = " x ".join(f"{n * size:.0f}" for n, size in zip(grid.shape, grid.spacing_mm, strict=True))
        raise ImageError(
            f"{name}: expected a field of view of {least:g} to {most:g} mm in the plane of the slices, found "
            f"{found} mm ({grid.describe()})",
            hint=hint,
        )
    axes = grid.affine[:3, :3] / grid.spacing_mm
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > _MOST_SHEAR:
        raise ImageError(
            f"{name}: expected perpendicular axes, found two at {np.degrees(np.arccos(shear)):.0f} degrees",
            hint="give the scan as acquired: its header holds the affine transform of a registration",
        )


def load_map(path: Path | str) -> Image:
    """Read a map such as a probability, which may be zero everywhere. Values that are not finite become 0.

    Parameters
    ----------
    path : Path or str
        NIfTI file.

    Returns
    -------
    Image
        In the axis order of the file.

    Raises
    ------
    ImageError
        If the file cannot be used (`load_image`), if no value is finite, or if a finite one exceeds single precision.
    """
    data, grid = _load(Path(path))
    with np.errstate(over="ignore"):  # refused below
        values = np.asarray(data, dtype=np.float32)
    finite = np.isfinite(values)
    if finite.all():
        return Image(values, grid)
    name = Path(path).name
    if (np.isfinite(data) & ~finite).any():
        raise ImageError(
            f"{name}: expected values of single precision (up to 3e38), found larger ones",
            hint="export the image again",
        )
    if not finite.any():
        raise ImageError(
            f"{name}: expected an image, found only values that are not finite", hint="export the image again"
        )
    return Image(np.nan_to_num(values, posinf=0.0, neginf=0.0), grid)


def load_labels(path: Path | str) -> LabelImage:
    """Read a mask or label image; an empty one is allowed.

    Parameters
    ----------
    path : Path or str
        NIfTI file.

    Returns
    -------
    LabelImage
        In the axis order of the file; 8-bit labels if all are at most 255, else 32-bit.

    Raises
    ------
    ImageError
        As `load_image`, and if a value is not a whole number of 0 or more.
    """
    path = Path(path)
    data, grid = _load(path)
    rounded: NDArray[Any] = data if np.issubdtype(data.dtype, np.integer) else np.rint(data)
    if rounded is data and data.min() >= 0 and data.max() <= np.iinfo(np.int32).max:
        return _labels(data, grid)
    with np.errstate(invalid="ignore"):  # not finite: no label
        unfit = ~(np.abs(data - rounded) <= _WHOLE) | (rounded < 0) | (rounded > np.iinfo(np.int32).max)
    if unfit.any():
        raise ImageError(
            f"{path.name}: expected whole labels of 0 or more, found {data[unfit].flat[0]:g}",
            hint="save the segmentation as a label image; cut probabilities at a threshold",
        )
    return _labels(rounded, grid)


def _labels(data: NDArray[Any], grid: Grid) -> LabelImage:
    """8-bit labels if all are at most 255, else 32-bit."""
    kind: type[np.integer[Any]] = np.uint8 if data.max() <= 255 else np.int32
    return LabelImage(data.astype(kind), grid)


def save(image: Image | LabelImage, path: Path | str, *, forms_of: Path | str | None = None) -> Path:
    """Write an image compressed, with qform and sform set and no text in its header.

    The bytes depend on the voxels and the grid alone (no time stamp), so equal images are equal files.

    Parameters
    ----------
    image : Image or LabelImage
    path : Path or str
    forms_of : Path or str, optional
        A NIfTI file on the same grid whose qform, sform and their codes are taken over.

    Returns
    -------
    Path
        `path`.
    """
    return _save(image.data, image.grid, Path(path), forms_of)


def save_scan(image: Image, path: Path | str) -> Path:
    """Write intensities as `save`, but as 16-bit integers if these hold all of them exactly.

    Scanners store 16-bit integers. The file is then half as large, and its values are the same.

    Parameters
    ----------
    image : Image
    path : Path or str

    Returns
    -------
    Path
        `path`.
    """
    data: NDArray[Any] = image.data
    with np.errstate(invalid="ignore"):  # of values out of range, which differ afterwards
        stored = (data.astype(kind) for kind in (np.int16, np.uint16))
        exact = next((values for values in stored if np.array_equal(values, data)), data)
    return _save(exact, image.grid, Path(path))


def save_rounded(image: Image, path: Path | str) -> Path:
    """Write normalised intensities as `save`, but as 16-bit integers times a power of two.

    The file is half as large. The step is the smallest power of two of which the largest intensity is at most 32767
    steps (1/8192 for a largest intensity of 2 to 4). A value is rounded by at most half a step; a positive one to at
    least one step, because 0 is outside the field of view. Rounding an image again does not change it.

    Parameters
    ----------
    image : Image
        White matter about 1. All values are finite.
    path : Path or str

    Returns
    -------
    Path
        `path`. The image is written as by `save` if the step exceeds 1/1024 of white matter, as after a spike.

    Raises
    ------
    ImageError
        If a value is not finite.
    """
    largest = float(np.abs(image.data).max())
    if not np.isfinite(largest):
        raise ImageError(f"{Path(path).name}: expected finite intensities, found others")
    step = max(2.0 ** np.ceil(np.log2(largest / _MOST_INT16)), _LEAST_STEP) if largest > 0 else _LEAST_STEP
    if step > _MOST_STEP:
        return save(image, path)
    rounded = np.rint(image.data / np.float32(step))
    rounded[(image.data > 0) & (rounded == 0)] = 1
    return _save(rounded.astype(np.int16), image.grid, Path(path), step=step)


def compress(source: Path, path: Path) -> Path:
    """Compress a NIfTI file. The result has the bytes that `save` would write for the same image.

    Parameters
    ----------
    source : Path
        ``.nii``.
    path : Path
        ``.nii.gz``.

    Returns
    -------
    Path
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_compressed(source.read_bytes()))
    return path


def _compressed(content: bytes) -> bytes:
    """Content as gzip, without time and name. Equal content has equal bytes with one version of libdeflate."""
    return bytes(deflate.gzip_compress(content, _COMPRESSION))


def _save(
    data: NDArray[Any], grid: Grid, path: Path, forms_of: Path | str | None = None, *, step: float | None = None
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti = nib.Nifti1Image(data, grid.affine)
    nifti.header.set_data_dtype(data.dtype)
    if step is not None:
        nifti.header.set_slope_inter(step, 0)
    nifti.set_sform(grid.affine, code=2)
    nifti.set_qform(grid.affine, code=2, strip_shears=True)
    if forms_of is not None:
        header = nib.load(forms_of).header
        forms = set_forms(header, Path(forms_of).name)  # the affine of a form that is not set may be anything
        nifti.set_sform(forms.get("sform", grid.affine), code=int(header["sform_code"]))
        nifti.set_qform(forms.get("qform", grid.affine), code=int(header["qform_code"]), strip_shears=True)
    nifti.header.set_xyzt_units("mm", "sec")
    content = nifti.to_bytes()
    path.write_bytes(_compressed(content) if path.suffix.lower() == ".gz" else content)
    return path
