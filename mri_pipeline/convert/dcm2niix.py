"""Conversion of a DICOM series to NIfTI with dcm2niix, and verification against the headers.

The exit code of dcm2niix is not sufficient: it is 0 for a series with missing slices, for which it interpolates an
``_Eq_1`` image. The number of slices, the spacing and the world positions of all eight corner voxels are compared with
the DICOM headers, and every slice with the rescaled pixels of the frame at its position. If they differ, the frames are
rewritten as single-frame objects, converted and compared again.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dcm2niix
import numpy as np

from mri_pipeline.convert.compare import require_equal_values
from mri_pipeline.convert.decompress import decompressed
from mri_pipeline.convert.frames import frames_of
from mri_pipeline.convert.single_frames import write_single_frames
from mri_pipeline.core.errors import ExternalToolError, ImageError, UnreadableUploadError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.spatial import Grid, Image

logger = logging.getLogger(__name__)

CORNER_TOLERANCE_MM: Final = 0.1
"""Largest distance of a corner voxel from its position in the headers, which are rounded to about 0.01 mm."""

SPACING_TOLERANCE: Final = 0.01
SPACING_TOLERANCE_MM: Final = 0.005
"""Largest difference of a voxel size from that of the headers: this fraction of it, and this rounding."""

SIDECAR_KEYS: Final = frozenset({
    "Manufacturer", "ManufacturersModelName", "SoftwareVersions", "MagneticFieldStrength", "MRAcquisitionType",
    "ScanningSequence", "SequenceVariant", "ScanOptions", "RepetitionTime", "EchoTime", "InversionTime",
    "FlipAngle", "SliceThickness", "SpacingBetweenSlices", "EchoTrainLength", "PixelBandwidth", "NumberOfAverages",
    "ConversionSoftware", "ConversionSoftwareVersion",
})  # fmt: skip
"""Keys kept in a sidecar. None is a date, time, name, institution, station, serial number or free text."""

_NO_NUMBER: Final = re.compile(r'^(\s*"\w+":\s*)[-+]?(?:nan|inf)(?=,?\s*$)', re.MULTILINE)
"""A header value that is no finite number, as dcm2niix writes it. JSON has none."""


@dataclass(frozen=True)
class ExpectedGeometry:
    """Volume geometry of a series, from its DICOM headers.

    Parameters
    ----------
    columns, rows, slices : int
    spacing_mm : tuple of float
        Between rows, between columns, between slices.
    corners_ras_mm : tuple
        Centres of the eight corner voxels, RAS, in any order.
    """

    columns: int
    rows: int
    slices: int
    spacing_mm: tuple[float, float, float]
    corners_ras_mm: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Converted:
    """A converted series.

    Parameters
    ----------
    image : Image
        With verified geometry.
    sidecar : mapping
        BIDS metadata (times in s, field strength in T, lengths in mm), restricted to `SIDECAR_KEYS`.
    """

    image: Image
    sidecar: Mapping[str, Any]


def convert_series(folder: Path, expected: ExpectedGeometry, *, what: str, timeout_s: float = 600) -> Converted:
    """Convert the de-identified files of one series.

    Parameters
    ----------
    folder : Path
        Contains the files of one volume and nothing else.
    expected : ExpectedGeometry
        From the headers.
    what : str
        Name of the series in messages, for example its contrast.
    timeout_s : float, optional
        Time limit of dcm2niix in seconds.

    Returns
    -------
    Converted

    Raises
    ------
    UnreadableUploadError
        If the result is not one volume, or its geometry or its values differ from the headers and pixels, also after
        conversion from single frames.
    ExternalToolError
        If dcm2niix cannot be run, exceeds the time limit, or writes a sidecar that is no JSON object.
    """
    # beside the files: their private folder is removed after a kill, the folder of the system is not
    with tempfile.TemporaryDirectory(prefix="convert-", dir=folder.parent) as out:
        files = decompressed(folder, Path(out) / "decoded")
        try:
            return _converted(folder, Path(out) / "as_sent", files, expected, what=what, timeout_s=timeout_s)
        except UnreadableUploadError as error:
            logger.info("%s; its frames are converted as single-frame objects", error.message)
        singles = write_single_frames(files, Path(out) / "frames")
        return _converted(
            Path(out) / "frames", Path(out) / "rebuilt", singles, expected, what=what, timeout_s=timeout_s
        )


def _converted(
    folder: Path, out: Path, files: Sequence[Path], expected: ExpectedGeometry, *, what: str, timeout_s: float
) -> Converted:
    """Convert a folder and compare the result with the headers and with the pixels of its (uncompressed) files."""
    out.mkdir()
    code = _run(folder, out, timeout_s)
    images = sorted(out.glob("*.nii*"))
    if len(images) != 1:
        raise UnreadableUploadError(
            f"{what}: expected one volume from dcm2niix, found {len(images)} (exit code {code})",
            hint="the series has missing, duplicate or tilted slices; export the complete series again",
        )
    try:
        image = load_image(images[0])
    except ImageError as error:
        reason = error.message.removeprefix(f"{images[0].name}: ")  # the site does not know that file
        raise UnreadableUploadError(f"{what}: {reason}", hint="export the complete series again") from error
    verify(image.grid, expected, what)
    require_equal_values(image, frames_of(files), what)
    stated = _sidecar(out, what)
    kept = {key: value for key, value in sorted(stated.items()) if key in SIDECAR_KEYS and _is_stated(value)}
    return Converted(image, kept)


def _is_stated(value: Any) -> bool:
    """False for null, and for a number that is not finite: JSON has none."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _sidecar(out: Path, what: str) -> dict[str, Any]:
    """The sidecar of dcm2niix. Header values are in it as they are, with control characters and in any encoding."""
    sidecars = list(out.glob("*.json"))
    text = sidecars[0].read_text(encoding="utf-8-sig", errors="replace") if sidecars else "{}"
    try:
        stated = json.loads(_NO_NUMBER.sub(r"\1null", text), strict=False)
    except (ValueError, RecursionError):
        stated = None
    if not isinstance(stated, dict):
        raise ExternalToolError(
            f"{what}: expected a JSON object of header values from dcm2niix, found {len(text)} other characters",
            hint="report the scanner and its software version; the version of dcm2niix may have to be changed",
        )
    return stated


def _run(folder: Path, out: Path, timeout_s: float) -> int:
    arguments = [
        str(dcm2niix.bin),
        "-b", "y", "-ba", "y",  # an anonymised sidecar
        "-f", "volume", "-o", str(out),
        "-i", "n", "-m", "n", "-x", "n", "-z", "n",  # do not ignore, merge, crop or compress
        str(folder),
    ]  # fmt: skip
    environment = {k: os.environ[k] for k in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if k in os.environ}
    try:
        done = subprocess.run(
            arguments, capture_output=True, timeout=timeout_s, check=False, env=environment, cwd=out
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExternalToolError(
            f"expected dcm2niix to run, found {type(error).__name__}", hint="install the package 'dcm2niix' again"
        ) from error
    return done.returncode


def verify(grid: Grid, expected: ExpectedGeometry, what: str) -> None:
    """Compare a converted grid with the headers.

    Parameters
    ----------
    grid : Grid
        Of the converted image, in any axis order.
    expected : ExpectedGeometry
        Size, spacing (tolerance 1 %) and corners (`CORNER_TOLERANCE_MM`) are compared.
    what : str
        Name of the series in messages.

    Raises
    ------
    UnreadableUploadError
        With the expected and the found geometry.
    """
    wanted = sorted((expected.columns, expected.rows, expected.slices))
    if sorted(grid.shape) != wanted:
        raise UnreadableUploadError(
            f"{what}: expected {expected.slices} slices of {expected.rows} x {expected.columns} from the headers, "
            f"found a volume of {grid.describe()}",
            hint="slices are missing or duplicate; export the complete series again",
        )
    row_mm, column_mm, slice_mm = expected.spacing_mm
    found_mm, expected_mm = sorted(grid.spacing_mm), sorted(expected.spacing_mm)
    if not np.allclose(found_mm, expected_mm, rtol=SPACING_TOLERANCE, atol=SPACING_TOLERANCE_MM):
        raise UnreadableUploadError(
            f"{what}: expected a spacing of {row_mm:.2f} x {column_mm:.2f} x {slice_mm:.2f} mm from the headers, "
            f"found {' x '.join(f'{s:.2f}' for s in grid.spacing_mm)} mm",
            hint="slice distances are irregular; export the complete series again",
        )
    distance = _corner_distance_mm(grid, expected)
    if distance > CORNER_TOLERANCE_MM:
        raise UnreadableUploadError(
            f"{what}: expected the volume at its position in the headers, found its corners {distance:.1f} mm away",
            hint="orientation and position in the headers are inconsistent; export the series again",
        )


def _corner_distance_mm(grid: Grid, expected: ExpectedGeometry) -> float:
    ends = [[0, n - 1] for n in grid.shape]
    found = grid.world(np.array(np.meshgrid(*ends)).reshape(3, -1).T.astype(float))
    wanted = np.array(expected.corners_ras_mm)
    apart = np.linalg.norm(found[:, None, :] - wanted[None, :, :], axis=2)
    # dcm2niix flips rows, so the order of the corners differs: each is compared with the nearest one
    return float(max(apart.min(axis=0).max(), apart.min(axis=1).max()))
