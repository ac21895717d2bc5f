"""Tables of reads, assignments and the operations of readers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from mri_pipeline.core.records import ReadStanding
from mri_pipeline.registry.schema.base import Base


class ReadRow(Base):
    """Current state of one reader's read of one visit.

    Attributes
    ----------
    status : str
        A value of `ReadStatus`.
    accepted, rejected, voxels_added, voxels_erased, digest, version
        As in `mri_pipeline.registry.records.ReadCounts`.
    standing : str
        A value of `ReadStanding`.
    """

    __tablename__ = "reads"
    subject: Mapped[str] = mapped_column(ForeignKey("subjects.code"), primary_key=True)
    visit: Mapped[str] = mapped_column(String(32), primary_key=True)
    reader: Mapped[str] = mapped_column(String(64), primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    accepted: Mapped[int]
    rejected: Mapped[int]
    voxels_added: Mapped[int]
    voxels_erased: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(default=0)
    standing: Mapped[str] = mapped_column(String(16), default=ReadStanding.COUNTS.value)


class AssignmentRow(Base):
    """A visit that a reader reads in the browser, once.

    Attributes
    ----------
    code : str
        Random. It reveals neither subject nor visit nor reader.
    reader, subject, visit : str
    purpose : str
        A value of `mri_pipeline.reading.record.ReadPurpose`.
    round : int
        1 for the first read of the visit by this reader for this purpose.
    state : str
        A value of `mri_pipeline.registry.assignment_records.AssignmentState`.
    created_at, opened_at : str
        UTC (ISO 8601); the second is empty before the images were opened.
    digest : str
        Of the proposals that the reader edits; empty before the images were opened.
    canvas : dict
        ``origin`` and ``shape`` of the displayed voxels (`mri_pipeline.reading.canvas.Canvas`).
    lease_holder, lease_at : str
        Random name of the browser tab that may edit, and its latest sign of life (UTC, ISO 8601).
    seconds : int
        Time spent.
    signature : dict
        ``name``, ``utc``, ``meaning`` and ``version`` of the signed read; empty before.
    """

    __tablename__ = "assignments"
    __table_args__ = (UniqueConstraint("reader", "subject", "visit", "purpose", "round"),)
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    reader: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(ForeignKey("subjects.code"))
    visit: Mapped[str] = mapped_column(String(32))
    purpose: Mapped[str] = mapped_column(String(16))
    round: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[str] = mapped_column(String(32))
    opened_at: Mapped[str] = mapped_column(String(32), default="")
    digest: Mapped[str] = mapped_column(String(64), default="")
    canvas: Mapped[dict[str, Any]] = mapped_column(default=dict)
    lease_holder: Mapped[str] = mapped_column(String(64), default="")
    lease_at: Mapped[str] = mapped_column(String(32), default="")
    seconds: Mapped[int] = mapped_column(default=0)
    signature: Mapped[dict[str, Any]] = mapped_column(default=dict)


class EditRow(Base):
    """One operation of a reader on an assignment. Operations are never changed or deleted.

    Attributes
    ----------
    assignment : str
        Code of the `AssignmentRow`.
    number : int
        From 1, without gaps.
    at : str
        UTC (ISO 8601).
    kind : str
        Name of the operation.
    body : str
        The operation as canonical JSON.
    previous : str
        Hash of the operation before (`mri_pipeline.registry.assignment_records.Edit.hash`).
    """

    __tablename__ = "edits"
    assignment: Mapped[str] = mapped_column(ForeignKey("assignments.code"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))
    body: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
