"""Checks and conversion of an upload, composed of intake and conversion.

`check_upload` reads and judges an upload. `write_scans` de-identifies and converts it. Neither uses the registry, which
decides whether a site may upload.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mri_pipeline.convert.bids import ensure_dataset, write_visit
from mri_pipeline.convert.dcm2niix import Converted, ExpectedGeometry, convert_series
from mri_pipeline.convert.pixels import pixels_key
from mri_pipeline.core.errors import ComplianceError, IdentityError, UnreadableUploadError, UploadRefusedError
from mri_pipeline.core.layout import UNENHANCED, RawDataset
from mri_pipeline.core.protocol import Action, Protocol
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.aborted import leave_out_aborted
from mri_pipeline.intake.choose import Choice, choose
from mri_pipeline.intake.contrast import Recognised, recognise
from mri_pipeline.intake.deidentify import Blinding, deidentify
from mri_pipeline.intake.facts import Fault
from mri_pipeline.intake.gadolinium import split_gadolinium
from mri_pipeline.intake.merge import merge_parts
from mri_pipeline.intake.read import HeaderReading, left_out, read_headers
from mri_pipeline.intake.series import group_series, require_one_day, require_one_visit
from mri_pipeline.intake.stated import apply_statement
from mri_pipeline.intake.unpack import UnpackLimits, unpack
from mri_pipeline.intake.unwanted import Unwanted
from qc.acceptance import judge_images
from qc.compliance import ComplianceReport, Finding, Purpose
from qc.contrast_timing import TimingDecision, decide_timing
from qc.headers import HeaderChecks
from qc.measures import measure
from qc.scan_profile import PreviousScan, ScanProfile, scan_profile


@dataclass(frozen=True)
class CheckedUpload:
    """An upload after unpacking, reading and judging.

    Parameters
    ----------
    work_dir : Path
        Folder of the unpacked files; delete it afterwards with `discard`.
    recognised : tuple of Recognised
        Recognised contrast of each series, in the order of acquisition.
    chosen : mapping of Contrast to Choice
    headers : HeaderChecks
        The checks that gave `compliance`.
    compliance : ComplianceReport
        Call `ComplianceReport.require` before the scans are used.
    profile : ScanProfile or None
        None if no sequence of the protocol was found.
    person_keys, study_keys
        As in `mri_pipeline.intake.series.OneVisit`: the same patient or study uploaded again has the same keys.
    study_day : int or None
        Day of the scan as a proleptic ordinal; only `Blinding.shifted_day` of it may be stored.
    skipped : mapping of str to int
        Number of files that are not MR images, by kind.
    """

    work_dir: Path
    recognised: tuple[Recognised, ...]
    chosen: Mapping[Contrast, Choice]
    headers: HeaderChecks
    compliance: ComplianceReport
    profile: ScanProfile | None
    person_keys: tuple[str, str, str]
    study_keys: frozenset[str]
    study_day: int | None
    skipped: Mapping[str, int]

    def discard(self) -> None:
        """Delete the unpacked files, which are not de-identified."""
        shutil.rmtree(self.work_dir, ignore_errors=True)


@dataclass(frozen=True)
class WrittenVisit:
    """Scans of a visit in the BIDS dataset.

    Parameters
    ----------
    scans : mapping of Contrast to Path
    shifted_date : datetime.date or None
        Shifted date of the scan; None if the headers contain none.
    pixels_keys : mapping of str to str
        Keyed digest of the voxels of each stored scan (`mri_pipeline.convert.pixels.pixels_key`), by BIDS suffix.
    compliance : ComplianceReport
        That of the upload, with the findings on its images.
    profile : ScanProfile
        Acquisition of the stored scans, under the contrasts that the images decided.
    """

    scans: Mapping[Contrast, Path]
    shifted_date: dt.date | None
    pixels_keys: Mapping[str, str]
    compliance: ComplianceReport
    profile: ScanProfile


def check_upload(
    upload: Path,
    *,
    protocol: Protocol,
    work_dir: Path,
    secret: bytes,
    purpose: Purpose,
    previous: PreviousScan | None = None,
    overruled: bool = False,
    stated: Mapping[Contrast, int] | None = None,
) -> CheckedUpload:
    """Unpack, read, recognise and judge an upload.

    Parameters
    ----------
    upload : Path
        Zip, tar or folder.
    protocol : Protocol
    work_dir : Path
        New folder for the unpacked files; removed if an error is raised.
    secret : bytes
        The trial's secret, for the keys of patients, studies and scanners.
    purpose : Purpose
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
        If the upload is unsafe or unreadable, or mixes patients or studies. A violation of the protocol does not
        raise an error; see `CheckedUpload.compliance`.
    UsageError
        If `stated` does not fit the series of the upload.
    """
    try:
        limits = UnpackLimits(max_bytes=protocol.max_upload_mb * 1_000_000)
        unpacked = unpack(upload, work_dir / "files", limits)
        reading = read_headers(unpacked.files, key=secret)
        reading.require_whole(needed=())
        visit = require_one_visit(reading.readable)
        parts = merge_parts(reading.readable)
        found = leave_out_aborted([recognise(series) for series in group_series(parts.instances)])
        recognised = apply_statement(split_gadolinium(found), stated or {})
        chosen = _chosen_whole(recognised, reading)
        require_one_day(choice.recognised.series for choice in chosen.values())
        needed = _needed_files(chosen, recognised, reading)
        reading.require_whole(needed=needed)
    except BaseException:
        shutil.rmtree(work_dir, ignore_errors=True)
        raise
    skipped = {**unpacked.left_out, **reading.skipped}
    headers = HeaderChecks(
        protocol, purpose, recognised, parts.merged, parts.unfit, visit.notes,
        left_out(skipped, reading.damaged_outside(needed)), previous, overruled,
    )  # fmt: skip
    profile = scan_profile(chosen) if chosen else None
    return CheckedUpload(
        work_dir, recognised, chosen, headers, headers.judge(chosen), profile, visit.person_keys, visit.study_keys,
        reading.readable[0].study_day, skipped,
    )  # fmt: skip


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


def convert_checked(checked: CheckedUpload, blinding: Blinding) -> dict[Contrast, Converted]:
    """De-identify and convert the chosen series. Series with missing slices are omitted.

    Parameters
    ----------
    checked : CheckedUpload
        Its folder of unpacked files must still exist.
    blinding : Blinding
        Code of the subject and the trial's secret.

    Returns
    -------
    dict of Contrast to Converted

    Raises
    ------
    UploadRefusedError
        If an identity would remain, or if a volume contradicts its headers.
    """
    geometries = {}
    alarms: list[IdentityError] = []
    for contrast, choice in checked.chosen.items():
        series = choice.recognised.series
        geometry = series.geometry
        if geometry is None:
            raise UnreadableUploadError(f"{contrast.value}: expected positions of its slices, found none")
        if not geometry.complete:
            continue
        try:
            deidentify(series.files, _clean_folder(checked, contrast), blinding)
        except IdentityError as error:
            alarms.append(error)
        geometries[contrast] = geometry
    _raise_together(alarms)
    converted = {}
    for contrast, geometry in geometries.items():
        expected = ExpectedGeometry(
            geometry.columns, geometry.rows, geometry.slices, geometry.spacing_mm, geometry.corners_ras_mm
        )
        folder = _clean_folder(checked, contrast)
        converted[contrast] = convert_series(folder, expected, what=contrast.value)
    _require_two_t1(converted)
    return converted


def _clean_folder(checked: CheckedUpload, contrast: Contrast) -> Path:
    return checked.work_dir / "clean" / contrast.value


def _raise_together(alarms: Sequence[IdentityError]) -> None:
    """One error that names all series, so that a person clears all of them at once."""
    if alarms:
        raise IdentityError(
            "; ".join(alarm.message for alarm in alarms),
            hint=alarms[0].hint,
            elements=[element for alarm in alarms for element in alarm.elements],
        )


def _require_two_t1(converted: Mapping[Contrast, Converted]) -> None:
    """Refuse the same scan as T1 before and after contrast, which would show no enhancement."""
    if Contrast.T1W in converted and Contrast.T1W_GD in converted:
        before, after = converted[Contrast.T1W].image.data, converted[Contrast.T1W_GD].image.data
        if np.array_equal(before, after):
            raise UploadRefusedError(
                "expected two T1 scans, before and after contrast, found one scan twice",
                hint="export the T1 made after the injection and upload the visit again",
            )


def decided_by_images(
    checked: CheckedUpload, converted: Mapping[Contrast, Converted]
) -> tuple[dict[Contrast, Converted], TimingDecision]:
    """Compare the converted T1 before and after contrast (`qc.contrast_timing.decide_timing`).

    Parameters
    ----------
    checked : CheckedUpload
    converted : mapping of Contrast to Converted
        From `convert_checked`.

    Returns
    -------
    scans : dict of Contrast to Converted
        The scans under the contrasts that they have: without a post-contrast T1 that shows no enhancement; exchanged if
        the images show the reverse of headers and names.
    decision : TimingDecision
    """
    images = {contrast: result.image for contrast, result in converted.items()}
    headers = checked.headers
    required = Contrast.T1W_GD in headers.protocol.required_contrasts
    decision = decide_timing(images, checked.chosen, headers.judge, purpose=headers.purpose, required=required)
    return {contrast: converted[chosen_as] for contrast, chosen_as in decision.source.items()}, decision


def require_usable_images(
    images: Mapping[Contrast, Image], protocol: Protocol, *, overruled: bool = False
) -> tuple[tuple[Finding, ...], frozenset[Contrast]]:
    """Refuse required images that cannot be analysed, and leave out optional ones. The checks are those of a dummy run.

    Parameters
    ----------
    images : mapping of Contrast to Image
        The scans of one visit that are to be stored.
    protocol : Protocol
    overruled : bool, optional
        True if the reading centre accepts violated limits (`ComplianceReport.overruled`).

    Returns
    -------
    queries : tuple of Finding
        About image quality and optional scans that are left out.
    left_out : frozenset of Contrast

    Raises
    ------
    ComplianceError
        With all reasons in one line.
    """
    measures = {contrast: measure(image, contrast) for contrast, image in images.items()}
    report = ComplianceReport(tuple(judge_images(measures, protocol)))
    report = report.overruled() if overruled else report
    report, left_out = report.without_optional(protocol.required_contrasts)
    reasons = report.of(Action.REFUSE)
    if reasons:
        raise ComplianceError(
            "; ".join(finding.message for finding in reasons),
            hint="look at the images on the scanner or PACS, and send the original series of the visit",
        )
    return report.of(Action.QUERY), left_out


def write_scans(
    checked: CheckedUpload,
    *,
    raw: RawDataset,
    protocol: Protocol,
    visit: str,
    blinding: Blinding,
    replace: bool = False,
) -> WrittenVisit:
    """De-identify, convert and write the scans of a visit to the BIDS dataset.

    Nothing is written unless every chosen series passes.

    Parameters
    ----------
    checked : CheckedUpload
        From `check_upload`, with ``purpose=Purpose.VISIT``.
    raw : RawDataset
    protocol : Protocol
    visit : str
        Label of a planned visit.
    blinding : Blinding
        Code of the subject and the trial's secret.
    replace : bool, optional
        True: replace earlier scans of the visit.

    Returns
    -------
    WrittenVisit

    Raises
    ------
    ComplianceError
        If the protocol is not met, or an image cannot be analysed.
    UploadRefusedError
        As `convert_checked`.
    UsageError
        If the visit has scans and `replace` is False.
    """
    checked.compliance.require()
    protocol.visit(visit)
    converted = convert_checked(checked, blinding)
    decided, decision = decided_by_images(checked, converted)
    decision.compliance.require()
    plain = converted[Contrast.T1W_GD] if decision.unenhanced else None
    judged = {**decided, Contrast.T1W_GD: plain} if plain is not None else decided
    found, unusable = require_usable_images(
        {contrast: result.image for contrast, result in judged.items()},
        protocol,
        overruled=checked.headers.overruled,
    )
    plain = None if Contrast.T1W_GD in unusable else plain
    scans = {c: (result.image, result.sidecar) for c, result in decided.items() if c not in unusable}
    ensure_dataset(raw, name=protocol.name)
    unenhanced = None if plain is None else (plain.image, plain.sidecar)
    written = write_visit(raw, blinding.code, visit, scans, unenhanced=unenhanced, replace=replace)
    stored = {contrast.value: image for contrast, (image, _) in scans.items()}
    if plain is not None:
        stored[UNENHANCED] = plain.image
    day = checked.study_day
    return WrittenVisit(
        written,
        None if day is None else blinding.shifted_day(day),
        {suffix: pixels_key(image.data, blinding.secret) for suffix, image in stored.items()},
        decision.compliance.adding(*found),
        scan_profile({c: choice for c, choice in decision.chosen.items() if c not in unusable}),
    )
