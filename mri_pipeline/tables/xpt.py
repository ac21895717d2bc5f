"""Tables as SAS transport files (XPORT version 5), the format of data submissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyreadstat

from mri_pipeline.core.errors import UsageError
from mri_pipeline.tables.columns import ColumnType
from mri_pipeline.tables.sdtm import Variable

MAX_TEXT = 200
"""Longest text of a variable in XPORT version 5, in bytes."""

_NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.DECIMAL})


def write_xpt(
    path: Path, name: str, label: str, variables: Sequence[Variable], rows: Sequence[Mapping[str, str]]
) -> Path:
    """Write a data set as an XPORT file of version 5 that only its owner can read.

    Parameters
    ----------
    path : Path
        New file in an existing folder.
    name : str
        Name of the data set, at most 8 characters.
    label : str
        At most 40 characters.
    variables : sequence of Variable
        In the order of the file.
    rows : sequence of mapping of str to str
        Cells as text; a missing value is empty. Other cells than those of `variables` are ignored.

    Returns
    -------
    Path
        `path`. A missing number is the missing value of SAS, a missing text is blank.

    Raises
    ------
    UsageError
        If a text is longer than `MAX_TEXT` or not ASCII.
    """
    frame = pd.DataFrame({v.column.name: _cells(v, [row[v.column.name] for row in rows]) for v in variables})
    path.touch(mode=0o600)
    pyreadstat.write_xport(
        frame,
        path,
        file_label=label,
        column_labels={variable.column.name: variable.label for variable in variables},
        table_name=name,
        file_format_version=5,
    )
    return path


def require_transportable(name: str, text: str) -> None:
    """Refuse a text that an XPORT file of version 5 cannot hold.

    Parameters
    ----------
    name : str
        Name of the variable.
    text : str

    Raises
    ------
    UsageError
        If it is longer than `MAX_TEXT` or not ASCII.
    """
    if len(text) > MAX_TEXT or not text.isascii():
        others = sum(not character.isascii() for character in text)
        raise UsageError(
            f"{name}: expected ASCII text of at most {MAX_TEXT} characters for a SAS transport file, found "
            f"{len(text)} characters, {others} of them not ASCII",
            hint="rename the trial, site or reader in trial.toml",
        )


def is_number(variable: Variable) -> bool:
    """True if SAS stores the variable as a number.

    Parameters
    ----------
    variable : Variable

    Returns
    -------
    bool
    """
    return variable.column.type in _NUMBERS


def _cells(variable: Variable, texts: Sequence[str]) -> pd.Series:
    if is_number(variable):
        return pd.Series([float(text) if text else float("nan") for text in texts], dtype="float64")
    for text in texts:
        require_transportable(variable.column.name, text)
    return pd.Series(list(texts), dtype="object")
