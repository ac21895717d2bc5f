"""Records of ``reads/``: the exported proposal of a visit, and one reader's read with its decisions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pydantic import TypeAdapter

from mri_pipeline.core.records import ReadStatus
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.reading.items import LesionKind


@dataclass(frozen=True)
class LesionDecision:
    """A reader's decision on one proposed lesion.

    Parameters
    ----------
    kind : LesionKind
    lesion : int
        Its number in the exported mask.
    accepted : bool
        False for rejected.
    comment : str
        Of the reader.
    choice : str
        Read whose outline an adjudicator takes, ``A`` or ``B``; empty for both, and for other reads.
    """

    kind: LesionKind
    lesion: int
    accepted: bool
    comment: str
    choice: str = ""


@dataclass(frozen=True)
class ReadRecord:
    """One reader's read of one visit.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.
    reading_code : str
        Code of the item in the worklist.
    reader : str
        Code of the reader.
    read_at : str
        Time of the import, UTC (ISO 8601).
    status : ReadStatus
    decisions : tuple of LesionDecision
    voxels_added, voxels_erased : int
        Voxels that the reader drew and erased, all kinds together.
    digests : dict of str to str
        SHA-256 of every mask file in the folder of the record, by file name.
    software : dict of str to str
        Versions of the software that stored the read.
    version : int
        1 for the first read of the visit by this reader; 0 for a read of version 0.2.0 or earlier.
    replaces : str
        `digest` of the previous version; empty if there is none.
    adjudicates : dict of str to str
        `digest` of each adjudicated read, by reader; empty for the read of a reader.
    reread : bool
        True for a hidden second read, which changes no number.
    changes_since : str
        Digest of the read of the previous visit to which decisions on changes refer; empty without such decisions.
    """

    subject: str
    visit: str
    reading_code: str
    reader: str
    read_at: str
    status: ReadStatus
    decisions: tuple[LesionDecision, ...]
    voxels_added: int
    voxels_erased: int
    digests: dict[str, str]
    software: dict[str, str]
    version: int = 0
    replaces: str = ""
    adjudicates: dict[str, str] = field(default_factory=dict)
    reread: bool = False
    changes_since: str = ""

    @property
    def accepted(self) -> int:
        """Number of accepted lesions."""
        return sum(decision.accepted for decision in self.decisions)

    @property
    def rejected(self) -> int:
        """Number of rejected lesions."""
        return len(self.decisions) - self.accepted

    @property
    def digest(self) -> str:
        """SHA-256 of the record, for the registry. It covers the masks by their digests. Locking does not change it."""
        return hashlib.sha256(replace(self, status=ReadStatus.CONFIRMED).text.encode()).hexdigest()

    def same_read(self, other: ReadRecord) -> bool:
        """True if another version of the read has the same decisions and masks.

        Parameters
        ----------
        other : ReadRecord

        Returns
        -------
        bool
        """
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("decisions", "digests", "adjudicates", "changes_since")
        )

    @property
    def text(self) -> str:
        """The record as JSON."""
        # records of earlier versions have no field with a default: their text and digest stay as they were
        content = READ_RECORD.dump_python(self, mode="json", exclude_defaults=True)
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class ConfirmedRead:
    """A stored read.

    Parameters
    ----------
    record : ReadRecord
    masks : VisitMasks
        Confirmed lesions on the subject's grid.
    """

    record: ReadRecord
    masks: VisitMasks


class ReadPurpose(StrEnum):
    """Purpose of an exported visit. The value is the name of its folder in ``reads/``."""

    READ = "proposed"
    ADJUDICATION = "adjudication"
    REREAD = "reread"


@dataclass(frozen=True)
class Opinion:
    """A read that an adjudicator sees.

    Parameters
    ----------
    reader : str
        Code of the reader, which the adjudicator does not see.
    version : int
    digest : str
        Digest of the record.
    """

    reader: str
    version: int
    digest: str


@dataclass(frozen=True)
class StoredPrevious:
    """The previous visit that was exported beside a visit.

    Parameters
    ----------
    previous : Opinion
        Its read.
    changes : dict of int to str
        The proposed change of each T2 lesion on which the reader decides.
    """

    previous: Opinion
    changes: dict[int, str]


@dataclass(frozen=True)
class StoredProposal:
    """The exported proposal of one visit.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.
    reading_code : str
    digests : dict of LesionKind to str
        `mri_pipeline.reading.proposals.labels_digest` of each exported mask.
    purpose : ReadPurpose
    opinions : tuple of Opinion
        For an adjudication: read A and read B.
    shown : StoredPrevious or None
        For a serial reading. It is stored for each reader (`mri_pipeline.reading.proposal_store.save_previous`).
    """

    subject: str
    visit: str
    reading_code: str
    digests: dict[LesionKind, str]
    purpose: ReadPurpose = ReadPurpose.READ
    opinions: tuple[Opinion, ...] = ()
    shown: StoredPrevious | None = None


READ_RECORD = TypeAdapter(ReadRecord)
STORED_PROPOSAL = TypeAdapter(StoredProposal)
STORED_PREVIOUS = TypeAdapter(StoredPrevious)
"""Readers and writers of the JSON files."""
