"""Publication of a subject's results: whole or not at all.

An analysis writes into ``.sub-<code>.unfinished`` beside the subject's folder. `publish` then puts the whole folder in
its place. An analysis that fails or is killed changes no result; its folder is removed by the next one.
"""

from __future__ import annotations

import shutil

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.derivative_layout import DerivativeDataset, subject_report
from mri_pipeline.core.io.atomic import sync_tree, write_atomic
from mri_pipeline.core.io.exchange import replace_folder


def staged(job: SubjectJob) -> SubjectJob:
    """The job with an empty folder for its results and its report. The caller holds the locks of the job.

    Parameters
    ----------
    job : SubjectJob

    Returns
    -------
    SubjectJob
        It differs in `derivatives` and `reports`.
    """
    folder = job.derivatives / f".sub-{job.subject}.unfinished"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return job.model_copy(update={"derivatives": folder, "reports": folder / "reports"})


def publish(job: SubjectJob, finished: SubjectJob) -> None:
    """Put the results of a finished analysis in their place. The caller holds the locks of the job.

    Parameters
    ----------
    job : SubjectJob
    finished : SubjectJob
        `staged` of `job`, with all results.

    Raises
    ------
    OSError
        If the results cannot be moved.
    """
    new = DerivativeDataset(finished.derivatives).folder(job.subject)
    for name, text in job.beside.items():
        write_atomic(new / name, text)
    sync_tree(finished.derivatives)
    replace_folder(new, DerivativeDataset(job.derivatives).folder(job.subject))
    job.reports.mkdir(parents=True, exist_ok=True)
    subject_report(finished.reports, job.subject).replace(subject_report(job.reports, job.subject))
    shutil.rmtree(finished.derivatives)
