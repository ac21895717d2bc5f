"""Unbiased within-subject (midpoint) space: no visit is the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import expm, logm

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.spatial import Affine, FloatArray

_MAX_ITERATIONS = 50
_CONVERGED = 1e-12


def mean_affine(transforms: Sequence[Affine]) -> Affine:
    """Bi-invariant mean of linear transforms: the logarithms of all transforms relative to it sum to zero.

    The mean is computed by iterating the log-Euclidean mean (Arsigny et al., MICCAI 2006) from the current estimate.
    For rigid transforms this mean commutes with every change of the reference (Pennec and Arsigny, 2013). The result
    therefore depends neither on the order of the visits nor on the choice of the reference.

    Parameters
    ----------
    transforms : sequence of Affine

    Returns
    -------
    Affine

    Raises
    ------
    UsageError
        If there is no transform.

    Examples
    --------
    >>> def shift(x):
    ...     return Affine(np.array([[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    >>> mean_affine([shift(0), shift(2), shift(7)]).matrix[0, 3].round(6)
    np.float64(3.0)
    """
    if not transforms:
        raise UsageError("midpoint space: expected at least one transform, found none")
    mean = np.array(transforms[0].matrix)
    for _ in range(_MAX_ITERATIONS):
        inverse = np.linalg.inv(mean)
        step = np.mean([_log(inverse @ t.matrix) for t in transforms], axis=0)
        mean = mean @ expm(step)
        if float(np.abs(step).max()) < _CONVERGED:
            break
    return Affine(mean)


def _log(matrix: FloatArray) -> FloatArray:
    # rotations between visits are far below 180 degrees, where the real logarithm is unique
    return np.real(logm(matrix))


def midway(to_reference: Sequence[Affine]) -> list[Affine]:
    """Transforms to the midpoint space, from registrations of all visits to one reference.

    Parameters
    ----------
    to_reference : sequence of Affine
        ``visit_to_reference`` of every visit; the identity transform for the reference itself.

    Returns
    -------
    list of Affine
        ``visit_to_subject`` in the same order; the identity transform for a single visit.

    Raises
    ------
    UsageError
        If there is no transform.

    Examples
    --------
    >>> there = Affine(np.array([[1, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    >>> [float(t.matrix[0, 3].round(6)) for t in midway([Affine.identity(), there])]
    [-5.0, 5.0]
    """
    to_middle = mean_affine(to_reference).inverse()
    return [to_middle @ transform for transform in to_reference]
