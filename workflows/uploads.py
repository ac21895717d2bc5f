"""Uploads: a dummy run sets a site's gate, a visit goes through it. Here intake, QC and registry meet."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mri_pipeline.errors import ComplianceError, UploadRefusedError, UsageError
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.quarantine import measure_upload, quarantine
from mri_pipeline.layout import Trial
from mri_pipeline.protocol import Action, Protocol, load_protocol
from mri_pipeline.provenance import settings_digest
from mri_pipeline.reading.blinding import Sealed
from mri_pipeline.registry import Gate, Registry, ScannerFacts, ScanState
from qc.acceptance import DummyRun, accept_dummy_run
from qc.acceptance_report import acceptance_html
from qc.compliance import PreviousScan, Purpose, ScanProfile, profile_of_record, profile_record
from qc.gate import CheckedUpload, check_upload, write_scans


@dataclass(frozen=True)
class ReceivedDummyRun:
    """A dummy run that opened its site's gate."""

    site: str
    verdict: str
    queries: tuple[str, ...]
    report: str

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class ReceivedVisit:
    """A visit that was taken in."""

    subject: str
    visit: str
    contrasts: tuple[str, ...]
    queries: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class _Desk:
    """What receiving an upload needs at hand."""

    trial: Trial
    protocol: Protocol
    registry: Registry
    sealed: Sealed

    def refuse(self, upload: Path, error: UploadRefusedError, *, digest: str, **context: str) -> None:
        """Keep a refused upload and note it; its code is not kept beside it, where the patient is known by name."""
        quarantine(
            upload,
            self.trial.quarantine,
            reason=error,
            context={name: value for name, value in context.items() if name != "subject"},
            now=dt.datetime.now(tz=dt.UTC),
            max_bytes=self.protocol.max_upload_mb * 1_000_000,
        )
        known = {name: context[name] for name in ("subject", "visit") if name in context}
        self.registry.record_refusal(context["site"], reason=error.message, upload_digest=digest, **known)


@contextmanager
def _desk(folder: Path, site: str, upload: Path) -> Iterator[_Desk]:
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    protocol.site(site)
    if not upload.exists():
        raise UsageError("expected an upload (folder, zip or tar), found none at that path", hint="check the path")
    if trial.root.is_relative_to(upload) or upload.is_relative_to(trial.root):
        raise UsageError("expected an upload outside of the trial folder, found one inside or around it")
    with Registry.open(trial, protocol) as registry:
        yield _Desk(trial, protocol, registry, Sealed.open(trial))


@contextmanager
def _unpacking(trial: Trial) -> Iterator[Path]:
    """A private folder for files that are not de-identified yet; gone afterwards, whatever happens."""
    trial.work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="intake-", dir=trial.work))
    try:
        yield folder / "upload"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scanner(profile: ScanProfile | None) -> ScannerFacts | None:
    if profile is None:
        return None
    return ScannerFacts(
        manufacturer=profile.manufacturer,
        model=profile.model,
        software=profile.software,
        field_strength_t=profile.field_strength_t or 0.0,
        serial_digest=profile.scanner_key,
    )


def _words(checked: CheckedUpload, action: Action) -> tuple[str, ...]:
    return tuple(finding.words for finding in checked.compliance.of(action))


def receive_dummy_run(folder: Path, upload: Path, *, site: str) -> ReceivedDummyRun:
    """Judge a dummy run, write the acceptance report, and set the site's gate.

    Raises
    ------
    UploadRefusedError
        If the dummy run is refused: the gate is closed, the upload in quarantine, and the report written where
        there was anything to judge.
    UsageError, SettingsError
        If the site or path is not one.
    """
    upload = upload.resolve()
    with _desk(folder, site, upload) as desk, _unpacking(desk.trial) as work:
        _, digest = measure_upload(upload)
        try:
            run = accept_dummy_run(
                upload, protocol=desk.protocol, site=site, work_dir=work, secret=desk.sealed.secret("intake")
            )
            report = _write_acceptance(desk, run, digest)
            queries = tuple(finding.words for finding in run.of(Action.QUERY))
            if not run.verdict.opens_gate:
                raise ComplianceError(
                    "; ".join(finding.words for finding in run.of(Action.REFUSE)),
                    hint=f"send the site its acceptance report: {report}",
                )
        except UploadRefusedError as error:
            desk.refuse(upload, error, digest=digest, site=site, kind="dummy run")
            # a file that could not be read says nothing about the scanner: it leaves an open gate open
            if isinstance(error, ComplianceError) or desk.registry.site(site).gate is not Gate.ACCEPTED:
                desk.registry.record_dummy_run(
                    site, accepted=False, upload_digest=digest, findings=[error.message]
                )
            raise
        desk.registry.record_dummy_run(
            site, accepted=True, upload_digest=digest, scanner=_scanner(run.profile), findings=queries
        )
        return ReceivedDummyRun(site, run.verdict.value, queries, str(report))


def _write_acceptance(desk: _Desk, run: DummyRun, digest: str) -> Path:
    path = desk.trial.reports / f"dummy-run_{run.site}_{digest[:8]}.html"
    html = acceptance_html(run, trial=desk.protocol.name, settings_digest=settings_digest(desk.protocol))
    path.write_text(html, encoding="utf-8")
    return path


def receive_visit(
    folder: Path, upload: Path, *, site: str, subject: str, visit: str, replace_because: str = ""
) -> ReceivedVisit:
    """Take in one visit's scans, or refuse them into quarantine.

    Parameters
    ----------
    folder : Path
        The trial.
    upload : Path
        Folder, zip or tar of DICOM.
    site, subject, visit : str
        Code of the site, the site's trial number of the subject, and the visit's label.
    replace_because : str
        Why this upload replaces the visit's earlier scan; empty: an earlier scan is never replaced.

    Raises
    ------
    UploadRefusedError
        With the reason; the upload is in quarantine.
    UsageError, SettingsError
        If the site, visit or path is not one, or the visit already has another scan.
    """
    upload = upload.resolve()
    with _desk(folder, site, upload) as desk:
        desk.protocol.visit(visit)
        _, digest = measure_upload(upload)
        context = {"site": site, "kind": "visit"}
        try:
            desk.registry.require_open_gate(site)
        except UploadRefusedError as error:
            desk.refuse(upload, error, digest=digest, **context)
            raise
        # nobody is entered before a scan is accepted: the number may be mistyped
        visitor = _Visitor(desk.sealed.preview(site, subject), site, subject, visit, digest)
        context |= {"subject": visitor.code, "visit": visit}
        with _unpacking(desk.trial) as work:
            try:
                return _take_in(desk, upload, work, visitor, replace_because=replace_because)
            except UploadRefusedError as error:
                desk.refuse(upload, error, digest=digest, **context)
                raise


@dataclass(frozen=True)
class _Visitor:
    """Whose visit an upload is: blinded code, site, trial number, visit, and the upload's digest."""

    code: str
    site: str
    number: str
    visit: str
    digest: str


def _take_in(desk: _Desk, upload: Path, work: Path, visitor: _Visitor, *, replace_because: str) -> ReceivedVisit:
    code, visit = visitor.code, visitor.visit
    checked = check_upload(
        upload,
        protocol=desk.protocol,
        work_dir=work,
        secret=desk.sealed.secret("intake"),
        purpose=Purpose.VISIT,
        previous=_compared_with(desk, code, visit),
    )
    checked.compliance.require()
    queries = _words(checked, Action.QUERY)
    record = partial(
        desk.registry.record_scan,
        code,
        visit,
        site=visitor.site,
        upload_digest=visitor.digest,
        scanner=_scanner(checked.profile),
        profile=profile_record(checked.profile) if checked.profile is not None else {},
        findings=queries,
    )
    if replace_because and _has_scan(desk.registry, code, visit):
        desk.registry.withdraw_scan(code, visit, reason=replace_because)
    if _has_scan(desk.registry, code, visit):
        record()  # the same upload again changes nothing, another is refused
        scans = desk.trial.rawdata.scans(code, visit)
    else:
        # first the scans, then the entry: a scan counts from its entry on, and one left without it is replaced
        written = write_scans(
            checked,
            raw=desk.trial.rawdata,
            protocol=desk.protocol,
            visit=visit,
            blinding=Blinding(code, desk.sealed.secret("blinding")),
            replace=True,
        )
        desk.sealed.code_for(visitor.site, visitor.number)
        record()
        scans = dict(written.scans)
    return ReceivedVisit(code, visit, tuple(contrast.value for contrast in scans), queries)


def _compared_with(desk: _Desk, code: str, visit: str) -> PreviousScan | None:
    """The scan of the subject's nearest earlier visit, or the nearest later one where visits come out of order."""
    profiles = desk.registry.scan_profiles(code)
    labels = [planned.label for planned in desk.protocol.visits]
    here = labels.index(visit)
    for label in (*reversed(labels[:here]), *labels[here + 1 :]):
        if profiles.get(label):
            return PreviousScan(label, profile_of_record(profiles[label]))
    return None


def _has_scan(registry: Registry, code: str, visit: str) -> bool:
    if code not in registry.subjects():
        return False
    return registry.scan_states(code)[visit] not in {ScanState.MISSING, ScanState.REFUSED}
