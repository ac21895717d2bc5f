"""Exported proposals in ``reads/``, with which returned worklists are compared.

::

    reads/<subject>/<visit>/proposed/             the exported numbered masks and proposal.json
    reads/<subject>/<visit>/serial/<reader>.json  what the reader was shown of the previous visit
    reads/<subject>/<visit>/adjudication/         as proposed/, of an adjudication
    reads/<subject>/<visit>/reread/               as proposed/, of a hidden second read
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.record import STORED_PREVIOUS, STORED_PROPOSAL, Purpose, StoredPrevious, StoredProposal
from mri_pipeline.reading.store import private_files, private_reads, visit_folder

PROPOSAL_FILE = "proposal.json"


def save_proposal(reads: Path, proposal: StoredProposal, masks: Mapping[LesionKind, LabelImage]) -> None:
    """Store the exported proposal. Returned masks are compared with this copy, which readers cannot change.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    proposal : StoredProposal
        Replaces an earlier proposal of the visit for the same purpose.
    masks : mapping of LesionKind to LabelImage
        The exported numbered masks.
    """
    private_reads(reads)
    folder = visit_folder(reads, proposal.subject, proposal.visit) / proposal.purpose.value
    if folder.exists():
        shutil.rmtree(folder)
    for kind, mask in masks.items():
        nifti.save(mask, folder / kind.file)
    write_atomic(folder / PROPOSAL_FILE, STORED_PROPOSAL.dump_json(proposal, indent=1) + b"\n")
    private_files(folder, reads)


def stored_proposals(reads: Path, purpose: Purpose = Purpose.READ) -> Iterator[StoredProposal]:
    """Every visit that was exported for a purpose, in the order of codes and labels.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    purpose : Purpose

    Yields
    ------
    StoredProposal

    Raises
    ------
    UsageError
        If a stored proposal is damaged.
    """
    for path in sorted(reads.glob(f"*/*/{purpose.value}/{PROPOSAL_FILE}")):
        yield _proposal(path)


def load_proposal(reads: Path, subject: str, visit: str, purpose: Purpose) -> StoredProposal | None:
    """The stored proposal of one visit.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.
    purpose : Purpose

    Returns
    -------
    StoredProposal or None
        None if the visit was never shown for this purpose.

    Raises
    ------
    UsageError
        If it is damaged.
    """
    path = visit_folder(reads, subject, visit) / purpose.value / PROPOSAL_FILE
    return _proposal(path) if path.is_file() else None


def _proposal(path: Path) -> StoredProposal:
    try:
        return STORED_PROPOSAL.validate_json(path.read_bytes())
    except ValidationError as error:
        raise UsageError(
            f"expected the record of an export in reads/, found a damaged {PROPOSAL_FILE}",
            hint="export the worklist again",
        ) from error


def save_previous(reads: Path, subject: str, visit: str, reader: str, shown: StoredPrevious | None) -> None:
    """Store what was exported of the previous visit, for each reader: readers see their own read of it.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.
    reader : str
        Code of the reader; empty for a worklist of all readers.
    shown : StoredPrevious or None
        None removes the record of an earlier export.
    """
    path = _previous_file(reads, subject, visit, reader)
    if shown is None:
        path.unlink(missing_ok=True)
        return
    write_atomic(path, STORED_PREVIOUS.dump_json(shown, indent=1) + b"\n", mode=0o600)
    private_files(path.parent, reads)


def load_previous(reads: Path, subject: str, visit: str, reader: str) -> StoredPrevious | None:
    """The record of `save_previous`.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.
    reader : str
        Code of the reader; empty for a worklist of all readers.

    Returns
    -------
    StoredPrevious or None
        None if the previous visit was not exported.

    Raises
    ------
    UsageError
        If the record is damaged.
    """
    path = _previous_file(reads, subject, visit, reader)
    if not path.is_file():
        return None
    try:
        return STORED_PREVIOUS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise UsageError(
            "expected the record of a serial export in reads/, found a damaged one",
            hint="export the worklist again",
        ) from error


def _previous_file(reads: Path, subject: str, visit: str, reader: str) -> Path:
    return visit_folder(reads, subject, visit) / "serial" / f"{reader or '.all'}.json"  # no code has a "."


def load_proposed(reads: Path, proposal: StoredProposal) -> dict[LesionKind, LabelImage]:
    """The exported numbered masks.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    proposal : StoredProposal

    Returns
    -------
    dict of LesionKind to LabelImage
        One entry for each digest of the proposal.

    Raises
    ------
    ImageError
        If a mask is missing or damaged.
    """
    folder = visit_folder(reads, proposal.subject, proposal.visit) / proposal.purpose.value
    return {kind: nifti.load_labels(folder / kind.file) for kind in proposal.digests}
