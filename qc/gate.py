"""Choice and check of the series of an upload by their headers.

The registry decides whether a site may upload. `qc.conversion` converts the chosen series, `qc.decision` judges their
images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes

from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.aborted import leave_out_aborted
from mri_pipeline.intake.choose import Choice, choose
from mri_pipeline.intake.contrast import Recognised, recognise
from mri_pipeline.intake.facts import Fault
from mri_pipeline.intake.gadolinium import split_gadolinium
from mri_pipeline.intake.merge import merge_parts
from mri_pipeline.intake.read import HeaderReading, left_out, read_headers
from mri_pipeline.intake.series import group_series, require_one_day, require_one_visit
from mri_pipeline.intake.stated import apply_statement
from mri_pipeline.intake.unpack import UnpackLimits, unpack
from mri_pipeline.intake.unwanted import Unwanted
from qc.compliance import INCOMPLETE, UploadPurpose
from qc.findings import ComplianceReport, Finding
from qc.headers import HeaderChecks
from qc.protocol_change import PreviousScan
from qc.scan_profile import ScanProfile, scan_profile


@dataclass(frozen=True)
class CheckedUpload:
    """An upload whose headers are read and judged.

    Parameters
    ----------
    recognised : tuple of Recognised
        Recognised contrast of each series, in the order of acquisition.
    chosen : mapping of Contrast to Choice
    headers : HeaderChecks
        The checks that gave `compliance`.
    compliance : ComplianceReport
        Call `ComplianceReport.require` before the scans are used.
    profile : ScanProfile or None
        None if no sequence of the protocol was found.
    person_keys, pseudonym_keys, study_keys
        As in `mri_pipeline.intake.series.OneVisit`: the same patient or study uploaded again has the same keys.
    study_day : int or None
        Day of the scan as a proleptic ordinal; only `Blinding.shifted_day` of it may be stored.
    skipped : mapping of str to int
        Number of files that are not MR images, by kind.
    """

    recognised: tuple[Recognised, ...]
    chosen: Mapping[Contrast, Choice]
    headers: HeaderChecks
    compliance: ComplianceReport
    profile: ScanProfile | None
    person_keys: tuple[str, str, str]
    pseudonym_keys: tuple[str, str, str]
    study_keys: frozenset[str]
    study_day: int | None
    skipped: Mapping[str, int]


def choose_series(
    reading: HeaderReading,
    *,
    not_kept: Mapping[str, int],
    protocol: Protocol,
    purpose: UploadPurpose,
    previous: PreviousScan | None = None,
    overruled: bool = False,
    stated: Mapping[Contrast, int] | None = None,
) -> CheckedUpload:
    """Recognise, choose and judge the series of an upload by their headers.

    Parameters
    ----------
    reading : HeaderReading
    not_kept : mapping of str to int
        `mri_pipeline.intake.unpack.Unpacked.left_out`.
    protocol : Protocol
    purpose : UploadPurpose
    previous : PreviousScan, optional
        Another visit of the patient. A change of scanner or protocol is flagged.
    overruled : bool, optional
        True if the reading centre accepts violated limits (`ComplianceReport.overruled`).
    stated : mapping of Contrast to int, optional
        Series numbers by the site's statement (`mri_pipeline.intake.stated`).

    Returns
    -------
    CheckedUpload

    Raises
    ------
    UploadRefusedError
        If the upload is unreadable, or mixes patients or studies. A violation of the protocol does not raise an error;
        see `CheckedUpload.compliance`.
    UsageError
        If `stated` does not fit the series of the upload.
    """
    reading.require_whole(needed=())
    visit = require_one_visit(reading.readable)
    parts = merge_parts(reading.readable)
    found = leave_out_aborted([recognise(series) for series in group_series(parts.instances)])
    recognised = apply_statement(split_gadolinium(found), stated or {})
    chosen = _chosen_whole(recognised, reading)
    require_one_day(choice.recognised.series for choice in chosen.values())
    needed = _needed_files(chosen, recognised, reading)
    reading.require_whole(needed=needed)
    skipped = {**not_kept, **reading.skipped}
    lines = (
        *left_out(skipped, reading.damaged_outside(needed)),
        *(f"left out: {r.evidence}" for r in recognised if r.unwanted is Unwanted.ABORTED),
    )
    intake = (
        *(Finding("one_visit", Action.QUERY, message) for message in visit.queries),
        *(Finding("one_visit", Action.NOTE, message) for message in visit.notes),
        *(Finding("left_out", Action.NOTE, message) for message in lines),
    )
    headers = HeaderChecks(protocol, purpose, recognised, parts.merged, parts.unfit, intake, previous, overruled)
    profile = scan_profile(chosen) if chosen else None
    return CheckedUpload(
        recognised, chosen, headers, headers.judge(chosen), profile, visit.person_keys, visit.pseudonym_keys,
        visit.study_keys, reading.readable[0].study_day, skipped,
    )  # fmt: skip


def is_complete_visit(upload: Path, *, protocol: Protocol, work_dir: Path) -> bool:
    """Whether a visit that is received in parts seems to be complete.

    Parameters
    ----------
    upload : Path
        Folder of DICOM.
    protocol : Protocol
    work_dir : Path
        New folder in a private folder, for the unpacked files; removed by the caller.

    Returns
    -------
    bool
        False if a required sequence or a slice is missing, if a scan covers less than the protocol or another scan, or
        if the upload is refused.
    """
    try:
        unpacked = unpack(upload, work_dir, UnpackLimits(max_bytes=protocol.max_upload_mb * 1_000_000))
        reading = read_headers(unpacked.files, key=token_bytes(32))  # its keys are not used
        checked = choose_series(
            reading, not_kept=unpacked.left_out, protocol=protocol, purpose=UploadPurpose.VISIT
        )
    except UploadRefusedError:
        return False
    return not any(
        f.rule in INCOMPLETE and f.action in (Action.QUERY, Action.REFUSE) for f in checked.compliance.findings
    )


def _chosen_whole(recognised: Sequence[Recognised], reading: HeaderReading) -> Mapping[Contrast, Choice]:
    """The chosen series; without damaged series if others have all the contrasts."""
    damaged = {report.facts.path for report in reading.broken if report.facts is not None}
    chosen = choose(recognised)
    whole = choose([r for r in recognised if damaged.isdisjoint(r.series.files)])
    return whole if damaged and whole.keys() == chosen.keys() else chosen


def _needed_files(
    chosen: Mapping[Contrast, Choice], recognised: Sequence[Recognised], reading: HeaderReading
) -> set[Path]:
    """Files of the chosen series, and files with an odd value that may be the reason why a series is not known."""
    needed = {path for choice in chosen.values() for path in choice.recognised.series.files}
    odd = {r.facts.path for r in reading.broken if r.fault is Fault.ODD_VALUE and r.facts is not None}
    unknown = {Unwanted.UNKNOWN, Unwanted.NO_GEOMETRY}
    return needed | {path for r in recognised if r.unwanted in unknown for path in r.series.files if path in odd}
