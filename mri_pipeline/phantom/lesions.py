"""Lesions of natural shape and their appearance at each visit; `placing` positions them.

The shapes of a lesion at different volumes are sublevel sets of one field, a warped ellipsoid within the tissue where
lesions are allowed. When a lesion grows or shrinks, the level changes; its centre and the irregularity of its outline
do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.anatomy import Location
from mri_pipeline.phantom.fields import Float32Array

ENHANCING_SHARE = 0.75
"""Share of a lesion's volume that enhances. The surrounding oedema is bright on FLAIR only."""
BLACK_HOLE_SHARE = 0.6
"""Share of a black-hole lesion's volume that is as dark as the hole; the rim is brighter."""
RING_CORE_SHARE = 0.4
"""Share of the enhancing part's volume that is the dark centre of a ring."""
EDGE_MM = 1.6
"""Width of the soft edge, centred on the outline of the true mask."""


@dataclass(frozen=True)
class Phase:
    """One lesion at one visit.

    Parameters
    ----------
    volume_mm3 : float
        T2 volume; 0 where there is no lesion.
    enhancement : float
        Post-contrast T1 signal above white matter, as a share of it; 0 does not enhance.
    ring : bool
        Whether the enhancement spares the centre.
    black_hole : bool
        Whether the core is as dark as a black hole on T1.
    acute : bool
        Whether the lesion is fresh: brighter on FLAIR and T2.
    """

    volume_mm3: float
    enhancement: float = 0.0
    ring: bool = False
    black_hole: bool = False
    acute: bool = False


@dataclass(frozen=True)
class LesionPlan:
    """Plan of a lesion: region, and one phase per visit.

    Parameters
    ----------
    location : Location
    phases : tuple of Phase
        In the order of the visits.
    beside : LesionPlan, optional
        Its neighbour, a lesion of constant size. The two touch only while this lesion is largest.
    """

    location: Location
    phases: tuple[Phase, ...]
    beside: LesionPlan | None = None

    @property
    def largest_mm3(self) -> float:
        """Maximum volume over the visits."""
        return max(phase.volume_mm3 for phase in self.phases)


@dataclass(frozen=True, eq=False)
class Lesion:
    """A placed lesion.

    Parameters
    ----------
    lesion_id : int
        From 1, in the order of the plans.
    plan : LesionPlan
    box : tuple of slice
        Its part of the anatomy's grid.
    level : ndarray of float32
        The shape field in the box, in mm-like units; infinite where it may not be.
    """

    lesion_id: int
    plan: LesionPlan
    box: tuple[slice, slice, slice]
    level: Float32Array

    def threshold(self, volume_mm3: float) -> float:
        """The level below which the shape has a given volume.

        Parameters
        ----------
        volume_mm3 : float
            Voxels are 1 mm³.

        Returns
        -------
        float
            Minus infinity for no volume, infinity for all of the box that the lesion may occupy or more.
        """
        count = round(volume_mm3)
        values = self.level[np.isfinite(self.level)]
        if count <= 0 or count >= values.size:
            return -np.inf if count <= 0 else np.inf
        return float(np.partition(values, count)[count])

    def mask(self, volume_mm3: float) -> NDArray[np.bool_]:
        """The shape of a given volume.

        Parameters
        ----------
        volume_mm3 : float

        Returns
        -------
        ndarray of bool, shape of the box
        """
        return np.asarray(self.level < self.threshold(volume_mm3))

    def soft(self, volume_mm3: float, *, edge_mm: float = EDGE_MM) -> Float32Array:
        """The shape with a soft edge.

        Parameters
        ----------
        volume_mm3 : float
        edge_mm : float
            Width of the edge.

        Returns
        -------
        ndarray of float32, shape of the box
            0 to 1, 0.5 on the outline.
        """
        if volume_mm3 <= 0:
            return np.zeros(self.level.shape, dtype=np.float32)
        depth = self.threshold(volume_mm3) - np.nan_to_num(self.level, posinf=1e6)
        return np.asarray(np.clip(0.5 + depth / edge_mm, 0.0, 1.0), dtype=np.float32)

    def t2_mask(self, visit: int) -> NDArray[np.bool_]:
        """The true T2 lesion at a visit.

        Parameters
        ----------
        visit : int
            Number of the visit, from 0.

        Returns
        -------
        ndarray of bool, shape of the box
        """
        return self.mask(self.plan.phases[visit].volume_mm3)

    def enhancing_soft(self, visit: int) -> Float32Array:
        """Enhancing fraction of each voxel at a visit.

        Parameters
        ----------
        visit : int
            Number of the visit, from 0.

        Returns
        -------
        ndarray of float32, shape of the box
            0 to 1; zeros if the lesion does not enhance.
        """
        phase = self.plan.phases[visit]
        if phase.enhancement <= 0:
            return np.zeros(self.level.shape, dtype=np.float32)
        volume = ENHANCING_SHARE * phase.volume_mm3
        soft = self.soft(volume, edge_mm=1.0)
        return soft - self.soft(RING_CORE_SHARE * volume, edge_mm=1.0) if phase.ring else soft

    def gel_mask(self, visit: int) -> NDArray[np.bool_]:
        """The true enhancing voxels at a visit, without the dark centre of a ring.

        Parameters
        ----------
        visit : int
            Number of the visit, from 0.

        Returns
        -------
        ndarray of bool, shape of the box
        """
        phase = self.plan.phases[visit]
        if phase.enhancement <= 0:
            return np.zeros(self.level.shape, dtype=bool)
        volume = ENHANCING_SHARE * phase.volume_mm3
        mask = self.mask(volume)
        return mask & ~self.mask(RING_CORE_SHARE * volume) if phase.ring else mask

    def black_hole_mask(self, visit: int) -> NDArray[np.bool_]:
        """The true black hole at a visit: none while the lesion enhances.

        Parameters
        ----------
        visit : int
            Number of the visit, from 0.

        Returns
        -------
        ndarray of bool, shape of the box
        """
        phase = self.plan.phases[visit]
        if not phase.black_hole or phase.enhancement > 0:
            return np.zeros(self.level.shape, dtype=bool)
        return self.mask(BLACK_HOLE_SHARE * phase.volume_mm3)
