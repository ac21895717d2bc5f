"""Tables of the registry in its present layout. `mri_pipeline.registry.migrations` creates them.

A subject is stored as its blinded code and site. Trial number, name, scan date and treatment arm are never
stored. The day of a scan is stored moved by the subject's date shift.
"""

from mri_pipeline.registry.schema.access import AuditRow, LoginAttemptRow, SecondFactorRow, SessionRow
from mri_pipeline.registry.schema.base import (
    LONGEST_NAME,
    OLDER_LAYOUTS,
    SCHEMA_VERSION,
    Base,
    Gate,
    RegistryRow,
    ScanState,
)
from mri_pipeline.registry.schema.jobs import JobRow
from mri_pipeline.registry.schema.reads import AssignmentRow, EditRow, ReadRow
from mri_pipeline.registry.schema.scans import ImageRow, KeyRow, ScanRow, SubjectRow, WithdrawnRow, scan_key
from mri_pipeline.registry.schema.sites import QueryRow, ReleaseRow, ScannerRow, SiteRow

__all__ = [
    "LONGEST_NAME",
    "OLDER_LAYOUTS",
    "SCHEMA_VERSION",
    "AssignmentRow",
    "AuditRow",
    "Base",
    "EditRow",
    "Gate",
    "ImageRow",
    "JobRow",
    "KeyRow",
    "LoginAttemptRow",
    "QueryRow",
    "ReadRow",
    "RegistryRow",
    "ReleaseRow",
    "ScanRow",
    "ScanState",
    "ScannerRow",
    "SecondFactorRow",
    "SessionRow",
    "SiteRow",
    "SubjectRow",
    "WithdrawnRow",
    "scan_key",
]
