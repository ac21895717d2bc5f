"""The analysis as a BIDS App: NIfTI data without registry or readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mri_pipeline.analysis.description import write_dataset_description
from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.derivative_layout import DerivativeDataset, calibration_file, subject_report
from mri_pipeline.core.errors import UsageError, listed
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.bids_index import SubjectIndex
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.segmenters import Segmenter
from reading_centre.use_cases.analysis.bids.jobs import (
    ALL_SCANS,
    ScanSelection,
    chosen_participants,
    index_participants,
    make_jobs,
    raw_dataset,
)
from reading_centre.use_cases.analysis.bids.tables import load_results, require_one_digest, write_bids_tables
from reading_centre.use_cases.analysis.overview import save_outcome
from reading_centre.use_cases.analysis.validate import require_valid
from workflows.batch import run_batch
from workflows.executors import Execution
from workflows.logs import run_log
from workflows.outcome import BatchOutcome, Outcome
from workflows.progress import BatchProgress


def run_participants(
    bids_dir: Path,
    out_dir: Path,
    *,
    selection: ScanSelection = ALL_SCANS,
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
    raw, derivatives = raw_dataset(bids_dir), DerivativeDataset(out_dir)
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
    return "no FLAIR found" + (f" (ignored: {listed(map(str, index.ignored))})" if index.ignored else "")


def _describe(index: SubjectIndex, say: Callable[[str], None]) -> None:
    if len(index.sessions) > 1:
        order = ", ".join(session.visit for session in index.sessions)
        say(f"sub-{index.subject}: sessions in the order {order} ({index.order_source})")
    for file in index.ignored:
        say(f"  ignored {file}")


def write_group_tables(bids_dir: Path, out_dir: Path, *, selection: ScanSelection = ALL_SCANS) -> list[Path]:
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
    raw, derivatives = raw_dataset(bids_dir), DerivativeDataset(out_dir)
    subjects = chosen_participants(raw, selection.participants)
    if not any(derivatives.result(subject).is_file() for subject in subjects):
        raise UsageError(
            "expected analysed participants in OUT_DIR, found none",
            hint="run 'mri-pipeline bids BIDS_DIR OUT_DIR participant' first",
        )
    return write_bids_tables(raw, derivatives, subjects=subjects)
