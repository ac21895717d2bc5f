"""Outcome of the analysis of one subject and of a batch. This module does not load Nipype."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Outcome(BaseModel):
    """Outcome of one subject's analysis, written by its process and read by the batch.

    A subject may be done although some of its visits failed. `qc_flags` are the QC flags of the other visits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str
    done: bool
    reason: str = ""
    failed_visits: dict[str, str] = {}
    qc_flags: list[str] = []
    cpu_seconds: float = 0.0
    peak_memory_gib: float = 0.0


@dataclass(frozen=True)
class BatchOutcome:
    """Outcome of a batch, in the order of the jobs."""

    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Subjects that failed completely or with some visits."""
        return tuple(o for o in self.outcomes if not o.done or o.failed_visits)


def outcome_file(subject_work: Path) -> Path:
    """Path of a subject's outcome file."""
    return subject_work / "outcome.json"
