"""Logistic models: the probability of an event from a few features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.spatial import FloatArray


@dataclass(frozen=True, eq=False)
class LogisticModel:
    """Coefficients of a logistic model.

    Parameters
    ----------
    intercept : float
    coefficients : ndarray of float, shape (features,)
    names : tuple of str
        Name of each feature, in the order of the coefficients.
    """

    intercept: float
    coefficients: FloatArray
    names: tuple[str, ...]

    def probability(self, features: FloatArray) -> FloatArray:
        """Probability of the event for each row of features.

        Parameters
        ----------
        features : ndarray of float, shape (..., features)
            In the order of `names`.

        Returns
        -------
        ndarray of float, shape (...)
            0 to 1.

        Examples
        --------
        >>> model = LogisticModel(-1.0, np.array([2.0]), ("size",))
        >>> model.probability(np.array([[0.5], [50.0]])).tolist()
        [0.5, 1.0]
        """
        score = self.intercept + features @ self.coefficients
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(score, -500.0, 500.0))))
