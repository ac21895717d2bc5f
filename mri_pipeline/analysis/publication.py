"""Publication of a subject's results: whole or not at all.

An analysis writes into ``.sub-<code>.unfinished`` beside the subject's folder. `publish` then puts the whole folder in
its place. An analysis that fails or is killed changes no result; its folder is removed by the next one.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.derivative_layout import DerivativeDataset, subject_report
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import sync_tree, write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.exchange import replace_folder
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import software


class Provenance(BaseModel):
    """What an analysis of a subject read and wrote, by which software and rules. It contains no time.

    Attributes
    ----------
    inputs : dict of str to str
        SHA-256 of every scan before the analysis, by its path in the dataset of the scans; by visit and name, if it
        lies elsewhere.
    outputs : dict of str to str
        SHA-256 of every file, by its path in the subject's folder. `DerivativeDataset.outcome` and
        `DerivativeDataset.input_index` are left out: a later run that fails writes them again.
    software : dict of str to str
        As `mri_pipeline.core.provenance.software`.
    platform : str
        Operating system and processor.
    rules : LesionRules
    job : str
        SHA-256 of the rest of the `SubjectJob` that results depend on: visits, settings digest, texts of the report.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: dict[str, str]
    outputs: dict[str, str]
    software: dict[str, str]
    platform: str
    rules: LesionRules
    job: str


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
    _save(_provenance(job), DerivativeDataset(folder), job.subject)
    return job.model_copy(update={"derivatives": folder, "reports": folder / "reports"})


def _provenance(job: SubjectJob) -> Provenance:
    """The provenance of an analysis before it has results."""
    elsewhere = {
        "raw", "derivatives", "reports", "work", "keep_work", "kept_space", "settled", "locks", "rules", "visits",
    }  # fmt: skip
    rest = job.model_dump(mode="json", exclude=elsewhere)
    rest["visits"] = [visit.model_dump(mode="json", exclude={"scans", "files"}) for visit in job.visits]
    return Provenance(
        inputs={name: file_digest(path) for name, path in _inputs(job).items() if path.is_file()},
        outputs={},
        software=software(),
        platform=f"{platform.system()} {platform.machine()}",
        rules=job.rules,
        job=hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest(),
    )


def _inputs(job: SubjectJob) -> dict[str, Path]:
    """Scans of a job by their path in the dataset, or by visit and name."""
    return {
        job.sources(visit).get(contrast, f"ses-{visit.visit}/{path.name}"): path
        for visit in job.visits
        for contrast, path in visit.scans.items()
    }


def is_current(job: SubjectJob) -> bool:
    """True if an analysis would write the published results again. The caller holds the locks of the job.

    Scans, software, rules and settings are those of the provenance, every result has its digest, no visit failed, and
    the readers' space is the one of the results.

    Parameters
    ----------
    job : SubjectJob

    Returns
    -------
    bool
    """
    derivatives = DerivativeDataset(job.derivatives)
    try:
        stated = Provenance.model_validate_json(derivatives.provenance(job.subject).read_bytes())
        failed = any(visit.failure for visit in load_result(derivatives.result(job.subject)).quality)
    except (OSError, ValidationError, UsageError):
        return False
    return (
        not failed
        and stated.model_copy(update={"outputs": {}}) == _provenance(job)
        and stated.outputs == output_digests(derivatives, job.subject)
        and subject_report(job.reports, job.subject).is_file()
        and (job.kept_space is None or _has(stated.outputs, job.kept_space))
    )


def _has(outputs: Mapping[str, str], kept_space: Path) -> bool:
    """True if the space of the results is the one that is kept for the readers."""
    return all(outputs.get(f"anat/{path.name}") == file_digest(path) for path in kept_space.iterdir())


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


def clear_work(job: SubjectJob) -> None:
    """Remove the cache of a finished subject, also that of other versions of the code; the job file stays.

    Parameters
    ----------
    job : SubjectJob
    """
    for folder in job.work.glob(f"v*/sub-{job.subject}"):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path != job.file:
                path.unlink(missing_ok=True)
