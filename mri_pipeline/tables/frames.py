"""The tables as pandas data frames, validated with pandera, for their statistical analysis (extra ``stats``).

The schemas come from the same column definitions (`mri_pipeline.tables.schema`) as the data dictionary.
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from mri_pipeline.core.errors import UsageError
from mri_pipeline.tables.columns import Column, ColumnType, Table

_DTYPES = {
    ColumnType.TEXT: "string",
    ColumnType.CATEGORY: "string",
    ColumnType.INTEGER: "Int64",  # a nullable type, as "boolean"
    ColumnType.DECIMAL: "Float64",
    ColumnType.NUMBER: "Float64",
    ColumnType.BOOLEAN: "boolean",
}
_SITE = Column("site", ColumnType.TEXT, "code of the site of the subject")


def frame_schema(table: Table, *, released: bool = False) -> pa.DataFrameSchema:
    """The pandera schema of a table: columns in their order, types, categories, required values.

    Parameters
    ----------
    table : Table
        For example `mri_pipeline.tables.schema.TIMEPOINTS`.
    released : bool
        True for a released table, which has a column ``site`` and the trial number as `subject`.

    Returns
    -------
    pandera.DataFrameSchema
        Strict: no further column, and the order matters.

    Examples
    --------
    >>> from mri_pipeline.tables.schema import TIMEPOINTS
    >>> frame_schema(TIMEPOINTS).columns["gel_count"].nullable
    True
    """
    columns = (_SITE, *table.columns) if released else table.columns
    return pa.DataFrameSchema(
        {column.name: _pandera(column) for column in columns}, name=table.file, strict=True, ordered=True
    )


def _pandera(column: Column) -> pa.Column:
    checks = [pa.Check.isin(column.values)] if column.values else []
    return pa.Column(
        _DTYPES[column.type], checks, nullable=not column.required, title=column.name, description=column.rule
    )


def read_frame(path: Path, table: Table, *, released: bool = False) -> pd.DataFrame:
    """Read a table and validate it against its schema. Missing values are `pandas.NA`.

    Parameters
    ----------
    path : Path
        The file; its name does not matter.
    table : Table
    released : bool
        See `frame_schema`.

    Returns
    -------
    pandas.DataFrame
        Nullable types: string, Int64, Float64, boolean. Volumes are in the unit of their column (mL or mm3).

    Raises
    ------
    UsageError
        If the file is not such a table. The message names columns, failed checks and the first line of each, no values.
    """
    schema = frame_schema(table, released=released)
    types = {name: column.dtype.type for name, column in schema.columns.items()}
    try:
        frame = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
        return schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise UsageError(
            f"{path.name}: expected the table {table.file}, found failed checks: {_faults(error.failure_cases)}",
            hint="data_dictionary.json in the folder of the table describes each column",
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path.name}: expected the table {table.file}, found {type(error).__name__} while reading it",
            hint="give a file that 'mri-pipeline tables' wrote",
        ) from None


def _faults(cases: pd.DataFrame) -> str:
    """Each column that fails, with its check and the first line. For checks of the set of columns, it is the case."""
    about_columns = cases["check"].str.startswith("column_")
    columns = cases["failure_case"].where(about_columns, cases["column"])
    lines: dict[str, float] = {}
    for column, check, index in zip(columns, cases["check"], cases["index"], strict=True):
        line = math.inf if pd.isna(index) else int(index) + 2  # after the header, from 1
        name = f"{column}: {check}"
        lines[name] = min(line, lines.get(name, math.inf))
    return "; ".join(name + (f" (line {line})" if line < math.inf else "") for name, line in sorted(lines.items()))
