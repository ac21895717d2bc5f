"""Checks by the voxels alone that a scan shows a head, and that it is no copy of another scan.

They find what no analysis can use: uniform and noise images, phantoms, scrambled slices, and copies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.distances import deeper_than
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.robust import median
from mri_pipeline.core.spatial import BoolArray, Image
from mri_pipeline.core.visits import Contrast
from qc.findings import SEND_AGAIN, Finding
from qc.planes import mean_at, smoothed

WORK_MM: Final = 3.0
"""Approximate spacing of the grid of the measures."""

LOCAL_MM: Final = 8.0
"""Standard deviation of the neighbourhood with which a voxel is compared: coarser than tissue, finer than shading."""

DEPTH_MM: Final = 12.0
"""Depth below the surface, which excludes scalp and skull."""

_GREY_LEVELS: Final = 4095
"""Steps of the intensities of a slice in its digest, as of 12 bits: rescaled copies have the same digest."""
_MIN_CONTENT: Final = 100
"""Fewest non-zero voxels of a slice whose pixels identify it."""


@dataclass(frozen=True)
class ContentMeasures:
    """Measures of the object in an image.

    Parameters
    ----------
    head_litres : float
        Volume of the object.
    detail_percent : float
        Median deviation of the object's interior from its neighbourhood mean, relative to that mean.
    coherence : float
        Correlation of these deviations between neighbouring slices. 0 for an object without detail.
    slice_mm : float, optional
        Distance of the slices.
    """

    head_litres: float
    detail_percent: float
    coherence: float
    slice_mm: float = 0.0


def measure_content(image: Image, head: BoolArray) -> ContentMeasures:
    """Measure whether an image shows a head.

    Parameters
    ----------
    image : Image
        In the axis order of `head`.
    head : ndarray of bool, shape `image.grid.shape`
        From `qc.head.head_mask`.

    Returns
    -------
    ContentMeasures
        All values except `slice_mm` are 0 for an image without an object.
    """
    spacing = image.grid.spacing_mm
    step = [max(1, round(WORK_MM / s)) for s in spacing]
    mm = [n * s for n, s in zip(step, spacing, strict=True)]
    coarse_head = head[:: step[0], :: step[1], :: step[2]]
    coarse = mean_at(image.data, step, step)
    litres = float(np.count_nonzero(coarse_head) * np.prod(mm) / 1e6)
    # the faces of the volume count as surface
    inside = deeper_than(np.pad(coarse_head, 1), DEPTH_MM, mm)[1:-1, 1:-1, 1:-1]
    mean = _neighbourhood_mean(coarse, coarse_head, mm)
    detail = np.where(inside & (mean > 0), (coarse - mean) / np.maximum(mean, 1e-6), 0)
    axis = image.grid.slice_axis
    if not detail[inside].any():
        return ContentMeasures(litres, 0.0, 0.0, spacing[axis])
    ordered, used = np.moveaxis(detail, axis, 0), np.moveaxis(inside, axis, 0)
    both = used[1:] & used[:-1]
    one, two = ordered[1:][both], ordered[:-1][both]
    varies = one.size > 0 and float(one.std()) > 0 and float(two.std()) > 0
    coherence = float(np.corrcoef(one, two)[0, 1]) if varies else 0.0
    return ContentMeasures(litres, 100 * float(median(np.abs(detail[inside]))), coherence, spacing[axis])


def _neighbourhood_mean(
    data: NDArray[np.float32], mask: BoolArray, spacing_mm: list[float]
) -> NDArray[np.float32]:
    sigma = [LOCAL_MM / s for s in spacing_mm]
    weight = smoothed(mask.astype(np.float32), sigma)
    total = smoothed(np.where(mask, data, 0).astype(np.float32), sigma)
    return np.asarray(total / np.maximum(weight, 1e-3), dtype=np.float32)


def slice_digests(slices: NDArray[np.float32]) -> tuple[str, ...]:
    """Digest of each slice that has content, independent of a linear scaling of its values.

    Parameters
    ----------
    slices : ndarray of float32, shape (slices, rows, columns)
        In the order of `qc.planes.slices_first`, whatever the orientation of the file.

    Returns
    -------
    tuple of str
        In the order of the slices. Empty for a slice with fewer than 100 non-zero
        voxels or without contrast.
    """
    digests = []
    for plane in slices:
        low, high = float(plane.min()), float(plane.max())
        if high <= low or np.count_nonzero(plane) < _MIN_CONTENT:
            digests.append("")
            continue
        levels = np.rint((plane - low) * (_GREY_LEVELS / (high - low))).astype("<u2")
        digests.append(hashlib.sha256(f"{plane.shape}".encode() + levels.tobytes()).hexdigest()[:16])
    return tuple(digests)


def judge_copies(digests: Mapping[Contrast, Sequence[str]], required: Collection[Contrast] = ()) -> list[Finding]:
    """Refuse pixels that occur in two scans of a visit.

    Two acquisitions differ in their noise, also of the same contrast.

    Parameters
    ----------
    digests : mapping of Contrast to sequence of str
        `slice_digests` of each scan.
    required : collection of Contrast, optional
        Required scans.

    Returns
    -------
    list of Finding
        Violations only. Of a required and an optional scan the finding concerns the optional one, of two optional ones
        both.
    """
    findings = []
    for one, other in combinations(digests, 2):
        count = len({d for d in digests[one] if d} & set(digests[other]))
        if count:
            names = f"{one.value} and {other.value}"
            message = f"{names}: expected two scans, found {count} slices with the same pixels in both"
            optional = [contrast for contrast in (one, other) if contrast not in required]
            for contrast in optional or [other]:
                finding = Finding(
                    "copied_scan", Action.REFUSE, message, contrast, float(count), 0.0, "slices", SEND_AGAIN
                )
                findings.append(finding)
    return findings
