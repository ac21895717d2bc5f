"""Dummy runs. The verdict decides whether the site may enrol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.core.errors import ComplianceError, IdentityError, UploadRefusedError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.quarantine import measure_upload
from mri_pipeline.registry import Gate
from mri_pipeline.registry.audit import AuditAction
from qc.acceptance import DummyRun, judge_dummy_run
from qc.compliance import Purpose
from qc.reports.acceptance import acceptance_html, acceptance_json
from qc.scan_profile import scan_profile
from reading_centre.use_cases.private_folder import private_folder
from reading_centre.use_cases.query import questions
from reading_centre.use_cases.series_statement import statement_text
from reading_centre.use_cases.upload_desk import UploadDesk, scanner_facts, upload_desk
from workflows.intake import IntakeJob, run_intake


@dataclass(frozen=True)
class ReceivedDummyRun:
    """An accepted dummy run.

    Parameters
    ----------
    site : str
        Code of the site.
    verdict : str
        `qc.acceptance.Verdict`.
    queries : tuple of str
        To be answered by the site.
    report : str
        Path of the acceptance report.
    """

    site: str
    verdict: str
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

    Returns
    -------
    ReceivedDummyRun

    Raises
    ------
    UploadRefusedError
        If the dummy run is refused. The site may not enrol, and the upload is in quarantine. The report is written if
        the upload could be judged.
    UsageError, SettingsError
        If the site is unknown, the path does not exist, or a later dummy run of the site was judged.
    """
    with upload_desk(folder, site, upload) as desk, private_folder(desk.trial.work) as work:
        upload = desk.upload
        _, digest = measure_upload(upload)
        desk.registry.require_latest_dummy_run(site, digest, received)
        with _refusals(desk, upload, digest, site, received):
            run, alarm = accept_dummy_run(
                upload,
                protocol=desk.protocol,
                site=site,
                trial=desk.trial.root,
                work_dir=work / "upload",
                cleared=desk.registry.releases.of(digest).cleared,
                stated=stated,
            )
            if stated:
                details = {"upload": digest, "series": statement_text(stated)}
                desk.registry.audit(AuditAction.SERIES_STATED, target=site, details=details)
            report = _write_acceptance(desk, run, digest)
            if not run.verdict.opens_gate:
                raise _refusal(run, alarm, report)
        desk.registry.record_dummy_run(
            site,
            accepted=True,
            upload_digest=digest,
            scanner=scanner_facts(run.profile),
            findings=questions(run.of(Action.QUERY)),
            received=received,
        )
        desk.settle_waiting(digest, kind="dummy run")
        queries = tuple(finding.message for finding in run.of(Action.QUERY))
        return ReceivedDummyRun(site, run.verdict.value, queries, str(report))


@contextmanager
def _refusals(desk: UploadDesk, upload: Path, digest: str, site: str, received: str) -> Iterator[None]:
    """Keep a dummy run that the block refuses in quarantine, and record the verdict."""
    try:
        with desk.refusals(upload, digest=digest, site=site, kind="dummy run"):
            yield
    except UploadRefusedError as error:
        # an unreadable upload does not withdraw an earlier acceptance
        if isinstance(error, ComplianceError) or desk.registry.site(site).gate is not Gate.ACCEPTED:
            desk.registry.record_dummy_run(
                site, accepted=False, upload_digest=digest, findings=[error.message], received=received
            )
        raise


def _refusal(run: DummyRun, alarm: IdentityError | None, report: Path) -> UploadRefusedError:
    """The error of a refused dummy run. An identity alarm that is its only reason can be cleared."""
    reasons = run.of(Action.REFUSE)
    if alarm is not None and len(reasons) == 1:
        return alarm
    return ComplianceError(
        "; ".join(finding.message for finding in reasons), hint=f"send the site its acceptance report: {report}"
    )


def _write_acceptance(desk: UploadDesk, run: DummyRun, digest: str) -> Path:
    path = desk.trial.reports / f"dummy-run_{run.site}_{digest[:8]}.html"
    digest_of_settings = settings_digest(desk.protocol)
    values = acceptance_json(run, trial=desk.protocol.name, settings_digest=digest_of_settings)
    write_atomic(path.with_suffix(".json"), values)
    return write_atomic(path, acceptance_html(run, trial=desk.protocol.name, settings_digest=digest_of_settings))


def accept_dummy_run(
    upload: Path,
    *,
    protocol: Protocol,
    site: str,
    trial: Path,
    work_dir: Path,
    cleared: frozenset[str] = frozenset(),
    stated: Mapping[Contrast, int] | None = None,
) -> tuple[DummyRun, IdentityError | None]:
    """Judge a site's dummy run, headers and images.

    Parameters
    ----------
    upload : Path
        Zip, tar or folder of DICOM.
    protocol : Protocol
    site : str
        A site of the protocol.
    trial : Path
        Folder of the trial, with its secrets.
    work_dir : Path
        New private folder; removed by the caller.
    cleared : frozenset of str
        Header elements by series whose values are no identities (`Blinding.cleared`).
    stated : mapping of Contrast to int, optional
        Series numbers by the site's statement (`mri_pipeline.intake.stated`).

    Returns
    -------
    run : DummyRun
        With its verdict. A violation of the protocol does not raise an error, so that the site gets the whole list.
    alarm : IdentityError or None
        An identity that would remain after de-identification. It is one of the refusals of `run`.

    Raises
    ------
    SettingsError
        If the protocol has no such site.
    UploadRefusedError
        If the upload is unsafe or unreadable, or mixes patients or studies.
    """
    protocol.site(site)
    job = IntakeJob(
        upload, trial, protocol, Purpose.DUMMY_RUN, code="DUMMYRUN", cleared=cleared, stated=stated or {}
    )
    result = run_intake(job, work_dir)
    checked, converted, refusal = result.checked, result.converted, result.refusal
    alarm = refusal if isinstance(refusal, IdentityError) else None
    if converted is None:
        compliance = checked.compliance
        profile = checked.profile if alarm is None else None  # model and software are shown in the report
    else:
        compliance, chosen = converted.decision.compliance, converted.decision.chosen
        profile = scan_profile(chosen) if chosen else None
    images = {} if converted is None else converted.images()
    run = judge_dummy_run(
        site,
        protocol=protocol,
        compliance=compliance,
        conversion_fault="" if refusal is None else refusal.message,
        recognised=checked.recognised,
        profile=profile,
        images=images,
        measures={} if converted is None else {c: converted.measures[c] for c in images},
    )
    return run, alarm
