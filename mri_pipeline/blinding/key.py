"""The sealed folder of a trial, and the key from blinded code to site and trial number.

``sealed/`` (mode 0700) holds four files (mode 0600):

- ``pepper``: 32 random bytes. Subject codes, reading codes, date shifts and new UIDs are derived from it. Without it
  another visit of a known subject cannot be accepted. Back it up together with the key, apart from the trial.
- ``pepper.check``: a keyed check value of the pepper, compared whenever the folder is opened.
- ``subjects.csv``, the key: code, site, trial number. Rows are only added, and only `Sealed.release` reads it.
- ``codes.csv``: the issued codes (`mri_pipeline.blinding.codes.IssuedCodes`).
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from mri_pipeline.blinding.codes import IssuedCodes
from mri_pipeline.blinding.secret import Secret, append_line, create_private, require_private
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial

KEY_FILE = "subjects.csv"
_HEADER = "code,site,subject"
_PART = re.compile(r"[A-Za-z0-9_-]{1,32}")
_NO_PART = re.compile(r"[^A-Za-z0-9_-]")


class TrialSubject(NamedTuple):
    """A subject under its trial number. It exists only in the sealed folder and in a release.

    Parameters
    ----------
    site : str
        Code of the site.
    number : str
        Trial number.
    """

    site: str
    number: str


class Sealed:
    """The sealed folder of one trial.

    Parameters
    ----------
    folder : Path
        The sealed folder.
    secret : Secret

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sealed = Sealed.create(Trial(Path(folder)))
    ...     code = sealed.code_for("S01", "0012")
    ...     code == Sealed.open(Trial(Path(folder))).code_for("S01", "0012") != sealed.code_for("S02", "0012")
    True
    """

    def __init__(self, folder: Path, secret: Secret) -> None:
        self._key = folder / KEY_FILE
        self._secret = secret
        self._codes = IssuedCodes(folder, secret)

    @classmethod
    def create(cls, trial: Trial) -> Self:
        """Create the sealed folder with a new secret.

        Parameters
        ----------
        trial : Trial

        Returns
        -------
        Sealed

        Raises
        ------
        UsageError
            If the trial has one: a second secret would give every subject a second code.
        """
        folder = trial.sealed
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        try:
            secret = Secret.create(folder)
        except FileExistsError as error:
            raise UsageError(
                "expected no secret in sealed/, found the one of this trial", hint="use the trial as it is"
            ) from error
        secret.remember(folder)
        create_private(folder / KEY_FILE, f"{_HEADER}\n".encode())
        IssuedCodes.create(folder)
        return cls(folder, secret)

    @classmethod
    def open(cls, trial: Trial) -> Self:
        """Open the sealed folder of a trial.

        Parameters
        ----------
        trial : Trial

        Returns
        -------
        Sealed

        Raises
        ------
        UsageError
            If a file is missing or damaged, is accessible to other accounts, or holds the secret of another trial.
        """
        secret = Secret.read(trial.sealed)
        sealed = cls(trial.sealed, secret)
        require_private(sealed._key)
        sealed._codes.require_private()
        if not secret.is_tested(trial.sealed):  # a trial of an earlier version: the key tests the secret, once
            sealed.release()
            with suppress(FileExistsError):  # another process was faster
                secret.remember(trial.sealed)
        return sealed

    def copy_to(self, folder: Path) -> None:
        """Copy one state of the sealed folder, and check the copy.

        Parameters
        ----------
        folder : Path
            Existing empty folder.

        Raises
        ------
        UsageError
            If a row of the key does not belong to its code.
        OSError
            If a file cannot be copied.
        """
        with self._codes.locked():
            shutil.copytree(self._key.parent, folder, dirs_exist_ok=True)
        type(self)(folder, Secret.read(folder)).release()

    def secret(self, purpose: str) -> bytes:
        """A key for a purpose. It is the same for the whole life of the trial.

        Parameters
        ----------
        purpose : str
            For example "date shift".

        Returns
        -------
        bytes
            32 bytes.
        """
        return self._secret.key(f"secret/{purpose}")

    def browser_key(self, site: str) -> bytes:
        """The key of the pseudonyms that the browser of a site sends in place of names.

        Parameters
        ----------
        site : str
            Code of the site, as in ``trial.toml``.

        Returns
        -------
        bytes
            32 bytes.
        """
        return hmac.new(self.secret("browser"), site.encode(), hashlib.sha256).digest()

    def code_for(self, site: str, number: str) -> str:
        """The blinded code of a trial subject. A new subject is entered in the key.

        Codes ignore upper and lower case of site and number. Several processes may call this at the same time.

        Parameters
        ----------
        site, number : str
            Site code and trial number: 1 to 32 letters, digits, "-" or "_".

        Returns
        -------
        str
            See `mri_pipeline.blinding.codes.keyed_code`.

        Raises
        ------
        UsageError
            If the site or number has another form.
        """
        identity = _identity(site, number)
        with self._codes.locked() as issued:
            code = self._codes.find(identity, issued)
            if code not in issued:
                append_line(self._key, f"{code},{site},{number}")
                self._codes.issue(code, identity)
        return code

    def preview(self, site: str, number: str) -> str:
        """The code that `code_for` would return; the subject is not entered.

        This is for an upload that is not accepted yet. If an upload with a mistyped number is refused, no subject of
        that number remains.

        Parameters
        ----------
        site, number : str
            As in `code_for`.

        Returns
        -------
        str

        Raises
        ------
        UsageError
            As `code_for`.
        """
        identity = _identity(site, number)
        with self._codes.locked() as issued:
            return self._codes.find(identity, issued)

    def release(self) -> dict[str, TrialSubject]:
        """Read the key and compare every row with the check value of its code.

        Only the release of tables calls this, and once `open` for a trial without ``pepper.check``.

        Returns
        -------
        dict of str to TrialSubject
            By blinded code, for every issued code.

        Raises
        ------
        UsageError
            If the key is damaged: one code for two subjects, or a code without its own subject.
        """
        key: dict[str, TrialSubject] = {}
        with self._key.open(encoding="ascii", errors="replace", newline="") as stream:
            for row in csv.DictReader(stream):
                subject = TrialSubject(row.get("site") or "", row.get("subject") or "")
                if key.setdefault(row.get("code") or "", subject) != subject:
                    raise UsageError(
                        f"sealed/{KEY_FILE}: expected one subject for each code, found two for one code",
                        hint="restore sealed/ from its backup",
                    )
        with self._codes.locked() as issued:
            checks = dict(issued)
        wrong = [code for code, check in checks.items() if code not in key or self._check(key[code]) != check]
        if wrong:
            raise UsageError(
                f"sealed/{KEY_FILE}: expected every issued code beside its own subject, found "
                f"{len(wrong)} of {len(checks)} without",
                hint="restore sealed/ (key, codes and secret) from its backup and report the deviation",
            )
        return {code: key[code] for code in checks}  # without a row whose entry was interrupted

    def _check(self, subject: TrialSubject) -> str:
        """Check value of a row of the key; empty if the row has another form."""
        try:
            return self._codes.check(_identity(subject.site, subject.number))
        except UsageError:
            return ""


def _identity(site: str, number: str) -> str:
    """The text from which a subject's code is derived."""
    if not (_PART.fullmatch(site) and _PART.fullmatch(number)):
        raise UsageError(
            "expected a site and a subject number of 1 to 32 letters, digits, '-' or '_', found "
            f"{len(site)} and {len(number)} characters, of which {len(_NO_PART.findall(site + number))} not allowed",
            hint="write the subject number as in the trial's randomisation list",
        )
    return f"{site}|{number}".upper()
