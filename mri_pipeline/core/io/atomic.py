"""Atomic writes: another process reads the whole new file or the whole old one, also after a crash."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import uuid4

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a full disk, quota and file size limit."""


def write_atomic(path: Path, content: str | bytes | Iterable[bytes], *, mode: int | None = None) -> Path:
    """Write a file whole or not at all, and replace one of that name.

    The content goes to a hidden file in the same folder, is flushed to disk, and is then renamed. Parent folders are
    created. If anything fails, the target is unchanged and the hidden file is removed.

    Parameters
    ----------
    path : Path
        The file to write.
    content : str or bytes or iterable of bytes
        Text is encoded as UTF-8. Line ends are written as they are.
    mode : int, optional
        Permission bits, such as ``0o600``. Without it the umask decides.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomic(Path(folder) / "tables" / "nv.csv", "a,b").read_text()
    'a,b'
    """
    data = content.encode() if isinstance(content, str) else content
    parts = [data] if isinstance(data, bytes) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return path


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, so that a renamed or new file survives a power cut.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    OSError
        If the folder cannot be opened.
    """
    _flush(folder, os.O_DIRECTORY)


def sync_tree(folder: Path) -> None:
    """Flush all files of a folder and its folders to disk; links are not followed.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    OSError
        If a file cannot be opened or written.
    """
    for root, _, names in os.walk(folder):
        for path in (Path(root) / name for name in names):
            if not path.is_symlink():
                _flush(path)
        sync_folder(Path(root))


def _flush(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
