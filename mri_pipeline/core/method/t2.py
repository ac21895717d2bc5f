"""Constants of T2 lesion segmentation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class T2Settings:
    """Constants of the rule; brightness in standard deviations of white matter.

    Parameters
    ----------
    prior_weight, grey_matter_penalty : float
        Ratios of the coefficients of logistic models fitted on two of three labelled patients at a time: 0.4 to
        0.8 per unit of log prior, 0.9 to 2 for grey matter. Dice is flat between 0.3 and 0.7, and 0 and 1.5.
    above_grey_matter : float
        The threshold lies this far above the upper quartile of grey matter (SLS, Roura et al., Neuroradiology
        2015, also threshold at grey matter plus a multiple of its spread).
    lesion_share : float
        The threshold is at least this share of the lesions' own brightness: the half-way border.
    least_threshold : float
    core : float
        A component holds a voxel this far above the threshold ...
    border : float
        ... and reaches to this far below it ...
    reach_mm : float
        ... and by up to this much further, as far as it is bright whatever the place: the location prior and grey
        matter tell whether there is a lesion, not where it ends.
    small_mm3 : float
        Lesions below this volume (a 5 mm sphere) are blurred as a whole: their peak is lower, so that the threshold
        cuts them short. They reach, by up to `reach_mm`, to half-way between their peak and white matter.
    sure_score, likely_prior : float
        Voxels above this score at places of at least this prior tell the lesions' brightness.
    rim_darkest, rim_volume_mm3 : float
        Components up to this volume whose mean of the darkest FLAIR within 2.5 mm is below this hug CSF: rim and
        caps of the ventricles, choroid plexus, flow ...
    bright : float
        ... but not if their mean lies this far above the threshold: of 32 rims in five real scans the brightest
        had 0.8, most 0.3.
    grey_t1_share, grey_bright : float
        Components darker on T1 than this share of the way to grey matter, and all where there is no T1, are grey
        matter, unless their mean lies this far above the threshold: of 65 mm³ and more the faintest true ones in
        five real scans, at 1 and 3 mm, and six of the reference trial had 0.45 and 0.65, the brightest false one
        apart from CSF 0.41.
    faint : float
        Where there is T1, components are lesions from this far below the threshold on, if every visit shows them,
        they hug no CSF and are surely not grey matter: for its sake the threshold is as high as it is.
    faint_t1_share, faint_grey_matter : float
        Such a component is no darker on T1 than this share of the way to grey matter, and the template's mean
        probability of grey matter is below this.
    """

    prior_weight: float = 0.5
    grey_matter_penalty: float = 0.8
    above_grey_matter: float = 1.6
    lesion_share: float = 0.5
    least_threshold: float = 1.6
    core: float = 0.3
    border: float = 0.3
    reach_mm: float = 2.0
    small_mm3: float = 65.0
    sure_score: float = 1.5
    likely_prior: float = 0.018
    rim_darkest: float = -2.0
    rim_volume_mm3: float = 500.0
    bright: float = 1.0
    grey_t1_share: float = 0.6
    grey_bright: float = 0.5
    faint: float = 1.0
    faint_t1_share: float = 0.3
    faint_grey_matter: float = 0.5


@dataclass(frozen=True)
class T2Evidence:
    """The features of FLAIR and T1 from which T2 lesions are found.

    Parameters
    ----------
    fine_mm : float
        Gaussian blur: lesions of 2 mm lose a quarter of their contrast by 1 mm.
    coarse_mm : float
        Gaussian blur of the coarser part of the brightness.
    coarse_share : float
        Weight of the coarser part.
    surround_mm : float
        Gaussian width of a voxel's surroundings.
    low_reach_mm : float
        Half-width of the neighbourhood in which the darkest FLAIR is taken: CSF beside a component.
    edge_mm : float
        Depth below the brain's surface in which no T2 lesion is searched for.
    prior_floor : float
        Least lesion prior, so that its logarithm is finite.
    middle_log_prior : float
        Logarithm of the prior at which the score is unchanged: 4 %, the prior beside the ventricles.
    least_spread : float
        Least spread of white matter; a smaller one is noise-free and set to it.
    mode_width : float
        Blur of the histogram whose peak is white matter, in its spread.
    bins_per_spread : int
        Bins of that histogram per spread.
    typical_spread : float
        Spread of white matter where none is found to measure it.
    """

    fine_mm: float = 0.6
    coarse_mm: float = 1.2
    coarse_share: float = 0.25
    surround_mm: float = 8.0
    low_reach_mm: float = 2.5
    edge_mm: float = 2.0
    prior_floor: float = 0.0001
    middle_log_prior: float = -3.3
    least_spread: float = 0.05
    mode_width: float = 0.3
    bins_per_spread: int = 30
    typical_spread: float = 0.1


@dataclass(frozen=True)
class T2Visits:
    """Longitudinal consistency of T2 lesions.

    Parameters
    ----------
    smoothing_mm : float
        Gaussian blur before two visits are compared.
    width : float
        Noise SD of a difference at which a visit still lends a weight of 0.6; a lesion that comes or goes changes by
        five and more and lends nearly none.
    sure : float
        Largest distance of a score from the threshold that counts: one visit must not overrule all others.
    least_noise : float
        Least noise of a difference, as a multiple of white matter.
    proven_z : float
        Noise SD of a change that proves a new lesion; by noise alone fewer than one voxel in a million lies beyond.
    least_white_matter : float
        Mean probability of white matter of such a lesion: cortex differs between scans by partial volume.
    """

    smoothing_mm: float = 1.0
    width: float = 2.0
    sure: float = 3.0
    least_noise: float = 0.01
    proven_z: float = 5.0
    least_white_matter: float = 0.5


@dataclass(frozen=True)
class T2Fluid:
    """How flowing CSF at the brainstem is distinguished from T2 lesions.

    Parameters
    ----------
    most : float
        A component is judged by what more than this share of its voxels is.
    sure_tissue : float
        Least probability at which a voxel tells the level of its tissue.
    dark_flair : float
        FLAIR below this multiple of white matter is suppressed CSF, which tells the level of fluid on T1 and T2w.
    """

    most: float = 0.5
    sure_tissue: float = 0.8
    dark_flair: float = 0.6


@dataclass(frozen=True)
class T2Border:
    """Where faint parts of T2 lesions belong.

    Parameters
    ----------
    own : float
        A faint part belongs to the lesion that has more than this share of the sure voxels in it.
    """

    own: float = 0.5


@dataclass(frozen=True)
class ExternalMask:
    """What the mask of another segmenter must fulfil.

    Parameters
    ----------
    most_of_brain : float
        Largest share of the brain: the largest lesion loads known are about 0.15.
    most_outside : float
        Largest share of the mask outside the brain: above it the mask belongs to another space.
    """

    most_of_brain: float = 0.5
    most_outside: float = 0.5
