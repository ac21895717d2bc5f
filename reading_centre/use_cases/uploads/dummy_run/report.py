"""The acceptance report of a dummy run: its files in ``reports/``."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from pathlib import Path

from mri_pipeline.core.errors import (
    ExternalToolError,
    UsageError,
)
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.layout import Trial
from mri_pipeline.registry.audit import os_user
from qc.acceptance import JudgedDummyRun
from qc.reports.acceptance import Context, acceptance_html, acceptance_json, decisions_of
from qc.reports.pdf import write_pdf
from reading_centre.use_cases.uploads.task import UploadTask


def acceptance_report(trial: Trial, site: str, digest: str) -> Path:
    """Path of the acceptance report of a dummy run.

    Parameters
    ----------
    trial : Trial
    site : str
        Code of the site.
    digest : str
        SHA-256 of the upload.

    Returns
    -------
    Path
    """
    return trial.reports / f"dummy-run_{site}_{digest[:8]}.html"


def write_acceptance(task: UploadTask, run: JudgedDummyRun, digest: str, *, by: str) -> Path:
    """Write the acceptance report as HTML and JSON. A PDF of an earlier judgement is removed.

    Parameters
    ----------
    task : UploadTask
    run : JudgedDummyRun
    digest : str
        SHA-256 of the upload.
    by : str
        Reviewer; empty for the account of the process.

    Returns
    -------
    Path
        The HTML file.
    """
    path = acceptance_report(task.trial, run.site, digest)
    context = Context(task.protocol, digest, dt.datetime.now(dt.UTC).date(), by or os_user(), decisions_of(path))
    write_atomic(path.with_suffix(".json"), acceptance_json(run, context))
    write_atomic(path, acceptance_html(run, context))
    path.with_suffix(".pdf").unlink(missing_ok=True)  # of an earlier judgement
    return path


def renew_pdf(page: Path) -> None:
    """Write an existing PDF again. It is removed if Chromium is missing or fails.

    Parameters
    ----------
    page : Path
        The HTML file.
    """
    if page.with_suffix(".pdf").is_file():
        page.with_suffix(".pdf").unlink()
        with suppress(UsageError, ExternalToolError):
            write_pdf(page)
