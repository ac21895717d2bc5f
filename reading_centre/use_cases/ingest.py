"""Ingest of a visit: intake, compliance, conversion, registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.protocol import Action, Protocol
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.quarantine import measure_upload
from mri_pipeline.registry import KnownScan, ScanIdentity, another_scan
from qc.compliance import Purpose, require_all_sequences
from qc.findings import ComplianceReport, Finding
from qc.headers import HeaderChecks
from qc.identity import BEFORE_INFUSION, WINDOW, check_identity, infusion_query, later_windows
from qc.scan_profile import PreviousScan, profile_of_record, profile_record
from reading_centre.use_cases.conversion import WrittenVisit, write_scans
from reading_centre.use_cases.gate import CheckedUpload, check_upload
from reading_centre.use_cases.private_folder import private_folder
from reading_centre.use_cases.query import questions
from reading_centre.use_cases.series_statement import statement_text
from reading_centre.use_cases.staging import make_durable, only_writer, settle_subject, staged_visit
from reading_centre.use_cases.upload_desk import UploadDesk, scanner_facts, upload_desk

_WITH_ANOTHER_SUBJECT = {"same_images", "same_study", "patient_elsewhere"}
"""Rules of `qc.identity.check_identity` that may concern another subject."""


@dataclass(frozen=True)
class ReceivedVisit:
    """An accepted visit.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.
    contrasts : tuple of str
        Contrasts of its scans.
    queries : tuple of str
        To be answered by the site.
    notes : tuple of str
        What was left out of the upload, with the reason.
    """

    subject: str
    visit: str
    contrasts: tuple[str, ...]
    queries: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values for ``--json``.

        Returns
        -------
        dict
        """
        return asdict(self)


def receive_visit(
    folder: Path,
    upload: Path,
    *,
    site: str,
    subject: str,
    visit: str,
    replace_because: str = "",
    before_infusion: bool | None = None,
    patient_changed: str = "",
    stated: Mapping[Contrast, int] | None = None,
    complete: bool = False,
) -> ReceivedVisit:
    """Ingest the scans of one visit. Refused uploads are copied to quarantine.

    Files and registry change together or not at all. An earlier scan stays until its replacement is converted and
    accepted; then it and its reads are kept in ``withdrawn/``.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    upload : Path
        Folder, zip or tar of DICOM.
    site, subject, visit : str
        Code of the site, the site's trial number of the subject, and the visit's label.
    replace_because : str
        Reason for replacing the earlier scan of the visit. If empty, an earlier scan is not replaced.
    before_infusion : bool, optional
        Statement of the site whether the scan came before the infusion of that visit.
    patient_changed : str
        Reason for accepting other patient data than at the subject's other visits. If empty, they are refused.
    stated : mapping of Contrast to int, optional
        Series numbers by the site's statement (`mri_pipeline.intake.stated`).
    complete : bool, optional
        True: refuse a visit without a required sequence (other than FLAIR), which is a query otherwise.

    Returns
    -------
    ReceivedVisit

    Raises
    ------
    UploadRefusedError
        With the reason; the upload is in quarantine.
    UsageError, SettingsError
        If the site or visit is unknown, the path does not exist, the visit already has another scan, another upload of
        the subject does not end, or a disk is full.
    """
    upload = upload.resolve()
    with upload_desk(folder, site, upload) as desk:
        desk.protocol.visit(visit)
        _, digest = measure_upload(upload)
        with desk.refusals(upload, digest=digest, site=site, kind="visit"):
            desk.registry.require_open_gate(site)
            _require_listed(desk.protocol, site, subject)
        # a subject is entered only with an accepted scan, because the number may be mistyped
        visitor = _Visitor(
            desk.sealed.preview(site, subject), site, subject, visit, digest,
            replace_because, before_infusion, patient_changed, stated or {}, complete,
        )  # fmt: skip
        with only_writer(desk.trial, visitor.code):
            settle_subject(desk.trial, desk.protocol, desk.registry, visitor.code)
            known = _known_visit(desk, visitor)
            if known is not None:
                desk.settle_waiting(digest, kind="visit", visit=visit)
                return known
            # the files of the upload still lie on the disk when a refusal asks for room (`UploadDesk.refuse`)
            with (
                private_folder(desk.trial.work) as work,
                desk.refusals(upload, digest=digest, site=site, kind="visit", subject=visitor.code, visit=visit),
            ):
                received = _take_in(desk, upload, work / "upload", visitor)
            desk.settle_waiting(digest, kind="visit", visit=visit)
            return received


@dataclass(frozen=True)
class _Visitor:
    """Identity of an upload: blinded code, site, trial number, visit and digest; and what was stated about it."""

    code: str
    site: str
    number: str
    visit: str
    digest: str
    replace_because: str
    before_infusion: bool | None
    patient_changed: str
    stated: Mapping[Contrast, int]
    complete: bool


def _require_listed(protocol: Protocol, site: str, number: str) -> None:
    listed = protocol.site(site).subjects
    if listed and number.upper() not in {known.upper() for known in listed}:
        raise ComplianceError(
            f"site {site}: expected a number of its list of subjects, found another one",
            hint="check --subject, or add the number to the site's subjects in trial.toml",
        )


def _known_visit(desk: UploadDesk, visitor: _Visitor) -> ReceivedVisit | None:
    """The visit if this upload was accepted before. Only a new statement of the site is entered then."""
    code, visit = visitor.code, visitor.visit
    uploaded = desk.registry.upload(code, visit)
    if not uploaded:
        return None
    desk.registry.require_site(code, visitor.site)
    series = statement_text(visitor.stated)
    same = uploaded == visitor.digest and series in ("", desk.registry.remark(code, visit, "series"))
    if not same:
        if not visitor.replace_because:
            raise another_scan(code, visit)
        desk.registry.require_replaceable(code, visit)
        return None
    if visitor.before_infusion is not None:
        new = infusion_query(visitor.before_infusion, visit, desk.protocol)
        desk.registry.record_statement(
            code,
            visit,
            before_infusion=visitor.before_infusion,
            rule=BEFORE_INFUSION,
            questions=questions(new),
        )
    (state,) = [state for state in desk.registry.subject(code).visits if state.visit == visit]
    contrasts = tuple(contrast.value for contrast in desk.trial.rawdata.scans(code, visit))
    return ReceivedVisit(code, visit, contrasts, state.findings)


def _take_in(desk: UploadDesk, upload: Path, work: Path, visitor: _Visitor) -> ReceivedVisit:
    code, visit = visitor.code, visitor.visit
    release = desk.registry.releases.of(visitor.digest)
    checked = check_upload(
        upload,
        protocol=desk.protocol,
        work_dir=work,
        secret=desk.sealed.secret("intake"),
        purpose=Purpose.VISIT,
        previous=_compared_with(desk, code, visit),
        overruled=release.protocol,
        stated=visitor.stated,
    )
    checked.compliance.require()
    if visitor.complete:
        require_all_sequences(checked.compliance)
    with staged_visit(desk.trial, desk.protocol, desk.registry, subject=code, visit=visit) as staged:
        written = write_scans(
            checked,
            raw=staged.raw,
            protocol=desk.protocol,
            visit=visit,
            blinding=Blinding(code, desk.sealed.secret("blinding"), release.cleared),
        )
        identity = _identity(checked, written, visitor.before_infusion)
        known = desk.registry.relatives(code, identity)
        found, remarks = _compare(desk, identity, known, visitor, checked.headers)
        queries = [f for f in (*written.compliance.findings, *found) if f.action is Action.QUERY]
        make_durable(staged)
        desk.sealed.code_for(visitor.site, visitor.number)
        desk.registry.record_scan(
            code,
            visit,
            site=visitor.site,
            upload_digest=visitor.digest,
            scanner=scanner_facts(written.profile),
            profile=profile_record(written.profile),
            findings=questions(queries),
            identity=identity,
            receipt=staged.receipt,
            replace_because=visitor.replace_because,
            remarks=remarks,
            others={
                other: questions(late)
                for other, late in later_windows(
                    identity, subject=code, visit=visit, known=known, protocol=desk.protocol
                ).items()
            },
            others_rule=WINDOW,
        )
    messages, notes = tuple(f.message for f in queries), _notes(written.compliance)
    return ReceivedVisit(code, visit, tuple(contrast.value for contrast in written.scans), messages, notes)


def _notes(compliance: ComplianceReport) -> tuple[str, ...]:
    return tuple(finding.message for finding in compliance.findings if finding.rule == "left_out")


def _identity(checked: CheckedUpload, written: WrittenVisit, before_infusion: bool | None) -> ScanIdentity:  # noqa: FBT001
    return ScanIdentity(
        person=checked.person_keys,
        studies=checked.study_keys,
        shifted_day=None if written.shifted_date is None else written.shifted_date.toordinal(),
        before_infusion=before_infusion,
        images=written.pixels_keys,
    )


def _compare(
    desk: UploadDesk, identity: ScanIdentity, known: Sequence[KnownScan], visitor: _Visitor, headers: HeaderChecks
) -> tuple[tuple[Finding, ...], dict[str, str]]:
    """Findings of the comparison with accepted scans, and remarks for the audit trail."""
    found = check_identity(
        identity, subject=visitor.code, visit=visitor.visit, known=known, protocol=desk.protocol
    )
    others = [f"{s.subject} {s.visit}" for s in known if s.subject != visitor.code and identity.shares(s.identity)]
    if others and any(finding.rule in _WITH_ANOTHER_SUBJECT for finding in found):
        # the messages are kept beside identified data and contain no code; the audit trail says whose images they are
        target = f"{visitor.code} {visitor.visit}"
        desk.registry.audit("upload matches another subject", target=target, details={"scans": others})
    remarks = {}
    if visitor.patient_changed and any(finding.rule == "patient" for finding in found):
        found = tuple(finding for finding in found if finding.rule != "patient")
        remarks["patient_changed"] = visitor.patient_changed
    if visitor.stated:
        remarks["series"] = statement_text(visitor.stated)
    if visitor.before_infusion is not None:
        remarks["before_infusion"] = "yes" if visitor.before_infusion else "no"
    found = headers.decided(ComplianceReport(found)).findings
    reasons = [finding.message for finding in found if finding.action is Action.REFUSE]
    if reasons:
        raise ComplianceError(
            "; ".join(reasons),
            hint="check --subject, --visit and the upload; changed data of one patient: --patient-changed REASON",
        )
    return found, remarks


def _compared_with(desk: UploadDesk, code: str, visit: str) -> PreviousScan | None:
    """Scan of the nearest earlier visit, or of the nearest later visit if there is no earlier one."""
    profiles = desk.registry.scan_profiles(code)
    labels = [planned.label for planned in desk.protocol.visits]
    here = labels.index(visit)
    for label in (*reversed(labels[:here]), *labels[here + 1 :]):
        if profiles.get(label):
            return PreviousScan(label, profile_of_record(profiles[label]))
    return None
