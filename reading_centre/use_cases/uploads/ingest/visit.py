"""Ingest of a visit: it is judged, and files and registry are written together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mri_pipeline.core.errors import ComplianceError, ImageError, UploadRefusedError, UsageError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import VisitState, another_scan, require_storable
from mri_pipeline.registry.audit import AuditAction
from qc.decision import DecidedVisit, move_series, write_scans
from qc.identity import BEFORE_INFUSION, WINDOW, infusion_query
from qc.scan_profile import profile_record
from reading_centre.use_cases.office.query import questions
from reading_centre.use_cases.trial.private_folder import private_folder
from reading_centre.use_cases.trial.staging import (
    make_durable,
    only_comparison,
    only_writer,
    place_series,
    settle_subject,
    staged_visit,
)
from reading_centre.use_cases.uploads.series_statement import statement_text
from reading_centre.use_cases.uploads.task import UploadTask, settle_decided, upload_task
from reading_centre.use_cases.uploads.visit_intake import UploadContext, decide_upload
from reading_centre.use_cases.uploads.visit_judgement import JudgedVisit, compare_upload


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
        What was left out of the upload, with the reason, and what could not be measured.
    known : bool
        True if this upload was accepted before.
    """

    subject: str
    visit: str
    contrasts: tuple[str, ...]
    queries: tuple[str, ...]
    notes: tuple[str, ...] = ()
    known: bool = False

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
    dry_run: bool = False,
    sha256: str = "",
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
    dry_run : bool, optional
        True: nothing is stored. The result or the error is that of an ingest; a refused upload is not quarantined.
    sha256 : str, optional
        Of an upload in quarantine when it was received; empty for a new upload.

    Returns
    -------
    ReceivedVisit

    Raises
    ------
    UploadRefusedError
        With the reason; the upload is in quarantine.
    UsageError, SettingsError
        If the site or visit is unknown, a reason is blank or no text, the path does not exist, the visit already has
        another scan, another upload of the subject does not end, a disk is full, or the upload has another `sha256`.
    """
    _require_reasons({"--replace": replace_because, "--patient-changed": patient_changed})
    with upload_task(folder, site, upload, settle=not dry_run) as task:
        upload = task.upload
        task.protocol.visit(visit)
        digest = task.measured(sha256)
        # a subject is entered only with an accepted scan, because the number may be mistyped
        context = UploadContext(
            task.sealed.preview(site, subject), site, subject, visit, digest,
            replace_because, before_infusion, patient_changed, stated or {}, complete, dry_run,
        )  # fmt: skip
        return _tried(task, upload, context) if dry_run else _ingested(task, upload, context)


def _require_reasons(reasons: Mapping[str, str]) -> None:
    """Refuse a reason that is given and blank, or that cannot be stored."""
    for option, reason in reasons.items():
        require_storable(option, reason)
        if reason and not reason.strip():
            raise UsageError(
                f"{option}: expected a reason, found a blank text", hint="write it without patient data"
            )


def _ingested(task: UploadTask, upload: Path, context: UploadContext) -> ReceivedVisit:
    """The result of an ingest. Only one runs for a subject at a time."""
    with task.refusals(upload, digest=context.digest, site=context.site, kind="visit"):
        _require_expected(task, context)
    with only_writer(task.trial, context.code):
        settle_subject(task.trial, task.protocol, task.registry, context.code)
        known = _known_visit(task, context)
        received = _stored(task, upload, context) if known is None else _with_series(task, upload, context, known)
        if known is None:
            task.settle_waiting(context.digest, kind="visit", visit=context.visit)
        else:  # an upload that was refused after its acceptance still waits
            settle_decided(task.trial, task.registry)
        return received


def _stored(task: UploadTask, upload: Path, context: UploadContext) -> ReceivedVisit:
    """Judge and store a new scan. The caller is the `only_writer`."""
    of = {"site": context.site, "kind": "visit", "subject": context.code, "visit": context.visit}
    # the files of the upload still lie on the disk when a refusal asks for room (`UploadTask.refuse`)
    with (
        private_folder(task.trial.work) as work,
        task.refusals(upload, digest=context.digest, **of),
    ):
        decided = decide_upload(task, upload, work / "upload", context)
        with only_comparison(task.trial):
            judged = compare_upload(task, context, decided)
            _record(task, context, judged)
    return _received(context, judged)


def _tried(task: UploadTask, upload: Path, context: UploadContext) -> ReceivedVisit:
    """The result of a dry run. It reads the registry without the lock of the subject."""
    _require_expected(task, context)
    known = _known_visit(task, context)
    if known is not None:
        return known
    with private_folder(task.trial.work) as work:
        decided = decide_upload(task, upload, work / "upload", context)
        return _received(context, compare_upload(task, context, decided))


def _require_expected(task: UploadTask, context: UploadContext) -> None:
    task.registry.require_open_gate(context.site)
    _require_listed(task.protocol, context.site, context.number)


def _require_listed(protocol: Protocol, site: str, number: str) -> None:
    listed = protocol.site(site).subjects
    if listed and number.upper() not in {known.upper() for known in listed}:
        raise ComplianceError(
            f"site {site}: this number is not in the list of the site's {len(listed)} subjects",
            hint="check --subject, or add the number to the site's subjects in trial.toml",
        )


def _visit_state(task: UploadTask, context: UploadContext) -> VisitState:
    (state,) = [state for state in task.registry.subject(context.code).visits if state.visit == context.visit]
    return state


def _known_visit(task: UploadTask, context: UploadContext) -> ReceivedVisit | None:
    """The visit if this upload was accepted before. Only a new statement of the site is entered then."""
    code, visit = context.code, context.visit
    uploaded = task.registry.upload(code, visit)
    if not uploaded:
        return None
    task.registry.require_site(code, context.site)
    series = statement_text(context.stated)
    same = uploaded == context.digest and series in ("", task.registry.remark(code, visit, "series"))
    if not same:
        if not context.replace_because:
            raise another_scan(code, visit, _visit_state(task, context).scan)
        task.registry.require_replaceable(code, visit)
        return None
    if context.before_infusion is not None and not context.dry_run:
        new = infusion_query(context.before_infusion, visit, task.protocol)
        task.registry.record_statement(
            code,
            visit,
            before_infusion=context.before_infusion,
            rule=BEFORE_INFUSION,
            questions=questions(new),
        )
    state = _visit_state(task, context)
    contrasts = tuple(contrast.value for contrast in task.trial.rawdata.scans(code, visit))
    return ReceivedVisit(code, visit, contrasts, state.findings, known=True)


def _with_series(task: UploadTask, upload: Path, context: UploadContext, known: ReceivedVisit) -> ReceivedVisit:
    """Keep the DICOM series of a scan that an earlier version has ingested without it. Scan and reads do not change.

    An upload that is refused by the present rules is not quarantined: its scan stays accepted, without series.
    """
    place = task.trial.sourcedata.visit(context.code, context.visit)
    if place.exists():
        return known
    try:
        with private_folder(task.trial.work) as work:
            decided = decide_upload(task, upload, work / "upload", replace(context, dry_run=True)).decided
            _require_stored(decided, task.trial.rawdata.scans(context.code, context.visit))
            move_series(decided, work / "series")
            place_series(work / "series", place)
    except (UploadRefusedError, UsageError) as error:
        return replace(known, notes=(*known.notes, f"its DICOM series is not kept: {error.message}"))
    target = f"{context.code} {context.visit}"
    task.registry.audit(AuditAction.SERIES_KEPT, target=target, details={"upload": context.digest})
    return replace(
        known, notes=(*known.notes, "its DICOM series, which an earlier version had not kept, is kept now")
    )


def _require_stored(decided: DecidedVisit, stored: Mapping[Contrast, Path]) -> None:
    """Refuse other scans than those that are stored. No image is loaded if the contrasts differ."""
    differing = decided.scans.keys() ^ stored.keys() or {
        contrast
        for contrast, path in stored.items()
        if not np.array_equal(_load_stored(contrast, path).data, decided.scans[contrast].load()[0].data)
    }
    if differing:
        names = ", ".join(sorted(differing))
        raise UsageError(
            f"the upload gives another {names} than the stored scan (by the present rules, or without "
            "the --series of the first ingest)"
        )


def _load_stored(contrast: Contrast, path: Path) -> Image:
    try:
        return load_image(path)
    except ImageError as error:  # its message contains the blinded code, which the site must not see
        raise UsageError(
            f"the stored {contrast.value} cannot be read, so that the upload cannot be compared with it; "
            "restore the trial from a backup"
        ) from error


def _record(task: UploadTask, context: UploadContext, judged: JudgedVisit) -> None:
    """Store files and registry entries of an accepted visit. The caller is the `only_writer`."""
    code, visit, decided = context.code, context.visit, judged.decided
    with staged_visit(task.trial, task.protocol, task.registry, subject=code, visit=visit) as staged:
        write_scans(decided, raw=staged.raw, protocol=task.protocol, subject=code, visit=visit)
        move_series(decided, staged.series)
        make_durable(staged)
        task.sealed.code_for(context.site, context.number)
        task.registry.record_scan(
            code,
            visit,
            site=context.site,
            upload_digest=context.digest,
            profile=profile_record(decided.profile),
            findings=questions(judged.queries),
            identity=judged.identity,
            receipt=staged.receipt,
            replace_because=context.replace_because,
            remarks=judged.remarks | _notes(judged),
            others={other: questions(findings) for other, findings in judged.others.items()},
            others_rule=WINDOW,
            **task.by_scanner(context.site, decided.profile, judged.measures),
        )


def _notes(judged: JudgedVisit) -> dict[str, str]:
    """Notes for the audit trail. Nothing else stores what was left out or accepted without a query."""
    text = "; ".join(finding.message for finding in judged.notes)
    return {"notes": text} if text else {}


def _received(context: UploadContext, judged: JudgedVisit) -> ReceivedVisit:
    decided = judged.decided
    return ReceivedVisit(
        context.code,
        context.visit,
        tuple(contrast.value for contrast in decided.scans),
        tuple(finding.message for finding in judged.queries),
        tuple(finding.message for finding in judged.notes),
    )
