"""Values of reading in the browser: an assignment, its state, and an operation of its log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from mri_pipeline.registry.schema import AssignmentRow


class AssignmentState(StrEnum):
    """State of an assignment."""

    OPEN = "open"
    SIGNED = "signed"
    WITHDRAWN = "withdrawn"  # the visit awaits no read by this reader any more


@dataclass(frozen=True)
class Assignment:
    """A visit that a reader reads in the browser, once. The fields are those of `AssignmentRow`.

    Parameters
    ----------
    code, reader, subject, visit, purpose : str
    round : int
    state : AssignmentState
    opened_at, digest : str
    canvas : mapping
    seconds : int
    signature : mapping
    lease_holder : str
    """

    code: str
    reader: str
    subject: str
    visit: str
    purpose: str
    round: int
    state: AssignmentState
    opened_at: str
    digest: str
    canvas: Mapping[str, Any]
    seconds: int
    signature: Mapping[str, Any]
    lease_holder: str

    @classmethod
    def of(cls, row: AssignmentRow) -> Self:
        """The row of the registry as a value.

        Parameters
        ----------
        row : AssignmentRow

        Returns
        -------
        Assignment
        """
        return cls(
            row.code, row.reader, row.subject, row.visit, row.purpose, row.round, AssignmentState(row.state),
            row.opened_at, row.digest, dict(row.canvas), row.seconds, dict(row.signature), row.lease_holder,
        )  # fmt: skip

    @property
    def key(self) -> tuple[str, str, str]:
        """Subject, visit and purpose."""
        return self.subject, self.visit, self.purpose


@dataclass(frozen=True)
class Edit:
    """One operation of the log.

    Parameters
    ----------
    number : int
        From 1.
    at : str
        UTC (ISO 8601).
    kind : str
        Name of the operation.
    body : str
        The operation as canonical JSON.
    previous : str
        Hash of the operation before; empty for the first.
    """

    number: int
    at: str
    kind: str
    body: str
    previous: str

    @property
    def hash(self) -> str:
        """SHA-256 of the operation with its place in the chain."""
        content = [self.previous, self.number, self.at, self.kind, self.body]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
