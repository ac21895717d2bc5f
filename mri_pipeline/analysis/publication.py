"""Publication of a subject's results: whole or not at all.

An analysis writes into ``.sub-<code>.unfinished`` beside the subject's folder. `publish` then puts the whole folder in
its place. An analysis that fails or is killed changes no result; its folder is removed by the next one.
"""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.derivative_layout import DerivativeDataset, subject_report
from mri_pipeline.core.io.atomic import sync_tree, write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.exchange import replace_folder
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import software


class Provenance(BaseModel):
    """What an analysis of a subject read and wrote, by which software and rules. It contains no time.

    Attributes
    ----------
    inputs : dict of str to str
        SHA-256 of every scan before the analysis, by its path in the dataset of the scans; by its name, if it lies
        elsewhere.
    outputs : dict of str to str
        SHA-256 of every file, by its path in the subject's folder. `DerivativeDataset.outcome` and
        `DerivativeDataset.input_index` are left out: a later run that fails writes them again.
    software : dict of str to str
        As `mri_pipeline.core.provenance.software`.
    platform : str
        Operating system and processor.
    settings_digest : str
        As that of the `SubjectJob`.
    rules : LesionRules
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: dict[str, str]
    outputs: dict[str, str]
    software: dict[str, str]
    platform: str
    settings_digest: str
    rules: LesionRules


def staged(job: SubjectJob) -> SubjectJob:
    """The job with a folder for its results and its report, which holds the provenance so far.

    The caller holds the locks of the job.

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
    started = Provenance(
        inputs={name: file_digest(path) for name, path in _inputs(job).items() if path.is_file()},
        outputs={},
        software=software(),
        platform=f"{platform.system()} {platform.machine()}",
        settings_digest=job.settings_digest,
        rules=job.rules,
    )
    _save(started, DerivativeDataset(folder), job.subject)
    return job.model_copy(update={"derivatives": folder, "reports": folder / "reports"})


def _inputs(job: SubjectJob) -> dict[str, Path]:
    """Scans of a job by their path in the dataset, or by their name."""
    return {
        job.sources(visit).get(contrast, path.name): path
        for visit in job.visits
        for contrast, path in visit.scans.items()
    }


def output_digests(derivatives: DerivativeDataset, subject: str) -> dict[str, str]:
    """Digests of the results of a subject, as in `Provenance`.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subject : str

    Returns
    -------
    dict of str to str
        SHA-256 by path in the subject's folder.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    folder = derivatives.folder(subject)
    apart = {derivatives.outcome(subject), derivatives.input_index(subject), derivatives.provenance(subject)}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in apart)
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def _save(provenance: Provenance, derivatives: DerivativeDataset, subject: str) -> None:
    write_atomic(derivatives.provenance(subject), provenance.model_dump_json(indent=1) + "\n")


def publish(job: SubjectJob, finished: SubjectJob) -> None:
    """Put the results of a finished analysis in their place. The caller holds the locks of the job.

    Parameters
    ----------
    job : SubjectJob
    finished : SubjectJob
        `staged` of `job`, with all results. Their digests are added to its provenance.

    Raises
    ------
    OSError
        If the results cannot be moved.
    """
    unfinished = DerivativeDataset(finished.derivatives)
    new = unfinished.folder(job.subject)
    for name, text in job.beside.items():
        write_atomic(new / name, text)
    started = Provenance.model_validate_json(unfinished.provenance(job.subject).read_bytes())
    outputs = output_digests(unfinished, job.subject)
    _save(started.model_copy(update={"outputs": outputs}), unfinished, job.subject)
    sync_tree(finished.derivatives)
    replace_folder(new, DerivativeDataset(job.derivatives).folder(job.subject))
    job.reports.mkdir(parents=True, exist_ok=True)
    subject_report(finished.reports, job.subject).replace(subject_report(job.reports, job.subject))
    shutil.rmtree(finished.derivatives)
