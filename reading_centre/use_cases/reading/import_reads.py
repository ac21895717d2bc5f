"""Import of the decisions of a reader. The registry records reader and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mri_pipeline.analysis.reads.check import check_read
from mri_pipeline.core.accounts import Role
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.decisions import Imported, import_decisions
from mri_pipeline.reading.record import ReadRecord
from mri_pipeline.registry import Registry, Use
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.reading.comparison import (
    compare_open_reads,
    import_adjudication,
)
from reading_centre.use_cases.reading.known_reads import (
    Summary,
    counts_of,
    known_reads,
    reader_code,
)
from reading_centre.use_cases.reading.serial import previous_lesions
from reading_centre.use_cases.trial.staging import only_writer


def import_reads(folder: Path, worklist: Path, *, reader: str) -> Summary:
    """Import the decisions of a reader into files and registry. Unread visits remain open.

    The read of another reader is never replaced. If the protocol asks for two reads of each visit, complete pairs are
    compared.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    worklist : Path
        Folder of the exported worklist with the decisions.
    reader : str
        Code of the reader.

    Returns
    -------
    dict
        ``confirmed``, ``unchanged`` and ``not_read_yet``: number of visits. ``notes``: messages to the reader on what
        was cut off or does not count. With two reads of each visit also ``to_adjudicate``: number of visits whose
        reads disagree, in the whole trial.

    Raises
    ------
    SettingsError
        If ``trial.toml`` lists readers and this is none of them.
    UsageError, GridMismatchError, ImageError
        As `mri_pipeline.reading.decisions.import_decisions`, and if the audit trail is broken. Nothing is stored then.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry:
        code = reader_code(protocol, registry, reader)
        if protocol.reader(code).role is Role.ADJUDICATOR:
            imported = import_adjudication(trial, protocol, registry, worklist, reader=code)
        else:
            imported = _import_decisions(trial, protocol, registry, worklist, code)
        if imported.notes:
            registry.audit(AuditAction.READ_NOTES, reader=code, details={"notes": list(imported.notes)})
        compare_open_reads(trial, protocol, registry)
        disputed = sum(visit.disputed for subject in registry.state().subjects for visit in subject.visits)
    summary: Summary = {
        "confirmed": len(imported.reads),
        "unchanged": len(imported.unchanged),
        "not_read_yet": len(imported.unread),
        "notes": list(imported.notes),
    }
    return summary | ({"to_adjudicate": disputed} if protocol.reading.readers == 2 else {})


def _import_decisions(
    trial: Trial, protocol: Protocol, registry: Registry, worklist: Path, reader: str
) -> Imported:
    return import_decisions(
        worklist,
        reads=trial.reads,
        reader=reader,
        enter=lambda records: enter_reads(registry, reader, records),
        check=lambda masks, what: check_read(masks, protocol.lesions, what=what),
        known=known_reads(registry, reader, ReadStatus.CONFIRMED, wanted=protocol.reading.readers),
        hold=lambda subject: only_writer(trial, subject),
        previous_t2=previous_lesions(trial, protocol, registry),
    )


def enter_reads(
    registry: Registry, reader: str, records: Sequence[ReadRecord], status: ReadStatus = ReadStatus.CONFIRMED
) -> None:
    """Enter the reads and hidden second reads of a reader in the registry, all or none.

    Parameters
    ----------
    registry : Registry
    reader : str
        Code of the reader.
    records : sequence of ReadRecord
    status : ReadStatus
        Confirmed, or adjudicated.
    """
    reads, rereads = (
        {(record.subject, record.visit): counts_of(record) for record in records if record.reread is reread}
        for reread in (False, True)
    )
    registry.record_reads(reads, reader=reader, status=status, rereads=rereads)
