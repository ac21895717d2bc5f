"""Change of scanner or protocol: within an upload, and since another visit of the subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mri_pipeline.core.acquisition_limits import AcquisitionLimits
from mri_pipeline.core.quality_limits import Action
from qc.coverage import coverage_loss
from qc.findings import Finding
from qc.scan_profile import AcquisitionParameters, ScanProfile
from qc.scanner_identity import another_machine, differences, is_another_scanner

ONE_SCANNER: Final = "one_scanner"
"""Rule of series of one upload that come from different scanners."""


def compare_scanners(profile: ScanProfile, limits: AcquisitionLimits) -> tuple[Finding, ...]:
    """Flag series from another scanner, software version or receive coil than the FLAIR of the visit.

    Parameters
    ----------
    profile : ScanProfile
    limits : AcquisitionLimits
        With the action for a change of the scanner. Without `is_another_scanner` it is at most a query.

    Returns
    -------
    tuple of Finding
    """
    findings = []
    for contrast, scanner in profile.others.items():
        what = differences(scanner, profile)
        action = limits.scanner_change
        if action is Action.REFUSE and not is_another_scanner(scanner, profile):
            action = Action.QUERY
        message = f"{contrast.value}: expected the scanner of the FLAIR, found another {', another '.join(what)}"
        findings.append(Finding(ONE_SCANNER, action, message, contrast))
    if not profile.identified:
        message = (
            "expected a serial number or station name of the scanner in the headers, found none: machines of one "
            "model are not told apart"
        )
        findings.append(Finding("scanner_identity", Action.NOTE, message))
    return tuple(findings)


@dataclass(frozen=True)
class PreviousScan:
    """Earlier visit for comparison.

    Parameters
    ----------
    visit : str
        Label of the visit.
    profile : ScanProfile
        Its scanner and protocol.
    """

    visit: str
    profile: ScanProfile


def compare_with_previous(
    current: ScanProfile, previous: PreviousScan, limits: AcquisitionLimits
) -> tuple[Finding, ...]:
    """Flag a change of scanner, software or protocol since another visit of the subject.

    Parameters
    ----------
    current : ScanProfile
    previous : PreviousScan
    limits : AcquisitionLimits
        Actions, and the largest accepted change of a parameter as a share of its larger value.

    Returns
    -------
    tuple of Finding
        One for each change; empty if there is none.
    """
    before = previous.profile
    findings = []
    if what := another_machine(current, before):
        message = f"expected the scanner of visit {previous.visit}, found {what}"
        findings.append(Finding("same_scanner", limits.scanner_change, message))
    if current.software != before.software:
        message = (
            f"expected the scanner software of visit {previous.visit}, found another software version "
            f"({current.software or 'none stated'} instead of {before.software or 'none stated'})"
        )
        findings.append(Finding("same_software", limits.scanner_change, message))
    change = limits.max_protocol_change
    for contrast, now in current.acquisitions.items():
        then = before.acquisitions.get(contrast)
        changed = [] if then is None else _changes(now, then, change.value)
        if then is not None and now.coverage_mm is not None and then.coverage_mm is not None:
            reference = f"the {{:.0f}} mm of visit {previous.visit}"
            findings += coverage_loss(
                contrast, now.coverage_mm, then.coverage_mm, limits.max_coverage_loss_mm, reference
            )
        if changed:
            what = ", ".join(changed)
            message = f"{contrast.value}: expected the protocol of visit {previous.visit}, found another {what}"
            findings.append(Finding("same_protocol", change.action, message, contrast, to_do=change.ask))
    return tuple(findings)


def _changes(now: AcquisitionParameters, before: AcquisitionParameters, share: float) -> list[str]:
    """Parameters that differ by more than a share of the larger value, each with both values."""
    pairs = (
        ("repetition time", "ms", now.repetition_time_ms, before.repetition_time_ms),
        ("echo time", "ms", now.echo_time_ms, before.echo_time_ms),
        ("inversion time", "ms", now.inversion_time_ms, before.inversion_time_ms),
        ("slice distance", "mm", now.spacing_mm[2], before.spacing_mm[2]),
        ("in-plane voxel size", "mm", max(now.spacing_mm[:2]), max(before.spacing_mm[:2])),
    )
    changed = [
        f"{what} ({a:g} instead of {b:g} {unit})" for what, unit, a, b in pairs
        if a is not None and b is not None and abs(a - b) > share * max(abs(a), abs(b))
    ]  # fmt: skip
    if now.acquisition_type != before.acquisition_type:
        changed.append(f"acquisition mode ({_mode(now)} instead of {_mode(before)})")
    return changed


def _mode(acquisition: AcquisitionParameters) -> str:
    """2D or 3D; any other text of the header is not repeated in a message."""
    return acquisition.acquisition_type if acquisition.acquisition_type in ("2D", "3D") else "not stated"
