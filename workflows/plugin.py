"""Plugins and progress of a run. This module does not load Nipype."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

Progress = Callable[[str, str], None]
"""Called with a node's full name and its new status: ``start``, ``end`` or ``exception``."""


class Plugin(StrEnum):
    """Nipype plugins that are supported and tested."""

    LINEAR = "Linear"
    MULTIPROC = "MultiProc"
    SLURM = "SLURM"
