"""Log handlers of a process. The library logs to `logging.getLogger(__name__)` and configures nothing itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

ROOTS = ("mri_pipeline", "qc", "workflows", "reading_centre")
"""The loggers of this project; those of other libraries are left alone."""

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def add_handler(handler: logging.Handler, level: int) -> None:
    """Send this project's log records to a handler.

    Parameters
    ----------
    handler : logging.Handler
    level : int
        Least level of the records, for example `logging.INFO`.
    """
    handler.setLevel(level)
    for name in ROOTS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(min(level, logger.level or logging.WARNING))


def remove_handler(handler: logging.Handler) -> None:
    """Detach and close a handler of `add_handler`.

    Parameters
    ----------
    handler : logging.Handler
    """
    for name in ROOTS:
        logger = logging.getLogger(name)
        logger.removeHandler(handler)
        if not logger.handlers:
            logger.setLevel(logging.NOTSET)
    handler.close()


@contextmanager
def run_log(work: Path) -> Iterator[Path]:
    """Log a run to a file of its own.

    Parameters
    ----------
    work : Path
        Folder of the cache.

    Yields
    ------
    Path
        ``logs/run-<UTC>.log`` in `work`.
    """
    path = work / "logs" / f"run-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
    handler = log_to_file(path)
    try:
        yield path
    finally:
        remove_handler(handler)


def log_to_file(path: Path, level: int = logging.INFO) -> logging.Handler:
    """Append this project's log records to a file.

    Parameters
    ----------
    path : Path
        Its folder is created if it does not exist.
    level : int
        Least level of the records.

    Returns
    -------
    logging.Handler
        To be removed by `remove_handler`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    add_handler(handler, level)
    return handler
