"""State of files without their content: sizes, inodes and times, as in the index of Git."""

from __future__ import annotations

import os
from pathlib import Path


def file_state(path: Path, lines: list[str]) -> int:
    """Add the state of a file to `lines`.

    Parameters
    ----------
    path : Path
        It may be missing.
    lines : list of str
        One line is added.

    Returns
    -------
    int
        Time of its last change of status in ns; 0 for a missing file.

    Raises
    ------
    OSError
        If its folder cannot be read.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        lines.append(f"{path} missing")
        return 0
    lines.append(f"{path} {_numbers(found)}")
    return found.st_ctime_ns


def folder_state(path: Path, lines: list[str]) -> int:
    """Add the state of all files below a folder to `lines`.

    Parameters
    ----------
    path : Path
        It may be missing.
    lines : list of str
        A line for each file is added.

    Returns
    -------
    int
        Time of the last change of status of a file in ns; 0 without files.

    Raises
    ------
    OSError
        If a folder cannot be read, or is a link: what is behind it may change without a trace here.
    """
    if path.is_symlink():
        raise NotADirectoryError(path)
    return _below(str(path), lines)


def _below(path: str, lines: list[str]) -> int:
    try:
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        lines.append(f"{path} missing")
        return 0
    newest = 0
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            newest = max(newest, _below(entry.path, lines))
            continue
        if entry.is_dir():
            raise NotADirectoryError(entry.path)
        state = entry.stat()
        lines.append(f"{entry.path} {_numbers(state)}")
        newest = max(newest, state.st_ctime_ns)
    return newest


def _numbers(found: os.stat_result) -> str:
    return f"{found.st_size} {found.st_dev} {found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}"
