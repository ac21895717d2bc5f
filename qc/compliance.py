"""Check the headers of a visit against the protocol. Each limit gives a finding and an action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.quality_limits import Action, QualityLimit
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.choose import Choice
from mri_pipeline.intake.contrast import Recognised, by_acquisition
from mri_pipeline.intake.geometry import Geometry
from mri_pipeline.intake.series import Series
from mri_pipeline.intake.unwanted import Unwanted
from qc.findings import SEND_AGAIN, ComplianceReport, Finding

FIELD_TOLERANCE_T: Final = 0.02
"""Tolerance of the field strength. Headers of 1.5 T scanners state 1.494 or 1.4939 T, those of 3 T scanners 2.89 or
2.8936 T. 1.4 T is refused."""

ROUNDING_MM: Final = 0.005
"""Rounding tolerance of lengths, which are rounded to 0.01 mm: 3.0000001 mm in a header equals 3 mm."""

TIMING_RULE: Final = "contrast_timing"
"""Rule of doubts whether a T1 is pre-contrast or post-contrast."""

INCOMPLETE: Final = frozenset({"sequence", "whole_series", "split_series", "coverage", "coverage_loss"})
"""Rules that an upload breaks if a part of it is missing."""

_ANATOMY_NOT_USED: Final = {
    Unwanted.REPEATED,
    Unwanted.EQUAL_ECHOES,
    Unwanted.NO_GEOMETRY,
    Unwanted.FEW_SLICES,
}
"""Why a series of the right contrast may be left out; named where a sequence is missing."""

_BY_NAME_OR_TYPE: Final = {
    Unwanted.BURNED_IN, Unwanted.FAT, Unwanted.DYNAMIC, Unwanted.QUANTITATIVE, Unwanted.DERIVED, Unwanted.OTHER_BODY,
}  # fmt: skip
"""Why a series may be left out whose timing is that of a contrast; named where this contrast is missing. Not a
localizer or field map: they have the timing of T1w, and are in nearly every study."""


class UploadPurpose(StrEnum):
    """Purpose of an upload. A dummy run must contain all required sequences, a visit at least FLAIR."""

    DUMMY_RUN = "dummy run"
    VISIT = "visit"


def check_compliance(
    chosen: Mapping[Contrast, Choice],
    recognised: Sequence[Recognised],
    protocol: Protocol,
    *,
    purpose: UploadPurpose,
) -> ComplianceReport:
    """Judge the chosen series of a visit.

    Parameters
    ----------
    chosen : mapping of Contrast to Choice
    recognised : sequence of Recognised
        All series of the upload. The message for a missing required sequence lists them.
    protocol : Protocol
    purpose : UploadPurpose

    Returns
    -------
    ComplianceReport
        A violation is not raised; see `ComplianceReport.require`.
    """
    findings = [_field_strength([r.series for r in recognised], protocol.acquisition.min_field_strength_t)]
    findings += _required(chosen, recognised, protocol, purpose)
    required = protocol.required_contrasts
    for contrast, choice in chosen.items():
        geometry = choice.recognised.series.geometry
        if geometry is None:
            continue
        findings.append(_whole(contrast, geometry, required=contrast in required))
        findings += _geometry_limits(contrast, choice.recognised.series, geometry, protocol)
        findings += _inverted(contrast, choice.recognised.series, required=contrast in required)
        findings += _lossy(contrast, choice.recognised.series)
        findings += _copies(contrast, choice.recognised.series)
        if choice.doubtful:
            findings.append(Finding("contrast_recognised", Action.QUERY, choice.evidence, contrast))
        if choice.timing_query:
            expected = f"{contrast.value}: expected evidence of pre-contrast or post-contrast"
            findings.append(
                Finding(TIMING_RULE, Action.QUERY, f"{expected}, found {choice.timing_query}", contrast)
            )
    if Contrast.T1W_GD in chosen:
        findings.append(_minutes(chosen[Contrast.T1W_GD], protocol.acquisition.min_minutes_after_contrast))
    return ComplianceReport(tuple(findings))


def require_all_sequences(report: ComplianceReport) -> None:
    """Refuse a visit without a required sequence. Of a visit that is uploaded as it is, that is a query.

    Parameters
    ----------
    report : ComplianceReport
        Of a visit.

    Raises
    ------
    ComplianceError
        If the protocol is not met (`ComplianceReport.require`); else with all missing sequences in one line.
    """
    report.require()
    missing = [f.message for f in report.of(Action.QUERY) if f.rule == "sequence"]
    if missing:
        raise ComplianceError(
            "; ".join(missing),
            hint="ask the site to send the whole study again; if the sequence was not acquired: "
            "mri-pipeline quarantine retry TRIAL ENTRY --subject N",
        )


def _field_strength(series: Sequence[Series], minimum: float) -> Finding:
    stated = [s.first.field_strength_t for s in series if s.first.modality in ("", "MR")]
    known = [t for t in stated if t is not None]
    if not known:
        message = f"expected a field strength of at least {minimum:g} T, found none stated in the headers"
        ask = "send the DICOM files as the scanner wrote them, with MagneticFieldStrength (0018,0087)"
        return Finding("field_strength", Action.REFUSE, message, limit=minimum, unit="T", to_do=ask)
    weakest = min(known)
    action = Action.REFUSE if weakest < minimum - FIELD_TOLERANCE_T else None
    message = f"expected a field strength of at least {minimum:g} T, found {weakest:.4g} T"
    ask = f"use a scanner of at least {minimum:g} T, and send its scans"
    return Finding("field_strength", action, message, measured=weakest, limit=minimum, unit="T", to_do=ask)


def _required(
    chosen: Mapping[Contrast, Choice], recognised: Sequence[Recognised], protocol: Protocol, purpose: UploadPurpose
) -> list[Finding]:
    unwanted = [r for r in recognised if r.contrast is None]
    dummy_run = purpose is UploadPurpose.DUMMY_RUN
    findings = []
    for sequence in protocol.sequences:
        contrast = sequence.contrast
        if contrast in chosen:
            findings.append(Finding("sequence", None, f"{contrast.value}: {chosen[contrast].evidence}", contrast))
        elif not sequence.required:
            findings.append(
                Finding("sequence", Action.NOTE, f"{contrast.value} was not sent (optional)", contrast)
            )
        else:
            refuse = dummy_run or contrast is Contrast.FLAIR
            found = ", ".join(sorted(c.value for c in chosen)) or "no sequence of the protocol"
            message = f"expected {contrast.value}, found {found}"
            reasons = [r.evidence for r in unwanted if not chosen or _may_be(r, contrast)]
            if reasons:
                message += " (" + "; ".join(reasons[:3]) + ")"
            later = "repeat the dummy run with it" if dummy_run else "acquire it at the next visits"
            ask = f"send the {contrast.value}; if it was not acquired, {later}"
            action = Action.REFUSE if refuse else Action.QUERY
            findings.append(Finding("sequence", action, message, contrast, to_do=ask))
    return findings


def _may_be(unwanted: Recognised, contrast: Contrast) -> bool:
    """Whether a series that is left out may be the missing one."""
    wanted = Contrast.T1W if contrast is Contrast.T1W_GD else contrast
    return unwanted.unwanted in _ANATOMY_NOT_USED or (
        unwanted.unwanted in _BY_NAME_OR_TYPE and by_acquisition(unwanted.series).contrast is wanted
    )


def _inverted(contrast: Contrast, series: Series, *, required: bool) -> list[Finding]:
    """A finding on inverted grey levels, which dcm2niix converts as they are: dark fluid would be bright."""
    if not series.inverted:
        return []
    message = f"{contrast.value}: expected grey levels as acquired, found inverted ones (MONOCHROME1)"
    action = Action.REFUSE if required else Action.QUERY
    return [Finding("inverted", action, message, contrast, to_do="send the series again, as the scanner wrote it")]


def _lossy(contrast: Contrast, series: Series) -> list[Finding]:
    """A query on a scan that was compressed with loss: small lesions may be removed, and its noise is lower."""
    if not series.lossy:
        return []
    message = f"{contrast.value}: expected an image without lossy compression, found one compressed with loss"
    return [Finding("lossy_compression", Action.QUERY, message, contrast)]


def _copies(contrast: Contrast, series: Series) -> list[Finding]:
    """A query on images that were sent several times with different pixels."""
    if not series.copies_differ:
        return []
    message = (
        f"{contrast.value}: expected equal pixels of images that were sent several times, found different ones in "
        f"{series.label}; the first ones are used"
    )
    return [Finding("copies_differ", Action.QUERY, message, contrast)]


def _whole(contrast: Contrast, geometry: Geometry, *, required: bool) -> Finding:
    measured = float(geometry.missing_slices)
    action = Action.REFUSE if required else Action.QUERY
    if geometry.missing_slices:
        message = f"{contrast.value}: expected a whole series, found {geometry.missing_slices} slices missing"
    elif geometry.uneven:
        message = f"{contrast.value}: expected one image at each position, found two or more at some positions"
    elif not geometry.regular:
        message = f"{contrast.value}: expected one distance between slices, found different distances"
    else:
        message, action_or_none = f"{contrast.value}: {geometry.slices} slices, none missing", None
        return Finding("whole_series", action_or_none, message, contrast, measured, 0.0, "slices")
    return Finding("whole_series", action, message, contrast, measured, 0.0, "slices", SEND_AGAIN)


def _geometry_limits(contrast: Contrast, series: Series, geometry: Geometry, protocol: Protocol) -> list[Finding]:
    limits = protocol.acquisition
    in_plane = max(geometry.spacing_mm[:2])
    findings = []
    if series.is_3d:
        largest = max(geometry.spacing_mm)
        findings.append(_at_most("spacing_3d", "a 3D voxel", contrast, largest, limits.max_spacing_3d_mm))
    else:
        thickness = geometry.thickness_mm
        findings.append(
            _at_most("thickness_2d", "a slice thickness", contrast, thickness, limits.max_slice_thickness_2d_mm)
        )
        findings.append(
            _at_most("gap", "a gap between slices", contrast, geometry.gap_mm, limits.max_slice_gap_mm)
        )
        findings.append(
            _at_most("in_plane_2d", "an in-plane voxel", contrast, in_plane, limits.max_in_plane_2d_mm)
        )
    covered = _covered_mm(geometry)
    minimum = limits.min_coverage_mm
    broken = covered < minimum.value - ROUNDING_MM
    message = f"{contrast.value}: expected a coverage of at least {minimum.value:g} mm, found {covered:.0f} mm"
    findings.append(
        Finding(
            "coverage",
            minimum.action if broken else None,
            message,
            contrast,
            round(covered, 2),
            minimum.value,
            "mm",
            minimum.ask,
        )
    )
    return findings


def _covered_mm(geometry: Geometry) -> float:
    """Smallest extent of the volume: across slices, along rows, along columns (a slab is thin in one of them)."""
    row_mm, column_mm, _ = geometry.spacing_mm
    return min(geometry.coverage_mm, row_mm * geometry.rows, column_mm * geometry.columns)


def _at_most(rule: str, what: str, contrast: Contrast, measured: float, limit: QualityLimit) -> Finding:
    measured = round(measured, 2)
    action = limit.action if measured > limit.value + ROUNDING_MM else None
    message = f"{contrast.value}: expected {what} of at most {limit.value:g} mm, found {measured:g} mm"
    return Finding(rule, action, message, contrast, measured, limit.value, "mm", limit.ask)


def _minutes(choice: Choice, limit: QualityLimit) -> Finding:
    series = choice.recognised.series
    injected, contrast = series.first.contrast_start_s, Contrast.T1W_GD
    if injected is None or series.acquired_s is None:
        message = f"the time between injection and {contrast.value} is not in the headers; ask the site"
        return Finding("minutes_after_contrast", Action.NOTE, message, contrast, None, limit.value, "min")
    minutes = round((series.acquired_s - injected) / 60, 1)
    action = limit.action if minutes < limit.value else None
    message = f"{contrast.value}: expected at least {limit.value:g} min after contrast, found {minutes:g} min"
    return Finding("minutes_after_contrast", action, message, contrast, minutes, limit.value, "min", limit.ask)
