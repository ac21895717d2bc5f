"""Tables of a trial from automatic results and confirmed reads, counted by the same rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from mri_pipeline.analysis import steps
from mri_pipeline.analysis.derivatives import read_labels, read_masks
from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import GridMismatchError, ReadingCentreError, UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import DerivativeDataset, Trial
from mri_pipeline.core.plan import planned_visits
from mri_pipeline.core.protocol import LesionRules, Protocol, load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import ReadStatus, ScanStatus, SubjectResult
from mri_pipeline.core.visits import Contrast, VisitMasks
from mri_pipeline.reading.store import load_read
from mri_pipeline.registry import Registry, SubjectState, VisitState
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import save_tables, table_texts, unlocked_visits
from mri_pipeline.tables.release import release_tables
from reading_centre.memory import keep_freed_memory


@dataclass(frozen=True)
class WrittenTables:
    """Written tables.

    Parameters
    ----------
    files : tuple of Path
    refused : mapping of str to ReadingCentreError
        Subjects with unusable results, by blinded code. Their rows contain no numbers.
    """

    files: tuple[Path, ...]
    refused: Mapping[str, ReadingCentreError]


def write_trial_tables(folder: Path, *, provisional: bool, nprocs: int = 1) -> WrittenTables:
    """Write the blinded tables.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    provisional : bool
        True: all analysed visits, with the status of the read in each row. False: locked reads only.
    nprocs : int
        Number of processes that count subjects. The tables do not depend on it. The memory of each process does not
        depend on the number of subjects.

    Returns
    -------
    WrittenTables
        If analysis and reads of one subject are inconsistent, the numbers of the others are not affected.

    Raises
    ------
    UsageError
        If nothing is analysed, if no subject has usable results, or if no read is locked and `provisional` is False.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        without_numbers: list[
            SubjectInput
        ] = []  # without lesions, because those of a whole trial may exceed the memory
        refused: dict[str, ReadingCentreError] = {}
        texts = table_texts(
            _subjects(trial, protocol, registry.state().subjects, without_numbers, refused, nprocs=nprocs),
            planned_visits(protocol),
            study=protocol.name,
            provisional=provisional,
        )
        analysed = sum(status is ScanStatus.ANALYSED for s in without_numbers for status in s.scans.values())
        if not analysed:
            for error in refused.values():
                raise error
            raise UsageError("expected analysed visits, found none", hint="run 'mri-pipeline run TRIAL' first")
        if not provisional and unlocked_visits(without_numbers) == analysed:
            raise UsageError(
                "expected locked reads, found none",
                hint="confirm and lock reads with 'mri-pipeline read', or ask for --provisional tables",
            )
        written = save_tables(
            trial.tables, texts, provisional=provisional, settings_digest=settings_digest(protocol)
        )
        registry.audit(
            "tables written",
            details={"provisional": provisional, "analysed visits": analysed, "refused": sorted(refused)},
        )
    return WrittenTables(tuple(written), refused)


def _subjects(
    trial: Trial,
    protocol: Protocol,
    states: Sequence[SubjectState],
    without_numbers: list[SubjectInput],
    refused: dict[str, ReadingCentreError],
    *,
    nprocs: int,
) -> Iterator[SubjectInput]:
    """Yield all subjects. If the results of a subject cannot be used, its visits count as failed.

    Each subject is also added to `without_numbers`, without its results. Subjects with unusable results are added to
    `refused` with the reason.
    """
    for state, result in zip(states, _counted(trial, protocol, states, nprocs=nprocs), strict=True):
        scans = {visit.visit: visit.scan.for_tables for visit in state.visits}
        reads = {visit.visit: visit.read or ReadStatus.AUTOMATIC for visit in state.visits}
        empty = SubjectResult(state.code)
        if isinstance(result, ReadingCentreError):
            refused[state.code] = result
            scans |= dict.fromkeys(_analysed(state), ScanStatus.FAILED)
        without_numbers.append(SubjectInput(empty, scans=scans, reads=reads))
        yield replace(without_numbers[-1], result=empty if isinstance(result, ReadingCentreError) else result)


def _counted(
    trial: Trial, protocol: Protocol, states: Sequence[SubjectState], *, nprocs: int
) -> Iterator[SubjectResult | ReadingCentreError]:
    count = partial(_result_or_error, trial, protocol)
    if nprocs == 1:
        keep_freed_memory()
        yield from map(count, states)
        return
    # new process, because this process holds the registry open
    with ProcessPoolExecutor(nprocs, get_context("spawn"), initializer=keep_freed_memory) as pool:
        yield from pool.map(count, states)


def _result_or_error(trial: Trial, protocol: Protocol, state: SubjectState) -> SubjectResult | ReadingCentreError:
    try:
        return _result(trial, protocol, state, _analysed(state))
    except ReadingCentreError as error:
        return error


def _analysed(state: SubjectState) -> list[str]:
    return [visit.visit for visit in state.visits if visit.scan.for_tables is ScanStatus.ANALYSED]


def _result(trial: Trial, protocol: Protocol, state: SubjectState, analysed: list[str]) -> SubjectResult:
    """Results of a subject; counted again if a reader has confirmed a visit."""
    if not analysed:
        return SubjectResult(state.code)
    automatic = load_result(trial.derivatives.result(state.code))
    if automatic.rules_digest != settings_digest(protocol.lesions):
        raise UsageError(
            f"subject {state.code}: expected an analysis by the present lesion rules and software, found "
            "one by other rules or another version",
            hint="run the analysis again: mri-pipeline run TRIAL, then export and read what changed",
        )
    if {counts.visit for counts in automatic.visits} != set(analysed):
        raise UsageError(
            f"subject {state.code}: expected numbers of the visits whose scans count, found those of other visits",
            hint="a scan was withdrawn or replaced since: run the analysis again",
        )
    confirmed = {}
    for visit in state.visits:
        if visit.visit in analysed and visit.read is not None:
            confirmed[visit.visit] = _confirmed(trial, state.code, visit)
    if not confirmed:
        return automatic
    weeks = {visit.label: visit.week for visit in protocol.visits}
    return _recount(trial.derivatives, state.code, analysed, confirmed, rules=protocol.lesions, weeks=weeks)


def _confirmed(trial: Trial, subject: str, visit: VisitState) -> VisitMasks:
    """Load the read that the registry has recorded."""
    read = load_read(trial.reads, subject, visit.visit)
    if read is None or read.record.digest != visit.read_digest:
        raise UsageError(
            f"subject {subject}, visit {visit.visit}: expected the read that the registry knows, found "
            + ("none" if read is None else "another"),
            hint="import the reader's worklist again",
        )
    return read.masks


def _recount(
    derivatives: DerivativeDataset,
    subject: str,
    visits: list[str],
    confirmed: Mapping[str, VisitMasks],
    *,
    rules: LesionRules,
    weeks: Mapping[str, int | None],
) -> SubjectResult:
    """Track again with the masks of the readers. A read that accepts everything changes no count."""
    masks = [_images_beside(derivatives, subject, visit, confirmed.get(visit)) for visit in visits]
    location = nifti.load_labels(derivatives.space(subject).location)
    return steps.count(subject, masks, tissue_location=location, rules=rules, weeks=weeks)


def _images_beside(
    derivatives: DerivativeDataset, subject: str, visit: str, confirmed: VisitMasks | None
) -> VisitMasks:
    """Valid masks with the FLAIR of the visit; the automatic masks if the visit is unread."""
    if confirmed is None:
        return read_masks(derivatives, subject, visit)
    flair = nifti.load_image(derivatives.image(subject, visit, Contrast.FLAIR))
    if not confirmed.t2_lesions.grid.same_as(flair.grid):
        raise GridMismatchError(
            f"subject {subject}, visit {visit}: expected the read on the grid of the analysis, found another",
            hint="the read was made in another space: restore reads/ from its backup and run the analysis again",
        )
    return replace(
        confirmed, flair=flair, t1_hypointensity=read_labels(derivatives.t1_hypointensity(subject, visit))
    )


def release_trial_tables(folder: Path, *, reason: str, out: Path) -> list[Path]:
    """Write tables with trial numbers, using the sealed key. The audit trail records the reason.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    reason : str
    out : Path
        Folder for the unblinded tables.

    Returns
    -------
    list of Path
        The unblinded tables and their dictionary.

    Raises
    ------
    UsageError
        As `mri_pipeline.tables.release.release_tables`.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    if not reason.strip():
        raise UsageError("expected --reason with --release, found none", hint="say why the blinding is lifted")
    key = {code: (subject.site, subject.number) for code, subject in Sealed.open(trial).release().items()}
    with Registry.open(trial, protocol) as registry:
        # record before the release: an interrupted release may already have lifted the blinding
        registry.audit("tables released", details={"reason": reason, "subjects": len(key)})
    return list(release_tables(trial.tables, out, key, reason=reason).files)
