"""Backup of a trial: a copy of its files and of its registry that agree with each other.

```
BACKUP/   backup.json   time, version, head of the audit trail, digest of the sealed copy
          SHA256SUMS    digest of every file of this folder
          trial/        the trial without sealed/, staging/ and work/; the registry is always an SQLite file
SEALED/   the sealed folder, with its own SHA256SUMS
```
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mri_pipeline import __version__
from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import sync_folder, sync_tree, write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.disk import require_free
from mri_pipeline.core.io.manifest import MANIFEST, write_manifest
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.registry import Registry, Use
from mri_pipeline.registry.audit import AuditAction, utc_now
from reading_centre.use_cases.audit_verify import deviations_from_trail
from reading_centre.use_cases.staging import only_writer, settle_all

_LOG = logging.getLogger(__name__)

RECORD: Final = "backup.json"
TRIAL: Final = "trial"
_ROUNDS: Final = 5
_ROOM: Final = 1.05
"""Free space that is required, as a multiple of the size of the files: folders and the registry take some, too."""


@dataclass(frozen=True)
class Backup:
    """A backup that was written.

    Parameters
    ----------
    folder, sealed : Path
        Folders of the backup and of the copy of the sealed folder.
    files, size : int
        Number of files, and their size in bytes.
    audit_entries, audit_hash : int, str
        Number of entries of the audit trail in the backup, and hash of the last one.
    """

    folder: Path
    sealed: Path
    files: int
    size: int
    audit_entries: int
    audit_hash: str


def back_up(folder: Path, *, to: Path, sealed_to: Path) -> Backup:
    """Write a backup of a trial. Other commands may run meanwhile.

    The files of a subject are copied under its lock. The copy of the registry is made after the files. If the trial
    changed in between, what changed is copied again. The backup is compared with its audit trail before it gets its
    name, so that an earlier backup is never replaced by a damaged one.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    to, sealed_to : Path
        New folders for the backup and for the copy of the sealed folder. Neither is part of the other.

    Returns
    -------
    Backup

    Raises
    ------
    UsageError
        If a folder exists or lies in the trial or in the other one, there is not enough free space, the trial differs
        from its audit trail, or it changes all the time.
    OSError
        If a file cannot be read or written.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    _require_apart(trial, to.resolve(), sealed_to.resolve())
    with (
        unfinished(to) as copy,
        unfinished(sealed_to) as key,
        Registry.open(trial, protocol, Use.NUMBERS) as registry,
    ):
        require_free(copy, int(_ROOM * sum(_sizes(trial.root, apart=(trial.staging, trial.work)))), "the backup")
        entries, last = _copy_trial(trial, protocol, registry, Trial(copy / TRIAL))
        Sealed.open(trial).release()  # the key belongs to its codes
        shutil.copytree(trial.sealed, key, dirs_exist_ok=True)
        write_manifest(key)
        record = {
            "trial": protocol.name, "at": utc_now(), "software": __version__, "audit_entries": entries,
            "audit_hash": last, "sealed": file_digest(key / MANIFEST),
        }  # fmt: skip
        write_atomic(copy / RECORD, json.dumps(record, indent=1) + "\n")
        files, size = write_manifest(copy), sum(_sizes(copy))
        manifest = file_digest(copy / MANIFEST)
    with Registry.open(trial, protocol) as registry:
        details = {"manifest": manifest, "files": files, "entries": entries, "last": last}
        registry.audit(AuditAction.BACKUP_WRITTEN, details=details)
    return Backup(to, sealed_to, files, size, entries, last)


def _require_apart(trial: Trial, to: Path, sealed_to: Path) -> None:
    for path in (to, sealed_to):
        if path.is_relative_to(trial.root) or trial.root.is_relative_to(path):
            raise UsageError(
                "expected a folder outside of the trial for its backup, found one inside",
                hint="use another disk than that of the trial",
            )
        if path.exists():
            raise UsageError(
                f"expected a new folder for the backup, found {path.name}",
                hint="name a folder that does not exist",
            )
    if to.is_relative_to(sealed_to) or sealed_to.is_relative_to(to):
        raise UsageError(
            "expected the copy of the sealed folder apart from the backup, found one inside the other",
            hint="keep it where those who may read the backup cannot: it contains the key",
        )


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A private folder that gets its name at the end, or is removed.

    Parameters
    ----------
    folder : Path
        The name. What a killed command has left beside it is removed first.

    Yields
    ------
    Path
        New folder, mode 0700, on the same disk.

    Raises
    ------
    OSError
        If the folder cannot be created or renamed.
    """
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(mode=0o700, parents=True)
    try:
        yield part
        sync_tree(part)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def _copy_trial(trial: Trial, protocol: Protocol, registry: Registry, copy: Trial) -> tuple[int, str]:
    """Copy files and registry of one state of a trial; return number and hash of its last audit entry."""
    deviations: list[str] = []
    for _ in range(_ROUNDS):
        head = registry.verify_audit()
        settle_all(trial, protocol, registry)
        _copy_files(trial, copy, registry.subjects())
        registry.copy_to(copy.registry_file)
        with Registry.of_copy(copy.registry_file, protocol) as copied:
            unchanged = copied.verify_audit() == head
            deviations = list(deviations_from_trail(copy, copied)) if unchanged else []
        if unchanged and not deviations:
            return head
        _LOG.info("the trial changed during its copy; what changed is copied again")
    if deviations:
        raise UsageError(
            f"expected a trial as in its audit trail, found a deviation: {deviations[0]}",
            hint="'mri-pipeline audit verify TRIAL' names every deviation; no backup was written",
        )
    raise UsageError(
        f"expected a trial that does not change while its registry is copied, found changes in {_ROUNDS} attempts",
        hint="repeat the command when fewer uploads, analyses and reads are in progress",
    )


def _copy_files(trial: Trial, copy: Trial, subjects: list[str]) -> None:
    """Make the files of a copy those of the trial, those of a subject under its lock."""
    own = {subject: _folders(trial, subject) for subject in subjects}
    apart = {
        trial.sealed, trial.staging, trial.work, *(path for folders in own.values() for path in folders),
        *trial.root.glob(f"{trial.registry_file.name}*"),
    }  # fmt: skip
    linked = [path for path in trial.root.iterdir() if path.is_symlink() and path.is_dir()]  # on another disk
    _mirror(trial.root, copy.root, apart | set(linked))
    for path in linked:
        if path not in apart:
            _mirror(path, copy.root / path.name, apart)
    for subject, folders in own.items():
        with only_writer(trial, subject):
            for folder in folders:
                _mirror(folder, copy.root / folder.relative_to(trial.root))


def _folders(trial: Trial, subject: str) -> list[Path]:
    """Folders that change only under the lock of a subject."""
    return [
        trial.rawdata.root / f"sub-{subject}", trial.derivatives.folder(subject), trial.reads / subject,
        trial.withdrawn / subject,
    ]  # fmt: skip


def _mirror(source: Path, copy: Path, apart: Collection[Path] = ()) -> None:
    """Make a folder like another one, without some of its parts and without files that are being written."""
    parts = source.iterdir() if source.exists() else ()
    wanted = {path.name: path for path in parts if not (path.name.startswith(".") and path.suffix == ".part")}
    for old in copy.iterdir() if copy.exists() else ():
        if old.is_symlink() or (old.name not in wanted and old.is_file()):
            old.unlink()
        elif old.name not in wanted:
            shutil.rmtree(old)
    if not source.exists():
        return
    copy.mkdir(parents=True, exist_ok=True)
    for name, path in wanted.items():
        if path in apart:
            continue
        if path.is_symlink():
            (copy / name).symlink_to(path.readlink())
        elif path.is_dir():
            _mirror(path, copy / name, apart)
        else:
            _copy_changed(path, copy / name)
    shutil.copystat(source, copy)


def _copy_changed(source: Path, copy: Path) -> None:
    """Copy a file, unless its copy has its size and time."""
    if not copy.exists() or _version(source) != _version(copy):
        shutil.copy2(source, copy)


def _version(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


def _sizes(folder: Path, apart: Collection[Path] = ()) -> list[int]:
    """Size of every file of a folder, in bytes."""
    sizes = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(root) / name not in apart]
        sizes += [(Path(root) / name).lstat().st_size for name in names]
    return sizes
