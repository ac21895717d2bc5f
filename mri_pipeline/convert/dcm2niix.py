"""DICOM series to NIfTI with dcm2niix, and proof that the image is the one the headers describe.

dcm2niix ends with exit code 0 on series with missing slices (it interpolates an ``_Eq_1`` image), so its
word is not taken: the number of slices, the spacing and the world position of all eight corner voxels are
compared with the DICOM headers.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dcm2niix
import numpy as np

from mri_pipeline.core.errors import ExternalToolError, ImageError, UnreadableUploadError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.spatial import Grid, Image

CORNER_TOLERANCE_MM: Final = 0.1
"""Corner voxels of the image and of the headers lie within this distance (headers are rounded to about 0.01
mm)."""

SIDECAR_KEYS: Final = frozenset({
    "Manufacturer", "ManufacturersModelName", "SoftwareVersions", "MagneticFieldStrength", "MRAcquisitionType",
    "ScanningSequence", "SequenceVariant", "ScanOptions", "RepetitionTime", "EchoTime", "InversionTime",
    "FlipAngle", "SliceThickness", "SpacingBetweenSlices", "EchoTrainLength", "PixelBandwidth", "NumberOfAverages",
    "ConversionSoftware", "ConversionSoftwareVersion",
})  # fmt: skip
"""What a sidecar keeps: no date, time, name, institution, station, serial number or free text."""


@dataclass(frozen=True)
class ExpectedGeometry:
    """What the DICOM headers of a series say about its volume.

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
    """An image whose geometry was verified, and its sidecar reduced to `SIDECAR_KEYS`."""

    image: Image
    sidecar: Mapping[str, Any]


def convert_series(folder: Path, expected: ExpectedGeometry, *, what: str, timeout_s: float = 600) -> Converted:
    """Convert the de-identified files of one series.

    Parameters
    ----------
    folder : Path
        Holds the files of one series and nothing else.
    expected : ExpectedGeometry
        From the headers.
    what : str
        How messages name the series, for example its contrast.
    timeout_s : float, optional
        Wall-clock seconds given to dcm2niix.

    Raises
    ------
    UnreadableUploadError
        If the result is not one volume, or not the one the headers describe.
    ExternalToolError
        If dcm2niix cannot be run or does not end.
    """
    with tempfile.TemporaryDirectory() as out:
        code = _run(folder, Path(out), timeout_s)
        images = sorted(Path(out).glob("*.nii*"))
        if len(images) != 1:
            raise UnreadableUploadError(
                f"{what}: expected one volume, dcm2niix made {len(images)} (exit code {code})",
                hint="the series has missing, doubled or tilted slices; export it again whole",
            )
        try:
            image = load_image(images[0])
        except ImageError as error:
            raise UnreadableUploadError(
                f"{what}: {error.message}", hint="export the series again whole"
            ) from error
        verify(image.grid, expected, what)
        sidecars = list(Path(out).glob("*.json"))
        stated = json.loads(sidecars[0].read_text(encoding="utf-8")) if sidecars else {}
    return Converted(image, {key: stated[key] for key in sorted(stated) if key in SIDECAR_KEYS})


def _run(folder: Path, out: Path, timeout_s: float) -> int:
    arguments = [
        str(dcm2niix.bin),
        "-b", "y", "-ba", "y",  # a sidecar without names and dates
        "-f", "volume", "-o", str(out),
        "-i", "n", "-m", "n", "-x", "n", "-z", "n",  # neither ignore, merge nor crop
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

    Raises
    ------
    UnreadableUploadError
        Saying what was expected and found.
    """
    wanted = sorted((expected.columns, expected.rows, expected.slices))
    if sorted(grid.shape) != wanted:
        raise UnreadableUploadError(
            f"{what}: expected {expected.slices} slices of {expected.rows} x {expected.columns} by the headers, "
            f"found a volume of {grid.describe()}",
            hint="slices are missing or doubled; export the series again whole",
        )
    row_mm, column_mm, slice_mm = expected.spacing_mm
    if not np.allclose(sorted(grid.spacing_mm), sorted((row_mm, column_mm, slice_mm)), rtol=0.01, atol=0.005):
        raise UnreadableUploadError(
            f"{what}: expected a spacing of {row_mm:.2f} x {column_mm:.2f} x {slice_mm:.2f} mm by the headers, "
            f"found {' x '.join(f'{s:.2f}' for s in grid.spacing_mm)} mm",
            hint="the distance between slices is not regular; export the series again whole",
        )
    distance = _corner_distance_mm(grid, expected)
    if distance > CORNER_TOLERANCE_MM:
        raise UnreadableUploadError(
            f"{what}: expected the volume where the headers put it, found its corners {distance:.1f} mm away",
            hint="the orientation in the headers contradicts itself; export the series again",
        )


def _corner_distance_mm(grid: Grid, expected: ExpectedGeometry) -> float:
    ends = [[0, n - 1] for n in grid.shape]
    found = grid.world(np.array(np.meshgrid(*ends)).reshape(3, -1).T.astype(float))
    wanted = np.array(expected.corners_ras_mm)
    apart = np.linalg.norm(found[:, None, :] - wanted[None, :, :], axis=2)
    # the order of the corners is free (dcm2niix flips rows), so each must have its own nearest partner
    return float(max(apart.min(axis=0).max(), apart.min(axis=1).max()))
