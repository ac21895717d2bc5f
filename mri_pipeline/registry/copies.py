"""Copies of a registry, from SQLite or PostgreSQL to an empty database of either kind."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, delete, func, insert, inspect, select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.migrate import upgrade
from mri_pipeline.registry.schema import Base, RegistryRow

_ROWS_AT_ONCE: Final = 1000


def copy_registry(source: Engine, target: Engine) -> None:
    """Copy all rows of one state of a registry in one transaction. Other processes may write to the source meanwhile.

    Parameters
    ----------
    source : sqlalchemy.Engine
        A registry of the present layout.
    target : sqlalchemy.Engine
        An empty database. It holds the copy afterwards; after an error it is still empty.

    Raises
    ------
    UsageError
        If the target has tables, or a database cannot be used.
    """
    try:
        _copy(source, target)
    except DatabaseError as error:
        raise UsageError(
            f"expected two databases that can be used, found the database error {type(error.orig).__name__}",
            hint="check the free space, and that the server of database_url runs",
        ) from error


def _copy(source: Engine, target: Engine) -> None:
    with reading(source) as rows, writing(target) as copy:
        if tables := inspect(copy.connection()).get_table_names():
            raise UsageError(
                f"database_url: expected an empty database for the registry, found {len(tables)} tables",
                hint="create an empty database; 'restore --database-url URL' names another one than trial.toml",
            )
        upgrade(copy.connection(), layout=None)
        copy.execute(delete(RegistryRow))  # that of the new registry; the copied one replaces it
        for table in Base.metadata.sorted_tables:
            for part in rows.execute(select(table)).mappings().partitions(_ROWS_AT_ONCE):
                copy.execute(insert(table), [dict(row) for row in part])
        if target.dialect.name == "postgresql":
            _continue_numbers(copy)


def _continue_numbers(copy: Session) -> None:
    """Set the sequences of PostgreSQL: the next row gets the number after the highest copied one."""
    for table in Base.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        name = copy.scalar(
            text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table.name, "column": column.name}
        )
        if name and (highest := copy.scalar(select(func.max(column)))):
            copy.execute(text("SELECT setval(:name, :highest)"), {"name": name, "highest": highest})
