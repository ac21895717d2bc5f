"""Locks between processes. The operating system releases them when their process ends, also after SIGKILL."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mri_pipeline.core.errors import UsageError


class LockedError(UsageError):
    """Another process still has the lock after the waiting time.

    Parameters
    ----------
    message, hint : str
        As for all errors.
    holder : str
        Process and host that have the lock.
    """

    def __init__(self, message: str, *, hint: str = "", holder: str = "another process") -> None:
        super().__init__(message, hint=hint)
        self.holder = holder


@contextmanager
def exclusive(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold an exclusive lock until the end of the block. The lock file says which process on which host has it.

    Parameters
    ----------
    path : Path
        Lock file; created with its folder (mode 0700) if it does not exist.
    wait_s : float
        Longest waiting time in seconds; 0 tries once.

    Yields
    ------
    None

    Raises
    ------
    LockedError
        If another process has the lock for all of that time.
    OSError
        If the file cannot be created.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, exclusive(Path(folder) / "a.lock", wait_s=0):
    ...     with exclusive(Path(folder) / "a.lock", wait_s=0):  # doctest: +ELLIPSIS
    ...         pass
    Traceback (most recent call last):
    mri_pipeline.core.io.locks.LockedError: expected a free lock, found it held by process ... on ...
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path, timeout=wait_s, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        holder = holder_of(path)
        raise LockedError(
            f"expected a free lock, found it held by {holder}",
            hint="wait for its end, then repeat the command",
            holder=holder,
        ) from error
    try:
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def holder_of(path: Path) -> str:
    """The process and host that have a lock, or had it last.

    Parameters
    ----------
    path : Path
        Lock file.

    Returns
    -------
    str
        "another process" if the file does not say it.
    """
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except OSError:
        return "another process"
