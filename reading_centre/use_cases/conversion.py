"""De-identification and conversion of a checked upload (`reading_centre.use_cases.gate`) to the BIDS dataset."""

from __future__ import annotations

import datetime as dt
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
from mri_pipeline.intake.deidentify import Blinding, deidentify
from qc.acceptance import judge_images
from qc.contrast_timing import TimingDecision, decide_timing
from qc.findings import ComplianceReport, Finding
from qc.measures import measure
from qc.scan_profile import ScanProfile, scan_profile
from reading_centre.use_cases.gate import CheckedUpload


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
