"""The trial's secret: one random pepper, and a derived key for each purpose."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import sync_folder

PEPPER_FILE = "pepper"
CHECK_FILE = "pepper.check"
PEPPER_BYTES = 32


def derived_key(secret: bytes, purpose: str) -> bytes:
    """A key for one purpose (HMAC-SHA-256). A key does not reveal the secret or another key.

    Parameters
    ----------
    secret : bytes
    purpose : str

    Returns
    -------
    bytes
        32 bytes.
    """
    return hmac.new(secret, f"mri-pipeline/{purpose}".encode(), hashlib.sha256).digest()


@dataclass(frozen=True)
class Secret:
    """The pepper of one trial. It never appears in a representation or message.

    Parameters
    ----------
    pepper : bytes
        `PEPPER_BYTES` random bytes.
    """

    pepper: bytes = field(repr=False)

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Write a new pepper to ``folder/pepper``.

        Parameters
        ----------
        folder : Path
            The sealed folder.

        Returns
        -------
        Secret

        Raises
        ------
        FileExistsError
            If the folder has one.
        """
        pepper = secrets.token_bytes(PEPPER_BYTES)
        create_private(folder / PEPPER_FILE, pepper)
        return cls(pepper)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the pepper of a sealed folder.

        Parameters
        ----------
        folder : Path
            The sealed folder.

        Returns
        -------
        Secret

        Raises
        ------
        UsageError
            If it is missing, damaged, or accessible to other accounts.
        """
        require_private(folder / PEPPER_FILE)
        pepper = (folder / PEPPER_FILE).read_bytes()
        if len(pepper) != PEPPER_BYTES:
            raise UsageError(
                f"sealed/{PEPPER_FILE}: expected {PEPPER_BYTES} bytes, found {len(pepper)}",
                hint="restore sealed/ from its backup",
            )
        return cls(pepper)

    def remember(self, folder: Path) -> None:
        """Write the check value of the pepper to ``folder/pepper.check``. It does not reveal the pepper.

        Parameters
        ----------
        folder : Path
            The sealed folder.

        Raises
        ------
        FileExistsError
            If the folder has one.
        """
        create_private(folder / CHECK_FILE, self._check_value)

    def is_tested(self, folder: Path) -> bool:
        """Compare the pepper with its check value.

        Parameters
        ----------
        folder : Path
            The sealed folder.

        Returns
        -------
        bool
            False if the folder has no check value (a trial of version 0.2.0 or earlier).

        Raises
        ------
        UsageError
            If the pepper is another one, or the check value is accessible to other accounts.
        """
        path = folder / CHECK_FILE
        if not path.is_file():
            return False
        require_private(path)
        if not hmac.compare_digest(path.read_bytes(), self._check_value):
            raise changed_secret()
        return True

    @property
    def _check_value(self) -> bytes:
        return self.key("check of the pepper").hex().encode() + b"\n"

    def key(self, purpose: str) -> bytes:
        """The derived key for a purpose. It is the same for the whole life of the trial.

        Parameters
        ----------
        purpose : str

        Returns
        -------
        bytes
            32 bytes.
        """
        return derived_key(self.pepper, purpose)


def changed_secret() -> UsageError:
    """The error for a secret that is not the one of the trial.

    Returns
    -------
    UsageError
        The exception. The caller raises it.
    """
    return UsageError(
        f"sealed/{PEPPER_FILE}: expected the secret of this trial, found one that does not match its check value",
        hint="restore sealed/ from its backup; with another secret known subjects would get new codes",
    )


def create_private(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600 and flush it to disk.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    content : bytes

    Raises
    ------
    FileExistsError
        If the file exists.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append one line of text to an existing file in a single write, and flush it to disk.

    Parameters
    ----------
    path : Path
    line : str
        ASCII, without line feed.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    UnicodeEncodeError
        If the line is not ASCII.
    """
    descriptor = os.open(path, os.O_APPEND | os.O_WRONLY)
    try:
        os.write(descriptor, f"{line}\n".encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_private(path: Path) -> None:
    """Check that a file of the sealed folder exists and that only its owner has access.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UsageError
        If it is missing, or its mode gives access to other accounts.
    """
    if not path.is_file():
        raise UsageError(
            f"expected sealed/{path.name} of this trial, found no such file",
            hint="restore sealed/ from its backup; a new one would give known subjects new codes",
        )
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UsageError(
            f"sealed/{path.name}: expected mode 0600, found {mode:04o}, which gives other accounts access",
            hint="chmod 700 sealed && chmod 600 sealed/*, and find out who may have read it",
        )
