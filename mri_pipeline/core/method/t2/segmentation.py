"""Constants of T2 lesion segmentation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class T2Settings:
    """Constants of the T2 rule; brightness in standard deviations of white matter.

    Parameters
    ----------
    prior_weight, grey_matter_penalty : float
        Ratios of the coefficients of logistic models fitted on two of three labelled patients at a time: 0.4 to
        0.8 per unit of log prior, 0.9 to 2 for grey matter. Dice is flat between 0.3 and 0.7, and 0 and 1.5.
    above_grey_matter : float
        Distance of the threshold above the upper quartile of grey matter (SLS, Roura et al., Neuroradiology 2015,
        also threshold at grey matter plus a multiple of its spread).
    lesion_share : float
        The threshold is at least this fraction of the brightness of the lesions: the half-maximum border.
    least_threshold, least_with_lesions : float
        Minimum threshold in a patient without evident lesions, and in one with evident lesions. Without lesions, grey
        matter that is hardly brighter than white matter would set a threshold that normal tissue reaches. The seven
        patients with few lesions at hand have 3.66 or more with T1. Chosen on P14 with its lesions filled in (2.65 and
        2.34 without this minimum; ``benchmarks/accuracy``).
    evident_brightness : tuple of float
        Brightness of the lesions (`upper_quantile`) from which on there are evident lesions. The minimum changes
        linearly between the two values. Patients with few lesions have 2.8 to 3.5, with 25 mL or more 5.2 to 6.6.
    core : float
        A component contains a voxel at least this far above the threshold.
    border : float
        A component extends to this far below the threshold.
    reach_mm : float
        A component extends by up to this distance further into bright voxels, whatever the location. Location prior
        and grey matter decide whether there is a lesion, not where its border is.
    small_mm3 : float
        Lesions below this volume (a 5 mm sphere) are blurred as a whole. Their peak is lower, and the threshold
        underestimates their size. They extend, by up to `reach_mm`, to half-way between their peak and white matter.
    sure_score, likely_prior : float
        The brightness of the lesions is estimated from voxels above this score at locations of at least this prior.
    upper_quantile : float
        Quantile of the score of these voxels that is the brightness of the lesions.
    rim_darkest, rim_volume_mm3 : float
        Components of up to this volume whose mean of the darkest FLAIR within 2.5 mm is below this value adjoin CSF.
        They are rim and caps of the ventricles, choroid plexus or flow, unless they are `bright`.
    bright : float
        A component is bright if its mean is this far above the threshold. Of 32 rims in five real scans the
        brightest had 0.8, most 0.3.
    grey_t1_share, grey_bright : float
        A component is grey matter if it is darker on T1 than this fraction of the difference between white and grey
        matter, or if there is no T1, unless its mean is this far above the threshold. Among components of 65 mm³ or
        more in five real scans, at 1 and 3 mm, and six of the reference trial, the faintest true ones had 0.45 and
        0.65; the brightest false one apart from CSF had 0.41.
    faint : float
        With T1, components down to this far below the threshold are lesions if they are present at every visit, do
        not adjoin CSF and are definitely not grey matter. The threshold itself is high to exclude grey matter.
    faint_t1_share, faint_grey_matter : float
        A faint component is not darker on T1 than this fraction of the difference between white and grey matter, and
        the template's mean probability of grey matter is below this value.
    least_contrast : float
        Minimum mean contrast of a component of `small_mm3` or more to the white matter around, in standard deviations
        of normal white matter. Chosen on 07 and P14 (``benchmarks/accuracy``): their faintest true component had 2.40,
        the brightest false one that this value removes 2.25.
    core_contrast : float
        A component with a voxel above this contrast is not diffusely bright, whatever its mean: a lesion within diffuse
        change. In the components that `least_contrast` removes from 07, 19 and P14 the highest voxel has 3.9.
    """

    prior_weight: float = 0.5
    grey_matter_penalty: float = 0.8
    above_grey_matter: float = 1.6
    lesion_share: float = 0.5
    least_threshold: float = 3.3
    least_with_lesions: float = 1.6
    evident_brightness: tuple[float, float] = (3.5, 5.0)
    core: float = 0.3
    border: float = 0.3
    reach_mm: float = 2.0
    small_mm3: float = 65.0
    sure_score: float = 1.5
    upper_quantile: float = 0.9
    likely_prior: float = 0.018
    rim_darkest: float = -2.0
    rim_volume_mm3: float = 500.0
    bright: float = 1.0
    grey_t1_share: float = 0.6
    grey_bright: float = 0.5
    faint: float = 1.0
    faint_t1_share: float = 0.3
    faint_grey_matter: float = 0.5
    least_contrast: float = 2.3
    core_contrast: float = 4.0


@dataclass(frozen=True)
class T2Evidence:
    """The features of FLAIR and T1 from which T2 lesions are found.

    Parameters
    ----------
    fine_mm : float
        Gaussian sigma; at 1 mm, a lesion of 2 mm would lose a quarter of its contrast.
    coarse_mm : float
        Gaussian sigma of the coarser part of the brightness.
    coarse_share : float
        Weight of the coarser part.
    surround_mm : float
        Gaussian width of the surroundings of a voxel.
    low_reach_mm : float
        Half-width of the neighbourhood of the minimum FLAIR, which detects CSF beside a component.
    edge_mm : float
        T2 lesions are not searched for within this depth below the brain surface.
    prior_floor : float
        Minimum lesion prior, so that its logarithm is finite.
    middle_log_prior : float
        Logarithm of the prior at which the score is unchanged: 4 %, the prior beside the ventricles.
    least_spread : float
        Minimum spread of white matter; a smaller spread (an image without noise) is replaced by it.
    mode_width : float
        Blur of the white-matter histogram, in units of the spread.
    bins_per_spread : int
        Bins of that histogram per spread.
    typical_spread : float
        Spread of white matter if there is none to measure.
    place_range : tuple of float
        Range of the logarithm of the prior above `middle_log_prior`: a place can exclude a lesion, and cannot make
        one. This and all later values were chosen on the development scans.
    grey_matter_smoothing_mm : float
        Gaussian width of the map of grey matter whose penalty is subtracted.
    sure : float
        Minimum probability of the white and grey matter whose mean intensities are measured.
    grey_quantile : float
        Quantile of FLAIR in grey matter: the lower part of its histogram is partial volume with CSF.
    least_weight : float
        Minimum weight of the surroundings of a voxel.
    truncate : float
        Extent of the Gaussian kernels in their standard deviations: 99.7 % of their weight.
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
    place_range: tuple[float, float] = (-4.0, 1.2)
    grey_matter_smoothing_mm: float = 1.5
    sure: float = 0.8
    grey_quantile: float = 0.75
    least_weight: float = 1e-3
    truncate: float = 3.0


@dataclass(frozen=True)
class LocalContrastMethod:
    """Contrast of a voxel to the white matter around it.

    Parameters
    ----------
    smoothing_mm : float
        Standard deviation of the total smoothing of the voxel.
    surround_mm : float
        Gaussian width of the surroundings.
    least_white_matter : float
        Minimum probability of white matter of the surroundings.
    normal_z : float
        Surroundings further than this from the mode of white matter, in standard deviations, are not normal.
    sure_white_matter : float
        Minimum probability of the white matter in which the spread of the contrast is measured.
    least_spread : float
        Minimum of that spread, in standard deviations of white matter.
    """

    smoothing_mm: float = 1.0
    surround_mm: float = 4.0
    least_white_matter: float = 0.5
    normal_z: float = 2.0
    sure_white_matter: float = 0.8
    least_spread: float = 0.05


@dataclass(frozen=True)
class T2Fluid:
    """Constants that distinguish flowing CSF at the brainstem, and structures within CSF, from T2 lesions.

    Parameters
    ----------
    most : float
        A property holds for a component if it holds for more than this fraction of its voxels.
    sure_tissue : float
        Minimum probability of the voxels from which the level of a tissue is measured.
    dark_flair : float
        FLAIR below this multiple of white matter is suppressed CSF; the level of fluid on T1 and T2w is measured
        there.
    most_csf_around, around_mm : float
        A component is no lesion if the mean probability of CSF within this distance exceeds this value. Of 132 true
        components of ten real scans of three patients at 1 and 3 mm one had more (0.34), the others at most 0.26.
        Choroid plexus, septum, fornix and dura of a scan with few lesions had 0.31 to 0.68.
    edge_mm, deep_mm : float
        Mean depth of dura below `edge_mm` (2.1 to 4.5 in four scans), of plexus, septum, fornix and pineal gland above
        `deep_mm` (24 to 37).
    midline_mm : float
        Distance of septum and fornix from the midsagittal plane. Beyond it, a component with more white matter than CSF
        around it is a lesion of the corpus callosum.
    """

    most: float = 0.5
    sure_tissue: float = 0.8
    dark_flair: float = 0.6
    most_csf_around: float = 0.3
    around_mm: float = 4.0
    edge_mm: float = 5.0
    deep_mm: float = 20.0
    midline_mm: float = 3.2


@dataclass(frozen=True)
class T2Symmetry:
    """Comparison of T2 lesions with the other hemisphere.

    Parameters
    ----------
    smoothing_mm, reach_mm : float
        Standard deviation of the filter, and reach, at the mirrored position: the hemispheres differ by millimetres.
    midline_mm : float
        Voxels within this distance of the midsagittal plane have no other side, as for GEL (`GelNodes.midline_mm`).
    least_lateral : float
        Minimum fraction of a component that has another side.
    least_share, most_share : float
        A component is as bright on the other side if the contrast there is this fraction of its own.
    least_grey_matter : float
        A component is grey matter if the mean probability of grey matter exceeds this value.
    """

    smoothing_mm: float = 1.5
    reach_mm: float = 1.0
    midline_mm: float = 3.2
    least_lateral: float = 0.5
    least_share: float = 0.5
    most_share: float = 1.3
    least_grey_matter: float = 0.5


@dataclass(frozen=True)
class T2Border:
    """Assignment of components above the lower FLAIR threshold to T2 lesions.

    Parameters
    ----------
    own : float
        A component above the lower threshold is attached to a lesion that holds more than this fraction of its voxels
        above the upper threshold.
    """

    own: float = 0.5


@dataclass(frozen=True)
class ExternalMask:
    """Constants of an external segmenter: its images, and the plausibility of its mask.

    Parameters
    ----------
    brain_median : float
        Median of the brain in the images for the command. Programs that round to integers lose no precision.
    most_of_brain : float
        Maximum fraction of the brain: the largest known lesion loads are about 0.15.
    most_outside : float
        Maximum fraction of the mask outside the brain: above it the mask is in a different space.
    """

    brain_median: float = 1000.0
    most_of_brain: float = 0.5
    most_outside: float = 0.5
