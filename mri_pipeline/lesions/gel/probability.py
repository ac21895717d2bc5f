"""Probability that an enhancing component is a lesion: a pre-trained logistic model.

It ranks the candidates of the rules for the reader. The rules of `mri_pipeline.lesions.gel.detect` decide whether they
are counted. The lesions of `mri_pipeline.lesions.gel.nodes` have the probability of their own model.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from mri_pipeline.core.io.priors import GEL_COEFFICIENTS_FILE, load_model
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import FloatArray

_DEEP_MM = METHOD.gel_probability.deep_mm


@dataclass(frozen=True)
class GelFeatures:
    """Features that separate enhancing lesions from vessels, dura and choroid plexus.

    The degree of enhancement is not a feature: vessels enhance most.

    Parameters
    ----------
    size : float
        Volume divided by the minimum volume of a lesion.
    own_share : float
        Fraction of the connected enhancement that has a T2 correlate. 1: it ends with the T2 correlate. Low: it
        continues beyond. 0: no T2 correlate.
    depth_mm : float
        Median depth below the brain surface in mm.
    fluid_share, lesion_share : float
        Fraction in or beside fluid, and in a T2 lesion.
    """

    size: float
    own_share: float
    depth_mm: float
    fluid_share: float
    lesion_share: float

    @property
    def vector(self) -> FloatArray:
        """Feature vector of the model, shape (5,): logarithm of the size; depth scaled from 0 to 1 (10 mm)."""
        size, own_share, depth, fluid, lesion = astuple(self)
        return np.array([np.log(size), own_share, min(depth / _DEEP_MM, 1.0), fluid, lesion])


def gel_probability(features: GelFeatures) -> float:
    """Probability of being an enhancing lesion, from the coefficients included in the package.

    Parameters
    ----------
    features : GelFeatures

    Returns
    -------
    float
        0 to 1.

    Examples
    --------
    >>> in_a_lesion = GelFeatures(5.0, 1.0, 12.0, 0.0, 1.0)
    >>> beside_a_vessel = GelFeatures(5.0, 0.1, 5.0, 0.6, 0.0)
    >>> gel_probability(in_a_lesion) > 0.8, gel_probability(beside_a_vessel) < 0.1
    (True, True)
    """
    return float(load_model(GEL_COEFFICIENTS_FILE).probability(features.vector))
