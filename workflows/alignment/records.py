"""Records of a subject's registrations, as JSON files outside of Nipype's cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.records import RegistrationRecord
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.duplicates import repeated
from mri_pipeline.images.register import RegistrationMethod


class ScanRegistration(BaseModel):
    """A registration with its transform file and quality (`mri_pipeline.images.register.Registration`).

    Attributes
    ----------
    moving_to_fixed : Path
        Transform file.
    scan_digest : str
        Digest of the moving scan's voxels.
    quality : float
        0 to 1.
    method : str
        `mri_pipeline.images.register.RegistrationMethod`.
    failed : bool
        True if the transform must not be used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    moving_to_fixed: Path
    scan_digest: str
    quality: float
    method: str
    failed: bool

    def record(self, contrast: Contrast, reference: str) -> RegistrationRecord:
        """The record for results and reports, without the file.

        Parameters
        ----------
        contrast : Contrast
            Of the moving scan.
        reference : str
            Visit of the fixed scan.

        Returns
        -------
        RegistrationRecord
            Quality is rounded to 4 decimals.
        """
        return RegistrationRecord(contrast, reference, round(self.quality, 4), self.method, failed=self.failed)


class VisitAlignmentRecord(BaseModel):
    """Record of one visit: brain mask of its FLAIR, and the registration of every other contrast to it.

    Attributes
    ----------
    brain, template_to_flair : Path
        Brain mask, and transform from the template to the FLAIR.
    skull_stripped : bool
        True if the FLAIR is already skull-stripped.
    brain_quality : float
        Quality of the match to the template, 0 to 1.
    scan_digest : str
        Digest of the FLAIR's voxels.
    scans : dict of Contrast to ScanRegistration
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    brain: Path
    template_to_flair: Path
    skull_stripped: bool
    brain_quality: float
    scan_digest: str
    scans: dict[Contrast, ScanRegistration]


def without_copies(
    scans: Mapping[Contrast, ScanRegistration], flair_digest: str
) -> dict[Contrast, ScanRegistration]:
    """Mark the registrations of scans that have the voxels of another contrast as failed.

    Parameters
    ----------
    scans : mapping of Contrast to ScanRegistration
        All contrasts of a visit except FLAIR.
    flair_digest : str
        Digest of the FLAIR's voxels.

    Returns
    -------
    dict of Contrast to ScanRegistration
    """
    digests = {Contrast.FLAIR: flair_digest, **{contrast: match.scan_digest for contrast, match in scans.items()}}
    failed = {"quality": 0.0, "method": RegistrationMethod.SAME_SCAN.value, "failed": True}
    copies = repeated(digests)
    return {c: match.model_copy(update=failed) if c in copies else match for c, match in scans.items()}


Record = TypeVar("Record", bound=BaseModel)


def save_record_file(record: BaseModel, path: Path) -> Path:
    """Write a record as JSON.

    Parameters
    ----------
    record : pydantic.BaseModel
    path : Path

    Returns
    -------
    Path
    """
    return write_atomic(path, record.model_dump_json(indent=1))


def load_record_file(kind: type[Record], path: Path) -> Record:
    """Read a record.

    Parameters
    ----------
    kind : type
        Class of the record.
    path : Path

    Returns
    -------
    object of class `kind`

    Raises
    ------
    OSError
        If the file cannot be read.
    pydantic.ValidationError
        If it is not such a record.
    """
    return kind.model_validate_json(path.read_bytes())
