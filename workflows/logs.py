"""Log handlers of a process. The library logs to `logging.getLogger(__name__)` and configures nothing itself."""

from __future__ import annotations

import logging
from pathlib import Path

ROOTS = ("mri_pipeline", "qc", "workflows", "reading_centre")
"""The loggers of this project; those of other libraries are left alone."""

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def add_handler(handler: logging.Handler, level: int) -> None:
    """Send this project's records of `level` and above to a handler."""
    handler.setLevel(level)
    for name in ROOTS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(min(level, logger.level or logging.WARNING))


def remove_handler(handler: logging.Handler) -> None:
    """Detach and close a handler of `add_handler`."""
    for name in ROOTS:
        logger = logging.getLogger(name)
        logger.removeHandler(handler)
        if not logger.handlers:
            logger.setLevel(logging.NOTSET)
    handler.close()


def log_to_file(path: Path, level: int = logging.INFO) -> logging.Handler:
    """Append this project's log records to a file; the folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    add_handler(handler, level)
    return handler
