"""Constants of registration and of the grid of a subject."""

from __future__ import annotations

from dataclasses import dataclass


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
    full_overlap : float
        A transform with less than this fraction of the points in the image has a lower similarity, in the ranking of
        the initial transforms and in each fit.
    iterations : int
        Maximum number of iterations of a fit at the coarsest and at the middle level.
    coarse_scale_floor, middle_scale_floor : float
        Minimum scale of the residuals at the coarsest and at the middle level, as a fraction of the standard deviation
        of the moving image.
    coarse_tolerance_mm, middle_tolerance_mm, sharp_tolerance_mm : float
        A fit at the coarsest level, at the two finer levels and in the last step ends when no point moves further.
    precision_mm : float
        Precision of a registration: results for one scan with different headers differ by this much (median over the
        brain; see `benchmarks/registration`). A scan registered to itself is off by 0.008 mm, due to noise and
        interpolation.
    start_turn_deg : int
        Rotation about each axis, in both directions, of the initial transforms.
    """

    levels_mm: tuple[float, ...] = (6.0, 4.0, 2.0)
    sharp_mm: float = 0.5
    max_points: tuple[int, ...] = (15_000, 15_000, 20_000, 100_000)
    coarse_margin_mm: float = 20.0
    margin_across_mm: float = 3.0
    kept_starts: tuple[int, int] = (5, 16)
    min_quality: float = 0.5
    full_overlap: float = 0.7
    iterations: int = 20
    coarse_scale_floor: float = 0.3
    middle_scale_floor: float = 0.1
    coarse_tolerance_mm: float = 0.1
    middle_tolerance_mm: float = 0.02
    sharp_tolerance_mm: float = 0.003
    precision_mm: float = 0.02
    start_turn_deg: int = 22


@dataclass(frozen=True)
class MatchingMethod:
    """Constants of the Gauss-Newton fit by unexplained variance (`images.matching`), chosen on the scans at hand.

    Parameters
    ----------
    tukey : float
        Biweight constant: 95 % efficiency for normal noise (Beaton and Tukey, Technometrics 1974;16:147).
    reweightings : int
        Number of estimates of the weights in each iteration.
    uniform : float
        An image with less variance than this fraction of its mean square is uniform: a coefficient of variation of
        1e-5.
    allowed_loss : float
        A step that reduces the similarity (0 to 1) by more than this is halved.
    longest_step_mm : float
        Maximum length of a step.
    damping : float
        Added to the diagonal of the normal matrix, as a fraction of its mean diagonal (Marquardt, J Soc Ind Appl Math
        1963;11:431).
    turn_arm_mm : float
        A rotation parameter of 1 moves a point at this distance from the centre by 1 mm: about the radius of a brain.
    """

    tukey: float = 4.685
    reweightings: int = 3
    uniform: float = 1e-10
    allowed_loss: float = 0.01
    longest_step_mm: float = 12.0
    damping: float = 1e-4
    turn_arm_mm: float = 50.0


@dataclass(frozen=True)
class JointDensityMethod:
    """Constants of the last step of a registration (`images.joint_density`), chosen on the scans at hand.

    Parameters
    ----------
    bins : int
        Bins of the intensities of either image. With 32 or 96 bins the transforms differ by at most 0.005 mm, as with
        a Parzen window of twice the width (`benchmarks/registration`).
    parzen_bins : float
        Width (sigma) of the Parzen window, in bins.
    least_density : float
        Density of an empty cell, relative to a uniform density.
    longest_step_mm : float
        Maximum length of a step.
    most_steps : int
        Maximum number of steps. An initial error of 9 mm needs about 30; a small one reaches the tolerance after a few.
    damping : float
        Added to the diagonal of the information matrix, as a fraction of its mean diagonal.
    region_mm : float
        Voxel size of the region that is matched.
    lattice_drift : float
        Maximum deviation in voxels of a voxel-to-voxel mapping from an integer mapping, between the centre of an image
        and its border. Of 34 mappings between real scans, those with a common grid had up to 0.5 before the last step,
        others 1.1 or more.
    candidates : int
        Candidate voxels per point: a brain fills more than a third of its bounding box.
    """

    bins: int = 48
    parzen_bins: float = 1.0
    least_density: float = 1e-3
    longest_step_mm: float = 1.0
    most_steps: int = 60
    damping: float = 1e-4
    region_mm: float = 2.0
    lattice_drift: float = 0.75
    candidates: int = 4


@dataclass(frozen=True)
class ResampleMethod:
    """Constants of resampling.

    Parameters
    ----------
    blurred_from : float
        A scan is blurred before it is resampled, along its axes whose voxels are shorter than the target's by more
        than this factor. Below it, the blur would have a sigma of less than 0.28 voxels.
    """

    blurred_from: float = 1.2


@dataclass(frozen=True)
class DuplicateMethod:
    """Constants of the digest by which duplicate scans are found (`images.duplicates`).

    Parameters
    ----------
    grey_levels : int
        Scans have 12 bits; a copy with a different scale or data type preserves this many grey levels.
    """

    grey_levels: int = 4095


@dataclass(frozen=True)
class RegistrationFlags:
    """Limits of the QC flags of registered scans (`qc.registration`).

    Parameters
    ----------
    least_covered : float
        Minimum share of the subject's brain that a visit must cover. On 3 mm slices the rim of a mask is about 1 %.
    sure_brain : float
        Minimum quality of the match between FLAIR and template. With a correct header it is 0.84 or more (11 real
        scans, 5 of them also at 3 mm, and 4 simulated heads). With a header rotated by 180 degrees three real scans
        had 0.59 to 0.82.
    sure : float
        Registration quality below which visual QC is required, within and across contrasts. A registration is accepted
        from `RegisterSettings.min_quality`. Measured on six heads (`benchmarks/registration`): correct registrations
        0.79 to 1.00 within and 0.57 to 1.00 across contrasts (one of 24 below this limit), wrong optima up to 0.38,
        heads of other patients up to 0.35, noise up to 0.25. Values between 0.38 and 0.57 did not occur.
    most_form_difference_mm : float
        Maximum accepted difference between qform and sform, half of the smallest common voxel. Programs round both
        differently, and a qform contains no shears.
    """

    least_covered: float = 0.99
    sure_brain: float = 0.8
    sure: float = 0.6
    most_form_difference_mm: float = 0.5


@dataclass(frozen=True)
class SamplingMethod:
    """Constants of the images and points that a registration compares, chosen on the scans at hand.

    Parameters
    ----------
    foreground_share, foreground_percentile : float
        The head is brighter than this fraction of this percentile of the positive voxels.
    inner_depth_mm, inner_spacing_mm : float
        Without a brain mask the points lie at least this deep in the head, on a grid of this voxel size: brain rather
        than scalp.
    smoothing : float
        Gaussian width of an averaged image, as a fraction of the voxel size.
    smoothed_up_to : float
        Axes whose voxels are longer than this multiple of the wanted voxel size are not smoothed.
    rounded_up : float
        Added to the number of voxels of a block before it is cut to a whole number: blocks of up to this fraction of a
        voxel more than the wanted voxel size.
    range_percentiles : tuple of float
        Percentiles of the intensities between which the bins of a histogram lie.
    bins : int
        Bins of the intensities of the fixed image, whose conditional means predict the moving image.
    min_points : int
        Minimum number of points for a registration.
    """

    foreground_share: float = 0.15
    foreground_percentile: int = 95
    inner_depth_mm: float = 10.0
    inner_spacing_mm: float = 4.0
    smoothing: float = 0.6
    smoothed_up_to: float = 1.5
    rounded_up: float = 0.26
    range_percentiles: tuple[float, float] = (0.5, 99.5)
    bins: int = 32
    min_points: int = 200


@dataclass(frozen=True)
class AgreementMethod:
    """Constants of the quality of a registration (`images.agreement`), chosen on the benchmark pairs.

    Parameters
    ----------
    part_mm : float
        Size of a part: large enough to contain structure, small enough for independent results.
    away_mm : float
        Shift in both directions along each axis with which a part is compared.
    least_share, full_percentile : float
        Parts with fewer points than this fraction of this percentile of all parts (a full part) are excluded.
    bins : int
        Bins of the intensities of either image.
    """

    part_mm: float = 30.0
    away_mm: float = 4.0
    least_share: float = 0.3
    full_percentile: int = 90
    bins: int = 32


@dataclass(frozen=True)
class MutualInformationMethod:
    """Constants of the second registration method (Mattes et al., IEEE Trans Med Imaging 2003;22:120; SimpleITK).

    Parameters
    ----------
    spacing_mm : float
        Voxel size of both images.
    bins : int
        Bins of the joint histogram.
    sampled_share : float
        Fraction of the voxels that are compared.
    seed : int
        Of the sampled voxels.
    longest_step_mm, shortest_step_mm : float
        Step size of the gradient descent at the start and at the end.
    iterations : int
        Maximum number of steps at each level.
    levels : tuple of int
        Shrink factor, and Gaussian width in mm, of each level.
    head_mm, head_spacing_mm, top_percentile : float
        The centre of the head is that of the foreground down to this distance below its top, on a grid of this voxel
        size. The top is this percentile of the height of the foreground.
    """

    spacing_mm: float = 2.0
    bins: int = 32
    sampled_share: float = 0.2
    seed: int = 42
    longest_step_mm: float = 2.0
    shortest_step_mm: float = 0.01
    iterations: int = 100
    levels: tuple[int, ...] = (4, 2, 1)
    head_mm: float = 150.0
    head_spacing_mm: float = 8.0
    top_percentile: float = 99.5


@dataclass(frozen=True)
class CoverageMethod:
    """Share of the brain that a scan must show.

    Parameters
    ----------
    least : float
        Minimum share of the subject's brain in a FLAIR. Below, it is cut off or shows another body part.
    whole : float
        Minimum share of the brain in any other scan, otherwise a QC flag is set. Differences of skull-stripping are
        smaller.
    """

    least: float = 0.5
    whole: float = 0.95


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
    finer_share : float
        A single 3D scan with a voxel side below this fraction of `isotropic_grid_mm` is resampled to that size; others
        keep their own voxels.
    margin_mm : float
        Margin of the grid around the brain.
    outline_mm : float
        Voxel size at which the outline of the brain is taken.
    """

    isotropic_max_mm: float = 1.5
    isotropic_grid_mm: float = 1.0
    coarsest_in_plane_mm: float = 1.0
    finer_share: float = 0.8
    margin_mm: float = 8.0
    outline_mm: float = 4.0
