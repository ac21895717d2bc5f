"""Comparison of two reads, and the worklist and import of the adjudicator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mri_pipeline.analysis.derivatives import LOCATION_FILE, files_of_counts
from mri_pipeline.analysis.reads.check import check_read
from mri_pipeline.analysis.reads.comparison import ReadSeries, compare_reads
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.reading.adjudication import Dispute
from mri_pipeline.reading.decisions import Imported, import_decisions
from mri_pipeline.reading.record import Opinion, ReadRecord, StoredProposal
from mri_pipeline.registry import ReadState, Registry, ScanState, SubjectState, VisitState
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.reads import comparable
from reading_centre.use_cases.reading.known_reads import counts_of, known_reads, masks_by_kind, stored_read
from reading_centre.use_cases.trial.staging import only_writer


def compare_open_reads(
    trial: Trial, protocol: Protocol, registry: Registry, subjects: Iterable[str] | None = None
) -> None:
    """Compare the complete pairs of reads that are not compared yet. If two reads agree, one of them counts.

    It may be interrupted at any point and called again. A visit waits for the read of the previous analysed visit by
    the same readers, because new T2 lesions are counted from it.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    subjects : iterable of str, optional
        Codes of the subjects; all if None.

    Raises
    ------
    UsageError
        If the files of a read are missing or differ from the registry.
    """
    for code in registry.subjects() if subjects is None else subjects:
        for index in range(len(_analysed(registry.subject(code)))):
            visits = _analysed(registry.subject(code))  # the visit before may just have been compared
            if comparable(visits[index].reads):
                pair = sorted(visits[index].reads, key=lambda read: _rank(protocol, read.reader))
                before = visits[index - 1] if index else None
                reads = {
                    read: found for read in pair if (found := _series(trial, code, visits[index], before, read))
                }
                if len(reads) == len(pair):
                    _compare(trial, protocol, registry, (code, visits[index].visit), reads)


def _analysed(subject: SubjectState) -> list[VisitState]:
    return [visit for visit in subject.visits if visit.scan is ScanState.ANALYSED]


def _series(
    trial: Trial, subject: str, visit: VisitState, before: VisitState | None, read: ReadState
) -> ReadSeries | None:
    """The masks of a read and of the reader's read of the previous visit; None while that read is missing."""
    now = stored_read(trial, subject, visit.visit, read).masks
    if before is None:
        return ReadSeries(now, None)
    earlier = before.by(read.reader) or before.counting
    return ReadSeries(now, stored_read(trial, subject, before.visit, earlier).masks) if earlier else None


def _compare(
    trial: Trial,
    protocol: Protocol,
    registry: Registry,
    of: tuple[str, str],
    reads: Mapping[ReadState, ReadSeries],
) -> None:
    """Compare the reads of a visit. The one that counts if they agree is the first."""
    location = nifti.load_labels(files_of_counts(trial.derivatives, *of)[LOCATION_FILE])
    limits = protocol.reading.comparison
    first, second = reads.values()
    found = compare_reads(first, second, location, protocol.lesions, limits)
    registry.record_comparison(
        *of,
        digests={read.reader: read.digest for read in reads},
        counts="" if found else next(iter(reads)).reader,
        details={"disagreements": [asdict(one) for one in found], "limits": limits.model_dump(mode="json")},
    )


def _rank(protocol: Protocol, reader: str) -> int:
    """Position of a reader in ``trial.toml``; readers who are no longer listed come last."""
    codes = [listed.code for listed in protocol.readers]
    return codes.index(reader) if reader in codes else len(codes)


def opinions_of(visit: VisitState) -> tuple[Opinion, ...]:
    """The compared reads of a visit, for its adjudicator.

    Parameters
    ----------
    visit : VisitState

    Returns
    -------
    tuple of Opinion
    """
    reads = [read for read in visit.reads if read.standing is ReadStanding.COMPARED]
    return tuple(Opinion(read.reader, read.version, read.digest) for read in reads)


def reasons_of(registry: Registry, *, order_known: bool) -> dict[tuple[str, str], tuple[str, ...]]:
    """Differences between the compared reads of each visit, for the adjudicator.

    Parameters
    ----------
    registry : Registry
    order_known : bool
        False: the texts are the same at first and later visits. A difference in new T2 lesions is one in T2 lesions.

    Returns
    -------
    dict of (subject, visit) to tuple of str
        From the latest comparison. Empty if the reads agree.
    """
    texts = _DIFFERENCES if order_known else _DIFFERENCES | dict.fromkeys(_T2_LIMITS, "T2 lesions")
    found = {}
    for entry in registry.entries_on_scans(AuditAction.READS_COMPARED):
        subject, _, visit = entry.target.partition(" ")
        told = [texts[one["limit"]].format(**one) for one in entry.details["disagreements"]]
        found[subject, visit] = tuple(dict.fromkeys(told))
    return found


_DIFFERENCES = {
    "max_gel_count_difference": "number of GEL, by {found:g}",
    "gel_seen_by_one": "{found:g} GEL seen by one reader alone",
    "max_new_t2_count_difference": "number of new T2 lesions, by {found:g}",
    "max_t2_volume_difference_percent": "T2 volume, by {found:.0f} %",
}
_T2_LIMITS = ("max_new_t2_count_difference", "max_t2_volume_difference_percent")


def dispute_from_files(
    trial: Trial, subject: str, visit: str, opinions: tuple[Opinion, Opinion], reasons: tuple[str, ...] = ()
) -> Dispute:
    """The masks of two reads.

    Parameters
    ----------
    trial : Trial
    subject, visit : str
        Blinded code and visit label.
    opinions : tuple of 2 Opinion
        Read A and read B.
    reasons : tuple of str
        From `reasons_of`.

    Returns
    -------
    Dispute

    Raises
    ------
    UsageError
        If the files of a read are missing or differ from the registry.
    """
    a, b = (
        masks_by_kind(
            stored_read(
                trial,
                subject,
                visit,
                ReadState(one.reader, ReadStatus.CONFIRMED, version=one.version, digest=one.digest),
            ).masks
        )
        for one in opinions
    )
    return Dispute(opinions, a, b, reasons)


def import_adjudication(
    trial: Trial, protocol: Protocol, registry: Registry, worklist: Path, *, reader: str
) -> Imported:
    """Import the decisions of an adjudicator into files and registry.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    worklist : Path
        Folder of the exported worklist with the decisions.
    reader : str
        Code of the adjudicator.

    Returns
    -------
    Imported

    Raises
    ------
    UsageError, GridMismatchError, ImageError
        As `import_decisions`, and if a read has changed since the export. Nothing is stored then.
    """

    def dispute_of(proposal: StoredProposal) -> Dispute:
        states = {visit.visit: visit for visit in registry.subject(proposal.subject).visits}
        now = {read.digest for read in states[proposal.visit].reads}
        first, second = proposal.opinions
        if not {first.digest, second.digest} <= now:
            raise UsageError(
                f"item {proposal.reading_code}: a read was changed or withdrawn since this export",
                hint="export the worklist of the adjudicator again",
            )
        return dispute_from_files(trial, proposal.subject, proposal.visit, (first, second))

    def enter(records: Sequence[ReadRecord]) -> None:
        reads = {(record.subject, record.visit): counts_of(record) for record in records}
        registry.record_reads(reads, reader=reader, status=ReadStatus.ADJUDICATED)

    return import_decisions(
        worklist,
        reads=trial.reads,
        reader=reader,
        enter=enter,
        check=lambda masks, what: check_read(masks, protocol.lesions, what=what),
        known=known_reads(registry, reader, ReadStatus.ADJUDICATED, wanted=protocol.reading.readers),
        hold=lambda subject: only_writer(trial, subject),
        dispute_of=dispute_of,
    )
