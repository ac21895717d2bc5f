"""Restoration of a trial from its backup."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.disk import require_free
from mri_pipeline.core.io.manifest import MANIFEST, require_manifest
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.audit_verify import deviations_from_trail
from reading_centre.use_cases.backup import RECORD, TRIAL, unfinished


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


def restore_trial(folder: Path, *, backup: Path, sealed: Path) -> RestoredTrial:
    """Restore a trial from its backup into a new folder. The trial is whole, or there is no folder.

    Every file is compared with its digest before, and registry, reads, tables and key with the audit trail after the
    copy. A registry on PostgreSQL is restored into the empty database of ``database_url``.

    Parameters
    ----------
    folder : Path
        New folder of the trial.
    backup, sealed : Path
        Folders that `reading_centre.use_cases.backup.back_up` wrote together.

    Returns
    -------
    RestoredTrial

    Raises
    ------
    UsageError
        If the folder exists, a file is not as in the backup, the sealed folder is that of another backup, the trial
        differs from its audit trail, the database is not empty, or there is not enough free space.
    OSError
        If a file cannot be read or written.
    """
    if folder.exists():
        raise UsageError(
            f"expected a new folder for the restored trial, found {folder.name}",
            hint="rename the damaged trial and keep it until the restored one is in use",
        )
    files = require_manifest(backup, private=f"{TRIAL}/{Trial(backup).quarantine.name}")
    require_manifest(sealed)
    record = json.loads((backup / RECORD).read_text(encoding="utf-8"))
    if file_digest(sealed / MANIFEST) != record["sealed"]:
        raise UsageError(
            "expected the sealed folder of this backup, found that of another one",
            hint="give the folder that the same 'mri-pipeline backup' wrote by --sealed-to",
        )
    head = (int(record["audit_entries"]), str(record["audit_hash"]))
    with unfinished(folder) as part:
        trial = Trial(part)
        require_free(part, sum(path.lstat().st_size for path in (backup / TRIAL).rglob("*")), "the trial")
        shutil.copytree(backup / TRIAL, part, symlinks=True, dirs_exist_ok=True)
        shutil.copytree(sealed, trial.sealed, ignore=shutil.ignore_patterns(MANIFEST))
        trial.work.mkdir()
        _restore_registry(
            trial, head, {"manifest": file_digest(backup / MANIFEST), "entries": head[0], "last": head[1]}
        )
    return RestoredTrial(folder, files, str(record["at"]), *head)


def _restore_registry(trial: Trial, head: tuple[int, str], details: dict[str, object]) -> None:
    """Compare the copied trial with its trail, enter the restoration, and bring the registry to its database."""
    Sealed.open(trial).release()
    protocol = load_protocol(trial.protocol_file)
    with Registry.of_copy(trial.registry_file, protocol) as registry:
        deviations = (
            list(deviations_from_trail(trial, registry)) if registry.verify_audit() == head else ["the trail"]
        )
        if deviations:
            raise UsageError(
                f"expected a trial as in its audit trail, found a deviation: {deviations[0]}",
                hint="use another backup",
            )
        registry.audit(AuditAction.TRIAL_RESTORED, details=details)
        if protocol.database_url:
            registry.copy_to(trial.registry_file, protocol.database_url)
    if protocol.database_url:
        trial.registry_file.unlink()
