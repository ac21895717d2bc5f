"""Quality of a registration: the fraction of the parts of the brain that agree with it independently.

The similarity of two scans is not a suitable measure: it differs between contrasts, scanners and patients, and the
head of another patient can reach that of a true match. The agreement of parts is suitable. At a true match nearly
every part is more similar to its counterpart than to the tissue 4 mm away in any direction. At a false optimum this
holds by chance for about one part in seven. For the head of another patient, whose gyri do not align, it holds for few
parts.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import percentile
from mri_pipeline.core.spatial import Affine, FloatArray
from mri_pipeline.images.joint_density import log_density_ratio
from mri_pipeline.images.matching import look_up
from mri_pipeline.images.sampling import MIN_POINTS, PyramidLevel, Samples, binned

_PART_MM = METHOD.agreement.part_mm
_AWAY_MM = METHOD.agreement.away_mm
_LEAST_SHARE = METHOD.agreement.least_share
_FULL_PERCENTILE = METHOD.agreement.full_percentile
_BINS = METHOD.agreement.bins
_RANGE_PERCENTILES = METHOD.sampling.range_percentiles


def agreement(samples: Samples, level: PyramidLevel, fixed_to_moving: Affine) -> float:
    """Fraction of the parts of the brain that match best at the position given by the transform.

    A part agrees if its mean log density ratio (its contribution to mutual information) is higher there than after
    shifts of 4 mm in both directions along each axis. The joint density is that of all other parts at
    `fixed_to_moving`. The part itself is excluded from the density: it would fit itself, and pure noise would agree
    in two parts of three.

    Parameters
    ----------
    samples : Samples
        Points of the fixed image, at about 2 mm.
    level : PyramidLevel
        Moving image, at about 2 mm.
    fixed_to_moving : Affine

    Returns
    -------
    float
        0 to 1; 0 if the images hardly overlap.
    """
    values, inside = look_up(level, fixed_to_moving.points(samples.points_mm), channels=1)
    if np.count_nonzero(inside) < MIN_POINTS:
        return 0.0
    low, high = percentile(values[0][inside], _RANGE_PERCENTILES)
    per_bin = max(float(high - low), 1e-12) / _BINS

    def bins(of: FloatArray) -> NDArray[np.intp]:
        return np.asarray(np.clip((of - low) / per_bin, 0, _BINS - 1).astype(np.intp))

    fixed_bins, n_bins = binned(samples.values, _BINS)
    parts, n_parts = _parts(samples.points_mm)
    cells = ((parts * n_bins + fixed_bins) * _BINS + bins(values[0]))[inside]
    counts = np.bincount(cells, minlength=n_parts * n_bins * _BINS).astype(float).reshape(n_parts, n_bins, _BINS)
    ratio = np.stack([log_density_ratio(others) for others in counts.sum(axis=0) - counts])

    def scores(at_mm: FloatArray) -> FloatArray:
        found, within = look_up(level, fixed_to_moving.points(at_mm), channels=1)
        weights = within.astype(float)
        total = np.bincount(parts, weights * ratio[parts, fixed_bins, bins(found[0])], n_parts)
        return np.asarray(total / np.maximum(np.bincount(parts, weights, n_parts), 1.0))

    here = scores(samples.points_mm)
    shifts = [sign * _AWAY_MM * axis for axis, sign in product(np.eye(3), (-1, 1))]
    wins = np.all([here > scores(samples.points_mm + shift) for shift in shifts], axis=0)
    sizes = np.bincount(parts, minlength=n_parts)
    counted = sizes > _LEAST_SHARE * percentile(sizes, _FULL_PERCENTILE)
    return float(wins[counted].mean())


def _parts(points_mm: FloatArray) -> tuple[NDArray[np.intp], int]:
    """Part of each point and number of parts; the parts are cubes around the centre."""
    cube = np.floor((points_mm - points_mm.mean(axis=0)) / _PART_MM + 0.5).astype(int)
    cube -= cube.min(axis=0)
    flat = np.ravel_multi_index(tuple(cube.T), tuple(cube.max(axis=0) + 1))
    known, parts = np.unique(flat, return_inverse=True)
    return parts, len(known)
