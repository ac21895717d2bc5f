"""Free space of disks."""

import shutil
from pathlib import Path

from mri_pipeline.core.errors import UsageError


def require_free(folder: Path, needed: int, purpose: str) -> None:
    """Require free space on the disk of a folder.

    Parameters
    ----------
    folder : Path
        Need not exist.
    needed : int
        In bytes.
    purpose : str
        What it is needed for; for the message.

    Raises
    ------
    UsageError
        If there is less. It names both amounts.

    Examples
    --------
    >>> require_free(Path("/"), 0, "nothing")
    """
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise UsageError(
            f"expected {needed / 1e9:.1f} GB of free space for {purpose}, found {free / 1e9:.1f} GB",
            hint="free some space or use another disk, then repeat the command",
        )


def disk_of(folder: Path) -> int:
    """Number of the file system of a folder.

    Parameters
    ----------
    folder : Path
        Need not exist.

    Returns
    -------
    int

    Examples
    --------
    >>> disk_of(Path("/no/such/folder")) == disk_of(Path("/"))
    True
    """
    return _existing(folder).stat().st_dev


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
