"""Renewal of the reports in a process of its own, so that no request waits for pictures."""

from __future__ import annotations

import logging
from multiprocessing import get_context
from pathlib import Path

from mri_pipeline.core.layout import Trial
from reading_centre.use_cases.subject_reports import refresh_reports

_LOG = logging.getLogger(__name__)


def start_renewal(trial: Trial) -> None:
    """Start `reading_centre.use_cases.subject_reports.refresh_reports`. A trial without reports has nothing to renew.

    Parameters
    ----------
    trial : Trial
    """
    if any(trial.reports.glob("sub-*.html")):
        get_context("spawn").Process(target=_renew, args=(trial.root,), name="reports").start()


def _renew(folder: Path) -> None:
    for message in refresh_reports(folder):
        _LOG.warning("%s", message)
