"""Constants of black-hole segmentation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlackHoleSettings:
    """Thresholds of black-hole segmentation in addition to those of the protocol.

    Parameters
    ----------
    least_darkening : float
        A black hole is darker than white matter by at least this fraction, whatever the level of grey matter.
    core_share : float
        A black hole is unequivocal: a core of at least the minimum volume is darker than grey matter by this
        fraction of the contrast between white and grey matter. The edge of a lesion beside cortex is as dark as grey
        matter. Voxels that are grey matter in the tissue maps are graded as dark only below this level.
    fluid_flair : float
        FLAIR below this multiple of white matter is fluid: CSF, or a cavity if mostly within lesions.
    mixed_flair : float
        FLAIR below this multiple of white matter adjacent to CSF is partial volume with CSF.
    sure_csf : float
        Minimum probability of CSF of the voxels that define its level on T1. Chosen on the scans at hand, as
        `sure_grey_matter` and `grey_matter`.
    sure_grey_matter : float
        Minimum probability of grey matter of the voxels that define its level on T1.
    grey_matter : float
        A voxel with more than this probability of grey matter is grey matter.
    """

    least_darkening: float = 0.1
    core_share: float = 1 / 3
    fluid_flair: float = 0.6
    mixed_flair: float = 1.0
    sure_csf: float = 0.8
    sure_grey_matter: float = 0.8
    grey_matter: float = 0.5
