"""Entries of the quarantine: list them and record their outcome."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mri_pipeline.core.errors import UsageError, quoted
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.intake.quarantine import REASON_FILE

_LOG = logging.getLogger(__name__)
_REMOVED: Final = "removed-"
"""Prefix of the copy of a settled entry that is being removed."""
_WAIT_S: Final = 120.0
"""For another process that settles entries. It may wait 60 s for the registry."""


@dataclass(frozen=True)
class QuarantineEntry:
    """One refused upload.

    Parameters
    ----------
    name : str
        Name of its folder: time of receipt and digest.
    received : str
        UTC (ISO 8601).
    site, kind, visit : str
        Code of the site, ``visit`` or ``dummy run``, and visit label; empty if it is not known.
    refused_as : str
        Name of the class of the error.
    reason, next_step : str
        Without patient data.
    elements : tuple of str
        Of an identity alarm (`IdentityError.elements`).
    size_bytes : int
    sha256 : str
        Of the upload.
    upload : Path or None
        The copy of the upload; None if it is not kept, or removed.
    outcome : str
        Outcome; empty for an open entry.
    """

    name: str
    received: str
    site: str
    kind: str
    visit: str
    refused_as: str
    reason: str
    next_step: str
    elements: tuple[str, ...]
    size_bytes: int
    sha256: str
    upload: Path | None
    outcome: str


def quarantine_entries(folder: Path) -> list[QuarantineEntry]:
    """All entries of a quarantine, oldest first.

    Parameters
    ----------
    folder : Path
        The quarantine of the trial.

    Returns
    -------
    list of QuarantineEntry
        Empty without a quarantine.
    """
    entries = [_entry(file) for file in folder.glob(f"*/{REASON_FILE}")] if folder.is_dir() else []
    return sorted(entries, key=lambda entry: (dt.datetime.fromisoformat(entry.received), entry.name))


def quarantine_entry(folder: Path, name: str) -> QuarantineEntry:
    """One entry of a quarantine.

    Parameters
    ----------
    folder : Path
        The quarantine of the trial.
    name : str
        Name of the entry.

    Returns
    -------
    QuarantineEntry

    Raises
    ------
    UsageError
        If there is no such entry.
    """
    file = folder / name / REASON_FILE
    if not re.fullmatch(r"[\w-]{1,100}", name, re.ASCII) or not file.is_file():
        raise UsageError(
            f"expected the name of an entry of the quarantine, found {quoted(name)}",
            hint="list the entries: mri-pipeline quarantine list TRIAL",
        )
    return _entry(file)


@contextmanager
def settling(folder: Path) -> Iterator[None]:
    """Hold the lock of the outcomes of all entries.

    Parameters
    ----------
    folder : Path
        The quarantine of the trial.

    Yields
    ------
    None

    Raises
    ------
    LockedError
        If another process has it for two minutes.
    """
    with exclusive(folder / "settle.lock", wait_s=_WAIT_S):
        yield


def settle_entry(folder: Path, entry: QuarantineEntry, *, outcome: str, now: dt.datetime) -> None:
    """Record the outcome of an entry, once. `remove_settled` then removes its copy of the upload.

    The caller holds `settling`, so that two processes do not record two outcomes.

    Parameters
    ----------
    folder : Path
        The quarantine of the trial.
    entry : QuarantineEntry
    outcome : str
        Without patient data.
    now : datetime.datetime
    """
    file = folder / entry.name / REASON_FILE
    record = json.loads(file.read_text(encoding="utf-8"))
    if not record.get("outcome"):
        record |= {"outcome": outcome, "settled": now.isoformat(timespec="seconds")}
        write_atomic(file, json.dumps(record, indent=2) + "\n")


@contextmanager
def only_user(folder: Path, digest: str) -> Iterator[None]:
    """Hold the lock of the copies of an upload. Nobody else tries or removes them meanwhile.

    Parameters
    ----------
    folder : Path
        The quarantine of the trial.
    digest : str
        SHA-256 of the upload.

    Yields
    ------
    None

    Raises
    ------
    LockedError
        If another process has it.
    """
    with exclusive(folder / f"retry-{digest[:16]}.lock", wait_s=0):
        yield


def remove_settled(folder: Path) -> None:
    """Remove the copies of the uploads of settled entries, which are not de-identified.

    It may be interrupted at any point: the next upload or retry removes the rest, and `serve` every 15 minutes. A copy
    that another process uses stays until then. A copy that cannot be removed is a warning.

    Parameters
    ----------
    folder : Path
        The quarantine of the trial.
    """
    places = {copy.parent.name for name in ("upload*", f"{_REMOVED}*") for copy in folder.glob(f"*/{name}")}
    for entry in quarantine_entries(folder) if places else ():
        if entry.outcome and entry.name in places:
            with suppress(LockedError), only_user(folder, entry.sha256):
                _remove_copies(folder / entry.name)


def _remove_copies(place: Path) -> None:
    """Remove the copies in the folder of an entry. A reader finds the whole copy or none."""
    try:
        for copy in place.glob("upload*"):
            copy.rename(place / f"{_REMOVED}{copy.name}")
        for copy in place.glob(f"{_REMOVED}*"):
            if copy.is_dir():
                shutil.rmtree(copy)
            else:
                copy.unlink()
    except OSError:  # its text may have the name of a file of the upload
        _LOG.warning("quarantine/%s holds identified files and cannot be removed; remove it", place.name)


def _entry(file: Path) -> QuarantineEntry:
    record = json.loads(file.read_text(encoding="utf-8"))
    copies = [path for path in file.parent.iterdir() if path.name.startswith("upload")]
    return QuarantineEntry(
        name=file.parent.name,
        received=record["received"],
        site=record.get("site", ""),
        kind=record.get("kind", ""),
        visit=record.get("visit", ""),
        refused_as=record["refused_as"],
        reason=record["reason"],
        next_step=record["next_step"],
        elements=tuple(record.get("elements", ())),
        size_bytes=record["bytes"],
        sha256=record["sha256"],
        upload=copies[0] if copies else None,
        outcome=record.get("outcome", ""),
    )
