"""Tables of the work that was ordered in the web application."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from mri_pipeline.registry.schema.base import Base


class JobRow(Base):
    """Work that a person has ordered in the web application. A separate process does it.

    Attributes
    ----------
    code : str
        Random.
    kind : str
        A value of `mri_pipeline.registry.job_records.JobKind`.
    state : str
        A value of `mri_pipeline.registry.job_records.JobState`.
    site, visit : str
        Code of the site and visit label; empty if they are not known.
    subject : str
        Blinded code; empty until the upload was judged, because the upload itself identifies the patient.
    account : str
        Code of the person; empty for a job of the system.
    entry : str
        Entry of the quarantine; empty for an upload.
    size_bytes : int
        Of an upload.
    created_at, started_at, ended_at : str
        UTC (ISO 8601); empty until then.
    attempts : int
        How often it was started.
    outcome : dict
        JSON without patient data: what the person wishes of a job of the office, and, from the end, the outcome.
    """

    __tablename__ = "jobs"
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), index=True)
    site: Mapped[str] = mapped_column(String(16), index=True)
    visit: Mapped[str] = mapped_column(String(32), default="")
    subject: Mapped[str] = mapped_column(String(16), default="")
    account: Mapped[str] = mapped_column(String(64))
    entry: Mapped[str] = mapped_column(String(64), default="")
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[str] = mapped_column(String(32), index=True)
    started_at: Mapped[str] = mapped_column(String(32), default="")
    ended_at: Mapped[str] = mapped_column(String(32), default="")
    attempts: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[dict[str, Any]] = mapped_column(default=dict)
