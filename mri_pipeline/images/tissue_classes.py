"""Classification of the brain into white matter, grey matter and CSF by a Gaussian mixture with spatial priors."""

from __future__ import annotations

import numpy as np

from mri_pipeline.core.method.tissue import TissueSettings
from mri_pipeline.core.robust import median, quantile, robust_spread
from mri_pipeline.core.spatial import BoolArray, FloatArray, LabelImage

WHITE, GREY, CSF = 0, 1, 2


def classify(
    data: FloatArray, brain: LabelImage, priors: FloatArray, settings: TissueSettings, *, flow: BoolArray
) -> FloatArray:
    """Posterior of white matter, grey matter and CSF by a Gaussian mixture with the priors (few EM steps).

    Parameters
    ----------
    data : ndarray, shape (features, n)
        Intensities of the voxels of `brain`; the first feature is FLAIR. A feature that is NaN at a voxel (outside the
        field of view of T1) is ignored there.
    brain : LabelImage
    priors : ndarray, shape (3, n)
    settings : TissueSettings
    flow : ndarray of bool, shape (n,)
        Places of flowing CSF, which FLAIR does not suppress. A voxel there that is as bright as a lesion is CSF.

    Returns
    -------
    ndarray of float32, shape (3, x, y, z)
        In the order of `WHITE`, `GREY` and `CSF`; 0 outside the brain.
    """
    lesion_like = data[0] > settings.lesion_flair
    usable = ~lesion_like
    means, spreads = _first_parameters(data, priors, usable, settings)
    posterior = priors
    for _ in range(settings.iterations):
        posterior = priors * _likelihood(data, means, spreads, settings)
        posterior /= np.maximum(posterior.sum(axis=0), 1e-12)
        posterior[:, lesion_like] = _without_fluid(priors[:, lesion_like])
        posterior[:, lesion_like & flow] = np.eye(3)[:, [CSF]]
        means, spreads = _parameters(data, posterior, usable, settings)
    result = np.zeros((3, *brain.grid.shape), dtype=np.float32)
    result[:, brain.mask] = posterior
    return result


def _without_fluid(priors: FloatArray) -> FloatArray:
    """Priors without CSF, for voxels brighter than tissue on FLAIR, which are white or grey matter."""
    result = priors.copy()
    result[CSF] = 0.0
    return np.asarray(result / np.maximum(result.sum(axis=0), 1e-12))


def _first_parameters(
    data: FloatArray, priors: FloatArray, usable: BoolArray, settings: TissueSettings
) -> tuple[FloatArray, FloatArray]:
    """Initial medians and spreads from voxels with a high prior; CSF from the darkest of them."""
    means, spreads = np.empty((3, len(data))), np.empty((3, len(data)))
    for k in range(3):
        sure = usable & (priors[k] > quantile(priors[k], settings.sure_quantile))
        for f, feature in enumerate(data):
            values = feature[sure & np.isfinite(feature)]
            means[k, f] = quantile(values, settings.csf_quantile) if k == CSF else median(values)
            spreads[k, f] = max(robust_spread(values), settings.least_spread)
    return means, spreads


def _parameters(
    data: FloatArray, posterior: FloatArray, usable: BoolArray, settings: TissueSettings
) -> tuple[FloatArray, FloatArray]:
    weights, known = posterior * usable, np.isfinite(data)
    data = np.where(known, data, 0.0)
    total = np.maximum(weights @ known.T, 1e-6)
    means = weights @ data.T / total
    spreads = np.sqrt(np.maximum(weights @ (data**2).T / total - means**2, settings.least_spread**2))
    return means, spreads


def _likelihood(data: FloatArray, means: FloatArray, spreads: FloatArray, settings: TissueSettings) -> FloatArray:
    """Gaussian with heavy tails (`TissueSettings.outliers`)."""
    result = np.ones((3, data.shape[1]), dtype=np.float32)
    for k in range(3):
        for f, feature in enumerate(data):
            z = (feature - means[k, f]) / spreads[k, f]
            if k == CSF and f == 0:
                z = np.maximum(z, 0)  # darker than the mean of CSF is still CSF
            result[k] *= np.where(np.isnan(z), 1.0, np.exp(-0.5 * z**2) / spreads[k, f] + settings.outliers)
    return result
