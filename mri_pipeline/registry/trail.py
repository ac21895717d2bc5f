"""Steps on the audit trail within one transaction of the registry."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from typing import Any, Final

from sqlalchemy import Row, Select, Text, select, type_coerce
from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import GENESIS, AuditEntry, entry_hash, os_user, utc_now
from mri_pipeline.registry.schema import AuditRow, Base


def append(session: Session, action: str, target: str, details: dict[str, Any], *, reader: str = "") -> None:
    """Append an audit entry within the caller's transaction, which contains the change as well.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of `mri_pipeline.registry.database.writing`.
    action, target : str
    details : dict
        JSON without patient data.
    reader : str
        Code of the reader or name of the person, if one acted.
    """
    session.flush()
    last = session.execute(select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1)).first()
    seq, previous = (last.seq, last.hash) if last else (0, GENESIS)
    entry = AuditEntry(seq + 1, utc_now(), os_user(), reader, str(action), target, details, previous)
    session.add(AuditRow(**asdict(replace(entry, hash=entry_hash(entry)))))
    session.flush()


_ENTRIES_AT_A_TIME: Final = 5000
"""Rows of the trail in memory. A trial of 10,000 subjects has more than 200,000."""


def in_parts(session: Session, query: Select[Any]) -> Iterator[Row[Any]]:
    """Rows of the audit trail, a part in memory at a time. No cursor stays open between two parts.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    query : sqlalchemy.Select
        Of columns of the trail with ``seq`` among them, in the order of ``seq``.

    Yields
    ------
    sqlalchemy.Row
    """
    part = session.execute(query.limit(_ENTRIES_AT_A_TIME)).all()
    while part:
        yield from part
        later = query.where(AuditRow.seq > part[-1].seq)
        part = session.execute(later.limit(_ENTRIES_AT_A_TIME)).all()


def entries(
    session: Session, actions: Collection[str] = (), *, after: int = 0, targets: Collection[str] = ()
) -> Iterator[AuditEntry]:
    """The audit trail, oldest first.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    actions : collection of str
        Only entries of these actions; all entries if it is empty.
    after : int
        Only entries with a higher number.
    targets : collection of str
        Only entries with these targets; with all targets if it is empty.

    Yields
    ------
    AuditEntry
        Without details if those of the row are no JSON; its hash is then another one.
    """
    names = [name for name in AuditEntry.__dataclass_fields__ if name != "details"]
    columns = (*(getattr(AuditRow, name) for name in names), type_coerce(AuditRow.details, Text))
    query = select(*columns).order_by(AuditRow.seq)
    if after:
        query = query.where(AuditRow.seq > after)
    if actions:
        query = query.where(AuditRow.action.in_([str(action) for action in actions]))
    if targets:
        query = query.where(AuditRow.target.in_([*targets]))
    values: list[Any]
    for *values, details in in_parts(session, query):
        yield AuditEntry(**dict(zip(names, values, strict=True)), details=_details(details))


def _details(text: Any) -> dict[str, Any]:
    try:
        details = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return {}
    return details if isinstance(details, dict) else {}


def values_of(row: Base) -> dict[str, Any]:
    """Values of all columns of a row.

    Parameters
    ----------
    row : Base
        A row of any table of the registry.

    Returns
    -------
    dict of str to object
    """
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}
