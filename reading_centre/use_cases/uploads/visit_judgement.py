"""Comparison of an uploaded visit with the accepted and withdrawn scans, and with the dummy run of its scanner."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import KnownScan, ScanIdentity, ScannerFacts
from mri_pipeline.registry.audit import AuditAction
from qc.change import CHANGE, judge_change
from qc.decision import DecidedVisit
from qc.findings import ComplianceReport, Finding
from qc.identity import WITHDRAWN, check_clock, check_identity, check_withdrawn, later_windows
from qc.scanner_gate import SCANNER_GATE, judge_scanner
from qc.scanner_identity import is_another_scanner
from reading_centre.use_cases.uploads.series_statement import statement_text
from reading_centre.use_cases.uploads.task import UploadTask
from reading_centre.use_cases.uploads.visit_intake import DecidedUpload, UploadContext, measures_of_refused

_WITH_ANOTHER_SUBJECT = {"same_images", "same_study", "patient_elsewhere"}
"""Rules of `qc.identity.check_identity` that may concern another subject."""


@dataclass(frozen=True)
class JudgedVisit:
    """A visit that may be accepted.

    Parameters
    ----------
    decided : DecidedVisit
    identity : ScanIdentity
    queries, notes : tuple of Finding
        To be answered by the site; what was left out, could not be measured, or is only noted.
    remarks : dict of str to str
        For the audit trail.
    others : mapping of str to sequence of Finding
        By label: findings on the windows of the subject's later visits.
    measures : mapping of str to mapping of str to float
        As in `DecidedUpload`.
    """

    decided: DecidedVisit
    identity: ScanIdentity
    queries: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    remarks: dict[str, str]
    others: Mapping[str, Sequence[Finding]]
    measures: Mapping[str, Mapping[str, float]]


def compare_upload(task: UploadTask, context: UploadContext, upload: DecidedUpload) -> JudgedVisit:
    """Compare a visit with the accepted scans.

    Except in a dry run, three facts are stored: an entry of the audit trail if the visit matches another subject; the
    end of a scanner's gate if its software is another one; the measures of a visit that is refused.

    Parameters
    ----------
    task : UploadTask
    context : UploadContext
    upload : DecidedUpload

    Returns
    -------
    JudgedVisit

    Raises
    ------
    UploadRefusedError
        With the reason.
    """
    decided, identity = upload.decided, upload.identity
    known = task.registry.relatives(context.code, identity)
    with measures_of_refused(task, context, decided.profile, upload.measures):
        found, remarks = _compare(task, known, context, upload)
    report = decided.compliance.adding(*found)
    others = later_windows(
        identity, subject=context.code, visit=context.visit, known=known, protocol=task.protocol
    )
    return JudgedVisit(
        decided,
        identity,
        report.of(Action.QUERY),
        report.of(Action.NOTE),
        remarks,
        others,
        upload.measures,
    )


def _compare(
    task: UploadTask, known: Sequence[KnownScan], context: UploadContext, upload: DecidedUpload
) -> tuple[tuple[Finding, ...], dict[str, str]]:
    """Findings of the comparison with accepted and withdrawn scans, and remarks for the audit trail."""
    identity = upload.identity
    of = {"subject": context.code, "visit": context.visit}
    withdrawn = task.registry.withdrawn_images(**of, identity=identity)
    released_at = task.registry.releases.of(context.digest).protocol_at
    before = [images for images in withdrawn if images.at <= released_at]
    found = (
        *check_identity(identity, **of, known=known, protocol=task.protocol),
        *check_clock(upload.day, dt.datetime.now(tz=dt.UTC).date().toordinal()),
        *check_withdrawn(before, **of),
        *_judge_scanner(task, context, upload),
        *_judge_change(task, context, upload),
        *([] if upload.head is None else [upload.head]),
    )
    elsewhere = [f"{images.subject} {images.visit}" for images in withdrawn if images.subject != context.code]
    if any(finding.rule in _WITH_ANOTHER_SUBJECT for finding in found):
        shared = (scan for scan in known if scan.subject != context.code and identity.shares(scan.identity))
        elsewhere += [f"{scan.subject} {scan.visit}" for scan in shared]
    if elsewhere and not context.dry_run:
        # the messages are kept beside identified data and contain no code; the audit trail says whose images they are
        target = f"{context.code} {context.visit}"
        task.registry.audit(AuditAction.UPLOAD_OF_ANOTHER_SUBJECT, target=target, details={"scans": elsewhere})
    remarks = _remarks(context)
    if upload.head is not None and upload.head.action is None:  # a violation is a query, and no comparison a note
        remarks["same_head"] = upload.head.message
    if context.patient_changed and any(finding.rule == "patient" for finding in found):
        found = tuple(finding for finding in found if finding.rule != "patient")
        remarks["patient_changed"] = context.patient_changed
    # a decision does not overrule a later withdrawal
    since = [images for images in withdrawn if images not in before]
    found = (*upload.headers.decided(ComplianceReport(found)).findings, *check_withdrawn(since, **of))
    _close_earlier_software(task, context, upload, found)
    _require_none_refused(found)
    return found, remarks


def _judge_scanner(task: UploadTask, context: UploadContext, upload: DecidedUpload) -> list[Finding]:
    """Whether the scanner of each series has an accepted dummy run."""
    profile = upload.decided.profile
    gates = task.registry.scanner_gates.all(context.site)
    day = None if upload.day is None else dt.date.fromordinal(upload.day)
    action = task.protocol.scanner_gate.without_dummy_run
    machines: dict[tuple[ScannerFacts, str], list[Contrast]] = {}
    machines[task.scanner(context.site, profile), profile.coil] = []
    for contrast, one in profile.others.items():
        # a series that may be from the scanner of the FLAIR is a query of the headers
        if is_another_scanner(one, profile):
            machines.setdefault((task.scanner(context.site, one), one.coil), []).append(contrast)
    findings = []
    for (facts, coil), contrasts in machines.items():
        finding = judge_scanner(gates, facts, coil, day=day, action=action)
        if finding is not None and finding.action is not None:
            names = ", ".join(contrast.value for contrast in contrasts)
            message = f"{names}: {finding.message}" if names else finding.message
            findings.append(replace(finding, contrast=contrasts[0] if contrasts else None, message=message))
    return findings


def _close_earlier_software(
    task: UploadTask, context: UploadContext, upload: DecidedUpload, found: Sequence[Finding]
) -> None:
    """Close the gate of a scanner whose scan has later software, unless the scan is refused for another reason.

    An upload of another patient or an earlier visit's images does not show what is on the scanner of the site.
    """
    scanner, rules = task.scanner(context.site, upload.decided.profile), {finding.rule for finding in found}
    others = {finding.rule for finding in found if finding.action is Action.REFUSE} - {SCANNER_GATE}
    if SCANNER_GATE not in rules or others or upload.day is None or context.dry_run:
        return
    task.registry.scanner_gates.close_earlier(context.site, scanner, day=upload.day)


def _judge_change(task: UploadTask, context: UploadContext, upload: DecidedUpload) -> list[Finding]:
    """Changes of image quality since the dummy run of the scanner and the subject's earlier visits on it.

    Scans with another receive coil or from another scanner than the FLAIR are not compared.
    """
    profile = upload.decided.profile
    scanner = task.scanner(context.site, profile)
    labels = [planned.label for planned in task.protocol.visits]
    before = labels[: labels.index(context.visit)]
    scanners = task.registry.scanner_gates.scanners()
    stored = task.registry.measures.of_subject(context.code)
    profiles = task.registry.scan_profiles(context.code)

    def of_coil(visit: str, contrast: str) -> bool:
        before = profiles.get(visit, {})
        of_series = before.get("others", {}).get(contrast, before)
        return _may_be_same_coil(of_series.get("coil", ""), profile.coil)

    earlier = {
        visit: {name: values for name, values in one.values.items() if of_coil(visit, name)}
        for visit in before
        for one in stored.get(visit, ())
        if scanners.get(one.scanner or 0) == (context.site, scanner)
    }
    dummy_run = task.registry.measures.of_dummy_run(context.site, scanner, profile.coil)
    return judge_change(
        {name: values for name, values in upload.measures.items() if Contrast(name) not in profile.others},
        earlier=earlier,
        dummy_run=None if dummy_run is None else dummy_run.values,
        limits=task.protocol.image_change,
        known={(f.rule, f.contrast) for f in upload.decided.compliance.findings if f.action is not None},
    )


def _may_be_same_coil(one: str, other: str) -> bool:
    return not one or not other or one == other


def _remarks(context: UploadContext) -> dict[str, str]:
    """What was stated about an upload, for the audit trail."""
    remarks = {}
    if context.stated:
        remarks["series"] = statement_text(context.stated)
    if context.before_infusion is not None:
        remarks["before_infusion"] = "yes" if context.before_infusion else "no"
    return remarks


def _require_none_refused(found: Sequence[Finding]) -> None:
    refused = [finding for finding in found if finding.action is Action.REFUSE]
    if not refused:
        return
    rules = {finding.rule for finding in refused}
    if rules == {SCANNER_GATE}:
        raise ComplianceError(
            refused[0].message,
            hint="ask the site for a dummy run of this scanner, then: mri-pipeline quarantine retry TRIAL ENTRY",
        )
    if all(rule == WITHDRAWN or rule.startswith(CHANGE) for rule in rules):
        way_in = "the reading centre may accept it: mri-pipeline quarantine release"
    else:
        way_in = "changed data of one patient: --patient-changed REASON"
    raise ComplianceError(
        "; ".join(finding.message for finding in refused),
        hint=f"check --subject, --visit and the upload; {way_in}",
    )
