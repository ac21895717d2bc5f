"""Blinded codes: keyed hashes of an identity, and the list of the codes in use."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mri_pipeline.blinding.secret import Secret, append_line, create_private, require_private
from mri_pipeline.core.errors import UsageError

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no code is a word. No I and O (read as 1 and 0), no E (2E34 is a number)."""

ALPHABET = LETTERS + "23456789"
CODE_LENGTH = 8
"""20 * 28**7, about 2.7e11 codes: the probability that two of 200 subjects share one is 7e-8."""

CODES_FILE = "codes.csv"
_HEADER = "code,check"
_ATTEMPTS = 100


def keyed_code(key: bytes, text: str) -> str:
    """The code of a text: `CODE_LENGTH` characters, the first of them a letter.

    Parameters
    ----------
    key : bytes
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> keyed_code(b"secret", "one") == keyed_code(b"secret", "one") != keyed_code(b"other", "one")
    True
    """
    number = int.from_bytes(hmac.new(key, text.encode(), hashlib.sha256).digest(), "big")
    number, first = divmod(number, len(LETTERS))
    code = LETTERS[first]
    for _ in range(CODE_LENGTH - 1):
        number, position = divmod(number, len(ALPHABET))
        code += ALPHABET[position]
    return code


class IssuedCodes:
    """``codes.csv``: every issued code with a keyed check value.

    The check value identifies a known subject and reveals neither site nor number. A known subject is recognised,
    and a collision is detected, without access to the key.

    Parameters
    ----------
    folder : Path
        The sealed folder.
    secret : Secret
    """

    def __init__(self, folder: Path, secret: Secret) -> None:
        self._path = folder / CODES_FILE
        self._secret = secret

    @staticmethod
    def create(folder: Path) -> None:
        """Write an empty list.

        Parameters
        ----------
        folder : Path
            The sealed folder.

        Raises
        ------
        FileExistsError
            If the folder has one.
        """
        create_private(folder / CODES_FILE, f"{_HEADER}\n".encode())

    def require_private(self) -> None:
        """Check that the list exists with mode 0600.

        Raises
        ------
        UsageError
            If it is missing or accessible to other accounts.
        """
        require_private(self._path)

    @contextmanager
    def locked(self) -> Iterator[dict[str, str]]:
        """Lock the list against other processes until the end of the block.

        Yields
        ------
        dict of str to str
            Check value of every issued code.
        """
        with self._path.open(encoding="ascii", newline="") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield {row["code"]: row["check"] for row in csv.DictReader(stream)}

    def find(self, identity: str, issued: dict[str, str]) -> str:
        """The code of an identity: the issued one, or else the first that is free.

        Parameters
        ----------
        identity : str
            Site and trial number.
        issued : dict
            From `locked`.

        Returns
        -------
        str

        Raises
        ------
        UsageError
            If no code is free.
        """
        check = self.check(identity)
        known = {value: code for code, value in issued.items()}
        return known[check] if check in known else self._free(identity, issued)

    def issue(self, code: str, identity: str) -> None:
        """Enter a code in the list. The caller holds the lock.

        Parameters
        ----------
        code : str
            From `find`.
        identity : str
            Site and trial number. Only its check value is written.
        """
        append_line(self._path, f"{code},{self.check(identity)}")

    def check(self, identity: str) -> str:
        """The check value of an identity.

        Parameters
        ----------
        identity : str
            Site and trial number.

        Returns
        -------
        str
            32 hexadecimal digits.
        """
        return hmac.new(self._secret.key("check"), identity.encode(), "sha256").hexdigest()[:32]

    def _free(self, identity: str, issued: dict[str, str]) -> str:
        key = self._secret.key("subject code")
        for attempt in range(_ATTEMPTS):
            code = keyed_code(key, f"{identity}|{attempt}" if attempt else identity)
            if code not in issued:
                return code
        raise UsageError(
            f"expected a free code for a new subject, found {_ATTEMPTS} candidates in use",
            hint="check sealed/codes.csv against its backup",
        )
