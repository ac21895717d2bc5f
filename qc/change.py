"""Change of image quality: a scan against the dummy run of its scanner and the subject's earlier visits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from mri_pipeline.core.change_limits import ChangeLimits
from mri_pipeline.core.quality_limits import QualityLimit
from mri_pipeline.core.visits import Contrast
from qc.findings import Finding
from qc.quality_rules import may_be_motion

CHANGE: Final = "change_"
"""Prefix of the rules of this module."""

Values = Mapping[str, Mapping[str, float]]
"""Measures by contrast and name, as `qc.measure_record.measure_record`."""


@dataclass(frozen=True)
class EarlierValue:
    """An earlier value of a measure.

    Parameters
    ----------
    name : str
        Source of the value, for messages.
    value : float
    factor : float
        Factor of the limit.
    """

    name: str
    value: float
    factor: float = 1.0


@dataclass(frozen=True)
class ChangeRule:
    """The change of one measure.

    Parameters
    ----------
    rule : str
        Rule of image quality that limits the measure itself (`qc.quality_rules.QualityRule`).
    setting : str
        Limit in `ChangeLimits`. ``max_fall_``, ``max_rise_`` or ``max_change_`` states the direction.
    value : str
        Name of the measure in a record.
    what : str
        Name of the measure in messages.
    unit : str
        Of the measure; empty for a ratio.
    scale : float
        Factor from the measure to `unit`.
    relative : bool
        True if the limit is a percentage of the earlier value.
    """

    rule: str
    setting: str
    value: str
    what: str
    unit: str = ""
    scale: float = 1.0
    relative: bool = False

    def worse(self, now: float, before: float) -> float | None:
        """How much worse a value is than an earlier one.

        Parameters
        ----------
        now, before : float

        Returns
        -------
        float or None
            In the unit of the limit; below 0 if it is better. None if the earlier value is 0 and the limit is relative.

        Examples
        --------
        >>> CHANGE_RULES[0].worse(15.0, 30.0)
        50.0
        """
        change = {"fall": before - now, "rise": now - before, "change": abs(now - before)}[
            self.setting.split("_")[1]
        ]
        if not self.relative:
            return change * self.scale
        return None if before == 0 else 100 * change / abs(before)

    def judge(self, contrast: Contrast, now: float, reference: EarlierValue, limit: QualityLimit) -> Finding:
        """Compare a measure with an earlier value.

        Parameters
        ----------
        contrast : Contrast
        now : float
        reference : EarlierValue
        limit : QualityLimit

        Returns
        -------
        Finding
            Met or violated.
        """
        worse, value = self.worse(now, reference.value), reference.factor * limit.value
        unit = f" {self.unit}" if self.unit else ""
        by = f"{value:g} %" if self.relative else f"{value:g}{unit}"
        direction = {"fall": "below", "rise": "above", "change": "from"}[self.setting.split("_")[1]]
        before = f"{self.scale * reference.value:.3g}{unit}"
        message = (
            f"{contrast.value}: expected {self.what} at most {by} {direction} the {before}"
            f" of {reference.name}, found {self.scale * now:.3g}{unit}"
        )
        broken = worse is not None and worse > value
        return Finding(
            f"{CHANGE}{self.rule}", limit.action if broken else None, message, contrast,
            None if worse is None else round(worse, 3), value, "%" if self.relative else self.unit, limit.ask,
        )  # fmt: skip


CHANGE_RULES: Final = (
    ChangeRule("snr", "max_fall_snr_percent", "snr", "a signal-to-noise ratio", relative=True),
    ChangeRule("cnr", "max_fall_cnr_percent", "cnr", "a contrast-to-noise ratio", relative=True),
    ChangeRule("ghosting", "max_rise_ghosting_percent", "ghosting_percent", "ghosting in the air", "%"),
    ChangeRule("ghost_in_head", "max_rise_ghost_in_head_percent", "spectrum.ghost_percent", "a copy of the head", "%"),
    ChangeRule("edge", "max_rise_edge_percent", "edge_share", "head at the side of the field of view", "%", 100.0),
    ChangeRule("saturation", "max_rise_saturated_percent", "saturated_percent", "head at the largest value", "%"),
    ChangeRule("spike", "max_rise_spike_percent", "spectrum.spike_ratio", "a power of one frequency", relative=True),
    ChangeRule("line", "max_rise_line_ratio", "spectrum.line_ratio", "a deviation of a row or column"),
    ChangeRule("sharpness", "max_fall_sharpness", "spectrum.sharpness", "a power of fine detail", "decades"),
    ChangeRule("slice_displacement", "max_rise_slice_displacement_mm", "slices.displacement_mm",
               "a displacement of one slice", "mm"),
    ChangeRule("interleave", "max_rise_interleave_mm", "slices.interleave_mm",
               "a displacement of odd against even slices", "mm"),
    ChangeRule("slice_step", "max_rise_slice_step_percent", "slices.step_percent", "a step between slices", "%"),
    ChangeRule("alternation", "max_rise_alternation_percent", "slices.alternation_percent",
               "a difference of odd and even slices", "%"),
    ChangeRule("doubled_slice", "max_fall_neighbour_difference", "slices.neighbour_difference",
               "a difference of neighbouring slices"),
    ChangeRule("motion_left_right", "max_fall_coherence_ratio", "slices.coherence_ratio",
               "a ratio of left-right to front-back correlation of neighbouring slices"),
    ChangeRule("motion_front_back", "max_rise_coherence_ratio", "slices.coherence_ratio",
               "a ratio of left-right to front-back correlation of neighbouring slices"),
    ChangeRule("tilt", "max_rise_tilt_deg", "tilt_deg", "an angle of the slices to the subcallosal line", "deg"),
    ChangeRule("fluid_signal", "max_change_fluid_percent", "brain.fluid_ratio", "CSF relative to white matter",
               relative=True),
    ChangeRule("grey_signal", "max_change_grey_percent", "brain.grey_ratio", "grey relative to white matter",
               relative=True),
    ChangeRule("bias", "max_rise_bias_percent", "brain.bias_percent", "shading of white matter", "%"),
    ChangeRule("void", "max_rise_void_mm", "brain.void_mm", "a region without signal in the brain", "mm"),
    ChangeRule("vertex", "max_rise_cut_top_mm", "brain.cut_top_mm", "brain above the uppermost slice", "mm"),
    ChangeRule("foramen_magnum", "max_rise_cut_bottom_mm", "brain.cut_bottom_mm", "brain below the lowest slice",
               "mm"),
    ChangeRule("brain_missing", "max_rise_brain_missing_percent", "brain.missing_percent",
               "a share of the brain outside of the slices", "%"),
    ChangeRule("head_volume", "max_change_head_percent", "content.head_litres", "a volume of the head", "L",
               relative=True),
    ChangeRule("head_detail", "max_fall_detail_percent", "content.detail_percent", "a local variation of the head", "%",
               relative=True),
    ChangeRule("slice_coherence", "max_fall_slice_coherence", "content.coherence",
               "a correlation of neighbouring slices"),
    ChangeRule("no_brain", "max_fall_template_similarity", "placement.similarity",
               "a similarity to the brain of the template"),
)  # fmt: skip
"""One rule for each measure that has a limit, except the upside-down gain and the mirror ratio."""


def judge_change(
    now: Values,
    *,
    earlier: Mapping[str, Values],
    dummy_run: Values | None,
    limits: ChangeLimits,
    known: Collection[tuple[str, Contrast | None]] = (),
) -> list[Finding]:
    """Compare the measures of a visit with those of earlier scans on the same scanner.

    Parameters
    ----------
    now : mapping of str to mapping of str to float
        By contrast and name of the measure.
    earlier : mapping of str to mapping
        As `now`, by label: the subject's earlier visits. A measure is compared with their median.
    dummy_run : mapping or None
        As `now`: the dummy run of the scanner.
    limits : ChangeLimits
    known : collection of (str, Contrast), optional
        Rules of image quality that have a finding already. Their measures are not compared.

    Returns
    -------
    list of Finding
        Violations only; one for each contrast and measure, that of the earlier visits if both are violated.
    """
    findings = []
    for name, values in now.items():
        contrast = Contrast(name)
        for rule in CHANGE_RULES:
            along = may_be_motion(rule.rule, values.get("phase_axis"))
            if rule.value not in values or (rule.rule, contrast) in known or not along:
                continue
            limit: QualityLimit = getattr(limits, rule.setting)
            references = _references(name, rule.value, earlier, dummy_run, limits.dummy_run_factor)
            compared = [rule.judge(contrast, values[rule.value], reference, limit) for reference in references]
            findings += [finding for finding in compared if finding.action is not None][:1]
    return findings


def _references(
    contrast: str, measure: str, earlier: Mapping[str, Values], dummy_run: Values | None, factor: float
) -> list[EarlierValue]:
    """The values with which a measure is compared: the earlier visits first, then the dummy run."""
    before = {visit: values[contrast][measure] for visit, values in earlier.items()
              if measure in values.get(contrast, {})}  # fmt: skip
    found = []
    if before:
        names = ", ".join(before)
        name = f"visit {names}" if len(before) == 1 else f"visits {names} (median)"
        found.append(EarlierValue(name, median(before.values())))
    if dummy_run is not None and measure in dummy_run.get(contrast, {}):
        found.append(EarlierValue("the dummy run of the scanner", dummy_run[contrast][measure], factor))
    return found
