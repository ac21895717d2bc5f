"""Decision by the images which scans of an upload are stored.

`decide_pair` and `judged_scans` are parts of `workflows.intake`. `decide_visit` and `write_scans` use its result.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mri_pipeline.convert.bids import ensure_dataset, write_visit
from mri_pipeline.convert.pixels import pixels_key
from mri_pipeline.core.errors import ComplianceError, UploadRefusedError
from mri_pipeline.core.layout import UNENHANCED, RawDataset
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.facts import InstanceFacts
from qc.acceptance import judge_images
from qc.contrast_timing import TimingDecision, decide_timing
from qc.conversion import ScanFile
from qc.findings import ComplianceReport, Finding
from qc.gate import CheckedUpload
from qc.measures import ImageMeasures
from qc.scan_profile import ScanProfile, scan_profile


@dataclass(frozen=True)
class ConvertedUpload:
    """An upload whose scans are converted, compared and measured.

    Parameters
    ----------
    checked : CheckedUpload
    decision : TimingDecision
    files : mapping of Contrast to ScanFile
        Under the contrasts as which the series were chosen (`TimingDecision.source`).
    measures : mapping of Contrast to ImageMeasures
        Of `judged_scans`.
    """

    checked: CheckedUpload
    decision: TimingDecision
    files: Mapping[Contrast, ScanFile]
    measures: Mapping[Contrast, ImageMeasures]

    def images(self) -> dict[Contrast, Image]:
        """Read the images under the contrasts that they have.

        Returns
        -------
        dict of Contrast to Image
            Without a post-contrast T1 that shows no enhancement.
        """
        return {contrast: self.files[source].load()[0] for contrast, source in self.decision.source.items()}


@dataclass(frozen=True)
class DecidedVisit:
    """The scans of a visit that are to be stored.

    Parameters
    ----------
    scans : mapping of Contrast to ScanFile
    unenhanced : ScanFile or None
        A post-contrast T1 without enhancement.
    shifted_date : datetime.date or None
        Shifted date of the scan; None if the headers contain none.
    pixels_keys : mapping of str to str
        Keyed digest of the voxels of each scan (`mri_pipeline.convert.pixels.pixels_key`), by BIDS suffix.
    compliance : ComplianceReport
        That of the upload, with the findings on its images.
    profile : ScanProfile
        Acquisition of the scans, under the contrasts that the images decided.
    """

    scans: Mapping[Contrast, ScanFile]
    unenhanced: ScanFile | None
    shifted_date: dt.date | None
    pixels_keys: Mapping[str, str]
    compliance: ComplianceReport
    profile: ScanProfile

    @property
    def stored(self) -> dict[str, ScanFile]:
        """All scans to be stored, by BIDS suffix."""
        return _by_suffix(self.scans, self.unenhanced)


def _by_suffix(scans: Mapping[Contrast, ScanFile], unenhanced: ScanFile | None) -> dict[str, ScanFile]:
    plain = {} if unenhanced is None else {UNENHANCED: unenhanced}
    return {contrast.value: file for contrast, file in scans.items()} | plain


def decide_pair(checked: CheckedUpload, images: Mapping[Contrast, Image]) -> TimingDecision:
    """Compare the converted T1 before and after contrast (`qc.contrast_timing.decide_timing`).

    Parameters
    ----------
    checked : CheckedUpload
    images : mapping of Contrast to Image
        From `qc.conversion.convert_chosen`.

    Returns
    -------
    TimingDecision
        The scans under the contrasts that they have: without a post-contrast T1 that shows no enhancement; exchanged if
        the images show the reverse of headers and names. A visit that is refused for it raises an error at the end
        (`decide_visit`).

    Raises
    ------
    UploadRefusedError
        If the two T1 are one scan.
    """
    _require_two_t1(images)
    headers = checked.headers
    required = Contrast.T1W_GD in headers.protocol.required_contrasts
    return decide_timing(images, checked.chosen, headers.judge, purpose=headers.purpose, required=required)


def _require_two_t1(images: Mapping[Contrast, Image]) -> None:
    """Refuse the same scan as T1 before and after contrast, which would show no enhancement."""
    if (
        Contrast.T1W in images
        and Contrast.T1W_GD in images
        and np.array_equal(images[Contrast.T1W].data, images[Contrast.T1W_GD].data)
    ):
        raise UploadRefusedError(
            "expected two T1 scans, before and after contrast, found one scan twice",
            hint="export the T1 made after the injection and upload the visit again",
        )


def judged_scans(decision: TimingDecision) -> dict[Contrast, Contrast]:
    """The scans whose images are judged: those to store, and a post-contrast T1 without enhancement.

    Parameters
    ----------
    decision : TimingDecision

    Returns
    -------
    dict of Contrast to Contrast
        For each contrast, the one as which its series was chosen and converted.
    """
    plain = {Contrast.T1W_GD: Contrast.T1W_GD} if decision.unenhanced else {}
    return {**decision.source, **plain}


def acquired_3d(decision: TimingDecision) -> dict[Contrast, bool]:
    """Whether the scans are 3D acquisitions, by their headers.

    Parameters
    ----------
    decision : TimingDecision

    Returns
    -------
    dict of Contrast to bool
        Without scans whose header does not state it.
    """
    stated = {contrast: facts.acquisition_type for contrast, facts in _facts(decision).items()}
    return {contrast: kind == "3D" for contrast, kind in stated.items() if kind in {"2D", "3D"}}


def phase_axes(decision: TimingDecision) -> dict[Contrast, int | None]:
    """Axes of the phase encoding of the scans, by their headers.

    Parameters
    ----------
    decision : TimingDecision

    Returns
    -------
    dict of Contrast to int or None
        As `InstanceFacts.phase_axis`.
    """
    return {contrast: facts.phase_axis for contrast, facts in _facts(decision).items()}


def _facts(decision: TimingDecision) -> dict[Contrast, InstanceFacts]:
    """Common facts of the series of each scan."""
    chosen = dict(decision.chosen)
    if decision.unenhanced is not None:
        chosen[Contrast.T1W_GD] = decision.unenhanced
    return {contrast: choice.recognised.series.first for contrast, choice in chosen.items()}


def require_usable_images(
    measures: Mapping[Contrast, ImageMeasures], protocol: Protocol, *, overruled: bool = False
) -> tuple[tuple[Finding, ...], frozenset[Contrast]]:
    """Refuse required images that cannot be analysed, and leave out optional ones. The checks are those of a dummy run.

    Parameters
    ----------
    measures : mapping of Contrast to ImageMeasures
        Of the scans of one visit that are to be stored.
    protocol : Protocol
    overruled : bool, optional
        True if the reading centre accepts violated limits (`ComplianceReport.overruled`).

    Returns
    -------
    found : tuple of Finding
        Queries about image quality and optional scans that are left out, and notes on what could not be measured.
    left_out : frozenset of Contrast

    Raises
    ------
    ComplianceError
        With all reasons in one line.
    """
    report = ComplianceReport(tuple(judge_images(measures, protocol)))
    report = report.overruled() if overruled else report
    report, left_out = report.without_optional(protocol.required_contrasts)
    reasons = report.of(Action.REFUSE)
    if reasons:
        raise ComplianceError(
            "; ".join(finding.message for finding in reasons),
            hint="look at the images on the scanner or PACS, and send the original series of the visit",
        )
    return (*report.of(Action.QUERY), *report.of(Action.NOTE)), left_out


def decide_visit(upload: ConvertedUpload, blinding: Blinding) -> DecidedVisit:
    """Decide which scans of a visit are stored. Nothing is written.

    Parameters
    ----------
    upload : ConvertedUpload
        Of a visit.
    blinding : Blinding
        Code of the subject and the trial's secret.

    Returns
    -------
    DecidedVisit

    Raises
    ------
    ComplianceError
        If the protocol is not met, or an image cannot be analysed.
    """
    checked, decision = upload.checked, upload.decision
    decision.compliance.require()
    headers = checked.headers
    found, unusable = require_usable_images(upload.measures, headers.protocol, overruled=headers.overruled)
    scans = {c: upload.files[source] for c, source in decision.source.items() if c not in unusable}
    chosen = {c: choice for c, choice in decision.chosen.items() if c not in unusable}
    profile = scan_profile(chosen)
    unenhanced = None
    if decision.unenhanced is not None and Contrast.T1W_GD not in unusable:
        unenhanced = upload.files[Contrast.T1W_GD]
        # its scanner counts, its protocol is not that of a post-contrast T1
        every = scan_profile(chosen | {Contrast.T1W_GD: decision.unenhanced})
        profile = replace(profile, others=every.others)
    day = checked.study_day
    return DecidedVisit(
        scans,
        unenhanced,
        None if day is None else blinding.shifted_day(day),
        {
            suffix: pixels_key(file.load()[0].data, blinding.secret)
            for suffix, file in _by_suffix(scans, unenhanced).items()
        },
        decision.compliance.adding(*found),
        profile,
    )


def write_scans(
    decided: DecidedVisit, *, raw: RawDataset, protocol: Protocol, subject: str, visit: str, replace: bool = False
) -> dict[Contrast, Path]:
    """Write the scans of a visit to the BIDS dataset.

    Parameters
    ----------
    decided : DecidedVisit
    raw : RawDataset
    protocol : Protocol
    subject, visit : str
        Blinded code, and label of a planned visit.
    replace : bool, optional
        True: replace earlier scans of the visit.

    Returns
    -------
    dict of Contrast to Path

    Raises
    ------
    UsageError
        If the visit is not planned, or has scans and `replace` is False.
    """
    protocol.visit(visit)
    ensure_dataset(raw, name=protocol.name)
    scans = {contrast: (file.image, file.sidecar) for contrast, file in decided.scans.items()}
    plain = decided.unenhanced
    unenhanced = None if plain is None else (plain.image, plain.sidecar)
    return write_visit(raw, subject, visit, scans, unenhanced=unenhanced, replace=replace)


def move_series(decided: DecidedVisit, folder: Path) -> None:
    """Move the de-identified DICOM series of the scans of a visit.

    Parameters
    ----------
    decided : DecidedVisit
        Its series are not where they were afterwards.
    folder : Path
        New folder. It gets a folder for each scan, named by its BIDS suffix.
    """
    folder.mkdir(parents=True)
    for suffix, file in decided.stored.items():
        shutil.move(file.series, folder / suffix)
