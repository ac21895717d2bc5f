"""How likely something that enhances is an enhancing lesion: a logistic model, learned beforehand.

It helps a reader to look first where it pays; what is counted is decided by `mri_pipeline.lesions.gel.detect`.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from mri_pipeline.core.io.priors import load_gel_coefficients
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import FloatArray

_DEEP_MM = METHOD.gel_probability.deep_mm


@dataclass(frozen=True)
class GelFeatures:
    """What tells an enhancing lesion from vessel, dura and choroid plexus. Not how much it enhances: vessels do most.

    Parameters
    ----------
    size : float
        Its volume over the smallest volume that counts.
    own_share : float
        Its share of what enhances there: 1 ends with the T2 correlate, little runs on; 0 has no T2 correlate.
    depth_mm : float
        Median depth beneath the brain's surface.
    fluid_share, lesion_share : float
        Share of it in or beside fluid, and in a T2 lesion.
    """

    size: float
    own_share: float
    depth_mm: float
    fluid_share: float
    lesion_share: float

    @property
    def vector(self) -> FloatArray:
        """On the scales of the model, shape (5,): the logarithm of the size, the depth from 0 to 1 (10 mm)."""
        size, own_share, depth, fluid, lesion = astuple(self)
        return np.array([np.log(size), own_share, min(depth / _DEEP_MM, 1.0), fluid, lesion])


def gel_probability(features: GelFeatures) -> float:
    """Probability of being an enhancing lesion, by the coefficients that come with the package.

    Examples
    --------
    >>> in_a_lesion = GelFeatures(5.0, 1.0, 12.0, 0.0, 1.0)
    >>> beside_a_vessel = GelFeatures(5.0, 0.1, 5.0, 0.6, 0.0)
    >>> gel_probability(in_a_lesion) > 0.8, gel_probability(beside_a_vessel) < 0.1
    (True, True)
    """
    intercept, coefficients = load_gel_coefficients()
    return float(1.0 / (1.0 + np.exp(-(intercept + coefficients @ features.vector))))
