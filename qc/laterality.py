"""Left and right of a scan against the FLAIR of the visit: is one of the two mirrored?

No head is symmetric. A scan of the same head is more like the FLAIR than its mirror image is. A visit whose scans are
all mirrored is not found by this: the asymmetry of one head does not prove its left side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mri_pipeline.core.io.template import Template
from mri_pipeline.core.robust import percentile
from mri_pipeline.core.spatial import FloatArray, Image
from mri_pipeline.images.sampling import downsample
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
    small = downsample(flair, POINT_MM)
    return _reader(small, placement, brain_points(template).points_mm[::_EVERY])(np.zeros(3))


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
    order, small = np.argsort(flair, kind="stable"), downsample(image, POINT_MM)
    straight, mirrored = (
        _best(_similarity(flair, order, _reader(small, placement, points * side)), steps)
        for side, steps in (([1.0, 1.0, 1.0], _STEPS), ([-1.0, 1.0, 1.0], (_FAR, *_STEPS[1:])))
    )
    return mirrored / straight if straight > 0 else None


def _reader(
    small: Image, placement: Placement, points_mm: FloatArray
) -> Callable[[FloatArray], NDArray[np.float32]]:
    """Function that reads an averaged image at points of the template after a displacement in mm."""
    to_index = np.linalg.inv(small.grid.affine) @ placement.template_to_world.matrix
    index = to_index[:3, :3] @ points_mm.T + to_index[:3, 3:]

    def read(shift_mm: FloatArray) -> NDArray[np.float32]:
        at = index + (to_index[:3, :3] @ shift_mm)[:, None]
        return np.asarray(ndimage.map_coordinates(small.data, at, np.float32, order=1, mode="nearest"))

    return read


def _similarity(
    flair: NDArray[np.float32], order: NDArray[np.intp], read: Callable[[FloatArray], NDArray[np.float32]]
) -> Callable[[FloatArray], float]:
    """Similarity of the FLAIR and a scan after a displacement in mm."""
    ascending = flair[order]
    return lambda shift_mm: _correlation_ratio(ascending, read(shift_mm)[order])


def _best(similarity: Callable[[FloatArray], float], steps: Sequence[Step]) -> float:
    """Largest similarity over displacements, axis after axis. The place reached is not read again."""
    place, best = np.zeros(3), similarity(np.zeros(3))
    for axis, distances in steps:
        moved = [place + distance * np.eye(3)[axis] for distance in distances if distance]
        values = [similarity(at) for at in moved]
        if values and max(values) > best:
            best = max(values)
            place = moved[int(np.argmax(values))]
    return best


def _correlation_ratio(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Share of the variance of the second image that the first one explains; 0 for too few points.

    The first image is in ascending order: its classes are consecutive points.
    """
    both = (one > 0) & (other > 0)
    if np.count_nonzero(both) < _LEAST_POINTS:
        return 0.0
    a, b = one[both], other[both]
    b = np.minimum(b, percentile(b, _BRIGHTEST_PERCENTILE)).astype(float)
    place = np.linspace(0, a.size - 1, _BINS + 1)[1:-1]
    low = place.astype(np.intp)
    limits = a[low] + (place - low) * (a[low + 1] - a[low])
    edges = np.concatenate([[0], np.searchsorted(a, limits, side="right"), [a.size]])
    count, total = np.diff(edges), np.diff(np.cumsum(np.append(0.0, b))[edges])
    centre = b.size * b.mean() ** 2
    within = float(np.square(b).sum() - centre)
    between = float((total**2 / np.maximum(count, 1)).sum() - centre)
    return between / within if within > 0 else 0.0
