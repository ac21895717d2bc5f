"""Robust statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution per median absolute deviation, with the usual four decimals."""


def robust_spread(values: NDArray[Any], centre: float | None = None) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation from a centre.

    Parameters
    ----------
    values : ndarray
        At least one value.
    centre : float, optional
        Default: the median of the values.

    Returns
    -------
    float
        Same unit as the values.

    Examples
    --------
    >>> robust_spread(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    1.4826
    >>> robust_spread(np.array([-1.0, 2.0, 3.0]), centre=0.0)
    2.9652
    """
    middle = np.median(values) if centre is None else centre
    return MAD_TO_SIGMA * float(np.median(np.abs(values - middle)))
