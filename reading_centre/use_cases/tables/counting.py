"""What the tables count of a subject: automatic results or confirmed reads, by the same rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mri_pipeline.analysis import steps
from mri_pipeline.analysis.derivatives import (
    FLAIR_FILE,
    LOCATION_FILE,
    T1_HYPOINTENSITY_FILE,
    files_of_counts,
    read_masks,
)
from mri_pipeline.core.accounts import Role
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import GridMismatchError, ReadingCentreError, UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import LesionRules, Protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import ReadStatus, ScanStatus, SubjectResult
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.reading.lock import kept_inputs
from mri_pipeline.registry import ScanState, SubjectState
from mri_pipeline.tables.inputs import Evaluator, SubjectInput
from reading_centre.use_cases.reading.known_reads import stored_read


def subject_input(
    protocol: Protocol, state: SubjectState, result: SubjectResult | ReadingCentreError
) -> SubjectInput:
    """Scans, reads and results of a subject, as the tables show them.

    Parameters
    ----------
    protocol : Protocol
    state : SubjectState
    result : SubjectResult or ReadingCentreError
        An error: the analysed visits count as failed.

    Returns
    -------
    SubjectInput
    """
    scans = {visit.visit: visit.scan.for_tables for visit in state.visits}
    if isinstance(result, ReadingCentreError):
        scans |= dict.fromkeys(analysed_visits(state), ScanStatus.FAILED)
        result = SubjectResult(state.code)
    counting = {visit.visit: visit.counting for visit in state.visits if visit.counting}
    return SubjectInput(
        result,
        scans=scans,
        reads={visit.visit: visit.read or ReadStatus.AUTOMATIC for visit in state.visits},
        evaluators={visit: _evaluator(read.reader, protocol) for visit, read in counting.items()},
        versions={visit: read.version for visit, read in counting.items()},
    )


def counted_subject(
    trial: Trial, protocol: Protocol, state: SubjectState, depends: LockInputs
) -> tuple[SubjectInput, CountedMasks | None]:
    """A subject as the tables count it, and the masks that are counted.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    state : SubjectState
    depends : mapping of str to mapping
        As in `counted_masks`.

    Returns
    -------
    SubjectInput
    CountedMasks or None
        Those of the analysis if no read counts. None without an analysed visit.

    Raises
    ------
    UsageError, GridMismatchError, ImageError
        As `counted_masks`.
    """
    result = subject_result(trial, protocol, state, analysed_visits(state), depends)
    if not analysed_visits(state):
        return subject_input(protocol, state, result), None
    _, counted = counted_masks(trial, protocol, state, depends, unread=True)
    return subject_input(protocol, state, result), counted


def _evaluator(code: str, protocol: Protocol) -> Evaluator:
    """Reader whose read counts, and whether it is an adjudicator by the list of readers."""
    adjudicators = {reader.code for reader in protocol.readers if reader.role is Role.ADJUDICATOR}
    return Evaluator(code, adjudicator=code in adjudicators)


LockInputs = Mapping[str, Mapping[str, Any]]
"""For each locked visit of a subject, what its counts depend on (`RegistryQueries.locked_inputs`)."""


def analysed_visits(state: SubjectState) -> list[str]:
    """Visits of a subject whose scans are analysed.

    Parameters
    ----------
    state : SubjectState

    Returns
    -------
    list of str
        Labels in the order of time.
    """
    return [visit.visit for visit in state.visits if visit.scan.for_tables is ScanStatus.ANALYSED]


@dataclass(frozen=True)
class CountedMasks:
    """Masks and location map from which the lesions of a subject are counted.

    Parameters
    ----------
    masks : tuple of VisitMasks
        Of all analysed visits in order of time: those of the read that counts, else the automatic ones.
    location : LabelImage
        Location map.
    weeks : mapping of str to (int or None)
    """

    masks: tuple[VisitMasks, ...]
    location: LabelImage
    weeks: Mapping[str, int | None]


def subject_result(
    trial: Trial, protocol: Protocol, state: SubjectState, analysed: list[str], depends: LockInputs
) -> SubjectResult:
    """Results of a subject; counted again if a reader has confirmed a visit.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    state : SubjectState
    analysed : list of str
        As `analysed_visits`.
    depends : mapping of str to mapping
        As in `counted_masks`.

    Returns
    -------
    SubjectResult

    Raises
    ------
    UsageError, GridMismatchError, ImageError
        As `counted_masks`.
    """
    if not analysed:
        _require_no_earlier_results(trial, state)
        return SubjectResult(state.code)
    automatic, counted = counted_masks(trial, protocol, state, depends)
    if counted is None:
        return automatic
    return steps.count(
        state.code,
        counted.masks,
        tissue_location=counted.location,
        rules=protocol.lesions,
        weeks=counted.weeks,
    )


def counted_masks(
    trial: Trial, protocol: Protocol, state: SubjectState, depends: LockInputs, *, unread: bool = False
) -> tuple[SubjectResult, CountedMasks | None]:
    """The automatic results of a subject with an analysed visit, and the masks that the tables count.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    state : SubjectState
    depends : mapping of str to mapping
        For each locked visit, what its counts depend on (`RegistryQueries.locked_inputs`).
    unread : bool, optional
        True: the masks of the analysis, too, if no read counts.

    Returns
    -------
    SubjectResult
    CountedMasks or None
        None if no read counts and `unread` is False: the automatic results are in the tables.

    Raises
    ------
    UsageError, GridMismatchError, ImageError
        If analysis, reads and lesion rules do not belong together, or a file is missing or changed.
    """
    analysed = analysed_visits(state)
    automatic = load_result(trial.derivatives.result(state.code))
    _require_present(automatic, state, protocol.lesions)
    confirmed = {
        visit.visit: stored_read(trial, state.code, visit.visit, visit.counting).masks
        for visit in state.visits
        if visit.visit in analysed and visit.counting is not None
    }
    if not confirmed and not unread:
        return automatic, None
    files = _files_beside(trial, state.code, analysed, depends, protocol.lesions)
    masks = [
        _images_beside(trial.derivatives, state.code, visit, confirmed.get(visit), own)
        for visit, own in files.items()
    ]
    weeks = {visit.label: visit.week for visit in protocol.visits}
    return automatic, CountedMasks(tuple(masks), _location(trial, files.values()), weeks)


def _require_no_earlier_results(trial: Trial, state: SubjectState) -> None:
    """Refuse results of an earlier analysis that includes a scan which was withdrawn or replaced since."""
    received = {visit.visit for visit in state.visits if visit.scan is ScanState.RECEIVED}
    results = trial.derivatives.result(state.code)
    if received and results.is_file() and received & {counts.visit for counts in load_result(results).visits}:
        raise _other_visits(state, load_result(results))


def _other_visits(state: SubjectState, automatic: SubjectResult) -> UsageError:
    expected, found = analysed_visits(state), [counts.visit for counts in automatic.visits]
    return UsageError(
        f"subject {state.code}: the analysis has the visits {', '.join(found) or 'none'}; visits with an analysed "
        f"scan: {', '.join(expected) or 'none'}",
        hint="a scan was withdrawn or replaced since: run the analysis again",
    )


def _require_present(automatic: SubjectResult, state: SubjectState, rules: LesionRules) -> None:
    """Refuse automatic results of other lesion rules, software, visits or scans than the present ones."""
    if automatic.rules_digest != settings_digest(rules):
        raise UsageError(
            f"subject {state.code}: the analysis was made by other lesion rules or another version (digest "
            f"{automatic.rules_digest[:12]}, now {settings_digest(rules)[:12]})",
            hint="run the analysis again: mri-pipeline run TRIAL, then export and read what changed",
        )
    require_present_scans(automatic, state)


def require_present_scans(automatic: SubjectResult, state: SubjectState) -> None:
    """Refuse results of other scans or visits than those whose analysis counts.

    Parameters
    ----------
    automatic : SubjectResult
    state : SubjectState

    Raises
    ------
    UsageError
        If a scan was withdrawn or replaced since the analysis.
    """
    analysed = analysed_visits(state)
    keys = {visit.visit: visit.scan_key for visit in state.visits}
    replaced = [visit for visit in analysed if automatic.scan_keys.get(visit) != keys[visit]]
    if replaced:
        raise UsageError(
            f"subject {state.code}, visit {', '.join(replaced)}: the analysis is of a scan that was replaced",
            hint="run the analysis again: mri-pipeline run TRIAL",
        )
    if {counts.visit for counts in automatic.visits} != set(analysed):
        raise _other_visits(state, automatic)


def _files_beside(
    trial: Trial, subject: str, visits: Iterable[str], depends: LockInputs, rules: LesionRules
) -> dict[str, dict[str, Path]]:
    """For each visit, the files that its counts depend on beside the read: copies kept by a lock have priority."""
    files = {}
    for visit in visits:
        locked = depends.get(visit, {})
        _require_rules(subject, visit, locked.get("rules", {}), rules)
        kept = kept_inputs(trial.reads, subject, visit, locked.get("files", {}))
        files[visit] = kept or files_of_counts(trial.derivatives, subject, visit)
    return files


def _location(trial: Trial, files: Iterable[Mapping[str, Path]]) -> LabelImage:
    """Location map of the space that all visits share: a copy kept by a lock has priority."""
    paths = (own[LOCATION_FILE] for own in files)
    return nifti.load_labels(min(paths, key=lambda path: path.is_relative_to(trial.derivatives.root)))


def _require_rules(subject: str, visit: str, locked: Mapping[str, Any], rules: LesionRules) -> None:
    """Refuse other lesion rules than those of the lock. A rule that the lock does not name is a later one."""
    now = rules.model_dump(mode="json")
    changed = sorted(name for name, value in locked.items() if name not in now or now[name] != value)
    if changed:
        raise UsageError(
            f"subject {subject}, visit {visit}: expected the lesion rules under which the read was locked, found "
            f"another {', '.join(changed)}",
            hint="restore [lesions] of trial.toml",
        )


def _images_beside(
    derivatives: DerivativeDataset,
    subject: str,
    visit: str,
    confirmed: VisitMasks | None,
    files: Mapping[str, Path],
) -> VisitMasks:
    """Valid masks with the FLAIR of the visit; the automatic masks if the visit is unread."""
    if confirmed is None:
        return read_masks(derivatives, subject, visit)
    flair = nifti.load_image(files[FLAIR_FILE])
    if not confirmed.t2_lesions.grid.same_as(flair.grid):
        raise GridMismatchError(
            f"subject {subject}, visit {visit}: expected the read on the grid of the analysis "
            f"({flair.grid.shape} voxels), found another grid ({confirmed.t2_lesions.grid.shape} voxels)",
            hint="the read was made in another space: restore reads/ from its backup and run the analysis again",
        )
    dark = files.get(T1_HYPOINTENSITY_FILE)
    return replace(confirmed, flair=flair, t1_hypointensity=None if dark is None else nifti.load_labels(dark))
