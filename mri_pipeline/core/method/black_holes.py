"""Constants of black-hole segmentation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlackHoleSettings:
    """Thresholds beside those of the protocol.

    Parameters
    ----------
    least_darkening : float
        A black hole is at least this share below white matter, however bright grey matter is.
    core_share : float
        A black hole is unequivocal: the least volume of one lies darker than grey matter by this share of the
        contrast between white and grey matter. Beside cortex a lesion's edge is as dark as grey matter; what the
        tissue maps take for grey matter is dark only from there on.
    fluid_flair : float
        FLAIR below this multiple of white matter is fluid: CSF, or a cavity if it lies mostly within lesions.
    mixed_flair : float
        FLAIR below this multiple of white matter beside CSF is a mixture with it.
    """

    least_darkening: float = 0.1
    core_share: float = 1 / 3
    fluid_flair: float = 0.6
    mixed_flair: float = 1.0
