"""The region of the face, for images that leave the analysis (defacing).

The region is defined by planes in template space and brought to the subject by the registration of the template, as
published defacing tools bring a template's face (Bischoff-Grethe et al., Hum Brain Mapp 2007;28:892; Milchenko and
Marcus, Neuroinformatics 2013;11:65, on what identifies a face). The planes go through surface landmarks of the head in
MNI coordinates, the fiducials of SPM12's EEG templates: nasion (1, 85, -41), preauricular points (±83, -20, -65).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from mri_pipeline.core.crop import Crop
from mri_pipeline.core.distances import within_reach
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.io.template import Template
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, LabelImage
from mri_pipeline.images.resample import resample_nearest

MARGIN_MM: Final = 5.0
"""Everything within this distance of the brain is kept: the mask may lie a voxel or two inside the brain."""
LEAST_OVERLAP: Final = 0.85
"""Minimum Dice of the template's brain and the subject's brain. A template that lies 15 mm off has less."""

_PREAURICULAR: Final = (0.0, -20.0, -65.0)
"""Midpoint of both preauricular points, RAS mm of the template."""
_FOREHEAD: Final = (0.0, 90.0, 0.0)
"""Skin of the forehead 40 mm above the nasion, above the eyebrows."""
_EAR_MM: Final = (66.0, -60.0, 0.0, -105.0, -25.0)
"""Auricle: minimum distance from the midline, then its range along y and z (the preauricular point is its front)."""


def _planes() -> tuple[tuple[FloatArray, FloatArray], ...]:
    """Convex parts of the region, each as outward normals (n, 3) and offsets (n,): normal @ point < offset inside."""
    back, top = np.array(_PREAURICULAR), np.array(_FOREHEAD)
    slope = (top[2] - back[2]) / (top[1] - back[1])
    above = np.array([0.0, -slope, 1.0]) / np.hypot(slope, 1.0)  # normal of the plane through the three points
    front = np.array([[*above], [0.0, -1.0, 0.0]])  # below that plane, in front of the ears
    parts = [(front, np.array([above @ back, -back[1]]))]
    side, y0, y1, z0, z1 = _EAR_MM
    box = np.array([[0.0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])
    for sign in (-1.0, 1.0):
        normals = np.vstack([[-sign, 0.0, 0.0], box])
        parts.append((normals, np.array([-side, -y0, y1, -z0, z1])))
    return tuple(parts)


def face_region(
    brain: LabelImage, template: Template, template_to_subject: Affine, *, margin_mm: float = MARGIN_MM
) -> LabelImage:
    """Voxels to blank so that a head cannot be recognised: face and ears, without the brain and a margin.

    A voxel belongs to the region if any part of it does, so that thick slices leave no face. The brain is that of the
    mask and that of the template: the mask may be cut off by the field of view of another visit.

    Parameters
    ----------
    brain : LabelImage
        Brain mask of the subject on the grid of the images; any axis order, also oblique.
    template : Template
    template_to_subject : Affine
        From template world to the world of the mask.
    margin_mm : float
        Distance from the brain that is kept, in mm.

    Returns
    -------
    LabelImage
        1 for voxels to blank, on the grid of `brain`; 0 in the brain.

    Raises
    ------
    AnalysisError
        If the template does not match the brain (`LEAST_OVERLAP`): the face would be sought at the wrong place.
    """
    grid = brain.grid
    expected = _matched_template(brain, template, template_to_subject)
    to_template = template_to_subject.inverse().matrix @ grid.affine
    face = np.zeros(grid.shape, dtype=bool)
    for normals, offsets in _planes():
        face |= _touched(grid.shape, normals @ to_template[:3], offsets)
    kept = within_reach(brain.mask | expected.mask, margin_mm, grid.spacing_mm)
    return LabelImage(face & ~kept, grid)


def _matched_template(brain: LabelImage, template: Template, template_to_subject: Affine) -> LabelImage:
    """The template's brain on the grid of the subject, which must match the subject's brain."""
    expected = resample_nearest(template.brain, brain.grid, template_to_subject)
    # the mask may be cut off by the field of view: compared within its box
    crop = Crop.around([brain.mask], brain.grid, margin=0)
    own, other = brain.mask[crop.box], expected.mask[crop.box]
    total = int(np.count_nonzero(own)) + int(np.count_nonzero(other))
    overlap = 2 * int(np.count_nonzero(own & other)) / max(total, 1)
    if overlap < LEAST_OVERLAP:
        raise AnalysisError(
            f"expected the template to match the brain (Dice at least {LEAST_OVERLAP}), found {overlap:.2f}: "
            "the face cannot be located",
            hint="check the brain mask in the subject's report, and the orientation of the scan",
        )
    return expected


def _touched(shape: tuple[int, int, int], planes: FloatArray, offsets: FloatArray) -> BoolArray:
    """Voxels that reach below all planes; a row of `planes` maps voxel indices to the distance along its normal."""
    inside = np.ones(shape, dtype=bool)
    i, j, k = np.ogrid[tuple(slice(n) for n in shape)]
    for (a, b, c, d), offset in zip(planes, offsets, strict=True):
        reach = 0.5 * (abs(a) + abs(b) + abs(c))  # of a voxel from its centre
        inside &= a * i + b * j + c * k + d - reach < offset
    return inside
