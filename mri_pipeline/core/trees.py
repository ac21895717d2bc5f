"""Boosted decision trees: the probability of an event from features that interact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.spatial import FloatArray


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """A sum of complete binary trees of one depth, on the scale of log odds.

    Parameters
    ----------
    intercept : float
    features : ndarray of int, shape (trees, 2**depth - 1)
        Index of the feature of each node. Node ``i`` is followed by node ``2 i + 1`` if the feature is at most the
        threshold, else by node ``2 i + 2``.
    thresholds : ndarray of float, shape (trees, 2**depth - 1)
    leaves : ndarray of float, shape (trees, 2**depth)
        Contributions to the log odds.
    names : tuple of str
        Name of each feature.
    """

    intercept: float
    features: NDArray[np.intp]
    thresholds: FloatArray
    leaves: FloatArray
    names: tuple[str, ...]

    def probability(self, values: FloatArray) -> FloatArray:
        """Probability of the event for each row of features.

        Parameters
        ----------
        values : ndarray of float, shape (n, features)
            In the order of `names`.

        Returns
        -------
        ndarray of float, shape (n,)
            0 to 1.

        Examples
        --------
        >>> large = BoostedTrees(0.0, np.array([[0]]), np.array([[3.0]]), np.array([[-50.0, 50.0]]), ("size",))
        >>> large.probability(np.array([[2.0], [4.0]])).round(6).tolist()
        [0.0, 1.0]
        """
        tree, inner = np.arange(len(self.leaves))[:, None], self.features.shape[1]
        node = np.zeros((len(self.leaves), len(values)), dtype=np.intp)
        while inner and node.size and node.min() < inner:
            above = values[np.arange(len(values)), self.features[tree, node]] > self.thresholds[tree, node]
            node = 2 * node + 1 + above
        score = self.intercept + self.leaves[tree, node - inner].sum(axis=0)
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(score, -500.0, 500.0))))
