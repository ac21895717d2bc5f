"""Change of the role of a person by a data manager, in ``trial.toml``."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from mri_pipeline.core.accounts import READING_ROLES, Account, Role
from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, parse_protocol
from mri_pipeline.core.reading_settings import Reader
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.trial.people import person_of

_LOG = logging.getLogger(__name__)
_WAIT_S: Final = 10.0
_TABLE: Final = re.compile(r"^[ \t]*\[\[(?:readers|accounts)\]\].*\n(?:(?![ \t]*\[).*\n?)*", re.MULTILINE)


def other_roles(person: Account) -> tuple[Role, ...]:
    """Roles that a person can get. Who reads is blinded and gets no role that sees more, nor the other way round.

    Parameters
    ----------
    person : Account

    Returns
    -------
    tuple of Role

    Examples
    --------
    >>> [role.value for role in other_roles(Account(code="DM", role=Role.DATA_MANAGER))]
    ['site', 'auditor']
    """
    return tuple(
        role
        for role in Role
        if (role in READING_ROLES) == (person.role in READING_ROLES) and role is not person.role
    )


def change_role(
    trial: Trial, registry: Registry, code: str, role: Role, *, site: str = "", by: str, old: str | None = None
) -> None:
    """Change the role of a person in ``trial.toml``. All sessions of the person end.

    An interrupted change is completed by `finish_roles`.

    Parameters
    ----------
    trial : Trial
    registry : Registry
    code : str
        Of the person.
    role : Role
    site : str
        Code of the site for the role of a site; else empty.
    by : str
        Code of the data manager. It is not the person: one data manager always remains.
    old : str or None
        Role and site as the data manager saw them (`role_words`); None if they are not compared.

    Raises
    ------
    UsageError
        If the person cannot get this role, `by` is no data manager any more, or ``trial.toml`` cannot be changed. The
        message has nothing of the file.
    """
    file = trial.protocol_file.resolve()
    try:
        with exclusive(trial.staging / "accounts.lock", wait_s=_WAIT_S):
            text = file.read_bytes().decode()
            protocol = parse_protocol(text)
            finish_roles(protocol, registry)
            person = _changeable(protocol, registry, code, role, site=site, by=by)
            details = {"old": role_words(person), "new": _words(role, site)}
            if old not in (None, details["old"]):
                raise UsageError(
                    "expected the role that the page has shown, found another one", hint="look at the present role"
                )
            changed = _with_role(text, protocol, person, role, site)
            registry.sessions.role_changed(AuditAction.ROLE_CHANGE_BEGUN, person.code, by=by, details=details)
            write_atomic(file, changed, mode=file.stat().st_mode & 0o777)
            _enter_change(registry, person, by=by, details=details)
    except (OSError, UnicodeDecodeError, LockedError, SettingsError) as error:
        _LOG.error("the role of a person cannot be stored in trial.toml: %s", error)
        raise UsageError(
            "expected that the server can store the new role, found that it cannot",
            hint="change it in trial.toml",
        ) from error


def finish_roles(protocol: Protocol, registry: Registry) -> None:
    """Enter the changes of roles that reached ``trial.toml`` before the server was killed, and end the sessions.

    Parameters
    ----------
    protocol : Protocol
        As ``trial.toml`` is now.
    registry : Registry
    """
    begun = {}
    for entry in registry.audit_trail(AuditAction.ROLE_CHANGE_BEGUN, AuditAction.ROLE_CHANGED):
        if entry.action == AuditAction.ROLE_CHANGE_BEGUN:
            begun[entry.target] = entry
        else:
            begun.pop(entry.target, None)
    for code, entry in begun.items():
        person = person_of(protocol, code)
        if person is not None and role_words(person) == entry.details["new"]:
            _enter_change(registry, person, by=entry.reader, details=dict(entry.details))


def _enter_change(registry: Registry, person: Account | Reader, *, by: str, details: dict[str, Any]) -> None:
    """Withdraw the cases of the earlier role, end the sessions, and enter the change in the audit trail."""
    if isinstance(person, Reader):
        registry.assignments.refresh(person.code, (), ())
    registry.sessions.role_changed(AuditAction.ROLE_CHANGED, person.code, by=by, details=details)


def _changeable(protocol: Protocol, registry: Registry, code: str, role: Role, *, site: str, by: str) -> Account:
    person, manager = person_of(protocol, code), person_of(protocol, by)
    if person is None:
        raise UsageError("expected a person of this trial, found none", hint="reload the page")
    if manager is None or manager.role is not Role.DATA_MANAGER:
        raise UsageError("expected a data manager, found another role", hint="sign in again")
    if person.code == manager.code:
        raise UsageError("expected another person, found yourself", hint="another data manager changes your role")
    if role not in other_roles(person):
        possible = " or ".join(one.value for one in other_roles(person))
        raise UsageError(
            f"expected {possible} as the new role of a {person.role.value}, found {role.value}",
            hint="enter a new account for another kind of work",
        )
    if (role is Role.SITE) != bool(site) or (site and site not in {one.code for one in protocol.sites}):
        expected = "a site of this trial" if role is Role.SITE else "no site"
        raise UsageError(f"expected {expected} for the role {role.value}", hint="choose the site")
    if isinstance(person, Reader) and _has_read(registry, person.code):
        raise UsageError(
            "expected a reader without a read or an opened case, found one with some",
            hint="enter a new account for the other role",
        )
    return person


def _has_read(registry: Registry, code: str) -> bool:
    opened = any(one.opened_at or one.signature for one in registry.assignments.of_reader(code))
    return opened or any(visit.by(code) for subject in registry.state().subjects for visit in subject.visits)


def _with_role(text: str, protocol: Protocol, person: Account, role: Role, site: str) -> str:
    """The text of ``trial.toml`` in which nothing but the role and the site of the person is other."""
    lines = f'role = "{role.value}"\n' + (f'site = "{site}"\n' if site else "")
    is_code = re.compile(rf"""^[ \t]*code\s*=\s*["']{re.escape(person.code)}["'].*\n""", re.MULTILINE)
    text = text if text.endswith("\n") else f"{text}\n"
    wanted = _expected(protocol, person, role, site)
    for table in _TABLE.finditer(text):
        kept = re.sub(r"^[ \t]*(?:role|site)\s*=.*\n?", "", table[0], flags=re.MULTILINE)
        if (named := is_code.search(kept)) is None:
            continue
        changed = text[: table.start()] + kept[: named.end()] + lines + kept[named.end() :] + text[table.end() :]
        try:
            if parse_protocol(changed).model_dump() == wanted:
                return changed
        except SettingsError as error:
            raise UsageError(
                "expected a protocol that allows this role, found that it does not", hint="see trial.toml"
            ) from error
    raise UsageError(
        f"expected the account of {person.code} in a table of its own, found another form",
        hint="change the role in trial.toml",
    )


def _expected(protocol: Protocol, person: Account, role: Role, site: str) -> dict[str, object]:
    settings = protocol.model_dump()
    for one in (*settings["readers"], *settings["accounts"]):
        if one["code"] == person.code:
            one["role"] = role
            if "site" in one:
                one["site"] = site
    return settings


def role_words(person: Account) -> str:
    """Role and site of a person.

    Parameters
    ----------
    person : Account

    Returns
    -------
    str

    Examples
    --------
    >>> role_words(Account(code="DM", role=Role.DATA_MANAGER))
    'data manager'
    """
    return _words(person.role, getattr(person, "site", ""))


def _words(role: Role, site: str) -> str:
    return f"{role.value} {site}".strip()
