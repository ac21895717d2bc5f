"""The analysis as a BIDS App: NIfTI data without registry or readers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mri_pipeline.analysis.description import write_dataset_description
from mri_pipeline.analysis.subject_job import SubjectJob, VisitScans
from mri_pipeline.core.derivative_layout import DerivativeDataset, calibration_file, subject_report
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.bids_index import Filters, SubjectIndex, index_dataset
from mri_pipeline.core.layout import RawDataset, what_is_at
from mri_pipeline.core.plan import found_visits
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.visits import Contrast, week_of
from reading_centre.use_cases.analysis.bids_tables import load_results, require_one_digest, write_bids_tables
from reading_centre.use_cases.analysis.overview import outcome_text, save_outcome
from reading_centre.use_cases.analysis.validate import require_valid
from workflows.batch import run_batch
from workflows.executors import Execution
from workflows.logs import run_log
from workflows.outcome import BatchOutcome, Outcome
from workflows.progress import BatchProgress

_SHOWN = 5
"""Names that a message lists; the others are counted."""


def _dataset(bids_dir: Path) -> RawDataset:
    description = bids_dir / "dataset_description.json"
    if not description.is_file():
        raise UsageError(
            f"expected a BIDS dataset with dataset_description.json, found {what_is_at(bids_dir)}",
            hint="check the path of BIDS_DIR, the first argument",
        )
    try:
        json.loads(description.read_bytes())
    except ValueError as error:
        raise UsageError("dataset_description.json: not valid JSON") from error
    return RawDataset(bids_dir)


def _chosen(raw: RawDataset, labels: Sequence[str]) -> list[str]:
    found = raw.subjects()
    wanted = [label.removeprefix("sub-") for label in labels] or found
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        raise UsageError(
            f"expected participants of the dataset ({_shown(found)}), found {_shown(unknown)}",
            hint="check --participant-label",
        )
    if not wanted:
        raise UsageError("expected at least one sub-<label> folder in the dataset, found none")
    return sorted(set(wanted))


@dataclass(frozen=True)
class ScanSelection:
    """Selection of scans of a dataset, and order of the sessions.

    Parameters
    ----------
    participants, sessions : tuple of str
        Labels, with or without ``sub-`` and ``ses-``; all if empty.
    session_order : tuple of str
        Labels of the sessions in the order of time; empty: see `session_order.order_sessions`.
    filters : Filters
        Filters of `bids_index.load_filters`.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    session_order: tuple[str, ...] = ()
    filters: Filters = field(default_factory=dict)


def index_participants(raw: RawDataset, selection: ScanSelection) -> dict[str, SubjectIndex]:
    """Index the scans of the selected participants.

    Parameters
    ----------
    raw : RawDataset
    selection : ScanSelection

    Returns
    -------
    dict of str to SubjectIndex
        By participant label.

    Raises
    ------
    UsageError
        If a participant or session is unknown.
    """
    return index_dataset(
        raw.root,
        _chosen(raw, selection.participants),
        sessions=[label.removeprefix("ses-") for label in selection.sessions],
        session_order=[label.removeprefix("ses-") for label in selection.session_order],
        filters=selection.filters,
    )


def make_jobs(
    raw: RawDataset, out_dir: Path, indexes: Iterable[SubjectIndex], *, work: Path, rules: LesionRules
) -> list[SubjectJob]:
    """Make a job for each participant with a FLAIR and without a problem.

    Sessions without a FLAIR have a row in the tables and no scan.

    Parameters
    ----------
    raw, out_dir : Path
        Input dataset and derivative dataset.
    indexes : iterable of SubjectIndex
        Index of each participant.
    work : Path
        Nipype cache.
    rules : LesionRules

    Returns
    -------
    list of SubjectJob
        In the order of `indexes`. A participant without a FLAIR or with a problem has none.
    """
    derivatives = DerivativeDataset(out_dir)
    return [
        _job(raw, derivatives, index, work=work, rules=rules)
        for index in indexes
        if not index.problems and any(Contrast.FLAIR in session.scans for session in index.sessions)
    ]


def _job(
    raw: RawDataset, derivatives: DerivativeDataset, index: SubjectIndex, *, work: Path, rules: LesionRules
) -> SubjectJob:
    visits = tuple(
        VisitScans(
            visit=session.visit,
            week=week_of(session.visit),
            scans={contrast: (raw.root / path).resolve() for contrast, path in session.scans.items()},
        )
        for session in index.sessions
        if Contrast.FLAIR in session.scans
    )
    planned = found_visits(session.visit for session in index.sessions)
    lock = f"sub-{index.subject}.lock"
    return SubjectJob(
        subject=index.subject,
        visits=visits,
        planned=planned,
        refused=tuple(visit.label for visit in planned),
        protocol="BIDS dataset",
        rules=rules,
        raw=raw.root,
        derivatives=derivatives.root,
        reports=derivatives.reports,
        work=work,
        order_source=index.order_source,
        ignored=tuple(map(str, index.ignored)),
        settings_digest=settings_digest(rules),
        locks=(derivatives.root / ".locks" / lock, work / "locks" / lock),
        beside={
            derivatives.input_index(index.subject).name: index.model_dump_json(indent=1),
            derivatives.outcome(index.subject).name: outcome_text(Outcome(subject=index.subject, done=True)),
        },
    )


def run_participants(
    bids_dir: Path,
    out_dir: Path,
    *,
    selection: ScanSelection = ScanSelection(),
    validate: bool = True,
    execution: Execution = Execution(),
    work_dir: Path | None = None,
    segmenter: Segmenter | None = None,
    progress: BatchProgress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> BatchOutcome:
    """Analyse participants, then write the tables of all participants that OUT_DIR holds results of.

    The order of the sessions, its source and the ignored files are passed to `say`. They are also written to
    ``sub-<label>_desc-input_index.json`` and to the data dictionary of the tables.

    Parameters
    ----------
    bids_dir, out_dir : Path
        Input dataset and derivative dataset.
    selection : ScanSelection
    validate : bool
        True: run the BIDS validator on `bids_dir`.
    execution : Execution
    work_dir : Path, optional
        Nipype cache. Default: ``work`` in `out_dir`.
    segmenter : Segmenter, optional
        External T2 segmenter.
    progress : callable, optional
        Called several times a second with the state of the run.
    say : callable
        Prints a line.

    Returns
    -------
    BatchOutcome
        Participants without a FLAIR or with a problem (`bids_index.SubjectIndex`) come last, as failed.

    Raises
    ------
    UsageError
        As `index_participants` and, with `validate`, `require_valid`; if no participant can be analysed; if OUT_DIR is
        BIDS_DIR; or if OUT_DIR holds numbers of other participants by another segmenter or software.
    """
    bids_dir, out_dir = bids_dir.resolve(), out_dir.resolve()
    if out_dir == bids_dir:
        raise UsageError("expected OUT_DIR apart from BIDS_DIR, found the same folder", hint="name another folder")
    work = (work_dir or out_dir / "work").resolve()
    rules = LesionRules(segmenter=segmenter)
    raw, derivatives = _dataset(bids_dir), DerivativeDataset(out_dir)
    if validate:
        require_valid(bids_dir)
    indexes = index_participants(raw, selection)
    for index in indexes.values():
        _describe(index, say)
    jobs = make_jobs(raw, out_dir, indexes.values(), work=work, rules=rules)
    _require_jobs(jobs, indexes)
    digest = settings_digest(rules)
    require_one_digest(load_results(derivatives, set(derivatives.subjects()) - set(indexes)), digest)
    write_dataset_description(out_dir, settings_digest=digest, rules=rules, raw=bids_dir)
    with run_log(work) as log:
        outcome = run_batch(
            jobs,
            execution,
            progress=progress,
            finished=lambda job, one: _end(derivatives, indexes[job.subject], one),
        )
    without_job = sorted(set(indexes) - {job.subject for job in jobs})
    refused = [_refuse(derivatives, indexes[subject]) for subject in without_job]
    write_bids_tables(raw, derivatives, subjects=derivatives.subjects(), rules=rules)
    return BatchOutcome((*outcome.outcomes, *refused), log=str(log))


def _require_jobs(jobs: Sequence[SubjectJob], indexes: Mapping[str, SubjectIndex]) -> None:
    if jobs:
        return
    with_problems = [index for index in indexes.values() if index.problems]
    if not with_problems:
        first = next(iter(indexes.values()))
        raise UsageError(
            f"sub-{first.subject}: {_why_not(first)}",
            hint="expected files are sub-<label>[/ses-<label>]/anat/sub-<label>[_ses-<label>]_FLAIR.nii.gz",
        )
    raise UsageError(
        "; ".join(f"sub-{index.subject}: {_why_not(index)}" for index in with_problems),
        hint="see docs: file names and session order",
    )


def _refuse(derivatives: DerivativeDataset, index: SubjectIndex) -> Outcome:
    outcome = Outcome(subject=index.subject, done=False, reason=_why_not(index))
    _end(derivatives, index, outcome)
    return outcome


def _end(derivatives: DerivativeDataset, index: SubjectIndex, outcome: Outcome) -> None:
    """Remove the results of an earlier run of a participant that has failed, and write its index and outcome."""
    subject = index.subject
    if outcome.done or outcome.untouched:
        return
    for earlier in (
        derivatives.result(subject),
        derivatives.provenance(subject),
        subject_report(derivatives.reports, subject),
        calibration_file(derivatives.reports, subject),
    ):
        earlier.unlink(missing_ok=True)
    write_atomic(derivatives.input_index(subject), index.model_dump_json(indent=1))
    save_outcome(derivatives, outcome)


def _why_not(index: SubjectIndex) -> str:
    """The reason why a participant is not analysed."""
    if index.problems:
        return "; ".join(index.problems)
    return "no FLAIR found" + (f" (ignored: {_shown(map(str, index.ignored))})" if index.ignored else "")


def _shown(names: Iterable[str]) -> str:
    """The first names, and the number of the others."""
    every = list(names)
    more = len(every) - _SHOWN
    return ", ".join(every[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _describe(index: SubjectIndex, say: Callable[[str], None]) -> None:
    if len(index.sessions) > 1:
        order = ", ".join(session.visit for session in index.sessions)
        say(f"sub-{index.subject}: sessions in the order {order} ({index.order_source})")
    for file in index.ignored:
        say(f"  ignored {file}")


def write_group_tables(bids_dir: Path, out_dir: Path, *, selection: ScanSelection = ScanSelection()) -> list[Path]:
    """Write the tables of all participants (or those of `selection`), and the index page of all.

    The tables have a row for every session found.

    Parameters
    ----------
    bids_dir, out_dir : Path
        Input dataset and derivative dataset.
    selection : ScanSelection
        Only its participants are used.

    Returns
    -------
    list of Path
        The tables and their dictionary.

    Raises
    ------
    UsageError
        If no participant has been analysed yet, or if rules, segmenter or software differ between participants.
    """
    raw, derivatives = _dataset(bids_dir), DerivativeDataset(out_dir)
    subjects = _chosen(raw, selection.participants)
    if not any(derivatives.result(subject).is_file() for subject in subjects):
        raise UsageError(
            "expected analysed participants in OUT_DIR, found none",
            hint="run 'mri-pipeline bids BIDS_DIR OUT_DIR participant' first",
        )
    return write_bids_tables(raw, derivatives, subjects=subjects)
