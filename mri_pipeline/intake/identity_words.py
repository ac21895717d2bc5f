"""Words for the search for identities, which the browser of a site uses as well."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class IdentityWords:
    """Words of ``identity_words.toml``, in upper case.

    Parameters
    ----------
    placeholders : frozenset of str
        Values of a patient's number, name or birth date, without spaces, that identify nobody.
    common : frozenset of str
        Words of DICOM and of the output of this project. A patient named Fast is not identified by them.
    device : frozenset of str
        Names of MR scanners and their software, and words of version texts.
    generic : frozenset of str
        Words of hospitals and of MR protocols.
    months : tuple of tuple of str
        Beginnings of the names of each month in European languages.
    letters : mapping of str to str
        Letters that are written with another one, or with two.
    """

    placeholders: frozenset[str]
    common: frozenset[str]
    device: frozenset[str]
    generic: frozenset[str]
    months: tuple[tuple[str, ...], ...]
    letters: Mapping[str, str]

    @cached_property
    def known(self) -> frozenset[str]:
        """The words that contain no identity, although one may be a part of them."""
        return self.common | self.device | self.generic


@cache
def word_table() -> Mapping[str, Any]:
    """The content of ``identity_words.toml``, for the browser.

    Returns
    -------
    mapping of str
        JSON.
    """
    return tomllib.loads((files("mri_pipeline") / "data" / "identity_words.toml").read_text(encoding="utf-8"))


@cache
def identity_words() -> IdentityWords:
    """The words for the search for identities.

    Returns
    -------
    IdentityWords
    """
    table = word_table()
    lists = {name: frozenset(table[name]) for name in ("placeholders", "common", "device", "generic")}
    return IdentityWords(**lists, months=tuple(map(tuple, table["months"])), letters=table["letters"])
