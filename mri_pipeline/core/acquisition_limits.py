"""Limits of the acquisition in ``trial.toml``, with their defaults."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from mri_pipeline.core.quality_limits import Action, LimitTable, QualityLimit, limit

_PROTOCOL: Final = "state why the value differs, and correct the protocol of the scanner for the next visit"


class AcquisitionLimits(LimitTable):
    """MAGNIMS-CMSC-NAIMS 2021 (Wattjes et al., Lancet Neurol 2021;20:653); field strength is the trial's rule.

    Attributes
    ----------
    min_field_strength_t : float
        In tesla. A lower field strength is always a refusal.
    max_spacing_3d_mm : QualityLimit
        Voxel size of a 3D scan along each axis.
    max_slice_thickness_2d_mm, max_slice_gap_mm, max_in_plane_2d_mm : QualityLimit
        Slices and in-plane voxel size of a 2D scan.
    min_coverage_mm : QualityLimit
        Field of view.
    max_coverage_loss_mm : QualityLimit
        Slices that a contrast lacks against the others of the visit, or against the subject's previous visit.
    min_minutes_after_contrast : QualityLimit
        Delay of the post-contrast T1.
    max_protocol_change : QualityLimit
        Relative change of acquisition times and voxel sizes between visits of a subject.
    scanner_change : Action
        Consequence of another scanner or software version than at the subject's other visits.
    """

    min_field_strength_t: Annotated[float, Field(gt=0)] = 1.5  # always a refusal
    max_spacing_3d_mm: QualityLimit = limit(1.5, _PROTOCOL)
    max_slice_thickness_2d_mm: QualityLimit = limit(3.0, _PROTOCOL)
    max_slice_gap_mm: QualityLimit = limit(0.05, _PROTOCOL)
    max_in_plane_2d_mm: QualityLimit = limit(1.0, _PROTOCOL)
    min_coverage_mm: QualityLimit = limit(120.0, _PROTOCOL)
    max_coverage_loss_mm: QualityLimit = limit(
        15.0, "send the missing slices, or state that they were not acquired"
    )
    min_minutes_after_contrast: QualityLimit = limit(5.0, "state the time of the injection and of the scan")
    max_protocol_change: QualityLimit = limit(
        0.1, "state why the protocol differs, and use the earlier one for the next visit"
    )
    scanner_change: Action = Action.QUERY  # another scanner or software version than at the subject's other visits
