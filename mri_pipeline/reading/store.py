"""``reads/`` of a trial: the versions of the reads.

::

    reads/<subject>/<visit>/readers/<reader>/01/  t2_lesions.nii.gz, gel.nii.gz, black_holes.nii.gz, read.json
    reads/<subject>/<visit>/readers/<reader>/02/  the next version of that read; no version is changed or deleted

Hidden second reads are in ``rereads/`` in the place of ``readers/``.

The registry names the version that counts. A version that it does not know is the rest of an interrupted import; the
next import of the reader replaces it. A read of version 0.2.0 or earlier lies in ``reads/<subject>/<visit>/``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import sync_folder, sync_tree, write_atomic
from mri_pipeline.core.io.digests import file_digests, has_digest
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.record import (
    READ_RECORD,
    ConfirmedRead,
    ReadRecord,
)

READ_FILE = "read.json"
_OWNER = "owner.lock"
CHANGES_MASK = "t2_changes.nii.gz"


def visit_folder(reads: Path, subject: str, visit: str) -> Path:
    """Folder of the reads of one visit.

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


def read_folder(reads: Path, subject: str, visit: str, reader: str, version: int, *, reread: bool = False) -> Path:
    """Folder of one version of a read.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.
    reader : str
        Code of the reader.
    version : int
    reread : bool
        As in `ReadRecord`.

    Returns
    -------
    Path

    Examples
    --------
    >>> read_folder(Path("reads"), "BCDF2345", "wk04", "R1", 2).as_posix()
    'reads/BCDF2345/wk04/readers/R1/02'
    """
    return version_folder(visit_folder(reads, subject, visit), reader, version, reread=reread)


def version_folder(reads_of_visit: Path, reader: str, version: int, *, reread: bool = False) -> Path:
    """Folder of one version of a read below the folder of all reads of its visit.

    Parameters
    ----------
    reads_of_visit : Path
        `visit_folder`, or where the reads of a withdrawn scan are kept.
    reader : str
        Code of the reader.
    version : int
    reread : bool
        As in `ReadRecord`.

    Returns
    -------
    Path
    """
    if not version:
        return reads_of_visit
    return reads_of_visit / ("rereads" if reread else "readers") / reader / f"{version:02d}"


def folder_of(reads: Path, record: ReadRecord) -> Path:
    """Folder of the read of a record.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial, or a staging folder.
    record : ReadRecord

    Returns
    -------
    Path
    """
    return read_folder(reads, record.subject, record.visit, record.reader, record.version, reread=record.reread)


def stage_read(
    stage: Path,
    record: ReadRecord,
    masks: Mapping[LesionKind, LabelImage],
    changes: LabelImage | None = None,
) -> ReadRecord:
    """Write a version of a read to a staging folder.

    Parameters
    ----------
    stage : Path
        See `staging`.
    record : ReadRecord
        Its `digests` are replaced.
    masks : mapping of LesionKind to LabelImage
        Confirmed lesions, 0 and 1.
    changes : LabelImage, optional
        Decisions on changes (`mri_pipeline.reading.serial.changes_mask`).

    Returns
    -------
    ReadRecord
        With the digests of the mask files.
    """
    folder = folder_of(stage, record)
    images = {kind.file: mask for kind, mask in masks.items()}
    images |= {} if changes is None else {CHANGES_MASK: changes}
    files = [nifti.save(image, folder / name) for name, image in images.items()]
    record = replace(record, digests=file_digests(files))
    write_atomic(folder / READ_FILE, record.text)
    return record


@contextmanager
def staging(reads: Path) -> Iterator[Path]:
    """A private folder in ``reads/``, from which complete reads are moved into place. It is removed at the end.

    Its owner holds a lock in it. If the owner is killed, the next import removes the folder.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial; created with mode 0700 if it does not exist.

    Yields
    ------
    Path
        New folder, mode 0700.
    """
    private_reads(reads)
    with ExitStack() as owner:
        with exclusive(reads / ".staging.lock", wait_s=60.0):  # no folder is swept between creation and lock
            for left in reads.glob(".incoming-*"):
                with suppress(LockedError), exclusive(left / _OWNER, wait_s=0):
                    shutil.rmtree(left, ignore_errors=True)
            folder = Path(owner.enter_context(tempfile.TemporaryDirectory(prefix=".incoming-", dir=reads)))
            owner.enter_context(exclusive(folder / _OWNER, wait_s=0))
        yield folder


def private_reads(reads: Path) -> None:
    """Create ``reads/`` with mode 0700, or correct its mode: its files map reading codes to subjects.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    """
    reads.mkdir(parents=True, exist_ok=True)
    reads.chmod(0o700)


def private_files(folder: Path, reads: Path) -> None:
    """Take all rights of group and others from a folder, its files, and the folders between it and ``reads/``.

    Parameters
    ----------
    folder : Path
    reads : Path
        ``reads/`` of the trial.
    """
    above = [path for path in folder.parents if path.is_relative_to(reads)]
    for path in (*above, folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)


def place_read(stage: Path, reads: Path, record: ReadRecord) -> Path:
    """Move a staged version of a read into place, before it is entered in the registry.

    Parameters
    ----------
    stage : Path
        Folder of the staged reads.
    reads : Path
        ``reads/`` of the trial.
    record : ReadRecord
        Record of the staged read.

    Returns
    -------
    Path
        Its folder.
    """
    source, target = folder_of(stage, record), folder_of(reads, record)
    sync_tree(source)
    if target.exists():  # left by an interrupted import
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    private_files(target, reads)
    sync_folder(target.parent)
    return target


def load_record(
    reads: Path, subject: str, visit: str, reader: str, version: int, *, reread: bool = False
) -> ReadRecord | None:
    """The record of one version of a read. None if there is none.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.
    reader : str
        Code of the reader.
    version : int
    reread : bool
        As in `ReadRecord`.

    Returns
    -------
    ReadRecord or None

    Raises
    ------
    UsageError
        If the record is damaged or that of another read.
    """
    folder = read_folder(reads, subject, visit, reader, version, reread=reread)
    return _record_in(folder, (subject, visit, reader, version, reread))


def _record_in(folder: Path, of: tuple[str, str, str, int, bool]) -> ReadRecord | None:
    subject, visit, *_ = of
    path = folder / READ_FILE
    if not path.is_file():
        return None
    damaged = f"subject {subject}, visit {visit}: expected the record of a read, found a damaged one"
    hint = "restore reads/ from its backup and report the deviation"
    try:
        record = READ_RECORD.validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        raise UsageError(damaged, hint=hint) from error
    found = (record.subject, record.visit, record.reader, record.version, record.reread)
    if found != of:
        raise UsageError(damaged, hint=hint)
    return record


def load_read(
    reads: Path, subject: str, visit: str, reader: str, version: int, *, reread: bool = False
) -> ConfirmedRead | None:
    """The confirmed lesions of one version of a read with their record. None if there is none.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.
    reader : str
        Code of the reader.
    version : int
    reread : bool
        As in `ReadRecord`.

    Returns
    -------
    ConfirmedRead or None

    Raises
    ------
    UsageError
        If the record is damaged, or a mask differs from the one that the reader confirmed.
    """
    return read_in(visit_folder(reads, subject, visit), subject, visit, reader, version, reread=reread)


def read_in(
    reads_of_visit: Path, subject: str, visit: str, reader: str, version: int, *, reread: bool = False
) -> ConfirmedRead | None:
    """As `load_read`, from the folder of all reads of the visit (`version_folder`).

    Parameters
    ----------
    reads_of_visit : Path
    subject, visit : str
        Blinded code and visit label.
    reader : str
        Code of the reader.
    version : int
    reread : bool
        As in `ReadRecord`.

    Returns
    -------
    ConfirmedRead or None

    Raises
    ------
    UsageError
        As `load_read`.
    """
    folder = version_folder(reads_of_visit, reader, version, reread=reread)
    record = _record_in(folder, (subject, visit, reader, version, reread))
    if record is None:
        return None
    masks = {}
    for name, digest in record.digests.items():
        path = folder / name
        if not has_digest(path, digest):
            raise UsageError(
                f"subject {subject}, visit {visit}: expected the confirmed {name}, found it missing or changed",
                hint="restore reads/ from its backup and report the deviation",
            )
        masks[name] = nifti.load_labels(path)
    confirmed = VisitMasks(
        visit,
        masks[LesionKind.T2.file],
        gel=masks.get(LesionKind.GEL.file),
        black_holes=masks.get(LesionKind.BLACK_HOLE.file),
        confirmed=True,
        read=record.digest,
        t2_changes=masks.get(CHANGES_MASK),
        changes_since=record.changes_since,
    )
    return ConfirmedRead(record, confirmed)
