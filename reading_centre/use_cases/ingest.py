"""Ingest of a visit: intake, compliance, conversion, registry."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.core.protocol import Action
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.quarantine import measure_upload
from mri_pipeline.registry import Registry, ScanState
from qc.compliance import Purpose
from qc.scan_profile import PreviousScan, profile_of_record, profile_record
from reading_centre.use_cases.gate import check_upload, write_scans
from reading_centre.use_cases.upload_desk import UploadDesk, scanner_facts, unpacking, upload_desk


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
    """

    subject: str
    visit: str
    contrasts: tuple[str, ...]
    queries: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values for ``--json``.

        Returns
        -------
        dict
        """
        return asdict(self)


def receive_visit(
    folder: Path, upload: Path, *, site: str, subject: str, visit: str, replace_because: str = ""
) -> ReceivedVisit:
    """Ingest the scans of one visit. Refused uploads are copied to quarantine.

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

    Returns
    -------
    ReceivedVisit

    Raises
    ------
    UploadRefusedError
        With the reason; the upload is in quarantine.
    UsageError, SettingsError
        If the site or visit is unknown, the path does not exist, or the visit already has another scan.
    """
    upload = upload.resolve()
    with upload_desk(folder, site, upload) as desk:
        desk.protocol.visit(visit)
        _, digest = measure_upload(upload)
        context = {"site": site, "kind": "visit"}
        try:
            desk.registry.require_open_gate(site)
        except UploadRefusedError as error:
            desk.refuse(upload, error, digest=digest, **context)
            raise
        # a subject is entered only with an accepted scan, because the number may be mistyped
        visitor = _Visitor(desk.sealed.preview(site, subject), site, subject, visit, digest)
        context |= {"subject": visitor.code, "visit": visit}
        with unpacking(desk.trial) as work:
            try:
                return _take_in(desk, upload, work, visitor, replace_because=replace_because)
            except UploadRefusedError as error:
                desk.refuse(upload, error, digest=digest, **context)
                raise


@dataclass(frozen=True)
class _Visitor:
    """Identity of an upload: blinded code, site, trial number, visit and digest of the upload."""

    code: str
    site: str
    number: str
    visit: str
    digest: str


def _take_in(
    desk: UploadDesk, upload: Path, work: Path, visitor: _Visitor, *, replace_because: str
) -> ReceivedVisit:
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
    queries = tuple(finding.message for finding in checked.compliance.of(Action.QUERY))
    record = partial(
        desk.registry.record_scan,
        code,
        visit,
        site=visitor.site,
        upload_digest=visitor.digest,
        scanner=scanner_facts(checked.profile),
        profile=profile_record(checked.profile) if checked.profile is not None else {},
        findings=queries,
    )
    if replace_because and _has_scan(desk.registry, code, visit):
        desk.registry.withdraw_scan(code, visit, reason=replace_because)
    if _has_scan(desk.registry, code, visit):
        record()  # a repeated upload changes nothing; another upload is refused
        scans = desk.trial.rawdata.scans(code, visit)
    else:
        # write scans before the registry entry: a scan is valid from its entry; scans without an entry are replaced
        written = write_scans(
            checked,
            raw=desk.trial.rawdata,
            protocol=desk.protocol,
            visit=visit,
            blinding=Blinding(code, desk.sealed.secret("blinding")),
            replace=True,
        )
        desk.sealed.code_for(visitor.site, visitor.number)
        queries += written.queries
        record(findings=queries)
        scans = dict(written.scans)
    return ReceivedVisit(code, visit, tuple(contrast.value for contrast in scans), queries)


def _compared_with(desk: UploadDesk, code: str, visit: str) -> PreviousScan | None:
    """Scan of the nearest earlier visit, or of the nearest later visit if there is no earlier one."""
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
