"""Scanner and protocol of a visit, and their comparison with another visit of the subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter

from mri_pipeline.core.acquisition_limits import AcquisitionLimits
from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.choose import Choice
from qc.coverage import coverage_loss
from qc.findings import Finding

ONE_SCANNER: Final = "one_scanner"
"""Rule of series of one upload that come from different scanners."""

SAME_FIELD_T: Final = 0.05
"""Series of one scanner may state 2.89 and 2.8936 T."""


@dataclass(frozen=True)
class AcquisitionParameters:
    """Acquisition parameters of one contrast, for comparison with the next visit.

    Parameters
    ----------
    repetition_time_ms, echo_time_ms, inversion_time_ms : float or None
        None if the header does not state the value.
    spacing_mm : (float, float, float)
        Distance of rows, columns and slices.
    acquisition_type : str
        "2D" or "3D".
    coverage_mm : float or None
        Extent across the slices; None in records of earlier versions.
    """

    repetition_time_ms: float | None
    echo_time_ms: float | None
    inversion_time_ms: float | None
    spacing_mm: tuple[float, float, float]
    acquisition_type: str
    coverage_mm: float | None = None


@dataclass(frozen=True)
class Scanner:
    """The scanner of one series.

    Parameters
    ----------
    manufacturer, model, software : str
        Empty if the headers do not contain them.
    field_strength_t : float or None
        In tesla.
    scanner_key : str
        Keyed digest of manufacturer, model, serial number and station name.
    coil : str
        Receive coil; empty if the headers do not state it, and in records of earlier versions.
    serial_key, station_key : str
        Keyed digests of serial number and station name, each empty if the headers do not state it, and in records of
        earlier versions.
    derived : bool
        True if the series was computed from others. Its software may be that of a workstation.
    """

    manufacturer: str
    model: str
    software: str
    field_strength_t: float | None
    scanner_key: str
    coil: str = ""
    serial_key: str = ""
    station_key: str = ""
    derived: bool = False

    @property
    def identified(self) -> bool:
        """False if the headers state neither serial number nor station name."""
        return bool(self.serial_key or self.station_key)


@dataclass(frozen=True)
class ScanProfile(Scanner):
    """Scanner and protocol of a visit. The scanner is that of the FLAIR if there is one.

    Parameters
    ----------
    acquisitions : mapping of Contrast to AcquisitionParameters
    others : mapping of Contrast to Scanner
        The scanners of contrasts that come from another scanner, software version or receive coil than the FLAIR.
    """

    acquisitions: Mapping[Contrast, AcquisitionParameters] = field(default_factory=dict)
    others: Mapping[Contrast, Scanner] = field(default_factory=dict)


def scan_profile(chosen: Mapping[Contrast, Choice]) -> ScanProfile:
    """Scanner and protocol of a visit, from its FLAIR if there is one.

    Parameters
    ----------
    chosen : mapping of Contrast to Choice
        The chosen series of the visit.

    Returns
    -------
    ScanProfile
        A series without geometry has a voxel size of 0 mm.

    Raises
    ------
    ComplianceError
        If no series was chosen.
    """
    if not chosen:
        raise ComplianceError(
            "expected a sequence of the protocol, found none", hint="upload the anatomical series of the visit"
        )
    own = _scanner(chosen.get(Contrast.FLAIR, next(iter(chosen.values()))))
    scanners = {contrast: _scanner(choice) for contrast, choice in chosen.items()}
    others = {contrast: one for contrast, one in scanners.items() if differences(one, own)}
    acquisitions = {}
    for contrast, choice in chosen.items():
        series = choice.recognised.series
        spacing = series.geometry.spacing_mm if series.geometry else (0.0, 0.0, 0.0)
        first = series.first
        acquisitions[contrast] = AcquisitionParameters(
            first.repetition_time_ms, first.echo_time_ms, first.inversion_time_ms, spacing, first.acquisition_type,
            round(series.geometry.coverage_mm, 2) if series.geometry else None,
        )  # fmt: skip
    return ScanProfile(**asdict(own), acquisitions=acquisitions, others=others)


def _scanner(choice: Choice) -> Scanner:
    facts = choice.recognised.series.first
    return Scanner(
        facts.manufacturer, facts.model, facts.software, facts.field_strength_t, facts.scanner_key, facts.coil,
        facts.serial_key, facts.station_key, "DERIVED" in facts.image_type,
    )  # fmt: skip


def differences(one: Scanner, other: Scanner) -> tuple[str, ...]:
    """What tells the scanners of two series apart. What either header does not state is not compared.

    Machines are told apart by the serial number. If it is not stated in both headers, by manufacturer and model, and by
    the station name if neither states a serial number. The software of a derived series is not compared.

    Parameters
    ----------
    one, other : Scanner

    Returns
    -------
    tuple of str
        Words for messages; empty if they may be the same.
    """
    if one.serial_key and other.serial_key:
        machine = [(one.serial_key, other.serial_key)]
    else:
        machine = [
            (one.manufacturer.upper(), other.manufacturer.upper()),
            (one.model.upper(), other.model.upper()),
        ]
        if not one.serial_key and not other.serial_key:
            machine.append((one.station_key, other.station_key))
    strengths = (one.field_strength_t, other.field_strength_t)
    found = []
    if any(_differ(a, b) for a, b in machine):
        found.append("scanner")
    if not one.derived and not other.derived and _differ(one.software, other.software):
        found.append("software version")
    if _differ(one.coil, other.coil):
        found.append("receive coil")
    if None not in strengths and abs((strengths[0] or 0) - (strengths[1] or 0)) > SAME_FIELD_T:
        found.append("field strength")
    return tuple(found)


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def is_another_scanner(one: Scanner, other: Scanner) -> bool:
    """Whether the series of one visit are surely from two scanners or software versions, each with a gate of its own.

    Parameters
    ----------
    one, other : Scanner

    Returns
    -------
    bool
        False if only the receive coil differs, or only coil and software and the headers of either state neither serial
        number nor station name.
    """
    found = set(differences(one, other)) - {"receive coil"}
    return bool(found) and (found != {"software version"} or (one.identified and other.identified))


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


_PROFILE = TypeAdapter(ScanProfile)


def profile_record(profile: ScanProfile) -> dict[str, Any]:
    """Convert a profile to JSON values for the registry.

    Parameters
    ----------
    profile : ScanProfile

    Returns
    -------
    dict
    """
    return dict(_PROFILE.dump_python(profile, mode="json"))


def profile_of_record(record: Mapping[str, Any]) -> ScanProfile:
    """Convert a record back to a profile.

    Parameters
    ----------
    record : mapping
        From `profile_record`.

    Returns
    -------
    ScanProfile

    Raises
    ------
    pydantic.ValidationError
        If it is not such a record.
    """
    return _PROFILE.validate_python(record)


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
    if current.scanner_key != before.scanner_key:
        message = f"expected the scanner of visit {previous.visit}, found another"
        findings.append(Finding("same_scanner", limits.scanner_change, message))
    if current.software != before.software:
        message = f"expected the scanner software of visit {previous.visit}, found another version"
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
    """Parameters that differ by more than a share of the larger value."""
    pairs = (
        ("repetition time", now.repetition_time_ms, before.repetition_time_ms),
        ("echo time", now.echo_time_ms, before.echo_time_ms),
        ("inversion time", now.inversion_time_ms, before.inversion_time_ms),
        ("slice distance", now.spacing_mm[2], before.spacing_mm[2]),
        ("in-plane voxel size", max(now.spacing_mm[:2]), max(before.spacing_mm[:2])),
    )
    changed = [
        what for what, a, b in pairs
        if a is not None and b is not None and abs(a - b) > share * max(abs(a), abs(b))
    ]  # fmt: skip
    if now.acquisition_type != before.acquisition_type:
        changed.append("2D or 3D mode")
    return changed
