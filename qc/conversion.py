"""De-identification and conversion of the chosen series of an upload.

`deidentify_chosen` and `convert_chosen` are steps of `workflows.intake`. `qc.decision` judges the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.convert.dcm2niix import Converted, ExpectedGeometry, convert_series
from mri_pipeline.core.errors import IdentityError, UnreadableUploadError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.deidentify import Blinding, deidentify
from qc.compliance import UploadPurpose
from qc.gate import CheckedUpload


@dataclass(frozen=True)
class ScanFile:
    """A converted series on disk.

    Parameters
    ----------
    image : Path
        NIfTI of `mri_pipeline.core.io.nifti.save_scan`, not compressed.
    sidecar : mapping
        As `mri_pipeline.convert.dcm2niix.Converted.sidecar`.
    series : Path
        Folder of the de-identified DICOM files from which it was converted.
    """

    image: Path
    sidecar: Mapping[str, Any]
    series: Path

    def load(self) -> tuple[Image, Mapping[str, Any]]:
        """Read the image.

        Returns
        -------
        image : Image
        sidecar : mapping
        """
        return load_image(self.image), self.sidecar


class ImagesOnDisk(Mapping[Contrast, Image]):
    """Images that are read when they are used. The last one is kept, for repeated use.

    Parameters
    ----------
    files : mapping of Contrast to ScanFile
    """

    def __init__(self, files: Mapping[Contrast, ScanFile]) -> None:
        self._files = files
        self._last: tuple[Contrast, Image] | None = None

    def __getitem__(self, contrast: Contrast) -> Image:
        if self._last is None or self._last[0] is not contrast:
            self._last = None
            self._last = contrast, self._files[contrast].load()[0]
        return self._last[1]

    def __contains__(self, contrast: object) -> bool:
        return contrast in self._files

    def __iter__(self) -> Iterator[Contrast]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def deidentify_chosen(checked: CheckedUpload, folder: Path, blinding: Blinding) -> dict[Contrast, Path]:
    """De-identify the chosen series. Series with missing slices are omitted.

    Parameters
    ----------
    checked : CheckedUpload
        Its unpacked files must still exist.
    folder : Path
        A folder for each contrast is made in it.
    blinding : Blinding
        Code of the subject and the trial's secret.

    Returns
    -------
    dict of Contrast to Path
        Folders of the de-identified files.

    Raises
    ------
    ComplianceError
        If the headers of a visit do not meet the protocol. A dummy run is judged as a whole later.
    UploadRefusedError
        If an identity would remain.
    """
    if checked.headers.purpose is UploadPurpose.VISIT:
        checked.compliance.require()
    clean: dict[Contrast, Path] = {}
    alarms: list[IdentityError] = []
    for contrast, choice in checked.chosen.items():
        series = choice.recognised.series
        if series.geometry is None:
            raise UnreadableUploadError(f"{contrast.value}: expected positions of its slices, found none")
        if not series.geometry.complete:
            continue
        clean[contrast] = folder / contrast.value
        try:
            deidentify(series.files, clean[contrast], blinding)
        except IdentityError as error:
            alarms.append(error)
    _raise_together(alarms)
    return clean


def convert_chosen(checked: CheckedUpload, clean: Mapping[Contrast, Path]) -> Iterator[tuple[Contrast, Converted]]:
    """Convert the de-identified series one after another, and compare each with its headers and pixels.

    Parameters
    ----------
    checked : CheckedUpload
    clean : mapping of Contrast to Path
        From `deidentify_chosen`.

    Yields
    ------
    contrast : Contrast
    converted : Converted

    Raises
    ------
    UploadRefusedError
        If a volume contradicts its headers or pixels.
    """
    for contrast, folder in clean.items():
        geometry = checked.chosen[contrast].recognised.series.geometry
        if geometry is None:
            raise UnreadableUploadError(f"{contrast.value}: expected positions of its slices, found none")
        expected = ExpectedGeometry(
            geometry.columns, geometry.rows, geometry.slices, geometry.spacing_mm, geometry.corners_ras_mm
        )
        yield contrast, convert_series(folder, expected, what=contrast.value)


def _raise_together(alarms: Sequence[IdentityError]) -> None:
    """One error that names all series, so that a person clears all of them at once."""
    if alarms:
        raise IdentityError(
            "; ".join(alarm.message for alarm in alarms),
            hint=alarms[0].hint,
            elements=[element for alarm in alarms for element in alarm.elements],
        )
