"""Constants of brain extraction."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    fat_outside : float
        Fraction of such a component that lies outside the brain.
    step_mm : float
        Step of the profiles across the surface.
    same_side : float
        Points whose normals have a smaller cosine are not neighbours: they lie across a fissure or around an edge.
    denoised_mm : float
        Voxel size of the scan on which the edge is sought: less noise without loss of relevant detail.
    mask_smoothing, depth_smoothing, field_smoothing : float
        Gaussian widths, in voxels of `surface_mm`, of the template's mask, of its signed distance and of the
        displacements.
    padding_mm, around_mm : float
        Margins of the template's grid around its brain, and of the scan's box around the fitted brain.
    brightness_grid_mm, brightness_sigma_mm, brightness_depth_mm : float
        Local brightness of brain: voxel size, Gaussian width, and depth below the template's surface from which tissue
        is used.
    plausible : tuple of float
        Tissue lies between these multiples of the median of the brain.
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
    fat_outside: float = 0.5
    step_mm: float = 1.0
    same_side: float = 0.3
    denoised_mm: float = 1.5
    mask_smoothing: float = 0.5
    depth_smoothing: float = 0.8
    field_smoothing: float = 0.7
    padding_mm: float = 16.0
    around_mm: float = 10.0
    brightness_grid_mm: float = 4.0
    brightness_sigma_mm: float = 20.0
    brightness_depth_mm: float = 2.0
    plausible: tuple[float, float] = (0.5, 1.6)


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
    fitted_overlap : float
        The same for each fit and for the choice of the best one.
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
    fitted_overlap: float = 0.7
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
    """

    rim_mm: float = 8.0
    start_sizes: tuple[float, ...] = (0.92, 1.05)
    same_size: float = 1.1
    litres: tuple[float, float] = (0.4, 2.2)
    least_similarity: float = 0.2
    edge: EdgeSettings = field(default_factory=EdgeSettings)
