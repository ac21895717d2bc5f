"""Ghosting in the air around the head, as in the ACR phantom test."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.spatial import BoolArray

_MARGIN: Final = 2
"""Voxels between the head and the air: partial volume."""

_LEAST_AIR: Final = 30
"""Fewest voxels of air of a slice on two opposite sides together."""

_WITH_SIGNAL: Final = 0.5
"""Share of air with a signal below which the scanner blanked it."""


def ghosting_percent(data: NDArray[np.float32], head: BoolArray, signal: float) -> float | None:
    """Difference of the air on two pairs of opposite sides of the head, relative to twice the signal of tissue.

    Ghosts lie along the phase-encoding direction: the air of one pair is brighter than that of the other one.

    Parameters
    ----------
    data : ndarray of float32, shape (slices, rows, columns)
    head : ndarray of bool, shape (slices, rows, columns)
    signal : float
        Of tissue.

    Returns
    -------
    float or None
        |(top + bottom) - (left + right)| / 2S in percent. None if the head fills the image, and for blanked air.
    """
    plane = np.any(head, axis=0)
    if signal <= 0 or not plane.any():
        return None
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    beside, along = np.zeros_like(plane), np.zeros_like(plane)
    beside[: max(rows[0] - _MARGIN, 0), columns[0] : columns[-1]] = True
    beside[rows[-1] + _MARGIN + 1 :, columns[0] : columns[-1]] = True
    along[rows[0] : rows[-1], : max(columns[0] - _MARGIN, 0)] = True
    along[rows[0] : rows[-1], columns[-1] + _MARGIN + 1 :] = True
    if beside.sum() < _LEAST_AIR or along.sum() < _LEAST_AIR:
        return None
    one, two = data[:, beside], data[:, along]
    if min(np.count_nonzero(one) / one.size, np.count_nonzero(two) / two.size) < _WITH_SIGNAL:
        return None
    return 100 * abs(float(one.mean()) - float(two.mean())) / signal
