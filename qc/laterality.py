"""Left and right of a scan against the FLAIR of the visit: is one of the two mirrored?

No head is symmetric. A scan of the same head is more like the FLAIR than its mirror image is. A visit whose scans are
all mirrored is not found by this: the asymmetry of one head does not prove its left side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.io.template import Template
from mri_pipeline.core.spatial import FloatArray, Image
from mri_pipeline.images.matching import look_up
from mri_pipeline.images.sampling import PyramidLevel, downsample
from qc.placement import POINT_MM, Placement, brain_points

_EVERY: Final = 4
"""Every n-th point of the brain is read."""

_BINS: Final = 32
"""Number of classes of equal size of the intensities of the FLAIR."""

_LEAST_POINTS: Final = 500
"""Fewest points with a signal in both scans."""

_BRIGHTEST_PERCENTILE: Final = 99
"""Intensities above this percentile (vessels, fat) count as this one."""

_REACH_MM: Final = 30.0
"""The middle of the head is at most half of this away from the middle of the field of view."""

_STEPS: Final = (
    (0, np.arange(-6.0, 7, 3)), (1, np.arange(-4.0, 5, 2)), (2, np.arange(-4.0, 5, 2)),
    (0, np.array([-1.5, 0, 1.5])), (1, np.array([-1.0, 0, 1])), (2, np.array([-1.0, 0, 1])),
)  # fmt: skip
"""Search for the place of the scan, axis after axis, in mm of the template: the patient moves between scans."""

Step = tuple[int, FloatArray]

_FAR: Final = (0, np.arange(-_REACH_MM, _REACH_MM + 1, POINT_MM))


def flair_points(flair: Image, placement: Placement, template: Template) -> NDArray[np.float32]:
    """The FLAIR at points of the brain.

    Parameters
    ----------
    flair : Image
    placement : Placement
        Of the FLAIR.
    template : Template

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    points = brain_points(template).points_mm[::_EVERY]
    return _read(_level(flair), placement, points)


def mirror_ratio(
    flair: NDArray[np.float32], image: Image, placement: Placement, template: Template
) -> float | None:
    """Similarity of the mirrored scan to the FLAIR relative to that of the scan as it is.

    Parameters
    ----------
    flair : ndarray of float32, shape (n,)
        `flair_points`.
    image : Image
        Another scan of the visit, of any contrast.
    placement : Placement
        Of the FLAIR.
    template : Template

    Returns
    -------
    float or None
        Below 1 if left and right are those of the FLAIR, above 1 if they are exchanged. The further from 1, the
        stronger the evidence. None if too little of the brain is in both.

    Notes
    -----
    The similarity is the correlation ratio (Roche A et al., MICCAI 1998), which needs no linear relation of the
    intensities. The place of the scan is searched for around that of the FLAIR, the place of the mirrored one from side
    to side of the field of view.
    """
    points = brain_points(template).points_mm[::_EVERY]
    level = _level(image)

    def similarity(at: FloatArray) -> float:
        return _correlation_ratio(flair, _read(level, placement, at))

    straight = _best(similarity, points, _STEPS)
    mirrored = _best(similarity, points * [-1.0, 1.0, 1.0], (_FAR, *_STEPS[1:]))
    return mirrored / straight if straight > 0 else None


def _level(image: Image) -> PyramidLevel:
    small = downsample(image, POINT_MM)
    return PyramidLevel(small.data[None], small.grid)


def _read(level: PyramidLevel, placement: Placement, points_mm: FloatArray) -> NDArray[np.float32]:
    values = look_up(level, placement.template_to_world.points(points_mm), channels=1)[0][0]
    return np.asarray(values, dtype=np.float32)


def _best(similarity: Callable[[FloatArray], float], points: FloatArray, steps: Sequence[Step]) -> float:
    """Largest similarity over displacements, axis after axis."""
    best = 0.0
    for axis, distances in steps:
        moved = [points + distance * np.eye(3)[axis] for distance in distances]
        values = [similarity(at) for at in moved]
        best = max(best, *values)
        points = moved[int(np.argmax(values))]
    return best


def _correlation_ratio(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Share of the variance of the second image that the first one explains; 0 for too few points."""
    both = (one > 0) & (other > 0)
    if np.count_nonzero(both) < _LEAST_POINTS:
        return 0.0
    a, b = one[both], other[both]
    b = np.minimum(b, np.percentile(b, _BRIGHTEST_PERCENTILE)).astype(float)
    classes = np.searchsorted(np.quantile(a, np.linspace(0, 1, _BINS + 1)[1:-1]), a)
    count = np.bincount(classes, minlength=_BINS)
    total = np.bincount(classes, b, _BINS)
    centre = b.size * b.mean() ** 2
    within = float(np.square(b).sum() - centre)
    between = float((total**2 / np.maximum(count, 1)).sum() - centre)
    return between / within if within > 0 else 0.0
