"""The registry's database: SQLite in the trial folder, or PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, NoSuchModuleError
from sqlalchemy.orm import Session

from mri_pipeline import __version__
from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.quality_rows import ScannerGateRow
from mri_pipeline.registry.schema import OLDER_LAYOUTS, SCHEMA_VERSION, AuditRow, RegistryRow
from mri_pipeline.registry.trail import append, values_of

BUSY_TIMEOUT_S = 60
"""How long a process waits for another writer."""

_FIRST_WITH_GATES = 6
"""First layout with the gates of scanners. A migration enters those of accepted sites."""

_ADVISORY_LOCK = 0x6D7269  # any fixed number: it serialises writers, so that the audit chain never forks


def open_engine(url: str, sqlite_file: Path) -> Engine:
    """An engine for `url`, or for the SQLite file if `url` is empty. Only the owner has access to the SQLite file.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, or empty.
    sqlite_file : Path
        Created with its folder if it does not exist (mode 0600). A wider mode is corrected.

    Returns
    -------
    sqlalchemy.Engine

    Raises
    ------
    SettingsError
        If the URL is invalid or its driver is missing.
    """
    if not url:
        _private_file(sqlite_file)
        url = f"sqlite:///{sqlite_file}"
    try:
        engine = create_engine(
            make_url(url),
            connect_args={"timeout": BUSY_TIMEOUT_S} if "sqlite" in url else {},
            hide_parameters=True,  # no codes and no marks in the log of an error
            pool_pre_ping=True,
        )
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise SettingsError(
            f"database_url: expected a database that can be opened, found {type(error).__name__}",
            hint="leave it empty for SQLite, or install the driver of the URL (for example psycopg)",
        ) from None  # the text of the error may have a part of the password
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _private_file(path: Path) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    elif path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
        path.chmod(0o600)


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_on_sqlite_begin` starts transactions, not the driver
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")  # an audit entry survives a power cut
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    # a writer takes its lock at once: a read transaction cannot always be upgraded to a write transaction
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """One transaction that may write, atomic, with one writer at a time.

    Parameters
    ----------
    engine : sqlalchemy.Engine

    Yields
    ------
    sqlalchemy.orm.Session
        Committed at the end of the block; rolled back if the block raises.
    """
    with Session(engine, expire_on_commit=False) as session, session.begin():
        if engine.dialect.name == "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADVISORY_LOCK})
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """One read-only transaction on one state of the database. It never waits for a writer.

    Parameters
    ----------
    engine : sqlalchemy.Engine

    Yields
    ------
    sqlalchemy.orm.Session
    """
    options: dict[str, Any] = {"reading": True}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    with Session(engine.execution_options(**options), expire_on_commit=False) as session, session.begin():
        yield session


def no_registry() -> UsageError:
    """The error for a trial without its registry.

    Returns
    -------
    UsageError
        The exception. The caller raises it.
    """
    return UsageError(
        "expected the registry of this trial, which has data, found none",
        hint="restore registry.sqlite (or the database of database_url) from its backup",
    )


def require_unused(url: str) -> None:
    """Require an empty database for a new registry.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of a database server.

    Raises
    ------
    SettingsError
        If the URL is invalid, has a password or is not of PostgreSQL, its driver is missing, or the server cannot be
        reached.
    UsageError
        If the database has tables.
    """
    engine = open_engine(url, Path())
    if engine.dialect.name != "postgresql" or engine.url.password is not None or "password" in engine.url.query:
        found = f"one of {engine.dialect.name}" if engine.dialect.name != "postgresql" else "one with a password"
        raise SettingsError(
            f"database_url: expected a URL of PostgreSQL without a password, found {found}",
            hint="give the password in PGPASSWORD or ~/.pgpass, or leave the URL out for SQLite",
        )
    try:
        with reading(engine) as session:
            tables = inspect(session.connection()).get_table_names()
    except DatabaseError as error:
        raise SettingsError(
            f"database_url: expected a database that can be opened, found {type(error.orig).__name__}",
            hint="check server, database, user and password of the URL",
        ) from error
    finally:
        engine.dispose()
    if tables:
        raise _in_use(len(tables))


def _in_use(tables: int) -> UsageError:
    return UsageError(
        f"database_url: expected an empty database for the registry, found {tables} tables",
        hint="create an empty database for each trial",
    )


def prepare(engine: Engine, *, may_create: bool = True, must_create: bool = False) -> None:
    """Create the tables in an empty database (if `may_create`), and migrate a registry of an older layout.

    A migration is one transaction. It has an audit entry.

    Parameters
    ----------
    engine : sqlalchemy.Engine
    may_create : bool
        False if the trial already has data: an empty database is then refused.
    must_create : bool
        True for a new trial: a database with tables is then refused.

    Raises
    ------
    UsageError
        If the database is not a registry, has a newer layout, is empty although `may_create` is False, or is not
        although `must_create` is True.
    """
    try:
        with writing(engine) as session:
            names = set(inspect(session.connection()).get_table_names())
            if not names and not may_create:
                raise no_registry()
            if names and must_create:
                raise _in_use(len(names))
            version = session.scalar(select(RegistryRow.version)) if "registry" in names else None
            if version == SCHEMA_VERSION:
                return
            if names and version not in OLDER_LAYOUTS:
                raise _another_layout(version)
            from mri_pipeline.registry.migrate import upgrade  # noqa: PLC0415 - alembic takes 0.2 s to import

            upgrade(session.connection(), layout=version)
            if version is not None:
                details = {"from": version, "to": SCHEMA_VERSION, "software": __version__}
                gates = [values_of(row) for row in session.scalars(select(ScannerGateRow))]
                details |= {"scanner_gates": gates} if version < _FIRST_WITH_GATES and gates else {}
                append(session, AuditAction.REGISTRY_MIGRATED, "", details)
    except IntegrityError:
        raise
    except DatabaseError as error:
        raise UsageError(
            f"expected the trial's registry, found a database that cannot be used ({type(error).__name__})",
            hint="check database_url in trial.toml, or restore registry.sqlite from its backup",
        ) from error


@dataclass(frozen=True)
class DatabaseFacts:
    """The database of a registry.

    Parameters
    ----------
    system : str
        Name and version, such as ``sqlite 3.46.1``.
    layout : int or None
        Layout of the registry; None if there is no registry.
    """

    system: str
    layout: int | None


def database_facts(engine: Engine) -> DatabaseFacts:
    """System and layout of a database.

    Parameters
    ----------
    engine : sqlalchemy.Engine

    Returns
    -------
    DatabaseFacts
    """
    with reading(engine) as session:
        layout = session.scalar(select(RegistryRow.version))
        version = ".".join(map(str, engine.dialect.server_version_info or ()))
    return DatabaseFacts(f"{engine.dialect.name} {version}".strip(), layout)


def undoes_failed_transaction(engine: Engine) -> bool:
    """True if the database undoes a failed transaction: an audit entry that it contained is gone.

    Parameters
    ----------
    engine : sqlalchemy.Engine

    Returns
    -------
    bool
    """
    with writing(engine) as session:
        append(session, AuditAction.TRANSACTION_TRIED, "", {})
        session.rollback()
    with reading(engine) as session:
        kept = session.scalar(select(AuditRow.seq).where(AuditRow.action == AuditAction.TRANSACTION_TRIED.value))
    return kept is None


def _another_layout(version: int | None) -> UsageError:
    found = "a database without a registry" if version is None else f"layout {version}"
    return UsageError(
        f"expected a registry of layout {min(OLDER_LAYOUTS)} to {SCHEMA_VERSION}, found {found}",
        hint="use the version of mri-pipeline that created it, or a newer one",
    )
