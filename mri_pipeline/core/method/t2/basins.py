"""Constants of further T2 candidates (`lesions.t2.basins`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class T2Basins:
    """Candidates for small and faint T2 lesions, and their acceptance.

    Contrast is relative to the white matter around, in standard deviations of normal white matter.

    Parameters
    ----------
    least_spread : float
        Minimum of that standard deviation, in the unit of `lesions.contrast`.
    least_prominence : float
        A local maximum is this far above its saddle to a higher one.
    rounding : float
        Relative rounding error of that difference.
    least_peak : float
        Minimum contrast of a local maximum.
    floor : float
        Minimum contrast of a basin.
    most_contrast, most_score : float
        Contrasts, and scores of the T2 rule relative to its threshold, are clipped to this value.
    least_mm3, most_mm3 : float
        Volume of a candidate.
    near_mm, wide_mm : float
        Width of the rings around a candidate. `near_mm` is also the distance to white matter, and the reach of the
        mirrored position.
    near_white_matter : float
        Minimum mean probability of white matter near a local maximum.
    mirror_smoothing_mm : float
        Gaussian blur of the contrast at the mirrored position.
    most_elongation : float
        Elongations are clipped to this value.
    far_mm : float
        Distances to CSF are clipped to this value.
    least_probability : float
        Minimum probability of an accepted candidate. Chosen by leave-one-patient-out (benchmarks/accuracy): with 0.5
        more lesions are found, and more false ones in heads without lesions.
    least_contrast, least_score : float
        An accepted candidate has at least this mean contrast, and at least this maximum of the score of the T2 rule
        relative to its threshold. Noise in homogeneous white matter seldom reaches both.
    most_grey_mm3 : float
        Maximum volume of an accepted candidate that is grey matter. A larger one is a gyrus. With each patient left
        out (07, 19 and P14 of ``benchmarks/accuracy``), true lesions had 24 to 93 mm³ of grey matter, and all
        candidates with 150 to 350 mm³ were gyri, all of P14.
    present_share : float
        A lesion is present at another visit if its mean contrast is at least this fraction of that at the accepting
        visit.
    """

    least_spread: float = 0.4
    least_prominence: float = 0.6
    rounding: float = 1e-4
    least_peak: float = 2.2
    floor: float = 0.8
    most_contrast: float = 20.0
    most_score: float = 8.0
    least_mm3: float = 10.0
    most_mm3: float = 4000.0
    near_mm: float = 2.0
    wide_mm: float = 4.0
    near_white_matter: float = 0.15
    mirror_smoothing_mm: float = 0.6
    most_elongation: float = 5.0
    far_mm: float = 15.0
    least_probability: float = 0.6
    least_contrast: float = 2.5
    least_score: float = -2.0
    most_grey_mm3: float = 100.0
    present_share: float = 0.5
