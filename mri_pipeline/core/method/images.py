"""Constants of brain extraction, registration, tissue maps and grids."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RegisterSettings:
    """Constants of rigid registration.

    Parameters
    ----------
    levels_mm : tuple of float
        Voxel sizes of the pyramid, coarse to fine; initial transforms are searched at the first level.
    sharp_mm : float
        Voxel size of the last step, at which clinical voxels are neither averaged nor smoothed. At 1 mm, which
        smooths them in plane, the error for known motions is a sixth larger. The last step and the finest level
        maximise mutual information: at 2 mm the conditional mean of T2 given FLAIR has false optima a few millimetres
        from the true one.
    max_points : tuple of int
        Points of the fixed image at each level (of each image where mutual information is used), and of each image in
        the last step. With 25,000 points in the last step, their choice alone shifts a real scan by 0.03 mm.
    coarse_margin_mm : float
        Margin around the mask in the search for initial transforms: the outline of the head extends the capture
        range.
    margin_across_mm : float
        Margin around the mask across contrasts: the fluid around the brain has the best contrast.
    kept_starts : tuple of int
        Number of initial transforms refined at the coarsest level, in the first and in the wider second search.
    min_quality : float
        A match of at least this quality is accepted. Below it, other initial transforms and then the other method
        are tried; finally the best match is marked as failed. The value lies between false fits (at most 0.38;
        heads of other patients 0.35) and true matches (at least 0.57); see `benchmarks/registration`.
    """

    levels_mm: tuple[float, ...] = (6.0, 4.0, 2.0)
    sharp_mm: float = 0.5
    max_points: tuple[int, ...] = (15_000, 15_000, 20_000, 100_000)
    coarse_margin_mm: float = 20.0
    margin_across_mm: float = 3.0
    kept_starts: tuple[int, int] = (5, 16)
    min_quality: float = 0.5


@dataclass(frozen=True)
class BiasSettings:
    """Constants of bias field estimation (Tustison et al., IEEE Trans Med Imaging 2010;29:1310).

    Parameters
    ----------
    grid_mm : float
        Voxel size for N4; smaller voxels are slower and do not improve white matter.
    iterations : tuple of int
        Iterations per level; each level halves the spacing of the control points. With more levels the field would
        follow tissue.
    usable_range : tuple of float
        Voxels between these multiples of the median of the brain are used. CSF, lesions, vessels and enhancement are
        excluded, so that the field does not follow them.
    """

    grid_mm: float = 8.0
    iterations: tuple[int, ...] = (20, 20)
    usable_range: tuple[float, float] = (0.5, 1.5)


@dataclass(frozen=True)
class EdgeSettings:
    """Constants of the deformation of the brain surface.

    Parameters
    ----------
    surface_mm : float
        Spacing of the surface points; a smaller spacing is slower without gain.
    reach_mm : float
        Maximum distance of the edge from that of the template.
    inside_mm, outside_mm : float
        Lengths of the profile that must be tissue and must not be tissue: bone and CSF below the scalp are 5 mm or
        more.
    tissue_share, softness : float
        Fractions of the local brightness of brain. At `tissue_share` a voxel is equally likely to be tissue or not.
        At `softness` above (below) it, a voxel is definitely (not) tissue.
    smoothing_mm : float
        Gaussian width over which the costs of neighbouring points are averaged: about half a gyrus.
    displacement_penalty : float
        Cost of a displacement of 1 mm, in mm of misclassified tissue; decisive where the scan has no information.
    margin_mm : float
        Margin beyond the half-maximum of brightness: the voxel with partial volume of cortex and background.
    crown_mm : float
        Distance beyond the smooth surface up to which tissue belongs to the brain: the crowns of gyri.
    fat_share : float
        Voxels above this multiple of the local brightness of brain are fat if their component lies mostly outside
        the brain. Without fat suppression fat is at 2 or more; lesions are rarely above 1.7 and lie inside.
    """

    surface_mm: float = 3.0
    reach_mm: float = 8.0
    inside_mm: float = 8.0
    outside_mm: float = 5.0
    tissue_share: float = 0.5
    softness: float = 0.25
    smoothing_mm: float = 3.0
    displacement_penalty: float = 0.03
    margin_mm: float = 1.0
    crown_mm: float = 1.5
    fat_share: float = 1.7


@dataclass(frozen=True)
class TemplateFit:
    """Constants of the affine fit of the template to the FLAIR, chosen on the scans at hand.

    Parameters
    ----------
    coarse_mm, fine_mm : int
        Voxel sizes of the two levels. At 8 mm, a template as large as the head can fit better than one as large as the
        brain; at 4 mm it does not.
    coarse_points, fine_points : int
        Maximum number of points of the template at each level.
    coarse_stages, fine_stages : tuple of int
        Degrees of freedom of the consecutive fits at each level.
    full_overlap : float
        Initial transforms with less than this fraction of the points in the image are ranked lower.
    kept_starts : int
        Number of initial transforms of each scale that are fitted.
    iterations : int
        Of each fit.
    tolerance_mm : float
        A fit ends when no point moves further than this.
    scale_floor : float
        Minimum scale of the intensities of a bin.
    bins, rings : int
        Number of bins of the template's intensities, and of the rim by distance: the template is empty outside the
        brain, where CSF, bone and scalp form layers.
    top_percentile : float
        Percentile of the height of the foreground that is the top of the head.
    upper_head_mm, centre_depth_mm : float
        Height of the upper head below the top, and depth of the centre of the brain below it.
    shifts_up_mm, shifts_forward_mm, nods : tuple of float
        Shifts and pitches (in radians) of the initial transforms.
    """

    coarse_mm: int = 8
    fine_mm: int = 4
    coarse_points: int = 8_000
    fine_points: int = 30_000
    coarse_stages: tuple[int, ...] = (6, 7, 9)
    fine_stages: tuple[int, ...] = (9, 12)
    full_overlap: float = 0.8
    kept_starts: int = 2
    iterations: int = 12
    tolerance_mm: float = 0.05
    scale_floor: float = 0.3
    bins: int = 16
    rings: int = 3
    top_percentile: float = 99.5
    upper_head_mm: float = 170.0
    centre_depth_mm: float = 80.0
    shifts_up_mm: tuple[int, ...] = (-30, -15, 0, 15, 30)
    shifts_forward_mm: tuple[int, ...] = (-20, 0, 20)
    nods: tuple[float, ...] = (-0.35, 0.0, 0.35)


@dataclass(frozen=True)
class SkullStripped:
    """Constants of the recognition and the mask of a skull-stripped FLAIR, chosen on the scans at hand.

    Parameters
    ----------
    spacing_mm : int
        Voxel size of the comparison.
    band_mm : tuple of float
        The band around the template's brain that holds scalp and marrow in a head.
    least_voxels : int
        Minimum number of voxels of band and brain in the field of view.
    empty_level : float
        A voxel of the band is empty below this multiple of the median of the brain.
    most_signal : float
        The scan is skull-stripped if less than this fraction of the band is not empty.
    background_level, background_percentile : float
        Voxels above this multiple of this percentile of the non-zero voxels are not background.
    brain_level : float
        Voxels above this multiple of their median are brain.
    least_part : float
        Minimum size of a part of the brain, as a fraction of the largest.
    """

    spacing_mm: int = 4
    band_mm: tuple[float, float] = (8, 20)
    least_voxels: int = 100
    empty_level: float = 0.1
    most_signal: float = 0.05
    background_level: float = 0.15
    background_percentile: float = 95
    brain_level: float = 0.02
    least_part: float = 0.02


@dataclass(frozen=True)
class BrainSettings:
    """Constants of brain extraction.

    Parameters
    ----------
    rim_mm : float
        Width of the band around the template's brain that is included in the fit. It is dark on FLAIR (CSF, bone)
        and keeps the fit on the brain and off the scalp.
    start_sizes : tuple of float
        Scales of the template in the initial transforms.
    same_size : float
        Fits whose volumes differ by less than this factor are one fit.
    litres : tuple of float
        Plausible volume of the mask. The lower limit allows for a small field of view.
    least_similarity : float
        Minimum similarity of the template to the FLAIR.
    edge : EdgeSettings
        Deformation of the template's surface to the visible edge.
    fit : TemplateFit
    stripped : SkullStripped
    """

    rim_mm: float = 8.0
    start_sizes: tuple[float, ...] = (0.92, 1.05)
    same_size: float = 1.1
    litres: tuple[float, float] = (0.4, 2.2)
    least_similarity: float = 0.2
    edge: EdgeSettings = field(default_factory=EdgeSettings)
    fit: TemplateFit = field(default_factory=TemplateFit)
    stripped: SkullStripped = field(default_factory=SkullStripped)


@dataclass(frozen=True)
class TissueSettings:
    """Constants of tissue classification.

    Parameters
    ----------
    warp_grid_mm : float
        Voxel size of the grid on which the template is warped.
    prior_sigma_mm : float
        Blur of the warped priors: the expected error of the template at gyri.
    prior_floor : float
        Minimum prior of a class inside the brain, so that a ventricle is possible where the template has none.
    lesion_flair : float
        FLAIR above this multiple of white matter (a lesion) does not indicate the class; the prior decides.
    ventricle_reach_mm : float
        Maximum distance of the patient's ventricles from those of the template.
    iterations : int
        Iterations of tissue classification.
    sure_quantile : float
        Quantile of the prior of a class above which voxels give its first levels. Chosen on the scans at hand, as the
        following.
    csf_quantile : float
        Quantile of these voxels that is the first level of CSF: most of the others are partial volume.
    least_spread : float
        Minimum spread of a class.
    outliers : float
        Uniform component of the likelihood, so that one feature alone cannot determine the class.
    tissue : float
        Minimum probability of the class of a voxel.
    deep_grey_matter : float
        A voxel with at least this probability of deep grey matter is not cortex.
    ventricle_seed : float
        Minimum probability of the template's ventricles that are the seeds of those of the patient.
    dark_level, dark_width : float
        FLAIR, in multiples of the median of the brain, from which and over which a voxel counts as fluid in the warp.
    deep_from_mm, deep_width_mm : float
        Depth from which, and over which, fluid counts in the warp. Sulci vary between subjects.
    distance_grid_mm, distance_share : float
        Voxel size of the distance to the ventricles, and the fraction of it that they must fill.
    """

    warp_grid_mm: float = 4.0
    prior_sigma_mm: float = 1.5
    prior_floor: float = 0.02
    lesion_flair: float = 1.25
    ventricle_reach_mm: float = 10.0
    iterations: int = 3
    sure_quantile: float = 0.9
    csf_quantile: float = 0.2
    least_spread: float = 0.03
    outliers: float = 0.02
    tissue: float = 0.5
    deep_grey_matter: float = 0.3
    ventricle_seed: float = 0.3
    dark_level: float = 0.85
    dark_width: float = 0.5
    deep_from_mm: float = 10.0
    deep_width_mm: float = 10.0
    distance_grid_mm: float = 3.0
    distance_share: float = 0.125


@dataclass(frozen=True)
class RegionsMethod:
    """Anatomical regions.

    Parameters
    ----------
    periventricular_mm : float
        A voxel within this distance of a lateral ventricle abuts it at clinical resolution (McDonald 2017: abutting).
    juxtacortical_mm : float
        A white-matter voxel within this distance of cortex abuts it; cortex itself belongs to the same region.
    foramen_magnum_z_mm : float
        Level of the foramen magnum in MNI space: the lower end of the brain.

        The cerebellar tonsils of the template (ICBM 2009a, 6 to 14 mm beside the midline) end at z = -65 to -66 mm.
        In healthy adults they end 2.9 mm (SD 3.4 mm) above the foramen magnum (Aboulezz et al., J Comput Assist
        Tomogr 1985;9:1033). Below the tonsils there are only the cord, the last millimetres of the medulla, and
        fluid.
    pontomedullary_sulcus_z_mm : float
        Level of the pontomedullary sulcus of the template (ICBM 2009a) at the midline: the upper end of the medulla.
    cistern_x_mm : float
        Lateral extent of the cisterns beside the medulla from the midline; tonsils and flocculus lie beyond.
    """

    periventricular_mm: float = 3.0
    juxtacortical_mm: float = 2.0
    foramen_magnum_z_mm: float = -65.0
    pontomedullary_sulcus_z_mm: float = -49.0
    cistern_x_mm: float = 20.0


@dataclass(frozen=True)
class NormaliseMethod:
    """The intensity scale: white matter is 1.

    Parameters
    ----------
    sure_white_matter : float
        Minimum probability of white matter of the voxels that define the scale.
    least_voxels : int
        Minimum number of such voxels; with fewer the scale is unknown and the visit fails.
    trim : float
        Voxels more than this many robust SD from the median are excluded.
    normal_range : tuple[float, ...]
        Normal tissue on FLAIR in multiples of white matter: no CSF, no lesion (1.40 to 1.44).
    """

    sure_white_matter: float = 0.8
    least_voxels: int = 200
    trim: float = 2.5
    normal_range: tuple[float, ...] = (0.6, 1.3)


@dataclass(frozen=True)
class TissueExtent:
    """Limits for the correction of the tissue maps.

    Parameters
    ----------
    ventricle_depth_mm : float
        CSF deeper than this below the brain surface may be ventricular.
    sulcus_depth_mm : float
        CSF less deep than this below the brain surface is sulcal.
    least_scanned : float
        A T1 whose field of view has less than this fraction of the brain is not used for tissue classification.
    """

    ventricle_depth_mm: float = 12.0
    sulcus_depth_mm: float = 12.0
    least_scanned: float = 0.5


@dataclass(frozen=True)
class GridMethod:
    """Constants of the grid of a subject.

    Parameters
    ----------
    isotropic_max_mm : float
        A scan whose largest voxel side does not exceed this is 3D (MAGNIMS-CMSC-NAIMS 2021).
    isotropic_grid_mm : float
        Voxel size of the grid of 3D scans.
    coarsest_in_plane_mm : float
        Largest voxel size in plane of the grid of 2D scans.
    """

    isotropic_max_mm: float = 1.5
    isotropic_grid_mm: float = 1.0
    coarsest_in_plane_mm: float = 1.0


@dataclass(frozen=True)
class EnhancementCheckMethod:
    """Constants of the comparison of two T1 scans of a visit (`images.enhancement`).

    Parameters
    ----------
    tail_percent : float
        Share of the region in each tail.
    min_tail : float
        Least tail of an enhancement, in multiples of the median. Without contrast the tails of the phantom reach 0.40,
        with contrast they begin at 0.57.
    min_ratio : float
        Least ratio of the two tails in the presence of enhancement. Without contrast the ratio is at most 1.52, with
        it at least 1.82.
    max_equal_ratio : float
        Largest ratio of the two tails of a pair without enhancement.
    upper_head_mm : float
        Height of the region below the vertex. It leaves out face and neck, which change the median.
    depth_mm : float
        Depth of the region below the surface of the head: without scalp and most of the skull.
    spacing_mm : float
        Voxel size of the comparison.
    min_voxels : int
        Minimum size of the region.
    registration : RegisterSettings
        Of the two scans.
    csf_percent : float
        Share of the central CSF that choroid plexus and vessels exceed, for the check of a single T1.
    csf_depth_mm : float
        Depth of the central CSF below the surface of the brain mask: without dura and cortical veins.
    csf_probability : float
        Minimum CSF probability of the template.
    min_central_voxels : int
        Minimum size of the central CSF in voxels of `spacing_mm`.
    enhanced_csf : float
        Brightness (white matter 1) from which a T1 is post-contrast. Pre-contrast T1 of two patients reach 0.56 and
        one of the phantom 0.77; post-contrast T1 of three patients begin at 1.14 and one of the phantom has 1.24. In
        five 2D spin-echo T1 that look post-contrast it is 0.72 to 1.00: most of them are missed.
    """

    tail_percent: float = 0.5
    min_tail: float = 0.45
    min_ratio: float = 1.7
    max_equal_ratio: float = 1.6
    upper_head_mm: float = 110.0
    depth_mm: float = 10.0
    spacing_mm: float = 2.0
    min_voxels: int = 2_000
    registration: RegisterSettings = field(
        default_factory=lambda: RegisterSettings(sharp_mm=1.0, max_points=(15_000, 15_000, 20_000, 30_000))
    )
    csf_percent: float = 1.0
    csf_depth_mm: float = 8.0
    csf_probability: float = 0.5
    min_central_voxels: int = 300
    enhanced_csf: float = 0.95
