"""Comparison of the registry with its audit trail: it finds rows that were changed without an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.registry.audit import AuditEntry
from mri_pipeline.registry.quality_rows import MeasuresRow, ScannerGateRow, ScannerState, measures_facts
from mri_pipeline.registry.replay import Facts, ReplayError, Rows, gate_key, replay, scanner_key, withdrawn_facts
from mri_pipeline.registry.scans import stated_of_scan, stated_of_values
from mri_pipeline.registry.schema import (
    Gate,
    ImageRow,
    KeyRow,
    QueryRow,
    ReadRow,
    ReleaseRow,
    ScannerRow,
    ScanRow,
    ScanState,
    SiteRow,
    SubjectRow,
    WithdrawnRow,
)
from mri_pipeline.registry.site_queries import QueryState
from mri_pipeline.registry.trail import values_of

_SHOWN: dict[str, frozenset[str]] = {
    "gate": frozenset(Gate),
    "status": frozenset([*ScanState, *ReadStatus]),
    "standing": frozenset(ReadStanding),
    "state": frozenset([*QueryState, *ScannerState]),
}
"""Values that a message may show, by column. All others may be free text, patient data or the result of a read."""


def differences(session: Session, entries: Iterable[AuditEntry]) -> list[str]:
    """Rows of the registry that differ from the audit trail.

    All tables are compared. The keys of patients, studies and images are compared by one digest for each scan.

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
    try:
        told = replay(entries)
    except ReplayError as error:  # only if somebody wrote the whole trail anew
        return [
            f"audit trail: expected entries that follow from the earlier ones, found entry {error.seq}, which does not"
        ]
    # the refused uploads of a subject without an accepted scan are in the trail alone
    told_scans = {key: facts for key, facts in told.scans.items() if key[:1] in told.subjects}
    tables: list[tuple[str, Callable[[Session], Rows], Rows]] = [
        ("gate of site", partial(_by, SiteRow, ("code",)), told.sites),
        ("subject", partial(_by, SubjectRow, ("code",)), told.subjects),
        ("scanner of site", _scanners, told.scanners),
        ("scan of subject", _scans, told_scans),
        ("read of subject", partial(_by, ReadRow, ("subject", "visit", "reader")), told.reads),
        ("withdrawn scan of subject", _withdrawn, told.withdrawn),
        ("query", partial(_by, QueryRow, ("id",)), told.queries),
        ("release", _releases, told.releases),
        ("measures of upload", _measures, told.measures),
        ("gate of scanner", _gates, told.gates),
    ]
    found: list[str] = []
    for what, load, expected in tables:
        try:
            found += _different(what, load(session), expected)
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # no JSON, or JSON of another form
            found.append(
                f"{what}: expected rows of the registry, found a row that cannot be read ({type(error).__name__})"
            )
    return found


def _by(table: type[SiteRow | SubjectRow | ReadRow | QueryRow], key: tuple[str, ...], session: Session) -> Rows:
    rows = map(values_of, session.scalars(select(table)))
    return {tuple(str(row[name]) for name in key): row for row in rows}


def _scanners(session: Session) -> Rows:
    rows = map(values_of, session.scalars(select(ScannerRow)))
    return {scanner_key(row["site"], row): row for row in rows}


def _scans(session: Session) -> Rows:
    """Scans with the digest of their keys; keys without a scan are a row of their own, which no trail has."""
    rows = session.scalars(select(ScanRow))
    scans: Rows = {(row.subject, row.visit): values_of(row) | stated_of_scan(session, row) for row in rows}
    for table in (ImageRow, KeyRow):
        for subject, visit in session.execute(select(table.subject, table.visit).distinct()):
            scans.setdefault((subject, visit), {})
    return scans


def _withdrawn(session: Session) -> Rows:
    found: Rows = {}
    for row in session.scalars(select(WithdrawnRow).order_by(WithdrawnRow.id)):
        reads: dict[str, Facts] = {read["reader"]: read for read in row.reads}
        number = sum(key[:2] == (row.subject, row.visit) for key in found) + 1
        facts = withdrawn_facts(values_of(row), row.scan | stated_of_values(row.scan), reads)
        found[row.subject, row.visit, str(number)] = facts
    return found


def _releases(session: Session) -> Rows:
    rows = session.scalars(select(ReleaseRow).order_by(ReleaseRow.id))
    return {(str(number),): values_of(row) for number, row in enumerate(rows, start=1)}


def _measures(session: Session) -> Rows:
    rows = session.scalars(select(MeasuresRow).order_by(MeasuresRow.id))
    return {(str(number),): measures_facts(values_of(row)) for number, row in enumerate(rows, start=1)}


def _gates(session: Session) -> Rows:
    return {gate_key(row): row for row in map(values_of, session.scalars(select(ScannerGateRow)))}


def _found(column: str, value: object) -> str:
    """A flag, or a value of `_SHOWN`, for a message. No other value is shown."""
    shown = isinstance(value, bool) or (isinstance(value, str) and value in _SHOWN.get(column, ()))
    return str(value) if shown else "a different value"


def _different(what: str, rows: Rows, told: Rows) -> Iterator[str]:
    for key in sorted(rows.keys() | told.keys()):
        name = f"{what} {', '.join(key)}"
        if key not in rows:
            yield f"{name}: expected the row of the audit trail, found none in the registry"
        elif key not in told:
            yield f"{name}: expected no row as in the audit trail, found a row in the registry"
        else:
            for column, value in told[key].items():
                if rows[key][column] != value:
                    title, found = column.replace("_", " "), _found(column, rows[key][column])
                    yield f"{name}: expected {title} as in the audit trail, found {found}"
