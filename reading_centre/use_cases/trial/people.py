"""The people of a trial and their accounts, as ``trial.toml`` has them now."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from mri_pipeline.core.accounts import Account
from mri_pipeline.core.errors import ReadingCentreError, SettingsError, UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol, parse_protocol
from mri_pipeline.core.reading_settings import Reader
from mri_pipeline.reading.accounts import account_fingerprint, key_digest, new_key, password_hash
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditAction, utc_now

_LOG = logging.getLogger(__name__)
_WAIT_S = 10.0


class People:
    """The people of a running trial. Changed accounts and sites take effect at once; other settings need a restart.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
        Its accounts hold until ``trial.toml`` is read.
    registry : Registry
    """

    def __init__(self, trial: Trial, protocol: Protocol, registry: Registry) -> None:
        self._file, self._registry = trial.protocol_file, registry
        self._latest = 0, protocol

    @property
    def protocol(self) -> Protocol:
        """The present ``trial.toml``. While it is missing or invalid, the latest valid one stays."""
        try:
            changed = self._file.stat().st_mtime_ns
            if self._latest[0] != changed:
                self._latest = changed, load_protocol(self._file)
        except (ReadingCentreError, OSError) as error:
            _LOG.error("the accounts stay as they were: %s", error)
        return self._latest[1]

    @property
    def readers(self) -> tuple[Reader, ...]:
        """Readers and adjudicators."""
        return self.protocol.readers

    def account(self, code: str) -> Account | None:
        """The person with a code in upper or lower case.

        Parameters
        ----------
        code : str

        Returns
        -------
        Account or None
            None if there is none, or one without a password that holds. One with a one-time password can but change it.
        """
        found = person_of(self.protocol, code)
        if found is None or not found.can_sign_in(datetime.now(UTC)):
            return None
        if found.one_time_password_hash and is_replaced(self._registry, found):  # an earlier trial.toml came back
            return None
        return found


def person_of(protocol: Protocol, code: str) -> Account | None:
    """The person with a code in upper or lower case.

    Parameters
    ----------
    protocol : Protocol
    code : str

    Returns
    -------
    Account or None
    """
    everybody: tuple[Account, ...] = (*protocol.readers, *protocol.accounts)
    return next((person for person in everybody if person.code.upper() == code.upper()), None)


def is_replaced(registry: Registry, person: Account) -> bool:
    """True if the person has replaced the password that ``trial.toml`` has now.

    Parameters
    ----------
    registry : Registry
    person : Account

    Returns
    -------
    bool
    """
    return registry.sessions.is_replaced(person.code, account_fingerprint(person))


def set_password(trial: Trial, registry: Registry, person: Account, password: str) -> None:
    """Replace the password of a person in ``trial.toml``. All sessions of the person end.

    The account holder chooses the new password. An interrupted change is completed by `finish_passwords`.

    Parameters
    ----------
    trial : Trial
    registry : Registry
    person : Account
        As ``trial.toml`` has the person now.
    password : str

    Raises
    ------
    UsageError
        If the password is too short, or ``trial.toml`` cannot be used or was changed meanwhile. The message has nothing
        of the file.
    """
    new, file = password_hash(password), trial.protocol_file.resolve()
    changed = person.model_copy(update={"password_hash": new, "one_time_password_hash": ""})
    replaced, present = account_fingerprint(person), account_fingerprint(changed)
    known = re.escape(person.password_hash or person.one_time_password_hash)
    line = re.compile(rf"""\b(?:one_time_)?password_hash(\s*=\s*)(["']){known}\2""")
    try:
        with exclusive(trial.staging / "accounts.lock", wait_s=_WAIT_S):
            text = _with_password(file.read_bytes().decode(), line, person.code, new)
            details = {"replaced": replaced, "account": present}
            registry.audit(AuditAction.PASSWORD_CHANGE_BEGUN, reader=person.code, details=details)
            write_atomic(file, text, mode=file.stat().st_mode & 0o777)
            registry.sessions.password_changed(person.code, replaced=replaced, present=present)
    except (OSError, UnicodeDecodeError, LockedError, SettingsError) as error:
        _LOG.error("the password of %s cannot be stored in trial.toml: %s", person.code, error)
        raise UsageError(
            "expected that the server can store the new password, found that it cannot",
            hint="tell the reading centre",
        ) from error


def finish_passwords(people: People, registry: Registry) -> None:
    """Record in the registry the changes of passwords that reached ``trial.toml`` before the server was killed.

    Parameters
    ----------
    people : People
    registry : Registry
    """
    entered = {entry.details.get("account") for entry in registry.audit_entries(AuditAction.PASSWORD_CHANGED)}
    for entry in registry.audit_entries(AuditAction.PASSWORD_CHANGE_BEGUN):
        replaced, present = entry.details["replaced"], entry.details["account"]
        person = people.account(entry.reader)
        if present not in entered and person is not None and account_fingerprint(person) == present:
            registry.sessions.password_changed(entry.reader, replaced=replaced, present=present)


def _with_password(text: str, line: re.Pattern[str], person: str, new: str) -> str:
    """The text of ``trial.toml`` with another password. Several people may have been given one password."""
    for found in line.finditer(text):
        changed = f'{text[: found.start()]}password_hash{found[1]}"{new}"{text[found.end() :]}'
        if _listed(parse_protocol(changed), person).password_hash == new:
            return changed
    raise UsageError(f"the account of {person} in trial.toml was changed meanwhile", hint="sign in again")


def remove_app(folder: Path, *, person: str) -> None:
    """Remove the authenticator app of a person who has lost the device. The audit trail has it.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    person : str
        Code of a table under ``[[readers]]`` or ``[[accounts]]``.

    Raises
    ------
    SettingsError
        If ``trial.toml`` does not list the person.
    UsageError
        If the person has no app.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    listed = _listed(protocol, person)
    with Registry.open(trial, protocol) as registry:
        if not registry.second_factors.remove(listed.code, by=""):
            raise UsageError(
                f"expected an authenticator app of {listed.code}, found none", hint="check the code of the person"
            )


def account_line(
    folder: Path, *, person: str, key_file: Path | None, password: Callable[[str], str], one_time: bool = False
) -> str:
    """The line of ``trial.toml`` with a new account of a person.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    person : str
        Code of a table under ``[[readers]]`` or ``[[accounts]]``.
    key_file : Path or None
        New key file of a reader to write (mode 0600). None: the account has a password.
    password : callable
        Asks for the new password.
    one_time : bool, optional
        True: another person sets the password. The person of the account has to change it at the first login, within
        `ONE_TIME_LIMIT`.

    Returns
    -------
    str
        For the table of the person.

    Raises
    ------
    SettingsError
        If ``trial.toml`` does not list the person.
    UsageError
        If the key file exists or is not for a reader, or the password is too short.
    """
    protocol = load_protocol(Trial.existing(folder).protocol_file)
    listed = _listed(protocol, person)
    if key_file is None:
        new = password_hash(password(f"New account of {listed.code}."))
        return f'one_time_password_hash = "{utc_now()} {new}"' if one_time else f'password_hash = "{new}"'
    if one_time:
        raise UsageError(
            "expected --one-time or --key-file, found both", hint="a key file is not changed at a login"
        )
    if not isinstance(listed, Reader):
        raise UsageError(
            f"expected a reader with --key-file, found the role {listed.role}", hint="leave --key-file out"
        )
    if key_file.exists():
        raise UsageError(
            f"expected a new key file, found the existing file {key_file.name}", hint="name another file"
        )
    content = new_key()
    write_atomic(key_file, content, mode=0o600)
    return f'key_sha256 = "{key_digest(content)}"'


def _listed(protocol: Protocol, person: str) -> Account:
    everybody: tuple[Account, ...] = (*protocol.readers, *protocol.accounts)
    for listed in everybody:
        if listed.code.upper() == person.upper():
            return listed
    known = ", ".join(listed.code for listed in everybody)
    raise SettingsError(
        f"expected a person of trial.toml ({known or 'none named yet'}), found {person!r}",
        hint='add [[readers]] with code = "R1", or [[accounts]] with code and role, to trial.toml first',
    )
