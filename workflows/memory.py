"""Memory that a process may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

USED_SHARE: Final = 0.9
"""Share of the memory that a run uses by default, as Nipype does."""


def memory_limit_gb() -> float:
    """Memory limit of this process: that of the machine, or of the control group if lower.

    Returns
    -------
    float
        In GB (1e9 bytes).
    """
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = min(limit, int(Path(file).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return limit / 1e9
