"""Agreement of the readers of a trial, as a page and a CSV file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.analysis.derivatives import LOCATION_FILE, files_of_counts
from mri_pipeline.analysis.reads.agreement import AgreementRow, ReadPair, agreement_rows, read_pairs
from mri_pipeline.core.accounts import Role
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.provenance import settings_digest, software
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.reading.store import load_read, load_record
from mri_pipeline.registry import ReadState, Registry, SubjectState, Use
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.tables.columns import Row
from mri_pipeline.tables.io import csv_text
from qc.reports.agreement import AgreementGroup, agreement_html

PAGE, TABLE = "agreement.html", "agreement.csv"
COLUMNS = ("comparison", "readers", "endpoint", "statistic", "value", "low", "high", "visits")
BETWEEN, WITHIN = "between readers", "within reader"


@dataclass(frozen=True)
class StoredRead:
    """One version of a read in ``reads/``.

    Parameters
    ----------
    visit : str
        Label of the visit.
    reader : str
        Code of the reader.
    version : int
    reread : bool
        True for a hidden second read.
    """

    visit: str
    reader: str
    version: int
    reread: bool = False


Found = Mapping[tuple[str, str], Mapping[str, Sequence[tuple[StoredRead, StoredRead]]]]
"""Pairs of reads in the order of time, by comparison and readers, and by subject."""


def write_agreement(folder: Path) -> list[Path]:
    """Write the page and the table of the agreement of readers to ``reports/``.

    The reads are those that were compared first: before adjudication and correction.

    Parameters
    ----------
    folder : Path
        Folder of the trial.

    Returns
    -------
    list of Path
        Page and table.

    Raises
    ------
    UsageError
        If the audit trail is broken, no visit has two reads, or the files of a read are missing or changed.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry:
        found = {**_between(trial, protocol, registry), **_within(protocol, registry)}
        groups = _groups(trial, protocol, found)
        if not groups:
            raise UsageError(
                "expected visits with two reads, found none",
                hint="two readers, or re-reads, are settings of trial.toml: [reading] readers, rereads_percent",
            )
        registry.audit(
            AuditAction.AGREEMENT_WRITTEN, details={"groups": [f"{g.comparison} {g.readers}" for g in groups]}
        )
    page = agreement_html(
        groups, study=protocol.name, settings_digest=settings_digest(protocol), software=software()
    )
    rows = [_csv_row(group, row) for group in groups for row in group.rows]
    return [
        write_atomic(trial.reports / PAGE, page),
        write_atomic(trial.reports / TABLE, csv_text(COLUMNS, rows)),
    ]


def _csv_row(group: AgreementGroup, row: AgreementRow) -> Row:
    numbers = (row.estimate.value, row.estimate.low, row.estimate.high)
    value, low, high = (None if number is None else f"{number:.6f}" for number in numbers)
    return {
        "comparison": group.comparison,
        "readers": group.readers,
        "endpoint": row.endpoint,
        "statistic": row.statistic,
        "value": value,
        "low": low,
        "high": high,
        "visits": row.n,
    }


def _groups(trial: Trial, protocol: Protocol, found: Found) -> list[AgreementGroup]:
    groups = []
    for (comparison, readers), subjects in found.items():
        pairs: list[ReadPair] = []
        for subject, series in subjects.items():  # one subject in memory at a time
            first, second = ([_masks(trial, subject, pair[i]) for pair in series] for i in (0, 1))
            files = files_of_counts(trial.derivatives, subject, first[0].visit)
            pairs += read_pairs(first, second, nifti.load_labels(files[LOCATION_FILE]), protocol.lesions)
        rows = tuple(agreement_rows(pairs))
        groups.append(AgreementGroup(comparison, readers, len(subjects), len(pairs), rows))
    return groups


def _between(trial: Trial, protocol: Protocol, registry: Registry) -> Found:
    """The reads of two readers of the same visits."""
    compared = _first_compared(registry)
    found: dict[tuple[str, str], dict[str, list[tuple[StoredRead, StoredRead]]]] = {}
    for subject in registry.state().subjects:
        for visit, pair in _pairs_of(protocol, subject):
            digests = compared.get((subject.code, visit), {})
            one, two = (_as_compared(trial, subject.code, visit, read, digests) for read in pair)
            key = BETWEEN, "-".join(read.reader for read in pair)
            found.setdefault(key, {}).setdefault(subject.code, []).append((one, two))
    return found


def _within(protocol: Protocol, registry: Registry) -> Found:
    """Each hidden second read and the read that it repeats."""
    order = {visit.label: number for number, visit in enumerate(protocol.visits)}
    found: dict[tuple[str, str], dict[str, list[tuple[StoredRead, StoredRead]]]] = {}
    for entry in registry.entries_on_scans(AuditAction.REREAD):
        subject, _, visit = entry.target.partition(" ")
        first = StoredRead(visit, entry.reader, int(entry.details["of"]["version"]))
        second = StoredRead(visit, entry.reader, int(entry.details["version"]), reread=True)
        found.setdefault((WITHIN, entry.reader), {}).setdefault(subject, []).append((first, second))
    for subjects in found.values():
        for pairs in subjects.values():
            pairs.sort(key=lambda pair: order.get(pair[0].visit, len(order)))
    return found


def _pairs_of(protocol: Protocol, subject: SubjectState) -> Iterator[tuple[str, tuple[ReadState, ReadState]]]:
    """Visits of a subject with two reads, in the order of ``trial.toml``."""
    order = [listed.code for listed in protocol.readers if listed.role is Role.READER]
    for visit in subject.visits:
        reads = sorted((r for r in visit.reads if r.reader in order), key=lambda read: order.index(read.reader))
        if len(reads) == 2:
            yield visit.visit, (reads[0], reads[1])


def _first_compared(registry: Registry) -> dict[tuple[str, str], Mapping[str, str]]:
    """Digest of each read at the first comparison of a visit, by reader."""
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    for entry in registry.entries_on_scans(AuditAction.READS_COMPARED):
        subject, _, visit = entry.target.partition(" ")
        found.setdefault((subject, visit), entry.details["reads"])
    return found


def _as_compared(
    trial: Trial, subject: str, visit: str, known: ReadState, digests: Mapping[str, str]
) -> StoredRead:
    """The version of a read at the first comparison; the present one if it was not compared."""
    wanted = digests.get(known.reader, known.digest)
    for version in range(1, known.version + 1):
        record = load_record(trial.reads, subject, visit, known.reader, version)
        if record is not None and record.digest == wanted:
            return StoredRead(visit, known.reader, version)
    raise _missing(subject, visit)


def _masks(trial: Trial, subject: str, of: StoredRead) -> VisitMasks:
    read = load_read(trial.reads, subject, of.visit, of.reader, of.version, reread=of.reread)
    if read is None:
        raise _missing(subject, of.visit)
    return read.masks


def _missing(subject: str, visit: str) -> UsageError:
    return UsageError(
        f"subject {subject}, visit {visit}: expected the read that was compared, found none",
        hint="restore reads/ from its backup and report the deviation",
    )
