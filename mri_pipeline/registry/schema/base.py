"""Base of the tables, the layout version and the states of sites and scans."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mri_pipeline.core.records import ScanStatus

SCHEMA_VERSION = 9
"""The present layout: the newest revision of the migrations."""

OLDER_LAYOUTS = (2, 3, 4, 5, 6, 7, 8)
"""Layouts that can be migrated. Layout 2 is that of versions 0.1.0 and 0.2.0."""

LONGEST_NAME = 64
"""Characters of a name of a person or role. SQLite would store more, PostgreSQL does not."""


class Gate(StrEnum):
    """Verdict on the dummy runs of a site; only accepted sites may send visits. Each scanner has a gate of its own."""

    NONE = "none"  # no dummy run yet
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNDECIDED = "undecided"  # a person has to decide


class ScanState(StrEnum):
    """State of the scan of a visit."""

    MISSING = "missing"
    REFUSED = "refused"
    RECEIVED = "received"
    ANALYSED = "analysed"
    FAILED = "failed"

    @property
    def for_tables(self) -> ScanStatus:
        """The state as tables show it. A received scan without analysis has no numbers, so it is failed.

        Examples
        --------
        >>> ScanState.RECEIVED.for_tables.value
        'failed'
        """
        return ScanStatus.FAILED if self is ScanState.RECEIVED else ScanStatus(self.value)


class Base(DeclarativeBase):
    """All tables of the registry."""

    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads this class attribute)
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[dict[str, Any]]: JSON,
    }


class RegistryRow(Base):
    """One row with the layout version of the database.

    Attributes
    ----------
    version : int
        Version of the layout.
    """

    __tablename__ = "registry"
    version: Mapped[int] = mapped_column(primary_key=True)
