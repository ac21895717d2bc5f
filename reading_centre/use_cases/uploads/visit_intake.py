"""Intake of an uploaded visit: headers and images by the protocol, and the head compared with the nearest visit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.core.errors import ImageError, UploadRefusedError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.registry import ScanIdentity
from qc.compliance import UploadPurpose, require_all_sequences
from qc.decision import DecidedVisit, decide_visit
from qc.findings import Finding
from qc.gate import CheckedUpload
from qc.headers import HeaderChecks
from qc.measure_record import measure_record
from qc.protocol_change import PreviousScan
from qc.same_head import AGREEMENT, HeadMatch, judge_head, match_head, not_compared
from qc.scan_profile import ScanProfile, profile_of_record
from reading_centre.use_cases.uploads.task import UploadTask
from workflows.intake import IntakeJob, run_intake


@dataclass(frozen=True)
class UploadContext:
    """Subject, visit and statements of the site for an upload.

    Parameters
    ----------
    code : str
        Blinded code of the subject.
    site, number, visit : str
        Code of the site, its trial number of the subject, and the visit's label.
    digest : str
        SHA-256 of the upload.
    replace_because, before_infusion, patient_changed, stated, complete, dry_run
        As in `reading_centre.use_cases.uploads.ingest.visit.receive_visit`.
    """

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
    dry_run: bool


@dataclass(frozen=True)
class DecidedUpload:
    """An uploaded visit that is not compared with the accepted scans yet.

    Parameters
    ----------
    decided : DecidedVisit
    identity : ScanIdentity
    headers : HeaderChecks
    day : int or None
        Day of the scan as proleptic ordinal. It is not stored.
    measures : mapping of str to mapping of str to float
        `qc.measure_record.measure_record` of its scans.
    head : Finding or None
        Whether the FLAIR shows the head of the nearest other visit with a FLAIR, or why it was not compared. None if
        the subject has no other visit.
    """

    decided: DecidedVisit
    identity: ScanIdentity
    headers: HeaderChecks
    day: int | None
    measures: Mapping[str, Mapping[str, float]]
    head: Finding | None


def decide_upload(task: UploadTask, upload: Path, work: Path, context: UploadContext) -> DecidedUpload:
    """Run the intake, and decide about its result. The measures of a scan that is refused by its images are stored.

    Parameters
    ----------
    task : UploadTask
    upload : Path
        Folder, zip or tar of DICOM.
    work : Path
        New folder in a private folder; removed by the caller.
    context : UploadContext

    Returns
    -------
    DecidedUpload

    Raises
    ------
    UploadRefusedError
        With the reason.
    UsageError
        If the site's statement does not fit the series of the upload.
    """
    code = context.code
    release = task.registry.releases.of(context.digest)
    job = IntakeJob(
        upload,
        task.trial.root,
        task.protocol,
        UploadPurpose.VISIT,
        code=code,
        site=task.protocol.site(context.site).code,
        cleared=release.cleared,
        previous=_compared_with(task, code, context.visit),
        overruled=release.protocol,
        stated=context.stated,
    )
    intake = run_intake(job, work)
    if context.complete:
        require_all_sequences(intake.checked.compliance)
    converted = intake.require()
    checked, measures = converted.checked, measure_record(converted.measures)
    with measures_of_refused(task, context, checked.profile, measures):
        decided = decide_visit(converted, Blinding(code, task.sealed.secret("blinding"), release.cleared))
    identity = _identity(checked, decided, context.before_infusion)
    head = _compare_head(task, context, decided, measures)
    if isinstance(head, HeadMatch):
        flair = Contrast.FLAIR.value
        measures = {**measures, flair: {**measures[flair], AGREEMENT: round(head.agreement, 3)}}
        head = judge_head(head, task.protocol.image_change.min_head_agreement)
    return DecidedUpload(decided, identity, checked.headers, checked.study_day, measures, head)


def _compare_head(
    task: UploadTask, context: UploadContext, decided: DecidedVisit, measures: Mapping[str, Mapping[str, float]]
) -> HeadMatch | Finding | None:
    """The FLAIR against that of the nearest other visit with a FLAIR; a note if it cannot be compared."""
    others = _other_visits(task, context.code, context.visit)
    if not others:
        return None
    files = {label: task.trial.rawdata.image(context.code, label, Contrast.FLAIR) for label in others}
    other = next((label for label in others if files[label].is_file()), "")
    if not other or Contrast.FLAIR not in decided.scans:
        return not_compared("there is no FLAIR" if other else "the other visits have no FLAIR")
    if "placement.similarity" not in measures.get(Contrast.FLAIR.value, {}):
        return not_compared("no brain was found")
    try:
        image = load_image(files[other])
    except ImageError:  # its message contains the blinded code
        return not_compared(f"the FLAIR of visit {other} cannot be read")
    return match_head(decided.scans[Contrast.FLAIR].load()[0], image, other)


@contextmanager
def measures_of_refused(
    task: UploadTask,
    context: UploadContext,
    profile: ScanProfile | None,
    measures: Mapping[str, Mapping[str, float]],
) -> Iterator[None]:
    """Store the measures of an upload that the block refuses; not in a dry run.

    Parameters
    ----------
    task : UploadTask
    context : UploadContext
    profile : ScanProfile or None
    measures : mapping of str to mapping of str to float
        As in `DecidedUpload`.

    Yields
    ------
    None

    Raises
    ------
    UploadRefusedError
        That of the block.
    """
    try:
        yield
    except UploadRefusedError:
        if not context.dry_run:
            found = task.by_scanner(context.site, profile, measures)
            task.registry.measures.enter_refused(
                found["measures"],
                site=context.site,
                scanner=found["scanner"],
                elsewhere=found["measures_elsewhere"],
                upload_digest=context.digest,
                subject=context.code,
                visit=context.visit,
            )
        raise


def _identity(checked: CheckedUpload, decided: DecidedVisit, before_infusion: bool | None) -> ScanIdentity:  # noqa: FBT001
    return ScanIdentity(
        person=checked.person_keys,
        pseudonyms=checked.pseudonym_keys,
        studies=checked.study_keys,
        shifted_day=None if decided.shifted_date is None else decided.shifted_date.toordinal(),
        before_infusion=before_infusion,
        images=decided.pixels_keys,
    )


def _compared_with(task: UploadTask, code: str, visit: str) -> PreviousScan | None:
    label = _nearest_visit(task, code, visit)
    return PreviousScan(label, profile_of_record(task.registry.scan_profiles(code)[label])) if label else None


def _nearest_visit(task: UploadTask, code: str, visit: str) -> str:
    """The nearest earlier visit with a scan, or the nearest later visit if there is no earlier one; or empty."""
    return next(iter(_other_visits(task, code, visit)), "")


def _other_visits(task: UploadTask, code: str, visit: str) -> list[str]:
    """The other visits of a subject with a scan: the earlier ones, nearest first, and then the later ones."""
    profiles = task.registry.scan_profiles(code)
    labels = [planned.label for planned in task.protocol.visits]
    here = labels.index(visit)
    return [label for label in (*reversed(labels[:here]), *labels[here + 1 :]) if profiles.get(label)]
