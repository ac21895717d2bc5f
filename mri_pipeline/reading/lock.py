"""Lock of a confirmed read. A locked read is final."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.record import ReadRecord
from mri_pipeline.reading.store import READ_FILE, load_read, load_record, visit_folder


def is_locked(reads: Path, subject: str, visit: str) -> bool:
    """True if the read of a visit is locked.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    bool

    Raises
    ------
    UsageError
        As `load_record`.
    """
    record = load_record(reads, subject, visit)
    return record is not None and record.status is ReadStatus.LOCKED


def lock_read(reads: Path, subject: str, visit: str, *, reader: str) -> ReadRecord:
    """Check the masks of a read and lock it.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial. The files of the read become read-only.
    subject, visit : str
        Blinded code and visit label.
    reader : str
        Code of the reader.

    Returns
    -------
    ReadRecord
        The locked record.

    Raises
    ------
    UsageError
        If there is no read by this reader, it is already locked, or its files were changed.
    """
    read = load_read(reads, subject, visit)
    if read is None or read.record.reader != reader:
        raise UsageError(
            f"subject {subject}, visit {visit}: expected a read by this reader, found none",
            hint="import the read first: mri-pipeline read TRIAL --import DIR --reader R",
        )
    if read.record.status is ReadStatus.LOCKED:
        raise UsageError(
            f"subject {subject}, visit {visit}: expected an open read, found a locked one",
            hint="a locked read is final",
        )
    locked = replace(read.record, status=ReadStatus.LOCKED)
    _replace_record(reads, locked)
    for path in visit_folder(reads, subject, visit).iterdir():
        if path.is_file():
            path.chmod(0o444)
    return locked


def unlock_read(reads: Path, record: ReadRecord) -> None:
    """Undo a lock that could not be entered in the registry.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    record : ReadRecord
        The record before the lock.
    """
    for path in visit_folder(reads, record.subject, record.visit).iterdir():
        if path.is_file():
            path.chmod(0o644)
    _replace_record(reads, record)


def _replace_record(reads: Path, record: ReadRecord) -> None:
    write_atomic(visit_folder(reads, record.subject, record.visit) / READ_FILE, record.text)
