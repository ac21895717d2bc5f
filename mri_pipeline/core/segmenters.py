"""Programs that replace the built-in T2 segmentation (docs/segmenters.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, SerializationInfo, field_serializer, field_validator, model_validator

from mri_pipeline.core.errors import SettingsError
from mri_pipeline.core.settings import DIGEST, Settings, parse_settings
from mri_pipeline.core.visits import Contrast

BUILTIN = "builtin"
"""The name of this project's own T2 segmentation in a settings file."""

PLACEHOLDERS: Mapping[str, Contrast] = {
    "flair": Contrast.FLAIR,
    "t1": Contrast.T1W,
    "t1_gd": Contrast.T1W_GD,
    "t2": Contrast.T2W,
    "pd": Contrast.PDW,
}
"""Placeholders of the images of a visit in a command. ``brain``, ``mask`` and ``folder`` are placeholders, too."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,39}$"


class Segmenter(Settings):
    """A program that finds T2 lesions in place of the built-in segmentation (docs/segmenters.md).

    Its name and version are part of every result, so that a table never mixes results of two programs.

    Attributes
    ----------
    name, version : str
        Up to 40 letters, digits and ``._+-``.
    command : tuple of str
        Program and arguments, run without a shell. Placeholders are in braces (`PLACEHOLDERS`).
    output : str
        File that the command writes, relative to its folder: the placeholder ``{mask}``.
    threshold : float
        A voxel is lesion from this probability on.
    timeout_minutes : float
        The command is stopped after this time.
    """

    name: Annotated[str, Field(pattern=_NAME)]
    version: Annotated[str, Field(pattern=_NAME)]
    command: Annotated[tuple[str, ...], Field(min_length=1)]  # a program and its arguments; no shell
    output: Annotated[str, Field(pattern=r"^\w[\w./-]*\.nii(\.gz)?$")] = "mask.nii.gz"  # in its folder: {mask}
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5  # from this probability on a voxel is lesion
    timeout_minutes: Annotated[float, Field(gt=0)] = 180.0

    @field_validator("name")
    @classmethod
    def _not_builtin(cls, name: str) -> str:
        if name in {BUILTIN, "mri-pipeline"}:
            raise ValueError(f"another program cannot be called {name}")
        return name

    @model_validator(mode="after")
    def _command_is_whole(self) -> Segmenter:
        known = {*PLACEHOLDERS, "brain", "mask", "folder"}
        named = {name for argument in self.command for name in _PLACEHOLDER.findall(argument)}
        if named - known:
            raise ValueError(f"command: {{{min(named - known)}}} is none of {', '.join(sorted(known))}")
        if "flair" not in named or not named & {"mask", "folder"}:
            raise ValueError("command must name {flair}, and {mask} or {folder}")
        if ".." in self.output.split("/"):
            raise ValueError("output must lie in the command's folder")
        return self

    @field_serializer("timeout_minutes")
    def _no_rule(self, value: float, info: SerializationInfo) -> float | None:
        return None if info.context == DIGEST else value  # the waiting time changes no number

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Contrasts that the command requires."""
        return tuple(c for name, c in PLACEHOLDERS.items() if any(f"{{{name}}}" in a for a in self.command))

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """The command with its placeholders filled in.

        Parameters
        ----------
        values : mapping of str to str
            Value of each placeholder of the command.

        Returns
        -------
        list of str

        Examples
        --------
        >>> segmenter = Segmenter(name="x", version="1", command=("x", "--in={flair}", "{mask}"))
        >>> segmenter.arguments({"flair": "f.nii.gz", "mask": "m.nii.gz"})
        ['x', '--in=f.nii.gz', 'm.nii.gz']
        """
        return [_PLACEHOLDER.sub(lambda match: values[match.group(1)], argument) for argument in self.command]


def load_segmenter(path: Path) -> Segmenter:
    """Read a segmenter's settings from a separate file: the content of ``[lesions.segmenter]`` in a trial.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Segmenter

    Raises
    ------
    SettingsError
        If the file cannot be read or contains a fault. The message lists all faults.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("expected a file with a segmenter's settings, found none that can be read") from error
    return parse_settings(Segmenter, text, source=path.name, hint="see docs/segmenters.md")
