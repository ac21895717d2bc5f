"""Accounts of the people of a trial: Argon2id hash of a password, or digest of a key file, in ``trial.toml``."""

from __future__ import annotations

import hashlib
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from mri_pipeline.core.accounts import Account
from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.reading_settings import Reader

MIN_PASSWORD = 12
"""Characters of a password."""
KEY_BYTES = 32
"""Random bytes of a key file."""


def password_hash(password: str) -> str:
    """Argon2id hash of a password with a random salt, by the defaults of argon2-cffi (RFC 9106).

    Parameters
    ----------
    password : str

    Returns
    -------
    str
        For ``password_hash`` in ``trial.toml``.

    Raises
    ------
    UsageError
        If the password has fewer than `MIN_PASSWORD` characters.
    """
    if len(password) < MIN_PASSWORD:
        raise UsageError(
            f"expected a password of at least {MIN_PASSWORD} characters, found fewer", hint="choose a longer one"
        )
    return PasswordHasher().hash(password)


def new_key() -> bytes:
    """Content of a new key file.

    Returns
    -------
    bytes
        Hexadecimal text of `KEY_BYTES` random bytes and a line end.
    """
    return secrets.token_hex(KEY_BYTES).encode() + b"\n"


def key_digest(key: bytes) -> str:
    """SHA-256 of the content of a key file.

    Parameters
    ----------
    key : bytes

    Returns
    -------
    str
        For ``key_sha256`` in ``trial.toml``.
    """
    return hashlib.sha256(key).hexdigest()


def require_password(person: Account, password: str) -> str:
    """Require the password of a person.

    Parameters
    ----------
    person : Account
    password : str

    Returns
    -------
    str
        Fingerprint of the account (SHA-256 of the hash in ``trial.toml``), for the signature.

    Raises
    ------
    UsageError
        If it is another one.
    SettingsError
        If the hash in ``trial.toml`` is damaged.
    """
    try:
        PasswordHasher().verify(person.login_hash, password)
    except VerifyMismatchError as error:
        raise UsageError(
            f"expected the password of {person.role.value} {person.code}, found a wrong password",
            hint="nothing was signed; try again",
        ) from error
    except (VerificationError, InvalidHashError) as error:
        raise SettingsError(
            f"{person.role.value} {person.code}: expected an Argon2id hash as password_hash, found a damaged one",
            hint="make a new one: mri-pipeline read TRIAL --account --reader R",
        ) from error
    return account_fingerprint(person)


def account_fingerprint(person: Account) -> str:
    """Fingerprint of an account with a password. A new password changes it.

    Parameters
    ----------
    person : Account

    Returns
    -------
    str
        SHA-256 of the hash in ``trial.toml``.
    """
    return hashlib.sha256(person.login_hash.encode()).hexdigest()


def require_key(reader: Reader, key: bytes) -> str:
    """Require the key file of a reader.

    Parameters
    ----------
    reader : Reader
    key : bytes
        Content of the file.

    Returns
    -------
    str
        Fingerprint of the account, for the signature.

    Raises
    ------
    UsageError
        If it is another one.
    """
    if not reader.key_sha256 or not secrets.compare_digest(key_digest(key), reader.key_sha256):
        raise UsageError(
            f"expected the key file of reader {reader.code}, found a wrong key",
            hint="nothing was signed; check --key-file",
        )
    return hashlib.sha256(reader.key_sha256.encode()).hexdigest()
