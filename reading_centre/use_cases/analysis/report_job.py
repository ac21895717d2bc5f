"""Renewal of the reports in a process of its own, so that no request waits for pictures."""

from __future__ import annotations

import logging
import os
from multiprocessing import get_context
from pathlib import Path

from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.processes import die_with_parent
from reading_centre.use_cases.analysis.subject_reports import refresh_reports

_LOG = logging.getLogger(__name__)


def start_renewal(trial: Trial) -> None:
    """Start `subject_reports.refresh_reports` in a process of its own. Without reports nothing starts.

    One process at a time renews the reports. If it is called while one runs, that process looks
    again. It ends with this process.

    Parameters
    ----------
    trial : Trial
    """
    if any(trial.reports.glob("sub-*.html")):
        trial.work.mkdir(exist_ok=True)
        _wanted(trial).touch()
        get_context("spawn").Process(
            target=_renew, args=(trial.root, os.getpid()), name="reports", daemon=True
        ).start()


def _wanted(trial: Trial) -> Path:
    return trial.work / "renewal.wanted"


def _renew(folder: Path, parent: int) -> None:
    die_with_parent(parent)
    renew_wanted(Trial(folder))


def renew_wanted(trial: Trial) -> None:
    """Renew the reports until no renewal is requested, unless another process does so.

    Parameters
    ----------
    trial : Trial
    """
    while _wanted(trial).exists():
        try:
            with exclusive(trial.work / "renewal.lock", wait_s=0):
                while _wanted(trial).exists():
                    _wanted(trial).unlink()
                    for message in refresh_reports(trial.root):
                        _LOG.warning("%s", message)
        except LockedError:
            return  # the other process looks again when it is done
