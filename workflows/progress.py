"""Progress of a run over subjects. This module does not load Nipype."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_TAIL_BYTES: Final = 8192
_STEP = re.compile(r"workflows\.engine: [\w.]*?(\w+): start$", re.MULTILINE)
_SHOWN: Final = 4
"""Subjects whose step is shown; the others are counted."""


@dataclass
class RunState:
    """Subjects of a run that are done, failed, running and waiting.

    Parameters
    ----------
    total : int
        Number of subjects.
    done, failed : int
    running : dict of str to Path
        Log of each running (or queued) subject.
    started : float
        Time of the start (`time.monotonic`).
    """

    total: int
    done: int = 0
    failed: int = 0
    running: dict[str, Path] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def ended(self) -> int:
        """Number of subjects that are done or have failed."""
        return self.done + self.failed

    def remaining_s(self, now: float) -> float | None:
        """Estimated time to the end: that of the subjects so far, for each subject that is left.

        Parameters
        ----------
        now : float
            `time.monotonic`.

        Returns
        -------
        float or None
            In seconds. None before the first subject has ended.

        Examples
        --------
        >>> RunState(10, done=3, failed=1, started=0.0).remaining_s(40.0)
        60.0
        """
        return (now - self.started) / self.ended * (self.total - self.ended) if self.ended else None

    def steps(self) -> str:
        """The running subjects and their steps, in words.

        Returns
        -------
        str
            Empty if none is running.
        """
        some = [f"{subject} {current_step(log)}".strip() for subject, log in list(self.running.items())[:_SHOWN]]
        more = len(self.running) - len(some)
        return "; ".join(some) + (f" and {more} more" if more else "")

    def line(self, now: float) -> str:
        """The state in one line.

        Parameters
        ----------
        now : float
            `time.monotonic`.

        Returns
        -------
        str
        """
        parts = [f"{self.done} of {self.total} subjects done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        remaining = self.remaining_s(now)
        if remaining is not None and self.ended < self.total:
            parts.append(f"about {in_words(remaining)} left")
        if self.running:
            parts.append(f"running: {self.steps()}")
        return ", ".join(parts)


BatchProgress = Callable[[RunState], None]
"""Called several times a second with the state of the run."""


def in_words(seconds: float) -> str:
    """A duration in words.

    Parameters
    ----------
    seconds : float

    Returns
    -------
    str

    Examples
    --------
    >>> in_words(20), in_words(130), in_words(8000)
    ('1 min', '2 min', '2 h 13 min')
    """
    minutes = max(1, round(seconds / 60))
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


def current_step(log: Path) -> str:
    """The step of an analysis by the log of its subject.

    Parameters
    ----------
    log : Path

    Returns
    -------
    str
        Name of the node that started last; empty if there is none at the end of the log.
    """
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    steps = _STEP.findall(text.rpartition("analysis of sub-")[2])
    return steps[-1].replace("_", " ") if steps else ""
