"""Summary of the scores of several cases: means over cases, agreement of volumes, detection by lesion size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mri_pipeline.lesions.scoring.scores import LEAST_MM3, Detection, MaskScores, Rule, ScoredLesion

SIZES_MM3 = (LEAST_MM3, 14.0, 30.0, 100.0, 500.0, math.inf)
"""Limits of the size classes in mm³. 14 mm³ is a sphere of 3 mm diameter, the smallest T2 lesion of a trial."""

_ROUNDING_MM3 = 1e-6  # tolerance in mm³: a volume equal to a limit up to floating-point error has reached it
_LIMITS = 1.96  # 95 % of a normal distribution lie within this many SD (Bland & Altman, Lancet 1986;i:307)


@dataclass(frozen=True)
class Spread:
    """Summary statistics of a measure over the cases for which it is defined.

    Parameters
    ----------
    cases : int
        Number of these cases.
    mean, median, least, most : float
        `least` and `most` are minimum and maximum.
    """

    cases: int
    mean: float
    median: float
    least: float
    most: float


@dataclass(frozen=True)
class VolumeAgreement:
    """Agreement of predicted and reference volumes.

    Parameters
    ----------
    bias_ml : float
        Mean of predicted minus reference volume.
    limits_ml : tuple of float or None
        95 % limits of agreement, bias ± 1.96 standard deviations of the difference (n - 1); None for one case.
    correlation : float or None
        Pearson correlation; None for fewer than three cases, or if the predicted or reference volumes are constant.
    """

    bias_ml: float
    limits_ml: tuple[float, float] | None
    correlation: float | None


@dataclass(frozen=True)
class SizeClass:
    """Detection of the lesions of one range of volumes, over all cases.

    Parameters
    ----------
    from_mm3, to_mm3 : float
        Volumes of at least `from_mm3` and below `to_mm3`, in mm³.
    detections : dict of Rule to Detection
    """

    from_mm3: float
    to_mm3: float
    detections: dict[Rule, Detection]

    @property
    def name(self) -> str:
        """Name of the class.

        Examples
        --------
        >>> SizeClass(3, 14, {}).name, SizeClass(500, math.inf, {}).name
        ('3 to 14', 'from 500')
        """
        return f"{self.from_mm3:g} to {self.to_mm3:g}" if self.to_mm3 < math.inf else f"from {self.from_mm3:g}"


def spread(scores: Sequence[MaskScores], measure: Callable[[MaskScores], float | None]) -> Spread | None:
    """Summarise a measure over cases.

    Parameters
    ----------
    scores : sequence of MaskScores
    measure : callable
        Value of a case; None if it is not defined.

    Returns
    -------
    Spread or None
        Over the cases for which the measure is defined; None if there is none.
    """
    values = [value for score in scores if (value := measure(score)) is not None]
    if not values:
        return None
    return Spread(len(values), float(np.mean(values)), float(np.median(values)), min(values), max(values))


def volume_agreement(reference_ml: Sequence[float], predicted_ml: Sequence[float]) -> VolumeAgreement:
    """Bland-Altman bias and limits of agreement, and Pearson correlation.

    Parameters
    ----------
    reference_ml, predicted_ml : sequence of float
        Volumes in mL of at least one case, in the same order of cases.

    Returns
    -------
    VolumeAgreement

    Examples
    --------
    >>> agreement = volume_agreement([1.0, 2.0, 3.0], [2.0, 2.0, 5.0])
    >>> agreement.bias_ml, agreement.limits_ml, round(agreement.correlation, 3)
    (1.0, (-0.96, 2.96), 0.866)
    """
    difference = np.subtract(predicted_ml, reference_ml)
    bias = float(difference.mean())
    sd = float(difference.std(ddof=1)) if len(difference) > 1 else None
    varies = len(difference) > 2 and min(np.ptp(reference_ml), np.ptp(predicted_ml)) > 0
    return VolumeAgreement(
        bias_ml=bias,
        limits_ml=None if sd is None else (bias - _LIMITS * sd, bias + _LIMITS * sd),
        correlation=float(np.corrcoef(reference_ml, predicted_ml)[0, 1]) if varies else None,
    )


def by_size(scores: Sequence[MaskScores]) -> list[SizeClass]:
    """Detection by lesion size over all cases.

    Parameters
    ----------
    scores : sequence of MaskScores

    Returns
    -------
    list of SizeClass
        By ascending size (`SIZES_MM3`). Recall is by the reference volume, precision by the predicted volume.
    """
    return [
        SizeClass(low, high, {rule: _pooled(scores, rule, low, high) for rule in Rule})
        for low, high in itertools.pairwise(SIZES_MM3)
    ]


def pooled(scores: Sequence[MaskScores], rule: Rule) -> Detection:
    """Detection pooled over all cases: cases with more lesions have more weight.

    Parameters
    ----------
    scores : sequence of MaskScores
    rule : Rule

    Returns
    -------
    Detection
        All counts are 0 if there is no case.
    """
    return _pooled(scores, rule, 0.0, math.inf)


def _pooled(scores: Sequence[MaskScores], rule: Rule, low: float, high: float) -> Detection:
    def within(lesions: tuple[ScoredLesion, ...]) -> list[bool]:
        return [rule in lesion.found for lesion in lesions if low <= lesion.volume_mm3 + _ROUNDING_MM3 < high]

    truths = [found for score in scores for found in within(score.references)]
    claims = [true for score in scores for true in within(score.predictions)]
    return Detection(len(truths), sum(truths), len(claims), sum(claims))
