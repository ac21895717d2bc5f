"""Limits of the acquisition in ``trial.toml``, with their defaults."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.settings import Settings


class Limit(Settings):
    """A limit of the acquisition.

    Attributes
    ----------
    value : float
        In the unit that the name of the limit states.
    action : Action
        Consequence of a value beyond the limit.
    """

    value: float
    action: Action = Action.QUERY


def _query(value: float) -> Limit:
    return Limit(value=value)


class AcquisitionLimits(Settings):
    """MAGNIMS-CMSC-NAIMS 2021 (Wattjes et al., Lancet Neurol 2021;20:653); field strength is the trial's rule.

    Attributes
    ----------
    min_field_strength_t : float
        In tesla. A lower field strength is always a refusal.
    max_spacing_3d_mm : Limit
        Voxel size of a 3D scan along each axis.
    max_slice_thickness_2d_mm, max_slice_gap_mm, max_in_plane_2d_mm : Limit
        Slices and in-plane voxel size of a 2D scan.
    min_coverage_mm : Limit
        Field of view.
    max_coverage_loss_mm : Limit
        Slices that a contrast lacks against the others of the visit, or against the subject's previous visit.
    min_minutes_after_contrast : Limit
        Delay of the post-contrast T1.
    max_protocol_change : Limit
        Relative change of acquisition times and voxel sizes between visits of a subject.
    scanner_change : Action
        Consequence of another scanner or software version than at the subject's other visits.
    """

    min_field_strength_t: Annotated[float, Field(gt=0)] = 1.5  # always a refusal
    max_spacing_3d_mm: Limit = Field(default_factory=lambda: _query(1.5))
    max_slice_thickness_2d_mm: Limit = Field(default_factory=lambda: _query(3.0))
    max_slice_gap_mm: Limit = Field(default_factory=lambda: _query(0.05))
    max_in_plane_2d_mm: Limit = Field(default_factory=lambda: _query(1.0))
    min_coverage_mm: Limit = Field(default_factory=lambda: _query(120.0))
    max_coverage_loss_mm: Limit = Field(default_factory=lambda: _query(15.0))
    min_minutes_after_contrast: Limit = Field(default_factory=lambda: _query(5.0))
    max_protocol_change: Limit = Field(default_factory=lambda: _query(0.10))  # share, of times and voxel sizes
    scanner_change: Action = Action.QUERY  # another scanner or software version than at the subject's other visits
