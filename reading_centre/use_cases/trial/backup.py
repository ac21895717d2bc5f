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
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mri_pipeline import __version__
from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import sync_folder, sync_tree, write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.disk import require_free
from mri_pipeline.core.io.locks import exclusive
from mri_pipeline.core.io.manifest import MANIFEST, write_manifest
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.registry import Registry, Use
from mri_pipeline.registry.audit import AuditAction, AuditEntry, utc_now
from reading_centre.use_cases.trial.audit_verify import deviations_from_trail
from reading_centre.use_cases.trial.staging import only_writer, settle_all, settle_subject

_LOG = logging.getLogger(__name__)

RECORD: Final = "backup.json"
TRIAL: Final = "trial"
_ROUNDS: Final = 5
_WITHOUT_FILES: Final = frozenset(
    {
        AuditAction.LOGIN, AuditAction.LOGIN_REFUSED, AuditAction.LOGOUT, AuditAction.READING_OPENED,
        AuditAction.SIGNATURE_REFUSED, AuditAction.QUERY_ENTERED, AuditAction.QUERY_ANSWERED, AuditAction.QUERY_CLOSED,
    }
)  # fmt: skip
"""Actions that change no file of the trial."""
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
        If a folder exists or lies in the trial or in the other one, there is not enough free space, a file cannot be
        read or written, the trial differs from its audit trail, or it changes all the time.
    """
    trial = Trial.existing(folder)
    _require_apart(trial, to.resolve(), sealed_to.resolve())
    with disk_faults(), unfinished(to) as copy, unfinished(sealed_to) as key:  # the backup gets its name last
        require_free(copy, int(_ROOM * sum(_sizes(trial.root, apart=(trial.staging, trial.work)))), "the backup")
        entries, last = _CopyOfTrial(trial, Trial(copy / TRIAL)).make()
        protocol = load_protocol(trial.protocol_file)
        Sealed.open(trial).copy_to(key)
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


@contextmanager
def disk_faults() -> Iterator[None]:
    """Turn faults of disks into one line without a path: names in quarantine may contain patient data.

    Yields
    ------
    None

    Raises
    ------
    UsageError
        In place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(
            "expected files that can be read and folders that can be written, found: "
            + (error.strerror or "a file that could not be copied"),
            hint="check permissions, free space and disks of the trial and of its backup, then repeat the command",
        ) from None


def _require_apart(trial: Trial, to: Path, sealed_to: Path) -> None:
    for path in (to, sealed_to):
        if path.is_relative_to(trial.root) or trial.root.is_relative_to(path):
            raise UsageError(
                "expected a folder outside of the trial for its backup, found one that "
                f"{'lies in' if path.is_relative_to(trial.root) else 'contains'} the trial",
                hint="use another disk than that of the trial",
            )
        require_new(path)
    if to.is_relative_to(sealed_to) or sealed_to.is_relative_to(to):
        raise UsageError(
            "expected the copy of the sealed folder apart from the backup, found the "
            f"{'backup in the copy' if to.is_relative_to(sealed_to) else 'copy in the backup'}",
            hint="keep it where those who may read the backup cannot: it contains the key",
        )


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """Temporary private folder. It is renamed on success, else removed.

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
    UsageError
        If the folder exists, or another command writes it.
    OSError
        If the folder cannot be created or renamed.
    """
    part, lock = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.lock")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(lock, wait_s=0):
        require_new(folder)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        try:
            yield part
            sync_tree(part)
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        finally:
            lock.unlink(missing_ok=True)
        sync_folder(folder.parent)


def require_new(folder: Path) -> None:
    """Refuse a folder that exists.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    UsageError
        If it exists.
    """
    if folder.exists():
        raise UsageError(f"expected a new folder, found {folder.name}", hint="name a folder that does not exist")


class _CopyOfTrial:
    """A copy of the files and of the registry of one state of a trial.

    What has changed since its copy is known from the audit trail: every change of files has an entry.
    """

    def __init__(self, trial: Trial, copy: Trial) -> None:
        self._trial, self._copy = trial, copy
        self._copied: dict[str, int] = {}
        """Number of audit entries before the copy of a subject, or of the common files ("")."""

    def make(self) -> tuple[int, str]:
        """Copy until nothing has changed; return number and hash of the last audit entry of the copy."""
        found = ""
        for _ in range(_ROUNDS):
            protocol = load_protocol(self._trial.protocol_file)
            with Registry.open(self._trial, protocol, Use.NUMBERS) as registry:
                settle_all(self._trial, protocol, registry)
                entries, _ = registry.verify_audit()
                vanished = set()
                for part in sorted({"", *registry.subjects()} - set(self._copied)):
                    self._copied[part] = entries
                    try:
                        self._copy_part(part, protocol, registry)
                    except FileNotFoundError:  # another command has removed it since the folder was listed
                        vanished.add(part)
                registry.copy_to(self._copy.registry_file)
            with Registry.of_copy(self._copy.registry_file, load_protocol(self._copy.protocol_file)) as copied:
                changed = vanished | self._changed(copied.audit_trail(), copied.subjects())
                deviations = [] if changed else list(deviations_from_trail(self._copy, copied))
                if not changed and not deviations:
                    return copied.verify_audit()
            found = deviations[0] if deviations else ""
            for part in changed or list(self._copied):  # a command may have been between its files and its entry
                self._copied.pop(part, None)
            _LOG.info("the trial changed during its copy; what changed is copied again")
        if found:
            raise UsageError(
                f"expected a trial as in its audit trail, found a deviation: {found}",
                hint="'mri-pipeline audit verify TRIAL' names every deviation; no backup was written",
            )
        raise UsageError(
            f"expected a trial that does not change while it is copied, found changes in {_ROUNDS} attempts",
            hint="repeat the command when fewer uploads, analyses and reads are in progress",
        )

    def _changed(self, trail: Sequence[AuditEntry], subjects: Sequence[str]) -> set[str]:
        """Subjects, or the common files, with an entry since their copy, and subjects that are not copied yet."""
        changed = set(subjects) - set(self._copied)
        for entry in trail[min(self._copied.values()) :]:
            if entry.action not in _WITHOUT_FILES:
                parts = set(entry.target.split()) & set(subjects) or {""}
                changed |= {part for part in parts if entry.seq > self._copied.get(part, 0)}
        return changed

    def _copy_part(self, subject: str, protocol: Protocol, registry: Registry) -> None:
        """Copy the files of a subject under its lock, or the common files."""
        if subject:
            with only_writer(self._trial, subject):
                settle_subject(self._trial, protocol, registry, subject)
                for folder in self._folders(subject):
                    self._mirror(folder)
            return
        of_subjects = (folder for code in registry.subjects() for folder in self._folders(code))
        self._mirror(self._trial.root, {*of_subjects, *self._left_out()})

    def _folders(self, subject: str) -> list[Path]:
        """Folders that change only under the lock of a subject."""
        trial = self._trial
        return [
            trial.rawdata.root / f"sub-{subject}", trial.derivatives.folder(subject), trial.reads / subject,
            trial.withdrawn / subject, trial.sourcedata.subject(subject),
        ]  # fmt: skip

    def _left_out(self) -> list[Path]:
        trial = self._trial
        return [trial.sealed, trial.staging, trial.work, *trial.root.glob(f"{trial.registry_file.name}*")]

    def _mirror(self, source: Path, apart: Collection[Path] = ()) -> None:
        """Make the copy of a folder like it, without some of its parts and without what is being written.

        Links are followed, except in quarantine, where they are part of an upload.
        """
        copy = self._copy.root / source.relative_to(self._trial.root)
        wanted = {path.name: path for path in source.iterdir() if not _is_passing(path)} if source.exists() else {}
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
            if path.is_symlink() and path.is_relative_to(self._trial.quarantine):
                (copy / name).symlink_to(path.readlink())
            elif path.is_dir():
                self._mirror(path, apart)
            else:
                _copy_changed(path, copy / name)
        shutil.copystat(source, copy)


def _is_passing(path: Path) -> bool:
    """True for what another process is writing: a file that is not yet whole, or the results of an analysis."""
    return path.name.startswith(".") and path.suffix in {".part", ".unfinished", ".earlier"}


def _copy_changed(source: Path, copy: Path) -> None:
    """Copy a file, unless its copy has its size and time."""
    if not copy.exists() or _version(source) != _version(copy):
        shutil.copy2(source, copy)


def _version(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


def _sizes(folder: Path, apart: Collection[Path] = ()) -> list[int]:
    """Size of every file of a folder, in bytes; files that vanish meanwhile are left out."""
    sizes = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(root) / name not in apart]
        for name in names:
            with suppress(FileNotFoundError):
                sizes.append((Path(root) / name).lstat().st_size)
    return sizes
