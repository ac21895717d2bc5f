"""The faces of the subjects of a worklist, each located once in the subject's space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.derivative_layout import SpaceFiles
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Grid, LabelImage
from mri_pipeline.images.face import face_region


@dataclass(frozen=True)
class PackedMask:
    """A mask with one bit for each voxel. The masks of all subjects of a trial are in memory at once.

    Parameters
    ----------
    bits : ndarray of uint8
        As of `numpy.packbits`.
    grid : Grid
    """

    bits: NDArray[np.uint8]
    grid: Grid

    @classmethod
    def of(cls, mask: LabelImage) -> Self:
        """Pack a mask.

        Parameters
        ----------
        mask : LabelImage

        Returns
        -------
        PackedMask

        Examples
        --------
        >>> mask = LabelImage(np.eye(3, dtype=np.uint8)[..., None], Grid((3, 3, 1), np.eye(4)))
        >>> PackedMask.of(mask).unpacked().data[..., 0].tolist()
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
        """
        return cls(np.packbits(mask.mask), mask.grid)

    def unpacked(self) -> LabelImage:
        """The mask.

        Returns
        -------
        LabelImage
        """
        flat = np.unpackbits(self.bits, count=prod(self.grid.shape))
        return LabelImage(flat.reshape(self.grid.shape), self.grid)


def locate_faces(spaces: Iterable[SpaceFiles]) -> tuple[Mapping[str, PackedMask], Mapping[str, AnalysisError]]:
    """Locate the face of each subject (`mri_pipeline.images.face.face_region`).

    Parameters
    ----------
    spaces : iterable of SpaceFiles

    Returns
    -------
    faces : mapping of str to PackedMask
        By blinded code.
    failed : mapping of str to AnalysisError
        Subjects whose face cannot be located, with the reason.
    """
    faces, failed = {}, {}
    template = load_template()
    for space in spaces:
        brain, to_subject = nifti.load_labels(space.brain), load_transform(space.template_to_subject)
        try:
            faces[space.subject] = PackedMask.of(face_region(brain, template, to_subject))
        except AnalysisError as error:
            failed[space.subject] = error
    return faces, failed
