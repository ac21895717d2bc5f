"""Constants of GEL detection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GelSettings:
    """Thresholds of the detector. Enhancement is a fraction of white matter intensity, after a 1 mm mean.

    Parameters
    ----------
    seed_enhancement, seed_noise : float
        A lesion contains a voxel with at least this enhancement and this many standard deviations of white matter.
    seed_enhancement_alone : float
        Minimum seed enhancement without a pre-contrast T1: normal tissue varies by up to 0.15.
    upper_quantile : float
        Quantile of the enhancement of a component that is its robust peak. The maximum is too noisy.
    edge_share : float
        The border of a lesion is where enhancement falls to this fraction of that quantile: the half maximum.
    least_enhancement : float
        Minimum enhancement of a voxel.
    least_local_enhancement : float
        With a pre-contrast T1: minimum increase relative to the surroundings (an enhancing lesion inside a black
        hole is hardly brighter than white matter).
    flair_correlate, above_grey_matter : float
        Minimum FLAIR (1 mm mean) of a T2 correlate outside the T2 mask, in standard deviations of white matter: in
        white matter, above white matter; in grey matter, above its upper quartile. `flair_correlate` is also the limit
        of the model in the posterior fossa for faint enhancement (`GelNodes.strong_enhancement`).
    t2_correlate : float
        Minimum T2 in standard deviations of white matter, required in addition in the posterior fossa.
    edge_depth_mm : float
        Candidates with a median depth below this value are at the edge of the brain.
    fluid_share, fluid_reach_mm : float
        A candidate is choroid plexus or vein if more than this fraction of it lies in fluid (dark on FLAIR) or
        within this distance of it.
    white_matter_share : float
        Minimum mean of the white-matter map within `surround_mm`, unless most of the candidate lies in a T2 lesion:
        FLAIR is also bright in cortex.
    surround_mm : float
        Width of the surroundings of a candidate in mm.
    vessel_reach_mm : float
        Distance over which enhancement is followed beyond its T2 correlate. A lesion ends with its T2 correlate,
        except for an adjacent vessel; choroid plexus, dura and cortical veins continue.
    small_size, small_own_share : float
        For lesions below this multiple of the protocol's minimum volume, at least this fraction of the connected
        enhancement must have a T2 correlate, if that is more than the protocol requires.
    vessel_elongation, vessel_width_mm : float
        A component is a vessel if its length exceeds this multiple of its width and it is thinner than this width.
    """

    seed_enhancement: float = 0.15
    seed_enhancement_alone: float = 0.2
    seed_noise: float = 3.5
    upper_quantile: float = 0.9
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
class GelNodes:
    """Components of enhancement that are evaluated as a whole (`lesions.gel.nodes`).

    Enhancement is a fraction of white matter intensity. With each patient left out, a minimum probability of 0.5, 0.6
    and 0.7 found 222, 218 and 215 of 300 inserted lesions, with 13, 9 and 7 false ones in ten scans of five patients.

    Parameters
    ----------
    levels : tuple of float
        Levels of enhancement at which connected components are evaluated.
    least_mm3, most_mm3 : float
        Volume of the components that are evaluated.
    least_voxels : int
        Minimum number of voxels of a component. A mean over fewer voxels cannot be distinguished from noise.
    least_probability : float
        Minimum probability of a component to be a lesion.
    ring_mm : float
        Width of the surroundings of a component in mm.
    reach_mm : float
        Distance by which an accepted component extends to its half-maximum border.
    level_noise : float
        A level is used if it is at least this many standard deviations of the enhancement of white matter.
    alike_share : float
        Surroundings that enhance by at least this fraction of the mean of the component continue it, as a vessel does.
    least_correlate : float
        Minimum mean of the local FLAIR contrast of a component, in standard deviations of white matter.
    strong_enhancement : float
        In the posterior fossa the minimum is `GelSettings.flair_correlate` for components that enhance by
        `GelSettings.seed_enhancement`, and falls linearly to `least_correlate` at this mean enhancement. Of 224 lesions
        inserted there, 160 could be found with 2.0 for all, 173, 172 and 170 with 0.25, 0.3 and 0.4. In untouched scans
        of five patients, components there that the model would accept have at most 0.8.
    least_flair : float
        Minimum of the local FLAIR contrast of a component, in standard deviations of white matter. A component with a
        darker voxel contains fluid: it is choroid plexus. With each patient left out, no limit from -2.5 to -1.0 loses
        any of the 218 inserted lesions that are found.
    least_t2_correlate : float
        Minimum mean of the local T2w contrast of a component in the posterior fossa, in standard deviations of white
        matter. With 2.0, 20 of 45 lesions inserted there could be found, with 0.5 32, with equal false ones.
    t2_fluid : float
        Local contrast on T2w of fluid, in standard deviations of white matter.
    mirror_smoothing_mm, mirror_reach_mm : float
        Standard deviation of the filter, and reach, of the comparison with the other hemisphere (as for T2 candidates).
    midline_mm : float
        Voxels within this distance of the midsagittal plane are not compared: a lesion of the midline would be its own
        other side. Filter and reach together.
    thick_slices : float
        Slices are thick from this multiple of the in-plane voxel size. The centre of a ring is then closed in each
        slice.
    """

    levels: tuple[float, ...] = (0.10, 0.15, 0.20, 0.27, 0.35, 0.45)
    least_mm3: float = 6.0
    most_mm3: float = 6000.0
    least_voxels: int = 3
    least_probability: float = 0.7
    ring_mm: float = 2.5
    reach_mm: float = 2.0
    level_noise: float = 2.1
    alike_share: float = 0.6
    least_correlate: float = 1.0
    strong_enhancement: float = 0.3
    least_flair: float = -2.0
    least_t2_correlate: float = 0.5
    t2_fluid: float = 12.0
    mirror_smoothing_mm: float = 0.6
    mirror_reach_mm: float = 2.0
    midline_mm: float = 3.2
    thick_slices: float = 2.0


@dataclass(frozen=True)
class GelEvidenceMethod:
    """Constants of the feature maps of enhancing lesions (`lesions.gel.evidence`), chosen on the scans at hand.

    Intensities are multiples of white matter.

    Parameters
    ----------
    smoothing_mm : float
        Gaussian width of the mean of a voxel.
    least_scanned : float
        Minimum of the smoothed field of view by which a mean is divided.
    white_matter_range : float
        Voxels within this distance of 1 define the local level of white matter.
    least_level : float
        Minimum local level of white matter; below it the level is 1.
    normal_range : tuple of float
        Normal tissue: no CSF, no enhancement.
    least_normal : float
        Minimum mean of normal tissue; below it the mean is 1.
    sure : float
        Minimum probability of the voxels that define the level of a tissue.
    fluid_flair : float
        FLAIR below this value is fluid.
    mixed_flair, fluid_csf : float
        FLAIR below this value is fluid where the probability of CSF is above `fluid_csf`.
    grey_quantile : float
        Quantile of FLAIR in grey matter above which a T2 correlate lies: the upper quartile.
    """

    smoothing_mm: float = 1.0
    least_scanned: float = 1e-3
    white_matter_range: float = 0.25
    least_level: float = 0.5
    normal_range: tuple[float, float] = (0.5, 1.25)
    least_normal: float = 0.3
    sure: float = 0.8
    fluid_flair: float = 0.55
    mixed_flair: float = 0.8
    fluid_csf: float = 0.5
    grey_quantile: float = 0.75


@dataclass(frozen=True)
class GelNodeRanges:
    """Ranges in which the features of enhancing components were learned (`lesions.gel.nodes`).

    A feature outside its range has the value of the nearer end. The ranges were chosen on the scans used for training.

    Parameters
    ----------
    infratentorial : float
        A component of which at least this fraction is infratentorial follows the rules of the posterior fossa.
    volume_mm3 : tuple of float
    enhancement : tuple of float
        As a fraction of white matter intensity.
    flair_step : tuple of float
        Mean FLAIR of a component above that of its surroundings, in standard deviations of white matter.
    least_flair, flair_around : tuple of float
        Minimum local FLAIR contrast, and its mean in the surroundings, in standard deviations of white matter.
    enhancing_around : tuple of float
        Fraction of the surroundings that enhances alike.
    elongation : tuple of float
        Length by width.
    mirrored : tuple of float
        Enhancement above that of the other hemisphere.
    """

    infratentorial: float = 0.5
    volume_mm3: tuple[float, float] = (6.0, 400.0)
    enhancement: tuple[float, float] = (0.05, 1.0)
    flair_step: tuple[float, float] = (-2.0, 4.0)
    least_flair: tuple[float, float] = (-6.0, 4.0)
    flair_around: tuple[float, float] = (-4.0, 4.0)
    enhancing_around: tuple[float, float] = (0.0, 0.4)
    elongation: tuple[float, float] = (1.0, 5.0)
    mirrored: tuple[float, float] = (-0.2, 0.6)


@dataclass(frozen=True)
class GelProbability:
    """Constants of the probability of the candidates of the rules (`lesions.gel.probability`).

    The coefficients of the model were fitted with these values (`training`).

    Parameters
    ----------
    deep_mm : float
        Depth below the brain surface beyond which depth has no further effect.
    least_voxels : int
        Minimum number of voxels to estimate the level of a tissue.
    """

    deep_mm: float = 10.0
    least_voxels: int = 50
