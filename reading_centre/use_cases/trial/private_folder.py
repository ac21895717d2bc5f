"""Private folders for files that are not de-identified. They are removed at the end, or by the next command."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from mri_pipeline.core.io.locks import LockedError, exclusive

_LOG = logging.getLogger(__name__)
_PREFIX: Final = "intake-"
WAITING: Final = "upload-"
"""Prefix of the private folders of uploads that wait (`reading_centre.use_cases.uploads.waiting`)."""
_WAIT_S: Final = 600.0


@contextmanager
def private_folder(work: Path) -> Iterator[Path]:
    """A private folder, removed afterwards.

    Its owner holds a lock in it. If the owner is killed, the next command removes the folder (`sweep`).

    Parameters
    ----------
    work : Path
        Working folder of the trial; created if it does not exist.

    Yields
    ------
    Path
        New folder, mode 0700.
    """
    with ExitStack() as owner:
        with _no_other_change(work):
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=work))
            owner.enter_context(exclusive(_lock_of(folder), wait_s=0))
            owner.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def is_private(path: Path, work: Path) -> bool:
    """True if a path lies in a private folder.

    Parameters
    ----------
    path : Path
        Absolute path.
    work : Path
        Working folder of the trial.

    Returns
    -------
    bool
    """
    return (
        path.is_relative_to(work)
        and path != work
        and path.relative_to(work).parts[0].startswith((_PREFIX, WAITING))
    )


def sweep(work: Path) -> None:
    """Remove the private folders whose owner no longer runs.

    Parameters
    ----------
    work : Path
        Working folder of the trial.
    """
    if not any(work.glob(f"{_PREFIX}*")):
        return
    with _no_other_change(work):
        for folder in work.glob(f"{_PREFIX}*"):
            try:
                with exclusive(_lock_of(folder), wait_s=0):
                    shutil.rmtree(folder, ignore_errors=True)  # its owner may be removing it, too
            except LockedError:
                continue
            if folder.exists():
                _LOG.warning("work/%s holds identified files and cannot be removed; remove it", folder.name)


@contextmanager
def _no_other_change(work: Path) -> Iterator[None]:
    """No folder is swept between its creation and its lock."""
    with exclusive(work / "private.lock", wait_s=_WAIT_S):
        yield


def _lock_of(folder: Path) -> Path:
    return folder / "owner.lock"
