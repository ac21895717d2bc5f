"""Settings of processes: child processes end with their parent, short ones collect garbage rarely."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int | None = None) -> None:
    """Let the system kill this process when its parent ends (Linux; elsewhere without effect).

    Parameters
    ----------
    parent : int, optional
        Process that started this one. If it has ended already, this process ends at once.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def collect_rarely() -> None:
    """Search for garbage in cycles a hundred times less often. Objects without cycles are freed at once, as always.

    For short processes that read many headers: their objects are in no cycles, and the search takes a tenth of the
    time.
    """
    gc.set_threshold(100_000, 20, 20)
