"""Keyed digests of a patient's number, name and birth date, and of pseudonyms in their place."""

from __future__ import annotations

from typing import Final

_PSEUDONYM: Final = "p"
"""First character of the digest of a pseudonym. Hexadecimal digests do not begin with it."""


def person_key(digest: str, *, pseudonym: bool) -> str:
    """A digest that shows whether it is of the patient's data or of a pseudonym.

    Parameters
    ----------
    digest : str
        Hexadecimal.
    pseudonym : bool

    Returns
    -------
    str
        Of the same length.

    Examples
    --------
    >>> person_key("0123", pseudonym=False), person_key("0123", pseudonym=True)
    ('0123', 'p012')
    """
    return f"{_PSEUDONYM}{digest[:-1]}" if pseudonym else digest


def comparable(one: str, other: str) -> bool:
    """True if two keys are known and both of the patient's data, or both of pseudonyms.

    Parameters
    ----------
    one, other : str
        Empty if not known.

    Returns
    -------
    bool

    Examples
    --------
    >>> comparable("0123", "4567"), comparable("0123", "p012"), comparable("", "")
    (True, False, False)
    """
    return bool(one and other) and one.startswith(_PSEUDONYM) == other.startswith(_PSEUDONYM)
