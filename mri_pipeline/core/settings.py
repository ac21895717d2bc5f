"""Base class of the settings that a TOML file holds, and their validation."""

from __future__ import annotations

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mri_pipeline.core.errors import SettingsError

DIGEST = "digest"
"""Serialisation context of `provenance.settings_digest`."""


class Settings(BaseModel):
    """Frozen settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Parsed = TypeVar("_Parsed", bound=BaseModel)


def parse_settings(kind: type[_Parsed], text: str, *, source: str, hint: str) -> _Parsed:
    """Validate the text of a TOML file.

    Parameters
    ----------
    kind : type
        Class of the settings.
    text : str
        TOML.
    source : str
        Name of the file in messages.
    hint : str
        Hint of a message.

    Returns
    -------
    kind

    Raises
    ------
    SettingsError
        With every fault found, one line.
    """
    try:
        return kind.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{source}: expected TOML, found {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or kind.__name__.lower()}: {fault['msg']}"
            for fault in error.errors()
        )
        raise SettingsError(f"{source}: {faults}", hint=hint) from error
