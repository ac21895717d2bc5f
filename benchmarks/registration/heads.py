"""Real heads of the registration benchmarks: brain masks of our own, pairs, different patients, displaced headers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.images.brain import extract_brain

LONGITUDINAL = Path("ljubljana") / "longitudinal"
HEADS = {
    "01": [LONGITUDINAL / "patient01" / f"study{s}_" for s in (1, 2)],
    "03": [LONGITUDINAL / "patient03" / f"study{s}_" for s in (1, 2)],
    "19": [LONGITUDINAL / "patient19" / f"study{s}_" for s in (1, 2)],
    "P14": [Path("mslesseg") / "P14" / f"T{s}" / "x" for s in (1, 2, 3)],
    "mni07": [Path("ljubljana") / "cross_sectional_mni" / "patient07" / "x"],
    "mni19": [Path("ljubljana") / "cross_sectional_mni" / "patient19" / "x"],
}
CONTRASTS = ("FLAIR", "T1W", "T2W", "T1", "T2", "T1POST")


@dataclass(frozen=True, eq=False)
class Pair:
    """Two scans of one head, or of two patients (`stranger`); `truth` is the authors' transform, moving to fixed."""

    name: str
    fixed: Path
    moving: Path
    intra_modal: bool
    truth: Affine | None = None
    stranger: bool = False


def scan_file(visit: Path, contrast: str) -> Path:
    """File of a contrast of a visit."""
    return visit.parent / f"{visit.name.removesuffix('x')}{contrast}.nii.gz"


@cache
def brain_mask(flair: Path) -> LabelImage:
    """Brain mask of a FLAIR by our own method; two of the published masks are faulty."""
    return extract_brain(load_image(flair), load_template()).mask


def reference_pairs(data: Path) -> Iterator[Pair]:
    """Pairs with the authors' affine transforms."""
    for patient in ("01", "03", "19"):
        folder = data / LONGITUDINAL / f"patient{patient}"
        first, second = (load_transform(folder / f"study{s}_FLAIR_to_common_space.txt") for s in (1, 2))
        fixed = {s: folder / f"study{s}_FLAIR.nii.gz" for s in (1, 2)}
        yield Pair(f"{patient} FLAIR, visit 2 to 1", fixed[1], fixed[2], True, first.inverse() @ second)
        for study in (1, 2):
            for contrast in ("T1W", "T2W"):
                moving = folder / f"study{study}_{contrast}.nii.gz"
                if moving.exists():
                    truth = load_transform(folder / f"study{study}_{contrast}_intrastudy_to_FLAIR.txt")
                    yield Pair(f"{patient} {contrast} to FLAIR, visit {study}", fixed[study], moving, False, truth)


def true_pairs(data: Path) -> Iterator[Pair]:
    """All pairs of one head that the pipeline would register."""
    for head, visits in HEADS.items():
        flairs = [data / scan_file(v, "FLAIR") for v in visits]
        for number, flair in enumerate(flairs[1:], start=2):
            yield Pair(f"{head} FLAIR {number}-1", flairs[0], flair, True)
        for number, visit in enumerate(visits, start=1):
            for contrast in CONTRASTS[1:]:
                moving = data / scan_file(visit, contrast)
                if moving.exists():
                    yield Pair(f"{head} {contrast} {number}", data / scan_file(visit, "FLAIR"), moving, False)


def stranger_pairs(data: Path) -> Iterator[Pair]:
    """Pairs of different patients: FLAIR of the first visit of one, every contrast of the last visit of another.

    Whole heads are paired with whole heads and skull-stripped heads with skull-stripped heads, as in a mixed-up upload.
    """
    for one, other in permutations(HEADS, 2):
        if one.isdigit() != other.isdigit():
            continue
        for contrast in ("FLAIR", "T1W", "T2W", "T1", "T2"):
            moving = data / scan_file(HEADS[other][-1], contrast)
            if moving.exists():
                fixed = data / scan_file(HEADS[one][0], "FLAIR")
                yield Pair(f"{one} with {other} {contrast}", fixed, moving, contrast == "FLAIR", stranger=True)


def displaced(image: Image, rng: np.random.Generator, mm: float, degrees: float) -> tuple[Image, Affine]:
    """Image with the same voxels and a displaced header, and the transform from the old to the new world."""
    centre = image.grid.world((np.array(image.grid.shape)[None] - 1) / 2)[0]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix()
    matrix[:3, 3] = centre + rng.uniform(-mm, mm, 3) - matrix[:3, :3] @ centre
    return Image(image.data, Grid(image.grid.shape, matrix @ image.grid.affine)), Affine(matrix)


def distance_mm(one: Affine, other: Affine, mask: LabelImage) -> float:
    """Mean distance (mm) between the positions of the mask's voxels under two transforms."""
    points = mask.grid.world(np.argwhere(mask.mask)[::97].astype(float))
    return float(np.linalg.norm(one.points(points) - other.points(points), axis=1).mean())
