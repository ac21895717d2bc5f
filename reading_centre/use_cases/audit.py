"""The audit trail of a trial: entries, checks of everything that it has a digest of, export, anchor."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.reading.lock import kept_inputs
from mri_pipeline.reading.store import load_read
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditEntry, backward_times, utc_now
from mri_pipeline.registry.reads import READ, REREAD
from mri_pipeline.tables.release import require_as_written
from reading_centre.use_cases.tables import TABLES_WRITTEN

_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d)?)?)?)?)?")


@dataclass(frozen=True)
class Selection:
    """Which entries of an audit trail; an empty text selects all.

    Parameters
    ----------
    subject : str
        Blinded code, or code of a site: a word of the target.
    actor : str
        Code of a reader, or account that ran the program.
    action : str
    since, until : str
        UTC (ISO 8601), or the beginning of one: ``2026-03`` as `until` includes March.

    Raises
    ------
    UsageError
        If a time is none.
    """

    subject: str = ""
    actor: str = ""
    action: str = ""
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        for time in (self.since, self.until):
            if time and not _TIME.fullmatch(time):
                raise UsageError(
                    "expected a time such as 2026-03-01 or 2026-03-01T12:00, found another text",
                    hint="write the time in UTC, from the year on",
                )

    def has(self, entry: AuditEntry) -> bool:
        """Whether an entry is selected.

        Parameters
        ----------
        entry : AuditEntry

        Returns
        -------
        bool
        """
        return (
            (not self.subject or self.subject in entry.target.split())
            and (not self.actor or self.actor in {entry.reader, entry.os_user})
            and (not self.action or self.action == entry.action)
            and (not self.since or entry.at[: len(self.since)] >= self.since)
            and (not self.until or entry.at[: len(self.until)] <= self.until)
        )


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


def selected_entries(folder: Path, selection: Selection) -> list[AuditEntry]:
    """Entries of the audit trail, oldest first.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    selection : Selection

    Returns
    -------
    list of AuditEntry
    """
    trial = Trial.existing(folder)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        return [entry for entry in registry.audit_trail() if selection.has(entry)]


def export_audit(folder: Path, out: Path, selection: Selection) -> int:
    """Write entries of the audit trail as CSV or JSON.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    out : Path
        Ends with ``.csv`` or ``.json``.
    selection : Selection

    Returns
    -------
    int
        Number of entries.

    Raises
    ------
    UsageError
        If the name ends otherwise, or the file exists.
    """
    if out.suffix not in {".csv", ".json"}:
        raise UsageError(
            f"expected a file that ends with .csv or .json, found {out.suffix or 'no ending'}",
            hint="name the file audit.csv or audit.json",
        )
    _require_new(out)
    rows = [asdict(entry) for entry in selected_entries(folder, selection)]
    if out.suffix == ".json":
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    else:
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, list(AuditEntry.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"details": json.dumps(row["details"], sort_keys=True)} for row in rows)
        text = stream.getvalue()
    write_atomic(out, text.encode())
    return len(rows)


def anchor_audit(folder: Path, out: Path) -> tuple[int, str]:
    """Write number and hash of the last entry to a file outside of the trial.

    With it, `verify_trial` finds a trail that was cut or written anew.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    out : Path

    Returns
    -------
    tuple of (int, str)
        Number of entries and hash of the last one.

    Raises
    ------
    UsageError
        If the trail is broken, or the file exists or lies in the folder of the trial.
    """
    trial = Trial.existing(folder)
    _require_new(out)
    if out.resolve().is_relative_to(trial.root.resolve()):
        raise UsageError(
            "expected a file outside of the trial's folder, found one inside",
            hint="keep the anchor where those who can write to the trial cannot",
        )
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        count, last = registry.verify_audit()
    content = {"trial": protocol.name, "entries": count, "last": last, "at": utc_now()}
    write_atomic(out, (json.dumps(content, indent=1) + "\n").encode())
    return count, last


def verify_trial(folder: Path, anchor: Path | None = None) -> Verified:
    """Check the audit trail, and everything of which it has a digest.

    The chain and its times; the rows of the registry; every version of every read; the copies of locked reads; the
    sealed key; the tables as they were last written.

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
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        entries = registry.audit_trail()
        count, last, deviations = len(entries), "", []
        try:
            count, last = registry.verify_audit()
        except UsageError as error:
            deviations.append(error.message)
        deviations += [
            f"audit trail, entry {number}: expected a time after the previous entry, found an earlier one"
            for number in backward_times(entries)
        ]
        deviations += _against_anchor(entries, anchor) if anchor else ()
        deviations += registry.differences_from_audit()
        deviations += _reads(trial, registry)
        deviations += _refusal(lambda: Sealed.open(trial).release())
        written = registry.audit_entries(TABLES_WRITTEN)
    if written and written[-1].details.get("files"):
        deviations += _refusal(lambda: require_as_written(trial.tables, written[-1].details["files"]))
    return Verified(count, last, tuple(deviations))


def _require_new(out: Path) -> None:
    if out.exists():
        raise UsageError(f"expected a new file, found {out.name}", hint="give another name")


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
        yield f"audit trail: expected entry {count} of the anchor, found another trail"


def _reads(trial: Trial, registry: Registry) -> Iterator[str]:
    """Deviations of the files of all versions of all reads, and of the copies of locked reads."""
    for action in (READ, REREAD):
        for entry in registry.entries_on_scans(action):
            subject, _, visit = entry.target.partition(" ")
            version, digest = int(entry.details.get("version", 0)), entry.details["digest"]
            name = f"subject {subject}, visit {visit}, reader {entry.reader}, version {version}"
            try:
                read = load_read(trial.reads, subject, visit, entry.reader, version, reread=action == REREAD)
            except ReadingCentreError as error:
                yield f"{name}: {error.message}"
                continue
            if read is None or read.record.digest != digest:
                found = "none" if read is None else "another one"
                yield f"{name}: expected the record of the audit trail, found {found}"
    for (subject, visit), inputs in sorted(registry.locked_inputs().items()):
        for name, digest in inputs["files"].items():
            yield from _refusal(partial(kept_inputs, trial.reads, subject, visit, {name: digest}))
