"""Known motions: real 1 mm scans cut into thick slices after a random motion, for ours and for the other tools.

The scans are those of `cross_sectional_mni` (3 T, skull-stripped, four contrasts of one visit on one grid). Each trial
moves both scans by up to 10 mm and 10° about each axis, against each other, averages 3 mm slices and adds 2 % noise to
the noise they have. Across contrasts the truth is as good as the publishers' alignment of the four scans.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mri_pipeline.images.resample import resample
from mri_pipeline.model import Affine, Grid, Image, LabelImage
from mri_pipeline.nifti import load_image

SLICE_MM = 3
NOISE = 0.02
FOLDER = Path("ljubljana") / "cross_sectional_mni"
CONTRASTS = ("FLAIR", "T1", "T1POST", "T2")


@dataclass(frozen=True)
class Trial:
    """Two cut scans, the fixed one's brain, and the way from fixed to moving."""

    contrast: str
    fixed: Image
    moving: Image
    mask: LabelImage
    truth: Affine


def motion(rng: np.random.Generator, mm: float, degrees: float) -> Affine:
    """A random rigid motion about the world's origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix()
    matrix[:3, 3] = rng.uniform(-mm, mm, 3)
    return Affine(matrix)


def cut(image: Image, move: Affine, rng: np.random.Generator, noise: float) -> Image:
    """The scan after a motion, in axial slices."""
    depth = 66 * SLICE_MM
    affine = np.eye(4)
    affine[:3, 3] = (-95 + rng.uniform(), -125 + rng.uniform(), -80 + rng.uniform(0, SLICE_MM))
    moved = resample(image, Grid((192, 232, depth), affine), move, order=1).data
    slices = moved.reshape(192, 232, depth // SLICE_MM, SLICE_MM).mean(axis=-1)
    slices = slices + noise * np.percentile(slices, 98) * rng.standard_normal(slices.shape)
    thick = affine @ np.diag([1.0, 1.0, SLICE_MM, 1.0])
    thick[2, 3] += (SLICE_MM - 1) / 2
    return Image(slices.astype(np.float32), Grid(slices.shape, thick))


def trials(data: Path, number: int, seed: int = 2026) -> Iterator[Trial]:
    """`number` trials for each contrast against FLAIR, patients in turn."""
    rng = np.random.default_rng(seed)
    for k in range(number):
        folder = data / FOLDER / ("patient07", "patient19")[k % 2]
        flair = load_image(folder / "FLAIR.nii.gz")
        for contrast in CONTRASTS:
            to_fixed, to_moving = motion(rng, 5.0, 5.0), motion(rng, 5.0, 5.0)
            fixed = cut(flair, to_fixed, rng, NOISE)
            moving = cut(load_image(folder / f"{contrast}.nii.gz"), to_moving, rng, NOISE)
            brain = cut(Image((flair.data > 0).astype(np.float32), flair.grid), to_fixed, rng, 0.0)
            mask = LabelImage(
                resample(brain, fixed.grid, order=1).data > 0.5, fixed.grid
            )  # `cut` draws another offset: bring it onto the scan's own slices
            yield Trial(contrast, fixed, moving, mask, to_moving @ to_fixed.inverse())
