"""Agreement of two or more ratings: intraclass correlation, Cohen's kappa, Bland-Altman limits, Dice coefficient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mri_pipeline.core.spatial import BoolArray

_UPPER_95 = 0.975  # quantile at the upper end of a two-sided 95 % interval
_NORMAL_95 = 1.96  # 95 % of a normal distribution lie within this many SD


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % confidence interval.

    Parameters
    ----------
    value : float or None
        None if it is not defined.
    low, high : float or None
        Limits of the interval. None if there is none.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


NOT_DEFINED = Estimate(None)


def icc_2_1(ratings: Sequence[Sequence[float]]) -> Estimate:
    """Intraclass correlation ICC(2,1): two-way random effects, absolute agreement, single rating.

    Parameters
    ----------
    ratings : sequence of sequences of float, n targets x k raters

    Returns
    -------
    Estimate
        Shrout & Fleiss, Psychol Bull 1979;86:420; the interval as McGraw & Wong, Psychol Methods 1996;1:30. Not
        defined for fewer than 2 targets or raters, nor without variance.

    Examples
    --------
    >>> icc_2_1([[1, 1], [2, 2], [3, 3]])
    Estimate(value=1.0, low=1.0, high=1.0)
    """
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2 or min(table.shape) < 2 or np.ptp(table) == 0:
        return NOT_DEFINED
    n, k = table.shape
    mean, targets, raters = table.mean(), table.mean(axis=1), table.mean(axis=0)
    between = k * float(((targets - mean) ** 2).sum()) / (n - 1)
    judges = n * float(((raters - mean) ** 2).sum()) / (k - 1)
    rest = table - targets[:, None] - raters[None, :] + mean
    error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    total = between + (k - 1) * error + k * (judges - error) / n
    if total < 1e-12 * max(between, judges, error):
        return NOT_DEFINED
    value = (between - error) / total
    if error < 1e-12 * max(between, judges):  # no residual: the interval is not defined, except for equal raters
        return Estimate(value, value, value) if judges < 1e-12 * between else Estimate(value)
    ratio = judges / error
    weight = n * (1 + (k - 1) * value) - k * value
    freedom = ((k - 1) * (n - 1) * (k * value * ratio + weight) ** 2) / (
        (n - 1) * (k * value * ratio) ** 2 + weight**2
    )
    upper, lower = (
        float(stats.f.ppf(_UPPER_95, n - 1, freedom)),
        float(stats.f.ppf(_UPPER_95, freedom, n - 1)),
    )
    common = k * judges + (k * n - k - n) * error
    low = n * (between - upper * error) / (upper * common + n * between)
    high = n * (lower * between - error) / (common + n * lower * between)
    return Estimate(value, low, high)


def cohens_kappa(first: Sequence[object], second: Sequence[object]) -> Estimate:
    """Cohen's unweighted kappa of two raters.

    Parameters
    ----------
    first, second : sequence
        Categories of the same targets.

    Returns
    -------
    Estimate
        Cohen, Educ Psychol Meas 1960;20:37; the interval from the large-sample standard error of Fleiss, Cohen &
        Everitt, Psychol Bull 1969;72:323. Not defined without targets, or if both raters use one category alone.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> cohens_kappa([0, 0, 1, 1], [0, 1, 0, 1]).value
    0.0
    """
    pairs = list(zip(first, second, strict=True))
    categories = sorted({value for pair in pairs for value in pair}, key=repr)
    if len(categories) < 2:
        return NOT_DEFINED
    place = {category: i for i, category in enumerate(categories)}
    table = np.zeros((len(categories), len(categories)))
    for one, two in pairs:
        table[place[one], place[two]] += 1 / len(pairs)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    observed, expected = float(np.trace(table)), float(rows @ columns)
    value = (observed - expected) / (1 - expected)
    agreed = np.diag(table) * (1 - (rows + columns) * (1 - value)) ** 2
    apart = (1 - value) ** 2 * table * (columns[:, None] + rows[None, :]) ** 2
    np.fill_diagonal(apart, 0)
    variance = float(agreed.sum() + apart.sum()) - (value - expected * (1 - value)) ** 2
    half = _NORMAL_95 * math.sqrt(max(variance, 0.0) / len(pairs)) / (1 - expected)
    return Estimate(value, max(value - half, -1.0), min(value + half, 1.0))


@dataclass(frozen=True)
class Differences:
    """Bland-Altman analysis of paired measurements.

    Parameters
    ----------
    bias : float
        Mean of first minus second.
    limits : tuple of 2 float, or None
        95 % limits of agreement: bias ± 1.96 standard deviations (n - 1). None for one pair.
    """

    bias: float
    limits: tuple[float, float] | None


def bland_altman(first: Sequence[float], second: Sequence[float]) -> Differences | None:
    """Bias and 95 % limits of agreement (Bland & Altman, Lancet 1986;i:307).

    Parameters
    ----------
    first, second : sequence of float
        Measurements of the same targets.

    Returns
    -------
    Differences or None
        None without measurements.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    differences = np.array([a - b for a, b in zip(first, second, strict=True)], dtype=float)
    if not differences.size:
        return None
    bias = float(differences.mean())
    if differences.size == 1:
        return Differences(bias, None)
    half = _NORMAL_95 * float(differences.std(ddof=1))
    return Differences(bias, (bias - half, bias + half))


def dice_coefficient(first: BoolArray, second: BoolArray) -> float | None:
    """Dice coefficient of two masks.

    Parameters
    ----------
    first, second : ndarray of bool
        Of one shape.

    Returns
    -------
    float or None
        None if both are empty.
    """
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / total if total else None
