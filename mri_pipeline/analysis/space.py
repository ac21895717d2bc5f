"""Subject space, and its storage once readers have masks in it.

Every analysis computes the midpoint space of a subject from all its visits. No visit is the reference, and the result
depends on the scans only. Masks drawn by readers are bound to its grid. The first export of a worklist therefore
*keeps* the space. A copy is stored with the reads. Later analyses use its grid, brain mask, tissue maps and transforms
without change and register every further visit to it. The grid of masks that were read does not change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mri_pipeline.core import provenance
from mri_pipeline.core.derivative_layout import SpaceFiles
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.nifti import same_content
from mri_pipeline.core.records import RegistrationRecord

FORMAT = 1


class SpaceVisit(BaseModel):
    """A visit of the space.

    Attributes
    ----------
    visit : str
        Label of the visit.
    flair_digest : str
        SHA-256 of its FLAIR file.
    registration : RegistrationRecord
        Of its FLAIR.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    visit: str
    flair_digest: str
    registration: RegistrationRecord


class SpaceRecord(BaseModel):
    """Record of a subject space.

    Attributes
    ----------
    format : int
        Layout of the record.
    made_from : tuple of str
        Labels of the visits from which the space was computed.
    visits : tuple of SpaceVisit
        All visits, including those added later.
    software : dict of str to str
        Versions of the software that computed the space.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    made_from: tuple[str, ...]
    visits: tuple[SpaceVisit, ...]
    software: dict[str, str]

    def known(self, flairs: dict[str, Path]) -> dict[str, SpaceVisit]:
        """Visits of the space whose scan is unchanged.

        Parameters
        ----------
        flairs : dict of str to Path
            FLAIR file by visit.

        Returns
        -------
        dict of str to SpaceVisit
            In the order of `flairs`. A visit with another FLAIR is absent.
        """
        by_label = {visit.visit: visit for visit in self.visits}
        return {
            label: by_label[label]
            for label, path in flairs.items()
            if label in by_label and by_label[label].flair_digest == file_digest(path)
        }


def make_record(
    registrations: Sequence[RegistrationRecord], flairs: dict[str, Path], kept: SpaceRecord | None
) -> SpaceRecord:
    """Record of a space after an analysis.

    Parameters
    ----------
    registrations : sequence of RegistrationRecord
        One for each visit, in the order of `flairs`.
    flairs : dict of str to Path
        FLAIR file by visit.
    kept : SpaceRecord or None
        Record of the kept space; None if the space is new.

    Returns
    -------
    SpaceRecord
    """
    present = tuple(
        SpaceVisit(visit=label, flair_digest=file_digest(path), registration=registration)
        for (label, path), registration in zip(flairs.items(), registrations, strict=True)
    )
    if kept is None:
        return SpaceRecord(made_from=tuple(flairs), visits=present, software=provenance.software())
    return kept.model_copy(update={"visits": present})


def load_record(space: SpaceFiles) -> SpaceRecord:
    """Load the record of a space.

    Parameters
    ----------
    space : SpaceFiles

    Returns
    -------
    SpaceRecord

    Raises
    ------
    UsageError
        If it is missing, damaged or of another format, or a file of the space is missing.
    """
    what = f"subject {space.subject}: expected its space"
    hint = "restore reads/ from its backup, or run the analysis again if no visit is read"
    try:
        record = SpaceRecord.model_validate_json(space.record.read_bytes())
    except OSError as error:
        raise UsageError(f"{what}, found none", hint=hint) from error
    except ValidationError as error:
        raise UsageError(f"{what}, found a damaged record", hint=hint) from error
    needed = [*space.of_all_visits(), *(space.flair_to_subject(visit.visit) for visit in record.visits)]
    missing = sum(not path.is_file() for path in needed)
    if record.format != FORMAT or missing:
        raise UsageError(
            f"{what} of format {FORMAT} and complete, found format {record.format}, "
            f"{missing} of {len(needed)} files missing",
            hint=hint,
        )
    return record


def keep_space(present: SpaceFiles, kept: SpaceFiles) -> None:
    """Copy the space of the last analysis to the reads that will use it.

    Visits that were added to a kept space are added to the copy. A new space (no scan of the kept space is left)
    replaces it. The earlier space is renamed and not deleted.

    Parameters
    ----------
    present, kept : SpaceFiles
        Space of the last analysis, and its copy.

    Raises
    ------
    UsageError
        If the analysis wrote no space.
    """
    load_record(present)
    if kept.record.is_file():
        if all(same_content(a, b) for a, b in zip(present.of_all_visits(), kept.of_all_visits(), strict=True)):
            if not same_content(present.record, kept.record):
                _copy(present, kept.folder)
            return
        number = 1 + len(list(kept.folder.parent.glob("_space_*")))
        kept.folder.rename(kept.folder.with_name(f"_space_{number:02d}"))
    unfinished = kept.folder.with_name(f".space.{os.getpid()}")
    _copy(present, unfinished)
    unfinished.rename(kept.folder)


def _copy(present: SpaceFiles, folder: Path) -> None:
    """Copy a space. The record is written last, when all files that it names exist."""
    record = load_record(present)
    folder.mkdir(parents=True, exist_ok=True)
    ways = [present.flair_to_subject(visit.visit) for visit in record.visits]
    whole = [present.whole_brain] if present.whole_brain.is_file() else []
    for path in [*present.of_all_visits(), *whole, *ways]:
        shutil.copyfile(path, folder / path.name)
    write_atomic(folder / present.record.name, present.record.read_bytes())
