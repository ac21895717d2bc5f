"""Contents of folders, for comparisons."""

from __future__ import annotations

from pathlib import Path

from mri_pipeline.core.io.digests import file_digest


def contents(*folders: Path) -> dict[str, str]:
    """Digests of all files below folders.

    Parameters
    ----------
    *folders : Path

    Returns
    -------
    dict of str to str
        SHA-256 by name of the folder and path.
    """
    return {
        f"{folder.name}/{path.relative_to(folder).as_posix()}": file_digest(path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
