"""Overview of sites, subjects and visits."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mri_pipeline.core.io.results import load_quality
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.records import ReadStanding
from mri_pipeline.registry import QueryState, Registry, ScanState, SubjectState, Use, VisitState
from qc.registration import all_qc_flags


@dataclass(frozen=True)
class SiteLine:
    """A site in the overview.

    Parameters
    ----------
    code : str
    gate : str
        Verdict on its latest dummy run.
    subjects : int
        Number of subjects.
    """

    code: str
    gate: str
    subjects: int


@dataclass(frozen=True)
class SubjectLine:
    """A subject in the overview.

    Parameters
    ----------
    code, site : str
        Blinded code and code of the site.
    visits : dict of str to str
        Status of each planned visit.
    """

    code: str
    site: str
    visits: dict[str, str]


@dataclass(frozen=True)
class TrialStatus:
    """State of a trial. A separate copy of number and last hash of the audit trail reveals removed entries.

    Parameters
    ----------
    visits : tuple of str
        Labels of the planned visits.
    open_queries, answered_queries : int
        Numbers of queries that wait for the site and for the reading centre.
    audit_entries, audit_hash : int, str
        Number of entries of the audit trail, and hash of the last one.
    sites : tuple of SiteLine
    subjects : tuple of SubjectLine
    qc_flags : dict of str to list of str
        QC flags of the analysed scans, by blinded code; subjects without flags are absent.
    """

    visits: tuple[str, ...]
    open_queries: int
    answered_queries: int
    audit_entries: int
    audit_hash: str
    sites: tuple[SiteLine, ...]
    subjects: tuple[SubjectLine, ...]
    qc_flags: dict[str, list[str]]

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values for ``--json``.

        Returns
        -------
        dict
        """
        return asdict(replace(self, subjects=())) | {"subjects": [vars(subject) for subject in self.subjects]}


def trial_status(folder: Path) -> TrialStatus:
    """State of a trial from its registry. The audit trail is verified.

    Parameters
    ----------
    folder : Path
        Folder of the trial.

    Returns
    -------
    TrialStatus

    Raises
    ------
    UsageError
        If there is no trial, or its audit trail was tampered with.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        state = registry.state()
        entries, last_hash = registry.verify_audit(quick=True)
        queries = registry.site_queries.count()
    count = Counter(subject.site for subject in state.subjects)
    return TrialStatus(
        visits=tuple(visit.label for visit in protocol.visits),
        open_queries=queries[QueryState.OPEN],
        answered_queries=queries[QueryState.ANSWERED],
        audit_entries=entries,
        audit_hash=last_hash,
        sites=tuple(SiteLine(site.code, site.gate.value, count[site.code]) for site in state.sites),
        subjects=tuple(SubjectLine(s.code, s.site, _texts(s, protocol)) for s in state.subjects),
        qc_flags={
            s.code: found
            for s in state.subjects
            if (found := all_qc_flags(load_quality(trial.derivatives.result(s.code))))
        },
    )


def _texts(subject: SubjectState, protocol: Protocol) -> dict[str, str]:
    return {visit.visit: status_text(visit, protocol.reading.readers) for visit in subject.visits}


def status_text(visit: VisitState, wanted: int) -> str:
    """Status of a visit; for an analysed visit that of its reads.

    Parameters
    ----------
    visit : VisitState
    wanted : int
        Number of reads of each visit.

    Returns
    -------
    str
    """
    if visit.scan is not ScanState.ANALYSED or not visit.reads:
        return visit.scan.value
    if visit.read is not None:
        return visit.read.value
    if any(read.standing is ReadStanding.REOPENED for read in visit.reads):
        return ReadStanding.REOPENED.value
    return "to adjudicate" if visit.disputed else f"{len(visit.reads)} of {wanted} reads"
