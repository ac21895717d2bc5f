"""Sites, subjects and visits at a glance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry, ScanState, VisitState
from qc.registration import all_qc_flags


@dataclass(frozen=True)
class SiteLine:
    """A site: its gate and how many subjects it has."""

    code: str
    gate: str
    subjects: int


@dataclass(frozen=True)
class SubjectLine:
    """A subject: its site, and a word for each planned visit."""

    code: str
    site: str
    visits: dict[str, str]


@dataclass(frozen=True)
class TrialStatus:
    """The whole trial; number and last hash of the audit trail, kept elsewhere, show if entries were cut off.

    `qc_flags` are what a person has to look at in the analysed scans, by blinded code.
    """

    visits: tuple[str, ...]
    audit_entries: int
    audit_hash: str
    sites: tuple[SiteLine, ...]
    subjects: tuple[SubjectLine, ...]
    qc_flags: dict[str, list[str]]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def trial_status(folder: Path) -> TrialStatus:
    """The state of a trial from its registry, whose audit trail is verified on the way.

    Raises
    ------
    UsageError
        If there is no trial, or its audit trail was tampered with.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        state = registry.state()
        entries, last_hash = registry.verify_audit()
    count = {site.code: sum(s.site == site.code for s in state.subjects) for site in state.sites}
    return TrialStatus(
        visits=tuple(visit.label for visit in protocol.visits),
        audit_entries=entries,
        audit_hash=last_hash,
        sites=tuple(SiteLine(site.code, site.gate.value, count[site.code]) for site in state.sites),
        subjects=tuple(
            SubjectLine(subject.code, subject.site, {visit.visit: _word(visit) for visit in subject.visits})
            for subject in state.subjects
        ),
        qc_flags={s.code: found for s in state.subjects if (found := _concerns(trial, s.code))},
    )


def _concerns(trial: Trial, subject: str) -> list[str]:
    try:
        return all_qc_flags(load_result(trial.derivatives.result(subject)).quality)
    except UsageError:  # not analysed yet, or by another version
        return []


def _word(visit: VisitState) -> str:
    """An analysed visit says how far its reading has come."""
    if visit.scan is ScanState.ANALYSED and visit.read is not None:
        return visit.read.value
    return visit.scan.value
