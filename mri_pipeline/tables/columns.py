"""Definition of columns and tables: name, type, unit, rule, missing values.

The data dictionary is made from these definitions, and the writers check every row against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Final

Cell = str | int | Decimal | bool | None
"""A value of a row. None is a missing value and is written as an empty field."""

Row = dict[str, Cell]
"""One row, by column name."""

VOLUME_ML_DECIMALS = 4
VOLUME_MM3_DECIMALS = 2
POSITION_MM_DECIMALS = 2


class ColumnType(StrEnum):
    """The type of a column. A decimal has a fixed number of places; a number has as many as it needs."""

    TEXT = "text"
    CATEGORY = "category"
    INTEGER = "integer"
    DECIMAL = "decimal"
    NUMBER = "number"
    BOOLEAN = "boolean"

    @property
    def python(self) -> type[str | int | Decimal | bool]:
        """The type of a cell."""
        return _PYTHON[self]


_PYTHON: Final[Mapping[ColumnType, type[str | int | Decimal | bool]]] = {
    ColumnType.TEXT: str,
    ColumnType.CATEGORY: str,
    ColumnType.INTEGER: int,
    ColumnType.DECIMAL: Decimal,
    ColumnType.NUMBER: Decimal,
    ColumnType.BOOLEAN: bool,
}


@dataclass(frozen=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
    type : ColumnType
    rule : str
        Definition of the value.
    missing : str
        When the value is empty. "never" for a required value.
    unit : str
        Unit of a number. Empty for a count.
    decimals : int
        Decimal places.
    values : tuple of str
        Allowed values of a category.
    """

    name: str
    type: ColumnType
    rule: str
    missing: str = "never"
    unit: str = ""
    decimals: int = 0
    values: tuple[str, ...] = ()

    @cached_property
    def required(self) -> bool:
        """True if the value must not be empty."""
        return self.missing == "never"

    @cached_property
    def types(self) -> frozenset[object]:
        """Types of a valid value."""
        return frozenset([self.type.python] if self.required else [self.type.python, type(None)])

    @cached_property
    def unrestricted(self) -> frozenset[object]:
        """Types of which every value is valid."""
        restricted = self.values or self.type is ColumnType.DECIMAL
        return self.types - {self.type.python} if restricted else self.types

    @cached_property
    def allowed(self) -> frozenset[object]:
        """Allowed values of a category."""
        return frozenset(self.values)


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    file : str
        File name.
    about : str
        Description for the data dictionary.
    columns : tuple of Column
        In the order of the file.
    """

    file: str
    about: str
    columns: tuple[Column, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The column names in their order."""
        return tuple(column.name for column in self.columns)


def count(name: str, rule: str, missing: str) -> Column:
    """A column of whole numbers.

    Parameters
    ----------
    name, rule, missing : str
        As in `Column`.

    Returns
    -------
    Column
    """
    return Column(name, ColumnType.INTEGER, rule, missing)


def volume_ml(name: str, rule: str, missing: str) -> Column:
    """A column of volumes (or their changes) in mL, with `VOLUME_ML_DECIMALS` decimals.

    Parameters
    ----------
    name, rule, missing : str
        As in `Column`.

    Returns
    -------
    Column
    """
    return Column(name, ColumnType.DECIMAL, rule, missing, unit="mL", decimals=VOLUME_ML_DECIMALS)
