"""``reads/`` of a trial: proposed, confirmed and locked lesions.

::

    reads/<subject>/<visit>/proposed/    the exported numbered masks and proposal.json
    reads/<subject>/<visit>/             t2_lesions.nii.gz, gel.nii.gz, black_holes.nii.gz, read.json
    reads/<subject>/<visit>/history/01/  an earlier read that was replaced; nothing is deleted
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.record import READ_RECORD, STORED_PROPOSAL, ConfirmedRead, ReadRecord, StoredProposal

READ_FILE = "read.json"
PROPOSAL_FILE = "proposal.json"


def visit_folder(reads: Path, subject: str, visit: str) -> Path:
    """Folder of the read of one visit.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    Path
    """
    return reads / subject / visit


# proposals


def save_proposal(reads: Path, proposal: StoredProposal, masks: Mapping[LesionKind, LabelImage]) -> None:
    """Store the exported proposal. Returned masks are compared with this copy, which readers cannot change.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    proposal : StoredProposal
        Replaces an earlier proposal of the visit.
    masks : mapping of LesionKind to LabelImage
        The exported numbered masks.
    """
    folder = visit_folder(reads, proposal.subject, proposal.visit) / "proposed"
    if folder.exists():
        shutil.rmtree(folder)
    for kind, mask in masks.items():
        nifti.save(mask, folder / kind.file)
    write_atomic(folder / PROPOSAL_FILE, STORED_PROPOSAL.dump_json(proposal, indent=1) + b"\n")


def stored_proposals(reads: Path) -> Iterator[StoredProposal]:
    """Every exported visit, in the order of codes and labels.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.

    Yields
    ------
    StoredProposal

    Raises
    ------
    UsageError
        If a stored proposal is damaged.
    """
    for path in sorted(reads.glob(f"*/*/proposed/{PROPOSAL_FILE}")):
        try:
            yield STORED_PROPOSAL.validate_json(path.read_bytes())
        except ValidationError as error:
            raise UsageError(
                f"expected the record of an export in reads/, found a damaged {PROPOSAL_FILE}",
                hint="export the worklist again",
            ) from error


def load_proposed(reads: Path, proposal: StoredProposal) -> dict[LesionKind, LabelImage]:
    """The exported numbered masks.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    proposal : StoredProposal

    Returns
    -------
    dict of LesionKind to LabelImage
        One entry for each digest of the proposal.

    Raises
    ------
    ImageError
        If a mask is missing or damaged.
    """
    folder = visit_folder(reads, proposal.subject, proposal.visit) / "proposed"
    return {kind: nifti.load_labels(folder / kind.file) for kind in proposal.digests}


# reads


def stage_read(stage: Path, record: ReadRecord, masks: Mapping[LesionKind, LabelImage]) -> ReadRecord:
    """Write a read to a staging folder.

    Parameters
    ----------
    stage : Path
        See `staging`.
    record : ReadRecord
        Its `digests` are replaced.
    masks : mapping of LesionKind to LabelImage
        Confirmed lesions, 0 and 1.

    Returns
    -------
    ReadRecord
        With the digests of the mask files.
    """
    folder = visit_folder(stage, record.subject, record.visit)
    files = {kind.file: nifti.save(mask, folder / kind.file) for kind, mask in masks.items()}
    record = replace(record, digests={name: file_digest(path) for name, path in files.items()})
    write_atomic(folder / READ_FILE, record.text)
    return record


def staging(reads: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder in ``reads/``, from which complete reads are moved into place.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial; created if it does not exist.

    Returns
    -------
    tempfile.TemporaryDirectory
        Context manager; the folder is removed at its end.
    """
    reads.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".incoming-", dir=reads)


class TakeOver:
    """Moves a staged read into place and an existing read into its history. Both moves can be undone.

    Parameters
    ----------
    stage : Path
        Folder of the staged reads.
    reads : Path
        Folder of the reads of the trial.
    record : ReadRecord
        Record of the staged read.
    """

    def __init__(self, stage: Path, reads: Path, record: ReadRecord) -> None:
        self._source = visit_folder(stage, record.subject, record.visit)
        self._target = visit_folder(reads, record.subject, record.visit)
        self._moved: list[tuple[Path, Path]] = []

    def apply(self) -> None:
        """Move the files. The record comes last: a folder without a record is not a read."""
        self._target.mkdir(parents=True, exist_ok=True)
        replaced = [path for path in self._target.iterdir() if path.is_file()]
        if replaced:
            number = 1 + len(list((self._target / "history").glob("*")))
            earlier = self._target / "history" / f"{number:02d}"
            earlier.mkdir(parents=True)
            for path in sorted(replaced, key=lambda path: path.name != READ_FILE):
                self._move(path, earlier / path.name)
        for path in sorted(self._source.iterdir(), key=lambda path: path.name == READ_FILE):
            self._move(path, self._target / path.name)

    def undo(self) -> None:
        """Move all files back."""
        while self._moved:
            source, target = self._moved.pop()
            target.replace(source)
            if target.parent.parent.name == "history" and not any(target.parent.iterdir()):
                target.parent.rmdir()

    def _move(self, source: Path, target: Path) -> None:
        source.replace(target)
        self._moved.append((source, target))


def load_record(reads: Path, subject: str, visit: str) -> ReadRecord | None:
    """The record of the read of a visit. None if the visit is unread.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    ReadRecord or None

    Raises
    ------
    UsageError
        If the record is damaged or belongs to another visit.
    """
    path = visit_folder(reads, subject, visit) / READ_FILE
    if not path.is_file():
        return None
    damaged = f"subject {subject}, visit {visit}: expected the record of a read, found a damaged one"
    hint = "restore reads/ from its backup and report the deviation"
    try:
        record = READ_RECORD.validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        raise UsageError(damaged, hint=hint) from error
    if (record.subject, record.visit) != (subject, visit):
        raise UsageError(damaged, hint=hint)
    return record


def load_read(reads: Path, subject: str, visit: str) -> ConfirmedRead | None:
    """The confirmed lesions of a visit with their record. None if the visit is unread.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    ConfirmedRead or None

    Raises
    ------
    UsageError
        If the record is damaged, or a mask differs from the one that the reader confirmed.
    """
    record = load_record(reads, subject, visit)
    if record is None:
        return None
    folder = visit_folder(reads, subject, visit)
    masks = {}
    for kind in LesionKind:
        if kind.file not in record.digests:
            continue
        path = folder / kind.file
        if not path.is_file() or file_digest(path) != record.digests[kind.file]:
            raise UsageError(
                f"subject {subject}, visit {visit}: expected the confirmed {kind.file}, found it missing or changed",
                hint="restore reads/ from its backup and report the deviation",
            )
        masks[kind] = nifti.load_labels(path)
    confirmed = VisitMasks(
        visit,
        masks[LesionKind.T2],
        gel=masks.get(LesionKind.GEL),
        black_holes=masks.get(LesionKind.BLACK_HOLE),
        confirmed=True,
    )
    return ConfirmedRead(record, confirmed)
