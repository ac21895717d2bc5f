"""Queries of the registry."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from mri_pipeline.core.errors import GateClosedError, UsageError
from mri_pipeline.registry.audit_queries import AuditQueries
from mri_pipeline.registry.database import reading
from mri_pipeline.registry.gate_verdicts import require_latest_of_scanner
from mri_pipeline.registry.records import (
    KnownScan,
    ScanIdentity,
    ScannerFacts,
    SiteState,
    SubjectState,
    TrialState,
    WithdrawnImages,
)
from mri_pipeline.registry.requirements import is_accepted, require_latest, require_not_locked, require_site
from mri_pipeline.registry.scans import relatives, withdrawn_images
from mri_pipeline.registry.schema import Gate, ScanRow, SiteRow, SubjectRow, WithdrawnRow
from mri_pipeline.registry.steps import site_state, subject_states


class RegistryQueries(AuditQueries):
    """Queries of one trial's registry. Each is one read-only transaction, which never waits for a writer."""

    def site(self, code: str) -> SiteState:
        """A site with its gate.

        Parameters
        ----------
        code : str
            Code of the site.

        Returns
        -------
        SiteState

        Raises
        ------
        SettingsError
            If the protocol has no such site.
        """
        self._protocol.site(code)
        with reading(self._engine) as session:
            row = session.get(SiteRow, code)
            return SiteState(code, Gate.NONE) if row is None else site_state(row)

    def require_open_gate(self, code: str) -> None:
        """Refuse a site without an accepted dummy run.

        Parameters
        ----------
        code : str
            Code of the site.

        Raises
        ------
        SettingsError
            If the protocol has no such site.
        GateClosedError
            If the latest dummy run of the site was refused, or there is none.
        """
        gate = self.site(code).gate
        if gate is not Gate.ACCEPTED:
            found = {
                Gate.REFUSED: "a dummy run that was refused",
                Gate.UNDECIDED: "a dummy run that nobody has decided on",
            }
            raise GateClosedError(
                f"site {code}: expected an accepted dummy run, found {found.get(gate, 'none')}",
                hint=f"send a dummy run first: mri-pipeline dummy-run TRIAL UPLOAD --site {code}",
            )

    def require_latest_dummy_run(
        self, code: str, upload_digest: str, received: str, *, scanner: ScannerFacts | None = None, coil: str = ""
    ) -> None:
        """Require that no later dummy run of the same scanner and coil was judged.

        Parameters
        ----------
        code : str
            Code of the site.
        upload_digest : str
            SHA-256 of the dummy run.
        received : str
            UTC (ISO 8601) when it was received; empty for now.
        scanner : ScannerFacts, optional
            None if the dummy run states none: no later one of the site may have been judged then.
        coil : str, optional
            Receive coil; empty if it is not stated.

        Raises
        ------
        UsageError
            If one was.
        """
        with reading(self._engine) as session:
            row = session.get(SiteRow, code)
            if scanner is not None:
                require_latest_of_scanner(
                    session, code, scanner, coil, upload_digest=upload_digest, received=received
                )
            elif row is not None:
                require_latest(row, upload_digest, received)

    def subjects(self) -> list[str]:
        """Codes of all subjects.

        Returns
        -------
        list of str
            Blinded codes, sorted.
        """
        with reading(self._engine) as session:
            return list(session.scalars(select(SubjectRow.code).order_by(SubjectRow.code)))

    def subject(self, code: str) -> SubjectState:
        """One subject with its planned visits.

        Parameters
        ----------
        code : str
            Blinded code.

        Returns
        -------
        SubjectState

        Raises
        ------
        UsageError
            If the registry has no such subject.
        """
        with reading(self._engine) as session:
            found = subject_states(session, self._protocol, code) if code else []
        if not found:
            raise UsageError(
                f"expected a subject of the trial, found the unknown code {code}",
                hint="list the subjects: mri-pipeline status TRIAL",
            )
        return found[0]

    def state(self) -> TrialState:
        """All sites and all subjects.

        Returns
        -------
        TrialState
            Sites in the order of their codes, subjects in the order of site and code.
        """
        with reading(self._engine) as session:
            entered = {row.code: site_state(row) for row in session.scalars(select(SiteRow))}
            planned = {site.code: SiteState(site.code, Gate.NONE) for site in self._protocol.sites}
            sites = [state for _, state in sorted((planned | entered).items())]
            subjects = subject_states(session, self._protocol)
        return TrialState(tuple(sites), tuple(subjects))

    def scan_profiles(self, subject: str) -> dict[str, dict[str, Any]]:
        """Acquisition profile of each accepted scan of a subject.

        Parameters
        ----------
        subject : str
            Blinded code.

        Returns
        -------
        dict of str to dict
            By visit label. Empty for an unknown subject; a scan without a profile has no entry.
        """
        with reading(self._engine) as session:
            rows = session.scalars(select(ScanRow).where(ScanRow.subject == subject))
            return {row.visit: dict(row.profile) for row in rows if row.profile}

    def scan_days(self) -> dict[str, dict[str, int]]:
        """Days of the accepted scans.

        Returns
        -------
        dict of str to dict
            Shifted day (`ScanIdentity.shifted_day`) by visit label, by blinded code; a scan without a date is absent.
        """
        days: dict[str, dict[str, int]] = {}
        with reading(self._engine) as session:
            for subject, visit, day in session.execute(
                select(ScanRow.subject, ScanRow.visit, ScanRow.shifted_day)
            ):
                if day is not None:
                    days.setdefault(subject, {})[visit] = day
        return days

    def receipt(self, subject: str, visit: str) -> str:
        """The receipt of the accepted scan of a visit (`Registry.record_scan`).

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.

        Returns
        -------
        str
            Empty if there is no scan or it has none.
        """
        with reading(self._engine) as session:
            row = session.get(ScanRow, (subject, visit))
            return (row.receipt or "") if row is not None else ""

    def upload(self, subject: str, visit: str) -> str:
        """SHA-256 of the upload of the accepted scan of a visit.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.

        Returns
        -------
        str
            Empty if there is no accepted scan.
        """
        with reading(self._engine) as session:
            row = session.get(ScanRow, (subject, visit))
            return (row.upload_digest or "") if row is not None and is_accepted(row) else ""

    def require_site(self, subject: str, site: str) -> None:
        """Refuse a subject of another site.

        Parameters
        ----------
        subject : str
            Blinded code of a known subject.
        site : str
            Code of the site.

        Raises
        ------
        UsageError
            If the subject belongs to another site, or the registry has no such subject.
        """
        require_site(self.subject(subject).site, subject, site)

    def require_replaceable(self, subject: str, visit: str) -> None:
        """Refuse a visit whose read is locked.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.

        Raises
        ------
        UsageError
            If it is locked.
        """
        with reading(self._engine) as session:
            require_not_locked(session, subject, visit)

    def relatives(self, subject: str, identity: ScanIdentity) -> list[KnownScan]:
        """The accepted scans of a subject, and those of other subjects with its patient, study or images.

        Parameters
        ----------
        subject : str
            Blinded code.
        identity : ScanIdentity
            Empty keys are not compared.

        Returns
        -------
        list of KnownScan
            In the order of subject and visit.
        """
        with reading(self._engine) as session:
            return relatives(session, subject, identity)

    def withdrawn_images(self, subject: str, visit: str, identity: ScanIdentity) -> list[WithdrawnImages]:
        """The images of a scan that were withdrawn before, from this visit or another one.

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label of the scan. Images that its accepted scan has now are not compared.
        identity : ScanIdentity

        Returns
        -------
        list of WithdrawnImages
            The latest withdrawal of each subject and visit, in the order of the withdrawals.
        """
        with reading(self._engine) as session:
            return withdrawn_images(session, subject, visit, identity)

    def withdrawn(self) -> list[dict[str, Any]]:
        """All withdrawn scans with their reads.

        Returns
        -------
        list of dict
            Oldest first: ``subject``, ``visit``, ``at``, ``reason``, ``replaced_by``, ``scan`` and ``reads``.
        """
        with reading(self._engine) as session:
            rows = session.scalars(select(WithdrawnRow).order_by(WithdrawnRow.id))
            names = [column.name for column in WithdrawnRow.__table__.columns if column.name != "id"]
            return [{name: getattr(row, name) for name in names} for row in rows]
