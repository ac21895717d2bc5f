"""Steps of a registry that no command takes alone."""

from __future__ import annotations

from mri_pipeline.registry import Registry
from mri_pipeline.registry.database import writing
from mri_pipeline.registry.requirements import accepted_scan
from mri_pipeline.registry.scans import withdraw


def withdraw_scan(registry: Registry, subject: str, visit: str, *, reason: str) -> None:
    """Withdraw an accepted scan and its reads, as its replacement does."""
    with writing(registry._engine) as session:
        withdraw(session, accepted_scan(session, subject, visit), reason=reason)
