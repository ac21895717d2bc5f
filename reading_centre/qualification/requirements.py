"""The requirements, and which tests of this version verify them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated

from pydantic import Field, model_validator

from mri_pipeline.core.settings import Settings, parse_settings

TESTS_FILE = "tests.json"
"""Tests by requirement, written by docs/traceability.py from the marks of the tests."""

_PACKAGE = "reading_centre.qualification"
_SENTENCE = Field(pattern=r"^[^\n]+[.]$")


class Requirement(Settings):
    """One requirement.

    Attributes
    ----------
    id : str
        Group and number, such as ``READ-03``.
    text : str
        One sentence.
    source : str
        Document that asks for it.
    """

    id: Annotated[str, Field(pattern=r"^[A-Z]+-[0-9]{2}$")]
    text: Annotated[str, _SENTENCE]
    source: Annotated[str, Field(min_length=1)]


class _File(Settings):
    requirements: tuple[Requirement, ...]

    @model_validator(mode="after")
    def _each_once(self) -> _File:
        ids = [one.id for one in self.requirements]
        if twice := sorted({one for one in ids if ids.count(one) > 1}):
            raise ValueError(f"each id once, found {', '.join(twice)} again")
        return self


def load_requirements() -> tuple[Requirement, ...]:
    """All requirements, in the order of the report.

    Returns
    -------
    tuple of Requirement

    Examples
    --------
    >>> load_requirements()[0].id
    'IQ-01'
    """
    text = (files(_PACKAGE) / "requirements.toml").read_text(encoding="utf-8")
    return parse_settings(_File, text, source="requirements.toml", hint="").requirements


def load_tests() -> Mapping[str, Sequence[str]]:
    """Tests of this version by the requirement that they verify.

    Returns
    -------
    mapping of str to sequence of str
        ``file::test`` below ``tests/``.
    """
    found: dict[str, list[str]] = json.loads((files(_PACKAGE) / TESTS_FILE).read_text(encoding="utf-8"))
    return found
