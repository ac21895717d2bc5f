"""Constants of tissue maps and anatomical regions."""

from __future__ import annotations

from dataclasses import dataclass, field


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
        Quantile of the prior of a class above which voxels give its initial mean intensities. This and all later values
        were chosen on the development scans.
    csf_quantile : float
        Quantile of these voxels that is the initial intensity of CSF: most of the others are partial volume.
    least_spread : float
        Minimum standard deviation of a class, as a fraction of white matter.
    outliers : float
        Uniform component of the likelihood, so that one feature alone cannot determine the class.
    tissue : float
        Minimum probability of the class of a voxel.
    deep_grey_matter : float
        A voxel with at least this probability of deep grey matter is not cortex.
    ventricle_seed : float
        Minimum probability of the template's ventricles that are the seeds of those of the patient.
    dark_level, dark_width : float
        In multiples of the median of the brain: a voxel counts fully as fluid in the warp if its FLAIR is below
        `dark_level` minus `dark_width`, and not at all above `dark_level`.
    deep_from_mm, deep_width_mm : float
        Depth below the brain surface: fluid has weight 0 in the warp up to `deep_from_mm`, rising to 1 over the next
        `deep_width_mm`. Sulci vary between subjects.
    distance_grid_mm, distance_share : float
        Voxel size of the map of the distance to the ventricles, and the fraction of a voxel that must be ventricle for
        it to count as such.
    warp_iterations : int
        Iterations of the warp.
    warp_update_sigma_mm, warp_field_sigma_mm : float
        Gaussian regularisation of the update and of the displacement of the warp.
    warp_longest_step_mm : float
        Maximum length of an update.
    warp_difference_weight : float
        Weight of the squared difference, relative to the squared gradient, by which the force of the warp is divided:
        it limits updates where the gradient is low (Thirion, Med Image Anal 1998;2:243).
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
    warp_iterations: int = 30
    warp_update_sigma_mm: float = 4.0
    warp_field_sigma_mm: float = 5.0
    warp_longest_step_mm: float = 2.0
    warp_difference_weight: float = 0.25


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
class PosteriorFossa:
    """Planes around the posterior fossa in MNI coordinates, with x as the distance from the midline.

    Chosen by eye on the template (ICBM 2009a) and checked on it in all three directions.

    Parameters
    ----------
    medial_z_mm, medial_slope : float
        The tentorium at the midline, and its descent for each mm of x beside it.
    lateral_z_mm, lateral_slope : float
        The same for its flatter lateral part; the higher of the two parts holds.
    posterior_y_mm, posterior_slope : float
        Behind this coronal plane the tentorium descends in addition by this much for each mm.
    lowest_z_mm : float
        The tentorium ends at this height, at the transverse sinus.
    petrous_x_mm, petrous_y_mm, petrous_slope : float
        The petrous ridge: the anterior limit at this x, and its course backwards for each mm of x.
    incisura_y_mm, incisura_z_mm : float
        In front of this coronal plane only points below this height belong to the posterior fossa.
    brainstem_y_mm, brainstem_half_axes_mm, brainstem_top_z_mm : float, tuple of float, float
        The brainstem is a vertical elliptic column: its centre, half axes in x and y, and upper end in the midbrain.
    floor_y_mm, floor_z_mm : float
        Everything below this height and behind this coronal plane belongs to the posterior fossa.
    """

    medial_z_mm: float = 4.0
    medial_slope: float = 0.75
    lateral_z_mm: float = -8.0
    lateral_slope: float = 0.36
    posterior_y_mm: float = -60.0
    posterior_slope: float = 0.35
    lowest_z_mm: float = -32.0
    petrous_x_mm: float = 15.0
    petrous_y_mm: float = -20.0
    petrous_slope: float = 0.75
    incisura_y_mm: float = -36.0
    incisura_z_mm: float = -20.0
    brainstem_y_mm: float = -25.0
    brainstem_half_axes_mm: tuple[float, float] = (17.0, 16.0)
    brainstem_top_z_mm: float = -12.0
    floor_y_mm: float = -18.0
    floor_z_mm: float = -42.0


@dataclass(frozen=True)
class DeepRegions:
    """Lateral ventricles and deep grey matter of the template, in MNI coordinates (x is the distance from the midline).

    Chosen by eye on the template (ICBM 2009a) and checked on it in all three directions. Ranges are open.

    Parameters
    ----------
    most_tissue : float
        Ventricles have less than this probability of white and grey matter.
    ventricle_depth_mm : float
        Minimum depth of the ventricles below the surface of the brain.
    horns_x_mm, horns_y_mm, horns_z_mm : float, tuple of float, tuple of float
        Box that contains the frontal horns: the component with most of it is the ventricles.
    third_x_mm, third_z_mm : float
        The third ventricle lies nearer to the midline and lower than this. It is not a lateral ventricle.
    cistern_x_mm, cistern_y_mm, cistern_z_mm : float, tuple of float, tuple of float
        Box of the aqueduct and the quadrigeminal cistern, which are no lateral ventricle either.
    least_grey_matter : float
        Minimum probability of grey matter of deep grey matter.
    grey_depth_mm : float
        Its minimum depth below the surface of the brain.
    grey_x_mm, grey_y_mm, grey_z_mm : float, tuple of float, tuple of float
        Box of deep grey matter.
    """

    most_tissue: float = 0.5
    ventricle_depth_mm: float = 15.0
    horns_x_mm: float = 20.0
    horns_y_mm: tuple[float, float] = (-5.0, 25.0)
    horns_z_mm: tuple[float, float] = (5.0, 20.0)
    third_x_mm: float = 4.0
    third_z_mm: float = 6.0
    cistern_x_mm: float = 9.0
    cistern_y_mm: tuple[float, float] = (-45.0, -22.0)
    cistern_z_mm: tuple[float, float] = (-12.0, 14.0)
    least_grey_matter: float = 0.4
    grey_depth_mm: float = 20.0
    grey_x_mm: float = 36.0
    grey_y_mm: tuple[float, float] = (-36.0, 24.0)
    grey_z_mm: tuple[float, float] = (-12.0, 22.0)


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
    most_tissue : float
        Fluid beside the medulla has less than this probability of white or grey matter of the template.
    depth_grid_mm : float
        Voxel size on which depth below the surface of the brain is computed.
    posterior_fossa : PosteriorFossa
    deep : DeepRegions
    """

    periventricular_mm: float = 3.0
    juxtacortical_mm: float = 2.0
    foramen_magnum_z_mm: float = -65.0
    pontomedullary_sulcus_z_mm: float = -49.0
    cistern_x_mm: float = 20.0
    most_tissue: float = 0.5
    depth_grid_mm: float = 3.0
    posterior_fossa: PosteriorFossa = field(default_factory=PosteriorFossa)
    deep: DeepRegions = field(default_factory=DeepRegions)
