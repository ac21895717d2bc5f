"""Jobs: work that a person has ordered in the web application. A separate process does it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from mri_pipeline.core.errors import UsageError

MOST_ATTEMPTS: Final = 2
"""How often a job is started. A job that was interrupted more often fails."""
MOST_ATTEMPTS_LONG: Final = 10
"""The same of the other jobs. A run goes on from what was computed, displayed images from those that are there."""
WISHES: Final = "wishes"
"""Key of the wishes of a person in the outcome of a job."""


class JobKind(StrEnum):
    """What is done."""

    VISIT = "visit"
    DUMMY_RUN = "dummy run"
    RETRY = "retry"
    RELEASE = "release"
    AGREEMENT = "agreement"
    QUALITY = "quality"
    RUN = "run"
    TABLES = "tables"
    IMAGES = "displayed images"


LONG: Final = frozenset({JobKind.RUN, JobKind.TABLES})
"""Jobs that may take hours. Another process does them, so that no upload waits for them. Tables wait for a run."""
DISPLAY: Final = frozenset({JobKind.IMAGES})
"""Jobs of the system for the readers. A third process does them: they change nothing that a run or tables need."""
SHORT: Final = frozenset(JobKind) - LONG - DISPLAY
"""The other jobs."""


class JobState(StrEnum):
    """State of a job."""

    RECEIVING = "receiving"  # its upload is not whole
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    DISCARDED = "discarded"  # its upload was not completed

    @property
    def ended(self) -> bool:
        """True if nothing follows."""
        return self not in {JobState.RECEIVING, JobState.WAITING, JobState.RUNNING}


class QuotaError(UsageError):
    """A site has too many uploads that are not ended."""


@dataclass(frozen=True)
class Quota:
    """Limit of the uploads of a site that are not ended.

    Parameters
    ----------
    uploads : int
        Largest number.
    size_bytes : int
        Largest sum of their sizes.
    """

    uploads: int
    size_bytes: int


@dataclass(frozen=True)
class Job:
    """A job. The fields are those of `JobRow`.

    Parameters
    ----------
    code : str
    kind : JobKind
    state : JobState
    site, visit, subject, account, entry : str
        `account` is empty for a job of the system.
    size_bytes : int
    created_at, started_at, ended_at : str
    attempts : int
    outcome : mapping
    """

    code: str
    kind: JobKind
    state: JobState
    site: str
    visit: str
    subject: str
    account: str
    entry: str
    size_bytes: int
    created_at: str
    started_at: str
    ended_at: str
    attempts: int
    outcome: Mapping[str, Any]

    @property
    def is_unjudged(self) -> bool:
        """True for an upload whose check failed without a verdict. The upload is kept."""
        return self.state is JobState.FAILED and self.kind in {JobKind.VISIT, JobKind.DUMMY_RUN}

    @property
    def wishes(self) -> Mapping[str, bool]:
        """Options that the person chose for a job of the office."""
        found: Mapping[str, bool] = self.outcome.get(WISHES, {})
        return found


def new_code() -> str:
    """Code of a new job.

    Returns
    -------
    str
        Random.
    """
    return secrets.token_hex(12)
