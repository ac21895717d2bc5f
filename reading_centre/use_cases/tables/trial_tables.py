"""Tables of a trial: made from all subjects, written, and entered in the audit trail."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from mri_pipeline.analysis.derivatives import (
    files_of_counts,
)
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from mri_pipeline.core.io.digests import file_digests, has_digest
from mri_pipeline.core.io.exchange import read_whole
from mri_pipeline.core.io.nifti import same_content
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.plan import planned_visits
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.provenance import settings_digest, software
from mri_pipeline.core.records import ScanStatus, SubjectResult
from mri_pipeline.reading.lock import locked_folder
from mri_pipeline.registry import Registry, ScanState, SubjectState, Use
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import read_table, save_tables, table_texts, unlocked_visits
from mri_pipeline.tables.schema import QUESTIONS
from reading_centre.memory import keep_freed_memory
from reading_centre.use_cases.tables.counting import LockInputs, analysed_visits, subject_input, subject_result


@dataclass(frozen=True)
class WrittenTables:
    """Written tables.

    Parameters
    ----------
    files : tuple of Path
    refused : mapping of str to ReadingCentreError
        Subjects with unusable results, by blinded code. Their rows contain no numbers.
    notes : tuple of str
        Visits that are not analysed with the present scans, and files of the analysis that have changed since a read
        was locked; the tables use the locked copies.
    questions : int
        Number of rows of questions.csv.
    """

    files: tuple[Path, ...]
    refused: Mapping[str, ReadingCentreError]
    notes: tuple[str, ...] = ()
    questions: int = 0


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
        If the audit trail is broken, nothing is analysed, no subject has usable results, or no read is locked and
        `provisional` is False.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry:
        visits = _Visits()
        trial.work.mkdir(exist_ok=True)  # it may have been deleted
        refused: dict[str, ReadingCentreError] = {}
        texts = table_texts(
            _subjects(trial, protocol, registry, visits, refused, nprocs=nprocs),
            planned_visits(protocol),
            study=protocol.name,
            provisional=provisional,
            scratch=trial.work,
        )
        if not visits.analysed:
            for error in refused.values():
                raise error
            raise UsageError("expected analysed visits, found none", hint="run 'mri-pipeline run TRIAL' first")
        if not provisional and visits.unlocked == visits.analysed:
            raise UsageError(
                "expected locked reads, found none",
                hint="confirm and lock reads with 'mri-pipeline read', or ask for --provisional tables",
            )
        written = save_tables(
            trial.tables, texts, provisional=provisional, settings_digest=settings_digest(protocol)
        )
        registry.audit(
            AuditAction.TABLES_WRITTEN,
            details={
                "provisional": provisional,
                "analysed visits": visits.analysed,
                "refused": sorted(refused),
                "files": file_digests(written),
                "software": software()["mri-pipeline source"],
            },
        )
        notes = (*_not_analysed(registry, refused), *_changed_since_lock(trial, registry))
    questions = len(read_table(trial.tables / QUESTIONS.file))
    return WrittenTables(tuple(written), refused, notes, questions)


def _not_analysed(registry: Registry, refused: Collection[str]) -> Iterator[str]:
    for subject in registry.state().subjects:
        waiting = [visit.visit for visit in subject.visits if visit.scan is ScanState.RECEIVED]
        if waiting and subject.code not in refused:
            yield (
                f"subject {subject.code}, visit {', '.join(waiting)}: not analysed with the present scans, the rows "
                "have no numbers; 'mri-pipeline run TRIAL' analyses them"
            )


def _changed_since_lock(trial: Trial, registry: Registry) -> Iterator[str]:
    for (subject, visit), inputs in sorted(registry.locked_inputs().items()):
        for name, path in files_of_counts(trial.derivatives, subject, visit).items():
            copy = locked_folder(trial.reads, subject, visit) / name
            if not has_digest(path, inputs["files"].get(name)) and not same_content(path, copy):
                yield (
                    f"subject {subject}, visit {visit}: {name} of the analysis has changed since the read was locked; "
                    "the tables use the locked copy"
                )


@dataclass
class _Visits:
    """Number of analysed visits, and of those without a locked read."""

    analysed: int = 0
    unlocked: int = 0


def _subjects(
    trial: Trial,
    protocol: Protocol,
    registry: Registry,
    visits: _Visits,
    refused: dict[str, ReadingCentreError],
    *,
    nprocs: int,
) -> Iterator[SubjectInput]:
    """Yield all subjects. If the results of a subject cannot be used, its visits count as failed.

    Its visits are added to `visits`. Subjects with unusable results are added to `refused` with the reason.
    """
    states = registry.state().subjects
    locked = registry.locked_inputs()
    depends = [{v.visit: locked[s.code, v.visit] for v in s.visits if (s.code, v.visit) in locked} for s in states]
    for state, result in zip(states, _counted(trial, protocol, states, depends, nprocs=nprocs), strict=True):
        if isinstance(result, ReadingCentreError):
            refused[state.code] = result
        one = subject_input(protocol, state, result)
        visits.analysed += sum(status is ScanStatus.ANALYSED for status in one.scans.values())
        visits.unlocked += unlocked_visits([one])
        yield one


def _counted(
    trial: Trial,
    protocol: Protocol,
    states: Sequence[SubjectState],
    depends: Sequence[LockInputs],
    *,
    nprocs: int,
) -> Iterator[SubjectResult | ReadingCentreError]:
    count = partial(_result_or_error, trial, protocol)
    if nprocs == 1:
        keep_freed_memory()
        yield from map(count, states, depends)
        return
    # new process, because this process holds the registry open
    with ProcessPoolExecutor(nprocs, get_context("spawn"), initializer=keep_freed_memory) as pool:
        yield from pool.map(count, states, depends)


def _result_or_error(
    trial: Trial, protocol: Protocol, state: SubjectState, depends: LockInputs
) -> SubjectResult | ReadingCentreError:
    try:
        count = partial(subject_result, trial, protocol, state, analysed_visits(state), depends)
        return read_whole(trial.derivatives.folder(state.code), count)
    except ReadingCentreError as error:
        return error
