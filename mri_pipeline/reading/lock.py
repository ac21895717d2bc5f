"""Files of a locked read.

The counts of a locked visit read nothing that can change: ``reads/<subject>/<visit>/locked/`` keeps copies of the
images that they use beside the masks. The audit trail has the digest of every copy.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digests, has_digest
from mri_pipeline.reading.record import ReadRecord
from mri_pipeline.reading.store import folder_of, load_read, private_files, visit_folder


def protect_read(reads: Path, record: ReadRecord) -> None:
    """Check the masks of a read and make its files read-only. The registry locks it.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    record : ReadRecord

    Raises
    ------
    UsageError
        As `mri_pipeline.reading.store.load_read`.
    """
    load_read(reads, record.subject, record.visit, record.reader, record.version)
    for path in folder_of(reads, record).iterdir():
        if path.is_file():
            path.chmod(0o400)


def locked_folder(reads: Path, subject: str, visit: str) -> Path:
    """Folder of the copies of `keep_inputs`.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    Path
        Missing if no read of the visit is locked.
    """
    return visit_folder(reads, subject, visit) / "locked"


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
    folder = locked_folder(reads, subject, visit)
    shutil.rmtree(folder, ignore_errors=True)
    copies = [write_atomic(folder / name, path.read_bytes(), mode=0o400) for name, path in inputs.items()]
    private_files(folder, reads)
    return file_digests(copies)


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
    folder = locked_folder(reads, subject, visit)
    for name, digest in digests.items():
        path = folder / name
        if not has_digest(path, digest):
            raise UsageError(
                f"subject {subject}, visit {visit}: expected {name} as it was when the read was locked, found it "
                + ("changed" if path.is_file() else "missing"),
                hint="restore reads/ from its backup and report the deviation",
            )
    return {name: folder / name for name in digests}
