"""Known motions: real 1 mm scans cut into thick slices after a random motion.

Usage: ``python benchmarks/registration/simulated.py DATA RESULTS.jsonl [--trials N]``

The scans are those of `cross_sectional_mni` (3 T, skull-stripped, four contrasts of one visit on one grid). Each trial
moves both scans by up to 5 mm and 5° along and about each axis, averages 3 mm slices and adds 2 % noise to the noise
they have. Two errors are told, mean distances over the brain:

- to the *publishers*: the true motions, as if the four scans lay on each other without fault;
- to *ourselves*: the true motions with our own transform of the scans as published (1 mm, unmoved) between them. It
  tells how well the same answer is found again, and nothing of an error that is made every time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from heads import distance_mm
from scipy.spatial.transform import Rotation

from mri_pipeline.images.register import register_rigid
from mri_pipeline.images.resample import resample
from mri_pipeline.model import Affine, Grid, Image, LabelImage
from mri_pipeline.nifti import load_image

SLICE_MM = 3
NOISE = 0.02
FOLDER = Path("ljubljana") / "cross_sectional_mni"
PATIENTS = ("patient07", "patient19")
CONTRASTS = ("FLAIR", "T1", "T1POST", "T2")


@dataclass(frozen=True)
class Trial:
    """Two cut scans, the fixed one's brain, and where either was moved to from where it was published."""

    patient: str
    contrast: str
    fixed: Image
    moving: Image
    mask: LabelImage
    to_fixed: Affine
    to_moving: Affine


def motion(rng: np.random.Generator, mm: float, degrees: float) -> Affine:
    """A random rigid motion about the world's origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix()
    matrix[:3, 3] = rng.uniform(-mm, mm, 3)
    return Affine(matrix)


def cut(image: Image, move: Affine, rng: np.random.Generator) -> Image:
    """The scan after a motion, in axial slices that begin somewhere."""
    depth = 66 * SLICE_MM
    affine = np.eye(4)
    affine[:3, 3] = (-95 + rng.uniform(), -125 + rng.uniform(), -80 + rng.uniform(0, SLICE_MM))
    moved = resample(image, Grid((192, 232, depth), affine), move, order=1).data
    slices = moved.reshape(192, 232, depth // SLICE_MM, SLICE_MM).mean(axis=-1)
    slices = slices + NOISE * np.percentile(slices, 98) * rng.standard_normal(slices.shape)
    thick = affine @ np.diag([1.0, 1.0, SLICE_MM, 1.0])
    thick[2, 3] += (SLICE_MM - 1) / 2
    return Image(slices.astype(np.float32), Grid(slices.shape, thick))


@cache
def scan(data: Path, patient: str, contrast: str) -> Image:
    return load_image(data / FOLDER / patient / f"{contrast}.nii.gz")


def brain(flair: Image) -> LabelImage:
    return LabelImage(flair.data > 0, flair.grid)


@cache
def unmoved(data: Path, patient: str, contrast: str) -> Affine:
    """Our own transform, from FLAIR, of the scans as published."""
    flair, other = scan(data, patient, "FLAIR"), scan(data, patient, contrast)
    same = contrast == "FLAIR"
    return register_rigid(flair, other, same_contrast=same, fixed_mask=brain(flair)).moving_to_fixed.inverse()


def trials(data: Path, number: int, seed: int = 2026) -> Iterator[Trial]:
    """`number` trials for each contrast against FLAIR, patients in turn."""
    rng = np.random.default_rng(seed)
    for k in range(number):
        patient = PATIENTS[k % 2]
        flair = scan(data, patient, "FLAIR")
        inside = Image((flair.data > 0).astype(np.float32), flair.grid)
        to_fixed = motion(rng, 5.0, 5.0)
        fixed = cut(flair, to_fixed, rng)
        mask = LabelImage(resample(inside, fixed.grid, to_fixed, order=1).data > 0.5, fixed.grid)
        for contrast in CONTRASTS:
            to_moving = motion(rng, 5.0, 5.0)
            moving = cut(scan(data, patient, contrast), to_moving, rng)
            yield Trial(patient, contrast, fixed, moving, mask, to_fixed, to_moving)


def result(data: Path, trial: Trial) -> dict[str, Any]:
    same = trial.contrast == "FLAIR"
    start = time.process_time()
    found = register_rigid(trial.fixed, trial.moving, same_contrast=same, fixed_mask=trial.mask)
    cpu_s = time.process_time() - start
    way, back = found.moving_to_fixed.inverse(), trial.to_fixed.inverse()
    ours = unmoved(data, trial.patient, trial.contrast)
    between = trial.to_moving.inverse() @ way @ trial.to_fixed  # in the head as published; the identity if right
    centre = back.points(trial.mask.grid.world(np.argwhere(trial.mask.mask)[::97].astype(float))).mean(axis=0)[
        None
    ]
    return {
        "patient": trial.patient,
        "contrast": trial.contrast,
        "publishers_mm": distance_mm(way, trial.to_moving @ back, trial.mask),
        "ourselves_mm": distance_mm(way, trial.to_moving @ ours @ back, trial.mask),
        "shift_mm": (between.points(centre) - centre)[0].tolist(),
        "quality": found.quality,
        "failed": found.failed,
        "cpu_s": cpu_s,
    }


def summary(rows: list[dict[str, Any]]) -> None:
    print(
        "| patient | moving | trials (failed) | to the publishers | to ourselves | shift of the centre: mean, SD |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for patient in PATIENTS:
        for contrast in CONTRASTS:
            of = [r for r in rows if (r["patient"], r["contrast"]) == (patient, contrast)]
            if not of:
                continue
            cells = [
                ", ".join(f"{x:.2f}" for x in np.percentile([r[name] for r in of], [50, 95, 100]))
                for name in ("publishers_mm", "ourselves_mm")
            ]
            shift = np.array([r["shift_mm"] for r in of])
            cells += [
                "; ".join(", ".join(f"{x:+.2f}" for x in v) for v in (shift.mean(axis=0), shift.std(axis=0)))
            ]
            print(f"| {patient} | {contrast} | {len(of)} ({sum(r['failed'] for r in of)}) | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--trials", type=int, default=50, help="motions for each contrast")
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    if not arguments.summary:
        with arguments.results.open("w") as file:
            for trial in trials(arguments.data, arguments.trials):
                file.write(json.dumps(result(arguments.data, trial)) + "\n")
                file.flush()
    summary([json.loads(line) for line in arguments.results.read_text().splitlines()])


if __name__ == "__main__":
    main()
