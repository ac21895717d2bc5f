"""Restoration of a trial from its backup."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import sync_tree, write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.disk import require_free
from mri_pipeline.core.io.manifest import MANIFEST, require_manifest
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol, with_database_url
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.trial.audit_verify import deviations_from_trail
from reading_centre.use_cases.trial.backup import RECORD, TRIAL, disk_faults, unfinished


@dataclass(frozen=True)
class RestoredTrial:
    """A restored trial.

    Parameters
    ----------
    trial : Path
        Its folder.
    files : int
        Number of files of the backup.
    at : str
        Time of the backup (UTC, ISO 8601).
    audit_entries, audit_hash : int, str
        Number of entries of the audit trail in the backup, and hash of the last one.
    """

    trial: Path
    files: int
    at: str
    audit_entries: int
    audit_hash: str


def restore_trial(folder: Path, *, backup: Path, sealed: Path, database_url: str | None = None) -> RestoredTrial:
    """Restore a trial from its backup into a new folder. After a failure no folder is left.

    Every file is compared with its digest before, and registry, reads, tables and key with the audit trail after the
    copy. A registry on PostgreSQL is written into an empty database, as the last step.

    Parameters
    ----------
    folder : Path
        New folder of the trial.
    backup, sealed : Path
        Folders that `reading_centre.use_cases.trial.backup.back_up` wrote together.
    database_url : str, optional
        Replaces that of ``trial.toml``, for example on another machine; empty for SQLite. The next command enters the
        change in the audit trail.

    Returns
    -------
    RestoredTrial

    Raises
    ------
    UsageError
        If the folder exists, a file is not as in the backup or cannot be read or written, the sealed folder is that of
        another backup, the trial differs from its audit trail, the database is not empty, or there is not enough free
        space.
    SettingsError
        If the database cannot be used.
    """
    if folder.exists():
        raise UsageError(
            f"expected a new folder for the restored trial, found {folder.name}",
            hint="rename the damaged trial and keep it until the restored one is in use",
        )
    with disk_faults():
        files, record = _checked(backup, sealed)
        head = (int(str(record["audit_entries"])), str(record["audit_hash"]))
        with unfinished(folder) as part:
            trial = Trial(part)
            require_free(part, sum(path.lstat().st_size for path in (backup / TRIAL).rglob("*")), "the trial")
            shutil.copytree(backup / TRIAL, part, symlinks=True, dirs_exist_ok=True)
            shutil.copytree(sealed, trial.sealed, ignore=shutil.ignore_patterns(MANIFEST))
            _make_private(trial)
            trial.work.mkdir()
            _require_as_in_trail(trial, head, file_digest(backup / MANIFEST))
            _place_registry(trial, database_url)
    return RestoredTrial(folder, files, str(record["at"]), *head)


def _checked(backup: Path, sealed: Path) -> tuple[int, dict[str, object]]:
    """Number of files and record of a backup, whose files have their digests."""
    files = require_manifest(backup, private=f"{TRIAL}/{Trial(backup).quarantine.name}")
    require_manifest(sealed)
    record: dict[str, object] = json.loads((backup / RECORD).read_text(encoding="utf-8"))
    if file_digest(sealed / MANIFEST) != record["sealed"]:
        raise UsageError(
            "expected the sealed folder of this backup, found the sealed folder of another backup",
            hint="give the folder that was --sealed-to of the same 'mri-pipeline backup'",
        )
    return files, record


def _make_private(trial: Trial) -> None:
    """Restrict the modes of files with patient data or codes: a disk without permissions does not keep them."""
    trial.registry_file.chmod(0o600)
    for private in (trial.sealed, trial.quarantine, trial.reads, trial.withdrawn):
        for path in (private, *private.rglob("*")):
            if path.exists() and not path.is_symlink():
                path.chmod(0o700 if path.is_dir() else 0o600)


def _require_as_in_trail(trial: Trial, head: tuple[int, str], manifest: str) -> None:
    """Compare the copied trial with its trail, and enter the restoration."""
    Sealed.open(trial).release()
    with Registry.of_copy(trial.registry_file, load_protocol(trial.protocol_file)) as registry:
        entries, last = registry.verify_audit()
        registry.migrate()
        found = (
            f"an audit trail of {entries} entries with last hash {last[:12]} (backup: {head[0]}, {head[1][:12]})"
            if (entries, last) != head
            else next(deviations_from_trail(trial, registry), "")
        )
        if found:
            raise UsageError(
                f"expected a trial as in its audit trail, found a deviation: {found}", hint="use another backup"
            )
        details = {"manifest": manifest, "entries": head[0], "last": head[1]}
        registry.audit(AuditAction.TRIAL_RESTORED, details=details)


def _place_registry(trial: Trial, database_url: str | None) -> None:
    """Bring the registry to its database, after the files are safe on the disk."""
    if database_url is not None:
        text = trial.protocol_file.read_text(encoding="utf-8")
        write_atomic(trial.protocol_file, with_database_url(text, database_url))
    protocol = load_protocol(trial.protocol_file)
    sync_tree(trial.root)
    if protocol.database_url:
        with Registry.of_copy(trial.registry_file, protocol) as registry:
            registry.copy_to(trial.registry_file, protocol.database_url)
        trial.registry_file.unlink()
