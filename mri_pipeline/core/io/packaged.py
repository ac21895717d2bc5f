"""Data files that come with the package."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from pathlib import Path


def packaged(name: str) -> AbstractContextManager[Path]:
    """A data file of the package as a file on disk.

    Parameters
    ----------
    name : str
        File in ``mri_pipeline/data``.

    Returns
    -------
    context manager of Path
        The file exists inside the block.

    Examples
    --------
    >>> with packaged("contrast_words.toml") as path:
    ...     path.name
    'contrast_words.toml'
    """
    return as_file(files("mri_pipeline") / "data" / name)
