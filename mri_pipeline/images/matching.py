"""Optimiser of all registrations: Gauss-Newton on the unexplained variance of one image given another.

The residual at a point x of the fixed image is ``M(T x) - g(F(x))``. M is the moving image, F the fixed image, and g
the best prediction of M from F under the current transform. For images of the same contrast g is linear. Across
contrasts it is the conditional mean of M in bins of F, whose residual variance gives the correlation ratio (Roche et
al., MICCAI 1998). Tukey's biweight excludes outliers: lesions, vessels, scalp. The parameters of g are eliminated from
the normal equations (variable projection), so that few iterations are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.linalg import expm

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.robust import robust_spread
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray
from mri_pipeline.images.sampling import MIN_POINTS, PyramidLevel, Samples

_MATCHING = METHOD.matching
TURN_ARM_MM = METHOD.matching.turn_arm_mm
"""A rotation parameter of 1 moves a point at this distance from the centre by 1 mm."""


@dataclass(frozen=True)
class Match:
    """A fitted transform.

    Parameters
    ----------
    fixed_to_moving : Affine
    similarity : float
        0 to 1; see `evaluate`.
    overlap : float
        Fraction of the fixed points within the moving image.
    """

    fixed_to_moving: Affine
    similarity: float
    overlap: float


def generators(degrees_of_freedom: int) -> FloatArray:
    """Infinitesimal motions (Lie algebra generators) of a linear transform.

    Parameters
    ----------
    degrees_of_freedom : int
        6: translations and rotations. 7, 9, 12: with 1, 3 or 6 further generators for scale and shear.

    Returns
    -------
    ndarray, shape (k, 3, 4)
        Lengths are in mm. A rotation or scale parameter of 1 moves a point at 50 mm from the centre by 1 mm.
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
    """Displacement of each point by each infinitesimal motion about a centre.

    Parameters
    ----------
    basis : ndarray, shape (k, 3, 4)
        See `generators`.
    points_mm : ndarray, shape (n, 3)
        World coordinates in mm.
    centre : ndarray, shape (3,)
        Centre of rotation and scaling, world coordinates in mm.

    Returns
    -------
    ndarray, shape (k, 3, n)
        In mm per unit of each parameter.
    """
    centred = np.concatenate([(points_mm - centre).T, np.ones((1, len(points_mm)))])
    return np.asarray(np.einsum("kij,jn->kin", basis, centred, optimize=True))


def look_up(level: PyramidLevel, points_mm: FloatArray, *, channels: int = 4) -> tuple[FloatArray, BoolArray]:
    """Sample the moving level at world points by linear interpolation.

    Parameters
    ----------
    level : PyramidLevel
    points_mm : ndarray, shape (n, 3)
        World coordinates in mm.
    channels : int
        1: intensity only. 4: with gradient.

    Returns
    -------
    values : ndarray, shape (channels, n)
    inside : ndarray of bool, shape (n,)
        True for points within the image.
    """
    to_index = np.linalg.inv(level.grid.affine)
    index = (points_mm @ to_index[:3, :3].T + to_index[:3, 3]).T
    size = np.array(level.grid.shape, dtype=float)[:, None]
    inside = ((index >= -0.5) & (index <= size - 0.5)).all(axis=0)
    values = np.empty((channels, index.shape[1]))
    for k in range(channels):
        values[k] = ndimage.map_coordinates(level.channels[k], index, order=1, mode="nearest", output=np.float64)
    return values, inside


def _design(samples: Samples, *, linear: bool) -> FloatArray | None:
    """Design matrix of the linear model, shape (2, n); None for bins."""
    return np.stack([np.ones_like(samples.values), samples.values]) if linear else None


def _remove_explained(
    columns: FloatArray, samples: Samples, weights: FloatArray, design: FloatArray | None
) -> FloatArray:
    """Residuals of columns (k, n) after weighted prediction from the fixed image."""
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
    scale = max(robust_spread(residual[inside], centre=0.0), floor)
    u = residual / (_MATCHING.tukey * scale)
    return np.where(inside & (np.abs(u) < 1), (1 - u**2) ** 2, 0.0)


def evaluate(samples: Samples, level: PyramidLevel, fixed_to_moving: Affine, *, linear: bool) -> Match:
    """Similarity of the images under a transform.

    Parameters
    ----------
    samples : Samples
        Points of the fixed image.
    level : PyramidLevel
        Moving image.
    fixed_to_moving : Affine
    linear : bool
        True if intensities are linearly related (intra-modal).

    Returns
    -------
    Match
        Its similarity is the square root of the fraction of the moving image's variance that the fixed image
        explains, over the points within both images (for a linear model: the correlation). 0 if too few points are
        within both images.
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
    if total <= _MATCHING.uniform * float((weights * values**2).sum()):
        return 0.0, overlap  # a uniform image has no variance that could be explained
    explained = 1.0 - float((weights * residual**2).sum()) / total
    return float(np.sqrt(max(explained, 0.0))), overlap


def refine(
    samples: Samples,
    level: PyramidLevel,
    start: Affine,
    *,
    linear: bool,
    degrees_of_freedom: int = 6,
    iterations: int,
    tolerance_mm: float,
    scale_floor: float,
    full_overlap: float,
) -> Match:
    """Refine a transform by Gauss-Newton iterations.

    Parameters
    ----------
    samples : Samples
        Points of the fixed image.
    level : PyramidLevel
        Moving image.
    start : Affine
        Initial transform, fixed to moving.
    linear : bool
        True if intensities are linearly related (intra-modal).
    degrees_of_freedom : int
        6, 7, 9 or 12; see `generators`.
    iterations : int
        Maximum number of iterations.
    tolerance_mm : float
        Iterations end when the step is below this length.
    scale_floor : float
        Minimum residual scale, as a fraction of the moving image's standard deviation. A large value keeps edges that
        are not yet aligned; a small value excludes changed tissue.
    full_overlap : float
        Fraction of the fixed points that the moving image must cover for its similarity to have full weight.

    Returns
    -------
    Match
        A step that reduces the similarity is halved, so that the fit does not drift into a uniform region, where
        there is no variance to explain.
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
        similarity *= min(1.0, overlap / full_overlap)
        if similarity < reached - _MATCHING.allowed_loss:
            step = step / 2
            continue
        best, reached = current, max(similarity, reached)
        if np.count_nonzero(inside) < MIN_POINTS:
            break
        step = _gauss_newton_step(values, inside, samples, current, motion, linear=linear, scale_floor=scale_floor)
        longest = float(np.abs(step).max())
        step = step * min(1.0, _MATCHING.longest_step_mm / max(longest, 1e-9))
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
    for _ in range(_MATCHING.reweightings):
        residual = _remove_explained(values[:1], samples, weights, design)[0]
        weights = _tukey(residual, inside, scale_floor * spread + 1e-12)
    gradient = current.matrix[:3, :3].T @ values[1:]
    jacobian = np.einsum("in,kin->kn", gradient, motion)
    # gradient of log(unexplained / total): without the second term, shrinking into a flat region lowers the cost
    centred = values[0] - np.average(values[0], weights=weights)
    unexplained = float((weights * residual**2).sum()) / max(float((weights * centred**2).sum()), 1e-12)
    slope = (jacobian * weights) @ (residual - unexplained * centred)
    jacobian = _remove_explained(jacobian, samples, weights, design)
    normal = (jacobian * weights) @ jacobian.T
    normal += np.eye(len(normal)) * (_MATCHING.damping * np.trace(normal) / len(normal) + 1e-12)
    return np.asarray(-np.linalg.solve(normal, slope))


def finite_motion(basis: FloatArray, step: FloatArray, centre: FloatArray) -> Affine:
    """Finite motion about a centre: matrix exponential of the weighted sum of generators.

    Parameters
    ----------
    basis : ndarray, shape (k, 3, 4)
        See `generators`.
    step : ndarray, shape (k,)
        Weights in mm (rotation and scale: at 50 mm from the centre).
    centre : ndarray, shape (3,)
        World coordinates in mm.

    Returns
    -------
    Affine
    """
    velocity = np.zeros((4, 4))
    velocity[:3] = np.tensordot(step, basis, axes=1)
    to_centre, back = np.eye(4), np.eye(4)
    to_centre[:3, 3], back[:3, 3] = -centre, centre
    return Affine(back @ expm(velocity) @ to_centre)


def best_of(matches: Sequence[Match], full_overlap: float) -> Match:
    """Match with the highest similarity, reduced if the overlap is low.

    Parameters
    ----------
    matches : sequence of Match
        At least one.
    full_overlap : float
        Overlap from which the similarity has full weight.

    Returns
    -------
    Match

    Raises
    ------
    ValueError
        If there is no match.
    """
    return max(matches, key=lambda m: m.similarity * min(1.0, m.overlap / full_overlap))
