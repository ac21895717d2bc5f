"""Checks of a NIfTI header: data type, voxel size and affine. Every error names the file.

nibabel repairs some faults of a header while it reads it: a voxel size of 0 becomes 1 mm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.spatial import Grid

HEADER_BYTES = 540
"""Enough for the header of NIfTI-1 (348 bytes) and NIfTI-2 (540 bytes)."""

_NIFTI2 = b"\x1c\x02\x00\x00"  # 540 in little-endian order, the first number of a NIfTI-2 file
_OTHER_UNITS = {1: "metres", 3: "micrometres"}  # NIfTI codes of units of length other than mm; 0 is unknown
_SAME_DIRECTION = 0.7  # cosine between the axes of qform and sform: below, they are flipped or swapped
_SMALLEST_DETERMINANT = 1e-9  # mm³
_LARGEST_MM = 1e6  # of an element of an affine: a kilometre from the scanner's centre


def image_class(start: bytes) -> type[nib.Nifti1Image]:
    """The nibabel class for a file by its first bytes.

    Parameters
    ----------
    start : bytes
        At least 4 bytes.

    Returns
    -------
    type
        `Nifti2Image` for NIfTI-2, `Nifti1Image` for everything else.
    """
    kind: type[nib.Nifti1Image] = nib.Nifti2Image if start[:4] in {_NIFTI2, _NIFTI2[::-1]} else nib.Nifti1Image
    return kind


def headers_of(start: bytes) -> tuple[nib.Nifti1Header, nib.Nifti1Header]:
    """The stored header of a file, and the header as nibabel repairs it.

    Parameters
    ----------
    start : bytes
        First bytes of the file (`HEADER_BYTES`).

    Returns
    -------
    stored, repaired : Nifti1Header
        In the byte order of the file.

    Raises
    ------
    WrapStructError
        If `start` is shorter than a header.
    HeaderDataError
        If the header cannot be repaired.
    """
    kind = image_class(start).header_class
    block = start[: kind.sizeof_hdr]
    stored = kind(block, check=False)
    if stored["magic"].item() not in {kind.single_magic, kind.pair_magic}:
        # nibabel refuses it, too, and first prints other faults of the bytes
        raise HeaderDataError("no NIfTI header")
    return stored, kind(block)


def require_readable(header: nib.Nifti1Header, name: str, *, file_bytes: int) -> None:
    """Refuse a file whose header does not describe one real volume, before its voxels are read.

    Parameters
    ----------
    header : Nifti1Header
        As repaired.
    name : str
        Of the file, for messages.
    file_bytes : int
        Size of the file without compression.

    Raises
    ------
    ImageError
        If the values are colours or complex, the image is not 3D or is empty, or the file is too short.
    HeaderDataError
        If the data type is unknown.
    """
    kind = header.get_data_dtype()
    if kind.kind not in "biuf":
        raise ImageError(
            f"{name}: expected one real number per voxel, found {'colours' if kind.names else kind}",
            hint="export magnitude images, not complex or colour ones",
        )
    shape = [int(n) for n in header.get_data_shape()]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) != 3:
        raise ImageError(
            f"{name}: expected a 3D image, found {len(shape)} dimensions",
            hint="give one volume with all slices, not a time series or a single slice",
        )
    if min(shape) < 1:
        raise ImageError(
            f"{name}: expected at least one voxel along each axis, found a header with {_times(shape)} voxels",
            hint="export the image again",
        )
    expected = int(header["vox_offset"]) + int(np.prod(shape, dtype=object)) * kind.itemsize
    if expected > file_bytes:
        raise ImageError(
            f"{name}: expected {expected} bytes for {_times(shape)} voxels, found {file_bytes}: the file is incomplete "
            "or its header is wrong",
            hint="copy the file again, or export the image again",
        )


def _times(shape: list[int]) -> str:
    return " x ".join(map(str, shape))


def require_placed(header: nib.Nifti1Header, name: str) -> None:
    """Refuse a file whose stored header has no valid voxel size.

    Parameters
    ----------
    header : Nifti1Header
        As stored.
    name : str
        Name of the file in messages.

    Raises
    ------
    ImageError
        If lengths are not in mm, or if the qform is used and `pixdim` holds 0 or is not finite.
    """
    unit = _OTHER_UNITS.get(int(header["xyzt_units"]) & 7)
    if unit:
        raise ImageError(
            f"{name}: expected lengths in mm, found {unit} (xyzt_units)",
            hint="convert it again from DICOM, or save it in mm",
        )
    sizes = header["pixdim"][1:4]
    if int(header["qform_code"]) > 0 and not (np.isfinite(sizes) & (sizes != 0)).all():
        raise ImageError(
            f"{name}: expected voxel sizes above 0, found {' x '.join(f'{size:g}' for size in sizes)} mm (pixdim)",
            hint="convert it again from DICOM",
        )


def grid_of(header: nib.Nifti1Header, name: str) -> Grid:
    """The grid of a volume by the sform, or by the qform where no sform is set.

    Parameters
    ----------
    header : Nifti1Header
        As repaired.
    name : str
        Name of the file in messages.

    Returns
    -------
    Grid

    Raises
    ------
    ImageError
        If neither is set, if one that is set is broken, or if they point an axis into different directions: a flip or
        swapped axes.
    """
    forms = set_forms(header, name)
    if not forms:
        raise ImageError(
            f"{name}: expected a qform or sform, found neither, so left and right are unknown",
            hint="convert it again from DICOM, for example with dcm2niix; save a mask with its image's header",
        )
    if len(forms) == 2:
        axes = [form[:3, :3] / np.linalg.norm(form[:3, :3], axis=0) for form in forms.values()]
        if (axes[0] * axes[1]).sum(axis=0).min() < _SAME_DIRECTION:
            names = {key: "".join(nib.aff2axcodes(form)) for key, form in forms.items()}
            raise ImageError(
                f"{name}: expected a qform and an sform with the same axes, found {names['qform']} and "
                f"{names['sform']}, so left and right are unknown",
                hint="find out which form is right and save the image with this one alone, or convert it again from "
                "DICOM",
            )
    x, y, z = (int(n) for n in header.get_data_shape()[:3])
    return Grid((x, y, z), next(iter(forms.values())))


def set_forms(header: nib.Nifti1Header, name: str) -> dict[str, NDArray[np.float64]]:
    """The affines of a header that are set.

    Parameters
    ----------
    header : Nifti1Header
    name : str
        Name of the file in messages.

    Returns
    -------
    dict of str to ndarray of float64, shape (4, 4)
        ``sform`` first, then ``qform``, as in nibabel; empty if none is set.

    Raises
    ------
    ImageError
        If one that is set is broken.
    """
    readers: dict[str, Callable[[], Any]] = {"sform": header.get_sform, "qform": header.get_qform}
    return {form: _form(form, read, name) for form, read in readers.items() if int(header[f"{form}_code"]) > 0}


def _form(form: str, read: Callable[[], Any], name: str) -> NDArray[np.float64]:
    try:
        with np.errstate(all="ignore"):  # a broken one is refused below
            affine = np.asarray(read(), dtype=float)
            volume = abs(np.linalg.det(affine[:3, :3]))
    except (ValueError, HeaderDataError) as error:
        raise ImageError(
            f"{name}: expected a {form} with a valid quaternion, found a broken one", hint="export the image again"
        ) from error
    usable = np.abs(affine).max() < _LARGEST_MM and volume > _SMALLEST_DETERMINANT  # False for NaN
    if not usable or None in nib.aff2axcodes(affine):
        raise ImageError(
            f"{name}: expected finite numbers in the {form} and an affine with an inverse, found a broken one",
            hint="export the image again",
        )
    return affine
