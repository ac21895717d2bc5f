"""Quarantine of refused uploads with their reason. Nothing is lost, and the reason has no patient data."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

from mri_pipeline.core.errors import IdentityError, UploadRefusedError
from mri_pipeline.core.io.atomic import write_atomic

REASON_FILE = "reason.json"


def quarantine(
    upload: Path,
    folder: Path,
    *,
    stage: Path,
    reason: UploadRefusedError,
    context: dict[str, str],
    now: dt.datetime,
    max_bytes: int,
) -> Path:
    """Copy a refused upload to the quarantine.

    Parameters
    ----------
    upload : Path
        Zip, tar or folder as received.
    folder : Path
        The quarantine of the trial.
    stage : Path
        Private folder on the same file system. The entry is made there and then moved, so that it is whole.
    reason : UploadRefusedError
        Its message and hint are stored. They never contain patient data.
    context : dict
        Further entries: site, kind of upload, blinded code. No names.
    now : datetime
        Time of receipt.
    max_bytes : int
        A larger upload is not copied. Its checksum and size are stored, and the sender still has it.

    Returns
    -------
    Path
        A new folder ``<time>-<digest>`` with ``reason.json`` and the upload under a neutral name.

    Raises
    ------
    FileExistsError
        If 999 equal uploads were received within one second.
    """
    size, digest = measure_upload(upload)
    made = stage / "entry"
    made.mkdir(mode=0o700)
    copied = size <= max_bytes
    if copied:
        _copy(upload, made)
    entry = {
        "received": now.isoformat(timespec="microseconds"),
        "refused_as": type(reason).__name__,
        "reason": reason.message,
        "next_step": reason.hint,
        "bytes": size,
        "sha256": digest,
        "upload_kept": copied,
        "elements": list(reason.elements) if isinstance(reason, IdentityError) else [],
        **context,
    }
    write_atomic(made / REASON_FILE, json.dumps(entry, indent=2) + "\n")
    place = _new_folder(folder, f"{now:%Y%m%dT%H%M%S}-{digest[:8]}")
    made.rename(place)  # onto an empty folder
    return place


def _new_folder(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        place = folder / (name if number == 1 else f"{name}-{number}")
        try:
            place.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return place
    raise FileExistsError("expected fewer than 1000 equal uploads within one second, found more")


def _copy(upload: Path, place: Path) -> None:
    if upload.is_dir() and not upload.is_symlink():
        shutil.copytree(upload, place / "upload", symlinks=True, ignore=_special_files)
    elif upload.is_file():
        endings = "".join(s for s in upload.suffixes[-2:] if s in {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz"})
        shutil.copyfile(upload, place / f"upload{endings}")


def _special_files(root: str, names: list[str]) -> list[str]:
    kinds = {name: (Path(root) / name).lstat().st_mode for name in names}
    return [n for n, mode in kinds.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))]


def measure_upload(upload: Path) -> tuple[int, str]:
    """Size and SHA-256 of an upload: of its file, or of all files of a folder in the order of their paths.

    Parameters
    ----------
    upload : Path
        Links and special files are not read.

    Returns
    -------
    size : int
        In bytes.
    digest : str
        64 hexadecimal digits.
    """
    digest, size = hashlib.sha256(), 0
    if upload.is_dir():
        paths = sorted(Path(root) / name for root, _, names in os.walk(upload) for name in names)
    else:
        paths = [upload]
    for path in paths:
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                size += len(chunk)
                digest.update(chunk)
    return size, digest.hexdigest()
