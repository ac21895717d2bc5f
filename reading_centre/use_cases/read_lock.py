"""Lock of confirmed reads against changes, and unlock for a correction."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mri_pipeline.analysis.derivatives import files_of_counts
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.lock import keep_inputs, protect_read
from mri_pipeline.registry import ReadState, Registry
from reading_centre.use_cases.known_reads import Summary, reader_code, stored_read
from reading_centre.use_cases.staging import only_writer


def lock_reads(folder: Path, *, reader: str) -> Summary:
    """Lock all reads of a reader that count.

    Either all reads are locked or none: the registry locks them when all files are in place. The images that the counts
    read are copied, so that a later analysis changes no locked number.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    reader : str
        Code of the reader.

    Returns
    -------
    dict
        ``locked``: number of visits.

    Raises
    ------
    UsageError
        If the reader has no read to lock, or if a read in the files differs from the registry.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry, ExitStack() as held:
        code = reader_code(protocol, registry, reader)
        for subject in sorted({subject for subject, _ in _to_lock(registry, code)}):
            held.enter_context(only_writer(trial, subject))
        reads = _to_lock(registry, code)  # nobody changes them any more
        if not reads:
            raise UsageError(
                "expected confirmed reads of this reader, found none",
                hint="import a worklist first: mri-pipeline read TRIAL --import DIR --reader R",
            )
        rules = protocol.lesions.model_dump(mode="json")
        inputs: dict[tuple[str, str], dict[str, Any]] = {}
        for (subject, visit), known in reads.items():
            protect_read(trial.reads, stored_read(trial, subject, visit, known).record)
            kept = keep_inputs(trial.reads, subject, visit, files_of_counts(trial.derivatives, subject, visit))
            inputs[subject, visit] = {"files": kept, "rules": rules}
        registry.lock_reads(reads, reader=code, inputs=inputs)
    return {"locked": len(reads)}


def _to_lock(registry: Registry, reader: str) -> dict[tuple[str, str], ReadState]:
    return {
        (subject.code, visit.visit): visit.counting
        for subject in registry.state().subjects
        for visit in subject.visits
        if visit.counting is not None
        and visit.counting.reader == reader
        and visit.counting.status is not ReadStatus.LOCKED
    }
