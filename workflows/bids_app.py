"""The analysis as a BIDS App: NIfTI data without registry or readers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mri_pipeline.errors import UsageError
from mri_pipeline.layout import DerivativeDataset, RawDataset
from mri_pipeline.model import Contrast, ScanStatus, SubjectResult, week_of
from mri_pipeline.protocol import LesionRules
from mri_pipeline.provenance import settings_digest
from mri_pipeline.results import load_result
from mri_pipeline.tables.inputs import SubjectInput, found_visits
from mri_pipeline.tables.io import write_tables
from workflows.batch import BatchOutcome, run_batch
from workflows.derivatives import write_dataset_description
from workflows.engine import Plugin, Progress
from workflows.request import PlannedVisit, SubjectRequest, VisitScans

_RULES = LesionRules()


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


def make_requests(bids_dir: Path, out_dir: Path, *, labels: Sequence[str], work: Path) -> list[SubjectRequest]:
    """A request for each participant; sessions in the order of their labels, those without FLAIR left out.

    Raises
    ------
    UsageError
        If there is no dataset, no participant, or a participant has no session with a FLAIR.
    """
    raw = _dataset(bids_dir)
    requests = []
    for subject in _chosen(raw, labels):
        sessions = {visit: raw.scans(subject, visit) for visit in raw.visits(subject)}
        visits = tuple(
            VisitScans(visit=visit, week=week_of(visit), scans={c: p.resolve() for c, p in scans.items()})
            for visit, scans in sessions.items()
            if Contrast.FLAIR in scans
        )
        if not visits:
            raise UsageError(
                f"sub-{subject}: expected a session with a FLAIR, found none",
                hint=f"expected sub-{subject}/ses-<label>/anat/sub-{subject}_ses-<label>_FLAIR.nii.gz",
            )
        requests.append(
            SubjectRequest(
                subject=subject,
                visits=visits,
                planned=tuple(
                    PlannedVisit(visit=visit, week=week_of(visit), status=ScanStatus.REFUSED) for visit in sessions
                ),
                protocol="BIDS dataset",
                rules=_RULES,
                derivatives=out_dir.resolve(),
                reports=(out_dir / "reports").resolve(),
                work=work.resolve(),
                settings_digest=settings_digest(_RULES),
            )
        )
    return requests


def run_participants(
    bids_dir: Path,
    out_dir: Path,
    *,
    labels: Sequence[str] = (),
    nprocs: int = 1,
    plugin: Plugin = Plugin.MULTIPROC,
    work_dir: Path | None = None,
    progress: Progress | None = None,
) -> BatchOutcome:
    """Analyse participants and write their tables, with all participants that have results in OUT_DIR."""
    work = work_dir or out_dir / "work"
    requests = make_requests(bids_dir, out_dir, labels=labels, work=work)
    write_dataset_description(out_dir, settings_digest=settings_digest(_RULES))
    outcome = run_batch(requests, work=work.resolve(), plugin=plugin, nprocs=nprocs, progress=progress)
    write_group_tables(bids_dir, out_dir, labels=labels)
    return outcome


def write_group_tables(bids_dir: Path, out_dir: Path, *, labels: Sequence[str] = ()) -> list[Path]:
    """Write the tables of all participants: a row for every session found, analysed or not."""
    raw, derivatives = _dataset(bids_dir), DerivativeDataset(out_dir)
    subjects, visits = [], set()
    for subject in _chosen(raw, labels):
        sessions = raw.visits(subject)
        visits.update(sessions)
        file = derivatives.result(subject)
        result = load_result(file) if file.is_file() else SubjectResult(subject)
        analysed = {counts.visit for counts in result.visits}
        status = {
            visit: ScanStatus.ANALYSED
            if visit in analysed
            else ScanStatus.FAILED
            if Contrast.FLAIR in raw.scans(subject, visit)
            else ScanStatus.REFUSED
            for visit in sessions
        }
        subjects.append(SubjectInput(result, scans=status))
    return write_tables(
        out_dir / "tables",
        subjects,
        found_visits(visits),
        study="",
        provisional=True,
        settings_digest=settings_digest(_RULES),
        with_missing=False,
    )
