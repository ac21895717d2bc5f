"""The trial's sealed folder: the secret behind the codes, and the key from trial subject to code.

``sealed/`` (0700) holds three files (0600):

- ``pepper``: 32 random bytes. Codes, reading codes, shifted dates and new UIDs are keyed with it. Whoever loses it
  cannot take in another visit of a known subject: back it up with the key, apart from the trial.
- ``subjects.csv``: code, site, trial number. It only grows, and only `Sealed.release` reads it.
- ``codes.csv``: the codes given out, each with a keyed check value that tells neither site nor number. By it a
  known subject is recognised, and a collision is noticed, without reading the key.
"""

from __future__ import annotations

import csv
import fcntl
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from mri_pipeline.blinding.codes import derived_key, keyed_code
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial

PEPPER_BYTES = 32
_PEPPER, _KEY, _CODES = "pepper", "subjects.csv", "codes.csv"
_KEY_HEADER, _CODES_HEADER = "code,site,subject\n", "code,check\n"
_PART = re.compile(r"[A-Za-z0-9_-]{1,32}")
_ATTEMPTS = 100


class TrialSubject(NamedTuple):
    """A subject as the trial names it: never outside the sealed folder and a release."""

    site: str
    number: str


class Sealed:
    """The sealed folder of one trial.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sealed = Sealed.create(Trial(Path(folder)))
    ...     code = sealed.code_for("S01", "0012")
    ...     code == Sealed.open(Trial(Path(folder))).code_for("S01", "0012") != sealed.code_for("S02", "0012")
    True
    """

    def __init__(self, folder: Path, pepper: bytes) -> None:
        self._folder = folder
        self._pepper = pepper

    @classmethod
    def create(cls, trial: Trial) -> Self:
        """Lay out the sealed folder with a new secret.

        Raises
        ------
        UsageError
            If there is one already: a second secret would give every subject a second code.
        """
        folder = trial.sealed
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        try:
            _new_file(folder / _PEPPER, secrets.token_bytes(PEPPER_BYTES))
        except FileExistsError as error:
            raise UsageError("expected no sealed folder yet, found the one of this trial") from error
        _new_file(folder / _KEY, _KEY_HEADER.encode())
        _new_file(folder / _CODES, _CODES_HEADER.encode())
        return cls.open(trial)

    @classmethod
    def open(cls, trial: Trial) -> Self:
        """The sealed folder of a trial.

        Raises
        ------
        UsageError
            If a file is missing or damaged, or others than the owner may read one.
        """
        for name in (_PEPPER, _KEY, _CODES):
            path = trial.sealed / name
            if not path.is_file():
                raise UsageError(
                    f"expected the trial's sealed folder, found none with {name}",
                    hint="restore sealed/ from its backup; a new one would give known subjects new codes",
                )
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise UsageError(
                    f"sealed/{name}: expected mode 0600, found one that lets others in",
                    hint="chmod 700 sealed && chmod 600 sealed/*, and find out who may have read it",
                )
        pepper = (trial.sealed / _PEPPER).read_bytes()
        if len(pepper) != PEPPER_BYTES:
            raise UsageError(
                f"sealed/{_PEPPER}: expected {PEPPER_BYTES} bytes, found {len(pepper)}",
                hint="restore sealed/ from its backup",
            )
        return cls(trial.sealed, pepper)

    def secret(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, such as "date shift": the same for the whole life of the trial."""
        return derived_key(self._pepper, f"secret/{purpose}")

    def code_for(self, site: str, number: str) -> str:
        """The blinded code of a trial subject; a new subject is entered in the key.

        Upper and lower case do not tell subjects apart. Safe beside other processes.

        Raises
        ------
        UsageError
            If the site or number has other characters than letters, digits, "-" and "_", or more than 32.
        """
        identity, check = self._identity(site, number)
        with self._given_out() as given:
            code = self._known_or_free(identity, check, given)
            if code not in given:
                _append(self._folder / _KEY, f"{code},{site},{number}\n")
                _append(self._folder / _CODES, f"{code},{check}\n")
        return code

    def preview(self, site: str, number: str) -> str:
        """The code that `code_for` gives a trial subject, without entering it; errors as there.

        For an upload that is not accepted yet: a mistyped number whose upload is refused leaves nobody behind.
        """
        identity, check = self._identity(site, number)
        with self._given_out() as given:
            return self._known_or_free(identity, check, given)

    def _identity(self, site: str, number: str) -> tuple[str, str]:
        """What the code is made from, and its keyed check value."""
        if not (_PART.fullmatch(site) and _PART.fullmatch(number)):
            raise UsageError(
                "expected a site and a subject number of 1 to 32 letters, digits, '-' or '_', found others",
                hint="write the subject number as in the trial's randomisation list",
            )
        identity = f"{site}|{number}".upper()
        return identity, hmac.new(derived_key(self._pepper, "check"), identity.encode(), "sha256").hexdigest()[:32]

    def _known_or_free(self, identity: str, check: str, given: dict[str, str]) -> str:
        known = {value: code for code, value in given.items()}
        return known[check] if check in known else self._free_code(identity, given)

    def _free_code(self, identity: str, given: dict[str, str]) -> str:
        key = derived_key(self._pepper, "subject code")
        for attempt in range(_ATTEMPTS):
            code = keyed_code(key, identity if not attempt else f"{identity}|{attempt}")
            if code not in given:
                return code
        raise UsageError("expected a free code, found none")

    @contextmanager
    def _given_out(self) -> Iterator[dict[str, str]]:
        """The codes given out with their check values, locked against other processes."""
        with (self._folder / _CODES).open(encoding="ascii", newline="") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield {row["code"]: row["check"] for row in csv.DictReader(stream)}

    def release(self) -> dict[str, TrialSubject]:
        """The key: trial subject by code. For the release of tables alone; its caller audits it.

        Raises
        ------
        UsageError
            If the key is damaged: a code names two subjects.
        """
        key: dict[str, TrialSubject] = {}
        with (self._folder / _KEY).open(encoding="ascii", newline="") as stream:
            for row in csv.DictReader(stream):
                subject = TrialSubject(row["site"], row["subject"])
                if key.setdefault(row["code"], subject) != subject:
                    raise UsageError(
                        f"sealed/{_KEY}: expected one subject for each code, found two",
                        hint="restore sealed/ from its backup",
                    )
        return key


def _new_file(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_APPEND | os.O_WRONLY)
    try:
        os.write(descriptor, line.encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
