"""Digests of files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes of a file, as 64 hexadecimal digits.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digests(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file by its name, as the audit trail keeps it.

    Parameters
    ----------
    files : iterable of Path
        With different names.

    Returns
    -------
    dict of str to str

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    return {path.name: file_digest(path) for path in files}


def has_digest(path: Path, digest: str | None) -> bool:
    """True if a file is as it was when its digest was made.

    Parameters
    ----------
    path : Path
    digest : str or None
        SHA-256. None if it is not known.

    Returns
    -------
    bool
        False for a missing file.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    return path.is_file() and file_digest(path) == digest
