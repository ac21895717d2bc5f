"""The registry of one trial: sites and gates, scanners, subjects, scans, reads. Every change is audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any, Self

from sqlalchemy import select

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.records import ScanStatus
from mri_pipeline.registry.assignments import Assignments
from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import no_registry, open_engine, prepare, reading, writing
from mri_pipeline.registry.reads import ReadRegistry
from mri_pipeline.registry.records import ScanIdentity, ScannerFacts
from mri_pipeline.registry.releases import Releases
from mri_pipeline.registry.scans import set_identity, stated_of_scan, withdraw
from mri_pipeline.registry.schema import Gate, ScanRow, ScanState, SiteRow, SubjectRow
from mri_pipeline.registry.sessions import Sessions
from mri_pipeline.registry.settings import enter_settings, recorded_settings, settings_of
from mri_pipeline.registry.site_queries import (
    STATED,
    SUPERSEDED,
    WITHDRAWN_SCAN,
    Question,
    SiteQueries,
    close_queries,
    enter_queries,
    renew_queries,
)
from mri_pipeline.registry.steps import (
    accepted_scan,
    another_scan,
    append,
    enter_refusal,
    enter_subject,
    is_accepted,
    refusals_of,
    require_latest,
    require_texts,
    scanner_id,
)

_ANALYSIS = {ScanStatus.ANALYSED: AuditAction.SCAN_ANALYSED, ScanStatus.FAILED: AuditAction.SCAN_FAILED}


class Use(Enum):
    """What a command opens the registry for."""

    SHOW = auto()
    CHANGE = auto()
    NUMBERS = auto()
    """It reads or writes what numbers come from: the audit trail is verified first."""


class Registry(ReadRegistry):
    """The registry of one trial. Each method is one transaction; several processes may use it at the same time.

    Use it as a context manager, or call `close`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mri_pipeline.core.protocol import parse_protocol, protocol_text
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Registry.open(Trial(Path(folder)), parse_protocol(protocol_text())) as registry:
    ...         registry.record_dummy_run("S01", accepted=True, upload_digest="ab12")
    ...         registry.site("S01").gate.value
    'accepted'
    """

    @classmethod
    def open(cls, trial: Trial, protocol: Protocol, use: Use = Use.CHANGE) -> Self:
        """Open the registry of a trial, or create that of a new trial, and enter new sites of ``trial.toml``.

        Changed settings of ``trial.toml`` are entered in the audit trail, unless the registry is only shown.

        Parameters
        ----------
        trial : Trial
            Its folder contains the SQLite registry, unless ``database_url`` is set.
        protocol : Protocol
        use : Use

        Returns
        -------
        Registry

        Raises
        ------
        SettingsError
            If ``database_url`` cannot be used.
        UsageError
            If the database is not a registry of this version, or if the trial has data and no registry. A new registry
            would have no gates, scans, reads or audit trail. For numbers also if the audit trail is broken.
        """
        embedded = not protocol.database_url
        under_way = _under_way(trial, embedded=embedded)
        if embedded and under_way and not trial.registry_file.is_file():
            raise no_registry()
        engine = open_engine(protocol.database_url, trial.registry_file)
        try:
            prepare(engine, may_create=not under_way)
        except BaseException:
            engine.dispose()
            raise
        registry = cls(engine, protocol)
        try:
            registry._begin(use)
        except BaseException:
            engine.dispose()
            raise
        return registry

    @classmethod
    def of_copy(cls, file: Path, protocol: Protocol) -> Self:
        """Open a copy of the registry of a trial as it is.

        Parameters
        ----------
        file : Path
            SQLite file of `copy_to`.
        protocol : Protocol
            That of the trial.

        Returns
        -------
        Registry
        """
        return cls(open_engine("", file), protocol)

    def migrate(self) -> None:
        """Bring a copy of an earlier layout to the present one."""
        prepare(self._engine, may_create=False)

    def copy_to(self, file: Path, database_url: str = "") -> None:
        """Copy one state of this registry into an empty database. Other processes may write meanwhile.

        Parameters
        ----------
        file : Path
            SQLite file, mode 0600. An existing one is replaced.
        database_url : str
            SQLAlchemy URL of an empty database to use instead of the file.

        Raises
        ------
        UsageError, SettingsError
            If the database is not empty, or cannot be used.
        """
        from mri_pipeline.registry.copies import copy_registry  # noqa: PLC0415 - it imports alembic

        if not database_url:
            file.unlink(missing_ok=True)
        target = open_engine(database_url, file)
        try:
            copy_registry(self._engine, target)
        finally:
            target.dispose()

    def close(self) -> None:
        """Dispose of the engine."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def site_queries(self) -> SiteQueries:
        """The queries to the sites."""
        return SiteQueries(self._engine)

    @property
    def releases(self) -> Releases:
        """The decisions on refused uploads."""
        return Releases(self._engine)

    @property
    def sessions(self) -> Sessions:
        """The sessions of the web application."""
        return Sessions(self._engine)

    @property
    def assignments(self) -> Assignments:
        """The reading in the browser."""
        return Assignments(self._engine)

    # sites and gates

    def record_dummy_run(
        self,
        site: str,
        *,
        accepted: bool,
        upload_digest: str,
        scanner: ScannerFacts | None = None,
        findings: Sequence[Question | str] = (),
        received: str = "",
    ) -> None:
        """Set the gate of a site to the verdict on its latest dummy run.

        Parameters
        ----------
        site : str
            Code of the site.
        accepted : bool
            The verdict.
        upload_digest : str
            SHA-256 of the upload.
        scanner : ScannerFacts, optional
            Entered as a scanner of the site if it is new.
        findings : sequence of Question or str
            For the audit trail, without patient data. Those of an accepted dummy run become queries.
        received : str
            UTC (ISO 8601) when the upload was received; empty for now.

        Raises
        ------
        SettingsError
            If the protocol has no such site.
        UsageError
            If another dummy run was judged after this one was received.
        """
        self._protocol.site(site)
        gate = Gate.ACCEPTED if accepted else Gate.REFUSED
        with writing(self._engine) as session:
            row = session.get_one(SiteRow, site)
            require_latest(row, upload_digest, received)
            row.gate, row.dummy_run_digest, row.gate_at = gate.value, upload_digest, utc_now()
            if scanner:
                scanner_id(session, site, scanner)
            messages = [str(finding) for finding in findings]
            details = {"gate": gate.value, "upload": upload_digest, "at": row.gate_at, "findings": messages}
            append(session, AuditAction.DUMMY_RUN, site, details)
            enter_queries(session, findings if accepted else (), site=site)

    # subjects and scans

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
            Whose images they are, and of when. The caller has compared it with `RegistryQueries.relatives`.
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
            if enter_subject(session, subject, site):
                for entry in refusals_of(session, subject):
                    enter_refusal(session, subject, **entry)
            row = session.get(ScanRow, (subject, visit))
            if row is not None and is_accepted(row):
                if replace_because:
                    withdraw(session, row, reason=replace_because, replaced_by=receipt)
                elif row.upload_digest == upload_digest:
                    return False
                else:
                    raise another_scan(subject, visit)
            row = row or ScanRow(subject=subject, visit=visit)
            messages = [str(finding) for finding in findings]
            row.status, row.upload_digest, row.findings = ScanState.RECEIVED.value, upload_digest, messages
            row.scanner = scanner_id(session, site, scanner) if scanner else None
            row.profile, row.receipt = dict(profile or {}), receipt or None
            session.add(row)
            set_identity(session, row, identity or ScanIdentity())
            details = {
                **(remarks or {}),
                "upload": upload_digest,
                "findings": messages,
                **stated_of_scan(session, row),
            }
            append(session, AuditAction.SCAN_RECEIVED, f"{subject} {visit}", details)
            enter_queries(session, findings, site=site, subject=subject, visit=visit)
            for other, questions in (others or {}).items():
                scan = session.get(ScanRow, (subject, other))
                if scan is not None and is_accepted(scan):
                    renew_queries(session, scan, questions, rule=others_rule, site=site, reason=SUPERSEDED)
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
            for other in others:
                scan = session.get(ScanRow, (subject, other))
                if scan is not None and is_accepted(scan):
                    renew_queries(session, scan, (), rule=others_rule, site=site, reason=WITHDRAWN_SCAN)

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

    def record_analysis(
        self,
        subject: str,
        visit: str,
        status: ScanStatus,
        *,
        reason: str = "",
        scan_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Record that an accepted scan was analysed or failed. An unchanged status gives no audit entry.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.
        status : ScanStatus
            Analysed or failed.
        reason : str
            Of a failure, for the audit trail, without patient data.
        scan_keys : mapping of str to str, optional
            `VisitState.scan_key` of each scan that was analysed together, by visit. If one of them was replaced or
            withdrawn since, nothing is recorded.

        Raises
        ------
        UsageError
            If there is no accepted scan of that visit.
        ValueError
            If the status is another one.
        """
        if status not in _ANALYSIS:
            raise ValueError(f"expected analysed or failed, found {status.value}")
        with writing(self._engine) as session:
            for label, key in (scan_keys or {}).items():
                scan = session.get(ScanRow, (subject, label))
                if scan is None or scan.scan_key != key:
                    return
            row = accepted_scan(session, subject, visit)
            if row.status != status.value:
                row.status = status.value
                details = {"reason": reason} if reason else {}
                append(session, _ANALYSIS[status], f"{subject} {visit}", details)

    # the audit trail

    def audit(
        self, action: str, *, target: str = "", reader: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """Append an audit entry.

        Parameters
        ----------
        action : str
            What was done.
        target : str
            Subject, visit or site; may be empty.
        reader : str
            Code of the reader or name of the person, if one acted.
        details : mapping, optional
            JSON without patient data.
        """
        with writing(self._engine) as session:
            append(session, action, target, dict(details or {}), reader=reader)

    def _begin(self, use: Use) -> None:
        if use is Use.NUMBERS:
            self.verify_audit()
        with reading(self._engine) as session:
            known = set(session.scalars(select(SiteRow.code)))
            settings_changed = recorded_settings(session) != settings_of(self._protocol)
        if use is not Use.SHOW and settings_changed:
            with writing(self._engine) as session:
                enter_settings(session, self._protocol)
        if use is not Use.SHOW and {site.code for site in self._protocol.sites} - known:
            self._enter_sites()

    def _enter_sites(self) -> None:
        with writing(self._engine) as session:
            known = set(session.scalars(select(SiteRow.code)))
            for site in self._protocol.sites:
                if site.code not in known:
                    session.add(SiteRow(code=site.code, gate=Gate.NONE.value))
                    append(session, AuditAction.SITE_ENTERED, site.code, {})


def _under_way(trial: Trial, *, embedded: bool) -> bool:
    """True if a trial has scans, results or reads, or was created with an embedded registry."""
    if embedded and trial.sealed.is_dir() and any(trial.sealed.iterdir()):
        return True
    kept = (trial.rawdata.root, trial.derivatives.root, trial.reads)
    return any(path.is_dir() for folder in kept for path in folder.glob("*"))
