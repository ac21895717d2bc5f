"""The scans in the registry of one trial: accepted, withdrawn, refused, analysed. Every change is audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from mri_pipeline.core.records import ScanStatus
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.database import writing
from mri_pipeline.registry.measures import Values, enter_measures
from mri_pipeline.registry.queries import RegistryQueries
from mri_pipeline.registry.records import ScanIdentity, ScannerFacts
from mri_pipeline.registry.requirements import accepted_scan, another_scan, is_accepted, require_texts
from mri_pipeline.registry.scans import set_identity, stated_of_scan, withdraw
from mri_pipeline.registry.schema import ScanRow, ScanState, SubjectRow
from mri_pipeline.registry.site_queries import (
    STATED,
    SUPERSEDED,
    WITHDRAWN_SCAN,
    Question,
    close_queries,
    enter_queries,
    renew_queries,
)
from mri_pipeline.registry.steps import enter_refusal, enter_subject, refusals_of, scanner_id
from mri_pipeline.registry.trail import append

_ANALYSIS = {ScanStatus.ANALYSED: AuditAction.SCAN_ANALYSED, ScanStatus.FAILED: AuditAction.SCAN_FAILED}


class ScanRegistry(RegistryQueries):
    """The scans in one trial's registry. Each method is one transaction."""

    def record_scan(
        self,
        subject: str,
        visit: str,
        *,
        site: str,
        upload_digest: str,
        scanner: ScannerFacts | None = None,
        profile: Mapping[str, Any] | None = None,
        findings: Sequence[Question | str] = (),
        identity: ScanIdentity | None = None,
        receipt: str = "",
        replace_because: str = "",
        remarks: Mapping[str, str] | None = None,
        others: Mapping[str, Sequence[Question]] | None = None,
        others_rule: str = "",
        measures: Values | None = None,
        measures_elsewhere: Mapping[ScannerFacts, Values] | None = None,
    ) -> bool:
        """Enter an accepted scan of a planned visit, and its subject if it is new.

        The withdrawal of an earlier scan and the entry of the new one are one transaction.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.
        site : str
            Code of the site.
        upload_digest : str
            SHA-256 of the upload.
        scanner : ScannerFacts, optional
            Entered as a scanner of the site if it is new.
        profile : mapping, optional
            The acquisition as JSON without patient data (`RegistryQueries.scan_profiles`).
        findings : sequence of Question or str
            Of the quality control of the scan, without patient data. They become queries.
        identity : ScanIdentity, optional
            Patient, study, day and images. The caller has compared it with `RegistryQueries.relatives`.
        receipt : str
            Random name of this ingest. `RegistryQueries.receipt` returns it once the scan is entered.
        replace_because : str
            Reason for replacing an accepted scan of the visit. If empty, it is not replaced.
        remarks : mapping of str to str, optional
            Further details of the audit entry, without patient data.
        others : mapping of str to sequence of Question, optional
            Questions of `others_rule` on other accepted visits of the subject that this scan raises, or settles where
            there are none.
        others_rule : str
        measures : mapping of str to mapping of str to float, optional
            Image quality of the scans of `scanner` by contrast and name of the measure.
        measures_elsewhere : mapping of ScannerFacts to mapping, optional
            As `measures`, of the scans of other scanners.

        Returns
        -------
        bool
            False if the same upload was entered before and is not to be replaced. Nothing is changed then.

        Raises
        ------
        SettingsError
            If the protocol has no such visit or site.
        UsageError
            If the subject belongs to another site, or the visit has another scan or a locked read.
        UploadRefusedError
            If another visit has one of its images.
        """
        self._protocol.visit(visit)
        self._protocol.site(site)
        with writing(self._engine) as session:
            _enter_subject(session, subject, site)
            row = session.get(ScanRow, (subject, visit))
            if row is not None and is_accepted(row):
                if not replace_because:
                    if row.upload_digest == upload_digest:
                        return False
                    raise another_scan(subject, visit, ScanState(row.status))
                withdraw(session, row, reason=replace_because, replaced_by=receipt)
            row = row or ScanRow(subject=subject, visit=visit)
            row.status, row.upload_digest = ScanState.RECEIVED.value, upload_digest
            row.findings = [str(finding) for finding in findings]
            row.scanner = scanner_id(session, site, scanner) if scanner else None
            row.profile, row.receipt = dict(profile or {}), receipt or None
            session.add(row)
            set_identity(session, row, identity or ScanIdentity())
            details = {"upload": upload_digest, "findings": row.findings, **stated_of_scan(session, row)}
            append(session, AuditAction.SCAN_RECEIVED, f"{subject} {visit}", {**(remarks or {}), **details})
            enter_queries(session, findings, site=site, subject=subject, visit=visit)
            _renew(session, subject, others or {}, rule=others_rule, site=site, reason=SUPERSEDED)
            enter_measures(
                session, measures or {}, site=site, scanner=row.scanner, upload_digest=upload_digest, accepted=True,
                subject=subject, visit=visit, elsewhere=measures_elsewhere,
            )  # fmt: skip
        return True

    def record_withdrawal(
        self,
        subject: str,
        visit: str,
        *,
        reason: str,
        by: str,
        kept_in: str,
        others: Sequence[str] = (),
        others_rule: str = "",
    ) -> None:
        """Withdraw the accepted scan of a visit without a replacement. The visit is missing then.

        The scan and its reads stay in `RegistryQueries.withdrawn`. The queries on the visit are closed. The subject's
        other visits are to be analysed again.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.
        reason, by : str
            Why and by whom, without patient data.
        kept_in : str
            Name of the folder that keeps scan and reads.
        others : sequence of str, optional
            Labels of the subject's other visits whose queries of `others_rule` compare with this scan. They are closed.
        others_rule : str

        Raises
        ------
        UsageError
            If there is no accepted scan of that visit, if its read is locked, or if `reason` or `by` is empty.
        """
        require_texts(reason=reason, by=by)
        with writing(self._engine) as session:
            site = session.get_one(SubjectRow, subject).site
            withdraw(session, accepted_scan(session, subject, visit), reason=reason, by=by, kept_in=kept_in)
            close_queries(session, subject, visit, reason=WITHDRAWN_SCAN)
            _renew(session, subject, dict.fromkeys(others, ()), rule=others_rule, site=site, reason=WITHDRAWN_SCAN)

    def record_statement(
        self,
        subject: str,
        visit: str,
        *,
        before_infusion: bool,
        rule: str,
        questions: Sequence[Question] = (),
    ) -> None:
        """Enter the site's statement whether an accepted scan came before the infusion.

        The same statement again is no change.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.
        before_infusion : bool
        rule : str
            Rule that asks for the statement. Its queries with another message are closed.
        questions : sequence of Question
            The queries of this rule under this statement.

        Raises
        ------
        UsageError
            If there is no accepted scan of that visit.
        """
        with writing(self._engine) as session:
            row = accepted_scan(session, subject, visit)
            stated = "yes" if before_infusion else "no"
            if row.before_infusion == stated:
                return
            row.before_infusion = stated
            details = {"before_infusion": stated, "findings": [question.message for question in questions]}
            append(session, AuditAction.STATEMENT, f"{subject} {visit}", details)
            site = session.get_one(SubjectRow, subject).site
            renew_queries(session, row, questions, rule=rule, site=site, reason=STATED)

    def record_refusal(
        self, site: str, *, reason: str, upload_digest: str = "", subject: str = "", visit: str = ""
    ) -> None:
        """Record a refused upload. A visit with an accepted scan keeps it.

        `subject` and `visit` are optional. A refused upload never enters a new subject, because its number may be
        mistyped. The refusals of such a subject are in the audit trail only. They become the state of its visits with
        its first accepted scan (`record_scan`).

        Parameters
        ----------
        site : str
            Code of the site.
        reason : str
            Without patient data.
        upload_digest : str
            SHA-256 of the upload; empty if it could not be read.
        subject, visit : str
            Blinded code and visit label; empty if they are not known.

        Raises
        ------
        SettingsError
            If the protocol has no such site or visit.
        UsageError
            If the subject belongs to another site.
        """
        self._protocol.site(site)
        with writing(self._engine) as session:
            if subject and visit:
                self._protocol.visit(visit)
                if session.get(SubjectRow, subject) is not None:
                    enter_subject(session, subject, site)
                    enter_refusal(session, subject, visit, reason=reason, upload_digest=upload_digest)
            append(
                session,
                AuditAction.UPLOAD_REFUSED,
                f"{subject} {visit}".strip() or site,
                {"upload": upload_digest, "reason": reason},
            )

    def record_analyses(
        self,
        subject: str,
        statuses: Mapping[str, tuple[ScanStatus, str]],
        *,
        scan_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Record which scans of a subject were analysed together, or failed, in one transaction.

        An unchanged status gives no audit entry.

        Parameters
        ----------
        subject : str
            Blinded code.
        statuses : mapping of str to (ScanStatus, str)
            Analysed or failed, and the reason of a failure, by visit. The reason goes into the audit trail and holds no
            patient data.
        scan_keys : mapping of str to str, optional
            `VisitState.scan_key` of each scan that was analysed together, by visit. If one of them was replaced or
            withdrawn since, nothing is recorded.

        Raises
        ------
        UsageError
            If there is no accepted scan of a visit.
        ValueError
            If a status is another one.
        """
        for status, _ in statuses.values():
            if status not in _ANALYSIS:
                raise ValueError(f"expected analysed or failed, found {status.value}")
        with writing(self._engine) as session:
            for label, key in (scan_keys or {}).items():
                scan = session.get(ScanRow, (subject, label))
                if scan is None or scan.scan_key != key:
                    return
            for visit, (status, reason) in statuses.items():
                row = accepted_scan(session, subject, visit)
                if row.status != status.value:
                    row.status = status.value
                    details = {"reason": reason} if reason else {}
                    append(session, _ANALYSIS[status], f"{subject} {visit}", details)


def _enter_subject(session: Session, subject: str, site: str) -> None:
    """Enter a subject if it is new, with the uploads that were refused before."""
    if enter_subject(session, subject, site):
        for entry in refusals_of(session, subject):
            enter_refusal(session, subject, **entry)


def _renew(
    session: Session,
    subject: str,
    others: Mapping[str, Sequence[Question]],
    *,
    rule: str,
    site: str,
    reason: str,
) -> None:
    """Renew the queries of a rule on the accepted scans of other visits."""
    for visit, questions in others.items():
        scan = session.get(ScanRow, (subject, visit))
        if scan is not None and is_accepted(scan):
            renew_queries(session, scan, questions, rule=rule, site=site, reason=reason)
