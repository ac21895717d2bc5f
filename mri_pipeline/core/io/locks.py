"""Locks between processes. The operating system releases them when their process ends, also after SIGKILL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mri_pipeline.core.errors import UsageError


class LockedError(UsageError):
    """Another process still has the lock after the waiting time."""


@contextmanager
def exclusive(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold an exclusive lock until the end of the block.

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
    ...     with exclusive(Path(folder) / "a.lock", wait_s=0):
    ...         pass
    Traceback (most recent call last):
    mri_pipeline.core.io.locks.LockedError: expected a free lock, found it held by another process
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path, timeout=wait_s, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise LockedError(
            "expected a free lock, found it held by another process",
            hint="wait for its end, then repeat the command",
        ) from error
    try:
        yield
    finally:
        lock.release()
