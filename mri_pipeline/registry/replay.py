"""The state of a trial as its audit trail tells it: a row of the registry that was changed behind the trail differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.registry.audit import AuditEntry
from mri_pipeline.registry.schema import ReadRow, ScanRow, ScanState, SiteRow, SubjectRow

_READ_FIELDS = ("status", "accepted", "rejected", "voxels_added", "voxels_erased", "digest", "version", "standing")

Facts = dict[str, Any]
"""Values of the columns of one row that the trail states."""

Rows = dict[tuple[str, ...], Any]
"""Rows of one table of the registry by their key."""


@dataclass(frozen=True)
class ReplayedState:
    """Rows that the entries of an audit trail give.

    Parameters
    ----------
    sites, subjects, scans, reads : dict of tuple of str to dict
        Stated columns of each row, by its key: the site; the subject; subject and visit; subject, visit and reader.
    """

    sites: dict[tuple[str, ...], Facts] = field(default_factory=dict)
    subjects: dict[tuple[str, ...], Facts] = field(default_factory=dict)
    scans: dict[tuple[str, ...], Facts] = field(default_factory=dict)
    reads: dict[tuple[str, ...], Facts] = field(default_factory=dict)


def replay(entries: Iterable[AuditEntry]) -> ReplayedState:
    """Apply the entries of an audit trail one after another.

    Parameters
    ----------
    entries : iterable of AuditEntry
        Oldest first.

    Returns
    -------
    ReplayedState
        Entries of earlier versions state fewer columns.
    """
    state = ReplayedState()
    for entry in entries:
        _apply(state, entry, tuple(entry.target.split()))
    return state


def _apply(state: ReplayedState, entry: AuditEntry, target: tuple[str, ...]) -> None:
    details = entry.details
    match entry.action:
        case "dummy-run":
            state.sites[target] = {"gate": details["gate"], "dummy_run_digest": details["upload"]}
        case "subject entered":
            state.subjects[target] = {"site": details["site"]}
        case "upload refused":
            scan = state.scans.get(target, {"status": ScanState.MISSING.value})
            if len(target) == 2 and scan["status"] in {ScanState.MISSING.value, ScanState.REFUSED.value}:
                state.scans[target] = {"status": ScanState.REFUSED.value, "upload_digest": details["upload"]}
        case "scan received":
            state.scans[target] = {"status": ScanState.RECEIVED.value, "upload_digest": details["upload"]}
        case "scan analysed" | "scan failed":
            state.scans.setdefault(target, {})["status"] = entry.action.removeprefix("scan ")
        case "scan withdrawn":
            state.scans[target] = {"status": ScanState.MISSING.value, "upload_digest": None}
            for key in [key for key in state.reads if key[:2] == target]:
                del state.reads[key]
        case _:
            _apply_read(state.reads, entry, target)


def _apply_read(reads: dict[tuple[str, ...], Facts], entry: AuditEntry, target: tuple[str, ...]) -> None:
    details, own = entry.details, (*target, entry.reader)
    match entry.action:
        case "read":
            if details.get("standing") == ReadStanding.OPEN.value:
                for key, read in reads.items():
                    if key[:2] == target and read.get("standing") == ReadStanding.COUNTS.value:
                        read["standing"] = ReadStanding.OPEN.value
            reads[own] = {name: details[name] for name in _READ_FIELDS if name in details}
        case "reads compared":
            for reader in details["reads"]:
                counts = reader == details["counts"]
                reads[*target, reader]["standing"] = (
                    ReadStanding.COUNTS if counts else ReadStanding.COMPARED
                ).value
        case "read locked":
            reads.setdefault(own, {})["status"] = ReadStatus.LOCKED.value
        case "read unlocked":
            reads.setdefault(own, {}).update(status=details["to"], standing=ReadStanding.REOPENED.value)


def differences(session: Session, entries: Iterable[AuditEntry]) -> list[str]:
    """Rows of the registry that differ from the audit trail.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    entries : iterable of AuditEntry
        Oldest first.

    Returns
    -------
    list of str
        One sentence for each differing column, and for each row that only one of the two has.
    """
    told = replay(entries)
    sites: Rows = {(row.code,): row for row in session.scalars(select(SiteRow)) if row.gate_at}
    subjects: Rows = {(row.code,): row for row in session.scalars(select(SubjectRow))}
    scans: Rows = {(row.subject, row.visit): row for row in session.scalars(select(ScanRow))}
    reads: Rows = {(row.subject, row.visit, row.reader): row for row in session.scalars(select(ReadRow))}
    # the refused uploads of a subject without an accepted scan are in the trail alone
    told_scans = {key: facts for key, facts in told.scans.items() if key[:1] in told.subjects}
    return [
        *_different("gate of site", sites, told.sites),
        *_different("subject", subjects, told.subjects),
        *_different("scan of subject", scans, told_scans),
        *_different("read of subject", reads, told.reads),
    ]


def _different(what: str, rows: Rows, told: Mapping[tuple[str, ...], Facts]) -> Iterator[str]:
    for key in sorted(rows.keys() | told.keys()):
        name = f"{what} {', '.join(key)}"
        if key not in rows:
            yield f"{name}: expected the row of the audit trail, found none in the registry"
        elif key not in told:
            yield f"{name}: expected no row as in the audit trail, found one in the registry"
        else:
            for column, value in told[key].items():
                if getattr(rows[key], column) != value:
                    yield f"{name}: expected {column.replace('_', ' ')} as in the audit trail, found another value"
