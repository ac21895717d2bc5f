"""The registry of one trial: sites and gates, scanners, subjects, scans, reads. Every change is audited."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any, Self

from sqlalchemy import select

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.registry.assignments import Assignments
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.database import (
    DatabaseFacts,
    database_facts,
    no_registry,
    open_engine,
    prepare,
    reading,
    undoes_failed_transaction,
    writing,
)
from mri_pipeline.registry.dummy_runs import enter_site_verdict, judged_scanner
from mri_pipeline.registry.gate_verdicts import judge_scanner_gate
from mri_pipeline.registry.jobs import Jobs
from mri_pipeline.registry.measures import Measures, Values, enter_measures
from mri_pipeline.registry.quality_rows import ScannerState
from mri_pipeline.registry.reads import ReadRegistry
from mri_pipeline.registry.records import ScannerFacts
from mri_pipeline.registry.releases import Releases
from mri_pipeline.registry.requirements import require_latest
from mri_pipeline.registry.scan_registry import ScanRegistry
from mri_pipeline.registry.scanner_gates import ScannerGates
from mri_pipeline.registry.schema import Gate, SiteRow
from mri_pipeline.registry.second_factors import SecondFactors
from mri_pipeline.registry.sessions import Sessions
from mri_pipeline.registry.settings import enter_settings, recorded_settings, settings_of
from mri_pipeline.registry.site_queries import Question, SiteQueries, enter_queries
from mri_pipeline.registry.steps import scanner_id
from mri_pipeline.registry.trail import append


class Use(Enum):
    """What a command opens the registry for."""

    SHOW = auto()
    CHANGE = auto()
    NUMBERS = auto()
    """It reads or writes what numbers come from: the audit trail is verified first."""


class Registry(ScanRegistry, ReadRegistry):
    """The registry of one trial. Each method is one transaction; several processes may use it at the same time.

    Use it as a context manager, or call `close`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mri_pipeline.core.protocol import parse_protocol, protocol_text
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Registry.open(Trial(Path(folder)), parse_protocol(protocol_text())) as registry:
    ...         scanner = registry.record_dummy_run("S01", accepted=True, upload_digest="ab12")
    ...         scanner.value, registry.site("S01").gate.value
    ('accepted', 'accepted')
    """

    @classmethod
    def open(cls, trial: Trial, protocol: Protocol, use: Use = Use.CHANGE, *, new: bool = False) -> Self:
        """Open the registry of a trial, or create that of a new trial, and enter new sites of ``trial.toml``.

        Changed settings of ``trial.toml`` are entered in the audit trail, unless the registry is only shown.

        Parameters
        ----------
        trial : Trial
            Its folder contains the SQLite registry, unless ``database_url`` is set.
        protocol : Protocol
        use : Use
        new : bool
            True: the registry of another trial is refused.

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
            prepare(engine, may_create=not under_way, must_create=new)
        except BaseException:
            engine.dispose()
            raise
        registry = cls(engine, protocol, trial.work / "audit_verified.json")
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

    def database(self) -> DatabaseFacts:
        """System and layout of the database.

        Returns
        -------
        DatabaseFacts
        """
        return database_facts(self._engine)

    def undoes_failed_transaction(self) -> bool:
        """Try a transaction that fails.

        Returns
        -------
        bool
            True if nothing of it is left.
        """
        return undoes_failed_transaction(self._engine)

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
    def scanner_gates(self) -> ScannerGates:
        """The gates of the scanners."""
        return ScannerGates(self._engine)

    @property
    def measures(self) -> Measures:
        """The measures of the uploads."""
        return Measures(self._engine)

    @property
    def second_factors(self) -> SecondFactors:
        """The authenticator apps of the people."""
        return SecondFactors(self._engine)

    @property
    def sessions(self) -> Sessions:
        """The sessions of the web application."""
        return Sessions(self._engine)

    @property
    def assignments(self) -> Assignments:
        """The reading in the browser."""
        return Assignments(self._engine)

    @property
    def jobs(self) -> Jobs:
        """The work that was ordered in the web application."""
        return Jobs(self._engine)

    # sites and gates

    def record_dummy_run(
        self,
        site: str,
        *,
        accepted: bool,
        upload_digest: str,
        scanner: ScannerFacts | None = None,
        coil: str = "",
        findings: Sequence[Question | str] = (),
        rules: Sequence[str] = (),
        final: Collection[str] = (),
        measures: Values | None = None,
        measures_elsewhere: Mapping[ScannerFacts, Values] | None = None,
        undecided: bool = False,
        received: str = "",
    ) -> ScannerState:
        """Set the gate of a scanner to the verdict on its latest dummy run, and with it the gate of the site.

        The gate of the site is open while one of its scanners, or a dummy run that states none, is accepted.

        Parameters
        ----------
        site : str
            Code of the site.
        accepted : bool
            The verdict.
        upload_digest : str
            SHA-256 of the upload.
        scanner : ScannerFacts, optional
            Entered as a scanner of the site if it is new. Without it, only the gate of the site is set, until a person
            has to decide: then it is entered as a scanner without facts, which alone counts from then on.
        coil : str
            Receive coil of the scanner; empty if it is not stated.
        findings : sequence of Question or str
            For the audit trail, without patient data. Those of an accepted dummy run become queries.
        rules : sequence of str
            Rules by which it is refused.
        final : collection of str
            Rules that no person overrules.
        measures : mapping of str to mapping of str to float, optional
            Image quality of the scans of `scanner` by contrast and name of the measure.
        measures_elsewhere : mapping of ScannerFacts to mapping, optional
            As `measures`, of the scans of other scanners.
        undecided : bool
            True if a person has to decide on a dummy run (`ScannerGates.decide`) that the limits accept, or that they
            refuse while an accepted gate stands.
        received : str
            UTC (ISO 8601) when the upload was received; empty for now.

        Returns
        -------
        ScannerState
            The verdict, or the decision of a person on the same upload. Undecided while a person has to decide on it; a
            gate that was accepted stands until then. Closed or superseded if the gate stays so.

        Raises
        ------
        SettingsError
            If the protocol has no such site.
        UsageError
            If another dummy run of the scanner was judged after this one was received, or after this one was judged.
        """
        self._protocol.site(site)
        state = ScannerState.ACCEPTED if accepted else ScannerState.REFUSED
        if accepted and undecided:
            state = ScannerState.UNDECIDED
        with writing(self._engine) as session:
            row = session.get_one(SiteRow, site)
            if scanner is None:
                require_latest(row, upload_digest, received)
            judged = judged_scanner(session, site, scanner, state, accepted=accepted, undecided=undecided)
            number = None
            if judged.facts:
                number = scanner_id(session, site, judged.facts)
                state = judge_scanner_gate(
                    session,
                    site,
                    judged.facts,
                    coil,
                    state=state,
                    upload_digest=upload_digest,
                    rules=rules,
                    final=final,
                    received=received,
                    waits=undecided,
                    standing=judged.standing,
                )
            enter_measures(
                session, measures or {}, site=site, scanner=number, upload_digest=upload_digest, accepted=accepted,
                elsewhere=measures_elsewhere,
            )  # fmt: skip
            enter_site_verdict(
                session,
                row,
                state,
                upload_digest=upload_digest,
                findings=[str(finding) for finding in findings],
                without_scanner=judged.without_scanner,
            )
            enter_queries(session, findings if accepted else (), site=site)
            return state

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
