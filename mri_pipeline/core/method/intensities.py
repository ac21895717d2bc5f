"""Constants of intensities: bias field, intensity scale, enhancement of a T1."""

from __future__ import annotations

from dataclasses import dataclass, field

from mri_pipeline.core.method.registration import RegisterSettings


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
    least_voxels : int
        Minimum number of positive voxels in the brain mask.
    least_share : float
        A block of `grid_mm` is used if more than this fraction of its voxels is usable.
    bins, blur_width, wiener_noise, converged : int, float
        As in ITK: bins of the histogram of log intensity; FWHM, in log intensity, of the blur of that histogram which a
        bias field causes; noise of its Wiener deconvolution; coefficient of variation of an update at which a level
        ends.
    """

    grid_mm: float = 8.0
    iterations: tuple[int, ...] = (20, 20)
    usable_range: tuple[float, float] = (0.5, 1.5)
    least_voxels: int = 100
    least_share: float = 0.25
    bins: int = 200
    blur_width: float = 0.15
    wiener_noise: float = 0.01
    converged: float = 1e-4


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
    rounds : int
        Maximum number of rounds of the trimmed median; it converges in fewer.
    parenchyma : float
        Minimum probability of white and grey matter together of the voxels on which visits are matched.
    bias_sigma_mm : float
        Smoothness of the differential bias field between visits.
    least_spread : float
        Minimum spread of the log ratio of two visits, for identical ones.
    """

    sure_white_matter: float = 0.8
    least_voxels: int = 200
    trim: float = 2.5
    normal_range: tuple[float, ...] = (0.6, 1.3)
    rounds: int = 10
    parenchyma: float = 0.8
    bias_sigma_mm: float = 18.0
    least_spread: float = 1e-3


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
