"""Constants of brain extraction, registration, tissue maps and grids."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RegisterSettings:
    """How two scans are brought together.

    Parameters
    ----------
    levels_mm : tuple of float
        Voxel sizes of the pyramid, coarse to fine; the first one is searched for starts.
    sharp_mm : float
        Voxel size of the last step: clinical voxels are neither averaged nor smoothed. At 1 mm, which smooths them in
        plane, known motions are missed by a sixth more. It and the finest level are fitted on mutual information: at
        2 mm the conditional mean of T2 given FLAIR has false optima a few millimetres from the true one.
    max_points : tuple of int
        Points of the fixed image at each level (of either image where mutual information is fitted), and of either
        image in the last step. With 25,000 there the choice of points alone moves a real scan by 0.03 mm.
    coarse_margin_mm : float
        By how much the mask is widened where starts are searched: the head's outline finds the way from far off.
    margin_across_mm : float
        By how much the mask is widened across contrasts: the fluid around the brain has the best contrast there.
    kept_starts : tuple of int
        Starts that are refined at the coarsest level, in the first search and in a wider second one.
    min_quality : float
        A match of this quality is taken; below it other starts and then the other method are tried, and at last the
        best is marked as failed. It lies between false fits (at most 0.38; other patients' heads 0.35) and true
        matches (at least 0.57); see `benchmarks/registration`.
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
    """How the field is estimated (Tustison et al., IEEE Trans Med Imaging 2010;29:1310).

    Parameters
    ----------
    grid_mm : float
        Voxel size on which N4 runs; finer ones cost more and gain nothing in white matter.
    iterations : tuple of int
        Per level; each level halves the distance of the field's control points. More levels follow tissue.
    usable_range : tuple of float
        Multiples of the brain's median between which a voxel takes part: CSF, lesions, vessels and enhancement
        stay out, so that the field does not follow them.
    """

    grid_mm: float = 8.0
    iterations: tuple[int, ...] = (20, 20)
    usable_range: tuple[float, float] = (0.5, 1.5)


@dataclass(frozen=True)
class EdgeSettings:
    """How the surface is moved.

    Parameters
    ----------
    surface_mm : float
        Distance of the points of the surface; finer ones cost more and gain nothing.
    reach_mm : float
        How far the edge may lie from the template's.
    inside_mm, outside_mm : float
        Lengths of the profile that must be tissue and must not be: bone and CSF before the scalp are 5 mm and more.
    tissue_share, softness : float
        Shares of the local brightness of brain: at the first a voxel is as likely tissue as not; that much above
        (below) it is surely (not) tissue.
    smoothing_mm : float
        Gaussian width over which neighbouring points decide together: about half a gyrus.
    displacement_penalty : float
        Cost of moving by 1 mm, in mm of tissue on the wrong side: decides where the scan tells nothing.
    margin_mm : float
        Room beyond the place where brightness is halved: the voxel that cortex shares with what lies outside.
    crown_mm : float
        How far tissue beyond the smooth surface still belongs to the brain: the crowns of gyri.
    fat_share : float
        Share of the local brightness of brain above which a voxel is fat, if what is as bright around it lies mostly
        outside the brain. Without fat suppression fat is at twice and more; lesions are rarely above 1.7, and lie
        inside.
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
class BrainSettings:
    """How the template is fitted and the edge is found.

    Parameters
    ----------
    rim_mm : float
        Width of the band around the template's brain that takes part in the fit: on FLAIR it is dark (CSF, bone),
        and holds the fit to the brain and off the scalp.
    edge : EdgeSettings
        How the template's surface is moved to the seen edge.
    """

    rim_mm: float = 8.0
    edge: EdgeSettings = field(default_factory=EdgeSettings)


@dataclass(frozen=True)
class TissueSettings:
    """How tissue is told apart.

    Parameters
    ----------
    warp_grid_mm : float
        Voxel size of the grid on which the template is warped.
    prior_sigma_mm : float
        Blur of the warped priors: how far the template may be wrong about gyri.
    prior_floor : float
        Least prior of a class inside the brain, so that a ventricle may be where the template has none.
    lesion_flair : float
        FLAIR above this multiple of white matter says nothing about the class (a lesion); the prior decides.
    ventricle_reach_mm : float
        How far the patient's ventricles may lie from the template's.
    iterations : int
        Rounds of tissue classification.
    """

    warp_grid_mm: float = 4.0
    prior_sigma_mm: float = 1.5
    prior_floor: float = 0.02
    lesion_flair: float = 1.25
    ventricle_reach_mm: float = 10.0
    iterations: int = 3


@dataclass(frozen=True)
class RegionsMethod:
    """Anatomical regions.

    Parameters
    ----------
    periventricular_mm : float
        A voxel this near to a lateral ventricle touches it at clinical resolution (McDonald 2017: abutting).
    juxtacortical_mm : float
        A white-matter voxel this near to cortex abuts it; cortex itself belongs to the same region.
    foramen_magnum_z_mm : float
        Level of the foramen magnum in MNI space: the lower end of the brain.

        The cerebellar tonsils of the template (ICBM 2009a, 6 to 14 mm beside the midline) end at z = -65 to -66 mm.
        In healthy adults they end 2.9 mm (SD 3.4 mm) above the foramen magnum (Aboulezz et al., J Comput Assist
        Tomogr 1985;9:1033). Below the tonsils there are only the cord, the last millimetres of the medulla, and
        fluid.
    pontomedullary_sulcus_z_mm : float
        Level of the pontomedullary sulcus of the template (ICBM 2009a) at the midline: the upper end of the medulla.
    cistern_x_mm : float
        Distance from the midline to which the cisterns beside the medulla reach; tonsils and flocculus lie beyond.
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
        Least probability of white matter of the voxels that set the scale.
    least_voxels : int
        Fewest such voxels; with fewer the scale is not known and the visit fails.
    trim : float
        Spreads from the median beyond which a voxel does not take part.
    normal_range : tuple[float, ...]
        Normal tissue on FLAIR in multiples of white matter: no CSF, no lesion (1.40 to 1.44).
    """

    sure_white_matter: float = 0.8
    least_voxels: int = 200
    trim: float = 2.5
    normal_range: tuple[float, ...] = (0.6, 1.3)


@dataclass(frozen=True)
class TissueExtent:
    """Where the tissue maps are corrected.

    Parameters
    ----------
    ventricle_depth_mm : float
        Depth below the brain's surface beyond which CSF may be ventricular.
    sulcus_depth_mm : float
        Depth below the brain's surface to which CSF counts as sulcal.
    least_scanned : float
        A T1 of less than this share of the brain does not separate its tissues.
    """

    ventricle_depth_mm: float = 12.0
    sulcus_depth_mm: float = 12.0
    least_scanned: float = 0.5


@dataclass(frozen=True)
class GridMethod:
    """The subject's grid.

    Parameters
    ----------
    isotropic_max_mm : float
        A scan with no longer voxel side is 3D (MAGNIMS-CMSC-NAIMS 2021).
    isotropic_grid_mm : float
        Voxel size of the grid of 3D scans.
    coarsest_in_plane_mm : float
        Largest voxel size in plane of the grid of 2D scans.
    """

    isotropic_max_mm: float = 1.5
    isotropic_grid_mm: float = 1.0
    coarsest_in_plane_mm: float = 1.0
