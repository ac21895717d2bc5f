"""Detection of duplicate scans."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

import numpy as np

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
    low, high = float(data.min()), float(data.max())
    levels = np.rint((data - low) * (_GREY_LEVELS / (high - low))) if high > low else np.zeros_like(data)
    content = f"{data.shape}".encode() + levels.astype("<u2").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


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
