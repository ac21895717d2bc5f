"""Whether a registration worked: do the parts of the brain agree with it, each for itself?

The similarity of two scans does not tell: it differs between contrasts, scanners and patients, and another patient's
head reaches that of a true match. The parts tell: at a true match nearly every part of the brain is more like its
counterpart than like what lies 4 mm away on any side. At a false optimum that holds by chance, for about one in seven;
for another patient's head, whose gyri do not meet, for few.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.spatial import Affine, FloatArray
from mri_pipeline.images.joint_density import log_density_ratio
from mri_pipeline.images.matching import look_up
from mri_pipeline.images.sampling import MIN_POINTS, Level, Samples, binned

_PART_MM = 30.0
"""Size of a part: large enough to hold structure, small enough to have a say of its own."""
_AWAY_MM = 4.0
_LEAST_SHARE = 0.3
"""ConnectedComponents with fewer points than this share of a full one are left out."""
_BINS = 32


def agreement(samples: Samples, level: Level, fixed_to_moving: Affine) -> float:
    """Share of the brain's parts that match best where the transform puts them.

    Parameters
    ----------
    samples, level
        Points of the fixed image and the moving image, at about 2 mm.
    fixed_to_moving : Affine

    Returns
    -------
    float
        From 0 to 1; 0 where the images hardly meet. A part counts if its mean log density ratio (its share of the
        mutual information, by the joint density of all other parts at `fixed_to_moving`) is higher there than after
        shifts of 4 mm to either side of each axis. Its own points are left out of that density: they would fit
        themselves, and pure noise would agree in two parts of three.
    """
    values, inside = look_up(level, fixed_to_moving.points(samples.points_mm), channels=1)
    if np.count_nonzero(inside) < MIN_POINTS:
        return 0.0
    low, high = np.percentile(values[0][inside], [0.5, 99.5])
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
    counted = sizes > _LEAST_SHARE * np.percentile(sizes, 90)
    return float(wins[counted].mean())


def _parts(points_mm: FloatArray) -> tuple[NDArray[np.intp], int]:
    """The part that each point belongs to: cubes around the centre."""
    cube = np.floor((points_mm - points_mm.mean(axis=0)) / _PART_MM + 0.5).astype(int)
    cube -= cube.min(axis=0)
    flat = np.ravel_multi_index(tuple(cube.T), tuple(cube.max(axis=0) + 1))
    known, parts = np.unique(flat, return_inverse=True)
    return parts, len(known)
