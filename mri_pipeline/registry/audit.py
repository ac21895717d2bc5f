"""The audit trail: who did what and when. A hash chains each entry to the previous one."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mri_pipeline.core.errors import UsageError

GENESIS = "0" * 64
"""The hash before the first entry."""


class AuditAction(StrEnum):
    """What an entry records."""

    TRIAL_LAID_OUT = "trial laid out"
    REGISTRY_MIGRATED = "registry migrated"
    SETTINGS_CHANGED = "settings changed"
    SITE_ENTERED = "site entered"
    SCANNER_ENTERED = "scanner entered"
    SUBJECT_ENTERED = "subject entered"
    DUMMY_RUN = "dummy-run"
    SCANNER_GATE = "scanner gate set"
    MEASURES_STORED = "measures stored"
    UPLOAD_REFUSED = "upload refused"
    UPLOAD_RELEASED = "upload released"
    UPLOAD_TRIED_AGAIN = "upload tried again"
    REFUSED_UPLOAD_DISCARDED = "refused upload discarded"
    UPLOAD_OF_ANOTHER_SUBJECT = "upload matches another subject"
    UPLOAD_BEGUN = "upload begun"
    UPLOAD_SENT = "upload sent"
    UPLOAD_DISCARDED = "upload discarded"
    UPLOAD_CHECKED = "upload checked"
    UPLOAD_NOT_CHECKED = "upload not checked"
    JOB_ORDERED = "job ordered"
    JOB_ENDED = "job ended"
    JOB_FAILED = "job failed"
    SERIES_STATED = "series stated"
    SERIES_KEPT = "series kept"
    SCAN_RECEIVED = "scan received"
    SCAN_ANALYSED = "scan analysed"
    SCAN_FAILED = "scan failed"
    SCAN_WITHDRAWN = "scan withdrawn"
    SCAN_FINDINGS_CHANGED = "scan findings changed"
    STATEMENT = "statement of the site"
    QUERY_ENTERED = "query entered"
    QUERY_ANSWERED = "query answered"
    QUERY_CLOSED = "query closed"
    WORKLIST_EXPORTED = "worklist exported"
    READ = "read"
    REREAD = "re-read"
    READ_NOTES = "notes on reads"
    READS_COMPARED = "reads compared"
    READ_LOCKED = "read locked"
    READ_UNLOCKED = "read unlocked"
    READING_OPENED = "reading opened"
    READING_WITHDRAWN = "reading withdrawn"
    READ_SIGNED = "reading signed"
    SIGNATURE_REFUSED = "signature refused"
    LOGIN = "login"
    LOGIN_REFUSED = "login refused"
    LOGOUT = "logout"
    PASSWORD_CHANGE_BEGUN = "password change begun"  # noqa: S105 - an action
    PASSWORD_CHANGED = "password changed"  # noqa: S105 - an action
    ROLE_CHANGE_BEGUN = "role change begun"
    ROLE_CHANGED = "role changed"
    SECOND_FACTOR_ADDED = "authenticator app added"
    SECOND_FACTOR_REMOVED = "authenticator app removed"
    AGREEMENT_WRITTEN = "agreement written"
    TABLES_WRITTEN = "tables written"
    DICOM_EXPORTED = "DICOM exported"
    TABLES_RELEASED = "tables released"
    RELEASE_WRITTEN = "release written"
    BACKUP_WRITTEN = "backup written"
    TRIAL_RESTORED = "trial restored"
    QUALIFICATION_WRITTEN = "qualification written"
    TRANSACTION_TRIED = "transaction tried"
    """Of a transaction that is undone: no trail has it."""


@dataclass(frozen=True)
class AuditEntry:
    """One entry of the audit trail.

    Parameters
    ----------
    seq : int
        Number of the entry, from 1.
    at : str
        UTC (ISO 8601).
    os_user : str
        Account that ran the program.
    reader : str
        Who acted: code of the reader, or the name given with ``--by``. Empty if only the account is known.
    action, target : str
        What was done (`AuditAction`), and to which subject, visit or site.
    details : mapping
        JSON without patient data.
    previous : str
        Hash of the previous entry; `GENESIS` for the first.
    hash : str
        See `entry_hash`.
    """

    seq: int
    at: str
    os_user: str
    reader: str
    action: str
    target: str
    details: Mapping[str, Any]
    previous: str
    hash: str = ""


_HASHED = tuple(field.name for field in fields(AuditEntry) if field.name != "hash")
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def entry_hash(entry: AuditEntry) -> str:
    """SHA-256 of the entry without its own hash.

    Parameters
    ----------
    entry : AuditEntry

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    content = {name: getattr(entry, name) for name in _HASHED}
    return hashlib.sha256(_CANONICAL.encode(content).encode("ascii")).hexdigest()


def verify_chain(entries: Iterable[AuditEntry], *, after: tuple[int, str] = (0, GENESIS)) -> tuple[int, str]:
    """Check a whole trail from the first entry, or from a verified entry on.

    A copy of the returned values, kept apart from the registry, also reveals entries that were removed at the end.

    Parameters
    ----------
    entries : iterable of AuditEntry
        Oldest first.
    after : tuple of int and str
        Number and hash of the entry before the first one, which is verified.

    Returns
    -------
    count : int
        Number of the last entry.
    last : str
        Hash of the last entry; that of `after` if there is none.

    Raises
    ------
    UsageError
        If an entry was changed, removed or inserted.

    Examples
    --------
    >>> verify_chain([]) == (0, GENESIS)
    True
    """
    number, previous = after
    count = number
    for count, entry in enumerate(entries, start=number + 1):
        if entry.seq != count or entry.previous != previous or entry.hash != entry_hash(entry):
            raise UsageError(
                f"expected an unbroken audit trail, found a change at entry {count}",
                hint="restore the registry from a backup and report the deviation",
            )
        previous = entry.hash
    return count, previous


def backward_times(entries: Iterable[AuditEntry]) -> list[int]:
    """Entries that are dated before their predecessor: the clock of the machine ran back.

    Parameters
    ----------
    entries : iterable of AuditEntry
        Oldest first.

    Returns
    -------
    list of int
        Their numbers.
    """
    found, latest = [], ""
    for entry in entries:
        if entry.at < latest:
            found.append(entry.seq)
        latest = max(latest, entry.at)
    return found


def utc_now() -> str:
    """The current time in UTC, to the second.

    Returns
    -------
    str
        ISO 8601 with offset, for example ``2026-01-31T12:00:00+00:00``.
    """
    return datetime.now(UTC).isoformat(timespec="seconds")


def os_user() -> str:
    """The account of this process, from the operating system and not from an environment variable.

    Returns
    -------
    str
        Its name, or ``uid`` and the number if it has none.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account in a container may have no name
        return f"uid {os.getuid()}"
