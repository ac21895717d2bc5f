"""Values that the registry stores and returns."""

from __future__ import annotations

from dataclasses import dataclass

from mri_pipeline.core.records import ReadStatus
from mri_pipeline.registry.schema import Gate, ScanState


@dataclass(frozen=True)
class ScannerFacts:
    """The scanner of a scan, from its headers. `serial_digest` is keyed and never the number itself."""

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
    """One planned visit of a subject. `read_digest` is the digest of the stored record of the current read."""

    visit: str
    scan: ScanState
    read: ReadStatus | None = None
    readers: tuple[str, ...] = ()
    read_digest: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SubjectState:
    """One subject with its planned visits in the order of the protocol."""

    code: str
    site: str
    visits: tuple[VisitState, ...] = ()


@dataclass(frozen=True)
class ReadCounts:
    """Summary of a reader's decisions at one visit. `digest` is the digest of the stored record."""

    accepted: int = 0
    rejected: int = 0
    voxels_added: int = 0
    voxels_erased: int = 0
    digest: str = ""


@dataclass(frozen=True)
class TrialState:
    """All sites and subjects of a trial."""

    sites: tuple[SiteState, ...]
    subjects: tuple[SubjectState, ...]
