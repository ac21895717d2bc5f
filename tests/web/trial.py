"""A small trial with an asymmetric phantom: T2 lesions on both sides that are no mirror images of each other."""

from pathlib import Path

import numpy as np

from mri_pipeline.core.io import nifti
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.core.visits import Contrast
from tests.unit.web_trial import write_web_trial

SHAPE = (40, 44, 14)
T2_CENTRES = ((8, 12, 4), (31, 14, 4), (10, 30, 5), (29, 32, 3), (20, 8, 2), (13, 20, 2), (27, 21, 5))
"""Voxels (RAS) of 2D scans of 40 x 44 x 14; the upper half of the volume is free for drawings."""
GEL_CENTRES = T2_CENTRES[:2]
BH_CENTRES = T2_CENTRES[2:3]


def balls(shape: tuple[int, int, int], centres: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Discs of 5 voxels in 2 slices; the centres are scaled with the shape."""
    scale = np.array(shape) / SHAPE
    x, y, z = np.indices(shape)
    mask = np.zeros(shape, np.uint8)
    for i, j, k in np.rint(np.array(centres) * scale).astype(int):
        mask[((x - i) ** 2 + (y - j) ** 2 <= 6) & (z >= k) & (z <= k + 1)] = 1
    return mask


def write_browser_trial(folder: Path, *, subjects: int = 2, shape: tuple[int, int, int] = SHAPE) -> Trial:
    """As `write_web_trial`, with the lesions of this module in all visits."""
    trial = write_web_trial(folder, subjects=subjects, shape=shape)
    for number in range(subjects):
        code = f"BENCH{number:03d}"
        for visit in trial.derivatives.visits(code):
            flair = trial.derivatives.image(code, visit, Contrast.FLAIR)
            for label, centres in (("T2lesion", T2_CENTRES), ("GEL", GEL_CENTRES), ("BH", BH_CENTRES)):
                path = next(flair.parent.glob(f"*label-{label}_mask.nii.gz"))
                grid = nifti.load_labels(path).grid
                nifti.save(LabelImage(balls(grid.shape, centres), grid), path)
            image = nifti.load_image(flair)
            brain = np.where(image.data > 0.2 * image.data.max(), 1.0, image.data / image.data.max())
            bright = brain * (1 + 0.6 * balls(image.grid.shape, T2_CENTRES))
            nifti.save(Image(bright.astype(np.float32), image.grid), flair)
    return trial
