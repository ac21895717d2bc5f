"""Registry of sites, scanners, scans and reads, with an append-only audit trail."""

from mri_pipeline.registry.database import require_unused
from mri_pipeline.registry.measures import StoredMeasures
from mri_pipeline.registry.quality_rows import ScannerState
from mri_pipeline.registry.records import (
    KnownScan,
    ReadCounts,
    ReadState,
    ScanIdentity,
    ScannerFacts,
    SiteState,
    SubjectState,
    TrialState,
    VisitState,
    WithdrawnImages,
)
from mri_pipeline.registry.registry import Registry, Use
from mri_pipeline.registry.releases import Release
from mri_pipeline.registry.requirements import another_scan, require_storable
from mri_pipeline.registry.scanner_gates import ScannerGate
from mri_pipeline.registry.schema import Gate, ScanState
from mri_pipeline.registry.site_queries import Query, QueryState, Question

__all__ = [
    "Gate",
    "KnownScan",
    "Query",
    "QueryState",
    "Question",
    "ReadCounts",
    "ReadState",
    "Registry",
    "Release",
    "ScanIdentity",
    "ScanState",
    "ScannerFacts",
    "ScannerGate",
    "ScannerState",
    "SiteState",
    "StoredMeasures",
    "SubjectState",
    "TrialState",
    "Use",
    "VisitState",
    "WithdrawnImages",
    "another_scan",
    "require_storable",
    "require_unused",
]
