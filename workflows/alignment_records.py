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
from mri_pipeline.images.register import Method


class Match(BaseModel):
    """A registration with its transform file and quality (`mri_pipeline.images.register.Registration`).

    `scan_digest` is the digest of the moving scan's voxels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    moving_to_fixed: Path
    scan_digest: str
    quality: float
    method: str
    failed: bool

    def record(self, contrast: Contrast, reference: str) -> RegistrationRecord:
        """The record for results and reports, without the file."""
        return RegistrationRecord(contrast, reference, round(self.quality, 4), self.method, failed=self.failed)


class VisitAlignmentRecord(BaseModel):
    """Record of one visit: brain mask of its FLAIR, and the registration of every other contrast to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    brain: Path
    template_to_flair: Path
    skull_stripped: bool
    brain_quality: float
    scan_digest: str
    scans: dict[Contrast, Match]


def without_copies(scans: Mapping[Contrast, Match], flair_digest: str) -> dict[Contrast, Match]:
    """The matches of a visit; those of scans that have the voxels of another contrast have failed."""
    digests = {Contrast.FLAIR: flair_digest, **{contrast: match.scan_digest for contrast, match in scans.items()}}
    failed = {"quality": 0.0, "method": Method.SAME_SCAN.value, "failed": True}
    copies = repeated(digests)
    return {c: match.model_copy(update=failed) if c in copies else match for c, match in scans.items()}


Note = TypeVar("Note", bound=BaseModel)


def save_record_file(note: BaseModel, path: Path) -> Path:
    """Write a record."""
    return write_atomic(path, note.model_dump_json(indent=1))


def load_record_file(kind: type[Note], path: Path) -> Note:
    """Read a record."""
    return kind.model_validate_json(path.read_bytes())
