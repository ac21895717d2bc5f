"""Replace a folder in one step, and notice a replacement while its files are read."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from mri_pipeline.core.errors import ReadingCentreError
from mri_pipeline.core.io.atomic import sync_folder

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NOT_SUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

T = TypeVar("T")


def replace_folder(new: Path, place: Path) -> None:
    """Move a folder to its place and delete the folder that was there. Both are on one file system.

    Linux swaps the two folders in one step (``renameat2`` with ``RENAME_EXCHANGE``). Some network file systems do not
    support it. There the place is empty for a moment, and stays empty if the process is killed in that moment.

    Parameters
    ----------
    new : Path
        The whole new folder.
    place : Path
        Need not exist.

    Raises
    ------
    OSError
        If the folder cannot be moved.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     new, place = Path(folder) / "new", Path(folder) / "place"
    ...     for one in (new, place):
    ...         one.mkdir()
    ...         _ = (one / one.name).touch()
    ...     replace_folder(new, place)
    ...     [path.relative_to(folder).as_posix() for path in sorted(Path(folder).rglob("*"))]
    ['place', 'place/new']
    """
    if not place.exists():
        new.rename(place)
    elif not _exchange(new, place):
        aside = new.with_name(f"{new.name}.earlier")
        shutil.rmtree(aside, ignore_errors=True)
        place.rename(aside)
        new.rename(place)
        aside.rename(new)
    sync_folder(place.parent)
    if new.exists():
        shutil.rmtree(new)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step; False if the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))


def identity(folder: Path) -> tuple[int, int] | None:
    """Inode of a folder and time of its last change. `replace_folder` changes them.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    tuple of int or None
        None if the folder does not exist.
    """
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_ctime_ns


def read_whole(folder: Path, read: Callable[[], T]) -> T:
    """Read files of a folder. If the folder is replaced meanwhile, they are read again.

    Parameters
    ----------
    folder : Path
    read : callable
        Reads the files and returns a value.

    Returns
    -------
    object
        That of `read`, from one state of the folder.

    Raises
    ------
    Exception
        That of `read`, if the folder was not replaced.
    """
    while True:
        before = identity(folder)
        try:
            value = read()
        except (ReadingCentreError, OSError):
            if identity(folder) == before:
                raise
            continue
        if identity(folder) == before:
            return value
