"""Fit a logistic model with penalised likelihood."""

import numpy as np
from scipy.optimize import minimize

from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.spatial import FloatArray

PENALTY = 3.0
"""Weight of the squared coefficients of standardised features, in units of one observation."""


def fit(features: FloatArray, label: FloatArray, names: tuple[str, ...]) -> LogisticModel:
    """Fit a model of standardised features, and return it for the features as they are.

    Parameters
    ----------
    features : ndarray of float, shape (n, features)
    label : ndarray of float, shape (n,)
        1 or 0.
    names : tuple of str

    Returns
    -------
    LogisticModel
    """
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    design = np.column_stack([np.ones(len(label)), (features - middle) / spread])

    def loss(beta: FloatArray) -> tuple[float, FloatArray]:
        score = design @ beta
        likelihood = np.sum(np.logaddexp(0.0, score) - label * score)
        slope = design.T @ (1 / (1 + np.exp(-score)) - label)
        slope[1:] += PENALTY * beta[1:]
        return float(likelihood + PENALTY / 2 * beta[1:] @ beta[1:]), slope

    beta = minimize(loss, np.zeros(design.shape[1]), jac=True, method="BFGS").x
    coefficients = beta[1:] / spread
    return LogisticModel(float(beta[0] - coefficients @ middle), coefficients, names)
