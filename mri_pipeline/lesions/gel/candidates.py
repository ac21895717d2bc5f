"""Candidates for gadolinium-enhancing lesions, and what is found at a visit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.lesions.gel.probability import GelFeatures


class GelReason(StrEnum):
    """Reason why an enhancing component is not counted as a lesion."""

    TOO_SMALL = "too_small"
    NO_T2_CORRELATE = "no_t2_correlate"
    BRAIN_EDGE = "brain_edge"  # dura, cortical vein, partial volume
    IN_FLUID = "in_fluid"  # choroid plexus, flow
    NOT_IN_WHITE_MATTER = "not_in_white_matter"
    TUBULAR = "tubular"  # vessel


@dataclass(frozen=True)
class GelCandidate:
    """An enhancing component.

    Parameters
    ----------
    x_mm, y_mm, z_mm : float
        Centroid in world space (RAS).
    volume_mm3 : float
    enhancement : float
        Upper decile of the increase, as a fraction of white matter intensity.
    features : GelFeatures
    probability : float
        Probability that it is a lesion, 0 to 1.
    reasons : tuple of GelReason
        Reasons for rejection; empty for a lesion.
    """

    x_mm: float
    y_mm: float
    z_mm: float
    volume_mm3: float
    enhancement: float
    features: GelFeatures
    probability: float
    reasons: tuple[GelReason, ...] = ()

    @property
    def accepted(self) -> bool:
        """True if it is counted as a lesion."""
        return not self.reasons


@dataclass(frozen=True)
class GelDetection:
    """Enhancing lesions of a visit.

    Parameters
    ----------
    mask : LabelImage
        Numbered lesions.
    candidates : tuple of GelCandidate
        All candidates: lesions first, then by descending enhancement.
    places : LabelImage
        Voxels of the candidates, labelled by their position in `candidates`, from 1.
    """

    mask: LabelImage
    candidates: tuple[GelCandidate, ...]
    places: LabelImage

    @property
    def probability(self) -> Image:
        """Probability map: the probability of each candidate in its voxels, 0 elsewhere."""
        table = np.array([0.0, *(candidate.probability for candidate in self.candidates)], dtype=np.float32)
        return Image(table[self.places.data], self.places.grid)
