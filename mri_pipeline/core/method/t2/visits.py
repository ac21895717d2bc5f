"""Constants of T2 segmentation over several visits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class T2Visits:
    """Longitudinal consistency of T2 lesions.

    Parameters
    ----------
    smoothing_mm : float
        Gaussian blur before two visits are compared.
    width : float
        Difference in noise SD at which the weight of a visit is 0.6. A lesion that appears or vanishes changes by
        five or more and has almost no weight.
    sure : float
        Scores are clipped to this distance from the threshold, so that one visit cannot outweigh all others.
    least_noise : float
        Minimum noise of a difference, as a multiple of white matter.
    proven_z : float
        Change in noise SD that proves a new lesion; noise alone exceeds it in fewer than one voxel in a million.
    least_white_matter : float
        Minimum mean probability of white matter of such a lesion: cortex differs between scans by partial volume.
    """

    smoothing_mm: float = 1.0
    width: float = 2.0
    sure: float = 3.0
    least_noise: float = 0.01
    proven_z: float = 5.0
    least_white_matter: float = 0.5


@dataclass(frozen=True)
class T2Appearing:
    """Faint T2 lesions that appear or vanish between two visits.

    Changes are in noise SD. Contrast is relative to the white matter around, in standard deviations of normal white
    matter.

    Parameters
    ----------
    least_z : float
        Minimum mean change. Chosen on rescans of patients 07 and 19 (benchmarks/serial/new_lesions.py, seed 607, two
        and three visits): unchanged tissue that meets the other criteria had at most 5.1; of seven inserted lesions
        from 5 mm that meet them at two visits, six had 5.7 or more.
    least_prominence_z : float
        A maximum of the change is this far above its saddle to a higher one.
    border_share : float
        A lesion extends to this share of the height of its maximum. Noise raises the maximum of a faint lesion. With
        0.5 the median volume of the inserted lesions from 5 mm was two thirds of the true one, with 0.4 nine tenths,
        with 0.33 eleven tenths.
    normal_contrast : float
        White matter up to this far from its mode is normal: 95 % of it.
    most_opposite, around_mm : float
        The opposite change within this distance is at most this fraction of the maximum. Edges that moved by a part of
        a slice had 0.8 to 0.95, inserted lesions at most 0.6.
    present_share : float
        A lesion is present at another visit if its mean contrast there is at least this fraction of that at the visit
        where it was accepted, and above the mean of its contrast at the two visits whose comparison showed it.
    same_share : float
        If at least this fraction of a change found at a visit already lies in a lesion of that visit, the change is
        part of that lesion, not a new one.
    """

    least_z: float = 5.5
    least_prominence_z: float = 1.5
    border_share: float = 0.4
    normal_contrast: float = 2.0
    most_opposite: float = 0.65
    around_mm: float = 4.0
    present_share: float = 0.5
    same_share: float = 0.5
