"""Constants of change detection and tracking."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChangeMethod:
    """How a change of FLAIR between two visits is measured. Intensities are multiples of white matter.

    Parameters
    ----------
    smoothing_sigma_mm : float
        Gaussian blur of a FLAIR before the subtraction.
    least_sigma : float
        The blur is omitted along an axis where it is less than this many voxels: across thick slices the kernel would
        be narrower than a voxel.
    truncate : float
        Extent of the kernel of the blur in its standard deviations: 99.7 % of its weight.
    hyperintense : float
        FLAIR above which tissue is hyperintense: more than the spread of white matter; lesions are 1.40 to 1.44 at
        their core in every case measured.
    reach_mm : float
        Distance by which a change may reach beyond a drawn border: the diameter of the smallest lesion.
    extent_z, seed_z : float
        Noise SD of a changed voxel, and of at least one voxel of every changed component.
    min_voxels : int
        Minimum number of voxels to estimate a noise level or an intensity mapping.
    normal_range : tuple[float, ...]
        Normal tissue on FLAIR: above CSF, below lesions. The intensity mapping between visits is fitted to it; a
        mapping fitted to all tissue erased true changes.
    bias_sigma_mm : float
        Gaussian width of the differential bias field between two visits.
    local_noise_sigma_mm : float
        Gaussian width over which the noise of a difference is estimated locally.
    noise_floor : float
        Smallest noise of a difference, for images without noise such as two identical ones.
    intensity_bins : int
        Bins of the intensity mapping over `normal_range`.
    gradient_bins : int
        Number of gradient bins in which the noise of a difference is estimated.
    gradient_step : float
        Minimum width of a gradient bin, per mm.
    block_mm : float
        Size of the blocks on which the differential bias field is estimated.
    bias_clips : tuple[float, ...]
        Noise SD beyond which a difference is excluded from the bias field, per round.
    noise_cap_z : float
        Noise SD at which a difference is capped in the estimate of local noise.
    """

    smoothing_sigma_mm: float = 0.7
    least_sigma: float = 0.3
    truncate: float = 3.0
    hyperintense: float = 1.15
    reach_mm: float = 3.0
    extent_z: float = 2.0
    seed_z: float = 3.0
    min_voxels: int = 50
    normal_range: tuple[float, ...] = (0.6, 1.3)
    bias_sigma_mm: float = 18.0
    local_noise_sigma_mm: float = 12.0
    noise_floor: float = 0.02
    intensity_bins: int = 14
    gradient_bins: int = 12
    gradient_step: float = 0.001
    block_mm: float = 6.0
    bias_clips: tuple[float, ...] = (8.0, 4.0, 3.0)
    noise_cap_z: float = 6.0


@dataclass(frozen=True)
class TrackingMethod:
    """Constants of the tracking of lesions over visits.

    Parameters
    ----------
    evidence_min_z : float
        Mean change of FLAIR, in units of its noise, over the voxels that a lesion gained (or lost).

        Voxels that exceed a threshold by noise alone also have a positive mean. In simulated subjects, 96 unchanged
        lesions whose mask grew by the minimum growth had at least 1.5 in 17 cases and at least 3 in 4; 57 changed
        lesions had at least 3.7. Of the new lesions in three real pairs (benchmarks/real_pairs.py) experts confirmed
        11 of 11 with 3 or more, and 1 of 4 below.
    place_min_overlap : float
        Minimum overlap, as a fraction of the smaller lesion, for two lesions to be at the same location. Touching
        borders do not suffice.
    zone_min_share : float
        Minimum fraction of a lesion in the zone along the ventricles or the cortex that counts as contact.
    """

    evidence_min_z: float = 3.0
    place_min_overlap: float = 0.1
    zone_min_share: float = 0.1
