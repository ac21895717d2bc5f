"""Checks for missing slices that the headers of one series do not reveal: parts of a series, and coverage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np

from mri_pipeline.core.quality_limits import Action, QualityLimit
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.aborted import WHOLE_HEAD_MM, same_matrix
from mri_pipeline.intake.choose import Choice
from mri_pipeline.intake.contrast import Recognised
from mri_pipeline.intake.gadolinium import same_protocol
from mri_pipeline.intake.geometry import Geometry, are_parallel, reaches_beyond
from mri_pipeline.intake.merge import GAPPED
from mri_pipeline.intake.series import Series
from mri_pipeline.intake.unwanted import MIN_SLICES, Unwanted
from qc.findings import Finding

SAME_PLANE_COSINE: Final = 0.9
"""Slices of two series are in the same plane if their normals differ by less than 25 degrees. Coverage across slices is
comparable then."""


_COMPANIONS: Final = frozenset({
    Unwanted.CAPTURE, Unwanted.BURNED_IN, Unwanted.DERIVED, Unwanted.PHASE, Unwanted.FAT, Unwanted.QUANTITATIVE,
    Unwanted.MP2RAGE, Unwanted.REPEATED, Unwanted.EQUAL_ECHOES, Unwanted.ABORTED, Unwanted.NOT_STATED,
})  # fmt: skip
"""Images that scanners and archives store under the UID of an acquisition beside its slices. They are at the positions
of slices."""

_RUNS: Final = frozenset({Unwanted.ABORTED, Unwanted.NOT_STATED})
"""Companions that are another acquisition, whose positions may be others."""


def split_series(
    chosen: Mapping[Contrast, Choice], *, merged: Mapping[str, int], unfit: AbstractSet[str]
) -> list[Finding]:
    """Findings on series that were sent in parts.

    Parameters
    ----------
    chosen : mapping of Contrast to Choice
    merged : mapping of str to int
        Number of series of each merged volume, by its series key.
    unfit : set of str
        Keys of series that look like parts of one volume and do not form one.

    Returns
    -------
    list of Finding
        A note for merged parts, a refusal for parts that do not form one volume.
    """
    findings = []
    for contrast, choice in chosen.items():
        key = choice.recognised.series.first.series_key
        if key in unfit and not _is_whole(choice.recognised.series):
            message = f"{contrast.value}: expected one whole series, found parts that do not form one volume"
            findings.append(Finding("split_series", Action.REFUSE, message, contrast))
        elif key in merged:
            message = f"{contrast.value}: merged from {merged[key]} series that are parts of one volume"
            findings.append(Finding("split_series", Action.NOTE, message, contrast))
    return findings


def odd_slices(chosen: Mapping[Contrast, Choice], recognised: Iterable[Recognised]) -> list[Finding]:
    """Queries on single slices that may be missing slices of a chosen series.

    They are no part of its volume: slices of its UID that differ from its others in matrix, echo, orientation or kind,
    and a few slices of its protocol under another UID beyond its first or last slice. Missing end slices would
    otherwise not be noticed.

    Parameters
    ----------
    chosen : mapping of Contrast to Choice
    recognised : iterable of Recognised
        All series of the upload.

    Returns
    -------
    list of Finding
        At most one of each kind for each contrast.
    """
    few = [other for other in recognised if other.unwanted is not None and len(other.series.files) < MIN_SLICES]
    findings = []
    for contrast, choice in chosen.items():
        own = choice.recognised.series
        count = sum(len(other.series.files) for other in few if _is_lost(other, own))
        if count:
            message = (
                f"{contrast.value}: expected equal matrix, echo, orientation and kind of all images of {own.label}, "
                f"found {count} other images; they are left out"
            )
            findings.append(Finding("whole_series", Action.QUERY, message, contrast, float(count), 0.0, "images"))
        ends = sum(len(other.series.files) for other in few if _is_end(other, choice.recognised))
        if ends:
            message = (
                f"{contrast.value}: expected all slices in {own.label}, found {ends} images of its protocol in another "
                "series beyond its first or last slice; they are left out"
            )
            findings.append(Finding("whole_series", Action.QUERY, message, contrast, float(ends), 0.0, "images"))
    return findings


def _is_lost(other: Recognised, chosen: Series) -> bool:
    """True if images of a series UID that are not in its volume may be missing slices of it."""
    if other.series.first.series_key != chosen.first.series_key:
        return False
    return other.unwanted not in _COMPANIONS or (
        other.unwanted not in _RUNS and _is_beyond(other.series, chosen.geometry)
    )


def _is_end(few: Recognised, chosen: Recognised) -> bool:
    """True if a few slices of another series UID may be end slices of a series."""
    one, other = chosen.series, few.series
    return (
        few.unwanted is Unwanted.FEW_SLICES
        and other.first.series_key != one.first.series_key
        and same_protocol(few, chosen)
        and same_matrix(other, one)
        and _is_beyond(other, one.geometry)
    )


def _is_beyond(other: Series, stack: Geometry | None) -> bool:
    """True if an image is parallel to the slices of a stack, and beyond its first or last slice."""
    part = other.geometry
    return stack is not None and part is not None and are_parallel(part, stack) and reaches_beyond(part, stack)


def _is_whole(series: Series) -> bool:
    """True for a whole head without gaps. The other parts are then an aborted run, not its missing slices."""
    geometry, thickness = series.geometry, series.first.thickness_mm
    return (
        geometry is not None
        and geometry.complete
        and geometry.coverage_mm >= WHOLE_HEAD_MM
        and thickness is not None
        and geometry.spacing_mm[2] <= GAPPED * thickness
    )


def compare_coverage(chosen: Mapping[Contrast, Choice], limit: QualityLimit) -> list[Finding]:
    """Compare the coverage across slices with the largest one of the visit in the same plane.

    Parameters
    ----------
    chosen : mapping of Contrast to Choice
    limit : QualityLimit
        Largest accepted loss in mm.

    Returns
    -------
    list of Finding
        Violations only; empty if all contrasts cover about the same length.
    """
    geometries = {
        contrast: choice.recognised.series.geometry
        for contrast, choice in chosen.items()
        if choice.recognised.series.geometry is not None
    }
    findings = []
    for contrast, geometry in geometries.items():
        if geometry is None:
            continue
        others = {
            other.coverage_mm: name
            for name, other in geometries.items()
            if other is not None
            and abs(np.dot(geometry.slice_direction, other.slice_direction)) > SAME_PLANE_COSINE
        }
        largest = max(others)
        reference = f"the {{:.0f}} mm of {others[largest].value}"
        findings += coverage_loss(contrast, geometry.coverage_mm, largest, limit, reference)
    return findings


def coverage_loss(
    contrast: Contrast, found_mm: float, reference_mm: float, limit: QualityLimit, reference: str
) -> list[Finding]:
    """A finding if a scan covers less than a reference by more than the limit.

    Parameters
    ----------
    contrast : Contrast
    found_mm, reference_mm : float
        Extent across the slices.
    limit : QualityLimit
        Largest accepted loss in mm.
    reference : str
        Name of the reference in the message, with a format field for its length.

    Returns
    -------
    list of Finding
        Empty if the loss is within the limit.
    """
    loss = reference_mm - found_mm
    if loss <= limit.value:
        return []
    message = (
        f"{contrast.value}: expected about {reference.format(reference_mm)}, found a coverage of {found_mm:.0f} mm; "
        f"ask the site for the missing {loss:.0f} mm"
    )
    return [
        Finding("coverage_loss", limit.action, message, contrast, round(loss, 2), limit.value, "mm", limit.ask)
    ]
