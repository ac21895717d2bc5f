"""Exported proposals in ``reads/``, with which returned worklists are compared.

::

    reads/<subject>/<visit>/proposed/             the latest exported numbered masks and proposal.json
    reads/<subject>/<visit>/serial/<reader>.json  what the reader was shown of the previous visit
    reads/<subject>/<visit>/adjudication/         as proposed/, of an adjudication
    reads/<subject>/<visit>/reread/               as proposed/, of a hidden second read
    reads/<subject>/<visit>/opened/<purpose>/<digest>/  as proposed/, of cases opened in the browser; never changed
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import sync_folder, sync_tree, write_atomic
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.record import (
    STORED_PREVIOUS,
    STORED_PROPOSAL,
    ReadPurpose,
    StoredPrevious,
    StoredProposal,
)
from mri_pipeline.reading.store import private_files, private_reads, staging, visit_folder

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
    _write(folder, proposal, masks)
    private_files(folder, reads)


def _write(folder: Path, proposal: StoredProposal, masks: Mapping[LesionKind, LabelImage]) -> None:
    for kind, mask in masks.items():
        nifti.save(mask, folder / kind.file)
    write_atomic(folder / PROPOSAL_FILE, STORED_PROPOSAL.dump_json(proposal, indent=1) + b"\n")


def proposal_digest(proposal: StoredProposal) -> str:
    """Digest of all proposed masks of a visit; for an adjudication also of the two reads.

    Parameters
    ----------
    proposal : StoredProposal

    Returns
    -------
    str
        SHA-256.
    """
    content: dict[str, object] = {kind.value: digest for kind, digest in proposal.digests.items()}
    content |= {"opinions": [opinion.digest for opinion in proposal.opinions]} if proposal.opinions else {}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def keep_proposal(reads: Path, proposal: StoredProposal, masks: Mapping[LesionKind, LabelImage]) -> None:
    """Store the proposal of a case that is opened in the browser, unless it is there. It is never replaced.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    proposal : StoredProposal
    masks : mapping of LesionKind to LabelImage
        The numbered masks.
    """
    target = _kept_folder(reads, proposal.subject, proposal.visit, proposal.purpose, proposal_digest(proposal))
    if target.exists():
        return
    with staging(reads) as stage:
        folder = stage / target.name
        _write(folder, proposal, masks)
        sync_tree(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
    sync_folder(target.parent)
    private_files(target, reads)


def kept_proposal(
    reads: Path, subject: str, visit: str, purpose: ReadPurpose, digest: str
) -> tuple[StoredProposal, dict[LesionKind, LabelImage]] | None:
    """A proposal of `keep_proposal` with its masks.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    subject, visit : str
        Blinded code and visit label.
    purpose : ReadPurpose
    digest : str
        `proposal_digest`.

    Returns
    -------
    tuple of (StoredProposal, dict of LesionKind to LabelImage), or None
        None if it is not there.

    Raises
    ------
    UsageError, ImageError
        If it is damaged.
    """
    folder = _kept_folder(reads, subject, visit, purpose, digest)
    if not folder.is_dir():
        return None
    proposal = _proposal(folder / PROPOSAL_FILE)
    return proposal, _masks(folder, proposal)


def _kept_folder(reads: Path, subject: str, visit: str, purpose: ReadPurpose, digest: str) -> Path:
    return visit_folder(reads, subject, visit) / "opened" / purpose.value / digest


def stored_proposals(reads: Path, purpose: ReadPurpose = ReadPurpose.READ) -> Iterator[StoredProposal]:
    """Every visit that was exported for a purpose, in the order of codes and labels.

    Parameters
    ----------
    reads : Path
        ``reads/`` of the trial.
    purpose : ReadPurpose

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


def _proposal(path: Path) -> StoredProposal:
    try:
        return STORED_PROPOSAL.validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
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
    return _masks(visit_folder(reads, proposal.subject, proposal.visit) / proposal.purpose.value, proposal)


def _masks(folder: Path, proposal: StoredProposal) -> dict[LesionKind, LabelImage]:
    return {kind: nifti.load_labels(folder / kind.file) for kind in proposal.digests}
