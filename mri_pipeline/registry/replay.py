"""The state of a trial as its audit trail states it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.registry.audit import AuditAction, AuditEntry
from mri_pipeline.registry.quality_rows import JUDGED
from mri_pipeline.registry.scans import stated_of_values
from mri_pipeline.registry.schema import Gate, ScanState
from mri_pipeline.registry.site_queries import QueryState

_READ_FIELDS = ("status", "accepted", "rejected", "voxels_added", "voxels_erased", "digest", "version", "standing")
_SCAN_FIELDS = ("findings", "scanner", "receipt", "before_infusion", "identity", "profile")

Facts = dict[str, Any]
"""Values of the columns of one row that the trail states."""

Rows = dict[tuple[str, ...], Facts]
"""Rows of one table by their key."""

_EMPTY_ROW: Facts = {
    "scanner": None, "receipt": None, "before_infusion": None, "shifted_day": None, "profile": {}, "images": {},
    "keys": [],
}  # fmt: skip
_MISSING_SCAN: Facts = {
    "status": ScanState.MISSING.value, "upload_digest": None, "findings": [], **stated_of_values(_EMPTY_ROW)
}  # fmt: skip


@dataclass(frozen=True)
class ReplayedState:
    """Rows that the entries of an audit trail give.

    Parameters
    ----------
    sites, subjects, scanners, scans, reads, withdrawn, queries, releases, measures, gates : dict
        Of tuple of str to dict. Stated columns of each row, by its key: the site; the subject; all facts of the
        scanner; subject and visit; subject, visit and reader; subject, visit and number of the withdrawal; number of
        the query; number of the release; number of the measured upload; number of the scanner and coil.
    """

    sites: Rows = field(default_factory=dict)
    subjects: Rows = field(default_factory=dict)
    scanners: Rows = field(default_factory=dict)
    scans: Rows = field(default_factory=dict)
    reads: Rows = field(default_factory=dict)
    withdrawn: Rows = field(default_factory=dict)
    queries: Rows = field(default_factory=dict)
    releases: Rows = field(default_factory=dict)
    measures: Rows = field(default_factory=dict)
    gates: Rows = field(default_factory=dict)


class ReplayError(ValueError):
    """An entry of an audit trail does not follow from the earlier ones.

    Parameters
    ----------
    seq : int
        Number of the entry.
    """

    def __init__(self, seq: int) -> None:
        super().__init__(seq)
        self.seq = seq


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

    Raises
    ------
    ReplayError
        If an entry does not follow from the earlier ones.
    """
    state = ReplayedState()
    for entry in entries:
        target = tuple(entry.target.split())
        try:
            for apply in (_apply_site, _apply_quality, _apply_scan, _apply_read, _apply_query):
                apply(state, entry, target)
        except (LookupError, TypeError) as error:
            raise ReplayError(entry.seq) from error
    return state


def scanner_key(site: str, facts: Facts) -> tuple[str, ...]:
    """All facts of a scanner as text.

    Parameters
    ----------
    site : str
        Code of its site.
    facts : dict of str to object
        As in `mri_pipeline.registry.records.ScannerFacts`.

    Returns
    -------
    tuple of str
    """
    names = ("manufacturer", "model", "software", "serial_digest")
    return (site, *(str(facts[name]) for name in names), f"{facts['field_strength_t']:g} T")


def withdrawn_facts(facts: Facts, scan: Facts, reads: dict[str, Facts]) -> Facts:
    """Merge the facts of a withdrawn scan and its reads into those of one row.

    Parameters
    ----------
    facts : dict of str to object
        Of the withdrawal.
    scan : dict of str to object
    reads : dict of str to dict
        By reader.

    Returns
    -------
    dict of str to object
    """
    of_scan = {f"scan {name}": value for name, value in scan.items()}
    of_reads = {
        f"read of {reader} {name}": value for reader, read in reads.items() for name, value in read.items()
    }
    return facts | of_scan | of_reads | {"readers": sorted(reads)}


def _apply_site(state: ReplayedState, entry: AuditEntry, target: tuple[str, ...]) -> None:
    details = entry.details
    match entry.action:
        case AuditAction.SITE_ENTERED:
            state.sites[target] = {"gate": Gate.NONE.value, "dummy_run_digest": None, "gate_at": None}
        case AuditAction.DUMMY_RUN:
            state.sites[target] = {"gate": details["gate"], "dummy_run_digest": details["upload"]}
            state.sites[target] |= _times(details, "gate_at")
        case AuditAction.SUBJECT_ENTERED:
            state.subjects[target] = {"site": details["site"]}
        case AuditAction.SCANNER_ENTERED:
            known = {name: details[name] for name in ("id", "identified") if name in details}
            state.scanners[scanner_key(entry.target, dict(details))] = known
        case AuditAction.UPLOAD_RELEASED:
            names = ("reason", "by", "protocol", "cleared")
            facts = {"upload_digest": details["upload"], "site": entry.target, **_times(details, "at")}
            number = (str(len(state.releases) + 1),)
            state.releases[number] = facts | {name: details[name] for name in names}


def _apply_quality(state: ReplayedState, entry: AuditEntry, _target: tuple[str, ...]) -> None:
    details = entry.details
    match entry.action:
        case AuditAction.MEASURES_STORED:
            state.measures[str(len(state.measures) + 1),] = dict(details)
        case AuditAction.SCANNER_GATE:
            state.gates[gate_key(details)] = {name: value for name, value in details.items() if name != JUDGED}
        case AuditAction.REGISTRY_MIGRATED:
            state.gates.update({gate_key(gate): gate for gate in details.get("scanner_gates", ())})


def gate_key(gate: Mapping[str, Any]) -> tuple[str, str]:
    """The key of the gate of a scanner.

    Parameters
    ----------
    gate : mapping of str to object
        Columns of a `mri_pipeline.registry.quality_rows.ScannerGateRow`.

    Returns
    -------
    tuple of str
    """
    return str(gate["scanner"]), gate["coil"]


def _apply_scan(state: ReplayedState, entry: AuditEntry, target: tuple[str, ...]) -> None:
    details, scans = entry.details, state.scans
    match entry.action:
        case AuditAction.UPLOAD_REFUSED:
            status = scans.get(target, _MISSING_SCAN)["status"]
            if len(target) == 2 and status in {ScanState.MISSING.value, ScanState.REFUSED.value}:
                refused = {"upload_digest": details["upload"], "findings": [details["reason"]]}
                scans[target] = _MISSING_SCAN | {"status": ScanState.REFUSED.value} | refused
        case AuditAction.SCAN_RECEIVED:
            scans[target] = {"status": ScanState.RECEIVED.value, "upload_digest": details["upload"]}
            if "identity" in details:
                scans[target] |= {name: details[name] for name in _SCAN_FIELDS}
        case AuditAction.SCAN_FINDINGS_CHANGED:
            scans[target]["findings"] = details["findings"]
        case AuditAction.STATEMENT:
            scans[target]["before_infusion"] = details["before_infusion"]
        case AuditAction.SCAN_ANALYSED | AuditAction.SCAN_FAILED:
            scans.setdefault(target, {})["status"] = entry.action.removeprefix("scan ")
        case AuditAction.SCAN_WITHDRAWN:
            _withdraw(state, entry, target)


def _withdraw(state: ReplayedState, entry: AuditEntry, target: tuple[str, ...]) -> None:
    of = {"subject": target[0], "visit": target[1]}
    reads = {key[2]: state.reads.pop(key) | of for key in sorted(state.reads) if key[:2] == target}
    facts = {"reason": entry.details["reason"], **_times(entry.details, "at")}
    if "replaced_by" in entry.details:
        facts["replaced_by"] = entry.details["replaced_by"]
    number = sum(key[:2] == target for key in state.withdrawn) + 1
    state.withdrawn[*target, str(number)] = withdrawn_facts(facts, state.scans[target] | of, reads)
    state.scans[target] = dict(_MISSING_SCAN)
    for visit in entry.details.get("not_analysed", ()):
        state.scans[target[0], visit]["status"] = ScanState.RECEIVED.value


def _apply_read(state: ReplayedState, entry: AuditEntry, target: tuple[str, ...]) -> None:
    reads, details, own = state.reads, entry.details, (*target, entry.reader)
    match entry.action:
        case AuditAction.READ:
            if details.get("standing") == ReadStanding.OPEN.value:
                for key, read in reads.items():
                    if key[:2] == target and read.get("standing") == ReadStanding.COUNTS.value:
                        read["standing"] = ReadStanding.OPEN.value
            reads[own] = {name: details[name] for name in _READ_FIELDS if name in details}
        case AuditAction.READS_COMPARED:
            for reader in details["reads"]:
                counts = reader == details["counts"]
                reads[*target, reader]["standing"] = (
                    ReadStanding.COUNTS if counts else ReadStanding.COMPARED
                ).value
        case AuditAction.READ_LOCKED:
            reads.setdefault(own, {})["status"] = ReadStatus.LOCKED.value
        case AuditAction.READ_UNLOCKED:
            reads.setdefault(own, {}).update(status=details["to"], standing=ReadStanding.REOPENED.value)


def _apply_query(state: ReplayedState, entry: AuditEntry, target: tuple[str, ...]) -> None:
    details, key = entry.details, target[1:2]
    match entry.action:
        case AuditAction.QUERY_ENTERED:
            open_query = {"state": QueryState.OPEN.value, "subject": "", "visit": ""}
            if len(target) == 4:
                open_query |= {"subject": target[2], "visit": target[3]}
            unanswered = dict.fromkeys(
                ("answer", "answered_by", "answered_at", "close_reason", "closed_by", "closed_at"), ""
            )
            state.queries[key] = open_query | unanswered | dict(details)
        case AuditAction.QUERY_ANSWERED:
            answer = {"answer": details["answer"], "answered_by": details["by"], **_times(details, "answered_at")}
            state.queries[key] |= {"state": QueryState.ANSWERED.value} | answer
        case AuditAction.QUERY_CLOSED:
            why = {"close_reason": details["reason"], "closed_by": details["by"], **_times(details, "closed_at")}
            state.queries[key] |= {"state": QueryState.CLOSED.value} | why


def _times(details: Any, column: str) -> Facts:
    """Time of the change as the row has it. Entries of earlier versions do not state it."""
    return {column: details["at"]} if "at" in details else {}
