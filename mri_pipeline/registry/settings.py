"""The settings of ``trial.toml`` in the audit trail: those in force, and every change with old and new value."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from mri_pipeline.core.protocol import Protocol
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.schema import AuditRow
from mri_pipeline.registry.trail import append

Settings = dict[str, Any]
"""Value of every setting by its name, such as ``lesions.min_volume_mm3`` or ``sites.S01.ae_titles``."""

_SUBJECTS = re.compile(r"sites\..*\.subjects")
_NAMES = ("code", "label", "contrast")
"""Keys that name the tables of a list: sites and readers, visits, sequences."""


def settings_of(protocol: Protocol) -> Settings:
    """All settings of a protocol, those of the defaults as well.

    Parameters
    ----------
    protocol : Protocol

    Returns
    -------
    dict of str to object
        JSON. No password: a password hash is given by its SHA-256, and the passwords of ``database_url`` by ``***``. No
        trial number: ``subjects`` of a site is given by their count.

    Examples
    --------
    >>> from mri_pipeline.core.protocol import parse_protocol, protocol_text
    >>> settings_of(parse_protocol(protocol_text()))["visits.wk04.week"]
    4
    """
    settings = dict(_flat(protocol.model_dump(mode="json"), ""))
    settings["database_url"] = _without_password(protocol.database_url)
    for name, value in settings.items():
        if name.endswith("password_hash") and value:
            settings[name] = hashlib.sha256(value.encode()).hexdigest()
        elif _SUBJECTS.fullmatch(name):
            settings[name] = f"{len(value)} numbers" if value else "none"
    return settings


def recorded_settings(session: Session) -> Settings:
    """The settings in force by the audit trail.

    Parameters
    ----------
    session : sqlalchemy.orm.Session

    Returns
    -------
    dict of str to object
        As `settings_of`. Empty for a trail of an earlier version.
    """
    rows = session.scalars(
        select(AuditRow.details).filter_by(action=AuditAction.SETTINGS_CHANGED.value).order_by(AuditRow.seq)
    )
    return _replayed(rows)


def enter_settings(session: Session, protocol: Protocol) -> None:
    """Append an entry with the settings that have changed since the last one. The first entry has all of them.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of `mri_pipeline.registry.database.writing`.
    protocol : Protocol
    """
    old, new = recorded_settings(session), settings_of(protocol)
    changed = changed_settings(old, new)
    if changed:
        details = {
            when: {name: values[name] for name in changed if name in values}
            for when, values in (("old", old), ("new", new))
        }
        append(session, AuditAction.SETTINGS_CHANGED, "trial.toml", details)


def changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of the settings that differ, or that only one of both has.

    Parameters
    ----------
    old, new : mapping of str to object
        As `settings_of`.

    Returns
    -------
    list of str
        Sorted.
    """
    absent = object()
    return sorted(name for name in {*old, *new} if old.get(name, absent) != new.get(name, absent))


def _replayed(changes: Iterable[Mapping[str, Any]]) -> Settings:
    settings: Settings = {}
    for change in changes:
        settings = {name: value for name, value in settings.items() if name not in change["old"]} | change["new"]
    return settings


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Name and value of every setting; the tables of a list are named by one of `_NAMES`."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        value = {next((str(part[n]) for n in _NAMES if n in part), str(i)): part for i, part in enumerate(value)}
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _without_password(url: str) -> str:
    try:
        parsed = make_url(url) if url else None
        if parsed is None:
            return ""
        return parsed.set(query=dict.fromkeys(parsed.query, "***")).render_as_string(hide_password=True)
    except ArgumentError:
        return "***"
