"""Tables and index page of a BIDS derivative dataset, from the results of its participants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.bids_index import SubjectIndex, index_dataset
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import RawDataset
from mri_pipeline.core.plan import found_visits
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import ScanStatus, SubjectResult
from mri_pipeline.core.visits import Contrast
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import write_tables
from reading_centre.use_cases.analysis.overview import Listed, latest_result, write_overview


def write_bids_tables(
    raw: RawDataset, derivatives: DerivativeDataset, *, subjects: Sequence[str], rules: LesionRules | None = None
) -> list[Path]:
    """Write the tables of participants, and the index page over all participants.

    Parameters
    ----------
    raw : RawDataset
    derivatives : DerivativeDataset
    subjects : sequence of str
        Participants in the tables; labels without ``sub-``.
    rules : LesionRules, optional
        Lesion rules of the analysis. The methods text is only written if they are given.

    Returns
    -------
    list of Path
        The tables and their dictionary.

    Raises
    ------
    UsageError
        If rules, segmenter or software differ between the participants.
    """
    results = load_results(derivatives, subjects)
    indexes = {subject: _index_of(raw, derivatives, subject) for subject in subjects}
    inputs = [
        SubjectInput(
            results.get(subject, SubjectResult(subject)),
            scans=_states(index, results.get(subject)),
            visits=found_visits(session.visit for session in index.sessions),
        )
        for subject, index in indexes.items()
    ]
    digest = require_one_digest(results)
    tables = write_tables(
        derivatives.tables,
        inputs,
        (),
        study="",
        provisional=True,
        settings_digest=digest,
        session_order={
            subject: {"order": [session.visit for session in index.sessions], "source": index.order_source}
            for subject, index in indexes.items()
        },
    )
    others = {one: _index_of(raw, derivatives, one) for one in set(derivatives.subjects()) - set(indexes)}
    listed = [_listed(derivatives, index, digest) for index in (indexes | others).values()]
    write_overview(derivatives.reports, listed, settings_digest=digest, rules=rules)
    return tables


def load_results(derivatives: DerivativeDataset, subjects: Iterable[str]) -> dict[str, SubjectResult]:
    """Load the available results of participants.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subjects : iterable of str
        Labels without ``sub-``.

    Returns
    -------
    dict of str to SubjectResult
        Sorted by label. A participant without a result is left out.
    """
    files = {subject: derivatives.result(subject) for subject in sorted(subjects)}
    return {subject: load_result(file) for subject, file in files.items() if file.is_file()}


def require_one_digest(results: Mapping[str, SubjectResult], digest: str | None = None) -> str:
    """Common settings digest of all results.

    Results of different lesion rules, segmenters or software must not be in one table.

    Parameters
    ----------
    results : mapping of str to SubjectResult
        By participant label.
    digest : str, optional
        Digest that all results must have. Default: that of the first result.

    Returns
    -------
    str
        Empty if there is no result and no `digest`.

    Raises
    ------
    UsageError
        If the digests differ.
    """
    for subject, result in results.items():
        digest = digest or result.rules_digest
        if result.rules_digest != digest:
            raise UsageError(
                f"expected participants analysed by one set of lesion rules, one segmenter and one software, found "
                f"sub-{subject} with rules digest {result.rules_digest[:12]}, expected {digest[:12]}",
                hint="analyse all participants again, or name another OUT_DIR",
            )
    return digest or ""


def _index_of(raw: RawDataset, derivatives: DerivativeDataset, subject: str) -> SubjectIndex:
    """Index of the last analysis of a participant; a new index if there was none."""
    path = derivatives.input_index(subject)
    if path.is_file():
        return SubjectIndex.model_validate_json(path.read_bytes())
    return index_dataset(raw.root, [subject])[subject]


def _listed(derivatives: DerivativeDataset, index: SubjectIndex, digest: str) -> Listed:
    """A participant as the index page lists it."""
    result, reason = latest_result(derivatives, index.subject, digest)
    return Listed(
        index.subject,
        _states(index, result),
        result,
        reason,
        order_source=index.order_source,
        ignored=tuple(map(str, index.ignored)),
    )


def _states(index: SubjectIndex, result: SubjectResult | None) -> dict[str, ScanStatus]:
    """Status of each session: analysed, failed, or refused without a FLAIR."""
    analysed = {counts.visit for counts in result.visits} if result else set()
    states = {}
    for session in index.sessions:
        refused = Contrast.FLAIR not in session.scans and not index.problems
        failed = ScanStatus.REFUSED if refused else ScanStatus.FAILED
        states[session.visit] = ScanStatus.ANALYSED if session.visit in analysed else failed
    return states
