"""Digests of files."""

import hashlib
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
