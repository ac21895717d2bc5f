"""Release of the tables of a trial: the blinding is lifted for tables as they were written, under a verified key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.provenance import software
from mri_pipeline.registry import Registry
from mri_pipeline.tables.release import release_tables, require_as_written, require_final
from reading_centre.use_cases.tables import TABLES_WRITTEN


@dataclass(frozen=True)
class ReleasedTables:
    """Released tables.

    Parameters
    ----------
    files : tuple of Path
        The unblinded tables and their dictionary.
    other_software : bool
        True if other software than the present one wrote the blinded tables.
    """

    files: tuple[Path, ...]
    other_software: bool


def release_trial_tables(folder: Path, *, reason: str, out: Path, provisional: bool = False) -> ReleasedTables:
    """Write tables with trial numbers, using the sealed key.

    The audit trail records the reason before the release, and the digest of every released file after it.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    reason : str
    out : Path
        Folder for the unblinded tables.
    provisional : bool
        True: release provisional tables, too.

    Returns
    -------
    ReleasedTables

    Raises
    ------
    UsageError
        If the audit trail is broken, a table is not as it was written, the tables are provisional, or a row of the key
        does not belong to its code, and as `mri_pipeline.tables.release.release_tables`.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    if not reason.strip():
        raise UsageError("expected --reason with --release, found none", hint="say why the blinding is lifted")
    with Registry.open(trial, protocol) as registry:
        registry.verify_audit()
        written = registry.audit_entries(TABLES_WRITTEN)
        details = written[-1].details if written else {}
        require_as_written(trial.tables, details.get("files", {}))
        if not provisional:
            require_final(trial.tables)
        key = {code: (subject.site, subject.number) for code, subject in Sealed.open(trial).release().items()}
        # record before the release: an interrupted release may already have lifted the blinding
        registry.audit("tables released", details={"reason": reason, "subjects": len(key)})
        released = release_tables(trial.tables, out, key, reason=reason)
        registry.audit("release written", details={"reason": reason, "files": released.digests})
    return ReleasedTables(released.files, details.get("software") != software()["mri-pipeline source"])
