"""Participants of a BIDS dataset: selection, index and jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mri_pipeline.analysis.subject_job import SubjectJob, VisitScans
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import UsageError, listed
from mri_pipeline.core.io.bids_index import Filters, SubjectIndex, index_dataset
from mri_pipeline.core.layout import RawDataset, what_is_at
from mri_pipeline.core.plan import found_visits
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.visits import Contrast, week_of
from reading_centre.use_cases.analysis.overview import outcome_text
from workflows.outcome import Outcome


def raw_dataset(bids_dir: Path) -> RawDataset:
    """The BIDS dataset of a folder.

    Parameters
    ----------
    bids_dir : Path

    Returns
    -------
    RawDataset

    Raises
    ------
    UsageError
        If its description is missing or not valid JSON.
    """
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


def chosen_participants(raw: RawDataset, labels: Sequence[str]) -> list[str]:
    """The participants of a dataset, or those of them that are named.

    Parameters
    ----------
    raw : RawDataset
    labels : sequence of str
        With or without ``sub-``; empty for all.

    Returns
    -------
    list of str
        Sorted, without ``sub-``.

    Raises
    ------
    UsageError
        If a participant is unknown, or if there is none.
    """
    found = raw.subjects()
    wanted = [label.removeprefix("sub-") for label in labels] or found
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        raise UsageError(
            f"expected participants of the dataset ({listed(found)}), found {listed(unknown)}",
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


ALL_SCANS: Final = ScanSelection()
"""All scans of a dataset."""


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
        chosen_participants(raw, selection.participants),
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
