"""Constants of the lesion candidates that are evaluated at several levels of a map."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeSettings:
    """Levels and limits of the candidates.

    Parameters
    ----------
    levels : tuple of float
        Levels of the map at which connected components are evaluated.
    least_mm3, most_mm3 : float
        Volume of the components that are evaluated.
    ring_mm : float
        Width of the surroundings of a component in mm.
    reach_mm : float
        Distance by which an accepted component extends to its half-height border.
    least_probability : float
        Minimum probability of a component to be a lesion.
    """

    levels: tuple[float, ...]
    least_mm3: float
    most_mm3: float
    least_probability: float
    ring_mm: float
    reach_mm: float
