"""Registry of sites, scanners, scans and reads, with an append-only audit trail."""

from mri_pipeline.registry.records import (
    ReadCounts,
    ScannerFacts,
    SiteState,
    SubjectState,
    TrialState,
    VisitState,
)
from mri_pipeline.registry.registry import Registry
from mri_pipeline.registry.schema import Gate, ScanState

__all__ = [
    "Gate",
    "ReadCounts",
    "Registry",
    "ScanState",
    "ScannerFacts",
    "SiteState",
    "SubjectState",
    "TrialState",
    "VisitState",
]
