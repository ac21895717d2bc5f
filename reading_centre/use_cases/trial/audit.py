"""The audit trail of a trial: entries, export, anchor."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry, Use
from mri_pipeline.registry.audit import AuditAction, AuditEntry, utc_now

_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d)?)?)?)?)?")


@dataclass(frozen=True)
class AuditSelection:
    """Which entries of an audit trail; an empty text selects all.

    Parameters
    ----------
    subject : str
        Blinded code, or code of a site: a word of the target.
    actor : str
        Code of a reader, or account that ran the program.
    action : str
        One of `AuditAction`.
    since, until : str
        UTC (ISO 8601), or the beginning of one: ``2026-03`` as `until` includes March.

    Raises
    ------
    UsageError
        If a time or an action is none.
    """

    subject: str = ""
    actor: str = ""
    action: str = ""
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        if self.action and self.action not in set(AuditAction):
            raise UsageError(
                f"expected an action of the audit trail, found {self.action!r}",
                hint=f"one of: {', '.join(AuditAction)}",
            )
        for time in (self.since, self.until):
            if time and not _TIME.fullmatch(time):
                raise UsageError(
                    f"expected a time such as 2026-03-01 or 2026-03-01T12:00, found {time!r}",
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


def selected_entries(folder: Path, selection: AuditSelection) -> list[AuditEntry]:
    """Entries of the audit trail, oldest first.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    selection : AuditSelection

    Returns
    -------
    list of AuditEntry
    """
    trial = Trial.existing(folder)
    with Registry.open(trial, load_protocol(trial.protocol_file), Use.SHOW) as registry:
        return [entry for entry in registry.audit_trail() if selection.has(entry)]


def export_audit(folder: Path, out: Path, selection: AuditSelection) -> int:
    """Write entries of the audit trail as CSV or JSON.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    out : Path
        Ends with ``.csv`` or ``.json``.
    selection : AuditSelection

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
    found = selected_entries(folder, selection)
    write_atomic(out, audit_text(found, out.suffix).encode())
    return len(found)


def audit_text(found: Iterable[AuditEntry], suffix: str) -> str:
    """Entries of an audit trail as a text file.

    Parameters
    ----------
    found : iterable of AuditEntry
    suffix : str
        ``.csv`` or ``.json``.

    Returns
    -------
    str
    """
    rows = [asdict(entry) for entry in found]
    if suffix == ".json":
        return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(AuditEntry.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"details": json.dumps(row["details"], sort_keys=True)} for row in rows)
    return stream.getvalue()


def anchor_audit(folder: Path, out: Path) -> tuple[int, str]:
    """Write number and hash of the last entry to a file outside of the trial.

    With it, `mri-pipeline audit verify` finds a trail that was cut or rewritten.

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
            f"expected a file outside of the trial, found {out.resolve().relative_to(trial.root.resolve())} in it",
            hint="keep the anchor where those who can write to the trial cannot",
        )
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        count, last = registry.verify_audit()
    content = {"trial": protocol.name, "entries": count, "last": last, "at": utc_now()}
    write_atomic(out, (json.dumps(content, indent=1) + "\n").encode())
    return count, last


def _require_new(out: Path) -> None:
    if out.exists():
        raise UsageError(f"expected a new file, found {out.name}", hint="give another name")
