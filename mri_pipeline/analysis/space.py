"""A subject's space, and how it is kept once readers have masks in it.

The midway space of a subject is made anew from all its visits at every analysis, so that no visit is the reference
and the result depends on the scans alone. Masks that readers draw are tied to its grid. Therefore the first export of
a worklist *keeps* the space: a copy lies beside the reads, later analyses use its grid, brain and tissue maps and its
transforms as they are, and bring every further visit to it. What was read stays voxel for voxel what it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mri_pipeline.core import provenance
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.layout import SpaceFiles
from mri_pipeline.core.records import RegistrationRecord

FORMAT = 1


class SpaceVisit(BaseModel):
    """A visit in the space: the SHA-256 of its FLAIR's file, and how it was registered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    visit: str
    flair_digest: str
    registration: RegistrationRecord


class SpaceRecord(BaseModel):
    """Which visits are in the space, and the software that made it from the first of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    made_from: tuple[str, ...]
    visits: tuple[SpaceVisit, ...]
    software: dict[str, str]

    def known(self, flairs: dict[str, Path]) -> dict[str, SpaceVisit]:
        """The visits of the space that are among `flairs` (FLAIR by visit) with the very scan they had, in order."""
        by_label = {visit.visit: visit for visit in self.visits}
        return {
            label: by_label[label]
            for label, path in flairs.items()
            if label in by_label and by_label[label].flair_digest == file_digest(path)
        }


def make_record(
    registrations: Sequence[RegistrationRecord], flairs: dict[str, Path], kept: SpaceRecord | None
) -> SpaceRecord:
    """The record of a space after an analysis of `flairs`, whose registrations come in the same order."""
    present = tuple(
        SpaceVisit(visit=label, flair_digest=file_digest(path), registration=registration)
        for (label, path), registration in zip(flairs.items(), registrations, strict=True)
    )
    if kept is None:
        return SpaceRecord(made_from=tuple(flairs), visits=present, software=provenance.software())
    return kept.model_copy(update={"visits": present})


def load_record(space: SpaceFiles) -> SpaceRecord:
    """The record of a space.

    Raises
    ------
    UsageError
        If it is missing, damaged or of another format, or a file of the space is missing.
    """
    what = f"subject {space.subject}: expected its space"
    hint = "restore reads/ from its backup, or run the analysis again where nothing is read"
    try:
        record = SpaceRecord.model_validate_json(space.record.read_bytes())
    except OSError as error:
        raise UsageError(f"{what}, found none", hint=hint) from error
    except ValidationError as error:
        raise UsageError(f"{what}, found a damaged record", hint=hint) from error
    needed = [*space.of_all_visits(), *(space.flair_to_subject(visit.visit) for visit in record.visits)]
    if record.format != FORMAT or not all(path.is_file() for path in needed):
        raise UsageError(f"{what} of format {FORMAT} whole, found another or a part of it", hint=hint)
    return record


def keep_space(present: SpaceFiles, kept: SpaceFiles) -> None:
    """Keep the space of the last analysis beside the reads that are going to be made in it.

    Visits that were added to a kept space are added to the copy. A space of its own (no scan of the kept one is left)
    takes its place, and the earlier one is put aside; nothing is deleted.

    Raises
    ------
    UsageError
        If the analysis left no space.
    """
    load_record(present)
    if kept.record.is_file():
        if all(_same(a, b) for a, b in zip(present.of_all_visits(), kept.of_all_visits(), strict=True)):
            if not _same(present.record, kept.record):
                _copy(present, kept.folder)
            return
        number = 1 + len(list(kept.folder.parent.glob("_space_*")))
        kept.folder.rename(kept.folder.with_name(f"_space_{number:02d}"))
    unfinished = kept.folder.with_name(f".space.{os.getpid()}")
    _copy(present, unfinished)
    unfinished.rename(kept.folder)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _copy(present: SpaceFiles, folder: Path) -> None:
    """Copy a space; the record last, so that what it names is there."""
    record = load_record(present)
    folder.mkdir(parents=True, exist_ok=True)
    ways = [present.flair_to_subject(visit.visit) for visit in record.visits]
    for path in [*present.of_all_visits(), *ways]:
        shutil.copyfile(path, folder / path.name)
    write_atomic(folder / present.record.name, present.record.read_bytes())
