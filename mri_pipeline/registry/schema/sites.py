"""Tables of sites: gate, scanners, queries and releases of refused uploads."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from mri_pipeline.registry.schema.base import LONGEST_NAME, Base, Gate


class SiteRow(Base):
    """A site and its gate.

    Attributes
    ----------
    gate : str
        Verdict on its latest dummy run (`Gate`).
    dummy_run_digest, gate_at : str or None
        SHA-256 of the upload of that run, and time of the verdict (UTC, ISO 8601).
    """

    __tablename__ = "sites"
    code: Mapped[str] = mapped_column(String(16), primary_key=True)
    gate: Mapped[str] = mapped_column(String(16), default=Gate.NONE.value)
    dummy_run_digest: Mapped[str | None] = mapped_column(String(64))
    gate_at: Mapped[str | None] = mapped_column(String(32))


class ScannerRow(Base):
    """A scanner of a site, from the headers of its images.

    Attributes
    ----------
    field_strength_t : float
        In tesla; 0 if it is not known.
    serial_digest : str
        As in `mri_pipeline.registry.records.ScannerFacts`.
    identified : bool
        False if the headers state neither serial number nor station name: several machines may be one row.
    """

    __tablename__ = "scanners"
    __table_args__ = (
        UniqueConstraint("site", "manufacturer", "model", "software", "field_strength_t", "serial_digest"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(ForeignKey("sites.code"))
    manufacturer: Mapped[str] = mapped_column(String(200))
    model: Mapped[str] = mapped_column(String(200))
    software: Mapped[str] = mapped_column(String(200))
    field_strength_t: Mapped[float]
    serial_digest: Mapped[str] = mapped_column(String(64))
    identified: Mapped[bool] = mapped_column(default=True, server_default=false())


class QueryRow(Base):
    """A question to a site about a scan or a dummy run.

    Attributes
    ----------
    id : int
        Number of the query, from 1.
    site, subject, visit : str
        Code of the site, blinded code and visit label; subject and visit are empty for a dummy run.
    state : str
        A value of `mri_pipeline.registry.site_queries.QueryState`.
    rule, contrast, message, measured, limit_value, unit, to_do
        As in `mri_pipeline.registry.site_queries.Question`.
    entered_at, answered_at, closed_at : str
        UTC (ISO 8601); empty until then.
    answer, answered_by, close_reason, closed_by : str
        Without patient data; empty until then.
    """

    __tablename__ = "queries"
    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(ForeignKey("sites.code"))
    subject: Mapped[str] = mapped_column(String(16), default="")
    visit: Mapped[str] = mapped_column(String(32), default="")
    state: Mapped[str] = mapped_column(String(16))
    rule: Mapped[str] = mapped_column(String(32), default="")
    contrast: Mapped[str] = mapped_column(String(32), default="")
    message: Mapped[str] = mapped_column(Text)
    measured: Mapped[float | None]
    limit_value: Mapped[float | None]
    unit: Mapped[str] = mapped_column(String(16), default="")
    to_do: Mapped[str] = mapped_column(Text, default="")
    entered_at: Mapped[str] = mapped_column(String(32))
    answer: Mapped[str] = mapped_column(Text, default="")
    answered_by: Mapped[str] = mapped_column(String(LONGEST_NAME), default="")
    answered_at: Mapped[str] = mapped_column(String(32), default="")
    close_reason: Mapped[str] = mapped_column(Text, default="")
    closed_by: Mapped[str] = mapped_column(String(LONGEST_NAME), default="")
    closed_at: Mapped[str] = mapped_column(String(32), default="")


class ReleaseRow(Base):
    """Decision of the reading centre to accept a refused upload.

    Attributes
    ----------
    upload_digest : str
        SHA-256 of the upload.
    site : str
        Code of the site.
    reason, by, at : str
        Why, who and when (UTC, ISO 8601).
    protocol : bool
        True if limits of the protocol are overruled.
    cleared : list of str
        Header elements by series, such as ``4/SoftwareVersions``, whose values are no identities.
    """

    __tablename__ = "releases"
    id: Mapped[int] = mapped_column(primary_key=True)
    upload_digest: Mapped[str] = mapped_column(String(64), index=True)
    site: Mapped[str] = mapped_column(ForeignKey("sites.code"))
    reason: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(LONGEST_NAME))
    at: Mapped[str] = mapped_column(String(32))
    protocol: Mapped[bool]
    cleared: Mapped[list[str]]
