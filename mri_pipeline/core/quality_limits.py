"""Limits of image quality in ``trial.toml``, with the consequence of a violation and what the site has to do.

The name of a limit states its direction: ``min_`` is the smallest accepted value, ``max_`` the largest. The defaults
are the worst value of untouched real scans with a margin (``benchmarks/quality/README.md``), unless a source is named.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, model_validator

from mri_pipeline.core.settings import Settings


class Action(StrEnum):
    """Consequence of a violated limit."""

    REFUSE = "refuse"
    QUERY = "query"
    NOTE = "note"


class QualityLimit(Settings):
    """A limit of image quality.

    Attributes
    ----------
    value : float
        In the unit that the name of the limit states.
    action : Action
        Consequence of a value beyond the limit.
    ask : str
        What the site has to do then.

    Notes
    -----
    A key that ``trial.toml`` does not state is that of the default of the limit.
    """

    value: Annotated[float, Field(allow_inf_nan=False)]
    action: Action = Action.QUERY
    ask: Annotated[str, Field(min_length=1)]


_REPEAT = "repeat the scan if the patient is still there"
_COIL = f"check coil and protocol of the scanner; {_REPEAT}"
_MOTION = f"look for motion or a hardware fault; {_REPEAT}"
_FAULT = f"call the service of the scanner; {_REPEAT}"
_HEAD = "look at the images, and send the original series of the head"
_SERIES = "state which sequence the series is, and send the missing one"
_SLICES = "state whether the missing slices were acquired and send them; cover the whole brain at the next visit"


def limit(value: float, ask: str, action: Action = Action.QUERY) -> QualityLimit:
    """A field of a `LimitTable` with this default.

    Parameters
    ----------
    value : float
    ask : str
    action : Action, optional

    Returns
    -------
    QualityLimit
    """
    return Field(default_factory=lambda: QualityLimit(value=value, action=action, ask=ask))


class LimitTable(Settings):
    """A table of limits in ``trial.toml``. A key of a limit that it does not state has the default."""

    @model_validator(mode="before")
    @classmethod
    def _with_defaults_of_the_limit(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        defaults = {name: field.get_default(call_default_factory=True) for name, field in cls.model_fields.items()}
        default = {name: limit.model_dump() for name, limit in defaults.items() if isinstance(limit, QualityLimit)}
        return {
            name: {**default[name], **value} if isinstance(value, dict) and name in default else value
            for name, value in given.items()
        }


class ImageLimits(LimitTable):
    """Image quality of a dummy run and of every visit, measured on the images.

    Attributes
    ----------
    min_head_litres : QualityLimit
        Volume of the object. The brains of skull-stripped scans have at least 1.0 L.
    min_head_detail_percent : QualityLimit
        Median absolute deviation of the head's interior from the mean of its neighbourhood, relative to that mean
        (*detail*). Real scans have 6.4 to 26 %, bottles and spheres 0.3 to 2.6 %. On PDw, or with slices more than 4 mm
        apart, the result is at most a query, since no such scans were available.
    min_slice_coherence : QualityLimit
        Correlation of the detail between neighbouring slices. Real scans have 0.44 to 0.88, noise 0.
        On PDw, or with slices more than 4 mm apart, the result is at most a query, since no such scans were available.
    min_template_similarity : QualityLimit
        Similarity of the template to the FLAIR. Real scans have 0.78 to 0.93, noise 0.04.
    max_brain_missing_percent : QualityLimit
        Brain outside of the slices. A query at most on scans other than the FLAIR, on which the brain is located.
    max_upside_down : QualityLimit
        Similarity that the FLAIR gains with its slices in reverse order. Real scans turned upside down gain 0.2 to 0.3.
    max_mirror_ratio : QualityLimit
        Similarity of the mirrored scan to the FLAIR of the visit, relative to that of the scan. 22 real scans have 0.31
        to 0.89, mirrored 0.97 to 2.7, 21 of them at least 1.08. A symmetric head has 1.
    max_cut_top_mm : QualityLimit
        Brain above the uppermost slice.
    max_cut_bottom_mm : QualityLimit
        Brain between the lowest slice and the foramen magnum.
    min_fluid_ratio_t2 : QualityLimit
        Signal of CSF relative to white matter on T2w. Real scans have 2.4 to 3.2.
    max_fluid_ratio_t1_flair : QualityLimit
        Signal of CSF relative to white matter on T1w and FLAIR. Real scans have 0.2 to 0.7.
    max_grey_ratio_t1 : QualityLimit
        Signal of grey relative to white matter on T1w. Real scans have 0.79 to 0.94.
    min_grey_ratio_flair : QualityLimit
        Signal of grey relative to white matter on FLAIR. Real scans have 0.97 to 1.22.
    min_snr : QualityLimit
        Signal-to-noise ratio.
    min_cnr : QualityLimit
        Contrast-to-noise ratio of grey and white matter.
    max_ghosting_percent : QualityLimit
        Ghosting in the air, as in the ACR phantom test (ACR MRI quality control manual 2015: 2.5 %).
    max_ghost_in_head_percent : QualityLimit
        Copy of the image at half of the field of view, by its autocorrelation.
    max_edge_percent : QualityLimit
        Head at a side face of the volume: clipped or wrapped. Nose and ears may touch it.
    max_slice_displacement_mm : QualityLimit
        In-plane displacement of one slice against its neighbours.
    max_interleave_mm : QualityLimit
        Displacement of odd against even slices.
    max_slice_step_percent : QualityLimit
        Intensity of one slice against its neighbours.
    max_alternation_percent : QualityLimit
        Intensity of odd against even slices.
    min_coherence_ratio_flair, min_coherence_ratio_t1, min_coherence_ratio_t2 : QualityLimit
        Correlation of the detail of neighbouring axial slices from left to right relative to that from back to front.
        Motion within slices lowers it if the phase is encoded from left to right.
    max_coherence_ratio_t1_flair, max_coherence_ratio_t2 : QualityLimit
        The same. Motion within slices raises it if the phase is encoded from back to front.
    max_tilt_deg : QualityLimit
        Angle of axial slices to the subcallosal line (MAGNIMS-CMSC-NAIMS 2021). Real scans have 0.7 to 4.9
        degrees, slices along the line through both commissures about 5.
    min_neighbour_difference : QualityLimit
        Difference of two neighbouring slices relative to the usual one: the same anatomy twice.
    max_spike_ratio : QualityLimit
        Power of one frequency of a slice relative to its surroundings.
    max_line_ratio : QualityLimit
        Deviation of a row or column from its neighbours relative to the usual one (zipper).
    max_saturated_percent : QualityLimit
        Head at the largest value of the image.
    min_sharpness : QualityLimit
        Power of the detail of 2 mm relative to 7 mm, in decades.
    max_bias_percent : QualityLimit
        Shading of white matter.
    max_void_mm : QualityLimit
        Diameter of a sphere without signal in the parenchyma.
    """

    min_head_litres: QualityLimit = limit(0.5, _HEAD, Action.REFUSE)
    min_head_detail_percent: QualityLimit = limit(4.0, _HEAD, Action.REFUSE)
    min_slice_coherence: QualityLimit = limit(0.15, _HEAD, Action.REFUSE)
    min_template_similarity: QualityLimit = limit(0.5, _HEAD, Action.REFUSE)
    max_brain_missing_percent: QualityLimit = limit(35.0, _SLICES, Action.REFUSE)
    max_upside_down: QualityLimit = limit(0.1, "check the orientation of the series on the scanner")
    max_mirror_ratio: QualityLimit = limit(
        1.05, "check left and right of this scan and of the FLAIR on the scanner"
    )
    max_cut_top_mm: QualityLimit = limit(6.0, _SLICES)
    max_cut_bottom_mm: QualityLimit = limit(15.0, _SLICES)
    min_fluid_ratio_t2: QualityLimit = limit(1.6, _SERIES)
    max_fluid_ratio_t1_flair: QualityLimit = limit(1.0, _SERIES)
    max_grey_ratio_t1: QualityLimit = limit(0.98, _SERIES)
    min_grey_ratio_flair: QualityLimit = limit(0.93, _SERIES)
    min_snr: QualityLimit = limit(10.0, _COIL)
    min_cnr: QualityLimit = limit(2.0, _COIL)
    max_ghosting_percent: QualityLimit = limit(2.5, _MOTION)
    max_ghost_in_head_percent: QualityLimit = limit(2.5, _MOTION)
    max_edge_percent: QualityLimit = limit(
        5.0, "state whether the head lies within the field of view, and centre it at the next visit"
    )
    max_slice_displacement_mm: QualityLimit = limit(2.0, _MOTION)
    max_interleave_mm: QualityLimit = limit(0.6, _MOTION)
    max_slice_step_percent: QualityLimit = limit(20.0, _FAULT)
    max_alternation_percent: QualityLimit = limit(8.0, _FAULT)
    min_neighbour_difference: QualityLimit = limit(0.4, "send the original series again")
    min_coherence_ratio_flair: QualityLimit = limit(1.3, _MOTION)
    min_coherence_ratio_t1: QualityLimit = limit(1.0, _MOTION)
    min_coherence_ratio_t2: QualityLimit = limit(0.75, _MOTION)
    max_coherence_ratio_t1_flair: QualityLimit = limit(2.5, _MOTION)
    max_coherence_ratio_t2: QualityLimit = limit(1.8, _MOTION)
    max_tilt_deg: QualityLimit = limit(
        15.0, "place the axial slices along the subcallosal line, at this and all later visits"
    )
    max_spike_ratio: QualityLimit = limit(100.0, _FAULT)
    max_line_ratio: QualityLimit = limit(2.5, _FAULT)
    max_saturated_percent: QualityLimit = limit(
        0.5, "send the original series again, or check the scaling of the scanner"
    )
    min_sharpness: QualityLimit = limit(-2.4, _MOTION)
    max_bias_percent: QualityLimit = limit(25.0, _COIL)
    max_void_mm: QualityLimit = limit(
        10.0, "look for metal near the head; remove it, and repeat the scan if possible"
    )
