"""Publication of a subject's results: whole or not at all.

An analysis writes into ``.sub-<code>.unfinished`` beside the subject's folder. `publish` then puts the whole folder in
its place. An analysis that fails or is killed changes no result; its folder is removed by the next one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.calibration import FAILED
from mri_pipeline.core.derivative_layout import DerivativeDataset, calibration_file, subject_report
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import sync_tree, write_atomic
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.exchange import replace_folder
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import software

_LOGGER = logging.getLogger(__name__)
PLATFORM: Final = f"{platform.system()} {platform.machine()}"
"""Operating system and processor."""


class AnalysedScan(BaseModel):
    """A scan that an analysis read.

    Attributes
    ----------
    path : str
        In the dataset of the scans; empty if it lies elsewhere.
    sha256 : str
        Digest of the file before the analysis.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    sha256: str


class Provenance(BaseModel):
    """What an analysis of a subject read and wrote, by which software and rules. It contains no time.

    Attributes
    ----------
    inputs : dict of str to AnalysedScan
        By visit and contrast: ``ses-wk04/FLAIR``.
    outputs : dict of str to str
        SHA-256 of every file, by its path in the subject's folder. `DerivativeDataset.outcome` and
        `DerivativeDataset.input_index` are left out: a later run that fails writes them again.
    software : dict of str to str
        As `mri_pipeline.core.provenance.software`.
    platform : str
        Operating system and processor.
    rules : LesionRules
    job : str
        SHA-256 of the rest of the `SubjectJob` that results depend on: visits and their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: dict[str, AnalysedScan]
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
    folder = _unfinished(job)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    _save(_provenance(job), DerivativeDataset(folder), job.subject)
    return job.model_copy(update={"derivatives": folder, "reports": folder / "reports"})


def _provenance(job: SubjectJob) -> Provenance:
    """The provenance of an analysis before it has results."""
    return Provenance(
        inputs=_inputs(job), outputs={}, software=software(), platform=PLATFORM, rules=job.rules, job=_rest(job)
    )


def _inputs(job: SubjectJob) -> dict[str, AnalysedScan]:
    return {
        f"ses-{visit.visit}/{contrast.value}": AnalysedScan(
            path=job.sources(visit).get(contrast, ""), sha256=file_digest(path)
        )
        for visit in job.visits
        for contrast, path in visit.scans.items()
        if path.is_file()
    }


def _rest(job: SubjectJob) -> str:
    """Digest of what results depend on beside scans, software and rules.

    Other settings of the trial, such as its readers, change the report alone. The report has a digest of its own.
    """
    elsewhere = {
        "raw", "derivatives", "reports", "work", "keep_work", "calibrate", "kept_space", "settled", "locks", "rules",
        "visits", "settings_digest",
    }  # fmt: skip
    rest = job.model_dump(mode="json", exclude=elsewhere)
    rest["visits"] = [visit.model_dump(mode="json", exclude={"scans", "files"}) for visit in job.visits]
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def is_current(job: SubjectJob) -> bool:
    """True if a new analysis would give the published results. The caller holds the locks of the job.

    Scans, software, rules and settings are those of the provenance, every result has its digest, no visit failed, and
    the readers' space is the one of the results. A file that cannot be read, or a self-calibration that failed, is not
    current.

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
        return (
            (stated.software, stated.platform, stated.rules, stated.job)
            == (software(), PLATFORM, job.rules, _rest(job))
            and not any(visit.failure for visit in load_result(derivatives.result(job.subject)).quality)
            and subject_report(job.reports, job.subject).is_file()
            and (
                not job.calibrate or FAILED.encode() not in calibration_file(job.reports, job.subject).read_bytes()
            )
            and stated.inputs == _inputs(job)
            and stated.outputs == output_digests(derivatives, job.subject)
            and (job.kept_space is None or _has(stated.outputs, job.kept_space))
        )
    except (OSError, ValidationError, UsageError):
        return False


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
    # the results come last: with earlier ones, the next run analyses again and renews the report
    job.reports.mkdir(parents=True, exist_ok=True)
    subject_report(finished.reports, job.subject).replace(subject_report(job.reports, job.subject))
    _publish_calibration(job, finished)
    replace_folder(new, DerivativeDataset(job.derivatives).folder(job.subject))
    shutil.rmtree(finished.derivatives)


def _publish_calibration(job: SubjectJob, finished: SubjectJob) -> None:
    """Put the detection rates in their place. Without new ones, those of the earlier analysis are removed."""
    new, place = (calibration_file(one.reports, job.subject) for one in (finished, job))
    if new.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        new.replace(place)
    else:
        place.unlink(missing_ok=True)


def clear_work(job: SubjectJob) -> None:
    """Remove the cache of a finished subject, also that of other versions of the code. Job and outcome stay.

    What cannot be removed is left, and the log says so.

    Parameters
    ----------
    job : SubjectJob
    """
    for folder in (path for path in job.work.glob(f"v*/sub-{job.subject}/*") if path.is_dir()):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            _LOGGER.warning("the cache of sub-%s cannot be removed: %s", job.subject, error.strerror)


def leave_current(job: SubjectJob) -> None:
    """Clear what an interrupted or failed analysis has left beside current results. The caller holds the locks.

    Parameters
    ----------
    job : SubjectJob
    """
    for name, text in job.beside.items():
        file = DerivativeDataset(job.derivatives).folder(job.subject) / name
        if not file.is_file() or file.read_bytes() != text.encode():
            write_atomic(file, text)
    shutil.rmtree(_unfinished(job), ignore_errors=True)
    if not job.keep_work:
        clear_work(job)


def _unfinished(job: SubjectJob) -> Path:
    return unfinished_folder(job.derivatives, job.subject)


def unfinished_folder(derivatives: Path, subject: str) -> Path:
    """Folder into which an analysis writes before the publication.

    Parameters
    ----------
    derivatives : Path
        Root of the derivative dataset.
    subject : str

    Returns
    -------
    Path
    """
    return derivatives / f".sub-{subject}.unfinished"
