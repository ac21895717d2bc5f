"""Release of the tables of a trial: the blinding is lifted for tables as they were written, under a verified key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.digests import file_digest, file_digests
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.provenance import software
from mri_pipeline.registry import Registry, ScanIdentity, Use, require_storable
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.tables.release import NO_SCHEDULE, release_tables, require_as_written, require_final
from mri_pipeline.tables.schedule import differing_intervals, read_schedule
from mri_pipeline.tables.xpt import require_transportable


@dataclass(frozen=True)
class ReleasedTables:
    """Released tables.

    Parameters
    ----------
    files : tuple of Path
        The unblinded tables and their dictionary.
    other_software : bool
        True if other software than the present one wrote the blinded tables.
    dates : str
        Where the dates of nv.csv come from, or why there are none.
    other_intervals : tuple of str
        Lines of the schedule whose date contradicts the headers of the scans.
    audit_entries, audit_hash : int, str
        Number of entries of the audit trail after the release, and hash of the last one.
    """

    files: tuple[Path, ...]
    other_software: bool
    dates: str
    other_intervals: tuple[str, ...]
    audit_entries: int
    audit_hash: str


@dataclass(frozen=True)
class Release:
    """A release as the audit trail has it.

    Parameters
    ----------
    at : str
        UTC (ISO 8601) at which the blinding was lifted.
    reason : str
    subjects : int
        Number of subjects in the key.
    files : mapping of str to str
        SHA-256 of each released file by its name; empty for a release that was interrupted.
    """

    at: str
    reason: str
    subjects: int
    files: Mapping[str, str]


def list_releases(registry: Registry) -> list[Release]:
    """The releases of a trial.

    Parameters
    ----------
    registry : Registry

    Returns
    -------
    list of Release
        The latest first.
    """
    lifted = registry.audit_entries(AuditAction.TABLES_RELEASED)
    written = registry.audit_entries(AuditAction.RELEASE_WRITTEN)
    found = []
    for entry, later in zip_longest(lifted, lifted[1:]):
        end = later.seq if later else math.inf
        files = [one.details["files"] for one in written if entry.seq < one.seq < end]
        found.append(
            Release(entry.at, entry.details["reason"], entry.details["subjects"], files[0] if files else {})
        )
    return found[::-1]


def release_trial_tables(
    folder: Path, *, reason: str, out: Path, provisional: bool = False, schedule: Path | None = None
) -> ReleasedTables:
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
    schedule : Path, optional
        Dates of the scans for nv.csv (`mri_pipeline.tables.schedule.read_schedule`).

    Returns
    -------
    ReleasedTables

    Raises
    ------
    UsageError
        If the audit trail is broken, a table is not as it was written, the tables are provisional, or a row of the key
        does not belong to its code, and as `mri_pipeline.tables.xpt.require_transportable`,
        `mri_pipeline.tables.schedule.read_schedule` and `mri_pipeline.tables.release.release_tables`.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    if not reason.strip():
        raise UsageError("expected --reason with --release, found none", hint="say why the blinding is lifted")
    require_storable("--reason", reason)
    require_transportable("STUDYID", protocol.name)
    visits = [visit.label for visit in protocol.visits]
    dates = NO_SCHEDULE if schedule is None else read_schedule(schedule, visits)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry:
        written = registry.audit_entries(AuditAction.TABLES_WRITTEN)
        details = written[-1].details if written else {}
        require_as_written(trial.tables, details.get("files", {}))
        if not provisional:
            require_final(trial.tables)
        key = {code: (subject.site, subject.number) for code, subject in Sealed.open(trial).release().items()}
        # record before the release: an interrupted release may already have lifted the blinding
        lifted = {"reason": reason, "subjects": len(key)}
        if schedule is not None:
            lifted["schedule"] = file_digest(schedule)
        registry.audit(AuditAction.TABLES_RELEASED, details=lifted)
        released = release_tables(trial.tables, out, key, reason=reason, usubjid=protocol.usubjid, schedule=dates)
        registry.audit(
            AuditAction.RELEASE_WRITTEN, details={"reason": reason, "files": file_digests(released.files)}
        )
        days = {
            (*key[code], scan.visit): scan.identity.shifted_day
            for code in key
            for scan in registry.relatives(code, ScanIdentity())
            if scan.identity.shifted_day is not None
        }
        head = registry.verify_audit()
    return ReleasedTables(
        released.files,
        details.get("software") != software()["mri-pipeline source"],
        released.dates,
        tuple(differing_intervals(dates, days)),
        *head,
    )
