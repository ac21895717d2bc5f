"""The engine of all registrations: Gauss-Newton on the unexplained variance of one image given another.

The residual at a point x of the fixed image is ``M(T x) - g(F(x))``: M is the moving image, F the fixed one, and g
the best prediction of M from F under the current transform. For images of the same contrast g is a straight line;
across contrasts it is the conditional mean of M in bins of F, whose residual variance is the correlation ratio
(Roche et al., MICCAI 1998). Tukey's biweight leaves out what does not fit: lesions, vessels, scalp. The parameters
of g are eliminated from the normal equations (variable projection), so that few iterations are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.linalg import expm

from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray
from mri_pipeline.images.sampling import MIN_POINTS, Level, Samples

_TUKEY = 4.685
"""Biweight constant: 95 % efficiency for normal noise (Beaton and Tukey, Technometrics 1974)."""
_MAD_TO_SIGMA = 1.4826
_FULL_OVERLAP = 0.7
"""Share of the fixed points that the moving image must cover before its similarity counts in full."""
_ALLOWED_LOSS = 0.01
_LONGEST_STEP_MM = 12.0
TURN_ARM_MM = 50.0
"""A turn parameter of 1 moves a point at this distance from the centre by 1 mm."""


@dataclass(frozen=True)
class Match:
    """A fitted transform: `fixed_to_moving`, the `similarity` in [0, 1], the share of points `overlap`."""

    fixed_to_moving: Affine
    similarity: float
    overlap: float


def generators(degrees_of_freedom: int) -> FloatArray:
    """Infinitesimal motions, shape (k, 3, 4): 3 shifts, 3 turns, then 1 (7), 3 (9) or 6 (12) for size and shear.

    Lengths are in mm: a turn or scale parameter of 1 moves a point at 50 mm from the centre by 1 mm.
    """
    basis = np.zeros((12, 3, 4))
    basis[[0, 1, 2], [0, 1, 2], 3] = 1.0
    for k, (a, b) in enumerate([(1, 2), (2, 0), (0, 1)]):
        basis[3 + k, b, a], basis[3 + k, a, b] = 1 / TURN_ARM_MM, -1 / TURN_ARM_MM
        basis[9 + k, b, a], basis[9 + k, a, b] = 1 / TURN_ARM_MM, 1 / TURN_ARM_MM
        basis[6 + k, k, k] = 1 / TURN_ARM_MM
    if degrees_of_freedom == 7:
        return np.concatenate([basis[:6], basis[6:9].sum(axis=0, keepdims=True)])
    return basis[:degrees_of_freedom]


def motion_fields(basis: FloatArray, points_mm: FloatArray, centre: FloatArray) -> FloatArray:
    """How each infinitesimal motion about a centre moves each point, shape (k, 3, n)."""
    centred = np.concatenate([(points_mm - centre).T, np.ones((1, len(points_mm)))])
    return np.asarray(np.einsum("kij,jn->kin", basis, centred, optimize=True))


def look_up(level: Level, points_mm: FloatArray, *, channels: int = 4) -> tuple[FloatArray, BoolArray]:
    """Values (channels, n) of the moving level at world points by linear interpolation, and which are inside."""
    to_index = np.linalg.inv(level.grid.affine)
    index = (points_mm @ to_index[:3, :3].T + to_index[:3, 3]).T
    size = np.array(level.grid.shape, dtype=float)[:, None]
    inside = ((index >= -0.5) & (index <= size - 0.5)).all(axis=0)
    values = np.empty((channels, index.shape[1]))
    for k in range(channels):
        values[k] = ndimage.map_coordinates(level.channels[k], index, order=1, mode="nearest", output=np.float64)
    return values, inside


def _design(samples: Samples, *, linear: bool) -> FloatArray | None:
    """Columns of the straight line's design, or None for bins."""
    return np.stack([np.ones_like(samples.values), samples.values]) if linear else None


def _remove_explained(
    columns: FloatArray, samples: Samples, weights: FloatArray, design: FloatArray | None
) -> FloatArray:
    """Columns (k, n) less what the fixed image explains of them under the weights."""
    if design is not None:
        weighted = design * weights
        gram = weighted @ design.T + 1e-12 * np.eye(len(design))
        return np.asarray(columns - np.linalg.solve(gram, weighted @ columns.T).T @ design)
    total = np.bincount(samples.bins, weights, samples.n_bins)
    total[total <= 0] = 1.0
    result = np.empty_like(columns)
    for k, column in enumerate(columns):
        mean = np.bincount(samples.bins, weights * column, samples.n_bins) / total
        result[k] = column - mean[samples.bins]
    return result


def _tukey(residual: FloatArray, inside: BoolArray, floor: float) -> FloatArray:
    scale = max(_MAD_TO_SIGMA * float(np.median(np.abs(residual[inside]))), floor)
    u = residual / (_TUKEY * scale)
    return np.where(inside & (np.abs(u) < 1), (1 - u**2) ** 2, 0.0)


def evaluate(samples: Samples, level: Level, fixed_to_moving: Affine, *, linear: bool) -> Match:
    """The similarity of a transform: the share of the moving image's variation that the fixed image explains.

    It is the square root of the explained share (for a line: the correlation), over the points that both images hold.
    """
    values, inside = look_up(level, fixed_to_moving.points(samples.points_mm), channels=1)
    return Match(fixed_to_moving, *_similarity(values[0], inside, samples, linear=linear))


def _similarity(values: FloatArray, inside: BoolArray, samples: Samples, *, linear: bool) -> tuple[float, float]:
    overlap = float(inside.mean()) if inside.size else 0.0
    if np.count_nonzero(inside) < MIN_POINTS:
        return 0.0, overlap
    weights = inside.astype(float)
    design = _design(samples, linear=linear)
    residual = _remove_explained(values[None], samples, weights, design)[0]
    mean = float(np.average(values, weights=weights))
    total = float((weights * (values - mean) ** 2).sum())
    explained = 1.0 - float((weights * residual**2).sum()) / max(total, 1e-12)
    return float(np.sqrt(max(explained, 0.0))), overlap


def refine(
    samples: Samples,
    level: Level,
    start: Affine,
    *,
    linear: bool,
    degrees_of_freedom: int = 6,
    iterations: int = 20,
    tolerance_mm: float = 0.005,
    scale_floor: float = 0.05,
) -> Match:
    """Gauss-Newton from `start` (fixed to moving) until the step is below `tolerance_mm`.

    `scale_floor` is the least residual scale, as a share of the moving image's standard deviation: a wide one lets
    edges that do not meet yet pull, a narrow one leaves out what has changed. A step that loses similarity is
    halved: a fit must not creep into a uniform region, where there is nothing to explain.
    """
    basis = generators(degrees_of_freedom)
    centre = samples.points_mm.mean(axis=0)
    motion = motion_fields(basis, samples.points_mm, centre)
    best, reached = start, -1.0
    step: FloatArray = np.zeros(len(basis))
    for _ in range(iterations):
        current = best @ finite_motion(basis, step, centre)
        values, inside = look_up(level, current.points(samples.points_mm))
        similarity, overlap = _similarity(values[0], inside, samples, linear=linear)
        similarity *= min(1.0, overlap / _FULL_OVERLAP)
        if similarity < reached - _ALLOWED_LOSS:
            step = step / 2
            continue
        best, reached = current, max(similarity, reached)
        if np.count_nonzero(inside) < MIN_POINTS:
            break
        step = _gauss_newton_step(values, inside, samples, current, motion, linear=linear, scale_floor=scale_floor)
        longest = float(np.abs(step).max())
        step = step * min(1.0, _LONGEST_STEP_MM / max(longest, 1e-9))
        if longest < tolerance_mm:
            best = best @ finite_motion(basis, step, centre)
            break
    return evaluate(samples, level, best, linear=linear)


def _gauss_newton_step(
    values: FloatArray,
    inside: BoolArray,
    samples: Samples,
    current: Affine,
    motion: FloatArray,
    *,
    linear: bool,
    scale_floor: float,
) -> FloatArray:
    weights = inside.astype(float)
    design = _design(samples, linear=linear)
    spread = float(values[0][inside].std())
    for _ in range(3):
        residual = _remove_explained(values[:1], samples, weights, design)[0]
        weights = _tukey(residual, inside, scale_floor * spread + 1e-12)
    gradient = current.matrix[:3, :3].T @ values[1:]
    jacobian = np.einsum("in,kin->kn", gradient, motion)
    # the slope of log(unexplained / total): without the second term a fit gains by shrinking into a flat region
    centred = values[0] - np.average(values[0], weights=weights)
    unexplained = float((weights * residual**2).sum()) / max(float((weights * centred**2).sum()), 1e-12)
    slope = (jacobian * weights) @ (residual - unexplained * centred)
    jacobian = _remove_explained(jacobian, samples, weights, design)
    normal = (jacobian * weights) @ jacobian.T
    normal += np.eye(len(normal)) * (1e-4 * np.trace(normal) / len(normal) + 1e-12)
    return np.asarray(-np.linalg.solve(normal, slope))


def finite_motion(basis: FloatArray, step: FloatArray, centre: FloatArray) -> Affine:
    """The finite motion exp(sum of steps) about `centre`."""
    velocity = np.zeros((4, 4))
    velocity[:3] = np.tensordot(step, basis, axes=1)
    to_centre, back = np.eye(4), np.eye(4)
    to_centre[:3, 3], back[:3, 3] = -centre, centre
    return Affine(back @ expm(velocity) @ to_centre)


def best_of(matches: Sequence[Match]) -> Match:
    """The match of the highest similarity, discounted where little of the fixed image was covered."""
    return max(matches, key=lambda m: m.similarity * min(1.0, m.overlap / _FULL_OVERLAP))
