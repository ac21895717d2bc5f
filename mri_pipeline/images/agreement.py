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

from mri_pipeline.images.matching import look_up, predict
from mri_pipeline.images.sampling import MIN_POINTS, Level, Samples
from mri_pipeline.model import Affine, BoolArray, FloatArray

_PART_MM = 30.0
"""Size of a part: large enough to hold structure, small enough to have a say of its own."""
_AWAY_MM = 4.0
_LEAST_SHARE = 0.3
"""Parts with fewer points than this share of a full one are left out."""


def agreement(samples: Samples, level: Level, fixed_to_moving: Affine, *, linear: bool) -> float:
    """Share of the brain's parts that match best where the transform puts them.

    Parameters
    ----------
    samples, level
        Points of the fixed image and the moving image, at about 2 mm.
    fixed_to_moving : Affine
    linear : bool
        Whether the intensities are of the same contrast.

    Returns
    -------
    float
        From 0 to 1; 0 where the images hardly meet. A part counts if the correlation of the moving image with what
        the fixed one predicts (one prediction for the whole brain, at `fixed_to_moving`) is higher there than after
        shifts of 4 mm to either side of each axis.
    """
    values, inside = look_up(level, fixed_to_moving.points(samples.points_mm), channels=1)
    if np.count_nonzero(inside) < MIN_POINTS:
        return 0.0
    predicted = predict(values[0], inside, samples, linear=linear)
    parts, n_parts = _parts(samples.points_mm)
    here = _correlations(values[0], predicted, inside, parts, n_parts)
    wins = here > 0
    for axis, sign in product(np.eye(3), (-1, 1)):
        moved = samples.points_mm + sign * _AWAY_MM * axis
        values, inside_too = look_up(level, fixed_to_moving.points(moved), channels=1)
        wins &= here > _correlations(values[0], predicted, inside & inside_too, parts, n_parts)
    counts = np.bincount(parts, minlength=n_parts)
    counted = counts > _LEAST_SHARE * np.percentile(counts, 90)
    return float(wins[counted].mean())


def _parts(points_mm: FloatArray) -> tuple[NDArray[np.intp], int]:
    """The part that each point belongs to: cubes around the centre."""
    cube = np.floor((points_mm - points_mm.mean(axis=0)) / _PART_MM + 0.5).astype(int)
    cube -= cube.min(axis=0)
    flat = np.ravel_multi_index(tuple(cube.T), tuple(cube.max(axis=0) + 1))
    known, parts = np.unique(flat, return_inverse=True)
    return parts, len(known)


def _correlations(
    values: FloatArray, predicted: FloatArray, inside: BoolArray, parts: NDArray[np.intp], n_parts: int
) -> FloatArray:
    """Correlation within each part; 0 where nothing varies."""
    weights = inside.astype(float)
    total = np.maximum(np.bincount(parts, weights, n_parts), 1.0)

    def mean(of: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(parts, weights * of, n_parts) / total)

    one, other = mean(values), mean(predicted)
    spread = np.sqrt(np.maximum((mean(values**2) - one**2) * (mean(predicted**2) - other**2), 0.0))
    shared = mean(values * predicted) - one * other
    return np.divide(shared, spread, out=np.zeros(n_parts), where=spread > 1e-9)
