"""Scanner and protocol of a visit, and their record in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.choose import Choice
from qc.scanner_identity import Scanner, differences


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
        facts.serial_key, facts.station_key, "DERIVED" in facts.image_type, facts.earlier_scanner_key,
    )  # fmt: skip


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
