"""Dummy runs. The verdict decides whether the site may enrol."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mri_pipeline.core.errors import (
    ComplianceError,
    IdentityError,
    UploadRefusedError,
)
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import Gate, Registry, ScannerGate, ScannerState, require_storable
from mri_pipeline.registry.audit import AuditAction
from qc.acceptance import JudgedDummyRun
from qc.findings import NEVER_OVERRULED
from qc.measure_record import measure_record
from qc.reports.acceptance import add_decision
from qc.reports.pdf import chromium, write_pdf
from reading_centre.use_cases.office.query import questions
from reading_centre.use_cases.trial.private_folder import private_folder
from reading_centre.use_cases.uploads.dummy_run.judgement import accept_dummy_run
from reading_centre.use_cases.uploads.dummy_run.report import acceptance_report, renew_pdf, write_acceptance
from reading_centre.use_cases.uploads.series_statement import statement_text
from reading_centre.use_cases.uploads.task import UploadTask, settle_upload, upload_task


@dataclass(frozen=True)
class ReceivedDummyRun:
    """A dummy run that the limits accept.

    Parameters
    ----------
    site : str
        Code of the site.
    verdict : str
        `qc.acceptance.Verdict`.
    gate : str
        `mri_pipeline.registry.ScannerState` of the dummy run: refused if a person has refused it, undecided while a
        person has to decide on it, closed or superseded if the gate of the scanner stays so.
    queries : tuple of str
        To be answered by the site.
    report : str
        Path of the acceptance report.
    """

    site: str
    verdict: str
    gate: str
    queries: tuple[str, ...]
    report: str

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values for ``--json``.

        Returns
        -------
        dict
        """
        return asdict(self)


def receive_dummy_run(
    folder: Path,
    upload: Path,
    *,
    site: str,
    received: str = "",
    stated: Mapping[Contrast, int] | None = None,
    by: str = "",
    pdf: bool = False,
    sha256: str = "",
) -> ReceivedDummyRun:
    """Judge a dummy run, write the acceptance report, and record whether the site may enrol.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    upload : Path
        Folder, zip or tar of DICOM.
    site : str
        Code of the site.
    received : str
        UTC (ISO 8601) when an upload in quarantine was received; empty for now.
    stated : mapping of Contrast to int, optional
        Series numbers by the site's statement (`mri_pipeline.intake.stated`).
    by : str, optional
        Reviewer whom the report names. Default: the account of the process.
    pdf : bool, optional
        True: write the report as PDF, too.
    sha256 : str, optional
        Of an upload in quarantine when it was received; empty for a new upload.

    Returns
    -------
    ReceivedDummyRun

    Raises
    ------
    UploadRefusedError
        If the dummy run is refused. The site may not enrol, and the upload is in quarantine. The report is written if
        the upload could be judged.
    UsageError, SettingsError
        If the site is unknown, the path does not exist, a later dummy run of the scanner was judged, Chromium is
        missing for a PDF, `by` is no text, or the upload has another `sha256`.
    ExternalToolError
        If Chromium fails. The verdict is recorded.
    """
    require_storable("by", by)
    if pdf:
        chromium()
    with upload_task(folder, site, upload) as task, private_folder(task.trial.work) as work:
        digest = task.measured(sha256)
        with _refusals(task, task.upload, digest, site, received, pdf=pdf) as judged:
            run, alarm = _judged_latest(
                task, work / "upload", digest=digest, site=site, received=received, stated=stated
            )
            judged.append(run)
            if stated:
                details = {"upload": digest, "series": statement_text(stated)}
                task.registry.audit(AuditAction.SERIES_STATED, target=site, details=details)
            report = write_acceptance(task, run, digest, by=by)
            if not run.verdict.opens_gate:
                raise _refusal(run, alarm, report)
        state = task.registry.record_dummy_run(
            site,
            accepted=True,
            upload_digest=digest,
            findings=questions(run.of(Action.QUERY)),
            undecided=task.protocol.scanner_gate.persons > 0,
            received=received,
            **_of_scanner(task, run),
        )
        if state not in {ScannerState.REFUSED, ScannerState.UNDECIDED}:  # by a person, or until one decides
            task.settle_waiting(digest, kind="dummy run")
        if pdf:
            write_pdf(report)
        queries = tuple(finding.message for finding in run.of(Action.QUERY))
        return ReceivedDummyRun(site, run.verdict.value, state.value, queries, str(report))


def _judged_latest(
    task: UploadTask, work: Path, *, digest: str, site: str, received: str, stated: Mapping[Contrast, int] | None
) -> tuple[JudgedDummyRun, IdentityError | None]:
    """Judge the upload, unless a later dummy run of its scanner was judged. As `accept_dummy_run`."""
    require_latest = partial(task.registry.require_latest_dummy_run, site, digest, received)
    try:
        run, alarm = accept_dummy_run(
            task.upload,
            protocol=task.protocol,
            site=site,
            trial=task.trial.root,
            work_dir=work,
            cleared=task.registry.releases.of(digest).cleared,
            stated=stated,
        )
    except UploadRefusedError:
        require_latest()  # its scanner is not known
        raise
    known = _of_scanner(task, run)
    require_latest(scanner=known["scanner"], coil=known["coil"])
    return run, alarm


def _of_scanner(task: UploadTask, run: JudgedDummyRun) -> dict[str, Any]:
    """Scanner, coil and measures of a dummy run, as arguments of `Registry.record_dummy_run`."""
    coil = run.profile.coil if run.profile else ""
    return {"coil": coil, **task.by_scanner(run.site, run.profile, measure_record(run.measures))}


def decide_dummy_run(
    folder: Path,
    *,
    site: str,
    accept: bool,
    reason: str,
    by: str,
    scanner: int | None = None,
    coil: str | None = None,
) -> ScannerGate:
    """Enter the decision of a person on the dummy run of a site that waits for it, or else on the latest one.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    site : str
        Code of the site.
    accept : bool
        The gate of its scanner is opened, or closed.
    reason, by : str
        Why and who, without patient data.
    scanner, coil : optional
        Which scanner, as in `ScannerGates.decide`.

    Returns
    -------
    ScannerGate
        `proposed` is not empty while a second person has to confirm the decision.

    Raises
    ------
    UsageError
        If no dummy run of a known scanner was judged, if it breaks a rule that is never overruled, or as
        `ScannerGates.decide`.
    SettingsError
        If the protocol has no such site.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    protocol.site(site)
    with Registry.open(trial, protocol) as registry:
        gate = registry.scanner_gates.decide(
            site,
            accept=accept,
            reason=reason,
            by=by,
            persons=protocol.scanner_gate.persons,
            final=NEVER_OVERRULED,
            scanner=scanner,
            coil=coil,
        )
    report = acceptance_report(trial, site, gate.latest_digest)
    add_decision(
        report,
        state=ScannerState.ACCEPTED.value if accept else ScannerState.REFUSED.value,
        reason=reason,
        by=by,
        day=dt.datetime.now(dt.UTC).date(),
        final=not gate.proposed,
    )
    if gate.state is ScannerState.ACCEPTED and not gate.proposed:
        with Registry.open(trial, protocol) as registry:
            settle_upload(trial, registry, gate.latest_digest, kind="dummy run")
    renew_pdf(report)
    return gate


@contextmanager
def _refusals(
    task: UploadTask, upload: Path, digest: str, site: str, received: str, *, pdf: bool
) -> Iterator[list[JudgedDummyRun]]:
    """Keep a dummy run that the block refuses in quarantine, record the verdict, and write its report as PDF.

    The block appends the dummy run to the list, once it is judged.
    """
    judged: list[JudgedDummyRun] = []
    try:
        with task.refusals(upload, digest=digest, site=site, kind="dummy run"):
            yield judged
    except UploadRefusedError as error:
        # an unreadable upload does not withdraw an earlier acceptance
        known = _of_scanner(task, judged[0]) if judged else {}
        if isinstance(error, ComplianceError) or task.registry.site(site).gate is not Gate.ACCEPTED:
            reasons = [finding.rule for run in judged for finding in run.of(Action.REFUSE)]
            task.registry.record_dummy_run(
                site,
                accepted=False,
                upload_digest=digest,
                findings=[error.message],
                rules=reasons,
                final=NEVER_OVERRULED,
                undecided=task.protocol.scanner_gate.persons > 0,
                received=received,
                **known,
            )
        if pdf and judged:
            write_pdf(acceptance_report(task.trial, site, digest))
        raise


def _refusal(run: JudgedDummyRun, alarm: IdentityError | None, report: Path) -> UploadRefusedError:
    """The error of a refused dummy run. An identity alarm that is its only reason can be cleared."""
    reasons = run.of(Action.REFUSE)
    if alarm is not None and len(reasons) == 1:
        return alarm
    return ComplianceError(
        "; ".join(finding.message for finding in reasons), hint=f"send the site its acceptance report: {report}"
    )
