"""Quick check of a long audit trail, from the last verified entry on.

The hashes of a long trail take seconds. For displays, `verify_trail` therefore keeps the number of entries that were
verified, with a digest of their rows as they are stored. If the rows have that digest the next time, only later entries
are verified. Any change of a row changes the digest, and then all entries are verified. The digest has no key: who can
write the registry can write it, too. Numbers, releases and anchors therefore depend on every hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.registry.audit import GENESIS, verify_chain
from mri_pipeline.registry.schema import AuditRow
from mri_pipeline.registry.trail import entries, in_parts

STEP: Final = 10_000
"""Number of new entries after which the digest is renewed. A shorter trail is always verified from the first entry."""


class Verified(BaseModel):
    """Entries that were verified.

    Attributes
    ----------
    entries : int
        Their number.
    last : str
        Hash of the last one.
    digest : str
        SHA-256 of their rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    entries: int = 0
    last: str = GENESIS
    digest: str = hashlib.sha256().hexdigest()


def verify_trail(session: Session, file: Path) -> tuple[int, str]:
    """Check the whole audit trail.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of `mri_pipeline.registry.database.reading`.
    file : Path
        What was verified before. It may be missing or deleted.

    Returns
    -------
    count : int
        Number of entries.
    last : str
        Hash of the last entry.

    Raises
    ------
    UsageError
        If an entry was changed, removed or inserted.
    """
    known, rows, digest = _known(file), _rows(session), hashlib.sha256()
    for _, row in zip(range(known.entries), rows, strict=False):
        digest.update(row)
    if digest.hexdigest() != known.digest:
        return verify_chain(entries(session))
    count, last = verify_chain(entries(session, after=known.entries), after=(known.entries, known.last))
    if count - known.entries >= STEP:
        for row in rows:
            digest.update(row)
        _keep(Verified(entries=count, last=last, digest=digest.hexdigest()), file)
    return count, last


def _rows(session: Session) -> Iterator[bytes]:
    """The stored columns of each entry, oldest first."""
    columns = [column if column.name != "details" else cast(column, Text) for column in AuditRow.__table__.columns]
    for row in in_parts(session, select(*columns).order_by(AuditRow.seq)):
        yield ("\0".join(map(str, row)) + "\n").encode("utf-8", errors="surrogateescape")


def _known(file: Path) -> Verified:
    try:
        known = Verified.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return Verified()
    return known if known.entries >= STEP else Verified()


def _keep(verified: Verified, file: Path) -> None:
    try:
        write_atomic(file, verified.model_dump_json())
    except OSError:  # a folder that cannot be written: the next command verifies all entries
        return
