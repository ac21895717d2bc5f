"""Comparison of a trial with its audit trail: everything that the trail has a digest or a value of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from mri_pipeline.core.io.digests import has_digest
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.reading.lock import kept_inputs
from mri_pipeline.reading.store import read_in
from mri_pipeline.registry import Registry, Use
from mri_pipeline.registry.assignment_records import AssignmentState
from mri_pipeline.registry.audit import AuditAction, AuditEntry, backward_times
from mri_pipeline.tables.release import require_as_written


@dataclass(frozen=True)
class Verified:
    """Result of a verification.

    Parameters
    ----------
    entries : int
        Number of entries of the audit trail.
    last : str
        Hash of the last entry. Empty if the trail is broken.
    deviations : tuple of str
        What differs from the trail, one sentence each.
    """

    entries: int
    last: str
    deviations: tuple[str, ...]


def verify_trial(folder: Path, anchor: Path | None = None) -> Verified:
    """Check the audit trail, and everything of which it has a digest.

    The chain and its times; the rows of the registry; the settings; every version of every read, also of withdrawn
    scans; the copies of locked reads; signatures and logs of the readings in the browser; the qualification reports;
    the sealed key; the tables as they were last written. With a broken chain, only the times and the key are checked,
    because the rest cannot be trusted.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    anchor : Path, optional
        File of `anchor_audit`.

    Returns
    -------
    Verified

    Raises
    ------
    UsageError
        If the anchor is no such file.
    """
    trial = Trial.existing(folder)
    with Registry.open(trial, load_protocol(trial.protocol_file), Use.SHOW) as registry:
        entries = registry.audit_trail()
        deviations = list(_refusal(registry.verify_audit))
        intact = not deviations
        deviations += [
            f"audit trail, entry {number}: expected a time after the previous entry, found an earlier one"
            for number in backward_times(entries)
        ]
        deviations += _against_anchor(entries, anchor) if anchor else ()
        deviations += _refusal(lambda: Sealed.open(trial).release())
        deviations += deviations_from_trail(trial, registry) if intact else ()
    return Verified(len(entries), entries[-1].hash if entries and intact else "", tuple(deviations))


def deviations_from_trail(trial: Trial, registry: Registry) -> Iterator[str]:
    """Deviations of registry, settings, reads and tables from an intact audit trail.

    Parameters
    ----------
    trial : Trial
    registry : Registry

    Yields
    ------
    str
        One sentence each.
    """
    yield from registry.differences_from_audit()
    for name in registry.unrecorded_settings():
        yield f"trial.toml: {name} was changed without an entry in the audit trail"
    yield from _reads(trial, registry)
    yield from _readings(registry)
    yield from _qualifications(trial, registry)
    written = registry.audit_entries(AuditAction.TABLES_WRITTEN)
    if written and written[-1].details.get("files"):
        yield from _refusal(lambda: require_as_written(trial.tables, written[-1].details["files"]))


def _refusal(check: Callable[[], object]) -> Iterator[str]:
    """The message of a check that fails."""
    try:
        check()
    except ReadingCentreError as error:
        yield error.message


def _against_anchor(entries: list[AuditEntry], anchor: Path) -> Iterator[str]:
    try:
        known = json.loads(anchor.read_text(encoding="utf-8"))
        count, last = int(known["entries"]), str(known["last"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"expected an anchor of the audit trail, found none in {anchor.name}",
            hint="give the file that 'mri-pipeline audit anchor TRIAL FILE' wrote",
        ) from error
    if len(entries) < count or (count and entries[count - 1].hash != last):
        found = f"hash {entries[count - 1].hash[:12]}" if len(entries) >= count else f"{len(entries)} entries"
        yield f"audit trail: expected entry {count} of the anchor (hash {last[:12]}), found {found}"


def _reads(trial: Trial, registry: Registry) -> Iterator[str]:
    """Deviations of the files of all versions of all reads, and of the copies of locked reads."""
    for entry, folder in _versions(trial, registry):
        subject, _, visit = entry.target.partition(" ")
        version, reread = int(entry.details.get("version", 0)), entry.action == AuditAction.REREAD
        name = f"subject {subject}, visit {visit}, reader {entry.reader}, version {version}"
        try:
            read = read_in(folder, subject, visit, entry.reader, version, reread=reread)
        except ReadingCentreError as error:
            yield f"{name}: {error.message}"
            continue
        if read is None or read.record.digest != entry.details["digest"]:
            expected = str(entry.details["digest"])[:12]
            found = "none" if read is None else read.record.digest[:12]
            yield f"{name}: expected the record of the audit trail with digest {expected}, found {found}"
    for (subject, visit), inputs in sorted(registry.locked_inputs().items()):
        for name, digest in inputs["files"].items():
            yield from _refusal(partial(kept_inputs, trial.reads, subject, visit, {name: digest}))


def _readings(registry: Registry) -> Iterator[str]:
    """Deviations of the signed readings in the browser: their signatures, and their logs from the first operation."""
    signed = registry.audit_entries(AuditAction.READ_SIGNED)
    told_codes = {entry.details["assignment"] for entry in signed}
    for one in registry.assignments.signed():
        if one.code not in told_codes:
            name = _reading_name(one.subject, one.visit, one.reader)
            yield f"{name}: the registry has a signature that is not in the audit trail"
    for entry in signed:
        subject, _, visit = entry.target.partition(" ")
        name = _reading_name(subject, visit, entry.reader)
        code, told = entry.details["assignment"], entry.details
        found = registry.assignments.find(code, entry.reader)
        if found is None or found.state is not AssignmentState.SIGNED:
            yield f"{name}: expected a signed one as in the audit trail, found {found.state if found else 'none'}"
            continue
        differing = [part for part in _SIGNATURE if found.signature.get(part) != told[part]]
        if differing:
            yield f"{name}: the signature in the registry has another {', '.join(differing)} than in the audit trail"
        try:
            log = registry.assignments.edits(code)
        except UsageError as error:
            yield f"{name}: {error.message}"
            continue
        stored = (len(log), log[-1].hash if log else "")
        if stored != (told["edits"], told["head"]):
            signed_log = _log_text(told["edits"], told["head"])
            yield f"{name}: expected the log that was signed ({signed_log}), found {_log_text(*stored)}"


_SIGNATURE = ("name", "utc", "meaning", "version")
"""Parts of a signature that the audit trail has, too."""


def _log_text(count: int, head: str) -> str:
    operations = "one operation" if count == 1 else f"{count} operations"
    return f"{operations}, hash {head[:12]}" if count else "no operation"


def _reading_name(subject: str, visit: str, reader: str) -> str:
    return f"subject {subject}, visit {visit}, reader {reader}, reading in the browser"


def _qualifications(trial: Trial, registry: Registry) -> Iterator[str]:
    """Deviations of the qualification reports."""
    for entry in registry.audit_entries(AuditAction.QUALIFICATION_WRITTEN):
        for name, digest in sorted(entry.details["files"].items()):
            path = trial.reports / name
            if not has_digest(path, digest):
                found = "it changed" if path.is_file() else "none"
                yield f"reports/{name}: expected the qualification report of the audit trail, found {found}"


def _versions(trial: Trial, registry: Registry) -> Iterator[tuple[AuditEntry, Path]]:
    """Entry of each version of each read and re-read, and the folder of the reads of its visit."""
    withdrawals = iter(registry.withdrawn())
    present: dict[str, list[AuditEntry]] = {}
    for entry in registry.audit_trail():
        if entry.action in {AuditAction.READ, AuditAction.REREAD}:
            present.setdefault(entry.target, []).append(entry)
        elif entry.action == AuditAction.SCAN_WITHDRAWN:
            receipt = next(withdrawals, {}).get("replaced_by") or entry.details.get("kept_in")
            old = present.pop(entry.target, [])
            if receipt:  # else no command has withdrawn it
                folder = trial.withdrawn / entry.target.replace(" ", "/") / receipt / "reads"
                yield from ((read, folder) for read in old)
    for target, reads in present.items():
        yield from ((read, trial.reads / target.replace(" ", "/")) for read in reads)
