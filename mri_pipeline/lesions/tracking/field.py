"""Parts of the grid of a subject that the tracking processes."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mri_pipeline.core.crop import Crop
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.spatial import BoolArray, Image, LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.lesions.change.detect import REACH_MM, SmoothFlair, change_evidence
from mri_pipeline.lesions.tracking.labelled import LabelledVisit


@dataclass(frozen=True, eq=False)
class Field:
    """Processed parts of the grid: the brain for images, the surroundings of all visits' lesions for masks.

    Parameters
    ----------
    head : Crop
        Box around the brain and the lesions, on the grid of the subject.
    around : Crop
        Box around the lesions of all visits, on the grid of `head`.
    brain : ndarray of bool
        On the grid of `head`.
    location : LabelImage
        `anatomy.LOCATION_LABELS` on the grid of `around`.
    """

    head: Crop
    around: Crop
    brain: BoolArray
    location: LabelImage

    @classmethod
    def of(cls, visits: Sequence[VisitMasks], location: LabelImage) -> Field:
        """Boxes around the brain and the lesions of these visits.

        Parameters
        ----------
        visits : sequence of VisitMasks
            All visits of the subject.
        location : LabelImage
            `anatomy.LOCATION_LABELS` on the grid of the subject; 0 outside the brain.

        Returns
        -------
        Field

        Raises
        ------
        GridMismatchError
            If a mask or FLAIR is not on the grid of `location`.
        UsageError
            If a visit is given twice.
        """
        repeated = [label for label, times in Counter(v.visit for v in visits).items() if times > 1]
        if repeated:
            raise UsageError(
                f"expected each visit once, found {', '.join(repeated)} more than once",
                hint="give every visit its own label",
            )
        for v in visits:
            for image in (v.t2_lesions, v.gel, v.black_holes, v.flair, v.t1_hypointensity):
                if image is not None:
                    location.grid.require_same(image.grid, f"visit {v.visit}")
        present = [i.mask for v in visits for i in (v.t2_lesions, v.gel, v.black_holes) if i is not None]
        lesions = functools.reduce(np.logical_or, present, np.zeros(location.grid.shape, dtype=bool))
        head = Crop.around([location.mask, lesions], location.grid)
        reach = math.ceil(REACH_MM / min(location.grid.spacing_mm))
        around = Crop.around([lesions[head.box]], head.inner, margin=reach)
        inside = head.labels(location)
        return cls(head, around, inside.mask, around.labels(inside))

    def masks(self, visit: VisitMasks) -> VisitMasks:
        """Masks of a visit around the lesions, without FLAIR.

        Parameters
        ----------
        visit : VisitMasks
            On the grid of the subject.

        Returns
        -------
        VisitMasks
            On the grid of `around`.
        """
        return self.around.masks(self.head.masks(replace(visit, flair=None)))

    def flair(self, visit: VisitMasks) -> SmoothFlair | None:
        """FLAIR of a visit within the brain.

        Parameters
        ----------
        visit : VisitMasks
            On the grid of the subject.

        Returns
        -------
        SmoothFlair or None
            On the grid of `head`; None without FLAIR.
        """
        return None if visit.flair is None else SmoothFlair.of(self.head.image(visit.flair))

    def evidence(self, reference: LabelledVisit, now: LabelledVisit) -> Image | None:
        """z-map of the change of FLAIR around the lesions.

        Parameters
        ----------
        reference, now : LabelledVisit
            The reference visit and the visit.

        Returns
        -------
        Image or None
            On the grid of `around`; None if a FLAIR is missing.
        """
        if reference.flair is None or now.flair is None:
            return None
        lesions = reference.masks.t2_lesions.mask | now.masks.t2_lesions.mask
        whole = self.around.restored(LabelImage(lesions, self.around.inner)).mask
        return self.around.image(change_evidence(reference.flair, now.flair, self.brain, lesions=whole))

    def restored(self, image: LabelImage) -> LabelImage:
        """Labels on the whole grid of the subject.

        Parameters
        ----------
        image : LabelImage
            On the grid of `around`.

        Returns
        -------
        LabelImage
            0 outside the box.
        """
        return self.head.restored(self.around.restored(image))
