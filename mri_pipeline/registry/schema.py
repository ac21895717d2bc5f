"""Tables of the registry in its present layout. `mri_pipeline.registry.migrations` creates them.

A subject is stored as its blinded code and site. Trial number, name, scan date and treatment arm are never
stored. The day of a scan is stored moved by the subject's date shift.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, ForeignKeyConstraint, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mri_pipeline.core.records import ReadStanding, ScanStatus

SCHEMA_VERSION = 7
"""The present layout: the newest revision of the migrations."""

OLDER_LAYOUTS = (2, 3, 4, 5, 6)
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
        Keyed digest of the serial number, never the number itself.
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
        """SHA-256 of the upload's digest and the receipt: every ingest has another one. The upload's digest alone
        would identify the upload to its site, and is the same after another statement on its series.
        """
        return hashlib.sha256(f"{self.upload_digest or ''} {self.receipt or ''}".encode()).hexdigest()


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
        ``number``, ``name``, ``birth`` (of the patient) or ``study``.
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


class AuditRow(Base):
    """One entry of the audit trail.

    Attributes
    ----------
    seq, at, os_user, reader, action, target, details, previous, hash
        As in `mri_pipeline.registry.audit.AuditEntry`.
    """

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    os_user: Mapped[str] = mapped_column(String(64))
    reader: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(64))
    details: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


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
        UTC (ISO 8601); empty if it has not happened.
    answer, answered_by, close_reason, closed_by : str
        Without patient data; empty if it has not happened.
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


class SessionRow(Base):
    """A session of the web application.

    Attributes
    ----------
    token_hash : str
        SHA-256 of the token, which only the browser has.
    account : str
        Code of the reader.
    fingerprint : str
        Of the account at the login (`mri_pipeline.reading.accounts`). A new password ends the session.
    created_at, seen_at : str
        Login and latest request, UTC (ISO 8601).
    reauthenticated_at : str
        First signature of the session; empty before.
    """

    __tablename__ = "sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[str] = mapped_column(String(64))
    fingerprint: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[str] = mapped_column(String(32))
    seen_at: Mapped[str] = mapped_column(String(32))
    reauthenticated_at: Mapped[str] = mapped_column(String(32), default="")


class LoginAttemptRow(Base):
    """A password that was entered, at a login or a signature.

    Attributes
    ----------
    at : str
        UTC (ISO 8601).
    account : str
        The code that was entered, in upper case.
    address : str
        Network address of the browser.
    succeeded : bool
    """

    __tablename__ = "login_attempts"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - a number is never given twice
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str] = mapped_column(String(32))
    account: Mapped[str] = mapped_column(String(64), index=True)
    address: Mapped[str] = mapped_column(String(64), index=True)
    succeeded: Mapped[bool]


class AssignmentRow(Base):
    """A visit that a reader reads in the browser, once.

    Attributes
    ----------
    code : str
        Random. It reveals neither subject nor visit nor reader.
    reader, subject, visit : str
    purpose : str
        A value of `mri_pipeline.reading.record.Purpose`.
    round : int
        1 for the first read of the visit by this reader for this purpose.
    state : str
        A value of `mri_pipeline.registry.assignments.AssignmentState`.
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
        Hash of the operation before (`mri_pipeline.registry.assignments.edit_hash`).
    """

    __tablename__ = "edits"
    assignment: Mapped[str] = mapped_column(ForeignKey("assignments.code"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))
    body: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))


class JobRow(Base):
    """Work that a person has ordered in the web application. A process of its own does it.

    Attributes
    ----------
    code : str
        Random.
    kind : str
        A value of `mri_pipeline.registry.jobs.JobKind`.
    state : str
        A value of `mri_pipeline.registry.jobs.JobState`.
    site, visit : str
        Code of the site and visit label; empty if they are not known.
    subject : str
        Blinded code; empty until the upload was judged, because the upload itself identifies the patient.
    account : str
        Code of the person.
    entry : str
        Entry of the quarantine; empty for an upload.
    size_bytes : int
        Of an upload.
    created_at, started_at, ended_at : str
        UTC (ISO 8601); empty if it has not happened.
    attempts : int
        How often it was started.
    outcome : dict
        JSON without patient data; empty until the end.
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
