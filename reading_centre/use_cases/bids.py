"""The analysis as a BIDS App: NIfTI data without registry or readers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mri_pipeline.analysis.derivatives import write_dataset_description
from mri_pipeline.analysis.subject_job import SubjectJob, VisitScans
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import DerivativeDataset, RawDataset
from mri_pipeline.core.plan import PlannedVisit, found_visits
from mri_pipeline.core.protocol import LesionRules, Segmenter
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import ScanStatus, SubjectResult
from mri_pipeline.core.visits import Contrast, week_of
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import write_tables
from workflows.batch import BatchOutcome, Outcome, run_batch
from workflows.engine import Plugin, Progress

_NO_FLAIR = "expected a session with a FLAIR, found none"


def _dataset(bids_dir: Path) -> RawDataset:
    description = bids_dir / "dataset_description.json"
    if not description.is_file():
        raise UsageError(
            "expected a BIDS dataset with dataset_description.json, found none", hint="check the first argument"
        )
    try:
        json.loads(description.read_bytes())
    except ValueError as error:
        raise UsageError("dataset_description.json: expected JSON, found something else") from error
    return RawDataset(bids_dir)


def _chosen(raw: RawDataset, labels: Sequence[str]) -> list[str]:
    found = raw.subjects()
    wanted = [label.removeprefix("sub-") for label in labels] or found
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        raise UsageError(f"expected participants of the dataset, found unknown {', '.join(unknown)}")
    if not wanted:
        raise UsageError("expected at least one sub-<label> folder in the dataset, found none")
    return sorted(set(wanted))


def make_jobs(
    bids_dir: Path, out_dir: Path, *, labels: Sequence[str], work: Path, rules: LesionRules
) -> tuple[list[SubjectJob], list[str]]:
    """A job for each participant with a FLAIR, and the labels of those without any.

    Sessions come in the order of their labels; those without FLAIR are left out.

    Raises
    ------
    UsageError
        If there is no dataset or participant, or nobody has a session with a FLAIR.
    """
    raw = _dataset(bids_dir)
    jobs, without = [], []
    for subject in _chosen(raw, labels):
        sessions = {visit: raw.scans(subject, visit) for visit in raw.visits(subject)}
        visits = tuple(
            VisitScans(visit=visit, week=week_of(visit), scans={c: p.resolve() for c, p in scans.items()})
            for visit, scans in sessions.items()
            if Contrast.FLAIR in scans
        )
        if not visits:
            without.append(subject)
            continue
        jobs.append(
            SubjectJob(
                subject=subject,
                visits=visits,
                planned=tuple(PlannedVisit(visit, week_of(visit)) for visit in sessions),
                refused=tuple(sessions),
                protocol="BIDS dataset",
                rules=rules,
                derivatives=out_dir,
                reports=out_dir / "reports",
                work=work,
                settings_digest=settings_digest(rules),
            )
        )
    if not jobs:
        raise UsageError(
            f"sub-{without[0]}: {_NO_FLAIR}",
            hint="expected files are sub-<label>/ses-<label>/anat/sub-<label>_ses-<label>_FLAIR.nii.gz",
        )
    return jobs, without


def run_participants(
    bids_dir: Path,
    out_dir: Path,
    *,
    labels: Sequence[str] = (),
    nprocs: int = 1,
    plugin: Plugin = Plugin.MULTIPROC,
    work_dir: Path | None = None,
    segmenter: Segmenter | None = None,
    progress: Progress | None = None,
) -> BatchOutcome:
    """Analyse participants, then write the tables of all participants that were ever asked for in OUT_DIR.

    Raises
    ------
    UsageError
        As `make_jobs`, if OUT_DIR is BIDS_DIR, or if it holds numbers of other participants by another segmenter.
    """
    bids_dir, out_dir = bids_dir.resolve(), out_dir.resolve()
    if out_dir == bids_dir:
        raise UsageError("expected OUT_DIR apart from BIDS_DIR, found the same folder", hint="name another folder")
    work = (work_dir or out_dir / "work").resolve()
    rules = LesionRules(segmenter=segmenter)
    jobs, without = make_jobs(bids_dir, out_dir, labels=labels, work=work, rules=rules)
    derivatives = DerivativeDataset(out_dir)
    asked = {*(job.subject for job in jobs), *without}
    _one_digest(_results(derivatives, set(derivatives.subjects()) - asked), settings_digest(rules))
    write_dataset_description(out_dir, settings_digest=settings_digest(rules), rules=rules)
    for subject in asked:
        # what an earlier run measured must not pass for this one's
        derivatives.result(subject).unlink(missing_ok=True)
        derivatives.result(subject).parent.mkdir(parents=True, exist_ok=True)
    outcome = run_batch(jobs, work=work, plugin=plugin, nprocs=nprocs, progress=progress)
    _write_tables(RawDataset(bids_dir), derivatives, subjects=derivatives.subjects())
    refused = tuple(Outcome(subject=subject, done=False, reason=_NO_FLAIR) for subject in without)
    return BatchOutcome((*outcome.outcomes, *refused))


def write_group_tables(bids_dir: Path, out_dir: Path, *, labels: Sequence[str] = ()) -> list[Path]:
    """Write the tables of all participants (or those of `labels`): a row for every session found.

    Raises
    ------
    UsageError
        If no participant has been analysed yet, or not all by the same rules and segmenter.
    """
    raw, derivatives = _dataset(bids_dir), DerivativeDataset(out_dir)
    subjects = _chosen(raw, labels)
    if not any(derivatives.result(subject).is_file() for subject in subjects):
        raise UsageError(
            "expected analysed participants in OUT_DIR, found none",
            hint="run 'mri-pipeline bids BIDS_DIR OUT_DIR participant' first",
        )
    return _write_tables(raw, derivatives, subjects=subjects)


def _results(derivatives: DerivativeDataset, subjects: Iterable[str]) -> dict[str, SubjectResult]:
    """The results there are of the subjects, in the order of their labels."""
    files = {subject: derivatives.result(subject) for subject in sorted(subjects)}
    return {subject: load_result(file) for subject, file in files.items() if file.is_file()}


def _one_digest(results: Mapping[str, SubjectResult], digest: str | None = None) -> str:
    """The digest of the rules that made all results, which is `digest` where that is given.

    Raises
    ------
    UsageError
        If there are others: their numbers do not belong in one table.
    """
    for subject, result in results.items():
        digest = digest or result.rules_digest
        if result.rules_digest != digest:
            raise UsageError(
                f"expected participants analysed by one set of lesion rules, one segmenter and one software, found "
                f"sub-{subject} by another",
                hint="analyse all participants again, or name another OUT_DIR",
            )
    return digest or ""


def _write_tables(raw: RawDataset, derivatives: DerivativeDataset, *, subjects: Sequence[str]) -> list[Path]:
    inputs, visits = [], set()
    results = _results(derivatives, subjects)
    for subject in subjects:
        sessions = raw.visits(subject)
        visits.update(sessions)
        result = results.get(subject, SubjectResult(subject))
        analysed = {counts.visit for counts in result.visits}
        status = {
            visit: ScanStatus.ANALYSED
            if visit in analysed
            else ScanStatus.FAILED
            if Contrast.FLAIR in raw.scans(subject, visit)
            else ScanStatus.REFUSED
            for visit in sessions
        }
        inputs.append(SubjectInput(result, scans=status))
    return write_tables(
        derivatives.root / "tables",
        inputs,
        found_visits(visits),
        study="",
        provisional=True,
        settings_digest=_one_digest(results),
        with_missing=False,
    )
