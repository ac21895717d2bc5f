"""The pages over all subjects: the index of the reports and the methods text, from the files of an analysis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from mri_pipeline.core.derivative_layout import DerivativeDataset, subject_report
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import software
from mri_pipeline.core.records import SubjectResult
from mri_pipeline.registry import ScanState
from qc.registration import all_qc_flags
from qc.reports.index import SubjectEntry, SubjectState, VisitEntry, write_index
from qc.reports.methods import write_methods
from qc.reports.whose import AUTOMATIC, Whose
from workflows.outcome import Outcome

_OTHER_RULES = "analysed by other lesion rules, another segmenter or other software: run the analysis again"
_EARLIER = "; the numbers are those of an earlier run"
_JUDGED = {ScanState.ANALYSED, ScanState.FAILED}
_NOT_DONE = {ScanState.FAILED, ScanState.RECEIVED}
_WITH_SCAN = {ScanState.ANALYSED, *_NOT_DONE}


@dataclass(frozen=True)
class Listed:
    """A subject that the index lists.

    Parameters
    ----------
    subject : str
        Blinded code or BIDS label, without ``sub-``.
    scans : mapping of str to str
        State of the scan of every visit, in the order of time, as `qc.reports.index.VisitEntry.scan`.
    result : SubjectResult or None
    reason : str
        Why the analysis failed or has no usable result (`latest_result`).
    order_source : str
        Where the order of the visits comes from. Empty for the order of the protocol.
    ignored : tuple of str
        Anatomical files that are not used, each with the reason.
    reads : mapping of str to Whose
        By visit; without visits whose numbers are automatic.
    """

    subject: str
    scans: Mapping[str, str]
    result: SubjectResult | None
    reason: str
    order_source: str = ""
    ignored: tuple[str, ...] = ()
    reads: Mapping[str, Whose] = field(default_factory=dict)


def outcome_text(outcome: Outcome) -> str:
    """How a subject's analysis ended, as JSON text.

    Parameters
    ----------
    outcome : Outcome

    Returns
    -------
    str
        Without QC flags, resource usage and paths.
    """
    return outcome.model_dump_json(include={"subject", "done", "reason"})


def save_outcome(derivatives: DerivativeDataset, outcome: Outcome) -> Path:
    """Write how a subject's analysis ended into the derivative dataset, where later runs find it.

    Parameters
    ----------
    derivatives : DerivativeDataset
    outcome : Outcome
        Written as `outcome_text`.

    Returns
    -------
    Path
    """
    return write_atomic(derivatives.outcome(outcome.subject), outcome_text(outcome))


def latest_result(
    derivatives: DerivativeDataset, subject: str, rules_digest: str
) -> tuple[SubjectResult | None, str]:
    """The result of a subject and why its last analysis failed.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subject : str
    rules_digest : str
        Digest of the lesion rules in use.

    Returns
    -------
    result : SubjectResult or None
        None if there is none, or if it was made by other rules or software.
    reason : str
        Why the last analysis failed, or why its result is not used. Empty if it is used, and if the subject was never
        analysed.
    """
    result = None
    if (file := derivatives.result(subject)).is_file():
        with suppress(UsageError):  # a format of another version
            result = load_result(file)
        if result is None or result.rules_digest != rules_digest:
            return None, _OTHER_RULES
    return result, last_failure(derivatives, subject)


def last_failure(derivatives: DerivativeDataset, subject: str) -> str:
    """Why the last analysis of a subject failed.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subject : str

    Returns
    -------
    str
        Empty if it did not fail, or there was none.
    """
    try:
        return Outcome.model_validate_json(derivatives.outcome(subject).read_bytes()).reason
    except (OSError, ValidationError):
        return ""


def write_overview(
    reports: Path,
    listed: Iterable[Listed],
    *,
    settings_digest: str,
    rules: LesionRules | None,
    from_dicom: bool = False,
) -> Path:
    """Write the index of the reports, and the methods text where the rules are known.

    Parameters
    ----------
    reports : Path
    listed : iterable of Listed
        They are sorted by subject, so that their order says nothing about sites.
    settings_digest : str
        Digest of the settings that made the numbers.
    rules : LesionRules or None
        None: the methods text of an earlier run stays.
    from_dicom : bool
        True if the scans were ingested as DICOM.

    Returns
    -------
    Path
        The index.
    """
    subjects = sorted(listed, key=lambda one: one.subject)
    versions = software()
    if rules is not None:
        write_methods(
            reports,
            [one.result for one in subjects if one.result is not None],
            rules=rules,
            settings_digest=settings_digest,
            software=versions,
            from_dicom=from_dicom,
        )
    entries = [_entry(one, reports) for one in subjects]
    return write_index(reports, entries, settings_digest=settings_digest, software=versions)


def _entry(one: Listed, reports: Path) -> SubjectEntry:
    counts = {visit.visit: visit for visit in one.result.visits} if one.result else {}
    # a scan that was replaced or withdrawn after the analysis has neither counts nor QC flags
    quality = [q for q in one.result.quality if one.scans.get(q.visit) in _JUDGED] if one.result else []
    report = subject_report(reports, one.subject)
    return SubjectEntry(
        subject=one.subject,
        state=_state(one),
        visits=tuple(
            VisitEntry(
                visit,
                scan,
                counts.get(visit) if scan == ScanState.ANALYSED else None,
                one.reads.get(visit, AUTOMATIC),
            )
            for visit, scan in one.scans.items()
        ),
        reason=one.reason + _EARLIER if one.reason and one.result else one.reason,
        qc_flags=tuple(all_qc_flags(quality)),
        report=report.name if report.is_file() else "",
        order_source=one.order_source,
        ignored=one.ignored,
    )


def _state(one: Listed) -> SubjectState:
    if one.reason and one.reason != _OTHER_RULES:
        return SubjectState.FAILED
    if one.scans and not _WITH_SCAN & set(one.scans.values()):
        return SubjectState.NO_SCAN
    if one.result is None:
        return SubjectState.NOT_ANALYSED
    return SubjectState.PARTLY if _NOT_DONE & set(one.scans.values()) else SubjectState.DONE
