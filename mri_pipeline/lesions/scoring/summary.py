"""Scores of many masks together: means over cases, agreement of volumes, lesions by size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mri_pipeline.lesions.scoring.scores import LEAST_MM3, Detection, MaskScores, Rule, ScoredLesion

SIZES_MM3 = (LEAST_MM3, 14.0, 30.0, 100.0, 500.0, math.inf)
"""Borders of the size classes: below and from 14 mm³ (a 3 mm sphere, the least T2 lesion of a trial) on."""

_ROUNDING_MM3 = 1e-6  # as in `components`: a volume that equals a border but for floating point has reached it
_LIMITS = 1.96  # standard deviations that hold 95 % of a normal distribution (Bland & Altman, Lancet 1986;i:307)


@dataclass(frozen=True)
class Spread:
    """A measure over the cases that have it."""

    cases: int
    mean: float
    median: float
    least: float
    most: float


@dataclass(frozen=True)
class VolumeAgreement:
    """Predicted against reference volumes.

    Parameters
    ----------
    bias_ml : float
        Mean of predicted minus reference.
    sd_ml : float or None
        Standard deviation of the difference (n - 1); None for one case.
    limits_ml : tuple of float or None
        The 95 % limits of agreement, bias ± 1.96 standard deviations.
    correlation : float or None
        Pearson's; None for fewer than three cases, or where one side does not vary.
    """

    bias_ml: float
    sd_ml: float | None
    limits_ml: tuple[float, float] | None
    correlation: float | None


@dataclass(frozen=True)
class SizeClass:
    """Lesions of all cases with a volume of at least `from_mm3` and below `to_mm3`."""

    from_mm3: float
    to_mm3: float
    detections: dict[Rule, Detection]

    @property
    def name(self) -> str:
        """The class in words.

        Examples
        --------
        >>> SizeClass(3, 14, {}).name, SizeClass(500, math.inf, {}).name
        ('3 to 14', 'from 500')
        """
        return f"{self.from_mm3:g} to {self.to_mm3:g}" if self.to_mm3 < math.inf else f"from {self.from_mm3:g}"


def spread(scores: Sequence[MaskScores], measure: Callable[[MaskScores], float | None]) -> Spread | None:
    """A measure over cases; those where it is not defined are left out, and None if there is no other."""
    values = [value for score in scores if (value := measure(score)) is not None]
    if not values:
        return None
    return Spread(len(values), float(np.mean(values)), float(np.median(values)), min(values), max(values))


def volume_agreement(reference_ml: Sequence[float], predicted_ml: Sequence[float]) -> VolumeAgreement:
    """Bland and Altman's bias and limits of agreement, and the correlation.

    Parameters
    ----------
    reference_ml, predicted_ml : sequence of float
        Volumes of at least one case, in one order.

    Examples
    --------
    >>> agreement = volume_agreement([1.0, 2.0, 3.0], [2.0, 2.0, 5.0])
    >>> agreement.bias_ml, agreement.sd_ml, round(agreement.correlation, 3)
    (1.0, 1.0, 0.866)
    """
    difference = np.subtract(predicted_ml, reference_ml)
    bias = float(difference.mean())
    sd = float(difference.std(ddof=1)) if len(difference) > 1 else None
    varies = len(difference) > 2 and min(np.ptp(reference_ml), np.ptp(predicted_ml)) > 0
    return VolumeAgreement(
        bias_ml=bias,
        sd_ml=sd,
        limits_ml=None if sd is None else (bias - _LIMITS * sd, bias + _LIMITS * sd),
        correlation=float(np.corrcoef(reference_ml, predicted_ml)[0, 1]) if varies else None,
    )


def by_size(scores: Sequence[MaskScores]) -> list[SizeClass]:
    """Lesions of all cases by their own volume: recall by the references', precision by the predictions'."""
    return [
        SizeClass(low, high, {rule: _pooled(scores, rule, low, high) for rule in Rule})
        for low, high in itertools.pairwise(SIZES_MM3)
    ]


def pooled(scores: Sequence[MaskScores], rule: Rule) -> Detection:
    """Lesions of all cases together: a case with many lesions weighs more."""
    return _pooled(scores, rule, 0.0, math.inf)


def _pooled(scores: Sequence[MaskScores], rule: Rule, low: float, high: float) -> Detection:
    def within(lesions: tuple[ScoredLesion, ...]) -> list[bool]:
        return [rule in lesion.found for lesion in lesions if low <= lesion.volume_mm3 + _ROUNDING_MM3 < high]

    truths = [found for score in scores for found in within(score.references)]
    claims = [true for score in scores for true in within(score.predictions)]
    return Detection(len(truths), sum(truths), len(claims), sum(claims))
