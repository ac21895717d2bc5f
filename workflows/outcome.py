"""Outcome of the analysis of one subject and of a batch. This module does not load Nipype."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mri_pipeline.core.records import VisitQuality
from qc.registration import all_qc_flags


class Outcome(BaseModel):
    """Outcome of one subject's analysis, written by its process and read by the batch.

    A subject may be done although some of its visits failed.

    Attributes
    ----------
    subject : str
        Blinded code or BIDS label.
    done : bool
    reason : str
        Why the subject is not done; empty if it is.
    failed_visits : dict of str to str
        Reason by visit.
    qc_flags : list of str
        QC flags of the other visits.
    cpu_seconds : float
        Processor time in seconds, child processes included.
    peak_memory_gib : float
        Resident memory of the largest process in GiB.
    untouched : bool
        True if the analysis did not take place: another process works on the subject, or its scans were replaced.
        Nothing is recorded then.
    unchanged : bool
        True if no analysis was needed: the results are those of the present scans, software and settings.
    log : str
        Path of the log of this subject.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str
    done: bool
    reason: str = ""
    failed_visits: dict[str, str] = {}
    qc_flags: list[str] = []
    cpu_seconds: float = 0.0
    peak_memory_gib: float = 0.0
    untouched: bool = False
    unchanged: bool = False
    log: str = ""


def outcome_of(subject: str, quality: Iterable[VisitQuality]) -> Outcome:
    """Outcome of a subject with results.

    Parameters
    ----------
    subject : str
    quality : iterable of VisitQuality
        Quality of the scans of every visit.

    Returns
    -------
    Outcome
    """
    visits = list(quality)
    return Outcome(
        subject=subject,
        done=True,
        failed_visits={visit.visit: visit.failure for visit in visits if visit.failure},
        qc_flags=[message for visit in visits if not visit.failure for message in all_qc_flags([visit])],
    )


@dataclass(frozen=True)
class BatchOutcome:
    """Outcome of a batch.

    Parameters
    ----------
    outcomes : tuple of Outcome
        In the order of the jobs.
    log : str
        Path of the log of the run; empty if there is none.
    reports_current : bool
        True if all reports and their index are known to be current.
    """

    outcomes: tuple[Outcome, ...]
    log: str = ""
    reports_current: bool = False

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Subjects that failed completely or with some visits."""
        return tuple(o for o in self.outcomes if not o.done or o.failed_visits)


def outcome_file(subject_work: Path) -> Path:
    """Path of a subject's outcome file.

    Parameters
    ----------
    subject_work : Path
        `SubjectJob.subject_work`.

    Returns
    -------
    Path
    """
    return subject_work / "outcome.json"
