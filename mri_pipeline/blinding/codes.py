"""Codes made by a keyed hash: they say nothing, and the same input gives the same code."""

from __future__ import annotations

import hashlib
import hmac

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels (no words), no I and O (no mistaken 1 and 0), no E (no mistaken number such as 2E34)."""

ALPHABET = LETTERS + "23456789"
CODE_LENGTH = 8
"""20 * 28**7, about 2.7e11 codes: two of 200 subjects share one with a probability of 7e-8."""


def derived_key(secret: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose; one key tells nothing of another."""
    return hmac.new(secret, f"mri-pipeline/{purpose}".encode(), hashlib.sha256).digest()


def keyed_code(key: bytes, text: str) -> str:
    """A code of `CODE_LENGTH` characters that starts with a letter.

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


def is_code(text: str) -> bool:
    """Whether a text has the form of a code.

    Examples
    --------
    >>> is_code("BCDF2345"), is_code("S01-0012")
    (True, False)
    """
    return len(text) == CODE_LENGTH and text[0] in LETTERS and set(text) <= set(ALPHABET)
