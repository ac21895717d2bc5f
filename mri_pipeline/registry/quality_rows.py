"""Tables of the quality of uploads: measures, and the gates of the scanners."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from mri_pipeline.registry.scans import digest_of
from mri_pipeline.registry.schema import LONGEST_NAME, Base


class ScannerState(StrEnum):
    """State of the gate of a scanner with a receive coil. A scanner without a row had no dummy run."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNDECIDED = "undecided"  # the dummy run is judged, and a person has to decide
    CLOSED = "closed"  # another software version is in use
    SUPERSEDED = "superseded"  # its coil is not stated, and a verdict names the coil of the scanner


WAS_ACCEPTED = (ScannerState.ACCEPTED.value, ScannerState.CLOSED.value)
"""States of a gate with an accepted dummy run, of now or of before an upgrade."""

JUDGED = "judged"
"""Detail of an audit entry on a gate: SHA-256 of the dummy run on which it is the verdict. It is no column."""


class MeasuresRow(Base):
    """Image quality of one upload that was measured, accepted or refused. Rows are never changed or deleted.

    Attributes
    ----------
    scanner : int or None
        Id of the `ScannerRow`; None if the headers state none.
    subject, visit : str
        Blinded code and visit label; empty for a dummy run.
    upload_digest : str
        SHA-256 of the upload.
    accepted : bool
        False if the upload was refused.
    at : str
        UTC (ISO 8601).
    values : dict
        By contrast and name of the measure; without measures that could not be made.
    """

    __tablename__ = "measures"
    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(ForeignKey("sites.code"))
    scanner: Mapped[int | None] = mapped_column(ForeignKey("scanners.id"))
    subject: Mapped[str] = mapped_column(String(16), index=True)
    visit: Mapped[str] = mapped_column(String(32))
    upload_digest: Mapped[str] = mapped_column(String(64))
    accepted: Mapped[bool]
    at: Mapped[str] = mapped_column(String(32))
    values: Mapped[dict[str, Any]]


class ScannerGateRow(Base):
    """The gate of a scanner with a receive coil.

    Attributes
    ----------
    scanner : int
        Id of the `ScannerRow`.
    coil : str
        Receive coil; empty if the headers do not state it.
    state : str
        A value of `ScannerState`.
    dummy_run_digest : str
        SHA-256 of the upload of the dummy run that set the state.
    waiting_digest : str
        SHA-256 of the upload of a later dummy run on which a person has to decide. The gate stands until then. Empty
        if there is none.
    at : str
        Time of the latest change of the state (UTC, ISO 8601).
    reason, by : str
        Of a decision of a person, or why it was closed; empty for a verdict by the limits.
    proposed, proposed_by, proposed_reason : str
        Decision of a first person (a value of `ScannerState`) that waits for the confirmation of a second one.
    rules : list of str
        Rules by which the limits refuse the latest dummy run.
    """

    __tablename__ = "scanner_gates"
    scanner: Mapped[int] = mapped_column(ForeignKey("scanners.id"), primary_key=True)
    coil: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    dummy_run_digest: Mapped[str] = mapped_column(String(64))
    waiting_digest: Mapped[str] = mapped_column(String(64), default="", server_default="")
    at: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str] = mapped_column(Text, default="")
    by: Mapped[str] = mapped_column(String(LONGEST_NAME), default="")
    proposed: Mapped[str] = mapped_column(String(16), default="")
    proposed_by: Mapped[str] = mapped_column(String(LONGEST_NAME), default="")
    proposed_reason: Mapped[str] = mapped_column(Text, default="", server_default="")
    rules: Mapped[list[str]] = mapped_column(default=list)


def measures_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit trail states of stored measures.

    Parameters
    ----------
    row : mapping of str to object
        Columns of a `MeasuresRow`.

    Returns
    -------
    dict of str to object
        Without its number; the values as a digest.
    """
    return {name: value for name, value in row.items() if name != "id"} | {"values": digest_of(row["values"])}
