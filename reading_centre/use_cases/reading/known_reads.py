"""What the registry knows of the reads, for the commands on reads."""

from __future__ import annotations

from mri_pipeline.core.accounts import Role
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.reading.confirmed import KnownRead
from mri_pipeline.reading.decisions import Known
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.record import ConfirmedRead, ReadPurpose, ReadRecord, StoredProposal
from mri_pipeline.reading.store import load_read
from mri_pipeline.registry import ReadCounts, ReadState, Registry
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.reads import refusal_of

_REREAD_HINT = "import the worklist of the reader for whom it was exported, once"
Summary = dict[str, int | str | list[str]]
"""What a command reports: numbers, and lists of messages."""


def reader_code(protocol: Protocol, registry: Registry, code: str, role: Role | None = None) -> str:
    """The code of a reader as the trial spells it: ``r1`` is ``R1``.

    Parameters
    ----------
    protocol : Protocol
    registry : Registry
    code : str
        As given to the command.
    role : Role, optional
        The role in which the reader acts. None: any role.

    Returns
    -------
    str
        As listed in ``trial.toml``. Without a list, as at the reader's earlier reads, else as given.

    Raises
    ------
    SettingsError
        As `Protocol.reader`.
    """
    if protocol.readers:
        return protocol.reader(code, role).code
    visits = (visit for subject in registry.state().subjects for visit in subject.visits)
    known = {reader.upper(): reader for visit in visits for reader in visit.readers}
    return known.get(code.upper(), code)


def known_reads(registry: Registry, reader: str, status: ReadStatus, *, wanted: int) -> Known:
    """The earlier reads of a reader.

    Parameters
    ----------
    registry : Registry
    reader : str
        Code of the reader.
    status : ReadStatus
        Confirmed or adjudicated.
    wanted : int
        Number of reads of each visit.

    Returns
    -------
    callable
    """
    again = rereads_of(registry, reader)

    def known(proposal: StoredProposal) -> KnownRead:
        subject, visit = proposal.subject, proposal.visit
        state = next((state for state in registry.subject(subject).visits if state.visit == visit), None)
        own = None if state is None else state.by(reader)
        if proposal.purpose is ReadPurpose.REREAD:
            digest = again.get((subject, visit), "")
            found = "an item of another reader" if own is None else "an item that was read and imported already"
            refusal = None if own is not None and not digest else ("a visit of this reader", found, _REREAD_HINT)
            return KnownRead(int(bool(digest)), digest, refusal)
        if state is None:
            return KnownRead()
        refusal = refusal_of(state.reads, reader, status, wanted=wanted)
        if own is None:
            return KnownRead(refusal=refusal)
        return KnownRead(
            own.version,
            own.digest,
            refusal,
            renewed=own.standing is ReadStanding.REOPENED,
            locked=own.status is ReadStatus.LOCKED,
        )

    return known


def rereads_of(registry: Registry, reader: str) -> dict[tuple[str, str], str]:
    """The visits that a reader has read a second time.

    Parameters
    ----------
    registry : Registry
    reader : str
        Code of the reader.

    Returns
    -------
    dict of (subject, visit) to str
        Digest of the record of the re-read.
    """
    found = {}
    for entry in registry.entries_on_scans(AuditAction.REREAD):
        if entry.reader == reader:
            subject, _, visit = entry.target.partition(" ")
            found[subject, visit] = str(entry.details["digest"])
    return found


def locked_visits(registry: Registry) -> set[tuple[str, str]]:
    """The visits with a locked read.

    Parameters
    ----------
    registry : Registry

    Returns
    -------
    set of (subject, visit)
    """
    return {
        (subject.code, visit.visit)
        for subject in registry.state().subjects
        for visit in subject.visits
        if visit.read is ReadStatus.LOCKED
    }


def stored_read(trial: Trial, subject: str, visit: str, known: ReadState) -> ConfirmedRead:
    """The read that the registry knows, from its files.

    Parameters
    ----------
    trial : Trial
    subject, visit : str
        Blinded code and visit label.
    known : ReadState

    Returns
    -------
    ConfirmedRead

    Raises
    ------
    UsageError
        If the files are missing or differ from the registry.
    """
    read = load_read(trial.reads, subject, visit, known.reader, known.version)
    if read is None or read.record.digest != known.digest:
        raise UsageError(
            f"subject {subject}, visit {visit}: expected the read of the registry (digest {known.digest[:12]}), found "
            + ("none" if read is None else f"digest {read.record.digest[:12]}"),
            hint="restore reads/ from its backup and report the deviation",
        )
    return read


def masks_by_kind(masks: VisitMasks) -> dict[LesionKind, LabelImage]:
    """The masks of a read by kind.

    Parameters
    ----------
    masks : VisitMasks

    Returns
    -------
    dict of LesionKind to LabelImage
        Without the kinds that the visit lacks.
    """
    kinds = {LesionKind.T2: masks.t2_lesions, LesionKind.GEL: masks.gel, LesionKind.BLACK_HOLE: masks.black_holes}
    return {kind: mask for kind, mask in kinds.items() if mask is not None}


def counts_of(record: ReadRecord) -> ReadCounts:
    """Summary of a read for the registry.

    Parameters
    ----------
    record : ReadRecord

    Returns
    -------
    ReadCounts
    """
    return ReadCounts(
        accepted=record.accepted,
        rejected=record.rejected,
        voxels_added=record.voxels_added,
        voxels_erased=record.voxels_erased,
        digest=record.digest,
        version=record.version,
    )
