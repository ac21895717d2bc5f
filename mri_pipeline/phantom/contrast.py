"""Signal of each tissue in each contrast, relative to normal white matter.

White matter is 1. Grey matter, CSF and lesions follow the 3 T and 1.5 T scans of the Ljubljana data sets (Lesjak
et al. 2016, 2018: FLAIR grey 1.2, lesions 1.4 to 1.5, CSF 0.15 to 0.3; T1 grey 0.72 to 0.85; T2 grey 1.3 to 1.4,
lesions 1.5 to 2.1); the other tissues follow textbook appearance. Lesion values are those of a core: partial
volume at the soft edge brings the median over the whole mask to the values above.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.anatomy import Tissue


class T1Technique(StrEnum):
    """Type of T1 weighting. It sets the grey-white contrast and the signal of flowing blood."""

    SPIN_ECHO = "spin_echo"
    GRADIENT_ECHO = "gradient_echo"


@dataclass(frozen=True)
class LesionSignal:
    """Signal of lesions relative to white matter (1).

    Parameters
    ----------
    acute, chronic : float
        Core of a fresh and of an older lesion.
    black_hole : float
        Core of a black hole.
    """

    acute: float
    chronic: float
    black_hole: float


_ORDER = (
    Tissue.GREY, Tissue.DEEP_GREY, Tissue.IRON, Tissue.WHITE, Tissue.CSF, Tissue.FLOWING_CSF, Tissue.VEIN,
    Tissue.ARTERY, Tissue.CHOROID_PLEXUS, Tissue.DURA, Tissue.BONE, Tissue.MARROW, Tissue.FAT, Tissue.MUSCLE,
    Tissue.SKIN, Tissue.EYE,
)  # fmt: skip


def _table(*values: float) -> dict[Tissue, float]:
    return dict(zip(_ORDER, values, strict=True))


# order:        grey  deep  iron  white csf   flow  vein  art   plex  dura  bone  marr  fat   musc  skin  eye
_T1_SE = _table(0.83, 0.90, 0.95, 1.00, 0.36, 0.38, 0.35, 0.25, 0.55, 0.55, 0.08, 1.15, 2.00, 0.72, 0.80, 0.38)
_T1_SE_GD = _table(0.87, 0.92, 0.97, 1.01, 0.37, 0.40, 2.00, 1.10, 1.75, 1.30, 0.08, 1.20, 2.00, 0.85, 0.95, 0.40)
_T1_GRE = _table(0.74, 0.85, 0.93, 1.00, 0.22, 0.24, 0.70, 1.30, 0.50, 0.50, 0.06, 1.00, 1.60, 0.66, 0.75, 0.25)
_T1_GRE_GD = _table(0.79, 0.88, 0.95, 1.01, 0.23, 0.25, 2.20, 2.10, 1.60, 1.20, 0.06, 1.05, 1.60, 0.78, 0.90, 0.28)
_T2 = _table(1.36, 1.20, 0.80, 1.00, 2.90, 2.60, 0.45, 0.25, 2.00, 0.50, 0.08, 0.90, 1.50, 0.55, 0.80, 3.00)
_FLAIR = _table(1.21, 1.10, 0.82, 1.00, 0.18, 0.32, 0.45, 0.30, 0.95, 0.60, 0.06, 0.55, 0.75, 0.55, 0.70, 0.20)
_PD = _table(1.18, 1.10, 0.90, 1.00, 1.25, 1.15, 0.40, 0.25, 1.20, 0.60, 0.08, 0.90, 1.40, 0.80, 0.90, 1.20)

# on spin-echo T1 most lesions look like white matter; gradient-echo T1 shows all of them darker
_LESIONS_T1_SE = LesionSignal(acute=0.92, chronic=0.95, black_hole=0.62)
_LESIONS_T1_GRE = LesionSignal(acute=0.86, chronic=0.88, black_hole=0.55)
_LESIONS: Mapping[Contrast, LesionSignal] = {
    Contrast.T2W: LesionSignal(acute=2.00, chronic=1.85, black_hole=2.20),
    Contrast.FLAIR: LesionSignal(acute=1.62, chronic=1.52, black_hole=1.44),
    Contrast.PDW: LesionSignal(acute=1.35, chronic=1.30, black_hole=1.35),
}

PERIVENTRICULAR_CAP: Mapping[Contrast, float] = {
    Contrast.T1W: -0.03, Contrast.T1W_GD: -0.03, Contrast.T2W: 0.10, Contrast.FLAIR: 0.14, Contrast.PDW: 0.06,
}  # fmt: skip
"""Normal signal of the ventricular lining at the wall. It is not a lesion."""


def tissue_signals(contrast: Contrast, technique: T1Technique = T1Technique.SPIN_ECHO) -> Mapping[Tissue, float]:
    """Signal of every tissue, white matter being 1.

    Parameters
    ----------
    contrast : Contrast
    technique : T1Technique
        Not used for contrasts other than T1.

    Returns
    -------
    mapping of Tissue to float

    Examples
    --------
    >>> flair = tissue_signals(Contrast.FLAIR)
    >>> flair[Tissue.CSF] < flair[Tissue.WHITE] < flair[Tissue.GREY]
    True
    """
    if contrast is Contrast.T1W:
        return _T1_SE if technique is T1Technique.SPIN_ECHO else _T1_GRE
    if contrast is Contrast.T1W_GD:
        return _T1_SE_GD if technique is T1Technique.SPIN_ECHO else _T1_GRE_GD
    return {Contrast.T2W: _T2, Contrast.FLAIR: _FLAIR, Contrast.PDW: _PD}[contrast]


def lesion_signal(contrast: Contrast, technique: T1Technique = T1Technique.SPIN_ECHO) -> LesionSignal:
    """Signal of a lesion that does not enhance; an enhancing one has 1 + its enhancement on post-contrast T1.

    Parameters
    ----------
    contrast : Contrast
    technique : T1Technique
        Not used for contrasts other than T1.

    Returns
    -------
    LesionSignal
    """
    if contrast in (Contrast.T1W, Contrast.T1W_GD):
        return _LESIONS_T1_SE if technique is T1Technique.SPIN_ECHO else _LESIONS_T1_GRE
    return _LESIONS[contrast]
