"""What the registry takes and gives."""

from __future__ import annotations

from dataclasses import dataclass

from mri_pipeline.core.records import ReadStatus
from mri_pipeline.registry.schema import Gate, ScanState


@dataclass(frozen=True)
class ScannerFacts:
    """What the images of one scan say about their scanner; `serial_digest` is never the number itself."""

    manufacturer: str = ""
    model: str = ""
    software: str = ""
    field_strength_t: float = 0.0
    serial_digest: str = ""


@dataclass(frozen=True)
class SiteState:
    """A site and its gate: the verdict on its latest dummy run."""

    code: str
    gate: Gate


@dataclass(frozen=True)
class VisitState:
    """One planned visit of a subject; `read_digest` is that of the stored record of the read that counts."""

    visit: str
    scan: ScanState
    read: ReadStatus | None = None
    readers: tuple[str, ...] = ()
    read_digest: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SubjectState:
    """One subject at a glance, its planned visits in the protocol's order."""

    code: str
    site: str
    visits: tuple[VisitState, ...] = ()


@dataclass(frozen=True)
class ReadCounts:
    """What a reader decided at one visit; `digest` is that of the stored record."""

    accepted: int = 0
    rejected: int = 0
    voxels_added: int = 0
    voxels_erased: int = 0
    digest: str = ""


@dataclass(frozen=True)
class TrialState:
    """The whole trial at a glance."""

    sites: tuple[SiteState, ...]
    subjects: tuple[SubjectState, ...]
