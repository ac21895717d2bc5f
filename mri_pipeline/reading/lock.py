"""Lock of a confirmed read. A locked read is final.

The counts of a locked visit read nothing that can change: ``reads/<subject>/<visit>/locked/`` keeps copies of the
images that they use beside the masks. The audit trail has the digest of every copy.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digest
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


def keep_inputs(reads: Path, subject: str, visit: str, inputs: Mapping[str, Path]) -> dict[str, str]:
    """Copy the images that the counts of a visit read. Earlier copies are replaced.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.
    inputs : mapping of file name to Path
        The image by the name of its copy.

    Returns
    -------
    dict of str to str
        SHA-256 of each copy, for the audit trail.
    """
    folder = visit_folder(reads, subject, visit) / "locked"
    shutil.rmtree(folder, ignore_errors=True)
    digests = {}
    for name, path in inputs.items():
        copy = write_atomic(folder / name, path.read_bytes(), mode=0o400)
        digests[name] = file_digest(copy)
    return digests


def kept_inputs(reads: Path, subject: str, visit: str, digests: Mapping[str, str]) -> dict[str, Path]:
    """The copies of `keep_inputs`, each compared with its digest.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.
    digests : mapping of str to str
        From the audit trail.

    Returns
    -------
    dict of str to Path
        By file name. Empty without digests: a lock of version 0.2.0 or earlier kept none.

    Raises
    ------
    UsageError
        If a copy is missing or changed.
    """
    folder = visit_folder(reads, subject, visit) / "locked"
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file() or file_digest(path) != digest:
            raise UsageError(
                f"subject {subject}, visit {visit}: expected {name} as it was when the read was locked, found it "
                + ("changed" if path.is_file() else "missing"),
                hint="restore reads/ from its backup and report the deviation",
            )
    return {name: folder / name for name in digests}


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
