"""Create the tables of the registry, or bring an older layout to the present one, in the caller's transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection, *, layout: int | None) -> None:
    """Run the migrations from a layout to the present one.

    They are part of the caller's transaction. A fault, or the end of the process, leaves the earlier layout.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Of SQLite or PostgreSQL, in a transaction that may write.
    layout : int or None
        Layout of the database; None if it is empty.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    if layout is not None:  # versions 0.1.0 and 0.2.0 did not use alembic
        command.stamp(config, str(layout))
    command.upgrade(config, "head")
