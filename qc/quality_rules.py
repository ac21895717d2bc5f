"""The rules of image quality: which measure is compared with which limit of ``trial.toml``."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import numpy as np

from mri_pipeline.core.quality_limits import Action, ImageLimits, QualityLimit
from mri_pipeline.core.visits import Contrast
from qc.findings import Finding
from qc.measures import ImageMeasures

_DARK_FLUID: Final = frozenset({Contrast.T1W, Contrast.T1W_GD, Contrast.FLAIR})
_WIDEST_SLICES_MM: Final = 4.05
"""Distance of the slices of the real scans: 4 mm, with rounding."""

_DIRECTIONS: Final = "a ratio of left-right to front-back correlation of neighbouring slices"

_T1: Final = frozenset({Contrast.T1W, Contrast.T1W_GD})

_MOTION_AXES: Final = {"motion_left_right": 0, "motion_front_back": 1}
"""Axis of the phase encoding of the rules on motion within slices."""


def may_be_motion(rule: str, phase_axis: float | None) -> bool:
    """False for a rule on motion within slices along another axis than that of the phase encoding.

    Parameters
    ----------
    rule : str
    phase_axis : float or None
        `ImageMeasures.phase_axis`.

    Returns
    -------
    bool
    """
    return phase_axis is None or _MOTION_AXES.get(rule, phase_axis) == phase_axis


@dataclass(frozen=True)
class QualityRule:
    """One measure and its limit.

    Parameters
    ----------
    name : str
        Rule of the finding.
    setting : str
        Limit in `ImageLimits`. It begins with ``min_`` or ``max_``.
    what : str
        Name of the measure in messages.
    value : str
        Attribute of `ImageMeasures`, with dots; None or NaN if it could not be measured.
    unit : str
        Empty for a ratio.
    contrasts : frozenset of Contrast, optional
        Contrasts for which the limit holds. Empty: all.
    """

    name: str
    setting: str
    what: str
    value: str
    unit: str = ""
    contrasts: frozenset[Contrast] = frozenset()

    def judge(self, contrast: Contrast, values: ImageMeasures, limits: ImageLimits) -> Finding | None:
        """Compare a scan with the limit.

        Parameters
        ----------
        contrast : Contrast
        values : ImageMeasures
        limits : ImageLimits

        Returns
        -------
        Finding or None
            Met, violated, or a note that the value could not be measured. None if the rule does not concern the
            contrast, or a direction in which the phase was not encoded.
        """
        if (self.contrasts and contrast not in self.contrasts) or not may_be_motion(self.name, values.phase_axis):
            return None
        limit: QualityLimit = getattr(limits, self.setting)
        least = self.setting.startswith("min_")
        unit = f" {self.unit}" if self.unit else ""
        expected = (
            f"{contrast.value}: expected {self.what} of at {'least' if least else 'most'} {limit.value:g}{unit}"
        )
        found = _measured(values, self.value)
        if found is None:
            message = f"{expected}, it could not be measured"
            return Finding(self.name, Action.NOTE, message, contrast, None, limit.value, self.unit)
        broken = found < limit.value if least else found > limit.value
        action = (
            Action.QUERY if limit.action is Action.REFUSE and self.uncertain(contrast, values) else limit.action
        )
        return Finding(
            self.name,
            action if broken else None,
            f"{expected}, found {found:.3g}{unit}",
            contrast,
            round(found, 3),
            limit.value,
            self.unit,
            limit.ask,
        )

    def uncertain(self, contrast: Contrast, values: ImageMeasures) -> bool:
        """True if a violation is at most a query, because the measure is not certain enough for a refusal.

        Parameters
        ----------
        contrast : Contrast
        values : ImageMeasures

        Returns
        -------
        bool
            The brain is located on the FLAIR. Other scans have its place by their headers, and the patient may have
            been repositioned between them, for example for the injection. The detail of PDw, and of slices more than
            4 mm apart, was not measured in real scans.
        """
        if self.name == "brain_missing":
            return contrast is not Contrast.FLAIR
        unknown = contrast is Contrast.PDW or values.content.slice_mm > _WIDEST_SLICES_MM
        return unknown and self.name in {"head_detail", "slice_coherence"}


CONTENT_RULES: Final = (
    QualityRule("head_volume", "min_head_litres", "an object", "content.head_litres", "L"),
    QualityRule("head_detail", "min_head_detail_percent", "a head with a local variation",
                "content.detail_percent", "%"),
    QualityRule("slice_coherence", "min_slice_coherence", "a correlation of neighbouring slices", "content.coherence"),
)  # fmt: skip
"""Whether the scan shows a head. The other measures have no meaning without one."""

FLAIR_RULES: Final = (
    QualityRule("no_brain", "min_template_similarity", "a similarity to the brain of the template",
          "placement.similarity", contrasts=frozenset({Contrast.FLAIR})),
    QualityRule("upside_down", "max_upside_down", "a gain of similarity with the slices in reverse order",
          "placement.upside_down_gain", contrasts=frozenset({Contrast.FLAIR})),
)  # fmt: skip
"""The place of the brain is found on the FLAIR."""

BRAIN_RULES: Final = (
    QualityRule("brain_missing", "max_brain_missing_percent", "a share of the brain outside of the slices",
          "brain.missing_percent", "%"),
    QualityRule("vertex", "max_cut_top_mm", "brain above the uppermost slice", "brain.cut_top_mm", "mm"),
    QualityRule("foramen_magnum", "max_cut_bottom_mm", "brain below the lowest slice",
          "brain.cut_bottom_mm", "mm"),
    QualityRule("fluid_signal", "min_fluid_ratio_t2", "CSF relative to white matter", "brain.fluid_ratio",
          contrasts=frozenset({Contrast.T2W})),
    QualityRule("fluid_signal", "max_fluid_ratio_t1_flair", "CSF relative to white matter",
          "brain.fluid_ratio", contrasts=_DARK_FLUID),
    QualityRule("grey_signal", "max_grey_ratio_t1", "grey relative to white matter", "brain.grey_ratio",
          contrasts=_T1),
    QualityRule("grey_signal", "min_grey_ratio_flair", "grey relative to white matter", "brain.grey_ratio",
          contrasts=frozenset({Contrast.FLAIR})),
    QualityRule("left_right", "max_mirror_ratio", "a relative similarity of its mirror image to the FLAIR",
          "mirror_ratio", contrasts=frozenset(Contrast) - {Contrast.FLAIR}),
    QualityRule("bias", "max_bias_percent", "shading of white matter", "brain.bias_percent", "%"),
    QualityRule("void", "max_void_mm", "a region without signal in the brain", "brain.void_mm", "mm"),
)  # fmt: skip
"""The brain in the scan."""

SIGNAL_RULES: Final = (
    QualityRule("snr", "min_snr", "a signal-to-noise ratio", "snr"),
    QualityRule("cnr", "min_cnr", "a contrast-to-noise ratio of grey and white matter", "cnr"),
    QualityRule("ghosting", "max_ghosting_percent", "ghosting in the air", "ghosting_percent", "%"),
    QualityRule("edge", "max_edge_percent", "head at the side of the field of view", "edge_percent", "%"),
    QualityRule("saturation", "max_saturated_percent", "head at the largest value", "saturated_percent", "%"),
    QualityRule("ghost_in_head", "max_ghost_in_head_percent", "a copy of the head at half of the field of view",
          "spectrum.ghost_percent", "%"),
    QualityRule("spike", "max_spike_ratio", "a relative power of one frequency", "spectrum.spike_ratio"),
    QualityRule("line", "max_line_ratio", "a relative deviation of a row or column",
          "spectrum.line_ratio"),
    QualityRule("sharpness", "min_sharpness", "a relative power of fine detail", "spectrum.sharpness",
          "decades"),
)  # fmt: skip
"""Noise, ghosts, interference, blur."""

SLICE_RULES: Final = (
    QualityRule("slice_displacement", "max_slice_displacement_mm", "a displacement of one slice",
          "slices.displacement_mm", "mm"),
    QualityRule("interleave", "max_interleave_mm", "a displacement of odd against even slices",
          "slices.interleave_mm", "mm"),
    QualityRule("slice_step", "max_slice_step_percent", "a step between slices", "slices.step_percent", "%"),
    QualityRule("alternation", "max_alternation_percent", "a difference of odd and even slices",
          "slices.alternation_percent", "%"),
    QualityRule("doubled_slice", "min_neighbour_difference", "a relative difference of neighbouring slices",
          "slices.neighbour_difference"),
    QualityRule("motion_left_right", "min_coherence_ratio_flair", _DIRECTIONS, "slices.coherence_ratio",
          contrasts=frozenset({Contrast.FLAIR})),
    QualityRule("motion_left_right", "min_coherence_ratio_t1", _DIRECTIONS, "slices.coherence_ratio", contrasts=_T1),
    QualityRule("motion_left_right", "min_coherence_ratio_t2", _DIRECTIONS, "slices.coherence_ratio",
          contrasts=frozenset({Contrast.T2W})),
    QualityRule("motion_front_back", "max_coherence_ratio_t1_flair", _DIRECTIONS, "slices.coherence_ratio",
          contrasts=_DARK_FLUID),
    QualityRule("motion_front_back", "max_coherence_ratio_t2", _DIRECTIONS, "slices.coherence_ratio",
          contrasts=frozenset({Contrast.T2W})),
    QualityRule("tilt", "max_tilt_deg", "an angle of the slices to the subcallosal line", "tilt_deg", "deg"),
)  # fmt: skip
"""Slices against their neighbours; of 2D scans."""

RULES: Final = (*CONTENT_RULES, *FLAIR_RULES, *BRAIN_RULES, *SIGNAL_RULES, *SLICE_RULES)


def _measured(values: ImageMeasures, path: str) -> float | None:
    group, _, _ = path.partition(".")
    measured = None if getattr(values, group) is None else attrgetter(path)(values)
    return None if measured is None or np.isnan(measured) else float(measured)


def judge_quality(contrast: Contrast, values: ImageMeasures, limits: ImageLimits) -> list[Finding]:
    """Compare all measures of a scan with the limits.

    Parameters
    ----------
    contrast : Contrast
    values : ImageMeasures
    limits : ImageLimits

    Returns
    -------
    list of Finding
        Limits met and violated, and notes on what could not be measured. Of a scan that shows no head, only that.
    """
    content = _judged(CONTENT_RULES, contrast, values, limits)
    if any(finding.action is Action.REFUSE for finding in content):
        return content
    groups = (
        (FLAIR_RULES, contrast is Contrast.FLAIR and values.placement is None, "the brain was not located"),
        (BRAIN_RULES, values.brain is None, "the brain was not measured: no FLAIR in which it was located"),
        (
            SLICE_RULES,
            values.slices is None,
            "slices were not compared with their neighbours: 3D, or too few slices",
        ),
    )
    found = content + _judged(SIGNAL_RULES, contrast, values, limits)
    for rules, absent, why in groups:
        if absent:
            found.append(Finding("not_measured", Action.NOTE, f"{contrast.value}: {why}", contrast))
        else:
            found += _judged(rules, contrast, values, limits)
    return found


def _judged(
    rules: tuple[QualityRule, ...], contrast: Contrast, values: ImageMeasures, limits: ImageLimits
) -> list[Finding]:
    return [f for f in (rule.judge(contrast, values, limits) for rule in rules) if f is not None]
