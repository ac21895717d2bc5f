"""Faults of disks during an upload: nothing is recorded against the site, and no message has a path of the upload."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import OperationalError

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import DISK_FULL

_POSTGRESQL_DISK_FULL = "53100"


@contextmanager
def storage_faults(upload: Path) -> Iterator[None]:
    """Turn faults of the disk into one line.

    Parameters
    ----------
    upload : Path

    Yields
    ------
    None

    Raises
    ------
    UsageError
        In place of an `OSError`, or of a fault of the database because of a full disk.
    """
    try:
        yield
    except OSError as error:
        raise _storage_error(error, upload) from None
    except OperationalError as error:
        if not _is_full(error):
            raise
        raise disk_full() from None


def require_room(folder: Path, size: int) -> None:
    """Require free space on the disk of a folder.

    Parameters
    ----------
    folder : Path
    size : int
        In bytes.

    Raises
    ------
    UsageError
        If there is less.
    """
    if shutil.disk_usage(folder).free < size:
        raise disk_full()


def disk_full() -> UsageError:
    """The error for a full disk.

    Returns
    -------
    UsageError
        The exception. The caller raises it.
    """
    return UsageError(
        "expected room on the disks of the trial and of temporary files, found no space left",
        hint="free some space, then repeat the command; nothing is recorded against the site",
    )


def no_free_port(error: OSError) -> UsageError:
    """The error for a port on which the program cannot listen.

    Parameters
    ----------
    error : OSError

    Returns
    -------
    UsageError
        The exception. The caller raises it.
    """
    return UsageError(
        f"expected a free port on an address of this machine, found: {error.strerror}",
        hint="check --host and --port; ports below 1024 are privileged",
    )


def _storage_error(error: OSError, upload: Path) -> UsageError:
    if error.errno in DISK_FULL:
        return disk_full()
    if not upload.exists() or (error.errno == errno.ENOENT and _is_in(error.filename, upload)):
        return UsageError(
            "expected the upload until the end of the command, found that it or a file of it is gone",
            hint="check the drive or network folder it lies on, then repeat the command",
        )
    found = error.strerror or "a file that could not be copied"
    return UsageError(
        f"expected an upload that can be read and a trial folder that can be written, found: {found}",
        hint="check permissions and disks, then repeat the command; nothing is recorded against the site",
    )


def _is_in(name: object, upload: Path) -> bool:
    return isinstance(name, str) and Path(name).is_relative_to(upload)


def _is_full(error: OperationalError) -> bool:
    return (
        getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        or getattr(error.orig, "sqlstate", None) == _POSTGRESQL_DISK_FULL
    )
