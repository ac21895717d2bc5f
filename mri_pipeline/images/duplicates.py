"""Detection of duplicate scans."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast

_GREY_LEVELS = METHOD.duplicates.grey_levels


def scan_digest(image: Image) -> str:
    """Digest of the voxel values, 16 hexadecimal digits.

    The digest does not depend on the axis order, the position in world space, a linear scaling of the values or the
    data type. Two acquisitions differ in their noise and therefore in their digest.

    Parameters
    ----------
    image : Image

    Returns
    -------
    str
        For a uniform image, the digest depends on the shape only.

    Examples
    --------
    >>> from mri_pipeline.core.spatial import Grid
    >>> data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    >>> scan = Image(data, Grid((2, 3, 4), np.eye(4)))
    >>> scan_digest(scan) == scan_digest(Image(2 * data + 5, scan.grid).reoriented("LPI"))
    True
    """
    data = image.reoriented().data
    content = f"{data.shape}".encode() + _levels(data, data.min(), data.max()).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def same_scan(first: Image, second: Image) -> bool:
    """True if two scans have the same voxel values: the grey levels of which `scan_digest` is the digest are equal.

    Scans that differ in the middle plane of the first axis, as scans of two contrasts do, are told apart by it alone.

    Parameters
    ----------
    first, second : Image

    Returns
    -------
    bool

    Examples
    --------
    >>> from mri_pipeline.core.spatial import Grid
    >>> data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    >>> scan, other = (Image(values, Grid((2, 3, 4), np.eye(4))) for values in (data, data**2))
    >>> same_scan(scan, Image(2 * data + 5, scan.grid).reoriented("LPI")), same_scan(scan, other)
    (True, False)
    """
    ours, theirs = first.reoriented().data, second.reoriented().data
    if ours.shape != theirs.shape:
        return False
    own_range, other_range = [(data.min(), data.max()) for data in (ours, theirs)]
    middle = ours.shape[0] // 2
    return all(  # a plane tells most scans apart
        np.array_equal(_levels(ours[part], *own_range), _levels(theirs[part], *other_range))
        for part in (slice(middle, middle + 1), slice(None))
    )


def _levels(data: NDArray[np.float32], lowest: np.float32, highest: np.float32) -> NDArray[np.uint16]:
    """Values as grey levels of the range of a scan."""
    low, high = float(lowest), float(highest)
    levels = np.rint((data - low) * (_GREY_LEVELS / (high - low))) if high > low else np.zeros_like(data)
    return levels.astype("<u2")


def repeated(digests: Mapping[Contrast, str]) -> list[Contrast]:
    """The contrasts of one visit that have the voxels of another one, in the order of `digests`.

    Which of them is the right scan is not known.

    Parameters
    ----------
    digests : mapping of Contrast to str
        `scan_digest` of each scan of the visit.

    Returns
    -------
    list of Contrast
        Empty if all digests differ.

    Examples
    --------
    >>> repeated({Contrast.T1W: "a", Contrast.T2W: "b", Contrast.T1W_GD: "a"})
    [<Contrast.T1W: 'T1w'>, <Contrast.T1W_GD: 'ce-gadolinium_T1w'>]
    """
    counts = Counter(digests.values())
    return [contrast for contrast, digest in digests.items() if counts[digest] > 1]
