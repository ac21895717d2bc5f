"""The audit trail: who did what and when. A hash chains each entry to the previous one."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mri_pipeline.core.errors import UsageError

GENESIS = "0" * 64
"""The hash before the first entry."""


@dataclass(frozen=True)
class AuditEntry:
    """One entry. `at` is UTC (ISO 8601). `reader` is empty if no reader acted. `details` contain no patient data."""

    seq: int
    at: str
    os_user: str
    reader: str
    action: str
    target: str
    details: Mapping[str, Any]
    previous: str
    hash: str = ""


def entry_hash(entry: AuditEntry) -> str:
    """SHA-256 of the entry without its own hash."""
    content = {name: value for name, value in asdict(entry).items() if name != "hash"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def verify_chain(entries: Iterable[AuditEntry]) -> tuple[int, str]:
    """Check a whole trail from the first entry; returns the number of entries and the last hash.

    A copy of these two, kept apart from the registry, also reveals entries that were removed at the end.

    Raises
    ------
    UsageError
        If an entry was changed, removed or inserted.

    Examples
    --------
    >>> verify_chain([]) == (0, GENESIS)
    True
    """
    count, previous = 0, GENESIS
    for count, entry in enumerate(entries, start=1):
        if entry.seq != count or entry.previous != previous or entry.hash != entry_hash(entry):
            raise UsageError(
                f"expected an unbroken audit trail, found a change at entry {count}",
                hint="restore the registry from a backup and report the deviation",
            )
        previous = entry.hash
    return count, previous


def utc_now() -> str:
    """The current time in UTC (ISO 8601), to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def os_user() -> str:
    """The account of this process, from the operating system and not from an environment variable."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account in a container may have no name
        return f"uid {os.getuid()}"
