"""Constants of GEL detection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GelSettings:
    """Thresholds of the detector. Increases are shares of white matter, after a 1 mm mean.

    Parameters
    ----------
    seed_enhancement, seed_noise : float
        A lesion holds a voxel of at least this increase, and of this many standard deviations of white matter.
    seed_enhancement_alone : float
        The least increase without a pre-contrast T1: normal tissue varies by up to 0.15.
    clear_enhancement : float
        What vessels, dura and choroid plexus reach wherever contrast was given.
    edge_share : float
        Its border is where the increase falls to this share of its own upper decile.
    least_enhancement : float
        No enhancing voxel is below this increase.
    least_local_enhancement : float
        With a pre-contrast T1: least increase against the surroundings as well (an enhancing lesion inside a
        black hole is hardly brighter than white matter).
    flair_correlate, above_grey_matter : float
        FLAIR (1 mm mean) that counts as a T2 correlate outside the T2 mask: in white matter, in its standard
        deviations; in grey matter, as much above its upper quartile.
    t2_correlate : float
        T2 in standard deviations of white matter that is needed as well in the posterior fossa.
    edge_depth_mm : float
        Candidates with a median depth below this lie at the brain's edge.
    fluid_share, fluid_reach_mm : float
        Share of voxels in fluid (dark on FLAIR) or this near to it that makes a choroid plexus or a vein.
    white_matter_share : float
        Least mean of the white-matter map within `surround_mm`, unless most of it lies in a T2 lesion: bright
        FLAIR alone is found in cortex too.
    surround_mm : float
    vessel_reach_mm : float
        How far what enhances is followed beyond its T2 correlate: a lesion ends there, but for a vessel it touches;
        choroid plexus, dura and cortical veins run on.
    small_size, small_own_share : float
        Below so many times the protocol's least volume, this share of what enhances there must have a T2 correlate,
        where that is more than the protocol asks for: what is small must be surer.
    vessel_elongation, vessel_width_mm : float
        Longer than this many times its width, and thinner than this: a vessel.
    """

    seed_enhancement: float = 0.15
    seed_enhancement_alone: float = 0.2
    seed_noise: float = 3.5
    clear_enhancement: float = 0.3
    edge_share: float = 0.5
    least_enhancement: float = 0.08
    least_local_enhancement: float = 0.0
    flair_correlate: float = 2.0
    above_grey_matter: float = 1.0
    t2_correlate: float = 2.0
    edge_depth_mm: float = 4.0
    fluid_share: float = 0.5
    fluid_reach_mm: float = 2.0
    white_matter_share: float = 0.25
    surround_mm: float = 4.0
    vessel_reach_mm: float = 2.0
    small_size: float = 1.5
    small_own_share: float = 0.7
    vessel_elongation: float = 3.5
    vessel_width_mm: float = 3.5


@dataclass(frozen=True)
class GelProbability:
    """The probability of what enhances.

    Parameters
    ----------
    deep_mm : float
        Depth below the brain's surface from which on the depth tells nothing more.
    least_voxels : int
        Fewest voxels of a tissue from which its level is estimated.
    """

    deep_mm: float = 10.0
    least_voxels: int = 50
