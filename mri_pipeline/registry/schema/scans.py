"""Tables of subjects and their scans."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from mri_pipeline.registry.schema.base import Base


def scan_key(upload_digest: str | None, receipt: str | None) -> str:
    """Key of a scan; it differs between ingests.

    The upload's digest alone would identify the upload to its site, and is the same after another statement on its
    series.

    Parameters
    ----------
    upload_digest, receipt : str or None
        As in `ScanRow`.

    Returns
    -------
    str
        SHA-256.
    """
    return hashlib.sha256(f"{upload_digest or ''} {receipt or ''}".encode()).hexdigest()


class SubjectRow(Base):
    """A subject: blinded code and site. The gate, scanner changes and the status command need the site.

    Attributes
    ----------
    code : str
        Blinded code.
    site : str
        Code of the `SiteRow`.
    """

    __tablename__ = "subjects"
    code: Mapped[str] = mapped_column(String(16), primary_key=True)
    site: Mapped[str] = mapped_column(ForeignKey("sites.code"))


class ScanRow(Base):
    """Current state of the scan of one visit. The audit trail has its history.

    Attributes
    ----------
    status : str
        A value of `ScanState`.
    upload_digest : str or None
        SHA-256 of the upload; None if the scan was withdrawn.
    scanner : int or None
        Id of the `ScannerRow`.
    profile : dict
        Acquisition profile (`Registry.record_scan`).
    receipt : str or None
        Random name of the ingest that wrote its files (`Registry.record_scan`).
    shifted_day, before_infusion
        As in `mri_pipeline.registry.records.ScanIdentity`; None if they are not known.
    findings : list of str
        Of the quality control of the scan, or the reason of its refusal.
    """

    __tablename__ = "scans"
    subject: Mapped[str] = mapped_column(ForeignKey("subjects.code"), primary_key=True)
    visit: Mapped[str] = mapped_column(String(32), primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    upload_digest: Mapped[str | None] = mapped_column(String(64))
    scanner: Mapped[int | None] = mapped_column(ForeignKey("scanners.id"))
    profile: Mapped[dict[str, Any]] = mapped_column(default=dict)  # acquisition, compared between visits
    findings: Mapped[list[str]]
    receipt: Mapped[str | None] = mapped_column(String(32))
    shifted_day: Mapped[int | None]
    before_infusion: Mapped[str | None] = mapped_column(String(8))

    @property
    def scan_key(self) -> str:
        """As `scan_key`."""
        return scan_key(self.upload_digest, self.receipt)


class ImageRow(Base):
    """One image of the current scan of a visit.

    Attributes
    ----------
    contrast : str
        A value of `mri_pipeline.core.visits.Contrast`.
    pixels_key : str
        Keyed digest of its voxels (`mri_pipeline.convert.pixels.pixels_key`).
    """

    __tablename__ = "images"
    __table_args__ = (ForeignKeyConstraint(["subject", "visit"], ["scans.subject", "scans.visit"]),)
    subject: Mapped[str] = mapped_column(String(16), primary_key=True)
    visit: Mapped[str] = mapped_column(String(32), primary_key=True)
    contrast: Mapped[str] = mapped_column(String(32), primary_key=True)
    pixels_key: Mapped[str] = mapped_column(String(64), index=True)


class KeyRow(Base):
    """One keyed digest of the patient's data or of a study of the current scan of a visit.

    Attributes
    ----------
    kind : str
        ``number``, ``name``, ``birth`` (of the patient: the digest of its data and that of its pseudonym) or ``study``.
    key : str
        As in `mri_pipeline.registry.records.ScanIdentity`.
    """

    __tablename__ = "keys"
    __table_args__ = (ForeignKeyConstraint(["subject", "visit"], ["scans.subject", "scans.visit"]),)
    subject: Mapped[str] = mapped_column(String(16), primary_key=True)
    visit: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)


class WithdrawnRow(Base):
    """A withdrawn scan with its reads, as they were.

    Attributes
    ----------
    at : str
        Time of the withdrawal (UTC, ISO 8601).
    reason : str
    replaced_by : str or None
        Receipt of the scan that replaced it: its files and reads are in the folder of that name (`Trial.withdrawn`).
    scan : dict
        Columns of its `ScanRow`, the keys of its images by contrast as ``images``, and its other keys as ``keys``.
    reads : list of dict
        Columns of its `ReadRow`.
    """

    __tablename__ = "withdrawn"
    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(ForeignKey("subjects.code"))
    visit: Mapped[str] = mapped_column(String(32))
    at: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str] = mapped_column(Text)
    replaced_by: Mapped[str | None] = mapped_column(String(32))
    scan: Mapped[dict[str, Any]]
    reads: Mapped[list[dict[str, Any]]]
