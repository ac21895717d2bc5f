"""The same scan given twice."""

from __future__ import annotations

import hashlib

import numpy as np

from mri_pipeline.core.spatial import Image

_GREY_LEVELS = 4095
"""Scans have 12 bits; a copy saved with another scale or data type keeps this many levels."""


def scan_digest(image: Image) -> str:
    """Digest of the voxel values, 16 hexadecimal digits.

    It does not depend on the order of the axes, on the position in the world, on a linear scale of the values or on
    the data type. Two acquisitions differ in their noise and so in their digest.

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
