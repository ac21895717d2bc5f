"""Plugins and progress of a run. This module does not load Nipype."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

Progress = Callable[[str, str], None]
"""Called with a node's full name and its new status: ``start``, ``end`` or ``exception``."""


class Plugin(StrEnum):
    """How subjects are run: one after another, as processes of this machine, or as jobs of a cluster."""

    LINEAR = "Linear"
    MULTIPROC = "MultiProc"
    SLURM = "SLURM"
