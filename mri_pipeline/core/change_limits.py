"""Limits of the change of image quality in ``trial.toml``, between a scan and those it is compared with."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from mri_pipeline.core.quality_limits import LimitTable, QualityLimit, limit

_SAME: Final = (
    "state what was changed on the scanner or its protocol, and use the earlier protocol for the next visit"
)
_MOTION: Final = "look for motion or a hardware fault; repeat the scan if the patient is still there"
_COIL: Final = "check coil and protocol of the scanner; repeat the scan if the patient is still there"
_FAULT: Final = "call the service of the scanner; repeat the scan if the patient is still there"
_SLICES: Final = (
    "state whether the missing slices were acquired and send them; cover the whole brain at the next visit"
)
_HEAD: Final = "check whose images these are, and send the original series of the head"


class ChangeLimits(LimitTable):
    """Largest accepted change of a measure from the subject's earlier visits on the same scanner.

    ``max_fall_`` limits a lower value than before, ``max_rise_`` a higher one, ``max_change_`` both. The defaults are
    twice the largest change between the two visits of one patient, in six pairs of untouched clinical scans (1.5 T,
    three patients), rounded up; half of the limit of image quality or more for measures that are 0 in good scans.

    Attributes
    ----------
    dummy_run_factor : float
        The change from the scanner's dummy run may be larger by this factor, because it shows another person. With 2,
        none of 110 pairs of untouched scans of two patients exceeds a limit; with 1.5, three do.
    max_fall_snr_percent, max_fall_cnr_percent : QualityLimit
        Signal to noise, and contrast to noise of grey and white matter, in percent of the earlier value.
    max_rise_ghosting_percent, max_rise_ghost_in_head_percent : QualityLimit
        Ghosting in the air, and in the head.
    max_rise_edge_percent, max_rise_saturated_percent : QualityLimit
        Head at the side of the field of view, and at the largest value.
    max_rise_spike_percent : QualityLimit
        Power of one frequency, in percent of the earlier value.
    max_rise_line_ratio : QualityLimit
        Deviation of a row or column.
    max_fall_sharpness : QualityLimit
        Power of fine detail, in decades.
    max_rise_slice_displacement_mm, max_rise_interleave_mm : QualityLimit
        Displacement of one slice, and of odd against even slices.
    max_rise_slice_step_percent, max_rise_alternation_percent : QualityLimit
        Intensity of one slice, and of odd against even slices.
    max_fall_neighbour_difference : QualityLimit
        Difference of two neighbouring slices.
    max_fall_coherence_ratio, max_rise_coherence_ratio : QualityLimit
        Detail from left to right relative to that from back to front.
    max_rise_tilt_deg : QualityLimit
        Angle of the slices to the subcallosal line.
    max_change_fluid_percent, max_change_grey_percent : QualityLimit
        CSF and grey relative to white matter, in percent of the earlier value.
    max_rise_bias_percent, max_rise_void_mm : QualityLimit
        Shading of white matter, and a region without signal.
    max_rise_cut_top_mm, max_rise_cut_bottom_mm : QualityLimit
        Brain above and below the slices.
    max_rise_brain_missing_percent : QualityLimit
        Brain outside of the slices.
    max_change_head_percent : QualityLimit
        Volume of the head, in percent of the earlier value.
    max_fall_detail_percent : QualityLimit
        Local variation, in percent of the earlier value.
    max_fall_slice_coherence, max_fall_template_similarity : QualityLimit
        Correlation of neighbouring slices, and similarity to the template.
    min_head_agreement : QualityLimit
        Agreement of the FLAIR with that of the nearest other visit after rigid registration. Two visits of one head
        have 0.79 or more, other heads up to 0.38 (``benchmarks/registration``). A visit that agrees after left and
        right are exchanged is a violation, too. An analysis fails below 0.5.
    """

    dummy_run_factor: Annotated[float, Field(ge=1)] = 2.0
    max_fall_snr_percent: QualityLimit = limit(60.0, _COIL)
    max_fall_cnr_percent: QualityLimit = limit(60.0, _COIL)
    max_rise_ghosting_percent: QualityLimit = limit(1.25, _MOTION)
    max_rise_ghost_in_head_percent: QualityLimit = limit(1.25, _MOTION)
    max_rise_edge_percent: QualityLimit = limit(2.5, _SAME)
    max_rise_saturated_percent: QualityLimit = limit(0.25, _SAME)
    max_rise_spike_percent: QualityLimit = limit(115.0, _FAULT)
    max_rise_line_ratio: QualityLimit = limit(0.5, _FAULT)
    max_fall_sharpness: QualityLimit = limit(0.42, _MOTION)
    max_rise_slice_displacement_mm: QualityLimit = limit(2.1, _MOTION)
    max_rise_interleave_mm: QualityLimit = limit(0.3, _MOTION)
    max_rise_slice_step_percent: QualityLimit = limit(20.0, _FAULT)
    max_rise_alternation_percent: QualityLimit = limit(7.5, _FAULT)
    max_fall_neighbour_difference: QualityLimit = limit(0.4, "send the original series again")
    max_fall_coherence_ratio: QualityLimit = limit(0.95, _MOTION)
    max_rise_coherence_ratio: QualityLimit = limit(0.95, _MOTION)
    max_rise_tilt_deg: QualityLimit = limit(8.0, "place the slices as at the earlier visits")
    max_change_fluid_percent: QualityLimit = limit(60.0, _SAME)
    max_change_grey_percent: QualityLimit = limit(23.0, _SAME)
    max_rise_bias_percent: QualityLimit = limit(8.5, _COIL)
    max_rise_void_mm: QualityLimit = limit(6.0, "look for metal near the head; remove it at the next visit")
    max_rise_cut_top_mm: QualityLimit = limit(5.6, _SLICES)
    max_rise_cut_bottom_mm: QualityLimit = limit(22.0, _SLICES)
    max_rise_brain_missing_percent: QualityLimit = limit(17.5, _SLICES)
    max_change_head_percent: QualityLimit = limit(30.0, _HEAD)
    max_fall_detail_percent: QualityLimit = limit(41.0, _SAME)
    max_fall_slice_coherence: QualityLimit = limit(0.22, _MOTION)
    max_fall_template_similarity: QualityLimit = limit(0.09, _HEAD)
    min_head_agreement: QualityLimit = limit(0.5, _HEAD)
