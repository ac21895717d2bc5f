"""Self-calibration of a scan: settings, and the detection rates of simulated lesions.

Results do not depend on these settings. They are therefore not part of `mri_pipeline.core.method.METHOD`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class SimulatedKind(StrEnum):
    """Kind of a simulated lesion."""

    T2 = "T2"
    GEL = "GEL"


@dataclass(frozen=True)
class CalibrationSettings:
    """Settings of the simulated lesions.

    Lesions that experts have marked have 1.40 to 1.44 of white matter on FLAIR (three patients). This is the middle
    contrast of T2 lesions. Enhancement below 20 % is at the noise.

    Parameters
    ----------
    diameters_mm : tuple of float
        Diameters of the sphere of equal volume, ascending.
    t2_contrasts : tuple of float
        Increase of T2 lesions on FLAIR over the white matter around, as a share of it.
    gel_contrasts : tuple of float
        Increase of enhancing lesions on T1 after contrast, likewise.
    t2w_per_flair : float
        Increase on T2w for an increase of 1 on FLAIR.
    t1_decrease : float
        Decrease of T2 lesions on T1 over the white matter around, as a share of it.
    gel_flair_contrast, gel_rim_mm : float
        Increase of enhancing lesions on FLAIR, and how far it extends beyond the enhancement.
    repeats : int
        Lesions of each kind, diameter and contrast.
    per_run : int
        Lesions in the scan at a time.
    most_runs : int
        Maximum number of runs of the lesion steps. Lesions that find no place in them are left out.
    apart_mm : float
        Least distance between the surfaces of two simulated lesions.
    apart_mirrored_mm : float
        Least distance of the surface of a simulated lesion from that of another one that is mirrored to its side. The
        comparison of the sides reaches 1 mm and smooths by 1.5 mm (`core.method.t2.T2Symmetry`).
    from_own_mm : float
        Least distance to the lesions of the patient.
    least_white_matter : float
        Least probability of white matter of all voxels of a lesion.
    around_mm : tuple of float
        Distances from the surface between which white matter is the reference.
    axis_ratio : float
        Largest factor between an axis of a lesion, an ellipsoid, and its diameter.
    found_share : float
        A lesion is found if at least this share of its volume is segmented. The same rule scores accuracy
        (`lesions.scoring`).
    shown_rate : float
        Least detection rate of a size of lesion that the scan shows.
    least_lesions : int
        Least number of simulated lesions of a size from which it is known whether it is shown. From 6 lesions on, a
        size of which half of the lesions are found reaches a rate of 0.8 with a probability of at most 0.11; with 5, of
        0.19.
    """

    diameters_mm: tuple[float, ...] = (3.0, 4.0, 5.0, 7.0, 10.0)
    t2_contrasts: tuple[float, ...] = (0.25, 0.4, 0.55)
    gel_contrasts: tuple[float, ...] = (0.2, 0.4, 0.6)
    t2w_per_flair: float = 1.4
    t1_decrease: float = 0.1
    gel_flair_contrast: float = 0.4
    gel_rim_mm: float = 1.0
    repeats: int = 8
    per_run: int = 40
    most_runs: int = 8
    apart_mm: float = 10.0
    apart_mirrored_mm: float = 4.0
    from_own_mm: float = 5.0
    least_white_matter: float = 0.5
    around_mm: tuple[float, float] = (2.0, 6.0)
    axis_ratio: float = 1.25
    found_share: float = 0.1
    shown_rate: float = 0.8
    least_lesions: int = 6

    def middle_contrast(self, kind: SimulatedKind) -> float:
        """Usual contrast of a kind of lesion: the middle one that is simulated.

        Parameters
        ----------
        kind : SimulatedKind

        Returns
        -------
        float
        """
        contrasts = sorted({SimulatedKind.T2: self.t2_contrasts, SimulatedKind.GEL: self.gel_contrasts}[kind])
        return contrasts[len(contrasts) // 2]


@dataclass(frozen=True)
class DetectionRate:
    """Detection rate of the simulated lesions of one kind, contrast and size in the scans of one visit.

    Parameters
    ----------
    visit : str
    kind : SimulatedKind
    contrast : float or None
        Increase over white matter, as a share of it; None for all contrasts.
    diameter_mm : float
    inserted, found : int
    low, high : float
        95 % confidence interval of the rate (Wilson).
    """

    visit: str
    kind: SimulatedKind
    contrast: float | None
    diameter_mm: float
    inserted: int
    found: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Share of the lesions that were found."""
        return self.found / self.inserted


@dataclass(frozen=True)
class VisitCalibration:
    """Result of the self-calibration of a visit.

    Parameters
    ----------
    visit : str
        Label; empty if it was not calibrated.
    rates : tuple of DetectionRate
    note : str
        Why there are no rates; empty if there are.
    """

    visit: str = ""
    rates: tuple[DetectionRate, ...] = ()
    note: str = ""


NOT_CALIBRATED: Final = VisitCalibration()

FAILED: Final = "the self-calibration failed"
"""Begin of the note of a visit whose self-calibration failed. The next run repeats it."""
